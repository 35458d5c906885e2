"""From camera messages to frames: the newest image, its camera and its time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from ..image_files import BitDepth
from ..types import Frame
from .cameras import CameraInfos
from .depths import DepthImages
from .frames import tf_name
from .images import InputError, decode
from .mailbox import Mailbox
from .parameters import NodeConfig
from .problems import Problems
from .stamps import StampClock, seconds

CAMERA_INFO_PATIENCE = 1.0
"""How long images may come without camera_info before that is reported, seconds: at the start one may overtake it."""


@dataclasses.dataclass(frozen=True, eq=False)
class ReceivedImage:
    """An image message and the node's clock at its arrival, seconds."""

    message: Any
    arrival: float


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
        self._clock = StampClock(image_topic, problems)
        self._infos = CameraInfos(image_topic, info_topic)
        self._depths = DepthImages(image_topic, depth_topic, problems)
        self._info_topic = info_topic
        self._depth = BitDepth()
        self._frame_id: str | None = None
        self._waiting_since: float | None = None

    @property
    def dropped(self) -> int:
        """How many images were replaced by newer ones before they were processed."""
        return self._mailbox.dropped

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
        self._clock.restart()
        self._depth = BitDepth()
        self._frame_id = self._waiting_since = None

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
        try:
            self._check_age(now - (stamp if self._clock.usable(stamp) else image.arrival), config.max_image_age)
            picture = decode(image.message, self._topic, self._depth)
            height, width = picture.shape[:2]
            camera = self._infos.camera(header.stamp, width, height, config.rectified, config.fallback_fov)
        except InputError as error:
            if error.kind != "no_camera_info" or self._waited_for_camera_info():
                self._problems.report(f"input.{error.kind}", str(error))
            return None
        self._waiting_since = None
        self._problems.solved("input")
        self._problems.check(
            "guess",
            not camera.calibrated,
            f"{self._topic}: intrinsics are a guess from fallback_fov: metres are only as good as it is, and no"
            " transforms are published; publish a camera_info with a calibration",
        )
        taken = self._clock.advance(stamp, image.arrival, now)
        same_camera = self._check_frame_id(header.frame_id)
        depth = self._depths.depth(header, width, height, config.depth_slop) if config.use_depth else None
        frame = Frame(image=picture, camera=camera, stamp=taken.time, depth=depth)
        return InputFrame(header, frame, taken.continues and same_camera, taken.latency_known)

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
