"""Two hands as the refinement sees them: parameters, what is certain of them, and both as right hands in a chain."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..geometry.hand_kinematics import ANGLES, NUM_PARAMETERS, ROTATION, TRANSLATION, Pose, Posed
from ..geometry.rotations import rotation_matrices, rotation_vectors
from ..hand_model import HandModel
from ..hand_model.kinematics import template_of
from ..skeleton import mirror_points, mirror_rotations
from ..types import Side

MAX_WRIST_DISTANCE = 1.8
"""Wrists farther apart than this, metres, are not one person's."""
_MAX_DEPTH_DIFFERENCE = 0.8
"""Of one person's wrists, metres, beyond twice the standard deviation of the estimate: one arm stretched towards the
camera, the other drawn back."""
VECTOR_STDDEV = 0.03
"""Standard deviation of each coordinate of a predicted vector between the wrists, metres, where the errors expected of
the wrists are the usual ones or less: measured on renders."""
_CONSISTENT, _CONTRADICTORY = 4.0, 6.0
"""Mahalanobis distance of a predicted vector between the wrists from that of the estimated wrists up to which it counts
in full, and from which on it does not count. Over pairs of ``val`` it is at most 2.8."""
MIN_STDDEV, MAX_STDDEV = 1e-3, 1.0
"""Bounds of a wrist's standard deviation along its ray, metres."""
PER_HAND = NUM_PARAMETERS - 10
"""Parameters of a hand that are moved: all but the betas, in the order of :mod:`chain`."""


@dataclasses.dataclass(frozen=True, eq=False)
class HandPair:
    """A left and a right hand, metres, in the frame of the camera.

    Attributes:
        rotations: of the joints relative to their parents (2, 16, 3, 3), in the order of skeleton.JOINT_NAMES; the
            first is the orientation.
        betas: (2, 10).
        wrists: positions of the wrists (2, 3).
    """

    rotations: np.ndarray
    betas: np.ndarray
    wrists: np.ndarray

    def plausible(self, farthest: float = 10.0, steepest: float = 10.0) -> bool:
        """Whether these are numbers that hands can have: finite, rotations that are rotations, in front of the camera
        and within ``farthest`` metres of it, betas of at most ``steepest`` standard deviations."""
        if not all(np.isfinite(array).all() for array in (self.rotations, self.betas, self.wrists)):
            return False
        product = self.rotations @ np.swapaxes(self.rotations, -1, -2)
        orthogonal = bool(np.abs(product - np.eye(3)).max() < 1e-2)
        near = bool((np.abs(self.wrists) < farthest).all() and (self.wrists[:, 2] > 0.0).all())
        return orthogonal and near and bool((np.abs(self.betas) < steepest).all())


@dataclasses.dataclass(frozen=True, eq=False)
class PairUncertainty:
    """What is certain of an estimated pair.

    Attributes:
        precision: inverse standard deviations of the keypoints in the image (2, 21), at distance 1 (1 / normalised).
        position_stddev: of each wrist along its ray (2,), metres.
        scores: confidence of each keypoint (2, 21), 0..1.
        overlap: share of the smaller hand's box in the image that lies in the other's.
    """

    precision: np.ndarray
    position_stddev: np.ndarray
    scores: np.ndarray
    overlap: float = 0.0


def one_person(wrists: np.ndarray, stddevs: np.ndarray) -> bool:
    """Whether a left and a right hand can be one person's, by where their wrists are.

    Args:
        wrists: (2, 3), metres, camera frame.
        stddevs: of each along its ray (2,), metres.
    """
    between = wrists[Side.RIGHT] - wrists[Side.LEFT]
    depth_limit = _MAX_DEPTH_DIFFERENCE + 2.0 * float(np.linalg.norm(stddevs))
    return bool(np.linalg.norm(between) <= MAX_WRIST_DISTANCE and abs(between[2]) <= depth_limit)


def consistency(
    wrists: np.ndarray, stddevs: np.ndarray, vector: np.ndarray, vector_stddev: float = VECTOR_STDDEV
) -> float:
    """Weight, 0..1, of a predicted vector between the wrists, by its Mahalanobis distance from the estimated wrists'.

    Args:
        wrists, stddevs: as for :func:`one_person`.
        vector: from the left wrist to the right one (3,), metres.
        vector_stddev: of each of its coordinates, metres.
    """
    along = wrists / np.linalg.norm(wrists, axis=1, keepdims=True) * np.clip(stddevs, MIN_STDDEV, MAX_STDDEV)[:, None]
    covariance = vector_stddev**2 * np.eye(3) + along.T @ along
    error = vector - (wrists[Side.RIGHT] - wrists[Side.LEFT])
    distance = math.sqrt(error @ np.linalg.solve(covariance, error))
    return min(max((_CONTRADICTORY - distance) / (_CONTRADICTORY - _CONSISTENT), 0.0), 1.0)


class PairChain:
    """Both hands of a hand model as chains of right hands, the left one mirrored; holds nothing of any frame."""

    def __init__(self, hand_model: HandModel) -> None:
        self._kinematics = [hand_model.kinematics(side) for side in Side]
        self._right = [self._kinematics[Side.LEFT].mirrored(), self._kinematics[Side.RIGHT]]
        self.template = template_of(self._right)

    def pose(self, pair: HandPair) -> Pose:
        """The pair as parameters of the chain."""
        rotations, wrists = pair.rotations.astype(np.float64), pair.wrists.astype(np.float64)
        rotations[Side.LEFT], wrists[Side.LEFT] = mirror_rotations(rotations[Side.LEFT]), mirror_points(wrists[0])
        angles = np.stack([hand.angles_of(rotations[i])[1:] for i, hand in enumerate(self._right)])
        return Pose(rotations[:, 0].copy(), wrists, angles, pair.betas.astype(np.float64))

    def pair(self, pose: Pose, posed: Posed) -> HandPair:
        """The pair that parameters of the chain stand for, ``posed`` as they say."""
        rotations, wrists = posed.rotations.copy(), pose.wrist.copy()
        rotations[Side.LEFT], wrists[Side.LEFT] = mirror_rotations(rotations[Side.LEFT]), mirror_points(wrists[0])
        return HandPair(rotations, pose.betas.copy(), wrists)


def difference(pose: Pose, other: Pose) -> np.ndarray:
    """What takes ``other`` to ``pose``: (2, PER_HAND), rotation vectors (rad), wrists (m) and angles (rad)."""
    turned = rotation_vectors(pose.rotation @ np.swapaxes(other.rotation, -1, -2))
    bent = (pose.angles - other.angles).reshape(2, -1)
    return np.concatenate([turned, pose.wrist - other.wrist, bent], axis=1)


def moved(pose: Pose, step: np.ndarray) -> Pose:
    """A pose moved by ``step`` (2, PER_HAND): the inverse of :func:`difference`."""
    return Pose(
        rotation_matrices(step[:, ROTATION]) @ pose.rotation,
        pose.wrist + step[:, TRANSLATION],
        pose.angles + step[:, ANGLES].reshape(pose.angles.shape),
        pose.betas,
    )
