"""What belongs to an image of a recording: its camera, and its depth image."""

from __future__ import annotations

import bisect
import collections
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..camera import Camera
from ..conversions.cameras import CameraInfos
from ..conversions.depths import DepthImages
from ..conversions.problems import Problems
from ..conversions.stamps import seconds
from .messages import BagError, deserialized, stamp_of
from .recording import Recording

INFO_TYPE = "sensor_msgs/msg/CameraInfo"
DEPTH_TYPE = "sensor_msgs/msg/Image"
_NEAR = 500_000_000
"""Between the recording of an image and that of its depth image lies no more than this, nanoseconds."""


def info_topic_of(image_topic: str) -> str:
    """The camera_info of an image topic, as image_transport names it: beside the topic of the raw images."""
    base = image_topic.removesuffix("/compressed")
    return f"{base.rpartition('/')[0]}/camera_info"


class RecordedCameras:
    """The cameras of the images of a recording, from all of its camera_info.

    An image has the camera_info with its stamp, else the newest that was recorded before it, else the first of the
    recording: where a latched one was recorded late, it holds for the images before as well.

    Args:
        recording: read once, from begin to end.
        image_topic, info_topic: an ``info_topic`` of None is that of a recording without camera_info.
        rectified: the images are rectified: P and no distortion.
        fov_deg: field of view across the longer image side where there is no calibration, degrees.
    """

    def __init__(
        self, recording: Recording, image_topic: str, info_topic: str | None, rectified: bool, fov_deg: float
    ) -> None:
        self._infos = CameraInfos(image_topic, info_topic or info_topic_of(image_topic))
        self._rectified, self._fov_deg = rectified, fov_deg
        self._times: list[int] = []
        self._parts: list[tuple[bytes, bytes]] = []
        self._by_stamp: dict[tuple[int, int], int] = {}
        same: dict[bytes, bytes] = {}
        for time, data in recording.messages(info_topic) if info_topic else ():
            # All but the stamp is the same in most of them, and stored once.
            head, body = data[:12], data[12:]
            self._by_stamp[stamp_of(data)] = len(self._times)
            self._times.append(time)
            self._parts.append((head, same.setdefault(body, body)))

    def data(self, header: Any, log_time: int) -> bytes | None:
        """The camera_info of an image, CDR, None without one; ``log_time`` of the image, nanoseconds."""
        if not self._times:
            return None
        number = self._by_stamp.get((header.stamp.sec, header.stamp.nanosec))
        if number is None:
            number = max(bisect.bisect_right(self._times, log_time) - 1, 0)
        return b"".join(self._parts[number])

    def camera(self, header: Any, log_time: int, width: int, height: int) -> Camera:
        """The camera of an image of ``width`` x ``height`` pixels. Raises InputError, and BagError for broken data."""
        data = self.data(header, log_time)
        if data is not None:
            self._infos.add(deserialized(data, INFO_TYPE))
        return self._infos.camera(header.stamp, width, height, self._rectified, self._fov_deg)


class RecordedDepths:
    """The depth images that belong to the images of a recording, read along with them.

    Args:
        recording: opened for this alone: it is read at the same time as the images.
        image_topic, depth_topic: of colour and depth.
        slop: highest difference of the stamps, seconds.
        problems: see :class:`DepthImages`.
        clock: time of the recording, seconds.
    """

    def __init__(
        self,
        recording: Recording,
        image_topic: str,
        depth_topic: str,
        slop: float,
        problems: Problems,
        clock: Callable[[], float],
    ) -> None:
        self._messages: Iterator[tuple[int, bytes]] = recording.messages(depth_topic)
        self._images = DepthImages(image_topic, depth_topic, problems, clock)
        self._slop = slop
        self._topic, self._problems = depth_topic, problems
        self._near: collections.deque[tuple[int, float, bytes]] = collections.deque()

    def depth(self, header: Any, log_time: int, width: int, height: int) -> np.ndarray | None:
        """The depth of an image (H, W), metres, as the node finds it; ``log_time`` of the image, nanoseconds."""
        while self._near and self._near[0][0] < log_time - _NEAR:
            self._near.popleft()
        while not self._near or self._near[-1][0] <= log_time + _NEAR:
            item = next(self._messages, None)
            if item is None:
                break
            if item[0] >= log_time - _NEAR:
                sec, nanosec = stamp_of(item[1])
                self._near.append((item[0], sec + nanosec * 1e-9, item[1]))
        if self._near:
            stamp = seconds(header.stamp)
            nearest = min(self._near, key=lambda each: abs(each[1] - stamp))
            try:
                self._images.add(deserialized(nearest[2], DEPTH_TYPE))
            except BagError as error:
                self._problems.report("depth.data", f"{self._topic}: {error}: it is not used")
                return None
        return self._images.depth(header, width, height, self._slop)
