"""The node ``hand_recon_view``: markers and debug images of hands that another process has found."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node

from ..config import ConfigError
from ..conversions.cameras import CameraInfos
from ..conversions.estimates import two_hand_estimate
from ..conversions.frames import tf_name
from ..conversions.hands import fault_of
from ..conversions.images import InputError
from ..conversions.problems import Problems
from ..hand_model import HandModelError, load_hand_model
from ..image_files import BitDepth
from ..types import HandEstimate, Side, TwoHandEstimate
from . import monitor, topics
from .connections import Connections
from .diagnostics import build_diagnostics
from .drawings import DEBUG_IMAGE, DEBUG_IMAGE_COMPRESSED, MARKERS, Drawings
from .images import decode
from .inputs import CAMERA_INFO_PATIENCE
from .live_parameters import LiveParameters
from .parameters import node_options
from .running import run
from .stamp_pairs import StampPairs
from .view_parameters import ViewConfig
from .worker import describe


@dataclasses.dataclass
class Arrivals:
    """The messages of one kind: how many came, and when the last one did (or was first waited for), seconds."""

    count: int = 0
    last: float = 0.0

    def add(self) -> None:
        """One has come."""
        self.count += 1
        self.last = time.monotonic()

    def silent(self) -> bool:
        """Whether none has come for long."""
        return time.monotonic() - self.last > monitor.SILENCE


@dataclasses.dataclass(frozen=True, eq=False)
class ReceivedHands:
    """The header of a TwoHands message, which every output carries, and its estimate."""

    header: Any
    estimate: TwoHandEstimate


class HandReconViewNode(Node):
    """See docs/nodes/hand_recon_view.md for topics and parameters. All callbacks run on one thread.

    It subscribes to nothing that nobody watches: to the hands while the markers or the debug image have a subscriber,
    to images and camera_info while the debug image has one.

    Args:
        arguments: of rclpy.node.Node, such as ``namespace`` or ``parameter_overrides``.

    Attributes:
        problems: what is wrong at present.
        image_topic, image_name: the topic of the images, and its full name.
        connections: its publishers, and its subscriptions to images and camera_info.
        hands, images, pairs: what has come; ``pairs`` are images with their hands.

    Raises ConfigError for start parameters that cannot be used.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__("hand_recon_view", **node_options(), **arguments)
        logger = self.get_logger()
        self.problems = Problems(logger.warning, logger.error)
        try:
            self._live = LiveParameters(self, ViewConfig)
            self._hand_model = load_hand_model(self._settings.hand_model)
        except (ConfigError, HandModelError) as error:
            self.destroy_node()
            raise ConfigError(str(error)) from error
        # Compiled now and not at the first hands.
        self._hand_model.mesh(Side.LEFT, np.tile(np.eye(3), (16, 1, 1)), np.zeros(10), np.zeros(3))

        self.image_topic = topics.VIEW_COMPRESSED if self._settings.use_compressed else topics.VIEW_IMAGE
        self.image_name = self.resolve_topic_name(self.image_topic.name)
        self._info_name = self.resolve_topic_name(topics.CAMERA_INFO.name)
        self._hands_name = self.resolve_topic_name(topics.HANDS.name)
        self.hands, self.images, self.pairs = Arrivals(), Arrivals(), Arrivals()
        self._waiting: StampPairs[Any, ReceivedHands] = StampPairs()
        self._infos = CameraInfos(self.image_name, self._info_name)
        self._bit_depth = BitDepth()
        self._header: Any | None = None
        self._watched = (False, False)
        self._watched_since = 0.0

        self.connections = Connections(self, self.problems)
        self._hands_connection = Connections(self, self.problems)
        publishers: dict[str, Any] = {
            topic.name: self.connections.publisher(topic, self._match if topic.lazy else None)
            for topic in topics.VIEW_OUTPUTS
        }
        self._diagnostics = publishers["/diagnostics"]
        self._drawings = Drawings({name: publishers[name] for name in (MARKERS, DEBUG_IMAGE, DEBUG_IMAGE_COMPRESSED)})
        # A steady clock: diagnostics are published also while simulated time is paused.
        self._timer = self.create_timer(1.0, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME))
        logger.info(f"hands from {self._hands_name}, images from {self.image_name}, while somebody watches")

    @property
    def _settings(self) -> ViewConfig:
        return self._live.config

    @property
    def niceness(self) -> int:
        """By how much the priority of its process is to be lowered."""
        return self._settings.niceness

    @property
    def subscribed(self) -> tuple[bool, bool]:
        """Whether the node subscribes to the hands, and to the images."""
        return any(self._watched), self._watched[1]

    @property
    def camera_info(self) -> Any | None:
        """The newest camera_info; None before the first."""
        return self._infos.newest

    # Who watches

    def _match(self, _: Any) -> None:
        """Subscribe to what is needed for those who watch: called when they come and go."""
        before, watched = self._watched, (self._drawings.markers_watched, self._drawings.image_watched)
        self._watched = watched
        if any(watched) != any(before):
            if any(watched):
                self.hands.last = time.monotonic()
                self._hands_connection.subscribe(topics.HANDS, self._guarded(self._take_hands, "hands"), "reliable")
            else:
                self._hands_connection.unsubscribe()
                self.problems.forget("silence.hands", "hands", "failure.hands", f"qos.{self._hands_name}")
        if watched[1] != before[1]:
            if watched[1]:
                self._subscribe_to_images()
            else:
                self.connections.unsubscribe()
                self._waiting.clear()
                topics_of_images = f"qos.{self.image_name}", f"qos.{self._info_name}"
                self.problems.forget(
                    "silence.images", "pairs", "input", "target_frame", "failure.image", *topics_of_images
                )

    def _subscribe_to_images(self) -> None:
        self._watched_since = self.images.last = self.pairs.last = time.monotonic()
        self._infos = CameraInfos(self.image_name, self._info_name)
        self._bit_depth = BitDepth()
        reliability = self._settings.image_reliability
        self.connections.subscribe(topics.CAMERA_INFO, self._take_info, reliability)
        self.connections.subscribe(self.image_topic, self._guarded(self._take_image, "image"), reliability)

    # Input

    def _guarded(self, take: Callable[[Any], None], what: str) -> Callable[[Any], None]:
        """A callback that goes on where a message makes the other one fail, which is reported as ``failure.what``."""

        def callback(message: Any) -> None:
            try:
                take(message)
                self.problems.solved(f"failure.{what}")
            except Exception as error:
                text = f"what came cannot be drawn: {describe(error)}; please report this"
                self.problems.report(f"failure.{what}", text, error=True)

        return callback

    def _take_hands(self, message: Any) -> None:
        self.hands.add()
        self.problems.solved("silence.hands", f"qos.{self._hands_name}")
        estimate = self._estimate(message)
        if estimate is None:
            return
        self._header = message.header
        self._drawings.publish_markers(message.header, estimate, self._settings.marker_rate)
        if self._watched[1]:
            self._draw(self._waiting.add_hands(message.header.stamp, ReceivedHands(message.header, estimate)))

    def _take_info(self, message: Any) -> None:
        self.problems.solved(f"qos.{self._info_name}")
        self._infos.add(message)

    def _take_image(self, message: Any) -> None:
        self.images.add()
        self.problems.solved("silence.images", f"qos.{self.image_name}")
        self._draw(self._waiting.add_image(message.header.stamp, message))

    def _estimate(self, message: Any) -> TwoHandEstimate | None:
        """The estimate of a message, without hands that cannot be drawn; None where the message cannot be used."""
        same = message.hand_model in ("", self._hand_model.name)
        self.problems.check(
            "hands.model",
            not same,
            f"the hands are of the hand model {message.hand_model!r}, and this node has {self._hand_model.name!r}: they"
            " are drawn without meshes; set hand_model to the file that hand_recon has",
        )
        try:
            estimate = two_hand_estimate(message, self._hand_model if same else None, self._settings.mirrored_input)
        except ValueError as error:
            self.problems.report("hands.message", f"a message on {self._hands_name} cannot be drawn: {error}")
            return None
        self.problems.solved("hands.message")
        return dataclasses.replace(estimate, left=self._drawable(estimate.left), right=self._drawable(estimate.right))

    def _drawable(self, hand: HandEstimate) -> HandEstimate:
        """The hand, LOST where it cannot be drawn, which is reported."""
        fault = fault_of(hand)
        self.problems.check(
            f"hands.{hand.side.label}", bool(fault), f"the {hand.side.label} hand {fault}: it is not drawn"
        )
        return HandEstimate.lost(hand.side) if fault else hand

    # Debug image

    def _draw(self, pair: tuple[Any, ReceivedHands] | None) -> None:
        """Publish an image with its hands, where it is time for one."""
        if pair is None:
            return
        self.pairs.add()
        self.problems.solved("pairs")
        if not self._drawings.image_due(self._settings.debug_image_rate):
            return
        image, hands = pair
        frames = tf_name(image.header.frame_id), tf_name(hands.header.frame_id)
        self.problems.check(
            "target_frame",
            frames[0] != frames[1],
            f"the hands are in {frames[1]!r} and not in the frame of the images {frames[0]!r}: they cannot be drawn on"
            " them; leave target_frame of hand_recon empty, or watch its own debug image",
        )
        if frames[0] != frames[1]:
            return
        try:
            picture = decode(image, self.image_name, self._bit_depth)
            height, width = picture.shape[:2]
            camera = self._infos.camera(
                image.header.stamp, width, height, self._settings.rectified, self._settings.fallback_fov
            )
        except InputError as error:
            # At the start an image may overtake its camera_info.
            early = time.monotonic() - self._watched_since < CAMERA_INFO_PATIENCE
            if error.kind != "no_camera_info" or not early:
                self.problems.report(f"input.{error.kind}", str(error))
            return
        self.problems.solved("input")
        self._drawings.publish_image(hands.header, picture, hands.estimate, camera, self._settings.debug_image_quality)

    # Once a second

    def _check(self) -> None:
        self.connections.match()
        self._hands_connection.match()
        hands, images = self.subscribed
        alone = hands and self.hands.silent() and not self.count_publishers(self._hands_name)
        self.problems.check("silence.hands", alone, monitor.why_no_hands(self._hands_name))
        if images and self.images.silent():
            self.problems.report("silence.images", monitor.why_no_image(self))
        if images and self.pairs.silent() and not self.images.silent() and not self.hands.silent():
            self.problems.report(
                "pairs",
                f"no image on {self.image_name} has the stamp of hands on {self._hands_name}: remap image to that"
                " of hand_recon; where large images are lost, start the camera with the Fast DDS profile"
                " (config/fastdds.xml)",
            )
        watched = [name for name, given in zip(("markers", "debug image"), self._watched, strict=True) if given]
        values = {
            "watched": ", ".join(watched) or "nothing",
            "hands received": self.hands.count,
            "images received": self.images.count,
            "images with hands": self.pairs.count,
        }
        summary = f"{' and '.join(watched) or 'nothing'} watched"
        self._diagnostics.publish(build_diagnostics(self, self._hands_name, summary, values, self.problems.active()))

    def close(self) -> None:
        """Delete the markers and destroy the node."""
        if self.context.ok() and self._header is not None:
            self._drawings.delete_markers(self._header)
        self.destroy_node()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until it is interrupted; 1 where its arguments cannot be used."""

    def make() -> HandReconViewNode:
        node = HandReconViewNode()
        os.nice(node.niceness)
        return node

    return run("hand_recon_view", make, arguments)


if __name__ == "__main__":
    sys.exit(main())
