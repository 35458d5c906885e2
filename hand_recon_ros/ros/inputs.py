"""From camera messages to images and cameras: zero-copy where possible, a clear refusal where the data is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..camera import Camera, CameraError

MIN_IMAGE_SIZE = 16
"""Smallest image side that is looked at, pixels: below this there is no hand to see."""

_CHANNELS_8 = {
    "bgr8": 3, "rgb8": 3, "bgra8": 4, "rgba8": 4, "mono8": 1, "8UC1": 1, "8UC3": 3, "8UC4": 4,
    "uyvy": 2, "yuv422": 2, "yuyv": 2, "yuv422_yuy2": 2,
    "bayer_rggb8": 1, "bayer_bggr8": 1, "bayer_gbrg8": 1, "bayer_grbg8": 1,
}  # fmt: skip
_CHANNELS_16 = {
    "bgr16": 3, "rgb16": 3, "bgra16": 4, "rgba16": 4, "mono16": 1,
    "bayer_rggb16": 1, "bayer_bggr16": 1, "bayer_gbrg16": 1, "bayer_grbg16": 1,
}  # fmt: skip
_CONVERSIONS = {
    # OpenCV names a Bayer pattern after the second row's second and third pixel, ROS after the first two of each row.
    "bayer_rggb": "COLOR_BayerBG2BGR",
    "bayer_bggr": "COLOR_BayerRG2BGR",
    "bayer_gbrg": "COLOR_BayerGR2BGR",
    "bayer_grbg": "COLOR_BayerGB2BGR",
    "uyvy": "COLOR_YUV2BGR_UYVY",
    "yuv422": "COLOR_YUV2BGR_UYVY",
    "yuyv": "COLOR_YUV2BGR_YUYV",
    "yuv422_yuy2": "COLOR_YUV2BGR_YUYV",
    "mono": "COLOR_GRAY2BGR",
    "rgb": "COLOR_RGB2BGR",
    "bgra": "COLOR_BGRA2BGR",
    "rgba": "COLOR_RGBA2BGR",
}
_GENERIC = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8"}
_DEPTH = {"16UC1", "16SC1", "32FC1", "64FC1"}


class InputError(ValueError):
    """A message that cannot be used; ``kind`` groups errors of one cause, the text says what to do about it."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def decode(message: Any, topic: str = "image") -> np.ndarray:
    """The picture in a sensor_msgs/Image or CompressedImage: uint8 (H, W, 3), BGR.

    For ``bgr8`` it is a view of the message's own data. ``topic`` is what error messages call the source.
    Raises InputError.
    """
    return decode_compressed(message, topic) if hasattr(message, "format") else decode_raw(message, topic)


def decode_raw(message: Any, topic: str = "image") -> np.ndarray:
    """The picture in a sensor_msgs/Image, see :func:`decode`."""
    width, height = int(message.width), int(message.height)
    _check_size(width, height, topic)
    encoding = _GENERIC.get(message.encoding, message.encoding)
    if encoding in _CHANNELS_8:
        pixels = _pixels(message, _CHANNELS_8[encoding], np.dtype(np.uint8), topic)
    elif encoding in _CHANNELS_16:
        order = np.dtype(">u2" if message.is_bigendian else "<u2")
        pixels = (_pixels(message, _CHANNELS_16[encoding], order, topic) >> 8).astype(np.uint8)
    else:
        return _by_cv_bridge(message, topic)
    family = encoding.removesuffix("16").removesuffix("8")
    if family == "bgr":
        return pixels
    import cv2

    try:
        return cv2.cvtColor(pixels, getattr(cv2, _CONVERSIONS[family]))
    except cv2.error as error:
        raise InputError(
            "size",
            f"{topic}: image is {width}x{height}, which {message.encoding} cannot be (chroma comes in pairs of pixels):"
            " set an even size in the driver",
        ) from error


def decode_compressed(message: Any, topic: str = "image/compressed") -> np.ndarray:
    """The picture in a sensor_msgs/CompressedImage (JPEG, PNG and what else OpenCV reads), see :func:`decode`."""
    import cv2

    name = message.format
    if "compressedDepth" in name:
        raise InputError(
            "encoding", f"{topic}: format {name!r} is a depth image, expected a colour image: remap image/compressed"
        )
    data = np.frombuffer(message.data, dtype=np.uint8)
    if data.size == 0:
        raise InputError("data", f"{topic}: the compressed image ({name!r}) holds no data: check the camera driver")
    jpeg = data[:2].tobytes() == b"\xff\xd8"
    # OpenCV fills the missing part of a cut-off JPEG with grey and says nothing.
    # Some drivers pad their buffers with zeros.
    complete = not jpeg or b"\xff\xd9" in data.tobytes().rstrip(b"\0")[-64:]
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION  # camera_info knows nothing of a picture turned by EXIF
    image = cv2.imdecode(data, flags) if complete else None
    if image is None:
        state = "cannot be decoded" if complete else "is cut off (no end marker)"
        raise InputError(
            "data",
            f"{topic}: the compressed image ({data.size} bytes, format {name!r}) {state}:"
            " expected a whole JPEG or PNG; check the driver and the network",
        )
    _check_size(image.shape[1], image.shape[0], topic)
    # image_transport writes "<original>; <codec> compressed <what the codec was given>"; OpenCV assumes bgr8 there.
    swapped = name.split(" ")[-1] == "rgb8" and "compressed" in name
    return np.ascontiguousarray(image[..., ::-1]) if swapped else image


def _check_size(width: int, height: int, topic: str) -> None:
    if width < MIN_IMAGE_SIZE or height < MIN_IMAGE_SIZE:
        raise InputError(
            "size",
            f"{topic}: image is {width}x{height}, expected at least {MIN_IMAGE_SIZE}x{MIN_IMAGE_SIZE}: check the"
            " camera driver",
        )


def _pixels(message: Any, channels: int, kind: np.dtype[Any], topic: str) -> np.ndarray:
    """A view (H, W[, channels]) of the message's data, its row padding skipped."""
    width, height, step = int(message.width), int(message.height), int(message.step)
    row = width * channels * kind.itemsize
    if step < row or step % kind.itemsize:
        raise InputError(
            "step",
            f"{topic}: step is {step} bytes, expected at least {row} ({width} pixels of {message.encoding}): fix step"
            " in the driver",
        )
    size = len(message.data)
    if size != step * height:
        what = "truncated" if size < step * height else "too long"
        raise InputError(
            "data",
            f"{topic}: data is {what}: {size} bytes, expected {step * height} (step {step} x height {height}): fix"
            " the driver",
        )
    rows = np.frombuffer(message.data, dtype=np.uint8).reshape(height, step)[:, :row]
    pixels = rows.view(kind)
    return pixels if channels == 1 else pixels.reshape(height, width, channels)


def _by_cv_bridge(message: Any, topic: str) -> np.ndarray:
    encoding = message.encoding
    known = "bgr8, rgb8, bgra8, rgba8, mono8, their 16-bit kinds, bayer_*, uyvy, yuyv"
    if encoding in _DEPTH:
        raise InputError(
            "encoding",
            f"{topic}: encoding {encoding!r} looks like a depth image, expected a colour image ({known}): remap image",
        )
    try:
        # Its binary part breaks under other NumPy versions than it was built with: only who needs it imports it.
        from cv_bridge import CvBridge

        image = CvBridge().imgmsg_to_cv2(message, desired_encoding="bgr8")
    except ImportError as error:
        raise InputError(
            "encoding",
            f"{topic}: encoding {encoding!r} is not read directly ({known} are) and cv_bridge is not available"
            f" ({error}):"
            " set the driver to one of these or install cv_bridge",
        ) from error
    except Exception as error:  # cv_bridge raises its own error, cv2's, KeyError... for what it does not know
        raise InputError(
            "encoding",
            f"{topic}: encoding {encoding!r} is unknown, expected one of {known}: set the driver to one of these"
            f" (cv_bridge: {type(error).__name__}: {error})",
        ) from error
    if image.dtype != np.uint8 or image.shape != (message.height, message.width, 3):
        raise InputError(
            "encoding",
            f"{topic}: cv_bridge made {image.dtype} {image.shape} of encoding {encoding!r}, expected {known}",
        )
    return image


class CameraSource:
    """The camera of the images, from the newest camera_info; computed again only where that has changed."""

    def __init__(self, image_topic: str, info_topic: str) -> None:
        self._topics = image_topic, info_topic
        self._key: tuple[Any, ...] | None = None
        self._camera: Camera | None = None

    def camera(self, info: Any | None, width: int, height: int, rectified: bool, fallback_fov: float) -> Camera:
        """The camera of an image of ``width`` x ``height`` pixels.

        ``info`` is the newest sensor_msgs/CameraInfo or None; without a calibration the camera is one of
        ``fallback_fov`` degrees, unless that is 0. Raises InputError.
        """
        key = (*_info_key(info), width, height, rectified, fallback_fov)
        if key != self._key or self._camera is None:
            self._key, self._camera = None, self._make(info, width, height, rectified, fallback_fov)
            self._key = key
        return self._camera

    def _make(self, info: Any | None, width: int, height: int, rectified: bool, fallback_fov: float) -> Camera:
        image_topic, info_topic = self._topics
        # K[0] = 0 is how CameraInfo says that a camera is not calibrated.
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
                " camera_info"
                " if it has another name), or set fallback_fov to its field of view in degrees",
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


def _info_key(info: Any | None) -> tuple[Any, ...]:
    if info is None:
        return (None,)
    roi = info.roi
    return (
        info.width, info.height, info.distortion_model, bytes(np.asarray(info.k)), bytes(np.asarray(info.d)),
        bytes(np.asarray(info.p)), info.binning_x, info.binning_y, roi.x_offset, roi.y_offset, roi.width, roi.height,
    )  # fmt: skip
