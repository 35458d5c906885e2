"""From depth image messages to the depth of a colour image: the nearest stamp, registered to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .frames import tf_name
from .images import InputError, decode_depth
from .problems import Problems
from .stamps import seconds

_HISTORY = 4
"""How many depth images are stored, to find the one with the nearest stamp."""
PATIENCE = 5.0
"""How long colour images may find no depth image before that is reported, seconds."""


class DepthImages:
    """The newest depth images of a camera.

    Messages are added by one thread, depth is requested by another.

    Args:
        image_topic: full name of the colour images, for the log.
        depth_topic: full name of the depth images.
        problems: what is wrong with the depth images is reported here, in the group ``depth``.
        clock: for how long depth images have been missing, seconds.
    """

    def __init__(
        self, image_topic: str, depth_topic: str, problems: Problems, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._image_topic, self._topic = image_topic, depth_topic
        self._clock = clock
        self._problems = problems
        self._messages: tuple[Any, ...] = ()
        self._missing_since: float | None = None

    @property
    def newest(self) -> Any | None:
        """The newest depth image; None before the first."""
        messages = self._messages
        return messages[-1] if messages else None

    def clear(self) -> None:
        """Forget all messages."""
        self._messages, self._missing_since = (), None

    def add(self, message: Any) -> None:
        """Store a sensor_msgs/Image; nothing else, as it is the subscription's callback."""
        # Replaced as a whole: the other thread reads it without a lock.
        self._messages = (*self._messages, message)[-_HISTORY:]

    def depth(self, header: Any, width: int, height: int, slop: float) -> np.ndarray | None:
        """The depth of a colour image (H, W), float32, metres, NaN where it is not known.

        None where no depth image has come with a stamp within ``slop`` seconds of the image's, and where the one that
        has is not registered to it, which is reported.

        Args:
            header: of the colour image.
            width, height: its size, pixels.
            slop: seconds.
        """
        stamp, messages = seconds(header.stamp), self._messages
        nearest = min(messages, key=lambda message: abs(seconds(message.header.stamp) - stamp), default=None)
        offset = None if nearest is None else seconds(nearest.header.stamp) - stamp
        if nearest is None or offset is None or abs(offset) > slop:
            self._report_missing(offset, slop)
            return None
        self._missing_since = None
        self._problems.solved("depth.missing")
        try:
            self._check(nearest, header, width, height)
            depth = decode_depth(nearest, self._topic)
        except InputError as error:
            self._problems.report(f"depth.{error.kind}", str(error))
            return None
        self._problems.solved("depth")
        return depth

    def _check(self, message: Any, header: Any, width: int, height: int) -> None:
        """Raise InputError where a depth image is not registered to the colour image."""
        way_out = (
            ": it is not used; publish depth registered to the colour image and remap depth to it (RealSense: set"
            " align_depth.enable to true and use aligned_depth_to_color/image_raw)"
        )
        if (message.width, message.height) != (width, height):
            raise InputError(
                "size",
                f"{self._topic}: depth image is {message.width}x{message.height}, but the images on"
                f" {self._image_topic} are {width}x{height}{way_out}",
            )
        if tf_name(message.header.frame_id) != tf_name(header.frame_id):
            raise InputError(
                "frame_id",
                f"{self._topic}: frame_id of the depth image is {message.header.frame_id!r}, but that of"
                f" {self._image_topic} is {header.frame_id!r}{way_out}",
            )
        if message.encoding not in ("16UC1", "32FC1"):
            raise InputError(
                "encoding",
                f"{self._topic}: encoding {message.encoding!r} is not a depth image's, expected 16UC1 (millimetres) or"
                f" 32FC1 (metres), registered to {self._image_topic}{way_out}",
            )

    def _report_missing(self, offset: float | None, slop: float) -> None:
        now = self._clock()
        if self._missing_since is None:
            self._missing_since = now
        if now - self._missing_since < PATIENCE:
            return
        if offset is None:
            text = (
                "no depth image comes: start it in the driver and remap depth to its topic, or set use_depth to false"
            )
        else:
            text = (
                f"the nearest depth image is {abs(offset) * 1e3:.0f} ms {'older' if offset < 0 else 'newer'}, more than"
                f" depth_slop = {slop:g} s: enable the synchronisation of colour and depth in the driver, or raise"
                " depth_slop"
            )
        self._problems.report(
            "depth.missing", f"{self._topic}: {text}; the hands on {self._image_topic} are estimated without depth"
        )
