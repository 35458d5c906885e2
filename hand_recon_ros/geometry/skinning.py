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


@compiled
def _blend(weights, orientations, shifts, matrix, shift):  # type: ignore[no-untyped-def]
    """Write the transform of one point: matrix (3, 3) and shift (3,)."""
    matrix[:], shift[:] = 0.0, 0.0
    for j in range(weights.shape[0]):
        weight = weights[j]
        if weight != 0.0:
            for i in range(3):
                shift[i] += weight * shifts[j, i]
                for k in range(3):
                    matrix[i, k] += weight * orientations[j, i, k]


@compiled_ufunc(
    "void(float64[:, :], float64[:, :], float64[:, :, :], float64[:, :], float64[:, :], float64[:, :])",
    "(n,d),(n,j),(j,d,d),(k,d),(k,d)->(n,d)",
)
def _skinned(points, weights, orientations, keypoints, rest, out):  # type: ignore[no-untyped-def]
    shifts, matrix, shift = _joint_shifts(orientations, keypoints, rest), np.empty((3, 3)), np.empty(3)
    for n in range(points.shape[0]):
        _blend(weights[n], orientations, shifts, matrix, shift)
        for i in range(3):
            out[n, i] = shift[i]
            for k in range(3):
                out[n, i] += matrix[i, k] * points[n, k]


@compiled_ufunc(
    "void(float64[:, :], float64[:, :, :], float64[:, :], float64[:, :], float64[:, :, :], float64[:, :])",
    "(n,j),(j,d,d),(k,d),(k,d)->(n,d,d),(n,d)",
)
def _skinning_transforms(weights, orientations, keypoints, rest, matrices, shifts):  # type: ignore[no-untyped-def]
    joint_shifts = _joint_shifts(orientations, keypoints, rest)
    for n in range(weights.shape[0]):
        _blend(weights[n], orientations, joint_shifts, matrices[n], shifts[n])
