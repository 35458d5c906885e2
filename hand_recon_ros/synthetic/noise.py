"""Value noise: smooth pseudo-random fields in 3D, a function of position and seed only; and the smooth step."""

from __future__ import annotations

import numba as nb
import numpy as np


@nb.njit(cache=True, nogil=True, inline="always")
def _hash(x, y, z, seed):  # type: ignore[no-untyped-def]
    # A 32-bit integer hash in 64-bit arithmetic; the result lies in [-1, 1).
    h = (x * 374761393 + y * 668265263 + z * 2147483647 + seed * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 2246822519) & 0xFFFFFFFF
    return ((h ^ (h >> 15)) & 0xFFFFFF) / 8388608.0 - 1.0


@nb.njit(cache=True, nogil=True)
def _value_noise(x, y, z, seed):  # type: ignore[no-untyped-def]
    ix, iy, iz = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
    fx, fy, fz = x - ix, y - iy, z - iz
    u = fx * fx * fx * (fx * (fx * 6 - 15) + 10)
    v = fy * fy * fy * (fy * (fy * 6 - 15) + 10)
    w = fz * fz * fz * (fz * (fz * 6 - 15) + 10)
    total = 0.0
    for dz in range(2):
        weight_z = w if dz else 1 - w
        for dy in range(2):
            weight_yz = weight_z * (v if dy else 1 - v)
            a, b = _hash(ix, iy + dy, iz + dz, seed), _hash(ix + 1, iy + dy, iz + dz, seed)
            total += weight_yz * (a + u * (b - a))
    return total


@nb.njit(cache=True, nogil=True)
def _fractal(points, octaves, seed, out):  # type: ignore[no-untyped-def]
    """Write ``out`` (N,) for ``points`` (N, 3), both float64."""
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        amplitude, total, norm = 1.0, 0.0, 0.0
        for k in range(octaves):
            total += amplitude * _value_noise(x, y, z, seed + 101 * k)
            norm += amplitude
            # The offset keeps the octaves' lattices from lining up at the origin.
            x, y, z = 2.03 * x + 17.3, 2.03 * y + 5.9, 2.03 * z + 11.1
            amplitude *= 0.5
        out[i] = total / norm


def fractal_noise(points: np.ndarray, frequency: float, octaves: int = 3, seed: int = 0) -> np.ndarray:
    """Fractal value noise (N,), in about [-1, 1].

    Args:
        points: (N, 3), any unit.
        frequency: features per unit of length, of the coarsest octave.
        octaves: each has half the amplitude and 2.03 times the frequency of the one before.
        seed: of the field.

    Raises ValueError where ``points`` has another shape.
    """
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"expected points (N, 3), got shape {points.shape}")
    scaled = np.ascontiguousarray(points, dtype=np.float64) * frequency
    out = np.empty(len(scaled))
    _fractal(scaled, octaves, seed, out)
    return out


def noise_image(height: int, width: int, cells: float, octaves: int = 3, seed: int = 0) -> np.ndarray:
    """Noise (height, width) in about [-1, 1] with ``cells`` features across the width."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    points = np.stack([x.ravel(), y.ravel(), np.full(x.size, 0.5 * width / cells)], axis=1)
    return fractal_noise(points, cells / width, octaves, seed).reshape(height, width)


def smoothstep(x: np.ndarray | float, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, a cubic with zero slope at both ends in between; of any shape."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))
