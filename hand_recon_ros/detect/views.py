"""Views of an image for the palm detector, which detects upright palms of medium size best."""

from __future__ import annotations

import math

import numpy as np

from ..landmarks.observation import RotatedBox

PADDING = 1.7
TILE = 0.6


def turned(width: int, height: int) -> list[RotatedBox]:
    """The whole image within a black frame, turned by quarters, and upside down within a frame.

    The frame is for hands that fill the image: the detector needs context around them.
    """
    center, side, quarter = (width / 2, height / 2), float(max(width, height)), math.pi / 2
    return [
        RotatedBox(center, PADDING * side, 0.0),
        RotatedBox(center, side, 2 * quarter),
        RotatedBox(center, side, quarter),
        RotatedBox(center, side, -quarter),
        RotatedBox(center, PADDING * side, 2 * quarter),
    ]


def tiles(width: int, height: int) -> list[RotatedBox]:
    """Upright boxes that cover the image with a third of overlap or more, for small hands."""
    side = TILE * max(width, height)
    return [RotatedBox((x, y), side) for y in _centers(height, side) for x in _centers(width, side)]


def whole(width: int, height: int) -> RotatedBox:
    """The square around the whole image."""
    return RotatedBox((width / 2, height / 2), float(max(width, height)))


def as_hand(width: int, height: int) -> list[RotatedBox]:
    """The whole image as the box of one hand, in each of four rotations."""
    side = float(max(width, height))
    return [RotatedBox((width / 2, height / 2), side, turn * math.pi / 2) for turn in range(4)]


def of_attempt(attempt: int, width: int, height: int) -> RotatedBox | None:
    """The view for the n-th detection in a row without a new hand: the whole image (None) every other time."""
    if attempt % 2 == 0:
        return None
    views = turned(width, height) + tiles(width, height)
    return views[attempt // 2 % len(views)]


def _centers(extent: float, side: float) -> list[float]:
    if extent <= side:
        return [extent / 2]
    count = math.ceil((extent - side) / (side * 2 / 3) - 1e-9) + 1
    return [float(c) for c in np.linspace(side / 2, extent - side / 2, count)]
