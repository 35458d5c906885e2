"""A contact sheet of samples: the pictures, and beside each its labels and keypoints."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from ..datasets.sample import Sample
from ..skeleton import BONES

_TINTS = np.array([[0, 0, 0], [255, 120, 0], [0, 80, 255], [0, 200, 0]], dtype=np.float32)
"""Of labels, BGR: left hand blue, right hand red, others green."""


def contact_sheet(samples: Iterable[Sample], columns: int = 6, cell: int = 240) -> np.ndarray:
    """A picture uint8 (H, W, 3) BGR of samples in a grid, ``cell`` pixels each; below each what is known about it.

    Full circles are visible keypoints, rings occluded ones, dots the rest.
    """
    cells = [np.concatenate([_fitted(s.image, cell), _fitted(drawn(s), cell, s.arrangement)]) for s in samples]
    while len(cells) % columns:
        cells.append(np.zeros((2 * cell, cell, 3), dtype=np.uint8))
    rows = [np.concatenate(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)]
    return np.concatenate(rows)


def write_contact_sheet(path: str | Path, samples: Iterable[Sample], columns: int = 6, cell: int = 240) -> None:
    """The contact sheet as a file. Raises OSError where it cannot be written."""
    if not cv2.imwrite(str(path), contact_sheet(samples, columns, cell)):
        raise OSError(f"cannot write {path}")


def drawn(sample: Sample) -> np.ndarray:
    """The picture of a sample with labels and keypoints over it, uint8 (H, W, 3) BGR."""
    tinted = np.where(sample.labels[..., None] > 0, 0.6 * sample.image + 0.4 * _TINTS[sample.labels], sample.image)
    picture = np.ascontiguousarray(tinted.astype(np.uint8))
    for side in np.flatnonzero(sample.present):
        colour = (255, 220, 120) if side == 0 else (120, 160, 255)
        points = [tuple(map(int, p)) for p in np.rint(np.clip(sample.keypoints_2d[side], -999, 4999))]
        for a, b in BONES:
            cv2.line(picture, points[a], points[b], colour, 1, cv2.LINE_AA)
        for k, point in enumerate(points):
            if sample.keypoint_visible[side, k]:
                cv2.circle(picture, point, 3, colour, -1, cv2.LINE_AA)
            elif sample.occluded[side, k]:
                cv2.circle(picture, point, 4, (0, 255, 255), 1, cv2.LINE_AA)
            else:
                cv2.circle(picture, point, 1, (255, 255, 255), -1)
    return picture


def _fitted(image: np.ndarray, cell: int, text: str = "") -> np.ndarray:
    scale = cell / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:cell, :cell]
    result = np.full((cell, cell, 3), 40, dtype=np.uint8)
    result[: small.shape[0], : small.shape[1]] = small
    if text:
        cv2.putText(result, text, (4, cell - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return result
