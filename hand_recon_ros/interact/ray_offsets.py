"""Offsets along a line at which two hands just touch.

Hands that lie half inside each other cannot be pushed apart from within: skin on the two sides of a finger is nearest
to opposite sides of the hand around it. Along one line, usually the camera's ray, the problem has a closed form for
spheres: two spheres overlap over one interval of offsets, and an offset that no interval covers is free.
"""

from __future__ import annotations

import math

import numpy as np

from ..geometry.compiled import compiled, float_array

_MAX_OFFSET, _STEP = 0.12, 0.001
_BETWEEN = 3
"""Spheres added between the two ends of a capsule."""


def touching_offsets(spheres: np.ndarray, pairs: np.ndarray, direction: np.ndarray, max_overlap: float) -> np.ndarray:
    """Offsets s (N,), metres, on a grid to both sides of 0, at which the hands touch: the first hand, moved by s
    ``direction``, overlaps the second by no more than ``max_overlap``, but would one grid step further.

    Args:
        spheres: of both hands (2, S, 4), in one frame.
        pairs: the two spheres of each capsule (P, 2).
        direction: (3,).
        max_overlap: metres.
    """
    occupied = np.zeros(2 * round(_MAX_OFFSET / _STEP) + 1, dtype=np.bool_)
    first, second = (_with_spheres_between(hand, pairs) for hand in float_array(spheres, "spheres", 2, None, 4))
    _occupy(first, second, float_array(direction, "direction", 3), float(max_overlap), occupied)
    beside = np.zeros_like(occupied)
    beside[1:] |= occupied[:-1]
    beside[:-1] |= occupied[1:]
    return (np.flatnonzero(beside & ~occupied) - len(occupied) // 2) * _STEP


def _with_spheres_between(spheres: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The spheres (N, 4) of capsules and some between their ends."""
    share = np.arange(1, _BETWEEN + 1)[:, None, None] / (_BETWEEN + 1)
    between = spheres[pairs[:, 0]] * (1.0 - share) + spheres[pairs[:, 1]] * share
    return np.ascontiguousarray(np.concatenate([spheres, between.reshape(-1, 4)]))


@compiled
def _occupy(first, second, direction, max_overlap, occupied):  # type: ignore[no-untyped-def]
    middle = occupied.shape[0] // 2
    square = direction[0] ** 2 + direction[1] ** 2 + direction[2] ** 2
    reach = math.sqrt(square) * middle * _STEP
    for i in range(first.shape[0]):
        for j in range(second.shape[0]):
            x, y, z = first[i, 0] - second[j, 0], first[i, 1] - second[j, 1], first[i, 2] - second[j, 2]
            radius = first[i, 3] + second[j, 3] - max_overlap
            distance = x * x + y * y + z * z
            if radius <= 0.0 or distance > (radius + reach) ** 2:
                continue
            # |p + s d|^2 < r^2
            along = x * direction[0] + y * direction[1] + z * direction[2]
            root = along * along - square * (distance - radius * radius)
            if root > 0.0:
                root = math.sqrt(root)
                low, high = (-along - root) / square / _STEP, (-along + root) / square / _STEP
                for s in range(max(math.ceil(low), -middle), min(math.floor(high), middle) + 1):
                    occupied[s + middle] = True
