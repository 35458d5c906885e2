"""Skin and capsules of two hands while an optimiser moves them, without posing whole meshes at every step.

The left hand is posed as a right one in the mirror x = 0, as in all of :mod:`pair_chain`; contacts are found in the
frame of both hands.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..geometry.hand_kinematics import Posed
from ..geometry.skinning import skinned
from ..hand_model import HandModel
from ..hand_model.collision_capsules import load_proxies
from ..hand_model.hand_pair import HandPair
from ..skeleton import mirror_points
from ..types import Side


@dataclasses.dataclass(frozen=True, eq=False)
class SkinnedPoints:
    """Points that follow the joints of two hands, as right hands.

    Attributes:
        rest: positions at rest (2, N, 3), metres, shape and pose correctives included.
        weights: skinning weights (2, N, 16).
        influence: of each finger joint's angles (2, N, 15): the weights of that joint and of those beyond it in the
            same finger.
    """

    rest: np.ndarray
    weights: np.ndarray
    influence: np.ndarray

    def posed(self, rest_keypoints: np.ndarray, posed: Posed) -> np.ndarray:
        """The points (2, N, 3) of posed hands, metres, as right hands; ``rest_keypoints`` are (2, 21, 3)."""
        return skinned(self.rest, self.weights, posed.orientations, posed.keypoints, rest_keypoints)


def joint_influence(weights: np.ndarray) -> np.ndarray:
    """Influence of the finger joints (..., 15) on points of skinning weights (..., 16)."""
    fingers = weights[..., 1:].reshape(*weights.shape[:-1], 5, 3)
    return np.ascontiguousarray(np.cumsum(fingers[..., ::-1], axis=-1)[..., ::-1].reshape(*weights.shape[:-1], 15))


class CollisionGeometry:
    """Skin and capsules of both hands of a hand model; holds nothing of any image."""

    def __init__(self, hand_model: HandModel) -> None:
        self.hand_model = hand_model
        self.proxies = load_proxies(hand_model)
        self.pairs = self.proxies.pairs
        self._weights = np.stack([hand_model.weights(side) for side in Side]).astype(np.float64)
        self._influence = joint_influence(self._weights)
        self._sphere_influence = joint_influence(self.proxies.weights)
        self.faces = [np.ascontiguousarray(hand_model.faces(side), dtype=np.int64) for side in Side]

    def skin(self, pair: HandPair) -> SkinnedPoints:
        """All vertices of both hands, with the shape and the pose correctives of a pair."""
        rest = np.stack([self.hand_model.shaped(side, pair.rotations[side], pair.betas[side]) for side in Side])
        return SkinnedPoints(left_mirrored(rest.astype(np.float64)), self._weights, self._influence)

    def capsules(self, betas: np.ndarray) -> tuple[np.ndarray, SkinnedPoints, np.ndarray]:
        """Of betas (2, 10): the keypoints at rest (2, 21, 3), the spheres' centres, and their radii (2, S)."""
        keypoints, spheres = self.proxies.shaped(betas)
        return keypoints, SkinnedPoints(spheres[..., :3], self.proxies.weights, self._sphere_influence), spheres[..., 3]


def left_mirrored(points: np.ndarray) -> np.ndarray:
    """Points of both hands (2, N, 3) with the left hand's mirrored: from right hands to the frame of both, or back."""
    points = points.copy()
    points[Side.LEFT] = mirror_points(points[Side.LEFT])
    return points
