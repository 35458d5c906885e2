"""Linear blend skinning: points that follow the joints of a hand by their weights."""

from __future__ import annotations

import numpy as np

from ..skeleton import NUM_JOINTS, NUM_KEYPOINTS
from .compiled import compiled, compiled_ufunc


def skinned(
    points: np.ndarray, weights: np.ndarray, orientations: np.ndarray, keypoints: np.ndarray, rest_keypoints: np.ndarray
) -> np.ndarray:
    """Positions (..., N, 3) of points that follow the joints, float64, in the frame of the keypoints.

    Args:
        points: at rest (..., N, 3), metres, shape and pose correctives included.
        weights: skinning weights (..., N, 16), those of a point summing to 1.
        orientations: of the joints (..., 16, 3, 3), and
        keypoints: of the hand (..., 21, 3), metres, both as :func:`hand_kinematics.forward_kinematics` returns them.
        rest_keypoints: at rest (..., 21, 3), metres.

    Leading dimensions broadcast. Raises ValueError for other shapes.
    """
    if np.shape(points)[-2:] != (np.shape(weights)[-2], 3):
        raise ValueError(
            f"expected points (..., N, 3) for weights of shape {np.shape(weights)}, got {np.shape(points)}"
        )
    _check(weights, orientations, keypoints, rest_keypoints)
    return np.asarray(_skinned(points, weights, orientations, keypoints, rest_keypoints))


def skinning_transforms(
    weights: np.ndarray, orientations: np.ndarray, keypoints: np.ndarray, rest_keypoints: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The blended transforms of points: matrices (..., N, 3, 3) and shifts (..., N, 3), metres.

    Arguments as for :func:`skinned`, which gives ``matrix @ point + shift``.
    """
    _check(weights, orientations, keypoints, rest_keypoints)
    matrices, shifts = _skinning_transforms(weights, orientations, keypoints, rest_keypoints)
    return matrices, shifts


def _check(weights: np.ndarray, orientations: np.ndarray, keypoints: np.ndarray, rest: np.ndarray) -> None:
    shapes = np.shape(weights)[-1:], np.shape(orientations)[-3:], np.shape(keypoints)[-2:], np.shape(rest)[-2:]
    if shapes != ((NUM_JOINTS,), (NUM_JOINTS, 3, 3), (NUM_KEYPOINTS, 3), (NUM_KEYPOINTS, 3)):
        raise ValueError(
            "expected weights (..., N, 16), orientations (..., 16, 3, 3) and keypoints (..., 21, 3), twice, got shapes "
            f"{np.shape(weights)}, {np.shape(orientations)}, {np.shape(keypoints)} and {np.shape(rest)}"
        )


@compiled
def _joint_shifts(orientations, keypoints, rest):  # type: ignore[no-untyped-def]
    """What each joint adds to a point that it rotates (16, 3)."""
    shifts = np.empty((NUM_JOINTS, 3))
    for j in range(NUM_JOINTS):
        k = j + (j - 1) // 3 if j > 0 else 0
        for i in range(3):
            shifts[j, i] = keypoints[k, i]
            for m in range(3):
                shifts[j, i] -= orientations[j, i, m] * rest[k, m]
    return shifts


@compiled_ufunc(
    "void(float64[:, :], float64[:, :], float64[:, :, :], float64[:, :], float64[:, :], float64[:, :])",
    "(n,d),(n,j),(j,d,d),(k,d),(k,d)->(n,d)",
)
def _skinned(points, weights, orientations, keypoints, rest, out):  # type: ignore[no-untyped-def]
    shifts = _joint_shifts(orientations, keypoints, rest)
    for n in range(points.shape[0]):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        sum_x, sum_y, sum_z = 0.0, 0.0, 0.0
        for j in range(NUM_JOINTS):
            weight = weights[n, j]
            if weight != 0.0:
                r = orientations[j]
                sum_x += weight * (r[0, 0] * x + r[0, 1] * y + r[0, 2] * z + shifts[j, 0])
                sum_y += weight * (r[1, 0] * x + r[1, 1] * y + r[1, 2] * z + shifts[j, 1])
                sum_z += weight * (r[2, 0] * x + r[2, 1] * y + r[2, 2] * z + shifts[j, 2])
        out[n, 0], out[n, 1], out[n, 2] = sum_x, sum_y, sum_z


@compiled_ufunc(
    "void(float64[:, :], float64[:, :, :], float64[:, :], float64[:, :], float64[:, :, :], float64[:, :])",
    "(n,j),(j,d,d),(k,d),(k,d)->(n,d,d),(n,d)",
)
def _skinning_transforms(weights, orientations, keypoints, rest, matrices, shifts):  # type: ignore[no-untyped-def]
    joint_shifts = _joint_shifts(orientations, keypoints, rest)
    for n in range(weights.shape[0]):
        for i in range(3):
            shifts[n, i] = 0.0
            for k in range(3):
                matrices[n, i, k] = 0.0
            for j in range(NUM_JOINTS):
                shifts[n, i] += weights[n, j] * joint_shifts[j, i]
                for k in range(3):
                    matrices[n, i, k] += weights[n, j] * orientations[j, i, k]
