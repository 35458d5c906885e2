"""The images of a recording as frames: decoded, with camera, depth and time, by the code of the node."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..calibration import calibration_path, camera_for_image, read_calibration
from ..camera import Camera, CameraError
from ..conversions.images import InputError
from ..conversions.problems import Problems
from ..conversions.stamps import seconds
from ..conversions.stream import ImageStream, InputFrame
from .inputs import DEPTH_TYPE, INFO_TYPE, RecordedCameras, RecordedDepths, info_topic_of
from .messages import BagError, deserialized
from .recording import IMAGE_TYPES, Recording


@dataclasses.dataclass(frozen=True)
class ImageOptions:
    """What belongs to the images of a recording.

    Attributes:
        camera_info: topic; None is the one beside the images, where it was recorded.
        calibration: path of a calibration file, used instead of camera_info.
        fov_deg: field of view across the longer image side where there is no calibration, degrees.
        rectified: the images are rectified: P of camera_info and no distortion.
        depth: topic of depth images registered to the images, or None.
        depth_slop: highest difference of the stamps of image and depth image, seconds.
    """

    camera_info: str | None = None
    calibration: str | None = None
    fov_deg: float = 60.0
    rectified: bool = False
    depth: str | None = None
    depth_slop: float = 0.04


class RecordedImages:
    """The images of a topic; a context manager. Raises BagError and CameraError.

    Attributes:
        source: the recording.
        topic, kind: of the images.
        info_topic: of the camera_info that is used, or None.
        expected: how many images there are, as the recording says.
        problems: what is wrong with the messages, printed once each.
    """

    def __init__(self, source: Path, topic: str, options: ImageOptions) -> None:
        self.source, self.topic = source, topic
        self._options = options
        self._time = 0.0
        self.problems = Problems(_warn, _warn, self._clock)
        Camera.from_fov(2, 2, options.fov_deg)  # raises CameraError now, and not for the first image
        self._stream = ImageStream(topic, self.problems)
        self._known = read_calibration(calibration_path(options.calibration)) if options.calibration else None
        with contextlib.ExitStack() as stack:
            self._recording = stack.enter_context(Recording(source))
            self.kind = self._recording.require(topic, IMAGE_TYPES, "images")
            self.expected = self._recording.count(topic)
            self.info_topic = _info_topic(self._recording, topic, options)
            self._cameras = RecordedCameras(self._recording, topic, self.info_topic, options.rectified, options.fov_deg)
            self._depths: RecordedDepths | None = None
            if options.depth:
                self._recording.require(options.depth, (DEPTH_TYPE,), "raw images")
                beside = stack.enter_context(Recording(source))
                self._depths = RecordedDepths(
                    beside, topic, options.depth, options.depth_slop, self.problems, self._clock
                )
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()

    def _clock(self) -> float:
        return self._time

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """Time of recording, nanoseconds, and CDR data of each image."""
        return self._recording.messages(self.topic)

    def frame(self, log_time: int, data: bytes) -> tuple[InputFrame, bytes | None]:
        """The frame of the next image, and its camera_info, CDR, if there is one. Raises InputError and BagError."""
        self._time = log_time * 1e-9
        message = deserialized(data, self.kind)
        header = message.header

        def camera_of(width: int, height: int) -> Camera:
            if self._known is not None:
                try:
                    return camera_for_image(self._known, width, height, str(self._options.calibration))
                except CameraError as error:
                    raise InputError("camera_size", str(error)) from error
            return self._cameras.camera(header, log_time, width, height)

        def depth_of(width: int, height: int) -> np.ndarray | None:
            return self._depths.depth(header, log_time, width, height) if self._depths else None

        # A stamp is compared with itself: the recorder's clock may be another than the camera's.
        now = seconds(header.stamp) or self._time
        frame = self._stream.frame(message, self._time, now, camera_of, depth_of)
        self.problems.check(
            "guess",
            self.info_topic is not None and not frame.frame.camera.calibrated,
            f"{self.info_topic} is all zeros (not calibrated): intrinsics are {_guess(self._options.fov_deg)}",
        )
        return frame, self._cameras.data(header, log_time)


def _info_topic(recording: Recording, image_topic: str, options: ImageOptions) -> str | None:
    """The camera_info that is used; None where intrinsics come from elsewhere; a guess is reported."""
    if options.camera_info:
        if options.calibration:
            raise BagError("a camera_info topic and a calibration file exclude each other: leave one out")
        recording.require(options.camera_info, (INFO_TYPE,), "camera_info")
        return options.camera_info
    if options.calibration:
        return None
    topic = info_topic_of(image_topic)
    if recording.kind(topic) == INFO_TYPE and recording.count(topic):
        return topic
    others = ", ".join(recording.topics(INFO_TYPE)) or "none"
    _warn(f"{topic} was not recorded (topics with camera_info: {others}): intrinsics are {_guess(options.fov_deg)}")
    return None


def _guess(fov_deg: float) -> str:
    return f"guessed from a field of view of {fov_deg:g} degrees, and metres are only as good as that"


def _warn(text: str) -> None:
    """Print a line above the progress bar."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)
