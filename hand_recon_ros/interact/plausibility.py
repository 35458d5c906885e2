"""Whether two hands, and a vector predicted between them, can be one person's."""

from __future__ import annotations

import math

import numpy as np

from ..types import Side

MAX_WRIST_DISTANCE = 1.8
"""Wrists farther apart than this, metres, are not one person's."""
_MAX_DEPTH_DIFFERENCE = 0.8
"""Of one person's wrists, metres, beyond twice the standard deviation of the estimate: one arm stretched towards the
camera, the other pulled back."""
VECTOR_STDDEV = 0.03
"""Standard deviation of each coordinate of a predicted vector between the wrists, metres, where the errors expected of
the wrists are the usual ones or less: measured on renders."""
_CONSISTENT, _CONTRADICTORY = 4.0, 6.0
"""Mahalanobis distance of a predicted vector between the wrists from that of the estimated wrists up to which it counts
in full, and from which on it does not count. Over pairs of ``val`` it is at most 2.8."""
_MIN_STDDEV, _MAX_STDDEV = 1e-3, 1.0


def clipped_stddev(stddev: np.ndarray) -> np.ndarray:
    """Standard deviations of wrists along their rays, within 1 mm and 1 m."""
    return np.clip(stddev, _MIN_STDDEV, _MAX_STDDEV)


def one_person(wrists: np.ndarray, stddevs: np.ndarray) -> bool:
    """Whether a left and a right hand can be one person's, by where their wrists are.

    Args:
        wrists: (2, 3), metres, camera frame.
        stddevs: of each along its ray (2,), metres.
    """
    between = wrists[Side.RIGHT] - wrists[Side.LEFT]
    depth_limit = _MAX_DEPTH_DIFFERENCE + 2.0 * float(np.linalg.norm(stddevs))
    return bool(np.linalg.norm(between) <= MAX_WRIST_DISTANCE and abs(between[2]) <= depth_limit)


def consistency(
    wrists: np.ndarray, stddevs: np.ndarray, vector: np.ndarray, vector_stddev: float = VECTOR_STDDEV
) -> float:
    """Weight, 0..1, of a predicted vector between the wrists, by its Mahalanobis distance from the estimated wrists'.

    Args:
        wrists, stddevs: as for :func:`one_person`.
        vector: from the left wrist to the right one (3,), metres.
        vector_stddev: of each of its coordinates, metres.
    """
    along = wrists / np.linalg.norm(wrists, axis=1, keepdims=True) * clipped_stddev(stddevs)[:, None]
    covariance = vector_stddev**2 * np.eye(3) + along.T @ along
    error = vector - (wrists[Side.RIGHT] - wrists[Side.LEFT])
    distance = math.sqrt(error @ np.linalg.solve(covariance, error))
    return min(max((_CONTRADICTORY - distance) / (_CONTRADICTORY - _CONSISTENT), 0.0), 1.0)
