"""How certain an estimated pair of hands is, as one Gaussian over all that may be moved of both.

The information (inverse covariance) is that of the evidence near the estimate: keypoints in the image by their
precision, each wrist along its ray by its standard deviation, angles by the confidence of their finger, and wide priors
where nothing was seen.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..geometry.hand_kinematics import ANGLES, ROTATION, TRANSLATION, Pose, Posed, Template, forward, jacobian
from .pair import MAX_STDDEV, MIN_STDDEV, PER_HAND, PairUncertainty, difference

_ROTATION_SIGMA = 0.05
_ANGLE_SIGMA = np.array([0.2, 0.08, 0.04])
"""Standard deviations of an estimate's orientation and of flexion, abduction and twist, radians, where the image says
nothing more."""
_WRIST_SIGMA = 0.03
"""The same of the wrist aside of its ray, metres."""
_NEAREST = 0.05


@dataclasses.dataclass(frozen=True, eq=False)
class PoseGaussian:
    """A Gaussian over the poses of two hands: its middle, and its information (2 PER_HAND, 2 PER_HAND)."""

    mean: Pose
    information: np.ndarray

    @classmethod
    def about(cls, template: Template, pose: Pose, uncertainty: PairUncertainty) -> PoseGaussian:
        """The belief about an estimate that is as certain as ``uncertainty`` says."""
        posed = forward(template, pose)
        result = np.zeros((2, PER_HAND, 2, PER_HAND))
        for hand, own in enumerate(_of_each(pose, posed, jacobian(template, posed), uncertainty)):
            result[hand, :, hand] = own
        return cls(pose, result.reshape(2 * PER_HAND, 2 * PER_HAND))

    def gradient(self, pose: Pose) -> np.ndarray:
        """Of half the squared Mahalanobis distance of a pose (2 PER_HAND,)."""
        return self.information @ difference(pose, self.mean).reshape(-1)


def _of_each(pose: Pose, posed: Posed, derivatives: np.ndarray, uncertainty: PairUncertainty) -> np.ndarray:
    """The information of each hand (2, PER_HAND, PER_HAND); ``derivatives`` of the keypoints are (2, 21, 3, P)."""
    derivatives = derivatives[..., :PER_HAND]
    depth = np.maximum(posed.keypoints[..., 2], _NEAREST)[..., None, None]
    places = posed.keypoints[..., :2, None] / depth
    rows = (derivatives[..., :2, :] - places * derivatives[..., 2:, :]) / depth
    rows = (rows * uncertainty.precision[..., None, None]).reshape(2, -1, PER_HAND)
    result = np.swapaxes(rows, -1, -2) @ rows
    diagonal = np.zeros((2, PER_HAND))
    diagonal[:, ROTATION], diagonal[:, TRANSLATION] = 1.0 / _ROTATION_SIGMA**2, 1.0 / _WRIST_SIGMA**2
    scores = uncertainty.scores[:, 1:].reshape(2, 5, 4)
    confidence = np.clip(np.minimum(scores[..., :3], scores[..., 1:]), 0.1, 1.0)[..., None]
    diagonal[:, ANGLES] = (confidence / _ANGLE_SIGMA**2).reshape(2, -1)
    ray = pose.wrist / np.linalg.norm(pose.wrist, axis=-1, keepdims=True)
    # Aside of the ray the wide prior holds, along it what is known.
    along = 1.0 / np.clip(uncertainty.position_stddev, MIN_STDDEV, MAX_STDDEV) ** 2 - 1.0 / _WRIST_SIGMA**2
    result[:, np.arange(PER_HAND), np.arange(PER_HAND)] += diagonal
    result[:, TRANSLATION, TRANSLATION] += along[:, None, None] * ray[:, :, None] * ray[:, None, :]
    return result
