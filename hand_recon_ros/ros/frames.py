"""Poses of the keypoints of both hands, and their transforms for /tf."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..geometry.rotations import quaternions
from ..hand_model.measures import grasp_closure, joint_orientations, pinch_distance
from ..skeleton import KEYPOINT_NAMES, KEYPOINT_PARENTS, WRIST
from ..types import HandEstimate, Side, TwoHandEstimate


@dataclasses.dataclass(frozen=True, eq=False)
class HandPoses:
    """Poses of one hand's 21 keypoints in the camera frame, and measures of the hand.

    Attributes:
        rotations: (21, 3, 3); the first is the wrist frame, each other has x along the bone to the next keypoint.
        positions: (21, 3), metres.
        quaternions: of ``rotations``, (21, 4), x y z w.
        pinch_distance: thumb tip to index tip, metres.
        grasp_closure: 0 open .. 1 fist.
    """

    rotations: np.ndarray
    positions: np.ndarray
    quaternions: np.ndarray
    pinch_distance: float
    grasp_closure: float


def hand_poses(estimate: TwoHandEstimate) -> dict[Side, HandPoses]:
    """Poses of each hand that is found; raises ValueError for a hand without a wrist frame."""
    hands = [hand for hand in (estimate.left, estimate.right) if hand.found]
    if not hands:
        return {}
    # Both hands at once: for so few numbers the calls of NumPy take longer than their arithmetic.
    keypoints = np.stack([hand.joints for hand in hands]).astype(np.float64)
    rotations = joint_orientations(keypoints, right=np.array([hand.side == Side.RIGHT for hand in hands]))
    rotations[:, WRIST] = [hand.wrist_pose[:3, :3] for hand in hands]
    parts = rotations, keypoints, quaternions(rotations), pinch_distance(keypoints), grasp_closure(keypoints)
    return {hand.side: HandPoses(*each) for hand, *each in zip(hands, *parts, strict=True)}


def continuous(poses: dict[Side, HandPoses], last: Mapping[Side, np.ndarray]) -> dict[Side, HandPoses]:
    """``poses`` with each quaternion on the same hemisphere as in the ``last`` image, (21, 4) of each hand.

    q and -q are one rotation; who interpolates or differentiates them needs those that are near.
    """
    result = {}
    for side, each in poses.items():
        if side in last:
            opposite = np.sum(each.quaternions * last[side], axis=-1, keepdims=True) < 0.0
            each = dataclasses.replace(each, quaternions=np.where(opposite, -each.quaternions, each.quaternions))
        result[side] = each
    return result


def tf_name(frame_id: str) -> str:
    """A frame_id as tf2 takes it: without a slash at the beginning."""
    return frame_id.lstrip("/")


def frame_names(prefix: str, hand: HandEstimate) -> list[str]:
    """The frame of each of the 21 keypoints: ``<prefix>left_wrist``, ``<prefix>left_thumb_cmc``..."""
    return [f"{prefix}{hand.side.label}_{name}" for name in KEYPOINT_NAMES]


def relative_poses(poses: HandPoses) -> tuple[np.ndarray, np.ndarray]:
    """Positions (21, 3) and quaternions (21, 4) of each keypoint relative to its parent, the wrist's to the camera."""
    parents = np.maximum(KEYPOINT_PARENTS, 0)
    to_parent = np.swapaxes(poses.rotations[parents], -1, -2)
    positions = np.einsum("kij,kj->ki", to_parent, poses.positions - poses.positions[parents])
    local = quaternions(to_parent @ poses.rotations)
    positions[0], local[0] = poses.positions[0], poses.quaternions[0]
    return positions, local


def build_transforms(header: Any, hand: HandEstimate, poses: HandPoses, prefix: str, full: bool) -> list[Any]:
    """geometry_msgs/TransformStamped of the wrist, and with ``full`` of the 20 other keypoints, of a found hand.

    The parent of the wrist is the image's frame (``header.frame_id``), that of another keypoint its neighbour towards
    the wrist.
    """
    from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
    from std_msgs.msg import Header

    names = frame_names(prefix, hand)
    positions, orientations = relative_poses(poses) if full else (poses.positions[:1], poses.quaternions[:1])
    return [
        TransformStamped(
            header=Header(stamp=header.stamp, frame_id=names[KEYPOINT_PARENTS[k]] if k else tf_name(header.frame_id)),
            child_frame_id=names[k],
            transform=Transform(
                translation=Vector3(x=p[0], y=p[1], z=p[2]), rotation=Quaternion(x=q[0], y=q[1], z=q[2], w=q[3])
            ),
        )
        for k, (p, q) in enumerate(zip(positions.tolist(), orientations.tolist(), strict=True))
    ]
