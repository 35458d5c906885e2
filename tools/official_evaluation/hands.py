"""Random hands and predictions of them, with masks and types, on which official code and the package are compared."""

from __future__ import annotations

import dataclasses
import types
from typing import Any

import numpy as np

from hand_recon_ros.evaluation.protocols.protocol import HandPairs, TrueHandPairs
from hand_recon_ros.skeleton import FINGERS, WRIST
from hand_recon_ros.types import Side

VERTICES = 778
GRID = 4096.0
"""Coordinates are multiples of 1/4096 m, which single precision holds exactly also in millimetres: InterWild's code
converts predictions to it, so that differences would otherwise be those of rounding."""
INTERHAND_ORDER = np.array([*(4 * finger + joint for finger in range(len(FINGERS)) for joint in (4, 3, 2, 1)), WRIST])
"""Keypoints of a hand in InterHand2.6M's order, tips first: thumb to little finger, wrist."""


@dataclasses.dataclass(frozen=True, eq=False)
class RandomHands:
    """Truth and prediction of N images, and a joint regressor (16, 778) in MANO's order."""

    truth: TrueHandPairs
    predicted: HandPairs
    regressor: np.ndarray

    @property
    def model(self) -> Any:
        """What :func:`joint_regressors` needs of a hand model."""
        arrays = types.SimpleNamespace(regressor=self.regressor)
        return types.SimpleNamespace(num_vertices=VERTICES, arrays=lambda side: arrays)

    @property
    def valid(self) -> np.ndarray:
        """Keypoints (N, 2, 21) that are valid and whose root is, as the data sets' own classes mark them."""
        return self.truth.valid & self.truth.valid[:, :, WRIST, None]


def random_hands(count: int, seed: int, pairs_only: bool = False) -> RandomHands:
    """N images of one or two hands, a tenth of whose keypoints are not valid."""
    rng = np.random.default_rng(seed)
    kinds = np.resize(["interacting"] if pairs_only else ["right", "left", "interacting"], count)

    def near(points: np.ndarray, spread: float) -> np.ndarray:
        return np.round((points + rng.normal(0.0, spread, points.shape)) * GRID) / GRID

    place = np.zeros((count, 2, 1, 3))
    place[:, Side.LEFT], place[:, Side.RIGHT] = [-0.1, 0.0, 0.7], [0.1, 0.0, 0.7]
    joints, vertices = (near(np.broadcast_to(place, (count, 2, n, 3)), 0.05) for n in (21, VERTICES))
    predicted = HandPairs(near(joints, 0.01), near(vertices, 0.01))
    valid = rng.random((count, 2, 21)) < 0.9
    for side, other in (("left", Side.RIGHT), ("right", Side.LEFT)):
        valid[kinds == side, other] = False
        vertices[kinds == side, other] = np.nan
    shares = rng.multinomial(1024, np.full(32, 1.0 / 32), size=16) / 1024.0  # exact in single precision
    regressor = np.zeros((16, VERTICES))
    for joint in range(16):
        regressor[joint, rng.choice(VERTICES, 32, replace=False)] = shares[joint]
    return RandomHands(TrueHandPairs(joints, vertices, kinds, valid), predicted, regressor)


def both_in_interhand_order(joints: np.ndarray) -> np.ndarray:
    """Keypoints (2, 21, ...), or what belongs to them, as InterHand2.6M has them: (42, ...), right hand first."""
    return np.concatenate([joints[Side.RIGHT][INTERHAND_ORDER], joints[Side.LEFT][INTERHAND_ORDER]])
