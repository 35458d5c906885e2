"""Point sets laid over each other: the rigid motion or similarity with the least squares."""

from __future__ import annotations

import numpy as np


def procrustes(
    points: np.ndarray, target: np.ndarray, scale: bool = True, reflection: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The similarity that brings ``points`` closest to ``target`` in the least-squares sense.

    Args:
        points, target: (..., N, 3), at least three of them.
        scale: whether it may scale.
        reflection: whether it may mirror (FreiHAND's official code allows it, most papers' code does not).

    Returns:
        factor (...), rotation (..., 3, 3), shift (..., 3): aligned = factor * points @ rotation^T + shift.

    Raises ValueError for other shapes and LinAlgError where a number is not finite. Sources: Kabsch, "A solution for
    the best rotation to relate two sets of vectors", 1976; Umeyama, "Least-squares estimation of transformation
    parameters between two point patterns", 1991.
    """
    points, target = np.asarray(points, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if points.shape != target.shape or points.ndim < 2 or points.shape[-1] != 3:
        raise ValueError(f"expected two arrays (..., N, 3) of one shape, got {points.shape} and {target.shape}")
    centre, target_centre = points.mean(axis=-2, keepdims=True), target.mean(axis=-2, keepdims=True)
    a = points - centre
    rotation, singular = _kabsch(a, target - target_centre, reflection)
    factor = np.ones(singular.shape[:-1])
    if scale:
        spread = np.sum(a * a, axis=(-2, -1))
        factor = np.sum(singular, axis=-1) / np.where(spread > 0, spread, 1.0)
    shift = target_centre[..., 0, :] - factor[..., None] * (rotation @ centre[..., 0, :, None])[..., 0]
    return factor, rotation, shift


def best_rotations(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotations (..., 3, 3), no reflections, that bring centred ``points`` (..., N, 3) closest to ``target``."""
    a, b = (p - p.mean(axis=-2, keepdims=True) for p in (points, target))
    return _kabsch(a, b, reflection=False)[0]


def _kabsch(a: np.ndarray, b: np.ndarray, reflection: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (..., 3, 3) from centred points to others, and their covariance's signed singular values (..., 3)."""
    u, singular, vt = np.linalg.svd(np.swapaxes(b, -1, -2) @ a)
    if not reflection:
        sign = np.sign(np.linalg.det(u @ vt))
        singular[..., 2] *= sign
        u[..., 2] *= sign[..., None]
    return u @ vt, singular
