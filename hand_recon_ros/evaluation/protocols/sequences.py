"""Jitter of hands over a sequence of images."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import metrics
from .summary import summarised


def jitter(joints: np.ndarray, true_joints: np.ndarray, rate: float) -> dict[str, Any]:
    """Acceleration jitter of estimated and of true keypoints of one sequence, or of several one after the other.

    Args:
        joints, true_joints: (T, 2, 21, 3) metres in the camera frame, NaN where a hand was not found or is not there;
            an image of NaN is between two sequences.
        rate: images per second, which the figure depends on.

    Returns "rate_hz", and "metrics" and "ci95" as in :func:`summary.summarised`: "acceleration_jitter_mm_per_frame2",
    its "true_" value, and "jitter_share", the part of the true hands' accelerations at which the estimate has one.

    Raises ValueError where the shapes differ or the rate is not positive.
    """
    if np.shape(joints) != np.shape(true_joints) or np.ndim(joints) != 4:
        raise ValueError(f"expected two arrays (T, 2, 21, 3), got {np.shape(joints)} and {np.shape(true_joints)}")
    if not rate > 0.0:
        raise ValueError(f"the rate must be positive, got {rate}")
    estimated, true = (metrics.acceleration_jitter(each).reshape(-1) for each in (joints, true_joints))
    known = np.isfinite(true)
    values = {
        "acceleration_jitter_mm_per_frame2": estimated[known],
        "true_acceleration_jitter_mm_per_frame2": true[known],
        "jitter_share": np.isfinite(estimated[known]).astype(np.float64),
    }
    return {"rate_hz": float(rate), **summarised(values)}
