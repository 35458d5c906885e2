"""Tracks as estimates: the pose of a hand, measured or predicted, with everything that follows from it."""

from __future__ import annotations

import functools
import math

import numpy as np

from ..hand_model import HandModel
from ..interact.estimates import bounding_box
from ..landmarks.observation import Observation
from ..lift.lifted_hand import LiftedHand
from ..skeleton import mirror_points, wrist_pose
from ..types import Camera, HandEstimate, HandState, Side
from .hand_track import HandTrack

_FADING = 0.1
"""Time constant (s) with which the scores of a predicted hand fall."""


def measured_estimate(
    track: HandTrack, wrist: np.ndarray, rotations: np.ndarray, model: HandModel, camera: Camera
) -> HandEstimate:
    """The estimate of a hand that was measured in this image.

    Args:
        track: of the hand, with its observation and lifted pose.
        wrist, rotations: filtered wrist (3,), metres, camera frame, and joint rotations (16, 3, 3).
        model: poses the hand.
        camera: of the image.
    """
    observation, hand = _last(track)
    return hand_estimate(observation, hand, wrist, rotations, model, camera, track.track_id)


def unseen_estimate(
    track: HandTrack, time: float, max_prediction_time: float, model: HandModel, camera: Camera
) -> HandEstimate:
    """The estimate of a hand that was not measured in the image at ``time`` (s): PREDICTED for a short time, then LOST.

    Its pose goes on at constant velocity for at most ``max_prediction_time`` seconds.
    """
    since = time - track.state.last_measured
    if track.state.unseen(time, max_prediction_time) == HandState.LOST or track.lifted is None:
        track.end()
        return HandEstimate.lost(track.side, since if math.isfinite(since) else 0.0)
    observation, hand = _last(track)
    wrist, rotations = track.filter.predict(time)
    return hand_estimate(observation, hand, wrist, rotations, model, camera, track.track_id, since)


def hand_estimate(
    observation: Observation,
    hand: LiftedHand,
    wrist: np.ndarray,
    rotations: np.ndarray,
    model: HandModel,
    camera: Camera,
    track_id: int,
    since_measurement: float = 0.0,
) -> HandEstimate:
    """The estimate of one hand, PREDICTED where ``since_measurement`` (s) is above 0; the others as above."""
    side, predicted = observation.side, since_measurement > 0.0
    translation = hand.translation + (wrist - hand.keypoints[0])
    joints, _ = model.kinematics(side).forward(rotations, hand.betas, translation)
    shown = mirror_points(joints) if observation.mirrored else joints
    keypoints_2d = camera.project(shown) if predicted else hand.keypoints_2d
    fading = math.exp(-since_measurement / _FADING)
    return HandEstimate(
        side=side,
        state=HandState.PREDICTED if predicted else HandState.TRACKED,
        score=float(observation.score) * fading,
        side_score=float(observation.side_score),
        track_id=track_id,
        since_measurement=since_measurement,
        joints=joints,
        joint_scores=hand.joint_scores * fading,
        keypoints_2d=keypoints_2d,
        mesh=functools.partial(model.mesh, side, rotations, hand.betas, translation),
        faces=model.faces(side),
        rotations=rotations,
        betas=hand.betas,
        translation=translation,
        wrist_pose=wrist_pose(joints, side == Side.RIGHT),
        roi=bounding_box(keypoints_2d),
        scale_source=hand.scale_source,
        position_stddev=hand.position_stddev,
    )


def _last(track: HandTrack) -> tuple[Observation, LiftedHand]:
    assert track.observation is not None and track.lifted is not None
    return track.observation, track.lifted
