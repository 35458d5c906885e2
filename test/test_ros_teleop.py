"""The node hand_teleop over DDS, moved by a scripted hand: no jumps, limits, and a stop for every fault."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")

from geometry_msgs.msg import PoseStamped  # noqa: E402
from hand_recon_ros.msg import Hand, TwoHands  # noqa: E402
from poses import matrix  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from ros_support import OnDds  # noqa: E402
from scipy.spatial.transform import Rotation  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from teleop_support import Teleop, running  # noqa: E402

from hand_recon_ros.config import ConfigError  # noqa: E402
from hand_recon_ros.conversions.estimates import pose_matrix  # noqa: E402
from hand_recon_ros.ros import topics  # noqa: E402
from hand_recon_ros.ros.teleop import HandTeleopNode  # noqa: E402
from hand_recon_ros.ros.transforms import build_pose  # noqa: E402


@pytest.fixture
def teleop() -> Iterator[Teleop]:
    with Teleop() as running:
        yield running


def test_the_target_starts_at_the_robot_and_never_jumps(teleop: Teleop) -> None:
    start = matrix((0.4, 0.1, 0.3), (0.0, 1.0, 0.0))
    here = matrix((0.1, 0.0, 0.6), (0.5, 0.0, 0.0))
    assert teleop.set_parameters(scale=0.5).successful
    teleop.start_at(start)
    teleop.show(here, 3)
    assert not teleop.targets and not teleop.twists, "nothing moves before the clutch is engaged"
    assert teleop.engage().success
    teleop.wait(lambda: teleop.targets, "a target")
    np.testing.assert_allclose(pose_matrix(teleop.targets[0].pose), start, atol=1e-9)
    teleop.move(here, matrix((0.2, 0.04, 0.6), (0.5, 0.0, 0.0)))
    teleop.settle((0.45, 0.12, 0.3))
    turned = matrix((0.2, 0.04, 0.6))
    turned[:3, :3] = Rotation.from_rotvec((0.0, 0.0, 0.4)).as_matrix() @ here[:3, :3]
    teleop.show(turned, 5)
    expected = Rotation.from_rotvec((0.0, 0.0, 0.4)).as_matrix() @ start[:3, :3]
    teleop.wait(lambda: np.allclose(pose_matrix(teleop.targets[-1].pose)[:3, :3], expected, atol=1e-6), "the rotation")
    assert {m.header.frame_id for m in (*teleop.targets, *teleop.twists)} == {"camera"}
    stamps = [m.header.stamp.sec + m.header.stamp.nanosec * 1e-9 for m in teleop.targets]
    assert all(b > a for a, b in zip(stamps[:-1], stamps[1:], strict=True))

    assert teleop.engage(False).success
    teleop.stopped()
    last, count = teleop.targets[-1].pose, len(teleop.targets)
    away = matrix((-0.2, 0.3, 0.8), (1.0, 1.0, 0.0))
    teleop.move(turned, away, 15)
    assert len(teleop.targets) == count
    assert teleop.engage().success
    teleop.wait(lambda: len(teleop.targets) > count, "a target")
    np.testing.assert_allclose(pose_matrix(teleop.targets[count].pose), pose_matrix(last), atol=1e-9)
    assert [m.data for m in teleop.engaged] == [False, True, False, True]


def test_without_a_start_there_are_twists_only(teleop: Teleop) -> None:
    teleop.show(matrix(), 3)
    assert teleop.engage().success
    teleop.move(matrix(), matrix((0.1, 0.0, 0.5)))
    teleop.wait(lambda: len(teleop.twists) > 5, "twists")
    assert not teleop.targets
    assert any("~/target is off" in text for text in teleop.logged("INFO"))


def test_limits_hold() -> None:
    limits = {
        "max_linear_velocity": 0.4,
        "max_linear_step": 0.012,
        "max_angular_velocity": 1.0,
        "max_angular_step": 0.03,
    }
    with Teleop(**limits) as teleop:
        teleop.start_at(np.eye(4))
        teleop.show(matrix(), 3)
        assert teleop.engage().success
        teleop.move(matrix(), matrix((0.15, 0.0, 0.5), (0.0, 0.0, 0.5)), 5)  # about 1.5 m/s
        for _ in range(100):
            teleop.show(matrix((0.15, 0.0, 0.5), (0.0, 0.0, 0.5)))
            if np.allclose(teleop.at(-1), (0.15, 0.0, 0.0), atol=1e-6):
                break
        teleop.settle((0.15, 0.0, 0.0))
        linear, angular = teleop.speeds().max(axis=0)
        assert 0.2 < linear <= 0.4 + 1e-9 and 0.5 < angular <= 1.0 + 1e-9
        poses = [pose_matrix(m.pose) for m in teleop.targets]
        for before, after in zip(poses[:-1], poses[1:], strict=True):
            assert np.linalg.norm(after[:3, 3] - before[:3, 3]) <= 0.012 + 1e-9
            turn = Rotation.from_matrix(after[:3, :3] @ before[:3, :3].T).magnitude()
            assert turn <= 0.03 + 1e-7


FAULTS = {
    "the hand is LOST": lambda teleop: teleop.show(None),
    "lost and found": lambda teleop: teleop.show(matrix((0.05, 0.0, 0.5)), track_id=2),
    "jump back": lambda teleop: teleop.show(matrix((0.05, 0.0, 0.5)), age=0.5),
    "the hand jumps": lambda teleop: teleop.show(matrix((3.0, 0.0, 0.5))),
    "s old": lambda teleop: time.sleep(1.2),  # no more messages
    "frame of the hands changes": lambda teleop: teleop.show(matrix((0.05, 0.0, 0.5)), frame="other"),
    "counts as LOST": lambda teleop: teleop.show(matrix((np.nan, 0.0, 0.5))),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_it_stops_and_stays_stopped(teleop: Teleop, fault: str) -> None:
    running(teleop)
    FAULTS[fault](teleop)
    teleop.stopped()
    texts = teleop.logged("INFO", "WARN")
    assert [text for text in texts if fault in text], texts
    count = len(teleop.twists)
    teleop.show(matrix((0.05, 0.0, 0.5)), 10)
    assert len(teleop.twists) == count, "the hand is back, the clutch is not"
    assert teleop.engage().success
    teleop.wait(lambda: len(teleop.twists) > count, "it goes on when asked")


def test_old_hands_do_not_engage(teleop: Teleop) -> None:
    teleop.show(matrix(), 3, age=1.5)
    answer = teleop.engage()
    assert not answer.success and "in the past" in answer.message
    teleop.show(None, 2)
    answer = teleop.engage()
    assert not answer.success and "LOST" in answer.message
    teleop.show(matrix(), 10)
    assert not teleop.twists and not teleop.engaged[-1].data


def test_start_poses_count_while_released_and_in_the_frame_of_the_commands(teleop: Teleop) -> None:
    running(teleop)
    publisher = teleop.publisher(PoseStamped, "hand_teleop/start_pose")
    publisher.publish(PoseStamped(pose=build_pose(matrix((5.0, 5.0, 5.0)))))
    teleop.show(matrix((0.05, 0.0, 0.5)), 5)
    np.testing.assert_allclose(teleop.at(-1), (0.05, 0.0, 0.0), atol=1e-6)
    assert teleop.engage(False).success
    message = PoseStamped(pose=build_pose(matrix((7.0, 0.0, 0.0))))
    message.header.frame_id = "elsewhere"
    for pose, reason in ((message, "'elsewhere'"), (PoseStamped(), "it is no pose")):
        pose.pose.orientation.w = 1.0 if pose is message else 0.0
        publisher.publish(pose)
        teleop.wait(lambda reason=reason: [t for t in teleop.node.problems.active() if reason in t], reason)
    publisher.publish(PoseStamped(pose=build_pose(matrix((2.0, 0.0, 0.0)))))
    teleop.wait(lambda: not teleop.node.problems.active(), "the pose")
    count = len(teleop.targets)
    teleop.show(matrix(), 3)
    assert teleop.engage().success
    teleop.wait(lambda: len(teleop.targets) > count, "a target")
    np.testing.assert_allclose(teleop.at(count), (2.0, 0.0, 0.0), atol=1e-9)


def test_the_pinch_of_the_other_hand_is_the_clutch() -> None:
    class BothHands(Teleop):
        pinch: float | None = 0.08

        def add_to(self, message: TwoHands) -> None:
            if self.pinch is not None:
                message.left.state, message.left.pinch_distance = Hand.TRACKED, self.pinch

    with BothHands(clutch="pinch", clutch_hand="other") as teleop:
        teleop.start_at(np.eye(4))
        teleop.show(matrix(), 3)
        assert not teleop.twists
        teleop.pinch = 0.01
        teleop.show(matrix(), 3)
        teleop.wait(lambda: teleop.engaged[-1].data, "the pinch")
        teleop.pinch = 0.035  # between the thresholds
        teleop.move(matrix(), matrix((0.1, 0.0, 0.5)))
        teleop.settle((0.1, 0.0, 0.0))
        assert teleop.grips, "the hand that moves has the gripper"
        teleop.pinch = None
        teleop.show(matrix((0.1, 0.0, 0.5)))
        teleop.stopped()
        teleop.pinch = 0.01
        teleop.show(matrix((0.1, 0.0, 0.5)), 5)
        assert not teleop.engaged[-1].data, "the fingers have to open first"
        assert teleop.engage(False).message == "released"
        for teleop.pinch in (0.08, 0.01):
            teleop.show(matrix((0.1, 0.0, 0.5)), 3)
        assert not teleop.engaged[-1].data, "forbidden"
        assert teleop.engage().message == "permitted"
        for teleop.pinch in (0.08, 0.01):
            teleop.show(matrix((0.1, 0.0, 0.5)), 3)
        teleop.wait(lambda: teleop.engaged[-1].data, "the pinch")


def test_the_gripper_and_its_calibration(teleop: Teleop) -> None:
    calibrate = Trigger, "/hand_teleop/calibrate_closed", Trigger.Request()
    assert not teleop.call(*calibrate).success
    teleop.show(matrix(), 20, pinch_distance=0.035)
    answer = teleop.call(*calibrate)
    assert answer.success and "gripper_closed_distance is 0.0350" in answer.message
    assert teleop.node.get_parameter("gripper_closed_distance").value == 0.035
    refused = teleop.call(Trigger, "/hand_teleop/calibrate_open", Trigger.Request())
    assert not refused.success and "gripper_open_distance" in refused.message
    teleop.show(matrix(), 20, pinch_distance=0.1)
    assert teleop.call(Trigger, "/hand_teleop/calibrate_open", Trigger.Request()).success
    assert teleop.engage().success
    for distance, closed in ((0.1, 0.0), (0.035, 1.0), (0.1, 0.0)):
        teleop.show(matrix(), 3, pinch_distance=distance)
        teleop.wait(
            lambda closed=closed: teleop.grips and abs(teleop.grips[-1].data - closed) < 1e-4, f"a gripper at {closed}"
        )
    assert all(0.0 <= m.data <= 1.0 for m in teleop.grips)


def test_topics_and_services_are_those_of_the_table(teleop: Teleop) -> None:
    def full(name: str) -> str:
        return "/" + name.replace("~", "hand_teleop").lstrip("/")

    published = dict(teleop.node.get_publisher_names_and_types_by_node("hand_teleop", "/"))
    for topic in topics.TELEOP_OUTPUTS:
        assert published[full(topic.name)] == [topic.type.replace("/", "/msg/")]
    ours = {name for name in published if name.startswith("/hand_teleop/")}
    assert ours == {full(t.name) for t in topics.TELEOP_OUTPUTS if t.name.startswith("~")}
    subscribed = dict(teleop.node.get_subscriber_names_and_types_by_node("hand_teleop", "/"))
    for topic in topics.TELEOP_INPUTS:
        assert subscribed[full(topic.name)] == [topic.type.replace("/", "/msg/")]
    services = dict(teleop.node.get_service_names_and_types_by_node("hand_teleop", "/"))
    for name, (kind, _) in topics.TELEOP_SERVICES.items():
        assert services[full(name)] == [kind.replace("/", "/srv/")]


def test_parameters_that_cannot_be_used_are_refused(teleop: Teleop) -> None:
    for values, words in (
        ({"scale": 0.0}, "scale"),
        ({"pinch_release": 0.01}, "pinch_release"),
        ({"clutch": "always"}, "read-only"),
    ):
        result = teleop.set_parameters(**values)
        assert not result.successful and words in result.reason
    assert teleop.set_parameters(scale=2).successful  # the integer becomes a float
    for values, words in (
        ({"tool_frame": "tool"}, "needs target_frame"),
        ({"clutch": "pinch"}, "clutch_hand"),
    ):
        with pytest.raises(ConfigError, match=words):
            Teleop(**values)


def test_a_target_frame_without_tf2_is_one_clear_line() -> None:
    def missing(node: Any) -> Any:
        raise ImportError("No module named 'tf2_ros'")

    with pytest.raises(ConfigError, match="target_frame needs tf2_ros.*install it"):
        OnDds(
            lambda context: HandTeleopNode(
                missing, context=context, parameter_overrides=[Parameter("target_frame", value="base")]
            )
        )


def test_the_process_ends_by_a_signal_and_refuses_bad_arguments() -> None:
    command = [sys.executable, "-m", "hand_recon_ros.ros.teleop", "--ros-args"]
    bad = subprocess.run([*command, "-p", "rate:=0"], capture_output=True, text=True, timeout=60)
    assert bad.returncode == 1 and "rate must lie in" in bad.stderr and "Traceback" not in bad.stderr
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "moves the target" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert "Traceback" not in process.stderr.read()
