"""What the locator says about one hand in one image."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..types import Side


@dataclasses.dataclass(frozen=True)
class RotatedBox:
    """A square in the image.

    Attributes:
        center: (x, y), pixels.
        size: side length, pixels.
        angle: radians; the square's upward direction is (sin angle, -cos angle) in the image, so that 0 is upright
            and positive turns clockwise as seen.
    """

    center: tuple[float, float]
    size: float
    angle: float = 0.0

    @property
    def axes(self) -> np.ndarray:
        """Rotation (2, 2) from the square's axes (x right, y down) to the image's."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return np.array([[cos, -sin], [sin, cos]])

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) in units of the square, (0, 0) its top left and (1, 1) its bottom right, as pixels."""
        return (np.asarray(points) - 0.5) * self.size @ self.axes.T + np.asarray(self.center)

    def from_image(self, pixels: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`to_image`."""
        return (np.asarray(pixels) - np.asarray(self.center)) @ self.axes / self.size + 0.5

    def corners(self) -> np.ndarray:
        """The corners (4, 2), pixels: top left, top right, bottom right, bottom left of the upright square."""
        return self.to_image(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]))


@dataclasses.dataclass(frozen=True, eq=False)
class EncoderPrediction:
    """What the learned encoder says of one hand; everything as the image shows it, like an observation's keypoints.

    Attributes:
        presence: probability that the crop shows the hand it is taken to show, 0..1.
        keypoints_2d: (21, 2), pixels.
        stddev_2d: standard deviation to be expected of each of them (21,), pixels.
        joints: (21, 3), metres from the wrist, in the camera's axes.
        wrist: (3,), metres, in the camera's frame.
        wrist_stddev: standard deviation to be expected of its distance, metres.
        to_other: from this wrist to the other hand's (3,), metres, in the camera's axes; None where there is no other.
        other_square: the square to look for the other hand in, told from this hand's alone.
        other_shown: probability that it is there, 0..1.
    """

    presence: float
    keypoints_2d: np.ndarray
    stddev_2d: np.ndarray
    joints: np.ndarray
    wrist: np.ndarray
    wrist_stddev: float
    to_other: np.ndarray | None
    other_square: RotatedBox
    other_shown: float


@dataclasses.dataclass(frozen=True, eq=False)
class Observation:
    """One hand seen in one image; keypoints in the order of :mod:`hand_recon_ros.skeleton`.

    Attributes:
        side: anatomical side.
        score: probability that there is a hand, 0..1.
        side_score: probability of the side, 0..1, from all images of this hand so far.
        keypoints_2d: (21, 2), pixels of the image as it was given.
        screen_depth: (21,), depth relative to the wrist in pixels at the hand's scale, negative towards the camera.
        world: (21, 3), metres, origin about the centre of the hand, axes as the camera's for a hand on the optical
            axis: the rotation of the crop is undone, the direction the crop was seen in is not.
        joint_scores: (21,), confidence of each keypoint, 0..1, see ``landmarks.joint_scores``.
        roi: the square the landmarks were computed in.
        detected: found by detection in this image rather than tracked from the one before.
        track_id: the same for one hand as long as it is tracked, counting from 1; 0 for still images.
        mirrored: the image shows the hand mirrored, so keypoints and world points are those of the other side.
        stem: features of the square ``roi`` seen as a right hand's, for the encoder; None where it was not seen so.
        encoded: what the learned encoder says of it, where one is used.
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
    track_id: int = 0
    mirrored: bool = False
    stem: np.ndarray | None = None
    prediction: EncoderPrediction | None = None

    @property
    def shown_side(self) -> Side:
        """The side the hand looks like in the image, and of which ``keypoints_2d`` and ``world`` are."""
        return self.side.other if self.mirrored else self.side
