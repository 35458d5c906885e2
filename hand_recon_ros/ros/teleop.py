"""The node ``hand_teleop``: both hands in, commands for a robot arm and its gripper out."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped, Vector3
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Bool, Float64, Header
from std_srvs.srv import SetBool, Trigger

from ..config import ConfigError
from ..conversions.estimates import pose_matrix
from ..conversions.frames import tf_name
from ..conversions.problems import Problems
from ..teleop.teleoperation import Command, EngageError, Teleoperation
from . import topics
from .diagnostics import build_diagnostics
from .live_parameters import LiveParameters
from .monitor import SILENCE, why_no_hands
from .parameters import node_options
from .running import run
from .teleop_hands import TeleopHands
from .teleop_parameters import TeleopConfig
from .transforms import TransformError, Transforms, build_pose, transforms_to


class HandTeleopNode(Node):
    """See docs/nodes/hand_teleop.md for topics, parameters and services. All callbacks run on one thread.

    Args:
        make_transforms: called with the node where ``target_frame`` is set.
        arguments: of rclpy.node.Node, such as ``namespace`` or ``parameter_overrides``.

    Attributes:
        teleop: what the hands move.
        hands: what comes in.
        problems: what is wrong at present.

    Raises ConfigError for start parameters that cannot be used.
    """

    def __init__(self, make_transforms: Callable[[Any], Transforms] = Transforms, **arguments: Any) -> None:
        super().__init__("hand_teleop", **node_options(), **arguments)
        logger = self.get_logger()
        self.problems = Problems(logger.warning, logger.error)
        self.teleop = Teleoperation(self._find_start)
        try:
            self._live = LiveParameters(self, TeleopConfig)
            transforms = transforms_to(self._settings.target_frame, self, make_transforms)
        except ConfigError:
            self.destroy_node()
            raise

        self.hands = TeleopHands(self._settings.target_frame, transforms, self.problems)
        self._arrival = self._ticked = time.monotonic()
        self._was_engaged = False
        self._outputs = {topic.name: self._publisher(topic) for topic in topics.TELEOP_OUTPUTS}
        self._hands_topic = self._subscribe(topics.HANDS, self._take_hands).topic_name
        self._subscribe(topics.START_POSE, self._take_start)
        self._node_services = [
            self.create_service(SetBool, "~/engage", self._engage),
            self.create_service(Trigger, "~/calibrate_open", self._calibrate("gripper_open_distance")),
            self.create_service(Trigger, "~/calibrate_closed", self._calibrate("gripper_closed_distance")),
        ]
        # Commands and diagnostics go on where simulated time stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._node_timers = [
            self.create_timer(1.0 / self._settings.rate, self._tick, clock=steady),
            self.create_timer(1.0, self._diagnose, clock=steady),
        ]
        self._outputs["~/engaged"].publish(Bool(data=False))
        logger.info(
            f"the {self._settings.side} hand of {self._hands_topic} moves the target in"
            f" {self._settings.target_frame or 'the frame of the camera'}; clutch: {self._settings.clutch}"
        )

    @property
    def _settings(self) -> TeleopConfig:
        return self._live.config

    def _publisher(self, topic: topics.Topic) -> Any:
        overrides = QoSOverridingOptions.with_default_policies() if topic.overridable else None
        return self.create_publisher(topic.message_type(), topic.name, topic.qos(), qos_overriding_options=overrides)

    def _subscribe(self, topic: topics.Topic, callback: Callable[[Any], None]) -> Any:
        overrides = QoSOverridingOptions.with_default_policies()
        return self.create_subscription(
            topic.message_type(), topic.name, callback, topic.qos(), qos_overriding_options=overrides
        )

    def _now(self) -> float:
        return float(self.get_clock().now().nanoseconds * 1e-9)

    # Input

    def _take_hands(self, message: Any) -> None:
        self._arrival = time.monotonic()
        self.problems.solved("silence")
        self.hands.add(message, self._arrival)
        self._follow()

    def _follow(self) -> None:
        """Let the target follow the hands whose transform has come, and stop it where one has not come in time."""
        before = self.hands.frame
        for sample in self.hands.take(time.monotonic(), self._settings):
            if isinstance(sample, TransformError):
                self.teleop.stop(str(sample))
                continue
            if self.hands.frame != before:
                if before:
                    self.teleop.stop(f"the frame of the hands changes from {before!r} to {self.hands.frame!r}")
                    self.teleop.motion.placed = False
                before = self.hands.frame
            self.teleop.add(sample, self._now(), self._settings)

    def _find_start(self) -> np.ndarray | None:
        return self.hands.tool_pose(self._now(), self._settings)

    def _take_start(self, message: PoseStamped) -> None:
        if self.teleop.engaged:
            return  # the robot's pose may come all the time; it counts for the next start
        pose, frame, expected = pose_matrix(message.pose), tf_name(message.header.frame_id), self.hands.frame
        fault = ""
        if not np.isfinite(pose).all():
            fault = "it is no pose"
        elif frame and expected and frame != expected:
            fault = f"it is in the frame {frame!r}, and commands are in {expected!r}"
        else:
            self.teleop.place(pose)
        self.problems.check("start", bool(fault), f"{topics.START_POSE.name} is ignored: {fault}")

    # Commands

    def _tick(self) -> None:
        now = time.monotonic()
        elapsed, self._ticked = now - self._ticked, now
        self._follow()
        self.teleop.check_age(self._now(), now - self._arrival, self._settings)
        command = self.teleop.advance(max(elapsed, 1e-3), self._settings)
        if command is not None:
            self._publish(command)
        if self.teleop.engaged != self._was_engaged:
            self._was_engaged = self.teleop.engaged
            self._outputs["~/engaged"].publish(Bool(data=self._was_engaged))
            self.get_logger().info("engaged" if self._was_engaged else f"released: {self.teleop.released_by}")
            if self._was_engaged and not self.teleop.motion.placed:
                self.get_logger().info(
                    "~/target is off until the robot's pose comes on ~/start_pose, or tool_frame is set; ~/twist is on",
                    once=True,
                )

    def _publish(self, command: Command) -> None:
        # Stamped now and not with the image's time: the target moves on between images, and MoveIt Servo refuses
        # commands that are older than its timeout.
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self.hands.frame)
        x, y, z, a, b, c = command.twist.tolist()
        twist = TwistStamped(header=header)
        twist.twist.linear, twist.twist.angular = Vector3(x=x, y=y, z=z), Vector3(x=a, y=b, z=c)
        self._outputs["~/twist"].publish(twist)
        if command.pose is not None:
            self._outputs["~/target"].publish(PoseStamped(header=header, pose=build_pose(command.pose)))
        if command.gripper is not None:
            self._outputs["~/gripper"].publish(Float64(data=command.gripper))

    # Services

    def _engage(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        try:
            self.teleop.request(request.data, self._now(), self._settings)
            response.success = True
            response.message = "engaged" if self.teleop.engaged else "permitted" if request.data else "released"
        except EngageError as error:
            response.success, response.message = False, str(error)
        return response

    def _calibrate(self, name: str) -> Callable[[Any, Any], Any]:
        def callback(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            distances = self.hands.pinch_distances
            if not distances or time.monotonic() - self._arrival > self._settings.timeout:
                response.success, response.message = False, f"the {self._settings.side} hand is not tracked"
                return response
            distance = round(statistics.median(distances), 4)
            result = self.set_parameters([Parameter(name, value=distance)])[0]
            response.success = result.successful
            response.message = result.reason or f"{name} is {distance:.4f} m"
            return response

        return callback

    # Diagnostics

    def _diagnose(self) -> None:
        silence = time.monotonic() - self._arrival
        if silence > SILENCE and not self.count_publishers(self._hands_topic):
            self.problems.report("silence", why_no_hands(self._hands_topic))
        if not self._settings.diagnostics:
            return
        values = {
            "engaged": str(self.teleop.engaged).lower(),
            "released because": self.teleop.reason,
            "last hand (s ago)": f"{silence:.2f}",
            "transforms failed": self.hands.transform_failures,
        }
        summary = "engaged" if self.teleop.engaged else f"released: {self.teleop.reason}"
        message = build_diagnostics(self, self._hands_topic, summary, values, self.problems.active())
        self._outputs["/diagnostics"].publish(message)

    def close(self) -> None:
        """Stop the robot where it moves, and destroy the node."""
        self.teleop.stop("the node ends")
        if self.context.ok():
            self._tick()
        self.destroy_node()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until it is interrupted; 1 where its arguments cannot be used."""
    return run("hand_teleop", HandTeleopNode, arguments)


if __name__ == "__main__":
    sys.exit(main())
