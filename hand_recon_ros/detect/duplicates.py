"""Detections of the same hand."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ..landmarks.landmarks import HandLandmarks
from ..skeleton import PALM
from .palm import PalmDetection
from .ssd import box_iou

SAME_HAND = 0.2
SAME_PALM = 0.35
PALM_OVERLAP = 0.5
PART = 0.5
PART_INSIDE = 0.6
PART_MARGIN = 0.05
SURE = 0.9


def same_hand(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two sets of keypoints (21, 2) lie on one hand.

    They do when on average keypoints are closer than a fifth of the hand's extent, or those of the palm closer than a
    third of the palm's. Hands that cross or clasp each other do not: their areas overlap, but not point by point.
    """
    extent = max(np.ptp(a, axis=0).max(), np.ptp(b, axis=0).max(), 1e-6)
    distances = np.linalg.norm(a - b, axis=1)
    if distances.mean() < SAME_HAND * extent:
        return True
    palms = [np.linalg.norm(points[PALM[2:]] - points[0], axis=1).max() for points in (a, b)]
    return bool(distances[PALM].mean() < SAME_PALM * max(*palms, 1e-6))


def is_palm_of(palm: PalmDetection, hand: HandLandmarks) -> bool:
    """Whether a palm detection lies on a hand's last landmarks, in the same direction."""
    points = hand.keypoints[PALM]
    low, high = points.min(axis=0), points.max(axis=0)
    # Detections are square, also of palms that are edge-on.
    center, reach = (low + high) / 2, (high - low).max() / 2
    overlap = box_iou(np.concatenate([center - reach, center + reach]), palm.box[None])[0]
    turn = abs((palm.roi.angle - hand.next_roi.angle + np.pi) % (2 * np.pi) - np.pi)
    return bool(overlap > PALM_OVERLAP and turn < np.pi / 4)


def part_of(small: np.ndarray, large: np.ndarray) -> bool:
    """Whether keypoints (21, 2) lie on a part of a clearly larger hand, as when a fingertip is detected as a hand."""
    if np.ptp(small, axis=0).max() > PART * np.ptp(large, axis=0).max():
        return False
    hull = cv2.convexHull(np.asarray(large, dtype=np.float32))
    margin = PART_MARGIN * float(np.ptp(large, axis=0).max())
    inside = [cv2.pointPolygonTest(hull, (float(x), float(y)), True) > -margin for x, y in small]
    return bool(np.mean(inside) > PART_INSIDE)


def is_part_of(small: HandLandmarks, large: HandLandmarks) -> bool:
    """Whether a hand without high presence is a part of a clearly larger one. With high presence it is a hand that is
    farther away, seen between the fingers of the other."""
    return small.presence < SURE and part_of(small.keypoints, large.keypoints)


def distinct(hands: Sequence[HandLandmarks], evidence: Sequence[float]) -> list[int]:
    """Indices, in ascending order, of hands that remain when of each set of duplicates the best evidence is kept."""
    kept: list[int] = []
    for index in sorted(range(len(hands)), key=lambda i: -evidence[i]):
        if not any(same_hand(hands[index].keypoints, hands[other].keypoints) for other in kept):
            kept.append(index)
    return sorted(kept)


def box_overlap(pixels: np.ndarray, margin: float = 0.0) -> float:
    """Share of the smaller hand's box that lies in the other's, from keypoints (2, 21, 2).

    ``margin``: by which each box is enlarged on every side, as a part of its larger side.
    """
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    wider = margin * (high - low).max(axis=1, keepdims=True)
    low, high = low - wider, high + wider
    common = np.maximum(high.min(axis=0) - low.max(axis=0), 0.0).prod()
    return float(common / max((high - low).prod(axis=1).min(), 1e-9))
