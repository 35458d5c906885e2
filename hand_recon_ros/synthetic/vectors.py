"""Vectors and orthonormal axes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def triple(values: Iterable[float]) -> tuple[float, float, float]:
    """Three numbers, a colour or a direction, as a tuple of Python floats."""
    x, y, z = map(float, values)
    return x, y, z


def perpendicular(vector: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """The unit vector (3,) along the part of ``vector`` (3,) that is perpendicular to the unit vector ``axis`` (3,)."""
    across = vector - (vector @ axis) * axis
    return np.asarray(across / np.linalg.norm(across))


def axes_along(axis: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """Axes as columns (3, 3): z is the unit vector ``axis``, x the perpendicular direction closest to ``towards``."""
    x = perpendicular(towards, axis)
    return np.stack([x, np.cross(axis, x), axis], axis=-1)
