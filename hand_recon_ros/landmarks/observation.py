"""What is measured of one hand in one image: box, landmarks, and the encoder's prediction."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..types import Side


@dataclasses.dataclass(frozen=True)
class RotatedBox:
    """A square region of the image, at any rotation.

    Attributes:
        center: (x, y), pixels.
        size: side length, pixels.
        angle: radians; its upward direction is (sin angle, -cos angle) in the image, so that 0 is upright
            and positive turns clockwise as seen.
    """

    center: tuple[float, float]
    size: float
    angle: float = 0.0

    @property
    def axes(self) -> np.ndarray:
        """Rotation (2, 2) from the box's axes (x right, y down) to the image's."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return np.array([[cos, -sin], [sin, cos]])

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) in units of the box, (0, 0) its top left and (1, 1) its bottom right, as pixels."""
        return (np.asarray(points) - 0.5) * self.size @ self.axes.T + np.asarray(self.center)

    def from_image(self, pixels: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`to_image`."""
        return (np.asarray(pixels) - np.asarray(self.center)) @ self.axes / self.size + 0.5

    def corners(self) -> np.ndarray:
        """The corners (4, 2), pixels: top left, top right, bottom right, bottom left of the upright box."""
        return self.to_image(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))


@dataclasses.dataclass(frozen=True, eq=False)
class EncoderPrediction:
    """What the encoder predicts of one hand, as the image shows it, like an observation's keypoints.

    Attributes:
        presence: probability that the crop shows a hand of the expected side, 0..1.
        keypoints_2d: (21, 2), pixels.
        stddev_2d: predicted standard deviation of each keypoint (21,), pixels.
        joints: (21, 3), metres from the wrist, in the camera's axes.
        wrist: (3,), metres, in the camera's frame.
        wrist_stddev: predicted standard deviation of the wrist's distance, metres.
        to_other: from this wrist to the other hand's (3,), metres, in the camera's axes; None without a crop of the
            other hand.
        other_box: box of the other hand, predicted from this hand's crop alone.
        other_visible: probability that the other hand is visible there, 0..1.
        hand_length: that of the predicted hand, wrist to tip of the middle finger along the bones, metres, to which the
            wrist's distance belongs; 0: the distance is that of the hand model's mean hand.
        trained_on_photographs: the encoder is one of photographs, and its standard deviations are published errors; of
            others they are predicted, and the lifting corrects them.
    """

    presence: float
    keypoints_2d: np.ndarray
    stddev_2d: np.ndarray
    joints: np.ndarray
    wrist: np.ndarray
    wrist_stddev: float
    to_other: np.ndarray | None
    other_box: RotatedBox
    other_visible: float
    hand_length: float = 0.0
    trained_on_photographs: bool = False

    @property
    def is_finite(self) -> bool:
        """Whether all numbers are finite."""
        vector = np.zeros(3) if self.to_other is None else self.to_other
        scalars = (
            self.presence,
            self.wrist_stddev,
            self.other_visible,
            self.other_box.size,
            *self.other_box.center,
        )
        arrays = (self.keypoints_2d, self.stddev_2d, self.joints, self.wrist, vector, np.array(scalars))
        return all(bool(np.isfinite(array).all()) for array in arrays)


@dataclasses.dataclass(frozen=True, eq=False)
class Observation:
    """One hand in one image; keypoints in the order of :mod:`hand_recon_ros.skeleton`.

    Attributes:
        side: anatomical side.
        score: probability that there is a hand, 0..1.
        side_score: probability of the side, 0..1, from all images of this hand so far.
        keypoints_2d: (21, 2), pixels of the image as it was given.
        screen_depth: (21,), depth relative to the wrist in pixels at the hand's scale, negative towards the camera.
        world: metric landmarks (21, 3), metres, origin about the centre of the hand. The rotation of the crop is
            undone; the axes are the camera's for a hand on the optical axis.
        joint_scores: (21,), confidence of each keypoint, 0..1, see ``landmarks.joint_scores``.
        roi: the box of the crop.
        detected: detected in this image, not followed from the image before.
        mirrored: the image shows the hand mirrored, so keypoints and metric landmarks are those of the other side.
        stem: inner features of the landmark network for the encoder, of the crop as a right hand; None where the crop
            was not evaluated that way.
        grey: the crop was evaluated without its colours, see ``landmarks.HandLandmarks``.
        prediction: of the encoder; None without one.
    """

    side: Side
    score: float
    side_score: float
    keypoints_2d: np.ndarray
    screen_depth: np.ndarray
    world: np.ndarray
    joint_scores: np.ndarray
    roi: RotatedBox
    detected: bool
    mirrored: bool = False
    stem: np.ndarray | None = None
    grey: bool = False
    prediction: EncoderPrediction | None = None

    @property
    def shown_side(self) -> Side:
        """The side the hand looks like in the image, and of which ``keypoints_2d`` and ``world`` are."""
        return self.side.other if self.mirrored else self.side

    @property
    def is_finite(self) -> bool:
        """Whether all measured numbers are finite."""
        scalars = np.array([self.score, self.side_score, self.roi.size, *self.roi.center])
        arrays = (self.keypoints_2d, self.screen_depth, self.world, self.joint_scores, scalars)
        return all(bool(np.isfinite(array).all()) for array in arrays)
