"""From the image messages of a stream to frames: picture, camera, time, and whether tracking goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ..camera import Camera
from ..image_files import BitDepth
from ..types import Frame
from .frames import tf_name
from .images import decode
from .problems import Problems
from .stamps import StampClock, seconds


@dataclasses.dataclass(frozen=True, eq=False)
class InputFrame:
    """An image that can be processed.

    Attributes:
        header: the std_msgs/Header of its message, which every output carries.
        frame: picture, camera and time; the time is the stamp's unless that cannot be used.
        continues: False where tracking starts again: another frame_id, or time that jumps back.
        latency_known: whether the node's clock minus the stamp is the image's age.
    """

    header: Any
    frame: Frame
    continues: bool
    latency_known: bool


class ImageStream:
    """What is remembered from image to image of one camera: time, frame_id, and the bits of 16-bit images.

    Args:
        topic: full name of the images, for the log.
        problems: what is wrong with the messages is reported here, in the groups ``stamp`` and ``frame_id``.
        decoder: the picture in a message, with the arguments of :func:`images.decode`.
    """

    def __init__(self, topic: str, problems: Problems, decoder: Callable[..., np.ndarray] = decode) -> None:
        self._topic = topic
        self._problems = problems
        self._decode = decoder
        self._clock = StampClock(topic, problems)
        self.restart()

    def restart(self) -> None:
        """The next image is the first of a stream."""
        self._clock.restart()
        self._bits = BitDepth()
        self._frame_id: str | None = None

    def usable(self, stamp: float) -> bool:
        """Whether ``stamp``, seconds, is the time of the next image, see :meth:`StampClock.usable`."""
        return self._clock.usable(stamp)

    def frame(
        self,
        message: Any,
        arrival: float,
        now: float,
        camera_of: Callable[[int, int], Camera],
        depth_of: Callable[[int, int], np.ndarray | None],
    ) -> InputFrame:
        """The frame of the next image. Raises InputError where it cannot be used.

        Args:
            message: sensor_msgs/Image or CompressedImage.
            arrival, now: clock at its arrival and at present, seconds, see :meth:`StampClock.advance`.
            camera_of: the camera of an image of this width and height, pixels; may raise InputError.
            depth_of: its depth (H, W), metres, or None.
        """
        header = message.header
        picture = self._decode(message, self._topic, self._bits)
        height, width = picture.shape[:2]
        camera = camera_of(width, height)
        taken = self._clock.advance(seconds(header.stamp), arrival, now)
        same_camera = self._check_frame_id(header.frame_id)
        frame = Frame(image=picture, camera=camera, stamp=taken.time, depth=depth_of(width, height))
        return InputFrame(header, frame, taken.continues and same_camera, taken.latency_known)

    def _check_frame_id(self, frame_id: str) -> bool:
        """Whether the image is in the frame of the last one."""
        same = self._frame_id in (None, frame_id)
        self._frame_id = frame_id
        name = tf_name(frame_id)
        self._problems.check(
            "frame_id.empty",
            not name,
            f"{self._topic}: frame_id is empty, expected the camera's optical frame: no transforms are published; set"
            " frame_id in the driver",
        )
        self._problems.check(
            "frame_id.slash",
            bool(name) and name != frame_id,
            f"{self._topic}: frame_id {frame_id!r} starts with a slash, which tf2 refuses: transforms are published in"
            f" {name!r}; remove the slash in the driver",
        )
        return same
