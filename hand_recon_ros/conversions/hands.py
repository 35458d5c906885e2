"""Estimates as messages of hands: which can be published, and the fields of a message."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from ..skeleton import wrist_rotation
from ..types import HandEstimate, Side, TwoHandEstimate
from .frames import HandPoses
from .problems import Problems


def publishable(estimate: TwoHandEstimate, problems: Problems) -> TwoHandEstimate:
    """``estimate`` with every hand that cannot be published made LOST, which is reported in the group ``hand``."""
    hands = []
    for side in Side:
        hand = estimate.hand(side)
        fault = fault_of(hand)
        problems.check(
            f"hand.{side.label}",
            bool(fault),
            f"the estimate of the {side.label} hand {fault}: it is published as LOST; please report this",
        )
        hands.append(HandEstimate.lost(side) if fault else hand)
    return dataclasses.replace(estimate, left=hands[Side.LEFT], right=hands[Side.RIGHT])


def fault_of(hand: HandEstimate) -> str:
    """Why a hand cannot be published, as the end of a sentence; empty where it can, as for every LOST hand."""
    if not is_finite(hand):
        return "holds values that are not finite"
    try:
        if hand.found:
            wrist_rotation(hand.joints, right=hand.side == Side.RIGHT)
    except ValueError as error:
        return f"has no orientation ({error})"
    return ""


def is_finite(hand: HandEstimate) -> bool:
    """Whether every number of a found hand is finite; True for a LOST hand."""
    numbers = (
        hand.joints, hand.joint_scores, hand.keypoints_2d, hand.rotations, hand.betas,
        hand.translation, hand.wrist_pose, hand.roi, hand.score, hand.side_score, hand.position_stddev,
    )  # fmt: skip
    return not hand.found or all(np.isfinite(value).all() for value in numbers)


def fill_hands(
    message: Any,
    estimate: TwoHandEstimate,
    poses: dict[Side, HandPoses],
    header: Any,
    hand_model: Any,
    size: tuple[int, int],
    dropped: int,
) -> None:
    """Fill a TwoHands message whose fields are all zero; ``latency`` is left to its publisher.

    Args:
        message: of rclpy's or another implementation's class.
        estimate: both hands; a LOST one has only its side and the time since its last measurement.
        poses: of the hands that are found, see :func:`frames.hand_poses`.
        header: the image's.
        hand_model: converts rotations to MANO's pose vector.
        size: width and height of the image, pixels; regions of interest are clipped to it.
        dropped: images dropped so far.
    """
    message.header = header
    message.hand_model = estimate.hand_model
    message.calibrated = bool(estimate.calibrated)
    message.refined = bool(estimate.refined)
    message.inference_time = float(estimate.timings.get("total", 0.0))
    message.dropped = dropped & 0xFFFFFFFF
    for slot, hand in ((message.left, estimate.left), (message.right, estimate.right)):
        slot.side, slot.state = int(hand.side), int(hand.state)
        whole, fraction = divmod(max(hand.since_measurement, 0.0), 1.0)
        slot.since_measurement.sec, slot.since_measurement.nanosec = int(whole), int(fraction * 1e9)
        if hand.found:
            _fill(slot, hand, poses[hand.side], hand_model, size)


def _fill(slot: Any, hand: HandEstimate, poses: HandPoses, hand_model: Any, size: tuple[int, int]) -> None:
    # Setting the 21 poses that the message is constructed with takes half the time of 21 new ones.
    for pose, p, q in zip(slot.joints, poses.positions.tolist(), poses.quaternions.tolist(), strict=True):
        position, orientation = pose.position, pose.orientation
        position.x, position.y, position.z = p
        orientation.x, orientation.y, orientation.z, orientation.w = q
    slot.wrist = slot.joints[0]
    slot.track_id = int(hand.track_id)
    slot.score, slot.side_score = float(hand.score), float(hand.side_score)
    roi = slot.roi
    roi.x_offset, roi.y_offset, roi.width, roi.height = clipped_box(hand.roi, *size)
    slot.joint_scores = np.asarray(hand.joint_scores, dtype=np.float32)
    slot.keypoints_2d = np.asarray(hand.keypoints_2d, dtype=np.float32).reshape(-1)
    slot.scale_source = int(hand.scale_source)
    slot.position_stddev = float(hand.position_stddev)
    slot.pose = np.asarray(hand_model.to_mano_pose(hand.rotations), dtype=np.float32)
    slot.betas = np.asarray(hand.betas, dtype=np.float32)
    slot.translation.x, slot.translation.y, slot.translation.z = np.asarray(hand.translation, dtype=np.float64).tolist()
    slot.pinch_distance = float(poses.pinch_distance)
    slot.grasp_closure = float(poses.grasp_closure)


def clipped_box(box: tuple[float, float, float, float], width: int, height: int) -> tuple[int, int, int, int]:
    """The pixels of an image that a box (x, y, width, height) covers, whole or in part, as such a box."""
    left, top = (min(max(math.floor(v), 0), size) for v, size in zip(box[:2], (width, height), strict=True))
    right, bottom = (
        min(max(math.ceil(start + length), 0), size)
        for start, length, size in zip(box[:2], box[2:], (width, height), strict=True)
    )
    return left, top, max(right - left, 0), max(bottom - top, 0)
