"""Both hands of a pair as kinematic chains of right hands, and differences of their poses.

The left hand is mirrored in the plane x = 0, so that everything of one hand is of the same kind for both.
"""

from __future__ import annotations

import numpy as np

from ..geometry.hand_kinematics import ANGLES, NUM_PARAMETERS, ROTATION, TRANSLATION, Pose, Posed
from ..geometry.rotations import rotation_matrices, rotation_vectors
from ..hand_model import HandModel
from ..hand_model.hand_pair import HandPair
from ..hand_model.kinematics import template_of
from ..types import Side

PER_HAND = NUM_PARAMETERS - 10
"""Parameters of a hand that are optimised: all of :mod:`hand_recon_ros.geometry.hand_kinematics` but the betas."""


class PairChain:
    """The chains of both hands of a hand model; holds nothing of any image."""

    def __init__(self, hand_model: HandModel) -> None:
        self._right_hands = [hand_model.kinematics(Side.LEFT).mirrored(), hand_model.kinematics(Side.RIGHT)]
        self.template = template_of(self._right_hands)

    def pose(self, pair: HandPair) -> Pose:
        """The parameters of the chains."""
        rotations, wrists = pair.as_right_hands()
        angles = np.stack([hand.angles_of(rotations[i])[1:] for i, hand in enumerate(self._right_hands)])
        return Pose(rotations[:, 0].copy(), wrists, angles, pair.betas.astype(np.float64))

    def pair(self, pose: Pose, posed: Posed) -> HandPair:
        """The inverse of :meth:`pose`; ``posed`` is the forward kinematics of the pose."""
        return HandPair.from_right_hands(posed.rotations, pose.betas, pose.wrist)


def difference(pose: Pose, other: Pose) -> np.ndarray:
    """The step that takes ``other`` to ``pose``: (2, PER_HAND), rotation vectors (rad), wrists (m) and angles (rad)."""
    rotation = rotation_vectors(pose.rotation @ np.swapaxes(other.rotation, -1, -2))
    angles = (pose.angles - other.angles).reshape(2, -1)
    return np.concatenate([rotation, pose.wrist - other.wrist, angles], axis=1)


def moved(pose: Pose, step: np.ndarray) -> Pose:
    """The pose after a step (2, PER_HAND): the inverse of :func:`difference`."""
    return Pose(
        rotation_matrices(step[:, ROTATION]) @ pose.rotation,
        pose.wrist + step[:, TRANSLATION],
        pose.angles + step[:, ANGLES].reshape(pose.angles.shape),
        pose.betas,
    )
