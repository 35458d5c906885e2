"""The uncertainty of an estimated pair of hands, as one Gaussian over all parameters of both that may be moved.

The information (inverse covariance) is that of the evidence near the estimate: keypoints in the image by their
precision, each wrist along its ray by its standard deviation, angles by the confidence of their finger, and wide priors
where there is none.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..geometry.hand_kinematics import ANGLES, ROTATION, TRANSLATION, Pose, Posed, Template, forward, jacobian
from .pair_chain import PER_HAND, difference
from .plausibility import clipped_stddev

_ROTATION_SIGMA = 0.05
_ANGLE_SIGMA = np.array([0.2, 0.08, 0.04])
"""Standard deviations of an estimate's orientation and of flexion, abduction and twist, radians, where the image has no
more evidence."""
_WRIST_SIGMA = 0.03
"""The same of the wrist across its ray, metres."""
_MIN_DEPTH = 0.05


@dataclasses.dataclass(frozen=True, eq=False)
class PairUncertainty:
    """The uncertainty of an estimated pair.

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

    @property
    def finite(self) -> bool:
        """Whether every number is finite."""
        return all(np.isfinite(array).all() for array in (self.precision, self.position_stddev, self.scores))


@dataclasses.dataclass(frozen=True, eq=False)
class PoseGaussian:
    """A Gaussian over the poses of two hands: its mean, and its information (2 PER_HAND, 2 PER_HAND)."""

    mean: Pose
    information: np.ndarray

    @classmethod
    def around(cls, template: Template, pose: Pose, uncertainty: PairUncertainty) -> PoseGaussian:
        """The Gaussian around an estimate of this uncertainty."""
        posed = forward(template, pose)
        result = np.zeros((2, PER_HAND, 2, PER_HAND))
        for hand, own in enumerate(_information(pose, posed, jacobian(template, posed), uncertainty)):
            result[hand, :, hand] = own
        return cls(pose, result.reshape(2 * PER_HAND, 2 * PER_HAND))

    @property
    def blocks(self) -> np.ndarray:
        """The information of each hand (2, PER_HAND, PER_HAND); the errors of the two are independent."""
        return self.information.reshape(2, PER_HAND, 2, PER_HAND)[[0, 1], :, [0, 1]]

    def gradient(self, pose: Pose) -> np.ndarray:
        """The gradient of half the squared Mahalanobis distance at a pose (2 PER_HAND,)."""
        return self.information @ difference(pose, self.mean).reshape(-1)


def _information(pose: Pose, posed: Posed, derivatives: np.ndarray, uncertainty: PairUncertainty) -> np.ndarray:
    """The information of each hand (2, PER_HAND, PER_HAND); ``derivatives`` of the keypoints are (2, 21, 3, P)."""
    derivatives = derivatives[..., :PER_HAND]
    depth = np.maximum(posed.keypoints[..., 2], _MIN_DEPTH)[..., None, None]
    points = posed.keypoints[..., :2, None] / depth
    rows = (derivatives[..., :2, :] - points * derivatives[..., 2:, :]) / depth
    rows = (rows * uncertainty.precision[..., None, None]).reshape(2, -1, PER_HAND)
    result = np.swapaxes(rows, -1, -2) @ rows
    diagonal = np.zeros((2, PER_HAND))
    diagonal[:, ROTATION], diagonal[:, TRANSLATION] = 1.0 / _ROTATION_SIGMA**2, 1.0 / _WRIST_SIGMA**2
    scores = uncertainty.scores[:, 1:].reshape(2, 5, 4)
    confidence = np.clip(np.minimum(scores[..., :3], scores[..., 1:]), 0.1, 1.0)[..., None]
    diagonal[:, ANGLES] = (confidence / _ANGLE_SIGMA**2).reshape(2, -1)
    ray = pose.wrist / np.linalg.norm(pose.wrist, axis=-1, keepdims=True)
    # The wide prior holds across the ray, the standard deviation along it.
    along = 1.0 / clipped_stddev(uncertainty.position_stddev) ** 2 - 1.0 / _WRIST_SIGMA**2
    result[:, np.arange(PER_HAND), np.arange(PER_HAND)] += diagonal
    result[:, TRANSLATION, TRANSLATION] += along[:, None, None] * ray[:, :, None] * ray[:, None, :]
    return result
