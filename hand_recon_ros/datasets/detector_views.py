"""Training data of the hand detector from a whole frame: square views for the palm detector, with the hands' boxes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..landmarks.crops import crop, letterbox, tracking_box
from ..landmarks.observation import RotatedBox
from ..skeleton import mirror_pixels
from ..types import Side
from .sample import LEFT_HAND, RIGHT_HAND, Sample

BOX = 5
"""Numbers of a box in a view: x, y of its centre and its size in units of the view, cosine and sine of its angle."""

_WITHOUT_HANDS = 0.3
"""Share of the random views that show no hand, where a frame has such a region."""
_TRIES = 20
_MAX_HAND = 0.002
"""Largest share of hand pixels in a view without hands."""
_MIN_INSIDE = 0.5
"""Smallest share of a hand's keypoints inside a view in which it has to be detected."""


class DetectorView(NamedTuple):
    """A view of a frame.

    Attributes:
        image: (n, n, 3) uint8 BGR, the palm detector's input.
        boxes: (2, 5) float32, left and right: see BOX; NaN where no hand has to be detected.
        valid: (2,) bool: whether the side enters losses and metrics. It does not where a part of the hand is in the
            view, but less than _MIN_INSIDE.
    """

    image: np.ndarray
    boxes: np.ndarray
    valid: np.ndarray


def frame_views(sample: Sample, rng: np.random.Generator, size: int) -> list[DetectorView]:
    """Two views of a frame: all of it, and a random part of it, each mirrored half of the time."""
    part = random_view(sample, rng)
    return [frame_view(sample, view, size, bool(rng.random() < 0.5)) for view in (None, part)]


def random_view(sample: Sample, rng: np.random.Generator) -> RotatedBox:
    """A box of a frame at a random position, size and rotation, often without hands."""
    hands = np.isin(sample.labels, (LEFT_HAND, RIGHT_HAND)).astype(np.uint8)[..., None].repeat(3, axis=2)
    without = rng.random() < _WITHOUT_HANDS
    height, width = hands.shape[:2]
    for _ in range(_TRIES if without else 1):
        extent = rng.uniform(0.25, 0.7) if without else rng.uniform(0.5, 1.7)
        center = float(rng.uniform(0.1, 0.9)) * width, float(rng.uniform(0.1, 0.9)) * height
        turn = rng.normal(0.0, 0.25) if rng.random() < 0.6 else rng.uniform(-math.pi, math.pi)
        view = RotatedBox(center, float(extent) * max(width, height), float(turn))
        if not without or crop(hands, view, np.empty((64, 64, 3), np.uint8), False)[..., 0].mean() < _MAX_HAND:
            break
    return view


def frame_view(sample: Sample, view: RotatedBox | None, size: int, mirrored: bool = False) -> DetectorView:
    """A view of a frame (``view`` None for the whole frame, letterboxed); ``mirrored`` exchanges left and right."""
    out = np.empty((size, size, 3), dtype=np.uint8)
    if view is None:
        view = letterbox(sample.image, out)
    else:
        crop(sample.image, view, out, repeat_border=False)
    boxes, valid = np.full((2, BOX), np.nan, dtype=np.float32), np.ones(2, dtype=bool)
    for side in Side:
        if not sample.present[side]:
            continue
        slot = side.other if mirrored else side
        pixels = view.from_image(sample.keypoints_2d[side]) * size
        inside = (pixels > 0) & (pixels < size - 1)
        frame = np.array([sample.camera.width, sample.camera.height])
        within = (sample.keypoints_2d[side] > 0) & (sample.keypoints_2d[side] < frame - 1)
        share = (inside & within).all(axis=1).mean()
        box = tracking_box(mirror_pixels(pixels, size) if mirrored else pixels)
        if share >= _MIN_INSIDE and 0 < min(box.center) and max(box.center) < size:
            x, y = (coordinate / size for coordinate in box.center)
            boxes[slot] = (x, y, box.size / size, math.cos(box.angle), math.sin(box.angle))
        elif share > 0:
            valid[slot] = False
    return DetectorView(np.ascontiguousarray(out[:, ::-1]) if mirrored else out, boxes, valid)
