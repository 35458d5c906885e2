"""The values that the pipeline passes on: a Frame in, a TwoHandEstimate out."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Callable

import numpy as np

from .camera import Camera, CameraError

__all__ = ["Camera", "CameraError", "Frame", "HandEstimate", "HandState", "ScaleSource", "Side", "TwoHandEstimate"]


class Side(enum.IntEnum):
    """The anatomical side of a hand; also its slot."""

    LEFT = 0
    RIGHT = 1

    @property
    def other(self) -> Side:
        return Side(1 - self)

    @property
    def label(self) -> str:
        return self.name.lower()


class HandState(enum.IntEnum):
    """LOST: no pose. TRACKED: measured in this image. PREDICTED: extrapolated from earlier images."""

    LOST = 0
    TRACKED = 1
    PREDICTED = 2


class ScaleSource(enum.IntEnum):
    """Where a hand's metric size comes from: the average hand, a depth image, or a calibration of its owner."""

    PRIOR = 0
    DEPTH = 1
    CALIBRATED = 2


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """One image with its camera and stamp.

    Attributes:
        image: uint8 (H, W, 3), BGR.
        camera: of the image.
        stamp: time of exposure, seconds; only differences matter.
        depth: registered to the image (H, W), float32, metres along the optical axis, NaN where it is not known; None
            without a depth image.
    """

    image: np.ndarray
    camera: Camera
    stamp: float = 0.0
    depth: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class HandEstimate:
    """One hand; V and F are the vertex and face counts of the hand model.

    Geometry is in metres in the camera's optical frame. For a LOST hand every array is NaN, so that it is not
    mistaken for a measurement; its scores are zero and its mesh is empty.

    Attributes:
        side: anatomical side.
        state: LOST, TRACKED or PREDICTED.
        score: confidence that this hand is there, 0..1.
        side_score: confidence that it is of this side, 0..1.
        track_id: changes when a hand was lost and found again; 0 for LOST.
        since_measurement: seconds since this hand was last measured; 0 when TRACKED.
        joints: 21 keypoints (21, 3).
        joint_scores: confidence of each keypoint (21,), 0..1.
        keypoints_2d: the keypoints in the image (21, 2), pixels, as seen (distorted).
        mesh: computes ``vertices`` at their first use, since most consumers do not use them.
        vertices: mesh (V, 3).
        faces: triangles (F, 3) into ``vertices``, int32, counter-clockwise seen from outside.
        rotations: of the 16 joints relative to their parents (16, 3, 3), in the order of ``skeleton.JOINT_NAMES``;
            the first is the global orientation of the hand model.
        betas: shape coefficients of the hand model (10,).
        translation: of the hand model (3,), metres.
        wrist_pose: wrist frame in the camera frame (4, 4), see ``skeleton.wrist_rotation``.
        roi: box around the keypoints in the image (x, y, width, height), pixels.
        scale_source: where the metric scale comes from.
        position_stddev: standard deviation of the wrist position along its viewing ray, metres.
    """

    side: Side
    state: HandState
    score: float
    side_score: float
    track_id: int
    since_measurement: float
    joints: np.ndarray
    joint_scores: np.ndarray
    keypoints_2d: np.ndarray
    mesh: Callable[[], np.ndarray]
    faces: np.ndarray
    rotations: np.ndarray
    betas: np.ndarray
    translation: np.ndarray
    wrist_pose: np.ndarray
    roi: tuple[float, float, float, float]
    scale_source: ScaleSource
    position_stddev: float

    @functools.cached_property
    def vertices(self) -> np.ndarray:
        return self.mesh()

    @property
    def found(self) -> bool:
        """Whether there is a pose (TRACKED or PREDICTED)."""
        return self.state != HandState.LOST

    @classmethod
    def lost(cls, side: Side, since_measurement: float = 0.0) -> HandEstimate:
        """The estimate of a LOST hand."""

        def nan(*shape: int) -> np.ndarray:
            return np.full(shape, np.nan)

        return cls(
            side=side,
            state=HandState.LOST,
            score=0.0,
            side_score=0.0,
            track_id=0,
            since_measurement=since_measurement,
            joints=nan(21, 3),
            joint_scores=np.zeros(21),
            keypoints_2d=nan(21, 2),
            mesh=lambda: nan(0, 3),
            faces=np.zeros((0, 3), dtype=np.int32),
            rotations=nan(16, 3, 3),
            betas=nan(10),
            translation=nan(3),
            wrist_pose=nan(4, 4),
            roi=(0.0, 0.0, 0.0, 0.0),
            scale_source=ScaleSource.PRIOR,
            position_stddev=float("nan"),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class TwoHandEstimate:
    """Both hands of one image: always two slots, left then right.

    Attributes:
        left, right: the hands.
        stamp: the frame's.
        hand_model: name of the hand model the parameters belong to.
        calibrated: False where the camera's intrinsics are a guess: metric values are then only as accurate as the
        guess. refined: whether the two-hand refinement changed this estimate. mirrored: the image was mirrored:
        geometry is that of the true scene, ``keypoints_2d`` and ``roi`` are in the
            image as it was given.
        timings: seconds per step: ``locate``, ``encode``, ``lift``, ``smooth``, ``refine`` and ``total``.
        unrefined: the hands, left and right, before the two-hand refinement; None where it changed nothing.
    """

    left: HandEstimate
    right: HandEstimate
    stamp: float = 0.0
    hand_model: str = ""
    calibrated: bool = False
    refined: bool = False
    mirrored: bool = False
    timings: dict[str, float] = dataclasses.field(default_factory=dict)
    unrefined: tuple[HandEstimate, HandEstimate] | None = None

    def hand(self, side: Side) -> HandEstimate:
        """The hand in the slot of ``side``."""
        return self.right if side == Side.RIGHT else self.left

    def before_refinement(self) -> TwoHandEstimate:
        """The estimate without the two-hand refinement."""
        if self.unrefined is None:
            return self
        left, right = self.unrefined
        return dataclasses.replace(self, left=left, right=right, refined=False, unrefined=None)
