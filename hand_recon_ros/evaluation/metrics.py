"""Error measures for hands, each defined once.

Keypoints are (..., 21, 3) in metres, or (..., N, 3) where the docstring states it; results are in millimetres, one per
hand, of the leading shape (...). Root, scale and reflection are arguments; their defaults are what the metric's plain
name stands for.
"""

from __future__ import annotations

import math

import numpy as np

from ..geometry.alignment import procrustes
from ..skeleton import MIDDLE_MCP, WRIST

__all__ = [
    "acceleration_jitter", "joint_errors", "lag", "mpjpe", "mpvpe", "mrrpe", "pa_mpjpe", "point_errors", "wrist_error",
]  # fmt: skip

_MM = 1000.0


def point_errors(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distances (..., N) of corresponding points (..., N, 2) or (..., N, 3), in the unit of the points."""
    predicted, truth = _pair(predicted, truth, dimensions=(2, 3))
    return np.linalg.norm(predicted - truth, axis=-1)


def joint_errors(
    predicted: np.ndarray, truth: np.ndarray, root: int | None = WRIST, rescale: bool = False
) -> np.ndarray:
    """Position error (..., 21) of each keypoint, mm.

    Args:
        predicted, truth: keypoints (..., 21, 3), metres.
        root: keypoint that is subtracted from both hands; None compares absolute positions.
        rescale: scale the prediction about the root to the truth's length from wrist to middle MCP (IntagHand, DIR).
    """
    predicted, truth = _pair(predicted, truth)
    return point_errors(*_aligned(predicted, truth, predicted, truth, root, rescale)) * _MM


def mpjpe(predicted: np.ndarray, truth: np.ndarray, root: int | None = WRIST, rescale: bool = False) -> np.ndarray:
    """Mean per-joint position error, mm; arguments as in :func:`joint_errors`.

    The root's error of zero is part of the mean, as in InterNet's and InterWild's protocol.
    """
    return joint_errors(predicted, truth, root, rescale).mean(axis=-1)


def mpvpe(
    vertices: np.ndarray,
    true_vertices: np.ndarray,
    joints: np.ndarray,
    true_joints: np.ndarray,
    root: int | None = WRIST,
    rescale: bool = False,
) -> np.ndarray:
    """Mean per-vertex position error (...), mm, of meshes (..., V, 3), metres.

    Root and scale are those of the hands' keypoints (..., 21, 3), which neither have to be vertices nor count
    themselves; otherwise as in :func:`joint_errors`.
    """
    vertices, true_vertices = _pair(vertices, true_vertices)
    joints, true_joints = _pair(joints, true_joints)
    return point_errors(*_aligned(vertices, true_vertices, joints, true_joints, root, rescale)).mean(axis=-1) * _MM


def pa_mpjpe(predicted: np.ndarray, truth: np.ndarray, reflection: bool = False) -> np.ndarray:
    """MPJPE after Procrustes alignment with scale, mm: the error of the articulated pose and shape alone."""
    predicted, truth = _pair(predicted, truth)
    factor, rotation, shift = procrustes(predicted, truth, scale=True, reflection=reflection)
    aligned = factor[..., None, None] * predicted @ np.swapaxes(rotation, -1, -2) + shift[..., None, :]
    return mpjpe(aligned, truth, root=None)


def mrrpe(
    left: np.ndarray, right: np.ndarray, true_left: np.ndarray, true_right: np.ndarray, root: int = WRIST
) -> np.ndarray:
    """Mean relative-root position error, mm: |(root_L - root_R) predicted - (root_L - root_R) true|."""
    left, true_left = _pair(left, true_left)
    right, true_right = _pair(right, true_right)
    between = left[..., root, :] - right[..., root, :]
    true_between = true_left[..., root, :] - true_right[..., root, :]
    return np.linalg.norm(between - true_between, axis=-1) * _MM


def wrist_error(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distance of the wrists in the camera frame, mm: the error of the absolute position."""
    predicted, truth = _pair(predicted, truth)
    return np.linalg.norm(predicted[..., WRIST, :] - truth[..., WRIST, :], axis=-1) * _MM


def lag(predicted: np.ndarray, truth: np.ndarray, stamps: np.ndarray) -> float:
    """Milliseconds by which predicted keypoints (T, N, 3) follow the true ones at ``stamps`` (T,), seconds.

    To the first order the error of a delayed keypoint is -lag * velocity beside a constant offset: this is the slope of
    the errors over the velocities. Images with NaN are left out; NaN where no velocity changes.
    """
    predicted, truth = _pair(predicted, truth)
    if len(truth) < 2:
        return math.nan
    velocity = np.gradient(truth, stamps, axis=0)
    error = predicted - truth
    known = np.isfinite(error).all(axis=(-2, -1)) & np.isfinite(velocity).all(axis=(-2, -1))
    if not known.any():
        return math.nan
    velocity, error = (each[known] - each[known].mean(axis=0) for each in (velocity, error))
    changes = float((velocity**2).sum())
    return -float((velocity * error).sum()) / changes * _MM if changes > 0.0 else math.nan


def acceleration_jitter(points: np.ndarray) -> np.ndarray:
    """Mean length of the second difference of points (T, ..., N, 3) over time, (T - 2, ...), mm/frame^2.

    A figure in these units says nothing without the rate of the frames. NaN where one of three images has NaN.
    """
    return np.linalg.norm(np.diff(np.asarray(points, dtype=np.float64), n=2, axis=0), axis=-1).mean(axis=-1) * _MM


def _aligned(
    predicted: np.ndarray,
    truth: np.ndarray,
    joints: np.ndarray,
    true_joints: np.ndarray,
    root: int | None,
    rescale: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Points of both hands with the root of their keypoints at the origin, the prediction's rescaled if asked."""
    if root is not None:
        predicted = predicted - joints[..., root : root + 1, :]
        truth = truth - true_joints[..., root : root + 1, :]
    elif rescale:
        raise ValueError("rescale needs a root to scale about, got root=None")
    if rescale:
        length, true_length = (
            np.linalg.norm(j[..., MIDDLE_MCP, :] - j[..., WRIST, :], axis=-1) for j in (joints, true_joints)
        )
        if (length == 0.0).any():
            raise ValueError("a predicted hand cannot be rescaled: its wrist and its middle MCP are the same point")
        predicted = predicted * (true_length / length)[..., None, None]
    return predicted, truth


def _pair(
    predicted: np.ndarray, truth: np.ndarray, dimensions: tuple[int, ...] = (3,)
) -> tuple[np.ndarray, np.ndarray]:
    predicted, truth = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if predicted.shape != truth.shape or predicted.ndim < 2 or predicted.shape[-1] not in dimensions:
        expected = " or ".join(f"(..., N, {count})" for count in dimensions)
        raise ValueError(f"expected two arrays {expected} of one shape, got {predicted.shape} and {truth.shape}")
    return predicted, truth
