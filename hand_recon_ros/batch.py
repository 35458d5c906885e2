"""Reconstruction of files: photos one by one, videos with tracking; overlays, and JSON of each image."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .calibration import calibration_path, image_cameras
from .camera import Camera
from .image_files import KeptFiles, VideoWriter, printable, write_image
from .overlay import draw_overlay
from .reconstructor import TwoHandReconstructor
from .sources import ImageSource, Photos, SourceError, SourceImage, open_source, source_path
from .track.fixed_lag import FixedLagSmoother
from .types import HandEstimate, Side, TwoHandEstimate


def reconstruct_source(
    reconstructor: TwoHandReconstructor,
    source: str,
    out: Path,
    fov_deg: float,
    calibration: str | None = None,
    all_people: bool = False,
    smoothing_delay: float = 0.0,
) -> dict[str, Any]:
    """Reconstruct every image of a file, a folder or a stream into ``out``.

    Each photo has an overlay ``<name>.png`` and ``<name>.json``; a video and a stream are tracked and have
    ``overlay.mp4`` and ``hands.jsonl``. A webcam ends when it is interrupted. Without a calibration file the camera has
    a field of view of ``fov_deg`` across its longer side, degrees. With ``all_people`` the JSON of a photo is a list
    with the hands of each person, the operator first. The poses of a video are smoothed by the images up to
    ``smoothing_delay`` seconds before and after each.

    Returns:
        {"out", "images", "images_expected", "left_out": [{"image", "reason"}], "results": [{"image", "overlay", "json",
        "left", "right"}]}: how many images were read, and are there, as far as that is known; what was not read, or not
        whole; the states by side, of the operator's hands, and with ``all_people`` the number of "people".

    Raises SourceError, CameraError, and OSError where a result cannot be written.
    """
    from tqdm import tqdm

    images = open_source(source, in_order=True)
    results: list[dict[str, Any]] = []
    try:
        given = source_path(source)
        if given is not None and out.resolve() in (given.resolve(), given.resolve().parent):
            raise SourceError(
                f"{printable(out)}: results would be written among the images themselves; name another folder"
            )
        if all_people and not isinstance(images, Photos):
            raise SourceError(f"{source}: the hands of all people are found in photos, not in videos")
        if smoothing_delay and isinstance(images, Photos):
            raise SourceError(f"{source}: photos are not smoothed, only the images of a video")
        out.mkdir(parents=True, exist_ok=True)
        camera_of = image_cameras(calibration, fov_deg)
        read = images.files if isinstance(images, Photos) else [given] if given is not None else []
        kept = KeptFiles([*read, *([calibration_path(calibration)] if calibration else [])])
        progress = tqdm(images, desc="reconstruct", unit="image", disable=None)
        if isinstance(images, Photos):
            results = _photos(reconstructor, progress, out, camera_of, all_people, kept)
        else:
            results = _video(reconstructor, progress, out, camera_of, images, kept, smoothing_delay)
    finally:
        images.close()
    return {
        "out": str(out),
        "images": len(results),
        "images_expected": images.expected or len(results),
        "left_out": [{"image": name, "reason": reason} for name, reason in images.left_out.items()],
        "results": results,
    }


def _photos(
    reconstructor: TwoHandReconstructor,
    images: Iterable[SourceImage],
    out: Path,
    camera_of: Callable[[np.ndarray], Camera],
    all_people: bool,
    kept: KeptFiles,
) -> list[dict[str, Any]]:
    results = []
    used: set[str] = set()
    for item in images:
        camera = camera_of(item.image)
        if all_people:
            people = reconstructor.reconstruct_people(item.image, camera)
        else:
            people = [reconstructor.reconstruct_image(item.image, camera)]
        name = Path(item.name)
        stem = name.name if name.stem in used else name.stem  # a.jpg beside a.png
        used.add(name.stem)
        overlay, document = out / f"{stem}.png", out / f"{stem}.json"
        kept.check(overlay)
        kept.check(document)
        picture = item.image
        for estimate in people:
            picture = draw_overlay(picture, estimate, camera)
        records = [_record(item, estimate, camera) for estimate in people]
        write_image(overlay, picture)
        document.write_text(json.dumps(records if all_people else records[0]) + "\n", encoding="utf-8")
        count = {"people": len(people)} if all_people else {}
        results.append({**_result(item, overlay, document, records[0] if records else None), **count})
    return results


def _video(
    reconstructor: TwoHandReconstructor,
    images: Iterable[SourceImage],
    out: Path,
    camera_of: Callable[[np.ndarray], Camera],
    source: ImageSource,
    kept: KeptFiles,
    smoothing_delay: float,
) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    overlay, document = out / "overlay.mp4", out / "hands.jsonl"
    kept.check(overlay)
    kept.check(document)
    with (
        VideoWriter(overlay, source.rate or 30.0, source.size) as video,
        open(document, "w", encoding="utf-8") as lines,
    ):
        smoother: FixedLagSmoother[tuple[SourceImage, Camera]] = FixedLagSmoother(reconstructor.hand_model)

        def write(smoothed: Iterable[tuple[tuple[SourceImage, Camera], TwoHandEstimate]]) -> None:
            for (item, camera), estimate in smoothed:
                video.write(draw_overlay(item.image, estimate, camera))
                record = _record(item, estimate, camera)
                lines.write(json.dumps(record) + "\n")
                results.append(_result(item, overlay, document, record))

        try:
            for item in images:
                camera = camera_of(item.image)
                stamp = item.time if item.time is not None else item.captured
                assert stamp is not None  # one of a video or of a camera
                estimate = reconstructor(item.image, camera, stamp=stamp)
                write(smoother.add((item, camera), estimate, camera, smoothing_delay))
        except KeyboardInterrupt:
            if not source.live:
                raise
        write(smoother.rest(smoothing_delay))
    return results


def _record(item: SourceImage, estimate: TwoHandEstimate, camera: Camera) -> dict[str, Any]:
    return {"image": item.name, "number": item.number, **as_dict(estimate, camera)}


def _result(item: SourceImage, overlay: Path, document: Path, record: dict[str, Any] | None) -> dict[str, Any]:
    states = {side.label: record[side.label]["state"] if record else "LOST" for side in Side}
    return {"image": item.name, "overlay": str(overlay), "json": str(document), **states}


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
