"""Bringing two posed hands to where they just touch, fast: a search along one line, and fingers that close."""

from __future__ import annotations

from collections.abc import Callable

import numba as nb
import numpy as np

from .surface import vertex_normals

_REACH = 0.03
TOLERANCE = 0.002
"""How deep hands may press into each other, metres."""


class MeshPair:
    """Two closed meshes of which the second is moved, but not turned."""

    def __init__(
        self, first: np.ndarray, first_faces: np.ndarray, second: np.ndarray, second_faces: np.ndarray
    ) -> None:
        self.first, self.second = (np.ascontiguousarray(v, dtype=np.float64) for v in (first, second))
        self._normals = vertex_normals(self.first, first_faces), vertex_normals(self.second, second_faces)

    def depth(self, shift: np.ndarray) -> float:
        """How deep they overlap with the second moved by ``shift`` (3,), metres; 0 where they do not.

        The deepest vertex behind the tangent plane of its nearest vertex, as in :func:`overlap.overlap_depth`, of
        every other vertex.
        """
        shift = np.asarray(shift, dtype=np.float64)
        one = _deepest(self.second, self.first, self._normals[0], shift)
        return max(one, _deepest(self.first, self.second, self._normals[1], -shift))

    def contact_distance(self, direction: np.ndarray, near: float, far: float, tolerance: float = TOLERANCE) -> float:
        """The way along ``direction`` (3,), between ``near`` and ``far``, to where the second just touches the first.

        It comes from ``far``: what would overlap deep inside does not count once the surfaces have met. ``near`` where
        nothing meets.
        """
        steps = np.linspace(far, near, 11)
        open_way = far
        for way in steps:
            if self.depth(way * direction) > tolerance:
                break
            open_way = float(way)
        else:
            return near
        closed = open_way - float(steps[0] - steps[1])
        for _ in range(4):
            middle = (open_way + closed) / 2
            if self.depth(middle * direction) > tolerance:
                closed = middle
            else:
                open_way = middle
        return open_way

    def separation_distance(self, direction: np.ndarray, tolerance: float = TOLERANCE) -> float:
        """How far the second must move along ``direction`` (3,) to overlap no more, metres; 0 where they do not."""
        way = 0.0
        for _ in range(8):
            depth = self.depth(way * direction)
            if depth <= tolerance:
                break
            way += 1.2 * depth + 0.001
        return way


def largest_free_share(overlaps: Callable[[float], bool], steps: int = 5) -> float:
    """The last of ``steps`` evenly spaced shares of 0..1 before ``overlaps`` (of a share) first holds."""
    reached = 0.0
    for share in np.linspace(0, 1, steps + 1)[1:]:
        if overlaps(float(share)):
            break
        reached = float(share)
    return reached


def mesh_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Smallest distance between vertices (V, 3) of two meshes, metres; with a mesh this fine a little too much."""
    return float(np.sqrt(_nearest(np.ascontiguousarray(first, np.float64), np.ascontiguousarray(second, np.float64))))


@nb.njit(cache=True, nogil=True, fastmath=True)
def _nearest(first, second):  # type: ignore[no-untyped-def]
    best = 1e9
    for i in range(first.shape[0]):
        for j in range(second.shape[0]):
            x, y, z = first[i, 0] - second[j, 0], first[i, 1] - second[j, 1], first[i, 2] - second[j, 2]
            best = min(best, x * x + y * y + z * z)
    return best


@nb.njit(cache=True, nogil=True, fastmath=True)
def _deepest(points, others, normals, shift):  # type: ignore[no-untyped-def]
    low, high = np.full(3, 1e9), np.full(3, -1e9)
    for j in range(others.shape[0]):
        for k in range(3):
            low[k], high[k] = min(low[k], others[j, k]), max(high[k], others[j, k])
    deepest = 0.0
    for i in range(0, points.shape[0], 2):
        x, y, z = points[i, 0] + shift[0], points[i, 1] + shift[1], points[i, 2] + shift[2]
        if x < low[0] or x > high[0] or y < low[1] or y > high[1] or z < low[2] or z > high[2]:
            continue
        best, nearest = _REACH * _REACH, -1
        for j in range(others.shape[0]):
            dx = x - others[j, 0]
            dy = y - others[j, 1]
            dz = z - others[j, 2]
            d = dx * dx + dy * dy + dz * dz
            if d < best:
                best, nearest = d, j
        if nearest >= 0:
            behind = (
                (x - others[nearest, 0]) * normals[nearest, 0]
                + (y - others[nearest, 1]) * normals[nearest, 1]
                + (z - others[nearest, 2]) * normals[nearest, 2]
            )
            deepest = max(deepest, -behind)
    return deepest
