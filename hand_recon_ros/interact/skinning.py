"""Skin and capsules of two hands while they are being moved: carried by the chain, without posing whole meshes.

A left hand is carried as a right one in the mirror x = 0, as everywhere in this room; where it touches the other hand
is found in the frame of both.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..geometry.hand_kinematics import Posed
from ..geometry.skinning import skinned
from ..hand_model import HandModel
from ..hand_model.collision_capsules import load_proxies
from ..skeleton import mirror_points
from ..types import Side
from .pair import HandPair


@dataclasses.dataclass(frozen=True, eq=False)
class Body:
    """What can touch: points that follow the joints of two hands, as right hands.

    Attributes:
        rest: positions of N points at rest (2, N, 3), metres, shape and pose correctives included.
        weights: how much each follows each of the 16 joints (2, N, 16).
        share: how much each follows each finger joint or one beyond it in the same finger (2, N, 15): what a joint's
            angles move it by.
    """

    rest: np.ndarray
    weights: np.ndarray
    share: np.ndarray


def shares(weights: np.ndarray) -> np.ndarray:
    """How much points follow each finger joint or one beyond it (..., 15), from skin weights (..., 16)."""
    fingers = weights[..., 1:].reshape(*weights.shape[:-1], 5, 3)
    return np.ascontiguousarray(np.cumsum(fingers[..., ::-1], axis=-1)[..., ::-1].reshape(*weights.shape[:-1], 15))


class Flesh:
    """Skin and capsules of both hands of a hand model; holds nothing of any frame."""

    def __init__(self, hand_model: HandModel) -> None:
        self.hand_model = hand_model
        self.proxies = load_proxies(hand_model)
        self.pairs = self.proxies.pairs
        self._weights = np.stack([hand_model.weights(side) for side in Side]).astype(np.float64)
        self._shares = shares(self._weights)
        self._sphere_shares = shares(self.proxies.weights)
        self.faces = [np.ascontiguousarray(hand_model.faces(side), dtype=np.int64) for side in Side]

    def skin(self, pair: HandPair) -> Body:
        """All vertices of both hands, shaped as they are in a pair."""
        rest = np.stack([self.hand_model.shaped(side, pair.rotations[side], pair.betas[side]) for side in Side])
        return Body(both_frames(rest.astype(np.float64)), self._weights, self._shares)

    def capsules(self, betas: np.ndarray) -> tuple[np.ndarray, Body, np.ndarray]:
        """The keypoints at rest (2, 21, 3), the spheres of both hands, and their radii (2, S)."""
        keypoints, spheres = self.proxies.shaped(betas)
        return keypoints, Body(spheres[..., :3], self.proxies.weights, self._sphere_shares), spheres[..., 3]


def carried(body: Body, rest_keypoints: np.ndarray, posed: Posed) -> np.ndarray:
    """Where the points (2, N, 3) of a body are, metres, as right hands, by linear blend skinning.

    Args:
        body: the points.
        rest_keypoints: (2, 21, 3), see :meth:`Flesh.capsules`.
        posed: the chain of both hands.
    """
    return skinned(body.rest, body.weights, posed.orientations, posed.keypoints, rest_keypoints)


def both_frames(positions: np.ndarray) -> np.ndarray:
    """Points of both hands as right hands (2, N, 3) in the frame of both, or back."""
    positions = positions.copy()
    positions[Side.LEFT] = mirror_points(positions[Side.LEFT])
    return positions
