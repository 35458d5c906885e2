"""The node hand_teleop on DDS and a scripted hand, for tests."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from hand_recon_ros.msg import Hand, TwoHands
from poses import matrix
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from ros_support import OnDds
from std_msgs.msg import Bool, Float64
from std_srvs.srv import SetBool

from hand_recon_ros.conversions.estimates import pose_matrix
from hand_recon_ros.ros.teleop import HandTeleopNode
from hand_recon_ros.ros.transforms import TransformError, build_pose

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
WIDE: dict[str, Any] = {
    "max_linear_velocity": 10.0,
    "max_angular_velocity": 20.0,
    "max_linear_step": 1.0,
    "max_angular_step": 3.0,
    "timeout": 1.0,
}
"""Limits that do not hold the target back, and a timeout that a busy machine does not exceed."""


class ScriptedTransforms:
    """In place of /tf: a fixed transform of the camera and one of the tool, which may be missing."""

    def __init__(self) -> None:
        self.camera: np.ndarray | None = np.eye(4)
        self.tool: np.ndarray | None = np.eye(4)
        self.asked: list[tuple[str, str, float]] = []
        self.clears = 0
        self.closed = False

    def lookup(self, target: str, source: str, stamp: Any) -> np.ndarray:
        self.asked.append((target, source, stamp.sec + stamp.nanosec * 1e-9))
        return self._known(self.camera)

    def newest(self, target: str, source: str) -> tuple[np.ndarray, float]:
        self.asked.append((target, source, 0.0))
        return self._known(self.tool), 0.0

    def clear(self) -> None:
        self.clears += 1

    def close(self) -> None:
        self.closed = True

    @staticmethod
    def _known(transform: np.ndarray | None) -> np.ndarray:
        if transform is None:
            raise TransformError("no transform from 'camera' to 'base': scripted")
        return transform


class Teleop(OnDds):
    """The node on DDS, a hand that the test moves, and what the node has published."""

    def __init__(self, transforms: ScriptedTransforms | None = None, **parameters: Any) -> None:
        overrides = [Parameter(name, value=value) for name, value in {**WIDE, **parameters}.items()]
        arguments: dict[str, Any] = {} if transforms is None else {"make_transforms": lambda _: transforms}
        super().__init__(lambda context: HandTeleopNode(context=context, parameter_overrides=overrides, **arguments))
        self.targets: list[PoseStamped] = self.listen(PoseStamped, "/hand_teleop/target", 1000)
        self.twists: list[TwistStamped] = self.listen(TwistStamped, "/hand_teleop/twist", 1000)
        self.grips: list[Float64] = self.listen(Float64, "/hand_teleop/gripper", 1000)
        self.engaged: list[Bool] = self.listen(Bool, "/hand_teleop/engaged", LATCHED)

    def show(
        self, hand: np.ndarray | None, times: int = 1, age: float = 0.0, frame: str = "camera", **fields: Any
    ) -> None:
        """Publish the right hand, or that it is LOST, ``times`` times at about 50 Hz, and see that it arrived."""
        for _ in range(times):
            message = TwoHands(calibrated=True)
            message.left.side, message.right.side = Hand.LEFT, Hand.RIGHT
            message.header.frame_id = frame
            stamp = self.client.get_clock().now().nanoseconds - round(age * 1e9)
            message.header.stamp = Time(nanoseconds=stamp).to_msg()
            if hand is not None:
                message.right.state, message.right.track_id = Hand.TRACKED, 1
                message.right.wrist = build_pose(hand)
                message.right.pinch_distance = 0.06
                for name, value in fields.items():
                    setattr(message.right, name, value)
            self.add_to(message)
            self.publisher(TwoHands, "hands").publish(message)
            time.sleep(0.02)

    def add_to(self, message: TwoHands) -> None:
        """For subclasses: change a message before it is sent."""

    def move(self, start: np.ndarray, end: np.ndarray, steps: int = 10) -> None:
        """The hand moves evenly on a straight line; its rotation is that of ``end``."""
        for part in np.linspace(0.0, 1.0, steps + 1):
            between = end.copy()
            between[:3, 3] = (1.0 - part) * start[:3, 3] + part * end[:3, 3]
            self.show(between)

    def engage(self, engage: bool = True) -> Any:
        return self.call(SetBool, "/hand_teleop/engage", SetBool.Request(data=engage))

    def start_at(self, pose: np.ndarray, frame: str = "") -> None:
        message = PoseStamped(pose=build_pose(pose))
        message.header.frame_id = frame
        self.publisher(PoseStamped, "hand_teleop/start_pose").publish(message)
        self.wait(lambda: self.node.teleop.motion.placed, "the start pose")

    def settle(self, position: Any) -> None:
        """Wait for a target at ``position``, while the hand stays."""
        self.wait(lambda: self.targets and np.allclose(self.at(-1), position, atol=1e-6), f"a target at {position}")

    def at(self, index: int) -> np.ndarray:
        return pose_matrix(self.targets[index].pose)[:3, 3]

    def speeds(self) -> np.ndarray:
        """Linear and angular speed of each twist (N, 2)."""
        vectors = [
            [[t.twist.linear.x, t.twist.linear.y, t.twist.linear.z],
             [t.twist.angular.x, t.twist.angular.y, t.twist.angular.z]]
            for t in self.twists
        ]  # fmt: skip
        return np.linalg.norm(np.array(vectors).reshape(-1, 2, 3), axis=2)

    def stopped(self) -> None:
        """Wait for the end of commands; the last one is a zero twist, and only that one."""
        self.wait(lambda: not self.engaged[-1].data, "the release")
        self.wait(lambda: len(self.twists) and not self.speeds()[-1].any(), "the last twist")
        counts = len(self.twists), len(self.targets), len(self.grips)
        time.sleep(0.15)
        assert (len(self.twists), len(self.targets), len(self.grips)) == counts, "nothing after the stop"


def running(teleop: Teleop) -> None:
    """The target follows the hand."""
    teleop.start_at(np.eye(4))
    teleop.show(matrix(), 3)
    assert teleop.engage().success
    teleop.move(matrix(), matrix((0.05, 0.0, 0.5)), 4)
    teleop.settle((0.05, 0.0, 0.0))
