"""One lifted hand: its pose, its shape, and their uncertainty."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..geometry.hand_kinematics import NUM_BETAS
from ..landmarks.observation import Observation
from ..skeleton import NUM_JOINTS, NUM_KEYPOINTS
from ..types import ScaleSource, Side


@dataclasses.dataclass(frozen=True, eq=False)
class LiftedHand:
    """One solved hand, in the camera frame.

    Attributes:
        side: anatomical side.
        rotations: of the joints relative to their parents (16, 3, 3).
        betas: (10,).
        translation: of the hand model (3,), metres.
        keypoints: (21, 3), metres.
        angles: of the finger joints (15, 3), radians, as those of a right hand.
        keypoints_2d, joint_scores: the evidence in the image (21, 2), pixels, and its confidence (21,).
        position_stddev: standard deviation of the wrist along its ray, metres.
        betas_covariance: (10, 10).
        residual: root mean square reprojection error in units of the hand's extent in the image.
        scale_source: where its distance and size come from.
        image_wrist: where the wrist is by the image alone (3,), metres, of a hand that was fitted to a depth image.
    """

    side: Side
    rotations: np.ndarray
    betas: np.ndarray
    translation: np.ndarray
    keypoints: np.ndarray
    angles: np.ndarray
    keypoints_2d: np.ndarray
    joint_scores: np.ndarray
    position_stddev: float
    betas_covariance: np.ndarray
    residual: float
    scale_source: ScaleSource = ScaleSource.PRIOR
    image_wrist: np.ndarray | None = None

    @property
    def finite(self) -> bool:
        """Whether the pose is finite; False for a hand whose evidence had no solution."""
        # Every parameter is part of the keypoints.
        return math.isfinite(self.position_stddev) and bool(np.isfinite(self.keypoints).all())

    @classmethod
    def unsolved(cls, observation: Observation) -> LiftedHand:
        """The result for a hand whose evidence has no finite solution: every parameter is NaN."""

        def nan(*shape: int) -> np.ndarray:
            return np.full(shape, np.nan)

        return cls(
            side=observation.side,
            rotations=nan(NUM_JOINTS, 3, 3),
            betas=nan(NUM_BETAS),
            translation=nan(3),
            keypoints=nan(NUM_KEYPOINTS, 3),
            angles=nan(NUM_JOINTS - 1, 3),
            keypoints_2d=observation.keypoints_2d,
            joint_scores=observation.joint_scores,
            position_stddev=math.nan,
            betas_covariance=nan(NUM_BETAS, NUM_BETAS),
            residual=math.nan,
        )
