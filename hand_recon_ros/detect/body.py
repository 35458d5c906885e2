"""The bodies in an image, and from a body's pose a box for each hand, with its anatomical side.

Decoding and geometry of three networks of MediaPipe (Apache-2.0), as its public graph files define them: the pose
detector (``modules/pose_detection``), the pose landmark network (``modules/pose_landmark``; "BlazePose", arXiv
2006.10204) and the network that corrects a hand's box (``modules/holistic_landmark``).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..landmarks.observation import RotatedBox
from ..types import Side
from .ssd import anchors, decode, weighted_nms

ANCHOR_GRIDS = ((28, 2), (14, 2), (7, 6))
"""Cells per side and anchors per cell of the pose detector's layers (strides 8, 16 and 3 x 32 of 224 pixels)."""
POINT_COUNT = 33
WRISTS, LITTLE_FINGERS, INDEX_FINGERS = (15, 16), (17, 18), (19, 20)
"""Points of a pose, of the left and the right hand: wrist, MCP of the little finger, MCP of the index finger."""
MIN_PRESENCE = 0.5
"""Presence from which on a pose counts."""
MIN_VISIBILITY = 0.1
"""Visibility of the wrist from which on a hand has a box."""

_AUXILIARY = [33, 34]
"""Of the landmark network's 39 points: middle of the hips, and a point on the circle around the whole body. Of the
detector's 4 points these are the first two."""
_BODY_SCALE = 1.25
_HAND_SCALE = 2.7
_HAND_SHIFT = 0.1
_KERNEL = 9
"""Cells per side of the heatmap's region that refines a point: those of mediapipe 0.10.21, whose graph file has 7."""
_MIN_PEAK = 0.5
"""Highest probability in that region from which on the point is refined."""


@dataclasses.dataclass(frozen=True)
class BodyDetection:
    """A person in an image.

    Attributes:
        score: probability, 0..1.
        roi: the box of the pose landmark network's crop: the whole body, also where the image ends before.
    """

    score: float
    roi: RotatedBox


@dataclasses.dataclass(frozen=True, eq=False)
class BodyPose:
    """The pose of one person.

    Attributes:
        presence: probability that the crop shows a person, 0..1.
        points: (33, 2), pixels, in BlazePose's order; left and right are the person's own. They may be outside the
            image.
        visibility: (33,), probability that a point is in the image and not occluded, 0..1.
        next_roi: the box of the crop in the next image.
    """

    presence: float
    points: np.ndarray
    visibility: np.ndarray
    next_roi: RotatedBox


@dataclasses.dataclass(frozen=True)
class BodyHand:
    """A hand of a person whose pose is known.

    Attributes:
        side: anatomical side.
        roi: the box of the landmark network's crop.
        visibility: of the wrist, see :class:`BodyPose`.
    """

    side: Side
    roi: RotatedBox
    visibility: float


def bodies_in(
    raw: np.ndarray, logits: np.ndarray, threshold: float, view: RotatedBox, size: int = 224
) -> list[BodyDetection]:
    """Persons in pixels of the image, best first, from the pose detector's outputs for a view of it.

    Args:
        raw: (2254, 12): centre offset, width and height, 4 points, all in pixels of the network's input.
        logits: (2254,) or (2254, 1).
        threshold: lowest score, 0..1.
        view: the region of the image that the network's input shows.
        size: side of the network's input, pixels.
    """
    scores, values = weighted_nms(*decode(raw, logits, anchors(ANCHOR_GRIDS), threshold, size))
    points = view.to_image(values[:, 4:8].reshape(-1, 2, 2))
    return [BodyDetection(float(score), _body_box(*pair)) for score, pair in zip(scores, points, strict=True)]


def pose_in(outputs: tuple[np.ndarray, ...], roi: RotatedBox, size: int = 256) -> BodyPose:
    """A pose in pixels of the image, from the pose landmark network's outputs for the crop of ``roi``.

    Args:
        outputs: points (195,) as x, y, z in pixels of the crop and the logits of visibility and presence, 39 times;
            presence (1,), 0..1; logits of the points' heatmaps (h, w, 39).
        roi: the box of the crop.
        size: side of the crop, pixels.
    """
    raw, presence, heatmaps = outputs
    raw = raw.reshape(-1, 5).astype(np.float64)
    points = roi.to_image(refined(raw[:, :2] / size, heatmaps))
    return BodyPose(
        presence=float(presence.reshape(())),
        points=points[:POINT_COUNT],
        visibility=_sigmoid(raw[:POINT_COUNT, 3]),
        next_roi=_body_box(*points[_AUXILIARY]),
    )


def refined(points: np.ndarray, heatmaps: np.ndarray) -> np.ndarray:
    """Points moved to the mean of their heatmap's probability around them.

    Points outside the crop, and those around which the heatmap is below 0.5, remain.

    Args:
        points: (n, 2), in 0..1 of the crop.
        heatmaps: (h, w, n), logits.

    Returns:
        points (n, 2), in 0..1 of the crop.
    """
    height, width, count = heatmaps.shape
    reach = np.arange(_KERNEL) - _KERNEL // 2
    cells = np.trunc(points * [width, height]).astype(int)
    inside = ((cells >= 0) & (cells < [width, height])).all(axis=1)
    columns, rows = cells[:, 0, None] + reach, cells[:, 1, None] + reach
    valid = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    at_rows, at_columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    weights = _sigmoid(heatmaps[at_rows[:, :, None], at_columns[:, None, :], np.arange(count)[:, None, None]]) * valid
    total = np.maximum(weights.sum(axis=(1, 2)), 1e-12)
    means = np.stack(
        [(weights.sum(axis=1) * columns).sum(axis=1) / width, (weights.sum(axis=2) * rows).sum(axis=1) / height], axis=1
    )
    moved = inside & (weights.max(axis=(1, 2)) >= _MIN_PEAK)
    return np.where(moved[:, None], means / total[:, None], points)


def hand_from_pose(pose: BodyPose, side: Side) -> BodyHand | None:
    """A hand with the box that the pose's own points give; None where its wrist is not visible.

    The box is upright for a hand whose fingers point up, and larger than the landmark network's crop.
    """
    visibility = float(pose.visibility[WRISTS[side]])
    if visibility < MIN_VISIBILITY:
        return None
    wrist, little, index = (pose.points[pair[side]] for pair in (WRISTS, LITTLE_FINGERS, INDEX_FINGERS))
    middle = (2 * index + little) / 3
    return BodyHand(side, _hand_box(middle, middle - wrist, _HAND_SCALE), visibility)


def corrected(hand: BodyHand, output: np.ndarray, size: int = 256) -> BodyHand:
    """The hand with the landmark network's box, from the output of the box's network for the crop of ``hand.roi``.

    Args:
        hand: as :func:`hand_from_pose` returns it.
        output: the centre of the hand's box and the middle of its lower edge (x, y), pixels of the crop; 4 numbers.
        size: side of the crop, pixels.
    """
    center, lower = hand.roi.to_image(output.reshape(2, 2).astype(np.float64) / size)
    return dataclasses.replace(hand, roi=_hand_box(center, center - lower, 1.0))


def _body_box(hip: np.ndarray, circle: np.ndarray) -> RotatedBox:
    return _box(hip, circle - hip, _BODY_SCALE)


def _hand_box(center: np.ndarray, up: np.ndarray, scale: float) -> RotatedBox:
    """A hand's box: moved towards the fingers by a part of its size before it is scaled."""
    return _box(center + 2 * _HAND_SHIFT * up, up, scale)


def _box(center: np.ndarray, up: np.ndarray, scale: float) -> RotatedBox:
    """A box whose upward direction is that of ``up``, and whose side is twice its length times ``scale``."""
    size = max(2 * scale * math.hypot(*up), 2.0)
    return RotatedBox((float(center[0]), float(center[1])), size, math.atan2(up[0], -up[1]))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -60, 60))))
