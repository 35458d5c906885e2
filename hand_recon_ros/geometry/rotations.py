"""Rotations as matrices, rotation vectors, quaternions and six numbers; SciPy is the oracle of their tests."""

from __future__ import annotations

import math

import numpy as np

from .compiled import compiled, compiled_ufunc


def rotation_matrices(vectors: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) of rotation vectors (..., 3), radians, by Rodrigues' formula."""
    return np.asarray(_rotation_matrix(_trailing(vectors, "rotation vectors", 3)))


def rotation_vectors(rotations: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3), of length 0 to pi, of rotation matrices (..., 3, 3).

    They go through the unit quaternion with its largest component taken from the diagonal (Shepperd 1978), which stays
    exact at rotations near 0 and near pi, where the formula with the antisymmetric part alone does not.
    """
    return np.asarray(_rotation_vector(_trailing(rotations, "rotations", 3, 3)))


def quaternions(rotations: np.ndarray) -> np.ndarray:
    """Unit quaternions (..., 4), x y z w with w >= 0, of rotation matrices (..., 3, 3) (Shepperd 1978)."""
    vector, w = _quaternion(_trailing(rotations, "rotations", 3, 3))
    return np.concatenate([vector, w[..., None]], axis=-1)


def quaternion_matrices(numbers: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) of quaternions (..., 4), x y z w, of any length but zero."""
    numbers = _trailing(numbers, "quaternions", 4)
    x, y, z, w = np.moveaxis(numbers / np.linalg.norm(numbers, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - z * w), 2.0 * (x * z + y * w)],
        [2.0 * (x * y + z * w), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - x * w)],
        [2.0 * (x * z - y * w), 2.0 * (y * z + x * w), 1.0 - 2.0 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def smallest_rotations(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The smallest rotations (..., 3, 3) that take unit vectors ``start`` (..., 3) to unit vectors ``end`` (..., 3).

    Finite also for opposite vectors, where it is not unique: then the result is no rotation.
    """
    return np.asarray(_smallest_rotation(_trailing(start, "start", 3), _trailing(end, "end", 3)))


def rotations_towards(rays: np.ndarray) -> np.ndarray:
    """The smallest rotations (..., 3, 3) that take the optical axis to ``rays`` (..., 3) of any length."""
    rays = np.asarray(rays, dtype=np.float64)
    return smallest_rotations(_OPTICAL_AXIS, rays / np.linalg.norm(rays, axis=-1, keepdims=True))


def matrices_from_6d(numbers: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) of their first two columns (..., 6), made orthonormal by Gram and Schmidt.

    Zhou et al., "On the Continuity of Rotation Representations in Neural Networks", CVPR 2019; the first three numbers
    are the first column.
    """
    numbers = _trailing(numbers, "numbers", 6)
    return np.asarray(_matrix_from_columns(numbers.reshape(*numbers.shape[:-1], 2, 3)))


def matrices_to_6d(rotations: np.ndarray) -> np.ndarray:
    """The inverse of :func:`matrices_from_6d`: (..., 3, 3) -> (..., 6)."""
    columns = np.swapaxes(_trailing(rotations, "rotations", 3, 3)[..., :2], -1, -2)
    return columns.reshape(*columns.shape[:-2], 6)


def nearest_rotations(matrices: np.ndarray) -> np.ndarray:
    """The orthogonal matrices (..., 3, 3) nearest to ``matrices`` (..., 3, 3), to the last bit of double precision."""
    u, _, vt = np.linalg.svd(_trailing(matrices, "matrices", 3, 3))
    return np.asarray(u @ vt)


_OPTICAL_AXIS = np.array([0.0, 0.0, 1.0])


def _trailing(array: np.ndarray, name: str, *shape: int) -> np.ndarray:
    """``array`` as float64; raises ValueError where its last dimensions are not ``shape``."""
    array = np.asarray(array, dtype=np.float64)
    if array.shape[-len(shape) :] != shape:
        raise ValueError(f"{name} must have shape (..., {', '.join(map(str, shape))}), got {array.shape}")
    return array


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


@compiled
def _scaled_quaternion(r):  # type: ignore[no-untyped-def]
    """A multiple of the quaternion x, y, z, w of a rotation (3, 3)."""
    xx, yy, zz = r[0, 0], r[1, 1], r[2, 2]
    if xx + yy + zz >= max(xx, yy, zz):
        return r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], 1.0 + xx + yy + zz
    if xx >= yy and xx >= zz:
        return 1.0 + xx - yy - zz, r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[2, 1] - r[1, 2]
    if yy >= zz:
        return r[0, 1] + r[1, 0], 1.0 + yy - zz - xx, r[1, 2] + r[2, 1], r[0, 2] - r[2, 0]
    return r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], 1.0 + zz - xx - yy, r[1, 0] - r[0, 1]


@compiled_ufunc("void(float64[:, :], float64[:])", "(n,n)->(n)")
def _rotation_vector(r, out):  # type: ignore[no-untyped-def]
    x, y, z, w = _scaled_quaternion(r)
    sign = 1.0 if w >= 0.0 else -1.0
    sine = math.sqrt(x * x + y * y + z * z)
    norm = math.hypot(sine, w)
    scale = sign * (2.0 * math.atan2(sine, sign * w) / sine if sine > 1e-9 * norm else 2.0 / norm)
    out[0], out[1], out[2] = x * scale, y * scale, z * scale


@compiled_ufunc("void(float64[:, :], float64[:], float64[:])", "(n,n)->(n),()")
def _quaternion(r, vector, w_out):  # type: ignore[no-untyped-def]
    x, y, z, w = _scaled_quaternion(r)
    scale = (1.0 if w >= 0.0 else -1.0) / math.sqrt(x * x + y * y + z * z + w * w)
    vector[0], vector[1], vector[2], w_out[0] = x * scale, y * scale, z * scale, w * scale


@compiled_ufunc("void(float64[:], float64[:], float64[:, :])", "(n),(n)->(n,n)")
def _smallest_rotation(a, b, out):  # type: ignore[no-untyped-def]
    cosine = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    x, y, z = a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
    factor = 1.0 / max(1.0 + cosine, 1e-6)
    out[0, 0], out[1, 1], out[2, 2] = cosine + factor * x * x, cosine + factor * y * y, cosine + factor * z * z
    out[0, 1], out[1, 0] = factor * x * y - z, factor * x * y + z
    out[0, 2], out[2, 0] = factor * x * z + y, factor * x * z - y
    out[1, 2], out[2, 1] = factor * y * z - x, factor * y * z + x


@compiled_ufunc("void(float64[:, :], float64[:, :])", "(m,n)->(n,n)")
def _matrix_from_columns(columns, out):  # type: ignore[no-untyped-def]
    a, b = columns[0], columns[1]
    length = math.sqrt(a[0] ** 2 + a[1] ** 2 + a[2] ** 2)
    along = (a[0] * b[0] + a[1] * b[1] + a[2] * b[2]) / length
    for i in range(3):
        out[i, 0] = a[i] / length
        out[i, 1] = b[i] - along * out[i, 0]
    length = math.sqrt(out[0, 1] ** 2 + out[1, 1] ** 2 + out[2, 1] ** 2)
    for i in range(3):
        out[i, 1] /= length
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        out[i, 2] = out[j, 0] * out[k, 1] - out[k, 0] * out[j, 1]
