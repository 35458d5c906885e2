"""The figures of a hand, taken in one place for every evaluation, and what a list of them comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import metrics
from .intervals import interval

PER_JOINT = "per_joint_mm"
"""Name under which values hold the joint errors (N, 21) of hands; in a report it stands beside "metrics"."""
PCK_SHARES = {"pck_0_05": 0.05, "pck_0_1": 0.1}
"""Share of the larger side of the true box below which a keypoint counts as right."""

Values = dict[str, list[np.ndarray]]
"""Figure -> its values () or (N,) as they were measured, one array per hand, pair or picture."""


class HandErrors(NamedTuple):
    """What a hand's keypoints are wrong by: in space from the wrist (21,), mm, and in the picture (21,), as a share of
    the larger side of the true box, NaN for keypoints that do not count."""

    joints_mm: np.ndarray
    shares: np.ndarray


def add_hand(
    values: Values,
    joints: np.ndarray,
    true_joints: np.ndarray,
    pixels: np.ndarray,
    true_pixels: np.ndarray,
    counted: np.ndarray,
) -> HandErrors:
    """Add one hand's values to the lists.

    Args:
        values: gets mpjpe_mm, pa_mpjpe_mm, wrist_error_mm and PER_JOINT, and where a keypoint counts error_2d_px and
            PCK_SHARES.
        joints, true_joints: keypoints (21, 3) in the camera frame, metres.
        pixels, true_pixels: keypoints (21, 2) in the picture; the true box is that of ``true_pixels``.
        counted: which keypoints count in the picture (21,) bool.
    """
    joints, true_joints = joints[None], true_joints[None]
    errors = metrics.joint_errors(joints, true_joints)
    values[PER_JOINT].append(errors)
    values["mpjpe_mm"].append(errors.mean(axis=-1))
    values["pa_mpjpe_mm"].append(metrics.pa_mpjpe(joints, true_joints))
    values["wrist_error_mm"].append(metrics.wrist_error(joints, true_joints))
    shares = np.full(len(pixels), np.nan)
    if counted.any():
        error_2d = metrics.point_errors(pixels[counted], true_pixels[counted])
        shares[counted] = error_2d / np.ptp(true_pixels, axis=0).max()
        values["error_2d_px"].append(error_2d.mean(keepdims=True))
        for name, share in PCK_SHARES.items():
            values[name].append((shares[counted] < share).mean(keepdims=True))
    return HandErrors(errors[0], shares)


def summary(values: Mapping[str, Sequence[np.ndarray]]) -> dict[str, dict[str, Any]]:
    """Means and 95 % bootstrap intervals of values, the part of a report that all evaluations share.

    Returns {"metrics", "ci95", "per_joint_mm"}, each with the entry "estimate": figure -> mean, figure -> [low, high],
    and the mean error of each of the 21 keypoints from the wrist, mm. What has no values is None.
    """
    pooled = {
        name: np.concatenate([np.atleast_1d(part) for part in parts]) if parts else np.zeros(0)
        for name, parts in values.items()
    }
    joints = pooled.pop(PER_JOINT)
    return {
        "metrics": {"estimate": {name: float(found.mean()) if found.size else None for name, found in pooled.items()}},
        "ci95": {"estimate": {name: interval(found) if found.size else None for name, found in pooled.items()}},
        PER_JOINT: {"estimate": joints.mean(axis=0).tolist() if joints.size else None},
    }
