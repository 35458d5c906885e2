"""Photos, a video, a webcam or a stream, reconstructed while they are shown."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..calibration import image_cameras
from ..image_files import printable
from ..reconstructor import TwoHandReconstructor
from ..sources import Photos, open_source
from .frames import Picture, ViewedFrame
from .playback import Playback

PHOTO_TIME = 3.0
"""How long each photo of a folder is shown, seconds."""


class ViewedImages:
    """Photos one by one, a video at its own pace or slower, a camera as its images come.

    Args:
        source: see :func:`open_source`.
        calibration: path of a calibration file, or None.
        fov_deg: field of view across the longer side without one, degrees.
        make: makes the reconstructor, once all else is known to be right.

    Attributes:
        live: whether the images are those of a camera.

    Raises SourceError, CameraError, and what ``make`` raises.
    """

    def __init__(
        self, source: str, calibration: str | None, fov_deg: float, make: Callable[[], TwoHandReconstructor]
    ) -> None:
        self._camera_of = image_cameras(calibration, fov_deg)
        self._images = open_source(source)
        try:
            width, height = self._images.size
            self._camera_of(np.empty((height, width, 0), np.uint8))  # raises now, and not for the first image
            self._reconstructor = make()
        except BaseException:
            self._images.close()
            raise
        self.live = self._images.live

    def frames(self, playback: Playback) -> Iterator[ViewedFrame]:
        """The hands in every image, from the beginning. Raises SourceError and CameraError."""
        self._reconstructor.reset()
        photos = isinstance(self._images, Photos)
        for item in self._images:
            camera = self._camera_of(item.image)
            if photos:
                estimate = self._reconstructor.reconstruct_image(item.image, camera)
            else:
                stamp = item.time if item.time is not None else item.captured
                assert stamp is not None  # one of a video or of a camera
                estimate = self._reconstructor(item.image, camera, stamp=stamp)
            latency = math.nan if item.captured is None else time.time() - item.captured
            if item.time is not None:
                playback.wait(item.time)
            yield ViewedFrame(estimate, functools.partial(Picture, item.image, camera), latency)
            if photos:
                playback.hold(PHOTO_TIME)

    def problems(self) -> list[str]:
        """What was not read so far, or not whole."""
        return [f"left out: {printable(Path(name).name)}: {text}" for name, text in self._images.left_out.items()]

    def close(self) -> None:
        """Release the files or the camera."""
        self._images.close()
