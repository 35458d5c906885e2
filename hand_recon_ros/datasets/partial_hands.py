"""Boxes of hands of which not all keypoints are known."""

from __future__ import annotations

import numpy as np

from ..landmarks.crops import TRACK_POINTS
from ..landmarks.hand_keypoints import hand_box
from ..landmarks.observation import RotatedBox

FLAT_HAND = np.array([
    [0, 0], [25, 38], [43, 61], [62, 85], [76, 103], [21, 89], [17, 135], [16, 159], [14, 181], [0, 92],
    [-6, 138], [-10, 165], [-13, 189], [-19, 84], [-30, 126], [-36, 152], [-42, 174], [-38, 74], [-47, 107],
    [-53, 126], [-59, 146],
], dtype=np.float64)  # fmt: skip
"""Keypoints (21, 2) of the embedded hand model at rest in the plane of its palm: towards the thumb, and from the wrist
to the fingertips, mm."""
_MIN_KNOWN = 5
"""Fewer known keypoints do not say where the hand is."""
_THIN = 0.1
"""Known keypoints whose extents in the flat hand differ by more than this factor count as lying on a line."""


def box_points_known(keypoints: np.ndarray) -> bool:
    """Whether the keypoints (21, 2) that bound the tracking box are all known, not NaN."""
    return bool(np.isfinite(keypoints[TRACK_POINTS]).all())


def known_box(keypoints: np.ndarray) -> RotatedBox | None:
    """The tracking box of a hand; None where fewer than five keypoints are known.

    Keypoints that are not known are taken from the flat hand, mapped onto the known ones by the affine map with the
    least square error: an affine map is how a flat hand is seen from any direction.

    Args:
        keypoints: (21, 2), pixels; NaN where they are not known.
    """
    if box_points_known(keypoints):
        return hand_box(keypoints)
    known = np.isfinite(keypoints).all(axis=-1)
    if known.sum() < _MIN_KNOWN:
        return None
    flat, seen = FLAT_HAND[known].mean(axis=0), keypoints[known].mean(axis=0)
    matrix = np.linalg.lstsq(FLAT_HAND[known] - flat, keypoints[known] - seen, rcond=_THIN)[0]
    return hand_box(np.where(known[:, None], keypoints, (FLAT_HAND - flat) @ matrix + seen))
