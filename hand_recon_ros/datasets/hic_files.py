"""Miniatures of HIC in its exact format, with InterWild's annotation file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..hand_model import HandModel
from ..image_files import write_image
from ..types import Side
from .hic import FILE, HIC_CAMERA
from .miniatures import in_camera, write_marker
from .ply import write_mesh
from .sample import Sample

_MESHES = (
    "IJCV16___Results_MANO___parms_for___joints21/IJCV16___fakeGT___IJCV___{sequence}___Model_Hand_{side}___ncomps45"
)
_SEQUENCES = {"interacting": "01", "left": "08", "right": "09"}
"""Of the miniature, by hand_type; the published ones of two hands without objects are 01 to 07, of one 08 to 11."""


def write_hic(root: Path, samples: Iterable[Sample], hand_model: HandModel) -> int:
    """Write a miniature of HIC, in its camera; what the samples' cameras do not show is black.

    Args:
        root: folder, which is made; files in it are replaced.
        samples: rendered, with one hand or both.
        hand_model: that they were rendered with.

    Returns the number of images. Raises ValueError, which names the sample, for one without a hand.
    """
    root.mkdir(parents=True, exist_ok=True)
    write_marker(root, hand_model)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    frames: Counter[str] = Counter()
    for number, sample in enumerate(samples):
        if not sample.present.any():
            raise ValueError(f"{sample.name or 'a sample'}: expected a sample with a hand")
        hand_type = "interacting" if sample.present.all() else Side(int(np.argmax(sample.present))).label
        sequence = _SEQUENCES[hand_type]
        frame, frames[sequence] = frames[sequence], frames[sequence] + 1
        file = f"{sequence}/1/rgb/{frame:03d}.png"
        _made(root / file)
        write_image(root / file, in_camera(sample.image, sample.camera, HIC_CAMERA))
        size = {"width": HIC_CAMERA.width, "height": HIC_CAMERA.height}
        images.append({"id": number, "file_name": file, **size, "seq_name": sequence, "frame_idx": frame})
        paths: dict[str, str | None] = {"left_mano_path": None, "right_mano_path": None}
        for side in Side:
            if sample.present[side]:
                mesh = f"{_MESHES.format(sequence=sequence, side=side.label[0].upper())}/{frame:03d}.ply"
                _write_hand(_made(root / mesh), sample, side, hand_model)
                paths[f"{side.label}_mano_path"] = mesh
        annotations.append({"id": number, "image_id": number, "bbox": _box(sample), "hand_type": hand_type, **paths})
    content = {"images": images, "annotations": annotations}
    (root / FILE).write_text(json.dumps(content, allow_nan=False), encoding="utf-8")
    return len(images)


def _made(path: Path) -> Path:
    """The path, whose folder is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write_hand(path: Path, sample: Sample, side: Side, hand_model: HandModel) -> None:
    vertices = hand_model.mesh(side, sample.rotations[side], sample.betas[side], sample.translation[side])
    write_mesh(path, vertices, hand_model.faces(side))


def _box(sample: Sample) -> list[float]:
    """x, y, width, height around the keypoints of all hands, pixels."""
    points = HIC_CAMERA.project(sample.joints[sample.present]).reshape(-1, 2)
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    return [*low.tolist(), *(high - low).tolist()]
