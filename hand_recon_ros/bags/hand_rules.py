"""What is true of every hand in a message: the rules that a file of hands is checked by."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ..geometry.rotations import quaternion_matrices
from ..hand_model import from_mano_pose
from ..skeleton import KEYPOINT_PARENTS, wrist_rotation
from ..types import HandState, Side

POSITION_TOLERANCE = 1e-4
"""By how much positions that are the same may differ, metres: parameters are float32, positions float64."""
ROTATION_TOLERANCE = 1e-4
"""By how much entries of rotation matrices that are the same may differ, and the norm of a quaternion from 1."""
BONE_CHANGE = 0.1
"""By which share the length of a bone of a hand may change from image to image: its shape is learnt while it lasts."""
LEARNING_TIME = 0.35
"""How long after its first image a hand may change its shape by more than that, seconds."""
_PARENTS = np.array(KEYPOINT_PARENTS[1:])


@dataclasses.dataclass(frozen=True, eq=False)
class MessageHand:
    """The numbers of a Hand message: keypoints (21, 3), quaternions (21, 4) and the wrist as x y z, x y z w (7,)."""

    keypoints: np.ndarray
    quaternions: np.ndarray
    wrist: np.ndarray

    @classmethod
    def of(cls, message: Any) -> MessageHand:
        """Those of a hand_recon_ros/Hand."""
        poses = np.array([pose_numbers(pose) for pose in message.joints])
        return cls(poses[:, :3], poses[:, 3:], np.array(pose_numbers(message.wrist)))

    @property
    def bones(self) -> np.ndarray:
        """Lengths of the 20 bones, metres."""
        return np.asarray(np.linalg.norm(self.keypoints[1:] - self.keypoints[_PARENTS], axis=1))


def pose_numbers(pose: Any) -> list[float]:
    """A geometry_msgs/Pose as x y z, x y z w."""
    p, q = pose.position, pose.orientation
    return [p.x, p.y, p.z, q.x, q.y, q.z, q.w]


def hand_faults(message: Any, side: Side, model: Any | None) -> list[str]:
    """What is wrong with a hand_recon_ros/Hand in the slot of ``side``; ``model`` is None where it is not known."""
    if message.side != side:
        return [f"side is {message.side} in the slot of the {side.label} hand"]
    if message.state not in (HandState.LOST, HandState.TRACKED, HandState.PREDICTED):
        return [f"unknown state {message.state}"]
    hand = MessageHand.of(message)
    arrays = [message.joint_scores, message.keypoints_2d, message.pose, message.betas]
    t = message.translation
    numbers = [message.score, message.side_score, message.position_stddev, message.pinch_distance, t.x, t.y, t.z]
    everything = np.concatenate([hand.keypoints.ravel(), hand.quaternions.ravel(), hand.wrist, *arrays, numbers])
    if not np.isfinite(everything).all():
        return ["holds values that are not finite"]
    if message.state == HandState.LOST:
        zeros = np.concatenate([hand.keypoints.ravel(), *arrays, numbers])
        return ["is LOST and not zero"] if zeros.any() or message.track_id else []
    checks = {
        "track_id is 0": message.track_id == 0,
        "scores do not lie in 0..1": not _in_unit_interval(message),
        "position_stddev is not positive": message.position_stddev <= 0.0,
        "lies behind the camera": hand.keypoints[0, 2] <= 0.0,
        "quaternions are not of unit length": np.abs(np.linalg.norm(hand.quaternions, axis=1) - 1.0).max()
        > ROTATION_TOLERANCE,
        "wrist is not the first of joints": bool((hand.wrist != [*hand.keypoints[0], *hand.quaternions[0]]).any()),
    }
    faults = [text for text, wrong in checks.items() if wrong]
    return faults or _geometry_faults(message, hand, side, model)


def _in_unit_interval(message: Any) -> bool:
    scores = np.array([message.score, message.side_score, message.grasp_closure, *message.joint_scores])
    return bool(((scores >= 0.0) & (scores <= 1.0)).all())


def _geometry_faults(message: Any, hand: MessageHand, side: Side, model: Any | None) -> list[str]:
    """Of a hand with quaternions of unit length: frames against keypoints, keypoints against the hand model."""
    if hand.bones.min() <= 0.0:
        return ["has a bone of no length"]
    rotations = quaternion_matrices(hand.quaternions)
    try:
        wrist = wrist_rotation(hand.keypoints, right=side == Side.RIGHT)
    except ValueError as error:
        return [f"has no wrist frame ({error})"]
    directions = (hand.keypoints[1:] - hand.keypoints[_PARENTS]) / hand.bones[:, None]
    inner = _PARENTS > 0  # the wrist has a frame of its own
    along = rotations[_PARENTS[inner], :, 0] - directions[inner]
    pinch = np.linalg.norm(hand.keypoints[4] - hand.keypoints[8])
    checks = {
        "the wrist frame is not that of keypoints 0, 5 and 9": np.abs(rotations[0] - wrist).max() > ROTATION_TOLERANCE,
        "x of a joint is not along its bone": np.abs(along).max() > ROTATION_TOLERANCE,
        "pinch_distance is not that of the fingertips": abs(message.pinch_distance - pinch) > POSITION_TOLERANCE,
    }
    faults = [text for text, wrong in checks.items() if wrong]
    if model is not None:
        t = message.translation
        posed, _ = model.kinematics(side).forward(
            from_mano_pose(message.pose), np.asarray(message.betas, dtype=np.float64), np.array([t.x, t.y, t.z])
        )
        distance = np.linalg.norm(posed - hand.keypoints, axis=1).max()
        if distance > POSITION_TOLERANCE:
            faults.append(f"keypoints lie up to {distance * 1e3:.1f} mm off those of pose, betas and translation")
    return faults


def bone_fault(before: np.ndarray, now: np.ndarray) -> str:
    """What is wrong with the lengths (20,) of the bones of a hand in two images; empty where nothing is."""
    change = np.abs(now / before - 1.0).max()
    return f"a bone changes its length by {change:.0%} from image to image" if change > BONE_CHANGE else ""
