"""From camera messages to frames: the newest image, its camera and its time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..camera import Camera
from ..conversions.cameras import CameraInfos
from ..conversions.depths import DepthImages
from ..conversions.images import InputError
from ..conversions.mailbox import Mailbox
from ..conversions.problems import Problems
from ..conversions.stamps import seconds
from ..conversions.stream import ImageStream, InputFrame
from .images import decode
from .parameters import NodeConfig

CAMERA_INFO_PATIENCE = 1.0
"""How long images may come without camera_info before that is reported, seconds: at the start one may overtake it."""


@dataclasses.dataclass(frozen=True, eq=False)
class ReceivedImage:
    """An image message and the node's clock at its arrival, seconds."""

    message: Any
    arrival: float


class Inputs:
    """The images and camera_info of one camera, from subscription callbacks to the worker's thread.

    Args:
        image_topic: full name of the images, for the log.
        info_topic: full name of their camera_info.
        depth_topic: full name of the depth images.
        now: the node's clock, seconds.
        problems: what is wrong with the messages is reported here, in the groups ``input``, ``depth``, ``stamp``,
            ``frame_id`` and ``guess``.
    """

    def __init__(
        self, image_topic: str, info_topic: str, depth_topic: str, now: Callable[[], float], problems: Problems
    ) -> None:
        self._topic = image_topic
        self._now = now
        self._problems = problems
        self._mailbox: Mailbox[ReceivedImage] = Mailbox()
        self._stream = ImageStream(image_topic, problems, decode)
        self._infos = CameraInfos(image_topic, info_topic)
        self._depths = DepthImages(image_topic, depth_topic, problems)
        self._info_topic = info_topic
        self._waiting_since: float | None = None

    @property
    def dropped(self) -> int:
        """How many images were replaced by newer ones before they were processed."""
        return self._mailbox.dropped

    @property
    def waiting(self) -> bool:
        """Whether an image waits."""
        return self._mailbox.waiting

    @property
    def camera_info(self) -> Any | None:
        """The newest camera_info; None before the first."""
        return self._infos.newest

    @property
    def depth_image(self) -> Any | None:
        """The newest depth image; None before the first."""
        return self._depths.newest

    def open(self) -> None:
        """Accept messages; what came before is forgotten."""
        self._infos = CameraInfos(self._topic, self._info_topic)
        self._depths.clear()
        self.restart()
        self._mailbox.open()

    def close(self) -> None:
        """Accept no more images; wakes up the thread that waits in :meth:`take`."""
        self._mailbox.close()

    def clear(self) -> None:
        """Discard the image that waits, and the depth images."""
        self._mailbox.clear()
        self._depths.clear()

    def restart(self) -> None:
        """The next image is the first of a stream."""
        self._stream.restart()
        self._waiting_since = None

    def add_image(self, message: Any) -> None:
        """Store the newest sensor_msgs/Image or CompressedImage; the subscription's callback."""
        self._mailbox.put(ReceivedImage(message, self._now()))

    def add_camera_info(self, message: Any) -> None:
        """Store a sensor_msgs/CameraInfo; the subscription's callback."""
        self._infos.add(message)

    def add_depth(self, message: Any) -> None:
        """Store a depth image, a sensor_msgs/Image; the subscription's callback."""
        self._depths.add(message)

    def take(self) -> ReceivedImage | None:
        """The newest image, waiting for it; None once the inputs are closed."""
        return self._mailbox.take()

    def frame(self, image: ReceivedImage, config: NodeConfig) -> InputFrame | None:
        """The frame of an image; None where the image cannot be used, which is reported."""
        header, now = image.message.header, self._now()
        stamp = seconds(header.stamp)

        def camera_of(width: int, height: int) -> Camera:
            return self._infos.camera(header.stamp, width, height, config.rectified, config.fallback_fov)

        def depth_of(width: int, height: int) -> np.ndarray | None:
            return self._depths.depth(header, width, height, config.depth_slop) if config.use_depth else None

        try:
            self._check_age(now - (stamp if self._stream.usable(stamp) else image.arrival), config.max_image_age)
            frame = self._stream.frame(image.message, image.arrival, now, camera_of, depth_of)
        except InputError as error:
            if error.kind != "no_camera_info" or self._waited_for_camera_info():
                self._problems.report(f"input.{error.kind}", str(error))
            return None
        self._waiting_since = None
        self._problems.solved("input")
        self._problems.check(
            "guess",
            not frame.frame.camera.calibrated,
            f"{self._topic}: intrinsics are a guess from fallback_fov: metres are only as good as it is, and no"
            " transforms are published; publish a camera_info with a calibration",
        )
        return frame

    def _check_age(self, age: float, max_age: float) -> None:
        if 0.0 < max_age < age:
            raise InputError(
                "age",
                f"{self._topic}: image is {age:.2f} s old, expected at most max_image_age = {max_age:g} s: synchronise"
                " the clocks, set use_sim_time for recordings, or set max_image_age to 0",
            )

    def _waited_for_camera_info(self) -> bool:
        now = time.monotonic()
        if self._waiting_since is None:
            self._waiting_since = now
        return now - self._waiting_since >= CAMERA_INFO_PATIENCE
