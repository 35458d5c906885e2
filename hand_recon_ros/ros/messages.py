"""Messages of hands, built from values: every function is pure, and the node publishes the result."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, PoseArray, PoseStamped, PoseWithCovarianceStamped, TwistStamped
from sensor_msgs.msg import JointState, PointCloud2, PointField
from shape_msgs.msg import Mesh, MeshTriangle

from hand_recon_ros.msg import Hand, TwoHandMeshes, TwoHands

from ..conversions.frames import HandPoses
from ..conversions.hands import fill_hands
from ..hand_model.named_angles import ANGLE_NAMES, named_angles
from ..types import HandEstimate, Side, TwoHandEstimate


def build_hands_message(
    estimate: TwoHandEstimate,
    poses: dict[Side, HandPoses],
    header: Any,
    hand_model: Any,
    size: tuple[int, int],
    dropped: int,
) -> TwoHands:
    """The message of ~/hands without ``latency``, which is set when it is published, see :func:`fill_hands`."""
    message = TwoHands()
    fill_hands(message, estimate, poses, header, hand_model, size, dropped)
    return message


def build_wrist_message(header: Any, hand: Hand) -> PoseStamped:
    """The message of ~/left/wrist and ~/right/wrist, of a found hand."""
    return PoseStamped(header=header, pose=hand.wrist)


def build_covariance_message(header: Any, hand: Hand, covariance: np.ndarray) -> PoseWithCovarianceStamped:
    """The message of ~/left/wrist_with_covariance and its right one, of a found hand; ``covariance`` is (6, 6)."""
    message = PoseWithCovarianceStamped(header=header)
    message.pose.pose, message.pose.covariance = hand.wrist, covariance.reshape(36)
    return message


def build_velocity_message(header: Any, linear: np.ndarray, angular: np.ndarray) -> TwistStamped:
    """The message of ~/left/wrist_velocity and its right one: (3,) m/s and (3,) rad/s in the axes of the frame."""
    message = TwistStamped(header=header)
    for vector, values in ((message.twist.linear, linear), (message.twist.angular, angular)):
        vector.x, vector.y, vector.z = values.tolist()
    return message


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
