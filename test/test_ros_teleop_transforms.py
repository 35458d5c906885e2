"""The frames of hand_teleop: hands and tool by tf2, and what happens where a transform is missing."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from geometry_msgs.msg import TransformStamped  # noqa: E402
from poses import matrix  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from rclpy.time import Time  # noqa: E402
from teleop_support import LATCHED, ScriptedTransforms, Teleop, running  # noqa: E402

from hand_recon_ros.conversions.estimates import pose_matrix  # noqa: E402
from hand_recon_ros.ros.transforms import build_pose  # noqa: E402


def test_commands_are_in_the_target_frame_at_the_images_stamp() -> None:
    transforms = ScriptedTransforms()
    # The camera looks along the base's x: its x is the base's -y.
    transforms.camera = np.array([[0, 0, 1, 0.2], [-1, 0, 0, 0.1], [0, -1, 0, 1.0], [0, 0, 0, 1.0]])
    transforms.tool = matrix((0.5, 0.0, 0.4), (3.0, 0.0, 0.0))
    with Teleop(transforms, target_frame="base", tool_frame="tool") as teleop:
        teleop.show(matrix(), 3)
        assert teleop.engage().success
        teleop.wait(lambda: teleop.targets, "a target")
        np.testing.assert_allclose(pose_matrix(teleop.targets[0].pose), transforms.tool, atol=1e-9)
        teleop.move(matrix(), matrix((0.1, 0.0, 0.5)))
        teleop.settle((0.5, -0.1, 0.4))
        assert {m.header.frame_id for m in teleop.targets} == {"base"}
        cameras = [(target, source) for target, source, stamp in transforms.asked if stamp > 0]
        assert set(cameras) == {("base", "camera")} and len(cameras) == 14
        assert ("base", "tool", 0.0) in transforms.asked


def test_transforms_that_fail_stop_it_and_are_counted_and_said_once() -> None:
    transforms = ScriptedTransforms()
    with Teleop(transforms, target_frame="base", tf_wait=0.05) as teleop:
        diagnostics = teleop.listen(DiagnosticArray, "/diagnostics")
        running(teleop)
        transforms.camera = None
        teleop.show(matrix((0.05, 0.0, 0.5)), 5)
        teleop.stopped()
        teleop.wait(lambda: teleop.node.hands.transform_failures == 5, "five failures")
        assert len([t for t in teleop.warnings() if "the hand cannot be transformed: no transform" in t]) == 1
        assert not teleop.engage().success
        seen = teleop.wait(
            lambda: [m.status[0] for m in diagnostics if "cannot be transformed" in m.status[0].message], "diagnostics"
        )[0]
        assert seen.level == DiagnosticStatus.WARN
        assert {v.key: v.value for v in seen.values}["transforms failed"] == "5"
        transforms.camera = np.eye(4)
        teleop.show(matrix((0.05, 0.0, 0.5)), 3)
        assert teleop.engage().success
        assert not teleop.node.problems.active()


def test_a_transform_that_comes_late_is_waited_for() -> None:
    transforms = ScriptedTransforms()
    with Teleop(transforms, target_frame="base", tf_wait=0.5) as teleop:
        running(teleop)
        transforms.camera = None
        teleop.show(matrix((0.06, 0.0, 0.5)), 3)
        transforms.camera = np.eye(4)
        teleop.settle((0.06, 0.0, 0.0))
        assert teleop.engaged[-1].data and teleop.node.hands.transform_failures == 0


def test_without_the_tools_transform_it_does_not_engage() -> None:
    transforms = ScriptedTransforms()
    transforms.tool = None
    with Teleop(transforms, target_frame="base", tool_frame="tool", clutch="always") as teleop:
        teleop.show(matrix(), 5)
        assert not teleop.twists
        assert len([t for t in teleop.warnings() if "it is not known where the robot is" in t]) == 1
        transforms.tool = matrix((1.0, 0.0, 0.0))
        teleop.show(matrix(), 3)
        teleop.settle((1.0, 0.0, 0.0))


def test_real_transforms() -> None:
    tf2_ros = pytest.importorskip("tf2_ros")
    from tf2_msgs.msg import TFMessage

    with Teleop(target_frame="base", tool_frame="tool") as teleop:
        assert tf2_ros.Buffer
        mount, tool = TransformStamped(child_frame_id="camera"), TransformStamped(child_frame_id="tool")
        mount.header.frame_id = tool.header.frame_id = "base"
        pose = build_pose(np.array([[0, 0, 1, 0.2], [-1, 0, 0, 0.1], [0, -1, 0, 1.0], [0, 0, 0, 1.0]]))
        mount.transform.translation.x, mount.transform.rotation = 0.2, pose.orientation
        tool.transform.translation.x, tool.transform.rotation.w = 0.7, 1.0
        static = teleop.publisher(TFMessage, "/tf_static", QoSProfile(depth=10, durability=LATCHED.durability))
        teleop.show(matrix(), 5)
        assert not teleop.engage().success
        static.publish(TFMessage(transforms=[mount]))
        moving = teleop.publisher(TFMessage, "/tf", 100)

        def robot(age: float = 0.0) -> None:
            stamp = teleop.client.get_clock().now().nanoseconds - round(age * 1e9)
            tool.header.stamp = Time(nanoseconds=stamp).to_msg()
            moving.publish(TFMessage(transforms=[tool]))

        robot(age=3.0)
        teleop.show(matrix(), 5)
        answer = teleop.engage()
        assert not answer.success and "s old" in answer.message
        robot()
        teleop.show(matrix(), 5)
        assert teleop.engage().success
        teleop.wait(lambda: teleop.targets, "a target")
        np.testing.assert_allclose(teleop.at(0), (0.7, 0.0, 0.0), atol=1e-9)
        teleop.move(matrix(), matrix((0.1, 0.0, 0.5)))
        teleop.settle((0.7, -0.1, 0.0))
