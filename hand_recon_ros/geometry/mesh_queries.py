"""Queries on closed triangle meshes: inside or outside, distance to the surface, penetration depth.

A point is inside where its winding number is not zero, counted exactly by the signed crossings of a ray (for a closed
mesh that is the generalised winding number of Jacobson, Kavan & Sorkine-Hornung, "Robust Inside-Outside Segmentation
using Generalized Winding Numbers", 2013): also where a hand's fingers press into its own palm. Distances to triangles
are exact (Ericson, "Real-Time Collision Detection", 2005, 5.1.5). All lengths are in the unit of the points.

Meshes are vertices (V, 3) and triangles (F, 3), counter-clockwise from outside; one with holes has no inside. Arrays of
other types are converted; ValueError is raised for other shapes and for triangles of vertices that there are not.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from .compiled import compiled, float_array, index_array

TOUCHING = 0.005
"""Hands nearer than this, metres, touch."""
_CELLS = 24
"""Cells along each side of the grid that finds the triangles of a ray."""


@dataclasses.dataclass(frozen=True, eq=False)
class PenetratingPoints:
    """K points inside a closed mesh.

    Attributes:
        index: which of the points (K,).
        depth: distance to the mesh's surface (K,).
        surface: the nearest place of that (K, 3).
        triangle: which it lies in (K,).
    """

    index: np.ndarray
    depth: np.ndarray
    surface: np.ndarray
    triangle: np.ndarray


def winding_numbers(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Winding numbers (N,) int64 of a closed mesh about ``points`` (N, 3): 0 outside, 1 inside, 2 where it overlaps
    itself."""
    return np.asarray(_winding(_points(points), *_mesh(vertices, faces)))


def surface_distances(
    points: np.ndarray, vertices: np.ndarray, faces: np.ndarray, max_distance: float = math.inf
) -> np.ndarray:
    """Distances (N,) of ``points`` (N, 3) to the nearest point of any triangle, at most ``max_distance``."""
    return np.asarray(_distances(_points(points), *_mesh(vertices, faces), float(max_distance))[0])


def signed_distances(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Distances (N,) of ``points`` (N, 3) to a closed mesh's surface, negative inside."""
    distances = surface_distances(points, vertices, faces)
    return np.where(winding_numbers(points, vertices, faces) != 0, -distances, distances)


def penetrating_points(
    points: np.ndarray, vertices: np.ndarray, faces: np.ndarray, max_depth: float = math.inf
) -> PenetratingPoints:
    """Those of ``points`` (N, 3) that are inside a closed mesh; those deeper than ``max_depth`` are left out."""
    points, (vertices, faces) = _points(points), _mesh(vertices, faces)
    index = np.flatnonzero(_winding(points, vertices, faces))
    depth, triangle = _distances(points[index], vertices, faces, float(max_depth))
    found = triangle >= 0
    index, depth, triangle = index[found], depth[found], triangle[found]
    return PenetratingPoints(index, depth, _nearest_places(points[index], vertices, faces, triangle), triangle)


def penetration_depth(
    first: np.ndarray, first_faces: np.ndarray, second: np.ndarray, second_faces: np.ndarray
) -> float:
    """The largest distance of a vertex of either closed mesh that is inside the other to the other's surface; 0 where
    none is inside."""
    deepest = 0.0
    for points, vertices, faces in ((first, second, second_faces), (second, first, first_faces)):
        near = _points(points)[_in_box(_points(points), vertices, 0.0)]
        if len(near):
            deepest = max(deepest, float(penetrating_points(near, vertices, faces).depth.max(initial=0.0)))
    return deepest


def gap_between(
    first: np.ndarray, first_faces: np.ndarray, second: np.ndarray, second_faces: np.ndarray, max_distance: float
) -> float:
    """The smallest distance of a vertex of either mesh to the other's surface, on either side of it, at most
    ``max_distance``.

    Two edges that cross may be nearer by a little: less than 0.3 mm for skin whose edges are 4 mm long.
    """
    best = float(max_distance)
    for points, vertices, faces in ((first, second, second_faces), (second, first, first_faces)):
        points, mesh = _points(points), _mesh(vertices, faces)
        near = points[_in_box(points, mesh[0], best)]
        if len(near):
            best = min(best, float(_distances(near, *mesh, best)[0].min()))
    return best


def touching(first: np.ndarray, first_faces: np.ndarray, second: np.ndarray, second_faces: np.ndarray) -> bool:
    """Whether two closed meshes, in metres, are nearer than TOUCHING or one is inside the other."""
    pair = first, first_faces, second, second_faces
    return gap_between(*pair, TOUCHING) < TOUCHING or penetration_depth(*pair) > 0.0


def _points(points: np.ndarray) -> np.ndarray:
    return float_array(points, "points", None, 3)


def _mesh(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    vertices = float_array(vertices, "vertices", None, 3)
    return vertices, index_array(faces, "faces", len(vertices), None, 3)


def _in_box(points: np.ndarray, vertices: np.ndarray, margin: float) -> np.ndarray:
    """Which points (N,) lie in the box around the vertices, widened by ``margin``."""
    low, high = vertices.min(axis=0) - margin, vertices.max(axis=0) + margin
    return np.asarray(((points >= low) & (points <= high)).all(axis=1))


@compiled
def _winding(points, vertices, faces):  # type: ignore[no-untyped-def]
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for i in range(vertices.shape[0]):
        for k in range(2):
            low[k], high[k] = min(low[k], vertices[i, k]), max(high[k], vertices[i, k])
    width = np.empty(2)
    for k in range(2):
        width[k] = max((high[k] - low[k]) / _CELLS, 1e-12)
    # The triangles over each cell: counted first, then written one cell after the other.
    spans = np.empty((faces.shape[0], 4), dtype=np.int64)
    starts = np.zeros(_CELLS * _CELLS + 1, dtype=np.int64)
    for f in range(faces.shape[0]):
        for k in range(2):
            a, b, c = vertices[faces[f, 0], k], vertices[faces[f, 1], k], vertices[faces[f, 2], k]
            spans[f, k] = min(int((min(a, b, c) - low[k]) / width[k]), _CELLS - 1)
            spans[f, 2 + k] = min(int((max(a, b, c) - low[k]) / width[k]), _CELLS - 1)
        for x in range(spans[f, 0], spans[f, 2] + 1):
            for y in range(spans[f, 1], spans[f, 3] + 1):
                starts[x * _CELLS + y + 1] += 1
    for cell in range(_CELLS * _CELLS):
        starts[cell + 1] += starts[cell]
    over, filled = np.empty(starts[-1], dtype=np.int64), starts[:-1].copy()
    for f in range(faces.shape[0]):
        for x in range(spans[f, 0], spans[f, 2] + 1):
            for y in range(spans[f, 1], spans[f, 3] + 1):
                over[filled[x * _CELLS + y]] = f
                filled[x * _CELLS + y] += 1
    numbers = np.zeros(points.shape[0], dtype=np.int64)
    for i in range(points.shape[0]):
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        if px < low[0] or px > high[0] or py < low[1] or py > high[1]:
            continue
        cell = min(int((px - low[0]) / width[0]), _CELLS - 1) * _CELLS + min(int((py - low[1]) / width[1]), _CELLS - 1)
        for entry in range(starts[cell], starts[cell + 1]):
            f = over[entry]
            turns = 0
            for k in range(3):
                turns += _crossing(px, py, vertices, faces[f, k], faces[f, (k + 1) % 3])
            if turns != 0 and _height(px, py, vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]) > pz:
                numbers[i] += turns
    return numbers


@compiled
def _crossing(px, py, vertices, start, end):  # type: ignore[no-untyped-def]
    """The crossing of an edge, seen along z, with the half line from (px, py) in x: 1 upwards, -1 downwards, 0 none.

    Computed from the lower index to the higher, so that both triangles at an edge get the same result.
    """
    a, b, sign = (start, end, 1) if start < end else (end, start, -1)
    ax, ay, bx, by = vertices[a, 0], vertices[a, 1], vertices[b, 0], vertices[b, 1]
    if (ay <= py) == (by <= py):
        return 0
    if ax + (py - ay) * ((bx - ax) / (by - ay)) <= px:
        return 0
    return sign if by > ay else -sign


@compiled
def _height(px, py, a, b, c):  # type: ignore[no-untyped-def]
    """The height at which the vertical through (px, py) crosses the plane of a triangle."""
    area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
    if area == 0.0:
        return max(a[2], b[2], c[2])
    u = ((px - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (py - a[1])) / area
    v = ((b[0] - a[0]) * (py - a[1]) - (px - a[0]) * (b[1] - a[1])) / area
    return a[2] + u * (b[2] - a[2]) + v * (c[2] - a[2])


@compiled
def _distances(points, vertices, faces, limit):  # type: ignore[no-untyped-def]
    """The distance of each point to its nearest triangle, and which that is; ``limit`` and -1 where none is nearer."""
    count = faces.shape[0]
    centres, radii = np.empty((count, 3)), np.empty(count)
    for f in range(count):
        radius = 0.0
        for k in range(3):
            centres[f, k] = (vertices[faces[f, 0], k] + vertices[faces[f, 1], k] + vertices[faces[f, 2], k]) / 3.0
        for corner in range(3):
            radius = max(radius, _square(vertices[faces[f, corner]], centres[f]))
        radii[f] = math.sqrt(radius)
    result, nearest = np.empty(points.shape[0]), np.full(points.shape[0], -1)
    for i in range(points.shape[0]):
        point, best = points[i], limit
        for f in range(count):
            reach = best + radii[f]
            if _square(point, centres[f]) < reach * reach:
                a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
                v, w = _on_triangle(point, a, b, c)
                distance = math.sqrt(_from_triangle(point, a, b, c, v, w))
                if distance < best:
                    best, nearest[i] = distance, f
        result[i] = best
    return result, nearest


@compiled
def _nearest_places(points, vertices, faces, nearest):  # type: ignore[no-untyped-def]
    places = points.copy()
    for i in range(points.shape[0]):
        if nearest[i] < 0:
            continue
        a, b, c = vertices[faces[nearest[i], 0]], vertices[faces[nearest[i], 1]], vertices[faces[nearest[i], 2]]
        v, w = _on_triangle(points[i], a, b, c)
        for k in range(3):
            places[i, k] = a[k] + v * (b[k] - a[k]) + w * (c[k] - a[k])
    return places


@compiled
def _square(a, b):  # type: ignore[no-untyped-def]
    x, y, z = a[0] - b[0], a[1] - b[1], a[2] - b[2]
    return x * x + y * y + z * z


@compiled
def _dot(a, b):  # type: ignore[no-untyped-def]
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@compiled
def _minus(a, b):  # type: ignore[no-untyped-def]
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


@compiled
def _on_triangle(point, a, b, c):  # type: ignore[no-untyped-def]
    """The point of a triangle that is nearest to a given one, by the region of the triangle's plane that this lies
    over: its barycentric coordinates at ``b`` and ``c``."""
    ab, ac = _minus(b, a), _minus(c, a)
    ap, bp, cp = _minus(point, a), _minus(point, b), _minus(point, c)
    d1, d2, d3, d4, d5, d6 = _dot(ab, ap), _dot(ac, ap), _dot(ab, bp), _dot(ac, bp), _dot(ab, cp), _dot(ac, cp)
    v, w = 0.0, 0.0
    if d1 <= 0.0 and d2 <= 0.0:
        pass
    elif d3 >= 0.0 and d4 <= d3:
        v = 1.0
    elif d6 >= 0.0 and d5 <= d6:
        w = 1.0
    else:
        va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
        if vc <= 0.0 and d1 >= 0.0 and d3 <= 0.0:
            v = d1 / (d1 - d3)
        elif vb <= 0.0 and d2 >= 0.0 and d6 <= 0.0:
            w = d2 / (d2 - d6)
        elif va <= 0.0 and d4 >= d3 and d5 >= d6:
            w = (d4 - d3) / ((d4 - d3) + (d5 - d6))
            v = 1.0 - w
        else:
            total = va + vb + vc
            if total > 0.0:
                v, w = vb / total, vc / total
    return v, w


@compiled
def _from_triangle(point, a, b, c, v, w):  # type: ignore[no-untyped-def]
    """Squared distance of a point to the point of a triangle with these barycentric coordinates."""
    square = 0.0
    for k in range(3):
        square += (point[k] - a[k] - v * (b[k] - a[k]) - w * (c[k] - a[k])) ** 2
    return square
