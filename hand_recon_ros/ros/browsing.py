"""The hands of a running hand_recon, shown in a browser: the node behind ``hand-recon view`` without a source."""

from __future__ import annotations

import dataclasses
import functools
import os
import threading
import time
from typing import Any

import rclpy
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.signals import SignalHandlerOptions

from ..conversions.frames import tf_name
from ..conversions.problems import Problems
from ..hand_model import HandModel
from ..viewer.browser import Browser
from ..viewer.frames import Picture, ViewedFrame, ViewError
from . import topics
from .parameters import NodeConfig
from .watching import HandsAndImages, ReceivedHands
from .worker import describe

NICENESS = 10
"""By how much the priority of the process is lowered, so that it takes no processor that hand_recon needs."""
_PERIOD = 0.2
"""Time between two looks at who watches, seconds."""
_PATIENCE = 1.0
"""Hands are shown without images where none belonged to them for this time, seconds."""
_IMAGE_TYPES = {"sensor_msgs/msg/Image": topics.VIEW_IMAGE, "sensor_msgs/msg/CompressedImage": topics.VIEW_COMPRESSED}


@dataclasses.dataclass(frozen=True)
class BrowsingSettings:
    """How hands and images are received and drawn.

    Attributes:
        hands: topic of the hands.
        image, camera_info: topics; None are those that the publisher of the hands subscribes to.
        rectified, fallback_fov, mirrored_input: as the parameters of hand_recon.
        image_reliability: as that of hand_recon.
    """

    hands: str = "/hand_recon/hands"
    image: str | None = None
    camera_info: str | None = None
    rectified: bool = False
    fallback_fov: float = 0.0
    mirrored_input: bool = False
    image_reliability: str = NodeConfig.image_reliability


class BrowsingNode(Node):
    """Shows hands with the images of the same stamps. It subscribes while a browser is open, and publishes nothing.

    Args:
        browser: shows the frames.
        settings: topics, and how they are received.
        hand_model: whose meshes can be drawn.
        arguments: of rclpy.node.Node.

    Attributes:
        problems: what is wrong at present.
        inputs: the hands and images that come; None before it is known where from.
        shown: how many frames were passed on to the browser.
    """

    def __init__(self, browser: Browser, settings: BrowsingSettings, hand_model: HandModel, **arguments: Any) -> None:
        super().__init__("hand_recon_browser", **arguments)
        logger = self.get_logger()
        self.problems = Problems(logger.warning, logger.error)
        self.inputs: HandsAndImages | None = None
        self.shown = 0
        self._browser, self._settings, self._hand_model = browser, settings, hand_model
        self._hands = dataclasses.replace(topics.HANDS, name=settings.hands)
        self._has_images = False
        self._paired = 0.0
        self._looks = 0
        # A steady clock: simulated time may be paused.
        self._timer = self.create_timer(_PERIOD, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _look(self) -> None:
        """Subscribe for who watches; once a second find the topics, and say what is wrong."""
        self._browser.check()
        if self._looks % round(1.0 / _PERIOD) == 0:
            self._find()
            if self.inputs is not None:
                self.inputs.check()
            self._browser.say(self.problems.active())
        self._looks += 1
        if self.inputs is not None:
            watched = self._browser.watched
            self.inputs.watch(watched, watched and self._has_images)

    def close(self) -> None:
        """Destroy the node."""
        self.destroy_node()

    # The topics

    def _find(self) -> None:
        """Receive from where the hands come from; again where their publisher has changed its subscriptions."""
        found = self._images_of_publisher() if self._settings.image is None else self._given_images()
        if self.inputs is not None and (found is None or self.inputs.image_topic == found[0]):
            return
        image, info = found or (topics.VIEW_IMAGE, topics.CAMERA_INFO)
        if self.inputs is not None:
            self.inputs.watch(False, False)
        self._has_images = found is not None
        self.inputs = HandsAndImages(
            self, self.problems, lambda: self._settings, self._hand_model, image, self._take_hands, self._take_pair,
            self._hands, info,
        )  # fmt: skip
        images = f"images from {self.inputs.image_name}" if found else "no images yet"
        self.get_logger().info(f"hands from {self.inputs.hands_name}, {images}, while a browser is open")

    def _given_images(self) -> tuple[topics.Topic, topics.Topic]:
        assert self._settings.image is not None
        name = self.resolve_topic_name(self._settings.image)
        kinds = [info.topic_type for info in self.get_publishers_info_by_topic(name)]
        compressed = kinds[0] == "sensor_msgs/msg/CompressedImage" if kinds else name.endswith("/compressed")
        kind = topics.VIEW_COMPRESSED if compressed else topics.VIEW_IMAGE
        return dataclasses.replace(kind, name=name), self._info(name, [])

    def _images_of_publisher(self) -> tuple[topics.Topic, topics.Topic] | None:
        """The images and camera_info that the publisher of the hands subscribes to; None where it has none, or several.

        Another program that publishes recorded hands subscribes to no images.
        """
        images: list[tuple[str, str]] = []
        infos: list[str] = []
        for publisher in self.get_publishers_info_by_topic(self.resolve_topic_name(self._settings.hands)):
            try:
                subscribed = self.get_subscriber_names_and_types_by_node(publisher.node_name, publisher.node_namespace)
            except NodeNameNonExistentError:  # not known yet, or no longer there
                continue
            images += [(name, kinds[0]) for name, kinds in subscribed if kinds[0] in _IMAGE_TYPES]
            infos += [name for name, kinds in subscribed if kinds[0] == "sensor_msgs/msg/CameraInfo"]
        names = ", ".join(sorted(name for name, _ in images))
        self.problems.check(
            "images",
            len(images) > 1,
            f"hand_recon subscribes to several topics with images: name one with --image: {names}",
        )
        if len(images) != 1:
            return None
        name, kind = images[0]
        return dataclasses.replace(_IMAGE_TYPES[kind], name=name), self._info(name, infos)

    def _info(self, image: str, subscribed: list[str]) -> topics.Topic:
        """The camera_info: that which is given, or that of the publisher of the hands, or the one beside the images."""
        beside = f"{image.removesuffix('/compressed').rpartition('/')[0]}/camera_info"
        name = self._settings.camera_info or (subscribed[0] if len(subscribed) == 1 else beside)
        return dataclasses.replace(topics.CAMERA_INFO, name=name)

    # What comes

    def _take_hands(self, hands: ReceivedHands) -> None:
        """Show hands that no image belongs to, for the moment or at all."""
        if time.monotonic() - self._paired > _PATIENCE:
            self._show(ViewedFrame(hands.estimate, latency=hands.message.latency, frame_id=_frame_id(hands)))

    def _take_pair(self, image: Any, hands: ReceivedHands) -> None:
        self._paired = time.monotonic()
        assert self.inputs is not None
        picture = functools.partial(self._picture, self.inputs, image, hands)
        self._show(ViewedFrame(hands.estimate, picture, hands.message.latency, _frame_id(hands)))

    def _show(self, frame: ViewedFrame) -> None:
        self.shown += 1
        self._browser.show(frame)

    def _picture(self, inputs: HandsAndImages, image: Any, hands: ReceivedHands) -> Picture | None:
        """The picture of a pair, on the thread that draws."""
        try:
            taken = inputs.picture(image, hands)
            self.problems.solved("failure.picture")
        except Exception as error:
            text = f"an image cannot be drawn: {describe(error)}; please report this"
            self.problems.report("failure.picture", text, error=True)
            return None
        return None if taken is None else Picture(*taken)


def _frame_id(hands: ReceivedHands) -> str:
    return tf_name(hands.header.frame_id)


def show_live_hands(browser: Browser, settings: BrowsingSettings, hand_model: HandModel, stop: threading.Event) -> int:
    """Show the hands of the running graph until ``stop`` is set; returns how many frames there were.

    Raises ViewError for names that are none of topics.
    """
    # Handlers of rclpy would shut the context down at once.
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node: BrowsingNode | None = None
    try:
        node = BrowsingNode(browser, settings, hand_model)
        _check_names(node, settings)
        os.nice(NICENESS)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
        return node.shown
    finally:
        if node is not None:
            node.close()
        rclpy.try_shutdown()


def _check_names(node: Node, settings: BrowsingSettings) -> None:
    for name in (settings.hands, settings.image, settings.camera_info):
        try:
            node.resolve_topic_name(name or "none")
        except RuntimeError as error:
            reason = str(error).partition(": ")[2].rpartition(", at ")[0]  # without the line of rcl's source
            raise ViewError(f"{name!r} is no name of a topic: {reason or error}") from error
