"""Poses of the keypoints of both hands, and their transforms for /tf."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
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


class ContinuousPoses:
    """The :func:`hand_poses` of a stream, made :func:`continuous` from estimate to estimate."""

    def __init__(self) -> None:
        self._quaternions: dict[Side, np.ndarray] = {}

    def __call__(self, estimate: TwoHandEstimate) -> dict[Side, HandPoses]:
        """Poses of each hand that is found in the next estimate."""
        poses = continuous(hand_poses(estimate), self._quaternions)
        self._quaternions = {side: each.quaternions for side, each in poses.items()}
        return poses

    def clear(self) -> None:
        """The next estimate begins a stream."""
        self._quaternions.clear()


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


def build_transforms(
    make: Callable[[], Any],
    header: Any,
    estimate: TwoHandEstimate,
    poses: Mapping[Side, HandPoses],
    prefix: str,
    publish_tf: str,
) -> list[Any]:
    """The geometry_msgs/TransformStamped of /tf for an image.

    The parent of the wrist is the image's frame (``header.frame_id``), that of another keypoint its neighbour towards
    the wrist. There are none for guessed intrinsics, with which a transform would be wrong by metres, nor for images
    without a frame_id, which have no parent.

    Args:
        make: an empty TransformStamped.
        header: the image's.
        estimate: of the image.
        poses: of the hands that are found, see :func:`hand_poses`.
        prefix: of the name of every frame.
        publish_tf: ``off``, ``wrist``, or ``full``: the 20 other keypoints as well.
    """
    if publish_tf == "off" or not estimate.calibrated or not tf_name(header.frame_id):
        return []
    result = []
    for side, each in poses.items():
        names = frame_names(prefix, estimate.hand(side))
        full = publish_tf == "full"
        positions, orientations = relative_poses(each) if full else (each.positions[:1], each.quaternions[:1])
        for k, (p, q) in enumerate(zip(positions.tolist(), orientations.tolist(), strict=True)):
            message = make()
            message.header.stamp = header.stamp
            message.header.frame_id = names[KEYPOINT_PARENTS[k]] if k else tf_name(header.frame_id)
            message.child_frame_id = names[k]
            move, turn = message.transform.translation, message.transform.rotation
            move.x, move.y, move.z = p
            turn.x, turn.y, turn.z, turn.w = q
            result.append(message)
    return result
