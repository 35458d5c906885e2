"""The messages of camera_source: images and camera_info out of source images, prepared ahead of time."""

from __future__ import annotations

import array
import dataclasses
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ...calibration import calibration_path, read_calibration, scaled_camera
from ...camera import Camera, CameraError
from ...sources import SourceImage, resized


class CameraModel:
    """What is known of the camera, and from it the camera of each image size."""

    def __init__(self, camera_info_url: str, fov: float) -> None:
        self._fov = fov
        self._path = calibration_path(camera_info_url) if camera_info_url else ""
        self._calibration = read_calibration(self._path) if self._path else None

    def camera(self, source_size: tuple[int, int], size: tuple[int, int]) -> Camera | None:
        """The camera of an image of ``size`` made from one of ``source_size`` (width, height); None: unknown.

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
    """An image ready to be published: all but its stamp."""

    image: Any
    info: Any
    number: int
    name: str
    captured: float | None


class Preparer:
    """Makes messages out of source images; runs in the decoding thread, ahead of time."""

    def __init__(self, model: CameraModel, width: int, height: int, jpeg_quality: int | None) -> None:
        """``width`` and ``height`` as in :func:`resized`; ``jpeg_quality`` None makes raw images."""
        self._model = model
        self._width, self._height = width, height
        self._jpeg_quality = jpeg_quality
        self._infos: dict[tuple[tuple[int, int], tuple[int, int]], Any] = {}

    def knows_camera(self, source_size: tuple[int, int]) -> bool:
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
            info = camera_info(self._model.camera(source_size, size), *size)
            self._infos[source_size, size] = info
        quality = self._jpeg_quality
        message = image_message(image) if quality is None else compressed_message(image, quality)
        return Prepared(message, info, item.number, item.name, item.captured)


def image_message(image: np.ndarray) -> Any:
    """A sensor_msgs/Image (bgr8) of ``image``, uint8 (H, W, 3) BGR; stamp and frame are left empty."""
    from sensor_msgs.msg import Image

    height, width = image.shape[:2]
    message = Image(height=height, width=width, encoding="bgr8", is_bigendian=0, step=3 * width)
    message.data = array.array("B", image.tobytes())  # rclpy checks anything else byte by byte
    return message


def compressed_message(image: np.ndarray, quality: int) -> Any:
    """A sensor_msgs/CompressedImage (JPEG) of ``image``, uint8 (H, W, 3) BGR; stamp and frame are left empty."""
    import cv2
    from sensor_msgs.msg import CompressedImage

    data = array.array("B", cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())
    message = CompressedImage(format="bgr8; jpeg compressed bgr8")
    message.data = data
    return message


def camera_info(camera: Camera | None, width: int, height: int) -> Any:
    """A sensor_msgs/CameraInfo of ``camera``; None: the matrices stay zero, which says that it is not calibrated."""
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
    """``items``, computed by a thread that stays up to ``depth`` ahead; ends early once ``stop`` is set.

    What the computation raises is raised here, in its place.
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
