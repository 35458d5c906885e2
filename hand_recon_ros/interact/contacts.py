"""Where two hands meet: skin of one inside the other or close to it, how deep, and which way is out.

Found among capsules, which is fast, also tells of skin that is still outside, and knows a way out from deep inside; or
on the closed meshes themselves, which is what the figures are measured on.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..geometry.capsules import bounds, distance_at, length_of, nearest_share
from ..geometry.compiled import compiled
from ..geometry.mesh_queries import nearest_on_surface, winding_numbers
from ..types import Side

_THINNEST = 1e-6
_CAPSULES_ERR = 0.004
"""Metres; twice what capsules err at most, see docs/hand_model.md."""


@dataclasses.dataclass(frozen=True, eq=False)
class Contacts:
    """N places where skin of one hand is in or near the other; metres, the frame of both hands.

    Attributes:
        hand: whose skin it is (N,), a :class:`Side`; vertex: which of its points (N,).
        depth: how deep it is (N,), negative outside.
        points: where it is (N, 3).
        away: unit vectors out of the other hand, towards its nearest surface from inside (N, 3).
        own, other: how much each finger joint's angles move the skin, and what it meets of the other hand (N, 15).
    """

    hand: np.ndarray
    vertex: np.ndarray
    depth: np.ndarray
    points: np.ndarray
    away: np.ndarray
    own: np.ndarray
    other: np.ndarray

    @property
    def deepest(self) -> float:
        """The largest depth, 0 where nothing is inside."""
        return float(self.depth.max(initial=0.0))

    def __add__(self, other: Contacts) -> Contacts:
        fields = (field.name for field in dataclasses.fields(self))
        return Contacts(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in fields))


def among_capsules(
    skin: np.ndarray, shares: np.ndarray, spheres: np.ndarray, sphere_shares: np.ndarray, pairs: np.ndarray,
    near: float,
) -> Contacts:  # fmt: skip
    """The skin (2, V, 3) of either hand that is inside a capsule of the other, or outside by less than ``near``.

    Args:
        skin: points of both hands, in the frame of both.
        shares: of the skin (2, V, 15), see :class:`flesh.Body`.
        spheres, sphere_shares: of both hands (2, S, 4) and (2, S, 15).
        pairs: the two spheres of each capsule (P, 2).
        near: metres.
    """
    most = skin.shape[0] * skin.shape[1]
    values, where = np.empty((most, 5)), np.empty((most, 4), dtype=np.int64)
    around = np.stack([bounds(spheres[side], pairs) for side in Side])
    count = _among_capsules(skin, spheres, pairs, around, near, values, where)
    values, (hand, vertex, first, second) = values[:count], where[:count].T
    along = values[:, 4:]
    met = sphere_shares[1 - hand, first] * (1.0 - along) + sphere_shares[1 - hand, second] * along
    return Contacts(
        hand.copy(),
        vertex.copy(),
        values[:, 0].copy(),
        skin[hand, vertex],
        values[:, 1:4].copy(),
        shares[hand, vertex],
        met,
    )


def between_meshes(skin: np.ndarray, shares: np.ndarray, faces: list[np.ndarray], near: Contacts) -> Contacts:
    """The vertices (2, V, 3) of either closed mesh that are inside the other.

    Args:
        skin, shares: as for :func:`among_capsules`, of all vertices.
        faces: the triangles (F, 3) of both hands.
        near: the same vertices among capsules; those that are farther outside than capsules err are not looked at.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    for side in Side:
        mine, others, triangles = skin[side], skin[side.other], faces[side.other]
        inside = near.vertex[(near.hand == side) & (near.depth > -_CAPSULES_ERR)]
        inside = inside[winding_numbers(mine[inside], others, triangles) != 0]
        surface, face = nearest_on_surface(mine[inside], others, triangles, near.deepest + _CAPSULES_ERR)
        out = surface - mine[inside]
        depth = np.linalg.norm(out, axis=1)
        sure = depth > _THINNEST
        inside, depth, out, face = inside[sure], depth[sure], out[sure], face[sure]
        met = shares[side.other][triangles[face]].mean(axis=1)
        hand = np.full(len(inside), int(side))
        parts.append((hand, inside, depth, mine[inside], out / depth[:, None], shares[side][inside], met))
    return Contacts(*(np.concatenate(part) for part in zip(*parts, strict=True)))


@compiled
def _among_capsules(skin, spheres, pairs, around, near, values, where):  # type: ignore[no-untyped-def]
    """Write depth, direction out (3) and the place on the axis, and hand, vertex and the two spheres; how many."""
    count = 0
    for hand in range(2):
        other, balls = spheres[1 - hand], around[1 - hand]
        for v in range(skin.shape[1]):
            point = skin[hand, v]
            least, nearest, place = near, -1, 0.0
            for c in range(pairs.shape[0]):
                x, y, z = point[0] - balls[c, 0], point[1] - balls[c, 1], point[2] - balls[c, 2]
                reach = balls[c, 3] + max(least, 0.0)
                if x * x + y * y + z * z < reach * reach:
                    a, b = other[pairs[c, 0]], other[pairs[c, 1]]
                    length = length_of(a, b)
                    share = nearest_share(point[0], point[1], point[2], a, b, length, (a[3] - b[3]) / length)
                    distance = distance_at(point, a, b, share)
                    if distance < least:
                        least, nearest, place = distance, c, share
            if nearest >= 0:
                a, b = other[pairs[nearest, 0]], other[pairs[nearest, 1]]
                size = 0.0
                for k in range(3):
                    values[count, 1 + k] = point[k] - a[k] - place * (b[k] - a[k])
                    size += values[count, 1 + k] ** 2
                size = max(math.sqrt(size), 1e-9)
                for k in range(3):
                    values[count, 1 + k] /= size
                values[count, 0], values[count, 4] = -least, place
                where[count, 0], where[count, 1] = hand, v
                where[count, 2], where[count, 3] = pairs[nearest, 0], pairs[nearest, 1]
                count += 1
    return count
