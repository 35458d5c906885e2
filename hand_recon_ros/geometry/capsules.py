"""Tapered capsules: the convex hulls of two spheres, and their distances to points and to each other.

A capsule is the union of the spheres whose centre and radius run linearly from one end to the other, so a signed
distance is a minimum over its axis: in closed form for a point, over both axes for two capsules, where the function is
convex and one of the axes is searched. Outside the distance is exact; inside it is how far a point must at most go to
leave that capsule.

Spheres are (S, 4), x, y, z and radius, in one unit; pairs (P, 2) are the two spheres of each capsule.
"""

from __future__ import annotations

import math

import numpy as np

from .compiled import compiled, float_array, index_array

_ITERATIONS = 16
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


def capsule_distances(points: np.ndarray, spheres: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Signed distances (N, P) of points (N, 3) to each capsule.

    Raises ValueError for other shapes and for pairs of spheres that there are not.
    """
    spheres = float_array(spheres, "spheres", None, 4)
    pairs = index_array(pairs, "pairs", len(spheres), None, 2)
    return np.asarray(_distances(float_array(points, "points", None, 3), spheres, pairs))


def capsules_gap(first: np.ndarray, second: np.ndarray, pairs: np.ndarray, max_distance: float = math.inf) -> float:
    """The smallest signed distance between the capsules of two sets of spheres, both with the same pairs.

    Negative where they overlap: the deepest overlap of two spheres of them. ``max_distance`` where the sets are farther
    apart. Raises ValueError as :func:`capsule_distances`.
    """
    first, second = float_array(first, "spheres", None, 4), float_array(second, "spheres", None, 4)
    pairs = index_array(pairs, "pairs", min(len(first), len(second)), None, 2)
    return float(_gap(first, second, pairs, float(max_distance)))


def bounding_spheres(spheres: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """A sphere around each capsule: centre and radius (P, 4). Raises ValueError as :func:`capsule_distances`."""
    spheres = float_array(spheres, "spheres", None, 4)
    return np.asarray(_bounds(spheres, index_array(pairs, "pairs", len(spheres), None, 2)))


@compiled
def nearest_share(px, py, pz, a, b, length, slope):  # type: ignore[no-untyped-def]
    """The place on the axis from ``a`` to ``b`` (x, y, z, radius), 0..1, of the sphere that is nearest to a point.

    ``slope`` is the decrease of the radius along the axis: from 1 on one sphere contains the other. Otherwise the
    line from the nearest sphere's centre to the point leans back by the capsule's half angle.
    """
    if slope >= 1.0:
        return 0.0
    if slope <= -1.0:
        return 1.0
    along = ((px - a[0]) * (b[0] - a[0]) + (py - a[1]) * (b[1] - a[1]) + (pz - a[2]) * (b[2] - a[2])) / length
    square = (px - a[0]) ** 2 + (py - a[1]) ** 2 + (pz - a[2]) ** 2 - along * along
    along -= math.sqrt(max(square, 0.0)) * slope / math.sqrt(1.0 - slope * slope)
    return min(max(along / length, 0.0), 1.0)


@compiled
def length_of(a, b):  # type: ignore[no-untyped-def]
    """Distance of two points, never quite zero."""
    return max(math.sqrt((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2 + (b[2] - a[2]) ** 2), 1e-9)


@compiled
def distance_at(point, a, b, share):  # type: ignore[no-untyped-def]
    """Signed distance of a point to the sphere at a place on the axis."""
    square = 0.0
    for k in range(3):
        square += (point[k] - a[k] - share * (b[k] - a[k])) ** 2
    return math.sqrt(square) - a[3] - share * (b[3] - a[3])


@compiled
def _distances(points, spheres, pairs):  # type: ignore[no-untyped-def]
    result = np.empty((points.shape[0], pairs.shape[0]))
    for c in range(pairs.shape[0]):
        a, b = spheres[pairs[c, 0]], spheres[pairs[c, 1]]
        length = length_of(a, b)
        slope = (a[3] - b[3]) / length
        for i in range(points.shape[0]):
            share = nearest_share(points[i, 0], points[i, 1], points[i, 2], a, b, length, slope)
            result[i, c] = distance_at(points[i], a, b, share)
    return result


@compiled
def _bounds(spheres, pairs):  # type: ignore[no-untyped-def]
    bounds = np.empty((pairs.shape[0], 4))
    for c in range(pairs.shape[0]):
        a, b = spheres[pairs[c, 0]], spheres[pairs[c, 1]]
        length = length_of(a, b)
        radius = max((length + a[3] + b[3]) / 2.0, a[3], b[3])
        share = min(max((radius - a[3]) / length, 0.0), 1.0)
        for k in range(3):
            bounds[c, k] = a[k] + share * (b[k] - a[k])
        bounds[c, 3] = radius
    return bounds


@compiled
def _between(a, b):  # type: ignore[no-untyped-def]
    return math.sqrt((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2 + (b[2] - a[2]) ** 2) - a[3] - b[3]


@compiled
def _gap(first, second, pairs, limit):  # type: ignore[no-untyped-def]
    best = limit
    for i in range(first.shape[0]):
        for j in range(second.shape[0]):
            reach = best + first[i, 3] + second[j, 3]
            if reach > 0.0:
                x, y, z = first[i, 0] - second[j, 0], first[i, 1] - second[j, 1], first[i, 2] - second[j, 2]
                square = x * x + y * y + z * z
                if square < reach * reach:
                    best = math.sqrt(square) - first[i, 3] - second[j, 3]
    around, other = _bounds(first, pairs), _bounds(second, pairs)
    sphere = np.empty(4)
    for c in range(pairs.shape[0]):
        a, b = first[pairs[c, 0]], first[pairs[c, 1]]
        for d in range(pairs.shape[0]):
            if _between(around[c], other[d]) < best:
                e, f = second[pairs[d, 0]], second[pairs[d, 1]]
                # No two spheres of them are nearer than the axes less the largest radii.
                if _axes_distance(a, b, e, f) - max(a[3], b[3]) - max(e[3], f[3]) < best:
                    best = min(best, _capsule_pair(a, b, e, f, sphere))
    return best


@compiled
def _capsule_pair(a, b, c, d, sphere):  # type: ignore[no-untyped-def]
    """Signed distance of two capsules: golden section along the first's axis (Kiefer 1953)."""
    length = length_of(c, d)
    slope = (c[3] - d[3]) / length
    low, high = 0.0, 1.0
    one, two = high - _GOLDEN, low + _GOLDEN
    at_one = _sphere_to_capsule(a, b, one, c, d, length, slope, sphere)
    at_two = _sphere_to_capsule(a, b, two, c, d, length, slope, sphere)
    best = _sphere_to_capsule(a, b, 0.0, c, d, length, slope, sphere)
    best = min(best, _sphere_to_capsule(a, b, 1.0, c, d, length, slope, sphere))
    for _ in range(_ITERATIONS):
        if at_one < at_two:
            high, two, at_two = two, one, at_one
            one = high - _GOLDEN * (high - low)
            at_one = _sphere_to_capsule(a, b, one, c, d, length, slope, sphere)
        else:
            low, one, at_one = one, two, at_two
            two = low + _GOLDEN * (high - low)
            at_two = _sphere_to_capsule(a, b, two, c, d, length, slope, sphere)
    return min(best, at_one, at_two)


@compiled
def _sphere_to_capsule(a, b, share, c, d, length, slope, sphere):  # type: ignore[no-untyped-def]
    """Signed distance of the sphere at a place on the axis a-b to the capsule c-d."""
    for k in range(4):
        sphere[k] = a[k] + share * (b[k] - a[k])
    return distance_at(sphere, c, d, nearest_share(sphere[0], sphere[1], sphere[2], c, d, length, slope)) - sphere[3]


@compiled
def _axes_distance(a, b, c, d):  # type: ignore[no-untyped-def]
    """Distance of the segments a-b and c-d (Ericson 2005, 5.1.9)."""
    uu, vv, uv, uw, vw = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(3):
        u, v, w = b[k] - a[k], d[k] - c[k], a[k] - c[k]
        uu, vv, uv, uw, vw = uu + u * u, vv + v * v, uv + u * v, uw + u * w, vw + v * w
    uu, vv = max(uu, 1e-18), max(vv, 1e-18)
    determinant = uu * vv - uv * uv
    here = min(max((uv * vw - vv * uw) / determinant, 0.0), 1.0) if determinant > 1e-12 * uu * vv else 0.0
    there = (uv * here + vw) / vv
    if there < 0.0:
        there, here = 0.0, min(max(-uw / uu, 0.0), 1.0)
    elif there > 1.0:
        there, here = 1.0, min(max((uv - uw) / uu, 0.0), 1.0)
    square = 0.0
    for k in range(3):
        square += (a[k] - c[k] + here * (b[k] - a[k]) - there * (d[k] - c[k])) ** 2
    return math.sqrt(square)
