"""Estimates from TwoHands messages, to draw or measure hands that were published or recorded.

A message is an object with the fields of ``msg/TwoHands.msg`` as attributes: that of rclpy, or of whatever reads
recordings. No ROS is imported.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from ..geometry.rotations import quaternion_matrices
from ..hand_model import HandModel
from ..skeleton import NUM_KEYPOINTS
from ..types import HandEstimate, HandState, ScaleSource, Side, TwoHandEstimate
from .hands import fault_of
from .problems import Problems


class DrawableEstimates:
    """The estimates of the TwoHands messages of a topic, without what cannot be drawn.

    Args:
        topic: full name of the hands, for the log.
        hand_model: whose meshes can be drawn; hands of another one have none.
        problems: what cannot be drawn is reported here, in the group ``hands``.
    """

    def __init__(self, topic: str, hand_model: HandModel, problems: Problems) -> None:
        self._topic, self._hand_model, self._problems = topic, hand_model, problems

    def estimate(self, message: Any, mirrored: bool = False) -> TwoHandEstimate | None:
        """The estimate of a message, a hand that cannot be drawn LOST; None where the message cannot be used."""
        same = message.hand_model in ("", self._hand_model.name)
        self._problems.check(
            "hands.model",
            not same,
            f"the hands are of the hand model {message.hand_model!r}, and {self._hand_model.name!r} is loaded: they are"
            " drawn without meshes; set hand_model to the file that hand_recon has",
        )
        try:
            estimate = two_hand_estimate(message, self._hand_model if same else None, mirrored)
        except ValueError as error:
            self._problems.report("hands.message", f"a message on {self._topic} cannot be drawn: {error}")
            return None
        self._problems.solved("hands.message")
        return dataclasses.replace(estimate, left=self._drawable(estimate.left), right=self._drawable(estimate.right))

    def _drawable(self, hand: HandEstimate) -> HandEstimate:
        """The hand, LOST where it cannot be drawn, which is reported."""
        fault = fault_of(hand)
        self._problems.check(
            f"hands.{hand.side.label}", bool(fault), f"the {hand.side.label} hand {fault}: it is not drawn"
        )
        return HandEstimate.lost(hand.side) if fault else hand


def two_hand_estimate(message: Any, hand_model: HandModel | None, mirrored: bool = False) -> TwoHandEstimate:
    """The estimate of a TwoHands message; its meshes are posed from the message's parameters.

    Args:
        message: a ``hand_recon_ros/TwoHands``.
        hand_model: the one that the message names; None: the hands have no mesh.
        mirrored: whether the image was mirrored, which the message does not say.

    Raises ValueError for a state or a source of scale that does not exist.
    """
    stamp = message.header.stamp
    return TwoHandEstimate(
        left=hand_estimate(message.left, Side.LEFT, hand_model),
        right=hand_estimate(message.right, Side.RIGHT, hand_model),
        stamp=stamp.sec + stamp.nanosec * 1e-9,
        hand_model=message.hand_model,
        calibrated=message.calibrated,
        refined=message.refined,
        mirrored=mirrored,
        timings={"total": message.inference_time},
    )


def hand_estimate(hand: Any, side: Side, hand_model: HandModel | None) -> HandEstimate:
    """The estimate of a ``hand_recon_ros/Hand`` in the slot of ``side``; see :func:`two_hand_estimate`.

    A quaternion of length zero and numbers that are not finite give a pose that is not finite.
    """
    state = HandState(hand.state)
    since = hand.since_measurement.sec + hand.since_measurement.nanosec * 1e-9
    if state == HandState.LOST:
        return HandEstimate.lost(side, since)
    rotations = HandModel.from_mano_pose(np.array(hand.pose, dtype=np.float64))
    betas, translation = np.array(hand.betas, dtype=np.float64), _vector(hand.translation)
    if hand_model is None:
        mesh, faces = functools.partial(np.zeros, (0, 3)), np.zeros((0, 3), dtype=np.int32)
    else:
        mesh = functools.partial(hand_model.mesh, side, rotations, betas, translation)
        faces = hand_model.faces(side)
    return HandEstimate(
        side=side,
        state=state,
        score=hand.score,
        side_score=hand.side_score,
        track_id=hand.track_id,
        since_measurement=since,
        joints=np.array([_vector(joint.position) for joint in hand.joints]),
        joint_scores=np.array(hand.joint_scores, dtype=np.float64),
        keypoints_2d=np.array(hand.keypoints_2d, dtype=np.float64).reshape(NUM_KEYPOINTS, 2),
        mesh=mesh,
        faces=faces,
        rotations=rotations,
        betas=betas,
        translation=translation,
        wrist_pose=pose_matrix(hand.wrist),
        roi=(hand.roi.x_offset, hand.roi.y_offset, hand.roi.width, hand.roi.height),
        scale_source=ScaleSource(hand.scale_source),
        position_stddev=hand.position_stddev,
    )


def pose_matrix(pose: Any) -> np.ndarray:
    """A geometry_msgs/Pose as a matrix (4, 4); NaN where a number is not finite or the quaternion is zero."""
    q = pose.orientation
    position, numbers = _vector(pose.position), np.array([q.x, q.y, q.z, q.w])
    if not np.isfinite([*position, *numbers]).all() or np.linalg.norm(numbers) < 0.5:
        return np.full((4, 4), np.nan)
    result = np.eye(4)
    result[:3, :3] = quaternion_matrices(numbers)
    result[:3, 3] = position
    return result


def _vector(point: Any) -> np.ndarray:
    """A geometry_msgs/Point or Vector3 as (3,)."""
    return np.array([point.x, point.y, point.z], dtype=np.float64)
