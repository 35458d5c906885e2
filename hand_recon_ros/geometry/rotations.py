"""Rotations as matrices and rotation vectors, compiled; SciPy is the oracle of their tests."""

from __future__ import annotations

import math

import numpy as np

from .compiled import compiled_ufunc


@compiled_ufunc("void(float64[:], float64[:, :])", "(n)->(n,n)")
def _rotation_matrix(vector, out):  # type: ignore[no-untyped-def]
    x, y, z = vector[0], vector[1], vector[2]
    square = x * x + y * y + z * z
    angle = math.sqrt(square)
    if angle < 1e-4:
        first, second = 1.0 - square / 6.0, 0.5 - square / 24.0
    else:
        first, second = math.sin(angle) / angle, (1.0 - math.cos(angle)) / square
    out[0, 0], out[1, 1], out[2, 2] = (
        1.0 - second * (y * y + z * z), 1.0 - second * (x * x + z * z), 1.0 - second * (x * x + y * y),
    )  # fmt: skip
    out[0, 1], out[1, 0] = second * x * y - first * z, second * x * y + first * z
    out[0, 2], out[2, 0] = second * x * z + first * y, second * x * z - first * y
    out[1, 2], out[2, 1] = second * y * z - first * x, second * y * z + first * x


@compiled_ufunc("void(float64[:, :], float64[:])", "(n,n)->(n)")
def _rotation_vector(r, out):  # type: ignore[no-untyped-def]
    trace = r[0, 0] + r[1, 1] + r[2, 2]
    i = 0
    for axis in range(1, 3):
        if r[axis, axis] > r[i, i]:
            i = axis
    quaternion = np.empty(4)
    if trace >= r[i, i]:
        quaternion[0] = 1.0 + trace
        quaternion[1], quaternion[2], quaternion[3] = r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]
    else:
        j, k = (i + 1) % 3, (i + 2) % 3
        quaternion[0] = r[k, j] - r[j, k]
        quaternion[1 + i] = 1.0 + r[i, i] - r[j, j] - r[k, k]
        quaternion[1 + j], quaternion[1 + k] = r[i, j] + r[j, i], r[i, k] + r[k, i]
    sign = 1.0 if quaternion[0] >= 0.0 else -1.0
    sine = math.sqrt(quaternion[1] ** 2 + quaternion[2] ** 2 + quaternion[3] ** 2)
    norm = math.hypot(sine, quaternion[0])
    scale = sign * (2.0 * math.atan2(sine, sign * quaternion[0]) / sine if sine > 1e-9 * norm else 2.0 / norm)
    for i in range(3):
        out[i] = quaternion[1 + i] * scale


def rotation_matrices(vectors: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) of rotation vectors (..., 3), by Rodrigues' formula."""
    return np.asarray(_rotation_matrix(np.asarray(vectors, dtype=np.float64)))


def rotation_vectors(rotations: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3), of length 0 to pi, of rotation matrices (..., 3, 3).

    Goes through the unit quaternion with its largest component taken from the diagonal (Shepperd 1978), which stays
    exact at rotations near 0 and near pi, where the formula with the antisymmetric part alone does not.
    """
    return np.asarray(_rotation_vector(np.asarray(rotations, dtype=np.float64)))


def rotations_towards(rays: np.ndarray) -> np.ndarray:
    """The smallest rotations (B, 3, 3) that take the optical axis to ``rays`` (B, 3)."""
    x, y, z = (rays / np.linalg.norm(rays, axis=-1, keepdims=True)).T
    rotation = np.empty((len(rays), 3, 3))
    rotation[:, 0, 0], rotation[:, 0, 1], rotation[:, 0, 2] = 1 - x * x / (1 + z), -x * y / (1 + z), x
    rotation[:, 1, 0], rotation[:, 1, 1], rotation[:, 1, 2] = -x * y / (1 + z), 1 - y * y / (1 + z), y
    rotation[:, 2, 0], rotation[:, 2, 1], rotation[:, 2, 2] = -x, -y, z
    return rotation
