"""Everything the node publishes for one image, and the publishers it does that with."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..camera import Camera
from ..types import Side, TwoHandEstimate
from . import messages, topics
from .frames import HandPoses, poses_of, transforms
from .markers import HandMarkers
from .parameters import NodeConfig


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """One processed image: what there is to publish.

    ``header`` is the image's own; ``image`` is uint8 (H, W, 3), BGR.
    """

    header: Any
    image: np.ndarray
    camera: Camera
    estimate: TwoHandEstimate
    dropped: int


class RateLimit:
    """Lets through at most so many per second, evenly."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = 0.0

    def due(self, rate: float) -> bool:
        """Whether one more may pass now, at ``rate`` per second; if so it counts."""
        now = self._clock()
        if now < self._next:
            return False
        # Counting on from the planned time keeps the mean at the rate where the source does not divide it.
        self._next = max(self._next + 1.0 / rate, now)
        return True


class Outputs:
    """The publishers of the node, and what they need to remember from image to image.

    Args:
        create: makes the publisher of a topic of the table, or returns None where its message is not installed.
        now: the node's clock, seconds.
    """

    def __init__(self, create: Callable[[topics.Topic], Any | None], hand_model: Any, now: Callable[[], float]) -> None:
        self._hand_model = hand_model
        self._now = now
        self._publishers: dict[str, Any] = {
            topic.name: create(topic) for topic in topics.OUTPUTS if topic.name != "/diagnostics"
        }
        self._markers = HandMarkers()
        self._marker_rate, self._debug_rate = RateLimit(), RateLimit()

    def publish_topology(self) -> None:
        """Send the latched triangles of both meshes."""
        rest = np.tile(np.eye(3), (16, 1, 1)), np.zeros(10), np.zeros(3)
        for side in Side:
            mesh = messages.topology_message(self._hand_model.faces(side), self._hand_model.mesh(side, *rest))
            self._publishers[f"~/{side.label}/mesh_topology"].publish(mesh)

    def publish(self, result: Result, config: NodeConfig) -> float:
        """Send everything there is to say of one image; returns its latency in seconds."""
        estimate, header = result.estimate, result.header
        height, width = result.image.shape[:2]
        poses = poses_of(estimate)
        message = messages.hands_message(estimate, poses, header, self._hand_model, (width, height), result.dropped)
        latency = self._now() - (header.stamp.sec + header.stamp.nanosec * 1e-9)
        message.latency = latency
        self._publishers["~/hands"].publish(message)

        for side, hand in ((Side.LEFT, message.left), (Side.RIGHT, message.right)):
            if side in poses:
                self._publishers[f"~/{side.label}/wrist"].publish(messages.wrist_message(header, hand))
            if self._heard(f"~/{side.label}/poses"):
                self._publishers[f"~/{side.label}/poses"].publish(messages.poses_message(header, hand))
        self._publish_tf(result, poses, config)
        if self._heard("~/meshes"):
            self._publishers["~/meshes"].publish(messages.meshes_message(header, estimate))
        self._publish_markers(result, config)
        self._publish_debug_image(result, config)
        return latency

    def withdraw(self, header: Any) -> None:
        """Take both hands off the display."""
        gone = self._markers.delete(header, self._markers.shown)
        if gone.markers:
            self._publishers["~/markers"].publish(gone)

    def _heard(self, name: str) -> bool:
        publisher = self._publishers[name]
        return publisher is not None and publisher.get_subscription_count() > 0

    def _publish_tf(self, result: Result, poses: dict[Side, HandPoses], config: NodeConfig) -> None:
        publisher = self._publishers["/tf"]
        # With guessed intrinsics, or without a parent frame, a transform would claim what nobody knows.
        if (
            publisher is None
            or config.publish_tf == "off"
            or not result.estimate.calibrated
            or not result.header.frame_id
        ):
            return
        sent = [
            transform
            for side, each in poses.items()
            for transform in transforms(
                result.header, result.estimate.hand(side), each, config.tf_prefix, config.publish_tf == "full"
            )
        ]
        if sent:
            publisher.publish(publisher.msg_type(transforms=sent))

    def _publish_markers(self, result: Result, config: NodeConfig) -> None:
        if not self._heard("~/markers"):
            return
        estimate = result.estimate
        lost = {side for side in self._markers.shown if not estimate.hand(side).found}
        if self._marker_rate.due(config.marker_rate):
            message = self._markers.add(result.header, estimate)
        elif lost:  # a hand that is gone must not wait for the rate
            message = self._markers.delete(result.header, lost)
        else:
            return
        if message.markers:
            self._publishers["~/markers"].publish(message)

    def _publish_debug_image(self, result: Result, config: NodeConfig) -> None:
        raw, compressed = self._heard("~/debug_image"), self._heard("~/debug_image/compressed")
        if not (raw or compressed) or not self._debug_rate.due(config.debug_image_rate):
            return
        from ..overlay import draw_overlay

        drawn = draw_overlay(result.image, result.estimate, result.camera)
        if raw:
            self._publishers["~/debug_image"].publish(messages.image_message(result.header, drawn))
        if compressed:
            self._publishers["~/debug_image/compressed"].publish(
                messages.compressed_image_message(result.header, drawn, config.debug_image_quality)
            )
