"""From a whole frame to what the hand detector is trained on: views as the palm detector sees them, and the squares of
the hands in them."""

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
"""Numbers of a square in a view: x, y of its centre and its side in units of the view, cosine and sine of its angle."""

_WITHOUT_HANDS = 0.3
"""Share of the views in part that show no hand at all, where a frame has such a place."""
_TRIES = 20
_MOST_HAND = 0.002
"""Share of a view's pixels up to which it shows no hand."""
_ENOUGH = 0.5
"""Share of a hand's keypoints inside a view from which on it is to be found there."""


class DetectorView(NamedTuple):
    """A view of a frame.

    Attributes:
        image: (n, n, 3) uint8 BGR, as the palm detector gets it.
        boxes: (2, 5) float32, left and right: see BOX; NaN where there is none to be found.
        valid: (2,) bool: whether the side counts. It does not where too little of the hand is in the view to find it,
            and enough not to deny it.
    """

    image: np.ndarray
    boxes: np.ndarray
    valid: np.ndarray


def frame_views(sample: Sample, rng: np.random.Generator, size: int) -> list[DetectorView]:
    """Two views of a frame: all of it, and some square of it, each mirrored half of the time."""
    some = some_view(sample, rng)
    return [frame_view(sample, view, size, bool(rng.random() < 0.5)) for view in (None, some)]


def some_view(sample: Sample, rng: np.random.Generator) -> RotatedBox:
    """A square of a frame, of any place, size and rotation: often one without hands."""
    hands = np.isin(sample.labels, (LEFT_HAND, RIGHT_HAND)).astype(np.uint8)[..., None].repeat(3, axis=2)
    without = rng.random() < _WITHOUT_HANDS
    height, width = hands.shape[:2]
    for _ in range(_TRIES if without else 1):
        extent = rng.uniform(0.25, 0.7) if without else rng.uniform(0.5, 1.7)
        center = float(rng.uniform(0.1, 0.9)) * width, float(rng.uniform(0.1, 0.9)) * height
        turn = rng.normal(0.0, 0.25) if rng.random() < 0.6 else rng.uniform(-math.pi, math.pi)
        view = RotatedBox(center, float(extent) * max(width, height), float(turn))
        if not without or crop(hands, view, np.empty((64, 64, 3), np.uint8), False)[..., 0].mean() < _MOST_HAND:
            break
    return view


def frame_view(sample: Sample, view: RotatedBox | None, size: int, mirrored: bool = False) -> DetectorView:
    """A square view of a frame, or the whole frame within a black square; ``mirrored`` exchanges left and right."""
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
        if share >= _ENOUGH and 0 < min(box.center) and max(box.center) < size:
            place = *(coordinate / size for coordinate in box.center), box.size / size
            boxes[slot] = (*place, math.cos(box.angle), math.sin(box.angle))
        elif share > 0:
            valid[slot] = False
    return DetectorView(np.ascontiguousarray(out[:, ::-1]) if mirrored else out, boxes, valid)
