"""How deep two hand meshes overlap and how far apart they are: fast and approximate, for searches with many steps.

The depth of a vertex in the other mesh is its distance behind the tangent plane of that mesh's nearest vertex, accurate
to the size of a triangle. Reported figures come from :mod:`geometry.mesh_queries`, which is exact and slower.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from scipy.spatial import cKDTree

from .surface import vertex_normals

_MAX_DEPTH = 0.03
"""Vertices farther than this from the other hand's are outside of it, metres: half of the thickest part of a hand."""


def overlap_depth(vertices_a: np.ndarray, faces_a: np.ndarray, vertices_b: np.ndarray, faces_b: np.ndarray) -> float:
    """The depth, metres, of the deepest vertex of either closed mesh in the other; 0 where they do not overlap.

    Args:
        vertices_a, vertices_b: (V, 3) metres.
        faces_a, faces_b: (F, 3), counter-clockwise from outside.
    """
    deepest = 0.0
    for points, others, faces in ((vertices_a, vertices_b, faces_b), (vertices_b, vertices_a, faces_a)):
        low, high = others.min(axis=0), others.max(axis=0)
        near = points[((points > low) & (points < high)).all(axis=1)]
        if not len(near):
            continue
        distance, nearest = cKDTree(others).query(near, distance_upper_bound=_MAX_DEPTH)
        found = np.isfinite(distance)
        if not found.any():
            continue
        normals = vertex_normals(np.ascontiguousarray(others, dtype=np.float64), faces)
        height = np.einsum("ij,ij->i", near[found] - others[nearest[found]], normals[nearest[found]])
        deepest = max(deepest, float(-height.min()))
    return deepest


class ShiftedMeshes:
    """Two closed meshes, of which the second is shifted: the overlap at many shifts, normals computed once."""

    def __init__(
        self, first: np.ndarray, first_faces: np.ndarray, second: np.ndarray, second_faces: np.ndarray
    ) -> None:
        """Vertices (V, 3), metres, and faces (F, 3), counter-clockwise from outside, of each."""
        self._first, self._second = (np.ascontiguousarray(v, dtype=np.float64) for v in (first, second))
        self._normals = vertex_normals(self._first, first_faces), vertex_normals(self._second, second_faces)

    def depth(self, shift: np.ndarray) -> float:
        """:func:`overlap_depth` with the second mesh moved by ``shift`` (3,), metres, at every other vertex only."""
        shift = np.asarray(shift, dtype=np.float64)
        depth = _deepest(self._second, self._first, self._normals[0], shift)
        return float(max(depth, _deepest(self._first, self._second, self._normals[1], -shift)))


def vertex_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Smallest distance, metres, between vertices (V, 3) of two meshes: an upper bound of the meshes' distance."""
    first, second = (np.ascontiguousarray(vertices, dtype=np.float64) for vertices in (first, second))
    return float(np.sqrt(_smallest_squared_distance(first, second)))


@nb.njit(cache=True, nogil=True, fastmath=True)
def _smallest_squared_distance(first, second):  # type: ignore[no-untyped-def]
    """Of vertices (V, 3) and (W, 3), both float64."""
    best = 1e9
    for i in range(first.shape[0]):
        for j in range(second.shape[0]):
            x, y, z = first[i, 0] - second[j, 0], first[i, 1] - second[j, 1], first[i, 2] - second[j, 2]
            best = min(best, x * x + y * y + z * z)
    return best


@nb.njit(cache=True, nogil=True, fastmath=True)
def _deepest(points, others, normals, shift):  # type: ignore[no-untyped-def]
    """Depth of the deepest of every other of ``points`` (N, 3), moved by ``shift`` (3,), in a mesh.

    ``others`` and ``normals`` (V, 3) are the mesh's vertices and their normals; all float64.
    """
    low, high = np.full(3, 1e9), np.full(3, -1e9)
    for j in range(others.shape[0]):
        for k in range(3):
            low[k], high[k] = min(low[k], others[j, k]), max(high[k], others[j, k])
    deepest = 0.0
    for i in range(0, points.shape[0], 2):
        x, y, z = points[i, 0] + shift[0], points[i, 1] + shift[1], points[i, 2] + shift[2]
        if x < low[0] or x > high[0] or y < low[1] or y > high[1] or z < low[2] or z > high[2]:
            continue
        best, nearest = _MAX_DEPTH * _MAX_DEPTH, -1
        for j in range(others.shape[0]):
            dx = x - others[j, 0]
            dy = y - others[j, 1]
            dz = z - others[j, 2]
            d = dx * dx + dy * dy + dz * dz
            if d < best:
                best, nearest = d, j
        if nearest >= 0:
            height = (
                (x - others[nearest, 0]) * normals[nearest, 0]
                + (y - others[nearest, 1]) * normals[nearest, 1]
                + (z - others[nearest, 2]) * normals[nearest, 2]
            )
            deepest = max(deepest, -height)
    return deepest
