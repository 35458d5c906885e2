"""A contact sheet of samples: each image, and below it the same with labels and keypoints."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from ..datasets.sample import Sample
from ..image_files import write_image
from ..skeleton import BONES

_TINTS = np.array([[0, 0, 0], [255, 120, 0], [0, 80, 255], [0, 200, 0]], dtype=np.float32)
"""Colours of the labels, BGR: left hand blue, right hand red, anything else green."""


def contact_sheet(samples: Iterable[Sample], columns: int = 6, cell: int = 240) -> np.ndarray:
    """An image uint8 (H, W, 3) BGR of samples in a grid of ``cell`` pixels, each with its ground truth below it.

    Full circles are visible keypoints, rings occluded ones, dots the rest.
    """
    cells = [np.concatenate([_fit(s.image, cell), _fit(overlay(s), cell, s.arrangement)]) for s in samples]
    while len(cells) % columns:
        cells.append(np.zeros((2 * cell, cell, 3), dtype=np.uint8))
    rows = [np.concatenate(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)]
    return np.concatenate(rows)


def write_contact_sheet(path: str | Path, samples: Iterable[Sample], columns: int = 6, cell: int = 240) -> None:
    """Write :func:`contact_sheet` to a file. Raises OSError where it cannot be written."""
    write_image(path, contact_sheet(samples, columns, cell))


def overlay(sample: Sample) -> np.ndarray:
    """The image of a sample with its labels and keypoints, uint8 (H, W, 3) BGR."""
    tinted = np.where(sample.labels[..., None] > 0, 0.6 * sample.image + 0.4 * _TINTS[sample.labels], sample.image)
    image = np.ascontiguousarray(tinted.astype(np.uint8))
    for side in np.flatnonzero(sample.present):
        colour = (255, 220, 120) if side == 0 else (120, 160, 255)
        points = [tuple(map(int, p)) for p in np.rint(np.clip(sample.keypoints_2d[side], -999, 4999))]
        for a, b in BONES:
            cv2.line(image, points[a], points[b], colour, 1, cv2.LINE_AA)
        for k, point in enumerate(points):
            if sample.keypoint_visible[side, k]:
                cv2.circle(image, point, 3, colour, -1, cv2.LINE_AA)
            elif sample.occluded[side, k]:
                cv2.circle(image, point, 4, (0, 255, 255), 1, cv2.LINE_AA)
            else:
                cv2.circle(image, point, 1, (255, 255, 255), -1)
    return image


def _fit(image: np.ndarray, cell: int, text: str = "") -> np.ndarray:
    """The image inside a square of ``cell`` pixels, with a line of text."""
    scale = cell / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:cell, :cell]
    result = np.full((cell, cell, 3), 40, dtype=np.uint8)
    result[: small.shape[0], : small.shape[1]] = small
    if text:
        cv2.putText(result, text, (4, cell - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return result
