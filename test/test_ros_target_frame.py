"""Hands in another frame than the camera's: over real DDS with scripted transforms, and with tf2 where it is there."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
pytest.importorskip("tf2_msgs")

from geometry_msgs.msg import PoseArray, PoseStamped, PoseWithCovarianceStamped, TransformStamped  # noqa: E402
from hand_recon_ros.msg import Hand, TwoHandMeshes, TwoHands  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from ros_support import (  # noqa: E402
    NodeOnDds,
    camera_info,
    estimate_of,
    hand_estimate,
    hand_model,
    image_message,
    turn,
)
from sensor_msgs.msg import PointCloud2  # noqa: E402
from teleop_support import ScriptedTransforms  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402
from visualization_msgs.msg import MarkerArray  # noqa: E402

from hand_recon_ros.config import ConfigError  # noqa: E402
from hand_recon_ros.conversions.placing import transformed  # noqa: E402
from hand_recon_ros.ros.parameters import snapshot  # noqa: E402
from hand_recon_ros.ros.transforms import build_pose, pose_matrix  # noqa: E402
from hand_recon_ros.types import HandEstimate, HandState, Side  # noqa: E402

BASE = np.eye(4)
BASE[:3, :3] = turn(0, -1.9) @ turn(2, 0.4)
BASE[:3, 3] = 0.3, -0.1, 1.2
"""From the camera to the robot's base."""


def in_base(points: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.asarray(points) @ BASE[:3, :3].T + BASE[:3, 3]
    return result


@contextlib.contextmanager
def node(transforms: Any = None, **parameters: Any) -> Iterator[NodeOnDds]:
    make = None if transforms is None else lambda node: transforms
    with NodeOnDds(make_transforms=make, target_frame="base", **parameters) as made:
        made.send_info(camera_info())
        yield made


@pytest.mark.parametrize("side", list(Side))
def test_a_transformed_hand_is_one_of_the_hand_model(side: Side) -> None:
    hand, model = hand_estimate(side), hand_model()
    moved = transformed(hand, BASE)
    np.testing.assert_allclose(moved.vertices, in_base(hand.vertices), atol=1e-6)
    np.testing.assert_allclose(
        model.mesh(side, moved.rotations, moved.betas, moved.translation), moved.vertices, atol=1e-6
    )
    joints, _ = model.kinematics(side).forward(moved.rotations, moved.betas, moved.translation)
    np.testing.assert_allclose(moved.joints, joints, atol=1e-9)
    np.testing.assert_allclose(moved.wrist_pose, BASE @ hand.wrist_pose)
    assert moved.keypoints_2d is hand.keypoints_2d and moved.position_stddev == hand.position_stddev


def test_a_lost_hand_stays_lost() -> None:
    lost = HandEstimate.lost(Side.LEFT, 0.5)
    assert transformed(lost, BASE) is lost


def test_everything_is_published_in_the_target_frame_and_tf_in_the_cameras() -> None:
    transforms = ScriptedTransforms()
    transforms.camera = BASE
    with node(transforms) as dds:
        kinds = {
            "hands": TwoHands, "left/wrist": PoseStamped, "right/poses": PoseArray, "meshes": TwoHandMeshes,
            "points": PointCloud2, "left/wrist_with_covariance": PoseWithCovarianceStamped,
        }  # fmt: skip
        heard = {name: dds.listen(kind, f"/hand_recon/{name}") for name, kind in kinds.items()}
        markers, tf = dds.listen(MarkerArray, "/hand_recon/markers"), dds.listen(TFMessage, "/tf", 100)
        stamp = dds.process()
        for name, messages in (*heard.items(), ("markers", markers), ("tf", tf)):
            dds.wait(lambda messages=messages: messages, name)
        for messages in heard.values():
            assert messages[0].header.frame_id == "base" and messages[0].header.stamp == stamp
        assert {marker.header.frame_id for marker in markers[0].markers} == {"base"}
        seen = estimate_of()
        hand = heard["hands"][0].left
        positions = [[p.position.x, p.position.y, p.position.z] for p in hand.joints]
        np.testing.assert_allclose(positions, in_base(seen.left.joints), atol=1e-6)
        np.testing.assert_allclose(pose_matrix(hand.wrist), BASE @ seen.left.wrist_pose, atol=1e-6)
        np.testing.assert_allclose(pose_matrix(heard["left/wrist"][0].pose), BASE @ seen.left.wrist_pose, atol=1e-6)
        pose = heard["left/wrist_with_covariance"][0].pose
        np.testing.assert_allclose(pose_matrix(pose.pose), BASE @ seen.left.wrist_pose, atol=1e-6)
        ray = BASE[:3, :3] @ seen.left.joints[0] / np.linalg.norm(seen.left.joints[0])
        covariance = pose.covariance.reshape(6, 6)[:3, :3]
        np.testing.assert_allclose(covariance @ ray, seen.left.position_stddev**2 * ray, atol=1e-9)
        vertices = np.array(heard["meshes"][0].right_vertices).reshape(-1, 3)
        np.testing.assert_allclose(vertices, in_base(seen.right.vertices), atol=1e-5)
        left = next(t for t in tf[0].transforms if t.child_frame_id == "human_left_wrist")
        assert left.header.frame_id == "camera"
        move = left.transform.translation
        np.testing.assert_allclose([move.x, move.y, move.z], seen.left.joints[0], atol=1e-6)
        assert transforms.asked == [("base", "camera", stamp.sec + stamp.nanosec * 1e-9)]


def test_without_a_transform_the_hands_are_lost_and_it_is_said_once() -> None:
    transforms = ScriptedTransforms()
    transforms.camera = None
    with node(transforms, tf_wait=0.0) as dds:
        hands = dds.listen(TwoHands, "/hand_recon/hands")
        for _ in range(3):
            dds.process()
        dds.wait(lambda: len(hands) == 3, "hands of each image")
        assert {(each.left.state, each.header.frame_id) for each in hands} == {(Hand.LOST, "base")}
        assert dds.node.counters.states == (HandState.LOST, HandState.LOST)
        (line,) = dds.warnings()
        assert line.startswith("the hands are not published: no transform from 'camera' to 'base'")
        transforms.camera = BASE
        dds.process()
        dds.wait(lambda: len(hands) == 4, "hands")
        assert hands[-1].left.state == Hand.TRACKED and not dds.node.problems.active(error=False)


def test_a_transform_that_comes_late_is_waited_for() -> None:
    transforms = ScriptedTransforms()
    transforms.camera = None
    with node(transforms, tf_wait=0.2) as dds:
        hands = dds.listen(TwoHands, "/hand_recon/hands")
        dds.send(image_message())
        dds.wait(lambda: len(transforms.asked) > 2, "the node to wait")
        assert not hands
        transforms.camera = BASE
        dds.wait(lambda: hands, "the hands")
        assert hands[0].right.state == Hand.TRACKED and dds.warnings() == []


def test_quaternions_on_tf_stay_on_one_hemisphere_too() -> None:
    transforms = ScriptedTransforms()
    transforms.camera = BASE
    with node(transforms, publish_tf="full") as dds:
        tf = dds.listen(TFMessage, "/tf", 100)
        for number in range(24):
            spin = np.eye(4)
            spin[:3, :3] = turn(2, number * np.pi / 8)
            seen = estimate_of()
            estimate = dataclasses.replace(seen, left=transformed(seen.left, spin), right=transformed(seen.right, spin))
            dds.reconstructor.estimate = lambda image, camera, stamp, estimate=estimate: estimate
            dds.process()
        dds.wait(lambda: len(tf) == 24, "the transforms")
        wrists = [next(t for t in each.transforms if t.child_frame_id == "human_left_wrist") for each in tf]
        turns = np.array([[q.x, q.y, q.z, q.w] for q in (each.transform.rotation for each in wrists)])
        assert (turns[1:] * turns[:-1]).sum(axis=1).min() > 0.9


def test_old_transforms_are_forgotten_where_stamps_jump_back() -> None:
    transforms = ScriptedTransforms()
    with node(transforms) as dds:
        for stamp in (100.0, 100.1):
            dds.process(stamp=stamp)
        dds.reconstructor.estimate = lambda image, camera, stamp: estimate_of(False, False, camera, stamp)
        dds.process(stamp=50.0)  # without hands
        dds.reconstructor.estimate = lambda image, camera, stamp: estimate_of(camera=camera, stamp=stamp)
        for stamp in (100.2, 100.3):
            dds.process(stamp=stamp)
        assert transforms.clears == 1


def test_cleanup_ends_the_transforms() -> None:
    transforms = ScriptedTransforms()
    with node(transforms) as dds:
        dds.node.trigger_deactivate()
        assert not transforms.closed
        dds.node.trigger_cleanup()
        assert transforms.closed


def test_without_tf2_configuring_fails_with_the_remedy() -> None:
    def missing(node: Any) -> Any:
        raise ImportError("No module named 'tf2_ros'")

    with NodeOnDds(activate=False, make_transforms=missing, target_frame="base") as dds:
        dds.node.trigger_configure()
        assert dds.node.state == "unconfigured"
        (line,) = dds.warnings()
        assert "target_frame needs tf2_ros" in line and "install it" in line


def test_a_name_that_is_no_frame_is_refused() -> None:
    with pytest.raises(ConfigError, match="target_frame 'robot base'"):
        snapshot({"target_frame": "robot base"})


def test_real_transforms() -> None:
    pytest.importorskip("tf2_ros")
    with node() as dds:
        hands = dds.listen(TwoHands, "/hand_recon/hands")
        dds.process()
        mount = TransformStamped(child_frame_id="camera")
        mount.header.frame_id = "base"
        pose = build_pose(BASE)
        mount.transform.rotation = pose.orientation
        move = mount.transform.translation
        move.x, move.y, move.z = BASE[:3, 3].tolist()
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        dds.publisher(TFMessage, "/tf_static", latched).publish(TFMessage(transforms=[mount]))
        time.sleep(0.3)
        dds.process()
        dds.wait(lambda: len(hands) == 2, "the hands")
        assert [each.left.state for each in hands] == [Hand.LOST, Hand.TRACKED]
        wrist = hands[1].left.wrist
        np.testing.assert_allclose(pose_matrix(wrist), BASE @ estimate_of().left.wrist_pose, atol=1e-6)
