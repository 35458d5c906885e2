"""Image messages: pictures decoded from them, without a copy where possible, and built into them."""

from __future__ import annotations

import array
from typing import Any

import numpy as np

MIN_IMAGE_SIZE = 16
"""Smallest image side that is processed, pixels: a hand in a smaller image cannot be detected."""

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
_READ_DIRECTLY = "bgr8, rgb8, bgra8, rgba8, mono8, their 16-bit kinds, bayer_*, uyvy, yuyv"


class InputError(ValueError):
    """A message that cannot be used.

    ``kind`` groups errors with the same cause; the text names the topic, the value, what was expected and the way out.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def decode(message: Any, topic: str = "image") -> np.ndarray:
    """The picture in a sensor_msgs/Image or CompressedImage: uint8 (H, W, 3), BGR.

    For ``bgr8`` the result is a view of the message's data. ``topic`` is the name in error messages.
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
        return _decode_by_cv_bridge(message, topic)
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
    # OpenCV fills the missing part of a truncated JPEG with grey, without an error. Some drivers pad with zeros.
    complete = not jpeg or b"\xff\xd9" in data.tobytes().rstrip(b"\0")[-64:]
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION  # camera_info does not account for an EXIF rotation
    image = cv2.imdecode(data, flags) if complete else None
    if image is None:
        state = "cannot be decoded" if complete else "is cut off (no end marker)"
        raise InputError(
            "data",
            f"{topic}: the compressed image ({data.size} bytes, format {name!r}) {state}:"
            " expected a whole JPEG or PNG; check the driver and the network",
        )
    _check_size(image.shape[1], image.shape[0], topic)
    # image_transport writes "<original>; <codec> compressed <the codec's input>"; OpenCV assumes bgr8 there.
    swapped = name.split(" ")[-1] == "rgb8" and "compressed" in name
    return np.ascontiguousarray(image[..., ::-1]) if swapped else image


def decode_depth(message: Any, topic: str = "depth") -> np.ndarray:
    """The depth in a sensor_msgs/Image of REP 118: 16UC1 in millimetres or 32FC1 in metres.

    Returns float32 (H, W), metres, NaN where it is not known: where the message has 0, NaN or infinity. ``topic`` is
    the name in error messages. Raises InputError.
    """
    order = ">" if message.is_bigendian else "<"
    kinds = {"16UC1": "u2", "32FC1": "f4"}
    if message.encoding not in kinds:
        raise InputError(
            "encoding",
            f"{topic}: encoding {message.encoding!r} is not a depth image's, expected 16UC1 (millimetres) or 32FC1"
            " (metres): remap depth",
        )
    _check_size(int(message.width), int(message.height), topic)
    values = _pixels(message, 1, np.dtype(order + kinds[message.encoding]), topic)
    depth = values.astype(np.float32)
    if message.encoding == "16UC1":
        depth *= np.float32(1e-3)
    depth[~((depth > 0.0) & (depth < np.inf))] = np.nan
    return depth


def _check_size(width: int, height: int, topic: str) -> None:
    if width < MIN_IMAGE_SIZE or height < MIN_IMAGE_SIZE:
        raise InputError(
            "size",
            f"{topic}: image is {width}x{height}, expected at least {MIN_IMAGE_SIZE}x{MIN_IMAGE_SIZE}: check the"
            " camera driver",
        )


def _pixels(message: Any, channels: int, kind: np.dtype[Any], topic: str) -> np.ndarray:
    """A view (H, W[, channels]) of the message's data without the padding of its rows."""
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


def _decode_by_cv_bridge(message: Any, topic: str) -> np.ndarray:
    encoding = message.encoding
    if encoding in _DEPTH:
        raise InputError(
            "encoding",
            f"{topic}: encoding {encoding!r} looks like a depth image, expected a colour image ({_READ_DIRECTLY}):"
            " remap image",
        )
    try:
        # Imported only when needed: its binary part fails under other NumPy versions than the one it was built with.
        from cv_bridge import CvBridge

        image = CvBridge().imgmsg_to_cv2(message, desired_encoding="bgr8")
    except ImportError as error:
        raise InputError(
            "encoding",
            f"{topic}: encoding {encoding!r} is not read directly ({_READ_DIRECTLY} are) and cv_bridge is not"
            f" available ({error}): set the driver to one of these or install cv_bridge",
        ) from error
    except Exception as error:  # cv_bridge raises its own error, cv2's, KeyError... for an encoding it does not support
        raise InputError(
            "encoding",
            f"{topic}: encoding {encoding!r} is unknown, expected one of {_READ_DIRECTLY}: set the driver to one of"
            f" these (cv_bridge: {type(error).__name__}: {error})",
        ) from error
    if image.dtype != np.uint8 or image.shape != (message.height, message.width, 3):
        raise InputError(
            "encoding",
            f"{topic}: cv_bridge returned {image.dtype} {image.shape} for encoding {encoding!r}, expected one of"
            f" {_READ_DIRECTLY}: set the driver to one of these",
        )
    return image


def build_image_message(image: np.ndarray, header: Any = None) -> Any:
    """A sensor_msgs/Image (bgr8) of ``image``, uint8 (H, W, 3), BGR; without ``header`` its header is empty."""
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    height, width = image.shape[:2]
    message = Image(header=header or Header(), height=height, width=width, encoding="bgr8", step=3 * width)
    # An array of the field's own type is the only value that the setter takes without a check of every byte.
    message.data = array.array("B", image.tobytes())
    return message


def build_compressed_image_message(image: np.ndarray, quality: int, header: Any = None) -> Any:
    """A sensor_msgs/CompressedImage (JPEG) of ``image``, as above; ``quality`` 1..100. Raises ValueError."""
    import cv2
    from sensor_msgs.msg import CompressedImage
    from std_msgs.msg import Header

    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV cannot encode a picture of shape {image.shape} as JPEG")
    message = CompressedImage(header=header or Header(), format="bgr8; jpeg compressed bgr8")
    message.data = array.array("B", data.tobytes())
    return message
