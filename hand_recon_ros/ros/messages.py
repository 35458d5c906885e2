"""Messages of hands, built from values: every function is pure, and the node publishes the result."""

from __future__ import annotations

import array
import math
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, PoseArray, PoseStamped
from sensor_msgs.msg import JointState, PointCloud2, PointField, RegionOfInterest
from shape_msgs.msg import Mesh, MeshTriangle

from hand_recon_ros.msg import Hand, TwoHandMeshes, TwoHands

from ..hand_model.named_angles import ANGLE_NAMES, named_angles
from ..skeleton import wrist_rotation
from ..types import HandEstimate, Side, TwoHandEstimate
from .frames import HandPoses


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


def build_hands_message(
    estimate: TwoHandEstimate,
    poses: dict[Side, HandPoses],
    header: Any,
    hand_model: Any,
    size: tuple[int, int],
    dropped: int,
) -> TwoHands:
    """The TwoHands message, without ``latency``, which is set when it is published.

    Args:
        estimate: both hands; a LOST one has only its side and the time since its last measurement.
        poses: of the hands that are found, see :func:`frames.hand_poses`.
        header: the image's.
        hand_model: converts rotations to MANO's pose vector.
        size: width and height of the image, pixels; regions of interest are clipped to it.
        dropped: images dropped so far.
    """
    message = TwoHands(
        header=header,
        hand_model=estimate.hand_model,
        calibrated=bool(estimate.calibrated),
        refined=bool(estimate.refined),
        inference_time=float(estimate.timings.get("total", 0.0)),
        dropped=dropped & 0xFFFFFFFF,
    )
    for slot, hand in ((message.left, estimate.left), (message.right, estimate.right)):
        slot.side, slot.state = int(hand.side), int(hand.state)
        whole, fraction = divmod(max(hand.since_measurement, 0.0), 1.0)
        slot.since_measurement.sec, slot.since_measurement.nanosec = int(whole), int(fraction * 1e9)
        if hand.found:
            _fill(slot, hand, poses[hand.side], hand_model, size)
    return message


def _fill(slot: Hand, hand: HandEstimate, poses: HandPoses, hand_model: Any, size: tuple[int, int]) -> None:
    # Setting the 21 poses that the message is constructed with takes half the time of 21 new ones.
    for pose, p, q in zip(slot.joints, poses.positions.tolist(), poses.quaternions.tolist(), strict=True):
        position, orientation = pose.position, pose.orientation
        position.x, position.y, position.z = p
        orientation.x, orientation.y, orientation.z, orientation.w = q
    slot.wrist = slot.joints[0]
    slot.track_id = int(hand.track_id)
    slot.score, slot.side_score = float(hand.score), float(hand.side_score)
    slot.roi = build_roi(hand.roi, *size)
    slot.joint_scores = np.asarray(hand.joint_scores, dtype=np.float32)
    slot.keypoints_2d = np.asarray(hand.keypoints_2d, dtype=np.float32).reshape(-1)
    slot.scale_source = int(hand.scale_source)
    slot.position_stddev = float(hand.position_stddev)
    slot.pose = np.asarray(hand_model.to_mano_pose(hand.rotations), dtype=np.float32)
    slot.betas = np.asarray(hand.betas, dtype=np.float32)
    slot.translation.x, slot.translation.y, slot.translation.z = np.asarray(hand.translation, dtype=np.float64).tolist()
    slot.pinch_distance = float(poses.pinch_distance)
    slot.grasp_closure = float(poses.grasp_closure)


def build_roi(box: tuple[float, float, float, float], width: int, height: int) -> RegionOfInterest:
    """The pixels of an image of ``width`` x ``height`` that a box (x, y, width, height) covers, whole or in part."""
    left, top = (min(max(math.floor(v), 0), size) for v, size in zip(box[:2], (width, height), strict=True))
    right, bottom = (
        min(max(math.ceil(start + length), 0), size)
        for start, length, size in zip(box[:2], box[2:], (width, height), strict=True)
    )
    return RegionOfInterest(x_offset=left, y_offset=top, width=max(right - left, 0), height=max(bottom - top, 0))


def build_wrist_message(header: Any, hand: Hand) -> PoseStamped:
    """The message of ~/left/wrist and ~/right/wrist, of a found hand."""
    return PoseStamped(header=header, pose=hand.wrist)


def build_poses_message(header: Any, hand: Hand) -> PoseArray:
    """The message of ~/left/poses and ~/right/poses: 21 poses, none for a LOST hand."""
    return PoseArray(header=header, poses=[] if hand.state == Hand.LOST else hand.joints)


def build_joint_state_message(header: Any, estimate: TwoHandEstimate, hand_model: Any) -> JointState:
    """The message of ~/joint_states: the angles of each hand that is found, radians; none of a LOST one.

    Names are ``left_`` or ``right_`` and those of :data:`named_angles.ANGLE_NAMES`.
    """
    message = JointState(header=header)
    for hand in (estimate.left, estimate.right):
        if hand.found:
            message.name.extend(f"{hand.side.label}_{name}" for name in ANGLE_NAMES)
            message.position.extend(named_angles(hand_model.kinematics(hand.side), hand.rotations).tolist())
    return message


def build_meshes_message(header: Any, estimate: TwoHandEstimate) -> TwoHandMeshes:
    """The message of ~/meshes: the vertices of both hands, none for a LOST one."""
    return TwoHandMeshes(
        header=header,
        left_valid=estimate.left.found,
        right_valid=estimate.right.found,
        left_vertices=_floats(estimate.left),
        right_vertices=_floats(estimate.right),
    )


POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("side", "u1")])
"""A point of ~/points: its place in metres, and the side of its hand (0 left, 1 right)."""


def build_points_message(header: Any, estimate: TwoHandEstimate) -> PointCloud2:
    """The message of ~/points: the vertices of both hands, none of a LOST one."""
    hands = [hand for hand in (estimate.left, estimate.right) if hand.found]
    points = np.empty(sum(len(hand.vertices) for hand in hands), dtype=POINT)
    start = 0
    for hand in hands:
        part = points[start : start + len(hand.vertices)]
        part["x"], part["y"], part["z"] = np.asarray(hand.vertices, dtype=np.float32).T
        part["side"] = int(hand.side)
        start += len(part)
    layout = (("x", 0, PointField.FLOAT32), ("y", 4, PointField.FLOAT32), ("z", 8, PointField.FLOAT32))
    return PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=[
            PointField(name=name, offset=offset, datatype=kind, count=1)
            for name, offset, kind in (*layout, ("side", 12, PointField.UINT8))
        ],
        is_bigendian=False,
        point_step=POINT.itemsize,
        row_step=points.nbytes,
        data=array.array("B", points.tobytes()),
        is_dense=True,
    )


def _floats(hand: HandEstimate) -> array.array[float]:
    values: array.array[float] = array.array("f")
    if hand.found:
        values.frombytes(np.ascontiguousarray(hand.vertices, dtype=np.float32).tobytes())
    return values


def build_topology_message(faces: np.ndarray, vertices: np.ndarray) -> Mesh:
    """A mesh of the triangles (F, 3) of a hand and the vertices (V, 3) of its flat rest pose, metres."""
    return Mesh(
        triangles=[MeshTriangle(vertex_indices=np.asarray(face, dtype=np.uint32)) for face in faces],
        vertices=[Point(x=x, y=y, z=z) for x, y, z in np.asarray(vertices, dtype=np.float64).tolist()],
    )
