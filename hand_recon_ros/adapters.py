"""Hands in the forms that teleoperation software takes: dex-retargeting, OpenXR, and vectors to the fingertips.

Every function takes a :class:`HandJoints`, which is made of a ``HandEstimate`` or of a ``Hand`` message. Lengths are in
metres, quaternions x y z w.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .geometry.rotations import quaternion_matrices, quaternions
from .hand_model.measures import joint_orientations
from .skeleton import NUM_KEYPOINTS, TIPS, WRIST
from .types import HandEstimate, HandState, Side

OPERATOR_FROM_WRIST = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
"""dex-retargeting's operator frame: p_op = (-z, y, x) of a point in the wrist frame, the same for both hands."""

OPENXR_FROM_OPTICAL = np.diag([1.0, -1.0, -1.0])
"""OpenXR's frames have x right, y up and z back; the camera's optical frame x right, y down and z forward."""

JOINT_FROM_OPENXR = np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
"""Axes of an OpenXR joint (columns: x, y out of the back of the hand, -z along the bone towards the tip) in the frame
of the same joint here (x along the bone, z out of the back, y = z cross x); the same for both hands."""

OPENXR_JOINTS = (
    "palm", "wrist",
    "thumb_metacarpal", "thumb_proximal", "thumb_distal", "thumb_tip",
    *(
        f"{finger}_{part}"
        for finger in ("index", "middle", "ring", "little")
        for part in ("metacarpal", "proximal", "intermediate", "distal", "tip")
    ),
)  # fmt: skip
"""The 26 joints of XR_EXT_hand_tracking in the order of XrHandJointEXT. Without the first they are the 25 of WebXR."""

OPENXR_KEYPOINTS = np.array(
    [-1, 0, 1, 2, 3, 4, *(k for first in (5, 9, 13, 17) for k in (-1, first, first + 1, first + 2, first + 3))]
)
"""The keypoint at each of the OPENXR_JOINTS, (26,); -1 where none is measured: the palm and the four metacarpals of the
fingers, whose joint is inside the palm."""


@dataclasses.dataclass(frozen=True, eq=False)
class HandJoints:
    """The 21 joints of one hand that is found, in the camera's optical frame (x right, y down, z forward).

    Attributes:
        side: anatomical side.
        positions: keypoints (21, 3).
        rotations: of the joints (21, 3, 3); the first is the wrist frame, each other has x along the bone to the next
            keypoint of its finger, z out of the back of the hand, y = z cross x; tips: as their last bone.
    """

    side: Side
    positions: np.ndarray
    rotations: np.ndarray

    def __post_init__(self) -> None:
        if np.shape(self.positions) != (NUM_KEYPOINTS, 3) or np.shape(self.rotations) != (NUM_KEYPOINTS, 3, 3):
            raise ValueError(
                f"expected positions (21, 3) and rotations (21, 3, 3), got {np.shape(self.positions)} and"
                f" {np.shape(self.rotations)}"
            )

    @classmethod
    def of_estimate(cls, hand: HandEstimate) -> HandJoints:
        """Of a ``HandEstimate``; raises ValueError where it is LOST."""
        _require(hand.found, hand.side)
        positions = np.array(hand.joints, dtype=np.float64)
        rotations = joint_orientations(positions, right=hand.side == Side.RIGHT)
        rotations[WRIST] = hand.wrist_pose[:3, :3]
        return cls(hand.side, positions, rotations)

    @classmethod
    def of_message(cls, hand: Any) -> HandJoints:
        """Of a ``hand_recon_ros/Hand`` message; raises ValueError where it is LOST."""
        side = Side(hand.side)
        _require(hand.state != HandState.LOST, side)
        positions = np.array([[p.position.x, p.position.y, p.position.z] for p in hand.joints])
        poses = [hand.wrist, *hand.joints[1:]]
        numbers = [[q.x, q.y, q.z, q.w] for q in (pose.orientation for pose in poses)]
        return cls(side, positions, quaternion_matrices(np.array(numbers)))

    @property
    def in_wrist(self) -> np.ndarray:
        """The positions in the wrist frame (21, 3): x to the middle MCP, z out of the back, y = z cross x."""
        return np.asarray((self.positions - self.positions[WRIST]) @ self.rotations[WRIST])


def _require(found: bool, side: Side) -> None:
    if not found:
        raise ValueError(f"the {side.label} hand is LOST: it has no pose")


@dataclasses.dataclass(frozen=True, eq=False)
class OpenXRHand:
    """The joints of XR_EXT_hand_tracking, in the order of OPENXR_JOINTS, in a frame with x right, y up and z back.

    Radii are left out, since they are not measured.

    Attributes:
        positions: (26, 3), NaN where not valid.
        orientations: x y z w (26, 4), NaN where not valid; -z along the bone towards the tip, y out of the back of the
            hand (thumb: out of the nail's side).
        valid: (26,) bool, whether the joint is measured.
    """

    positions: np.ndarray
    orientations: np.ndarray
    valid: np.ndarray


def operator_points(hand: HandJoints) -> np.ndarray:
    """dex-retargeting's 21 x 3 points, relative to the wrist in its operator frame.

    The palm looks along x and the flat fingers point along z. dex-retargeting turns the detections of its own hand
    detector into the same frame, for either hand.
    """
    return np.asarray(hand.in_wrist @ OPERATOR_FROM_WRIST.T)


def fingertip_vectors(hand: HandJoints) -> np.ndarray:
    """Vectors from the wrist to the five fingertips (5, 3), thumb to little finger, in the wrist frame.

    For dex-retargeting take ``operator_points(hand)[TIPS]``, which are the same vectors in its operator frame.
    """
    return hand.in_wrist[TIPS]


def openxr_joints(hand: HandJoints) -> OpenXRHand:
    """The 26 joints of OpenXR (specification of XR_EXT_hand_tracking, "Conventions of hand joints")."""
    valid = OPENXR_KEYPOINTS >= 0
    measured = OPENXR_KEYPOINTS[valid]
    positions, orientations = np.full((len(valid), 3), np.nan), np.full((len(valid), 4), np.nan)
    positions[valid] = hand.positions[measured] @ OPENXR_FROM_OPTICAL.T
    orientations[valid] = quaternions(OPENXR_FROM_OPTICAL @ hand.rotations[measured] @ JOINT_FROM_OPENXR)
    return OpenXRHand(positions, orientations, valid)


BOTH_HANDS = tuple(f"{side.label}_{name}" for side in Side for name in OPENXR_JOINTS[1:])
"""Names of the joints of both hands in one array (50): OpenXR's without the palm, the 25 of the left hand first."""


@dataclasses.dataclass(frozen=True, eq=False)
class NamedPoses:
    """The joints of both hands as arrays of poses with names, such as those of Isaac Teleop's ROS 2 node.

    What is not valid has the position zero and the identity as orientation, not NaN, which receivers may not expect.

    Attributes:
        names: BOTH_HANDS.
        positions: (50, 3), metres, in a frame with x right, y up and z back.
        orientations: x y z w (50, 4).
        valid: (50,) bool: false for the metacarpals of the four fingers, and for a hand that is LOST.
    """

    names: tuple[str, ...]
    positions: np.ndarray
    orientations: np.ndarray
    valid: np.ndarray


def named_poses(left: HandJoints | None, right: HandJoints | None) -> NamedPoses:
    """Both hands in one array; None for a hand that is LOST. Raises ValueError for a hand of the other side."""
    positions, orientations, valid = np.zeros((50, 3)), np.tile([0.0, 0.0, 0.0, 1.0], (50, 1)), np.zeros(50, dtype=bool)
    for side, hand in ((Side.LEFT, left), (Side.RIGHT, right)):
        if hand is None:
            continue
        if hand.side != side:
            raise ValueError(f"expected a {side.label} hand, got a {hand.side.label} one")
        joints = openxr_joints(hand)
        here = 25 * int(side) + np.flatnonzero(joints.valid) - 1  # without the palm, which is never valid
        positions[here], orientations[here] = joints.positions[joints.valid], joints.orientations[joints.valid]
        valid[here] = True
    return NamedPoses(BOTH_HANDS, positions, orientations, valid)
