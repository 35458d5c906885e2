"""Palm detection: palms in an image, from the outputs of the palm detector."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..landmarks.crops import palm_box
from ..landmarks.observation import RotatedBox
from .ssd import anchors, decode, weighted_nms

ANCHOR_GRIDS = ((24, 2), (12, 6))
"""Cells per side and anchors per cell of the detector's layers (strides 8 and 3 x 16 of 192 pixels)."""
_WRIST, _MIDDLE = 0, 2


@dataclasses.dataclass(frozen=True, eq=False)
class PalmDetection:
    """A palm in an image.

    Attributes:
        score: probability, 0..1.
        box: x0, y0, x1, y1, pixels; upright in the image, also where the view was rotated.
        roi: the box of the landmark network's crop.
    """

    score: float
    box: np.ndarray
    roi: RotatedBox


def palms_in(
    raw: np.ndarray, logits: np.ndarray, threshold: float, view: RotatedBox, size: int = 192
) -> list[PalmDetection]:
    """Palms in pixels of the image, best first, from the network's outputs for a view of it.

    Args:
        raw: (2016, 18): centre offset, width and height, 7 points, all in pixels of the network's input.
        logits: (2016,) or (2016, 1).
        threshold: lowest score, 0..1.
        view: the region of the image that the network's input shows.
        size: side of the network's input, pixels.
    """
    scores, values = weighted_nms(*decode(raw, logits, anchors(ANCHOR_GRIDS), threshold, size))
    return [in_image(score, value, view) for score, value in zip(scores, values, strict=True)]


def in_image(score: float, value: np.ndarray, view: RotatedBox) -> PalmDetection:
    """A detection (18,) in units of the view, in pixels of the image."""
    points = value[4:].reshape(7, 2) * view.size
    roi = palm_box(value[:4] * view.size, points[_WRIST], points[_MIDDLE])
    x, y = view.to_image(np.asarray(roi.center) / view.size)
    center = view.to_image((value[:2] + value[2:4]) / 2)
    half = (value[2:4] - value[:2]) / 2 * view.size
    box = np.concatenate([center - half, center + half])
    return PalmDetection(float(score), box, RotatedBox((float(x), float(y)), roi.size, roi.angle + view.angle))
