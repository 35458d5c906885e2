"""Reconstruction of files: photos one by one, videos with tracking; overlays, and JSON of each image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from .calibration import calibration_path, read_calibration, scaled_camera
from .camera import Camera
from .overlay import draw_overlay
from .reconstructor import TwoHandReconstructor
from .sources import SourceError, Video, open_source
from .types import HandEstimate, Side, TwoHandEstimate


def reconstruct_source(
    reconstructor: TwoHandReconstructor,
    source: str,
    out: Path,
    fov_deg: float,
    calibration: str | None = None,
    all_people: bool = False,
) -> dict[str, Any]:
    """Reconstruct every image of a file or folder into ``out``.

    Each photo has an overlay ``<name>.png`` and ``<name>.json``; a video is tracked and has ``overlay.mp4`` and
    ``hands.jsonl``. Without a calibration file the camera has a field of view of ``fov_deg`` across its longer side,
    degrees. With ``all_people`` the JSON of a photo is a list with the hands of each person, the operator first.

    Returns:
        {"out", "images", "results": [{"image", "overlay", "json", "left", "right"}]}, with the states by side, of the
        operator's hands, and with ``all_people`` the number of "people".

    Raises SourceError and CameraError.
    """
    import cv2
    from tqdm import tqdm

    images = open_source(source)
    given = Path(source).resolve()
    if out.resolve() in (given, given.parent):
        raise SourceError(f"{out}: results would be written among the images themselves; name another folder")
    out.mkdir(parents=True, exist_ok=True)
    known = read_calibration(calibration_path(calibration)) if calibration else None
    results, writer, lines = [], None, None
    used: set[str] = set()
    try:
        for item in tqdm(images, desc="reconstruct", unit="image", disable=None):
            height, width = item.image.shape[:2]
            camera = scaled_camera(known, width, height) if known else Camera.from_fov(width, height, fov_deg)
            if isinstance(images, Video):
                if all_people:
                    raise SourceError(f"{source}: the hands of all people are found in photos, not in videos")
                people = [reconstructor(item.image, camera, stamp=item.number / images.rate)]
                overlay, document = out / "overlay.mp4", out / "hands.jsonl"
            else:
                people = (
                    reconstructor.reconstruct_people(item.image, camera)
                    if all_people
                    else [reconstructor.reconstruct_image(item.image, camera)]
                )
                name = Path(item.name)
                stem = name.name if name.stem in used else name.stem  # a.jpg beside a.png
                used.add(name.stem)
                overlay, document = out / f"{stem}.png", out / f"{stem}.json"
            picture = item.image
            for estimate in people:
                picture = draw_overlay(picture, estimate, camera)
            records = [{"image": str(item.name), "number": item.number, **as_dict(one, camera)} for one in people]
            if isinstance(images, Video):
                if writer is None or lines is None:
                    writer = cv2.VideoWriter(
                        str(overlay), cv2.VideoWriter.fourcc(*"mp4v"), images.rate, (width, height)
                    )
                    lines = open(document, "w", encoding="utf-8")  # noqa: SIM115
                writer.write(picture)
                lines.write(json.dumps(records[0]) + "\n")
            else:
                cv2.imwrite(str(overlay), picture)
                document.write_text(json.dumps(records if all_people else records[0]) + "\n", encoding="utf-8")
            states = {side.label: records[0][side.label]["state"] if records else "LOST" for side in Side}
            count = {"people": len(people)} if all_people else {}
            results.append({"image": str(item.name), "overlay": str(overlay), "json": str(document), **states, **count})
    finally:
        if writer is not None:
            writer.release()
        if lines is not None:
            lines.close()
        images.close()
    return {"out": str(out), "images": len(results), "results": results}


def as_dict(estimate: TwoHandEstimate, camera: Camera) -> dict[str, Any]:
    """An estimate in JSON's types, in metres and pixels, without meshes; a LOST hand has only its state."""
    return {
        "stamp": estimate.stamp,
        "hand_model": estimate.hand_model,
        "calibrated": estimate.calibrated,
        "refined": estimate.refined,
        "camera": {"K": camera.K.tolist(), "width": camera.width, "height": camera.height},
        **{side.label: _hand(estimate.hand(side)) for side in Side},
    }


def _hand(hand: HandEstimate) -> dict[str, Any]:
    if not hand.found:
        return {"state": hand.state.name}
    arrays = ("joints", "joint_scores", "keypoints_2d", "rotations", "betas", "translation", "wrist_pose")
    return {
        "state": hand.state.name,
        "track_id": hand.track_id,
        "score": hand.score,
        "side_score": hand.side_score,
        "roi": list(hand.roi),
        "scale_source": hand.scale_source.name,
        "position_stddev": hand.position_stddev,
        **{name: np.round(np.asarray(getattr(hand, name), dtype=np.float64), 6).tolist() for name in arrays},
    }
