"""Hands that another process publishes, and the images in which it found them: received while somebody watches."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from rclpy.node import Node

from ..camera import Camera
from ..conversions.cameras import CameraInfos
from ..conversions.estimates import DrawableEstimates
from ..conversions.frames import tf_name
from ..conversions.images import InputError
from ..conversions.problems import Problems
from ..conversions.stamp_pairs import StampPairs
from ..hand_model import HandModel
from ..image_files import BitDepth
from ..types import TwoHandEstimate
from . import monitor, topics
from .connections import Connections
from .images import decode
from .inputs import CAMERA_INFO_PATIENCE
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
    """The TwoHands message and its estimate."""

    message: Any
    estimate: TwoHandEstimate

    @property
    def header(self) -> Any:
        """The std_msgs/Header of the message, which every output carries."""
        return self.message.header


class WatchSettings(Protocol):
    """How images and hands are received; the fields are parameters of hand_recon_view."""

    @property
    def rectified(self) -> bool: ...
    @property
    def fallback_fov(self) -> float: ...
    @property
    def mirrored_input(self) -> bool: ...
    @property
    def image_reliability(self) -> str: ...


class HandsAndImages:
    """Subscribes to hands and images for who watches, and brings them together again. Used on one thread.

    Args:
        node: that receives.
        problems: what is wrong is reported here.
        settings: the present ones.
        hand_model: see :class:`DrawableEstimates`.
        image: the topic of the images, raw or compressed.
        on_hands: called with hands as they come.
        on_pair: called with an image message and its hands; never where ``watch`` has not asked for images.
        hands, info: the topics of the hands and of the images' camera_info.

    Attributes:
        image_topic, image_name: the topic of the images, and its full name.
        connections: its publishers, and the subscriptions to images and camera_info.
        hands, images, pairs: what has come; ``pairs`` are images with their hands.
    """

    def __init__(
        self,
        node: Node,
        problems: Problems,
        settings: Callable[[], WatchSettings],
        hand_model: HandModel,
        image: topics.Topic,
        on_hands: Callable[[ReceivedHands], None],
        on_pair: Callable[[Any, ReceivedHands], None],
        hands: topics.Topic = topics.HANDS,
        info: topics.Topic = topics.CAMERA_INFO,
    ) -> None:
        self._node, self._problems, self._settings = node, problems, settings
        self._on_hands, self._on_pair = on_hands, on_pair
        self._hands_topic, self.image_topic, self._info_topic = hands, image, info
        self.hands_name, self.image_name, self._info_name = (
            node.resolve_topic_name(topic.name) for topic in (hands, image, info)
        )
        self.hands, self.images, self.pairs = Arrivals(), Arrivals(), Arrivals()
        self._estimates = DrawableEstimates(self.hands_name, hand_model, problems)
        self._waiting: StampPairs[Any, ReceivedHands] = StampPairs()
        self._watched = (False, False)
        self._watched_since = 0.0
        self._forget_images()
        self.connections = Connections(node, problems)
        self._hands_connection = Connections(node, problems)

    def resolve_topic_name(self, topic: str) -> str:
        """The full name of a topic of the node."""
        return str(self._node.resolve_topic_name(topic))

    @property
    def watched(self) -> tuple[bool, bool]:
        """Whether it subscribes to the hands, and to the images."""
        return any(self._watched), self._watched[1]

    @property
    def camera_info(self) -> Any | None:
        """The newest camera_info; None before the first."""
        return self._infos.newest

    def watch(self, hands: bool, images: bool) -> None:
        """Subscribe to what is needed: to the hands also where only images with hands are."""
        before, self._watched = self.watched, (hands, images)
        wanted = self.watched
        if wanted[0] != before[0]:
            if wanted[0]:
                self.hands.last = time.monotonic()
                take = self._guarded(self._take_hands, "hands")
                self._hands_connection.subscribe(self._hands_topic, take, "reliable")
            else:
                self._hands_connection.unsubscribe()
                self._problems.forget("silence.hands", "hands", "failure.hands", f"qos.{self.hands_name}")
        if wanted[1] != before[1]:
            if wanted[1]:
                self._subscribe_to_images()
            else:
                self.connections.unsubscribe()
                self._waiting.clear()
                topics_of_images = f"qos.{self.image_name}", f"qos.{self._info_name}"
                self._problems.forget(
                    "silence.images", "pairs", "input", "target_frame", "failure.image", *topics_of_images
                )

    def _forget_images(self) -> None:
        self._infos = CameraInfos(self.image_name, self._info_name)
        self._bit_depth = BitDepth()

    def _subscribe_to_images(self) -> None:
        self._watched_since = self.images.last = self.pairs.last = time.monotonic()
        self._forget_images()
        reliability = self._settings().image_reliability
        self.connections.subscribe(self._info_topic, self._take_info, reliability)
        self.connections.subscribe(self.image_topic, self._guarded(self._take_image, "image"), reliability)

    # What comes

    def _guarded(self, take: Callable[[Any], None], what: str) -> Callable[[Any], None]:
        """A callback that goes on where a message makes the other one fail, which is reported as ``failure.what``."""

        def callback(message: Any) -> None:
            try:
                take(message)
                self._problems.solved(f"failure.{what}")
            except Exception as error:
                text = f"what came cannot be drawn: {describe(error)}; please report this"
                self._problems.report(f"failure.{what}", text, error=True)

        return callback

    def _take_hands(self, message: Any) -> None:
        self.hands.add()
        self._problems.solved("silence.hands", f"qos.{self.hands_name}")
        estimate = self._estimates.estimate(message, self._settings().mirrored_input)
        if estimate is None:
            return
        received = ReceivedHands(message, estimate)
        self._on_hands(received)
        if self._watched[1]:
            self._take_pair(self._waiting.add_hands(message.header.stamp, received))

    def _take_info(self, message: Any) -> None:
        self._problems.solved(f"qos.{self._info_name}")
        self._infos.add(message)

    def _take_image(self, message: Any) -> None:
        self.images.add()
        self._problems.solved("silence.images", f"qos.{self.image_name}")
        self._take_pair(self._waiting.add_image(message.header.stamp, message))

    def _take_pair(self, pair: tuple[Any, ReceivedHands] | None) -> None:
        if pair is not None:
            self.pairs.add()
            self._problems.solved("pairs")
            self._on_pair(*pair)

    def picture(self, image: Any, hands: ReceivedHands) -> tuple[np.ndarray, Camera] | None:
        """The picture in an image message, uint8 (H, W, 3), BGR, and its camera, for hands of the same frame.

        None where it cannot be used, which is reported. May be called on another thread than the rest, always the same.
        """
        frames = tf_name(image.header.frame_id), tf_name(hands.header.frame_id)
        self._problems.check(
            "target_frame",
            frames[0] != frames[1],
            f"the hands are in {frames[1]!r} and not in the frame of the images {frames[0]!r}: they cannot be drawn on"
            " them; leave target_frame of hand_recon empty, or watch its own debug image",
        )
        if frames[0] != frames[1]:
            return None
        settings = self._settings()
        try:
            picture = decode(image, self.image_name, self._bit_depth)
            height, width = picture.shape[:2]
            camera = self._infos.camera(image.header.stamp, width, height, settings.rectified, settings.fallback_fov)
        except InputError as error:
            # At the start an image may overtake its camera_info.
            early = time.monotonic() - self._watched_since < CAMERA_INFO_PATIENCE
            if error.kind != "no_camera_info" or not early:
                self._problems.report(f"input.{error.kind}", str(error))
            return None
        self._problems.solved("input")
        return picture, camera

    # Once a second

    def check(self) -> None:
        """Follow the publishers' QoS, and report why nothing comes."""
        self.connections.match()
        self._hands_connection.match()
        hands, images = self.watched
        alone = hands and self.hands.silent() and not self._node.count_publishers(self.hands_name)
        self._problems.check("silence.hands", alone, monitor.why_no_hands(self.hands_name))
        if images and self.images.silent():
            self._problems.report("silence.images", monitor.why_no_image(self))
        if images and self.pairs.silent() and not self.images.silent() and not self.hands.silent():
            self._problems.report(
                "pairs",
                f"no image on {self.image_name} has the stamp of hands on {self.hands_name}: remap image to that"
                " of hand_recon; where large images are lost, start the camera with the Fast DDS profile"
                " (config/fastdds.xml)",
            )
