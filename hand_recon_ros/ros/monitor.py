"""Once a second: whether images come and are processed, and the node's /diagnostics."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType

from . import topics
from .connections import Connections
from .diagnostics import build_status

if TYPE_CHECKING:
    from .node import HandReconNode

SILENCE = 5
"""After this many seconds without input a node reports why."""
_LEAST_SHARE = 0.8
"""Images per camera_info below which images are lost, over _WINDOW seconds."""
_WINDOW = 5


class Monitor:
    """Publishes the diagnostics of a node, and reports silent inputs and a worker that has ended or hangs.

    Args:
        node: the node.
        publishes: whether diagnostics are wanted, asked each second; the rest is done in any case.
    """

    def __init__(self, node: HandReconNode, publishes: Callable[[], bool]) -> None:
        self._node = node
        self._publishes = publishes
        self._silent_seconds = 0
        self._counts: collections.deque[tuple[int, int]] = collections.deque(maxlen=_WINDOW + 1)
        topic = topics.output("/diagnostics")
        self._publisher = node.create_publisher(DiagnosticArray, topic.name, topic.qos())
        # A steady clock: diagnostics are published also while simulated time is paused.
        self._timer = node.create_timer(1.0, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _check(self) -> None:
        node = self._node
        report = node.counters.report()
        node.connections.match()
        self._check_silence(report.received_rate)
        self._check_losses()
        if node.worker is not None:
            node.worker.check()
        if not self._publishes():
            return
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
        """Report after SILENCE seconds why no image comes; the hands are LOST then, once."""
        node = self._node
        if rate > 0:
            node.problems.solved("silence", f"qos.{node.image_name}")
        self._silent_seconds = self._silent_seconds + 1 if node.activity == "active" and rate == 0 else 0
        if self._silent_seconds < SILENCE:
            return
        node.problems.report("silence", why_no_image(node))
        if self._silent_seconds == SILENCE and node.worker is not None and node.counters.processed:
            node.worker.reset_tracking()

    def _check_losses(self) -> None:
        """Report where camera_info comes more often than images: a driver publishes one with each image."""
        node, counters = self._node, self._node.counters
        if node.activity != "active":
            self._counts.clear()
            return
        self._counts.append((counters.received, counters.infos))
        images, infos = (last - first for first, last in zip(self._counts[0], self._counts[-1], strict=True))
        if len(self._counts) == self._counts.maxlen:
            node.problems.check(
                "lost_images",
                0 < images < _LEAST_SHARE * infos,
                f"{images} images came on {node.image_name}, but {infos} camera_info: images are lost on the way; start"
                " the camera driver with the Fast DDS profile (config/fastdds.xml), or let it publish reliable or"
                " compressed images",
            )


class ImageNode(Protocol):
    """A node that subscribes to images.

    Attributes:
        image_topic, image_name: the topic of the images, and its full name.
        connections: its subscriptions.
    """

    image_topic: topics.Topic
    image_name: str
    connections: Connections

    def resolve_topic_name(self, topic: str) -> str: ...


def why_no_image(node: ImageNode) -> str:
    """Why no image comes to a node, and what to do."""
    name = node.image_name
    wanted, other = topics.IMAGE, topics.COMPRESSED
    if node.image_topic.name == topics.COMPRESSED.name:
        wanted, other = other, wanted
    remedy = f"set use_compressed to {str(wanted is topics.IMAGE).lower()}"
    types = node.connections.publishers(name)
    expected = wanted.type.replace("/", "/msg/")
    if types and expected not in types:
        return f"{name} carries {types[0]}, expected {expected}: {remedy}, or remap {wanted.name}"
    if types:
        return (
            f"{name} has a publisher but no image came for {SILENCE} s: check the camera and its driver, and where"
            " the images are large, that both processes use the Fast DDS profile (config/fastdds.xml)"
        )
    other_name = node.resolve_topic_name(other.name)
    if node.connections.publishers(other_name):
        return f"nobody publishes on {name}, but on {other_name}: {remedy}"
    return f"nobody publishes on {name}: start the camera driver, or remap {wanted.name} to its topic"


def why_no_hands(topic: str) -> str:
    """Why no hands come on ``topic``, which nobody publishes, and what to do."""
    return f"nobody publishes on {topic}: start hand_recon, or remap hands to its topic"
