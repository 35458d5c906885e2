"""Once a second: whether images come and are processed, and the node's /diagnostics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType

from . import topics
from .diagnostics import build_status

if TYPE_CHECKING:
    from .node import HandReconNode

SILENCE = 5
"""After this many seconds without images the monitor reports that nobody publishes them."""


class Monitor:
    """Publishes the diagnostics of a node, and reports silent inputs and a worker that has ended or hangs."""

    def __init__(self, node: HandReconNode) -> None:
        self._node = node
        self._silent_seconds = 0
        topic = topics.output("/diagnostics")
        self._publisher = node.create_publisher(DiagnosticArray, topic.name, topic.qos())
        # A steady clock: diagnostics are published also while simulated time is paused.
        self._timer = node.create_timer(1.0, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _publish(self) -> None:
        node = self._node
        report = node.counters.report()
        self._check_silence(report.received_rate)
        if node.worker is not None:
            node.worker.check()
        status = build_status(
            name=f"{node.get_fully_qualified_name().lstrip('/')}: hands",
            topic=node.image_name,
            lifecycle=node.activity,
            report=report,
            dropped=node.inputs.dropped,
            warnings=node.problems.active(error=False),
            errors=node.problems.active(error=True),
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _check_silence(self, rate: float) -> None:
        node = self._node
        if rate > 0:
            node.problems.solved("silence", f"qos.{node.image_name}")
        self._silent_seconds = self._silent_seconds + 1 if node.activity == "active" and rate == 0 else 0
        if self._silent_seconds == SILENCE and not node.count_publishers(node.image_name):
            node.problems.report(
                "silence",
                f"nobody publishes on {node.image_name}: start the camera driver, or remap {node.image_topic.name} to"
                " its topic",
            )
