"""The messages of camera_source: images and camera_info built from source images, ahead of time."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ...calibration import calibration_path, read_calibration, scaled_camera
from ...camera import Camera, CameraError
from ...sources import SourceImage, resized
from ..images import build_compressed_image_message, build_image_message


class CameraModel:
    """The camera of each image size, from a calibration file or a field of view.

    Args:
        camera_info_url: path or file:// URL of the calibration; empty: none.
        fov: field of view across the longer image side where there is none, degrees; 0: unknown.
    """

    def __init__(self, camera_info_url: str, fov: float) -> None:
        self._fov = fov
        self._path = calibration_path(camera_info_url) if camera_info_url else ""
        self._calibration = read_calibration(self._path) if self._path else None

    def camera(self, source_size: tuple[int, int], size: tuple[int, int]) -> Camera | None:
        """The camera of an image of ``size`` resized from ``source_size`` (width, height); None: unknown.

        Raises CameraError where the calibration belongs to another resolution.
        """
        if self._calibration is None:
            return Camera.from_fov(*size, self._fov) if self._fov else None
        calibrated = (self._calibration.width, self._calibration.height)
        if calibrated == size:
            return self._calibration
        if calibrated == source_size:
            return scaled_camera(self._calibration, *size)
        raise CameraError(
            f"calibration {self._path} is for {calibrated[0]}x{calibrated[1]}, but the images are"
            f" {source_size[0]}x{source_size[1]}: calibrate at that resolution, or set width:={calibrated[0]}"
            f" height:={calibrated[1]} if they show the same view"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """An image and its camera_info, complete but for the stamp, and the source image they are made of."""

    image: Any
    info: Any
    number: int
    name: str
    captured: float | None
    time: float | None


class Preparer:
    """Builds messages from source images; runs in the decoding thread.

    Args:
        model: of the camera.
        width, height: as in :func:`resized`.
        jpeg_quality: 1..100; None makes raw images.
    """

    def __init__(self, model: CameraModel, width: int, height: int, jpeg_quality: int | None) -> None:
        self._model = model
        self._width, self._height = width, height
        self._jpeg_quality = jpeg_quality
        self._infos: dict[tuple[tuple[int, int], tuple[int, int]], Any] = {}

    def has_camera(self, source_size: tuple[int, int]) -> bool:
        """Whether images of ``source_size`` (width, height) get a camera_info with a calibration.

        Raises CameraError where the calibration belongs to another resolution.
        """
        width, height = source_size
        image = resized(np.zeros((height, width, 3), dtype=np.uint8), self._width, self._height)
        return self._model.camera(source_size, (image.shape[1], image.shape[0])) is not None

    def __call__(self, item: SourceImage) -> Prepared:
        source_size = (item.image.shape[1], item.image.shape[0])
        image = resized(item.image, self._width, self._height)
        size = (image.shape[1], image.shape[0])
        info = self._infos.get((source_size, size))
        if info is None:
            info = build_camera_info(self._model.camera(source_size, size), *size)
            self._infos[source_size, size] = info
        quality = self._jpeg_quality
        message = build_image_message(image) if quality is None else build_compressed_image_message(image, quality)
        return Prepared(message, info, item.number, item.name, item.captured, item.time)


def time_step(last: Prepared, item: Prepared, period: float) -> float:
    """Seconds from one image to the next: by the times of a video, else ``period``, as at its end and from photos."""
    if last.time is None or item.time is None or item.time <= last.time:
        return period
    return item.time - last.time


def build_camera_info(camera: Camera | None, width: int, height: int) -> Any:
    """A sensor_msgs/CameraInfo of ``camera``; None: its matrices are zero, which means not calibrated."""
    from sensor_msgs.msg import CameraInfo

    message = CameraInfo(width=width, height=height, distortion_model="plumb_bob")
    if camera is not None:
        message.k = [float(value) for value in camera.K.ravel()]
        message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        message.p = [float(value) for value in np.hstack([camera.K, np.zeros((3, 1))]).ravel()]
        if camera.distortion_model != "none":
            message.distortion_model = camera.distortion_model
        message.d = [float(value) for value in camera.D] if camera.D.size else [0.0] * 5
    return message


def ahead(items: Iterable[Any], depth: int, stop: threading.Event) -> Iterator[Any]:
    """``items``, computed by a thread up to ``depth`` ahead of their use; ends early once ``stop`` is set.

    An exception of the computation is raised here, after the items before it.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=depth)
    done = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not done.is_set():
            try:
                ready.put((kind, value), timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def fill() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
        except Exception as error:
            put("error", error)
        else:
            put("end", None)

    thread = threading.Thread(target=fill, name="prepare", daemon=True)
    thread.start()
    try:
        while not stop.is_set():
            try:
                kind, value = ready.get(timeout=0.2)
            except queue.Empty:
                continue
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        done.set()
        thread.join(timeout=2.0)
