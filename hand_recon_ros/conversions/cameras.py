"""From sensor_msgs/CameraInfo to the camera of an image."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np

from ..camera import Camera, CameraError
from .images import InputError

_HISTORY = 8
"""How many camera_info messages are stored, to find the one with an image's stamp."""


class CameraInfos:
    """The newest camera_info messages of a camera, and the camera of an image from them.

    Messages are added by one thread, cameras are requested by another. A camera is computed again only where its
    camera_info has changed.

    Args:
        image_topic: full name of the images, for error messages.
        info_topic: full name of the camera_info.
    """

    def __init__(self, image_topic: str, info_topic: str) -> None:
        self._topics = image_topic, info_topic
        self._messages: collections.OrderedDict[tuple[int, int], Any] = collections.OrderedDict()
        self._key: tuple[Any, ...] | None = None
        self._camera: Camera | None = None

    @property
    def newest(self) -> Any | None:
        """The newest camera_info; None before the first."""
        messages = self._messages
        return next(reversed(messages.values())) if messages else None

    def add(self, message: Any) -> None:
        """Store a camera_info."""
        stamp = message.header.stamp
        messages = collections.OrderedDict(self._messages)
        messages.pop((stamp.sec, stamp.nanosec), None)
        messages[stamp.sec, stamp.nanosec] = message
        while len(messages) > _HISTORY:
            messages.popitem(last=False)
        self._messages = messages  # replaced as a whole: the other thread reads it without a lock

    def camera(self, stamp: Any, width: int, height: int, rectified: bool, fallback_fov: float) -> Camera:
        """The camera of an image of ``width`` x ``height`` pixels.

        It is that of the camera_info with the image's ``stamp`` (builtin_interfaces/Time), else of the newest one;
        without a calibration that of a lens of ``fallback_fov`` degrees, unless that is 0. Raises InputError.
        """
        info = self._messages.get((stamp.sec, stamp.nanosec)) or self.newest
        key = (*_key(info), width, height, rectified, fallback_fov)
        if key != self._key or self._camera is None:
            self._key, self._camera = None, self._compute(info, width, height, rectified, fallback_fov)
            self._key = key
        return self._camera

    def _compute(self, info: Any | None, width: int, height: int, rectified: bool, fallback_fov: float) -> Camera:
        image_topic, info_topic = self._topics
        # sensor_msgs/CameraInfo: K[0] = 0 means that the camera is not calibrated.
        uncalibrated = info is not None and not np.any(info.p if rectified else info.k)
        if info is None or uncalibrated:
            if fallback_fov > 0:
                return Camera.from_fov(width, height, fallback_fov)
            matrix = "P" if rectified else "K"
            what = (
                f"{matrix} of {info_topic} is all zeros (not calibrated)"
                if uncalibrated
                else f"there is no {info_topic}"
            )
            raise InputError(
                "uncalibrated" if uncalibrated else "no_camera_info",
                f"{what} for the images on {image_topic}: calibrate the camera and publish its camera_info (remap"
                " camera_info if it has another name), or set fallback_fov to its field of view in degrees",
            )
        try:
            camera = Camera.from_camera_info(info, rectified=rectified)
        except (CameraError, ValueError) as error:
            raise InputError("camera_info", f"{info_topic} cannot be used: {error}; fix the calibration") from error
        if (camera.width, camera.height) != (width, height):
            raise InputError(
                "camera_size",
                f"{info_topic} {camera.width}x{camera.height} does not match image {width}x{height} on {image_topic}:"
                " publish the calibration of this resolution (ROI and binning in camera_info count)",
            )
        return camera


def _key(info: Any | None) -> tuple[Any, ...]:
    """Everything in a camera_info that its camera depends on."""
    if info is None:
        return (None,)
    roi = info.roi
    return (
        info.width, info.height, info.distortion_model, bytes(np.asarray(info.k)), bytes(np.asarray(info.d)),
        bytes(np.asarray(info.p)), info.binning_x, info.binning_y, roi.x_offset, roi.y_offset, roi.width, roi.height,
    )  # fmt: skip
