"""How far two hands must pass along a line until they are free of each other.

Hands that lie half inside each other cannot be pushed apart from within: skin on the two sides of a finger is nearest
to opposite sides of what it is in. Moved along one line, mostly the camera's ray, everything between spheres has a
closed form: two spheres overlap over one interval of the way, and what no interval covers is free.
"""

from __future__ import annotations

import math

import numpy as np

from ..geometry.compiled import compiled

_FARTHEST, _STEP = 0.12, 0.001
_BETWEEN = 3
"""Spheres put between the two ends of a capsule."""


def touching_ways(spheres: np.ndarray, pairs: np.ndarray, direction: np.ndarray, press: float) -> np.ndarray:
    """The ways s (N,), metres, on a grid to both sides of 0, at which the first hand, moved by s ``direction``, no
    longer reaches into the second by more than ``press``, but would a step before: there they touch.

    Args:
        spheres: of both hands (2, S, 4), in one frame.
        pairs: the two spheres of each capsule (P, 2).
        direction: (3,).
        press: metres.
    """
    taken = np.zeros(2 * round(_FARTHEST / _STEP) + 1, dtype=np.bool_)
    first, second = (_filled(hand, pairs) for hand in spheres)
    _take(first, second, np.ascontiguousarray(direction, dtype=np.float64), press, taken)
    beside = np.zeros_like(taken)
    beside[1:] |= taken[:-1]
    beside[:-1] |= taken[1:]
    return (np.flatnonzero(beside & ~taken) - len(taken) // 2) * _STEP


def _filled(spheres: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The spheres (N, 4) of capsules and some between their ends."""
    share = np.arange(1, _BETWEEN + 1)[:, None, None] / (_BETWEEN + 1)
    between = spheres[pairs[:, 0]] * (1.0 - share) + spheres[pairs[:, 1]] * share
    return np.ascontiguousarray(np.concatenate([spheres, between.reshape(-1, 4)]))


@compiled
def _take(first, second, direction, press, taken):  # type: ignore[no-untyped-def]
    middle = taken.shape[0] // 2
    square = direction[0] ** 2 + direction[1] ** 2 + direction[2] ** 2
    reach = math.sqrt(square) * middle * _STEP
    for i in range(first.shape[0]):
        for j in range(second.shape[0]):
            x, y, z = first[i, 0] - second[j, 0], first[i, 1] - second[j, 1], first[i, 2] - second[j, 2]
            radius = first[i, 3] + second[j, 3] - press
            away = x * x + y * y + z * z
            if radius <= 0.0 or away > (radius + reach) ** 2:
                continue
            # |p + s d|^2 < r^2
            along = x * direction[0] + y * direction[1] + z * direction[2]
            root = along * along - square * (away - radius * radius)
            if root > 0.0:
                root = math.sqrt(root)
                low, high = (-along - root) / square / _STEP, (-along + root) / square / _STEP
                for s in range(max(math.ceil(low), -middle), min(math.floor(high), middle) + 1):
                    taken[s + middle] = True
