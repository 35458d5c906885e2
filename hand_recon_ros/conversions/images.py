"""Image messages: pictures and depth decoded from them, without a copy where possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..image_files import BitDepth, ImageError, decode_image

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
_PLANAR = {
    # Columns and rows of luma for each of chroma, whether chroma is interleaved, and whether U is before V.
    "nv12": (2, 2, True, True), "nv21": (2, 2, True, False),
    "nv16": (2, 1, True, True), "nv61": (2, 1, True, False),
    "nv24": (1, 1, True, True), "nv42": (1, 1, True, False),
    "i420": (2, 2, False, True), "yuv420": (2, 2, False, True), "yuv420p": (2, 2, False, True),
    "yv12": (2, 2, False, False),
}  # fmt: skip
_GENERIC = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8", "16UC3": "bgr16", "16UC4": "bgra16"}
_DEPTH = {"16UC1", "16SC1", "32FC1", "64FC1"}
READ_DIRECTLY = "bgr8, rgb8, bgra8, rgba8, mono8, their 16-bit kinds, bayer_*, uyvy, yuyv, nv12, nv21, i420"
"""The encodings that :func:`decode_raw` knows, for error messages."""
_PICTURE_FILES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG"}


class InputError(ValueError):
    """A message that cannot be used.

    ``kind`` groups errors with the same cause; the text names the topic, the value, what was expected and the way out.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


Decoder = Callable[[Any, str], np.ndarray]
"""Decodes a sensor_msgs/Image, whose topic is named in errors, to uint8 (H, W, 3), BGR; raises InputError."""


def decode(
    message: Any, topic: str = "image", depth: BitDepth | None = None, other: Decoder | None = None
) -> np.ndarray:
    """The picture in a sensor_msgs/Image or CompressedImage: uint8 (H, W, 3), BGR.

    For ``bgr8`` the result is a view of the message's data. ``topic`` is the name in error messages, ``depth`` that of
    the 16-bit images of a stream (None: a single image). ``other`` decodes encodings that are not known here. Raises
    InputError.
    """
    depth = depth or BitDepth()
    if hasattr(message, "format"):
        return decode_compressed(message, topic, depth)
    return decode_raw(message, topic, depth, other)


def decode_raw(message: Any, topic: str, depth: BitDepth, other: Decoder | None = None) -> np.ndarray:
    """The picture in a sensor_msgs/Image, see :func:`decode`."""
    width, height = int(message.width), int(message.height)
    _check_size(width, height, topic)
    _refuse_picture_file(message, topic)
    encoding = _GENERIC.get(message.encoding, message.encoding.lower())
    try:
        if encoding in _PLANAR:
            return _decode_planar(message, encoding, topic)
        if encoding in _CHANNELS_8:
            pixels = _pixels(message, _CHANNELS_8[encoding], np.dtype(np.uint8), topic)
        elif encoding in _CHANNELS_16:
            order = np.dtype(">u2" if message.is_bigendian else "<u2")
            pixels = depth.to_8_bits(_pixels(message, _CHANNELS_16[encoding], order, topic))
        else:
            _refuse_unknown(message.encoding, topic, known_elsewhere=other is not None)
            assert other is not None
            return other(message, topic)
        return _to_bgr(pixels, encoding)
    except _cv2_error() as error:
        raise InputError(
            "size",
            f"{topic}: image is {width}x{height}, which {message.encoding} cannot be (chroma comes in pairs of pixels):"
            " set an even size in the driver",
        ) from error


def _refuse_unknown(encoding: str, topic: str, known_elsewhere: bool) -> None:
    """Raise InputError for a depth image, and for an encoding that nothing here decodes unless it is elsewhere."""
    if encoding in _DEPTH:
        raise InputError(
            "encoding",
            f"{topic}: encoding {encoding!r} looks like a depth image, expected a colour image ({READ_DIRECTLY}):"
            " remap image",
        )
    if not known_elsewhere:
        raise InputError("encoding", f"{topic}: encoding {encoding!r} is not read, expected one of {READ_DIRECTLY}")


def _to_bgr(pixels: np.ndarray, encoding: str) -> np.ndarray:
    """Pixels (H, W[, channels]) uint8 of an encoding, whose number of bits does not count, as BGR."""
    family = encoding.removesuffix("16").removesuffix("8")
    if family == "bgr":
        return pixels
    import cv2

    return np.asarray(cv2.cvtColor(pixels, getattr(cv2, _CONVERSIONS[family])))


def _cv2_error() -> type[Exception]:
    """OpenCV's exception; OpenCV is imported only where it is needed."""
    import cv2

    return cv2.error


def _refuse_picture_file(message: Any, topic: str) -> None:
    """Some drivers put the bytes of a JPEG into a raw image: as pixels they are noise."""
    head = bytes(message.data[:8])
    for magic, name in _PICTURE_FILES.items():
        if not head.startswith(magic):
            continue
        try:
            decode_image(np.frombuffer(message.data, dtype=np.uint8))
        except ImageError:
            return
        raise InputError(
            "data",
            f"{topic}: the data is a {name} file, expected pixels ({message.encoding}): publish it as"
            " sensor_msgs/CompressedImage and set use_compressed, or let the driver decode it",
        )


def _decode_planar(message: Any, encoding: str, topic: str) -> np.ndarray:
    """The picture of a YUV encoding whose luma precedes its chroma (BT.601 in studio range, as OpenCV expects)."""
    import cv2

    columns, rows, interleaved, u_first = _PLANAR[encoding]
    width, height, step = int(message.width), int(message.height), int(message.step)
    _check_step(message, width, topic)
    if width % 2 or height % 2:
        raise cv2.error("odd size")
    chroma_step = step // columns * (2 if interleaved else 1)
    chroma_rows = height // rows * (1 if interleaved else 2)
    _check_length(message, step * height + chroma_step * chroma_rows, topic)
    data = np.frombuffer(message.data, dtype=np.uint8)
    luma = data[: step * height].reshape(height, step)[:, :width]
    chroma = data[step * height :].reshape(chroma_rows, chroma_step)
    pairs: np.ndarray
    if interleaved:
        pairs = chroma[:, : width // columns * 2].reshape(height // rows, -1, 2)
    else:
        pairs = np.stack(np.split(chroma[:, : width // columns], 2), axis=-1)
    # Every kind as one of a quarter of the chroma, the only one that OpenCV converts.
    pairs = pairs[:: 2 // rows, :: 2 // columns].reshape(height // 2, width)
    conversion = cv2.COLOR_YUV2BGR_NV12 if u_first else cv2.COLOR_YUV2BGR_NV21
    return np.asarray(cv2.cvtColor(np.concatenate([luma, pairs]), conversion))


def decode_compressed(message: Any, topic: str, depth: BitDepth) -> np.ndarray:
    """The picture in a sensor_msgs/CompressedImage (JPEG, PNG and what else OpenCV reads), see :func:`decode`.

    Its format is "<encoding>; <codec> compressed <encoding of the codec's input>" by image_transport, which may be
    shorter, or "jpeg" and the like.
    """
    import cv2

    name = message.format
    original, _, codec = (part.strip() for part in name.partition(";"))
    target = codec.split(" ")[-1] if "compressed" in codec.split(" ")[:-1] else ""
    if "compressedDepth" in name or original in _DEPTH:
        raise InputError(
            "encoding", f"{topic}: format {name!r} is a depth image, expected a colour image: remap image/compressed"
        )
    try:
        # As it is: camera_info does not account for an EXIF rotation either.
        image = decode_image(np.frombuffer(message.data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except ImageError as error:
        state = "holds no data" if not len(message.data) else str(error)
        raise InputError(
            "data",
            f"{topic}: the compressed image ({len(message.data)} bytes, format {name!r}) {state}:"
            " expected a whole JPEG or PNG; check the driver and the network",
        ) from error
    _check_size(image.shape[1], image.shape[0], topic)
    mosaic = original.startswith("bayer_") and target in ("", original)
    if image.dtype != np.uint8:
        if image.dtype != np.uint16 or (image.ndim == 2 and not mosaic and "mono16" not in (original, target)):
            raise InputError(
                "encoding",
                f"{topic}: the compressed image (format {name!r}) holds {image.dtype} values of one channel, as a depth"
                " image does, expected a colour image: remap image/compressed, or let the driver say mono16",
            )
        image = depth.to_8_bits(image)
    if image.ndim == 2:
        known = mosaic and original.removesuffix("16").removesuffix("8") in _CONVERSIONS
        return _to_bgr(image, original if known else "mono8")
    # OpenCV assumes that the codec's input was bgr8.
    order = slice(None, None, -1) if target.startswith("rgb") else slice(None)
    return np.ascontiguousarray(image[..., :3][..., order])


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
    _check_step(message, row, topic, kind.itemsize)
    _check_length(message, step * height, topic)
    rows = np.frombuffer(message.data, dtype=np.uint8).reshape(height, step)[:, :row]
    pixels = rows.view(kind)
    return pixels if channels == 1 else pixels.reshape(height, width, channels)


def _check_step(message: Any, row: int, topic: str, unit: int = 1) -> None:
    if message.step < row or message.step % unit:
        raise InputError(
            "step",
            f"{topic}: step is {message.step} bytes, expected at least {row} ({message.width} pixels of"
            f" {message.encoding}): fix step in the driver",
        )


def _check_length(message: Any, expected: int, topic: str) -> None:
    size = len(message.data)
    if size != expected:
        what = "truncated" if size < expected else "too long"
        raise InputError(
            "data",
            f"{topic}: data is {what}: {size} bytes, expected {expected} (step {message.step} x height"
            f" {message.height}, {message.encoding}): fix the driver",
        )
