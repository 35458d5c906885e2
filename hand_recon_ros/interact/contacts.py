"""Contacts of two hands: skin of one inside the other or close to it, its depth, and the direction out.

They are found with capsules, which is fast, includes skin that is still outside, and gives a direction out from deep
inside; or on the closed meshes, on which the figures are measured.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..geometry.capsules import bounding_spheres, distance_at, length_of, nearest_share
from ..geometry.compiled import compiled, float_array, index_array
from ..geometry.mesh_queries import penetrating_points
from ..types import Side

_MIN_DEPTH = 1e-6
CAPSULE_ERROR = 0.004
"""Metres; twice the largest error of capsules, see docs/hand_model.md."""


@dataclasses.dataclass(frozen=True, eq=False)
class Contacts:
    """N points of skin of one hand that are in or near the other; metres, the frame of both hands.

    Attributes:
        hand: whose skin it is (N,), a :class:`Side`; vertex: which of its points (N,).
        depth: inside the other hand (N,), negative outside.
        points: positions (N, 3).
        outward: unit vectors out of the other hand, towards its nearest surface from inside (N, 3).
        own_influence, other_influence: of the finger joints on the skin, and on the point of the other hand that it
            touches (N, 15), see :class:`collision_geometry.SkinnedPoints`.
    """

    hand: np.ndarray
    vertex: np.ndarray
    depth: np.ndarray
    points: np.ndarray
    outward: np.ndarray
    own_influence: np.ndarray
    other_influence: np.ndarray

    @property
    def max_depth(self) -> float:
        """The largest depth, 0 where nothing is inside."""
        return float(self.depth.max(initial=0.0))

    def __add__(self, other: Contacts) -> Contacts:
        fields = (field.name for field in dataclasses.fields(self))
        return Contacts(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in fields))


def capsule_contacts(
    skin: np.ndarray, influence: np.ndarray, spheres: np.ndarray, sphere_influence: np.ndarray, pairs: np.ndarray,
    margin: float,
) -> Contacts:  # fmt: skip
    """Skin of either hand that is inside a capsule of the other, or outside by less than ``margin``.

    Args:
        skin: points of both hands (2, V, 3), metres, in one frame.
        influence: of the finger joints on them (2, V, 15).
        spheres, sphere_influence: of both hands (2, S, 4) and (2, S, 15).
        pairs: the two spheres of each capsule (P, 2).
        margin: metres.

    Raises ValueError for other shapes.
    """
    skin, spheres = float_array(skin, "skin", 2, None, 3), float_array(spheres, "spheres", 2, None, 4)
    bounds = np.stack([bounding_spheres(spheres[side], pairs) for side in Side])
    count = skin.shape[0] * skin.shape[1]
    values, indices = np.empty((count, 5)), np.empty((count, 4), dtype=np.int64)
    count = _capsule_contacts(
        skin, spheres, index_array(pairs, "pairs", spheres.shape[1], None, 2), bounds, margin, values, indices
    )
    values, (hand, vertex, first, second) = values[:count], indices[:count].T
    share = values[:, 4:]
    return Contacts(
        hand=hand.copy(),
        vertex=vertex.copy(),
        depth=values[:, 0].copy(),
        points=skin[hand, vertex],
        outward=values[:, 1:4].copy(),
        own_influence=influence[hand, vertex],
        other_influence=sphere_influence[1 - hand, first] * (1.0 - share) + sphere_influence[1 - hand, second] * share,
    )


def mesh_contacts(skin: np.ndarray, influence: np.ndarray, faces: list[np.ndarray], near: Contacts) -> Contacts:
    """Vertices of either closed mesh that are inside the other.

    Args:
        skin, influence: as for :func:`capsule_contacts`, of all vertices.
        faces: triangles (F, 3) of both hands.
        near: capsule contacts of the same vertices; only those that can be inside, by the capsules' error, are tested.
    """
    parts: list[Contacts] = []
    for side in Side:
        own, triangles = skin[side], faces[side.other]
        vertex = near.vertex[(near.hand == side) & (near.depth > -CAPSULE_ERROR)]
        inside = penetrating_points(own[vertex], skin[side.other], triangles, near.max_depth + CAPSULE_ERROR)
        # A direction needs a length.
        clear = inside.depth > _MIN_DEPTH
        vertex, depth, triangle = vertex[inside.index[clear]], inside.depth[clear], inside.triangle[clear]
        parts.append(
            Contacts(
                hand=np.full(len(vertex), int(side)),
                vertex=vertex,
                depth=depth,
                points=own[vertex],
                outward=(inside.surface[clear] - own[vertex]) / depth[:, None],
                own_influence=influence[side][vertex],
                other_influence=influence[side.other][triangles[triangle]].mean(axis=1),
            )
        )
    return parts[0] + parts[1]


@compiled
def _capsule_contacts(skin, spheres, pairs, bounds, margin, values, indices):  # type: ignore[no-untyped-def]
    """Write depth, direction out (3) and the place on the axis, and hand, vertex and the two spheres; returns how many
    contacts there are."""
    count, low, high = 0, np.empty(3), np.empty(3)
    for hand in range(2):
        other, around = spheres[1 - hand], bounds[1 - hand]
        for k in range(3):
            low[k], high[k] = math.inf, -math.inf
            for c in range(pairs.shape[0]):
                reach = around[c, 3] + max(margin, 0.0)
                low[k], high[k] = min(low[k], around[c, k] - reach), max(high[k], around[c, k] + reach)
        for v in range(skin.shape[1]):
            point = skin[hand, v]
            out_of_reach = False
            for k in range(3):
                out_of_reach |= point[k] <= low[k] or point[k] >= high[k]
            if out_of_reach:
                continue
            best, nearest, place = margin, -1, 0.0
            for c in range(pairs.shape[0]):
                x, y, z = point[0] - around[c, 0], point[1] - around[c, 1], point[2] - around[c, 2]
                reach = around[c, 3] + max(best, 0.0)
                if x * x + y * y + z * z < reach * reach:
                    a, b = other[pairs[c, 0]], other[pairs[c, 1]]
                    length = length_of(a, b)
                    share = nearest_share(point[0], point[1], point[2], a, b, length, (a[3] - b[3]) / length)
                    distance = distance_at(point, a, b, share)
                    if distance < best:
                        best, nearest, place = distance, c, share
            if nearest >= 0:
                a, b = other[pairs[nearest, 0]], other[pairs[nearest, 1]]
                size = 0.0
                for k in range(3):
                    values[count, 1 + k] = point[k] - a[k] - place * (b[k] - a[k])
                    size += values[count, 1 + k] ** 2
                size = max(math.sqrt(size), 1e-9)
                for k in range(3):
                    values[count, 1 + k] /= size
                values[count, 0], values[count, 4] = -best, place
                indices[count, 0], indices[count, 1] = hand, v
                indices[count, 2], indices[count, 3] = pairs[nearest, 0], pairs[nearest, 1]
                count += 1
    return count
