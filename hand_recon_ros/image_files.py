"""Pictures and videos through OpenCV: a picture is whole or refused by name, and what was written was written.

The only module that gives OpenCV a path. It takes every name that a file can have, also those that are not UTF-8, at
which OpenCV's Python binding ends the process.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "BitDepth",
    "ImageError",
    "KeptFiles",
    "VideoWriter",
    "decode_image",
    "is_file",
    "open_video",
    "printable",
    "read_image",
    "write_image",
]

_PADDING = 16
"""Zeros at the end of a JPEG that are padding, at least; fewer may belong to it."""
_LARGEST_TIMEBASE = 65535
"""MPEG-4 holds the time of an image as a number of parts of a second, of at most these."""
_LARGEST_RATE = 1000.0
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


class ImageError(OSError):
    """A picture that cannot be read whole; the message says why, and names the file where there is one."""


class KeptFiles:
    """The files that a program reads, which nothing that it writes may replace.

    They are known by what they are and not by their names, so that links are found out as well.
    """

    def __init__(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        self._known = {identity for path in paths if (identity := _identity(path)) is not None}

    def check(self, path: str | os.PathLike[str]) -> None:
        """Raise FileExistsError where ``path`` is one of the files, also by a link."""
        if _identity(path) in self._known:
            raise FileExistsError(f"{printable(path)}: is a file that is read, and is not written over; name another")


def _identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """What a file is on its machine, whatever its name; None where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class BitDepth:
    """How many bits the pixels of a stream of 16-bit images use: cameras of 10 or 12 bits leave the upper ones zero.

    It is that of the largest value so far, so that the brightness of a stream does not jump.

    Attributes:
        bits: 8, 10, 12, 14 or 16.
    """

    def __init__(self) -> None:
        self.bits = 8

    def to_8_bits(self, pixels: np.ndarray) -> np.ndarray:
        """``pixels``, uint16 of any shape, with the used bits mapped to uint8."""
        needed = int(pixels.max(initial=0)).bit_length()
        self.bits = max(self.bits, needed + needed % 2)
        return (pixels >> (self.bits - 8)).astype(np.uint8)


def decode_image(data: bytes | np.ndarray, flags: int | None = None, depth: BitDepth | None = None) -> np.ndarray:
    """The picture in the bytes of a JPEG, PNG or what else OpenCV reads.

    Args:
        data: bytes, or uint8 (N,).
        flags: of ``cv2.imdecode``; None is colour, turned as its EXIF orientation says.
        depth: of the stream that a 16-bit picture belongs to; None: its own.

    Returns:
        uint8 (H, W, 3), BGR, or as the flags say; 16-bit pictures become 8-bit unless the flags have IMREAD_ANYDEPTH.

    Raises ImageError where there is none, and where a part is missing: OpenCV may fill that with grey.
    """
    import cv2

    data = np.frombuffer(data, dtype=np.uint8)
    if data.size == 0:
        raise ImageError("is empty")
    flags = cv2.IMREAD_COLOR if flags is None else flags
    as_it_is = bool(flags & cv2.IMREAD_ANYDEPTH)
    flags |= cv2.IMREAD_ANYDEPTH
    jpeg = data[:2].tobytes() == b"\xff\xd8"
    with quiet_opencv():
        image = _decode_jpeg(data.tobytes(), flags) if jpeg else _decode(data, flags)
        if image is not None and not as_it_is and image.dtype not in (np.uint8, np.uint16):
            image = _decode(data, flags & ~cv2.IMREAD_ANYDEPTH)
    if image is None and data[4:8].tobytes() == b"ftyp" and data[8:12].tobytes() in _HEIF_BRANDS:
        raise ImageError("is a HEIC picture, which OpenCV does not read: convert it to JPEG")
    if image is None:
        raise ImageError("is cut off" if jpeg else "cannot be decoded (cut off, or not a picture)")
    return image if as_it_is or image.dtype == np.uint8 else (depth or BitDepth()).to_8_bits(image)


def _decode(data: bytes | np.ndarray, flags: int) -> np.ndarray | None:
    import cv2

    try:
        return cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error:
        return None


def _decode_jpeg(data: bytes, flags: int) -> np.ndarray | None:
    """The picture in a JPEG; None where a part of it is missing.

    What follows its end marker is ignored. One without end marker is whole if its last block is: libjpeg makes
    missing blocks grey. That is only a suspicion, and says nothing of progressive ones; then it is whole if other
    bytes at its end change nothing.
    """
    scan, progressive = _first_scan(data)
    if scan and data.find(b"\xff\xd9", scan) >= 0:
        return _decode(data, flags)
    if not scan:
        return None
    unpadded = data.rstrip(b"\0")
    data = unpadded if len(data) - len(unpadded) >= _PADDING else data
    image = _decode(data + b"\xff\xd9", flags)
    if image is None or (not progressive and np.any(image[-8:, -8:] != 128)):
        return image
    other = _decode(data + b"\x5a" * 256 + b"\xff\xd9", flags)
    return image if other is not None and np.array_equal(image, other) else None


def _first_scan(data: bytes) -> tuple[int, bool]:
    """Where the first scan of a JPEG begins (0: nowhere), and whether it is a progressive one.

    The segments before it may hold a thumbnail, with an end marker of its own.
    """
    place, progressive = 2, False
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xDA:
            return place, progressive
        progressive |= marker in (0xC2, 0xC6, 0xCA, 0xCE)
        place += 1 if marker == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return 0, progressive


def read_image(path: str | os.PathLike[str], flags: int | None = None) -> np.ndarray:
    """The picture in a file, see :func:`decode_image`. Raises OSError, which an ImageError is."""
    try:
        return decode_image(Path(path).read_bytes(), flags)
    except ImageError as error:
        raise ImageError(f"{printable(path)} {error}") from error
    except ValueError as error:  # a name with a zero byte, or with half a surrogate pair
        raise ImageError(f"{os.fspath(path)!r} is not the name of a file ({error})") from error


def write_image(path: str | os.PathLike[str], image: np.ndarray, parameters: Sequence[int] = ()) -> None:
    """Write a picture, in the format of the path's suffix; ``parameters`` of ``cv2.imwrite``. Raises OSError."""
    import cv2

    try:
        with quiet_opencv():
            done, data = cv2.imencode(Path(path).suffix or ".", image, list(parameters))
    except cv2.error as error:
        raise OSError(
            f"{printable(path)}: cannot be written as a picture of shape {image.shape} ({error.err})"
        ) from error
    if not done:
        raise OSError(f"{printable(path)}: cannot be written as a picture of shape {image.shape}")
    Path(path).write_bytes(data.tobytes())


def open_video(source: str | os.PathLike[str]) -> Any:
    """A ``cv2.VideoCapture`` of a file, or of a URL (a str with ``://``), read by FFmpeg; whether it opened is its own.

    OpenCV's other backends read a name as a pattern of image files.
    """
    import cv2

    if isinstance(source, str) and "://" in source:
        with quiet_opencv():
            return cv2.VideoCapture(source, cv2.CAP_FFMPEG)
    with _utf8_path(Path(source)) as name, quiet_opencv():
        return cv2.VideoCapture(name, cv2.CAP_FFMPEG)


class VideoWriter:
    """An MPEG-4 video file, complete once it is closed; a context manager.

    Args:
        path: of the file.
        rate: images per second; the nearest that the codec takes is used.
        size: width and height, pixels.

    Raises OSError where the file cannot be opened, or does not hold the images when it is closed.
    """

    def __init__(self, path: str | os.PathLike[str], rate: float, size: tuple[int, int]) -> None:
        import cv2

        self._path, self._size, self._count = Path(path), size, 0
        # Made in a temporary folder where OpenCV does not take its name.
        self._temporary = None if _is_utf8(self._path) else tempfile.TemporaryDirectory()
        self._made = Path(self._temporary.name) / "video.mp4" if self._temporary else self._path
        self._path.unlink(missing_ok=True)  # what was there is not taken for this video
        with quiet_opencv():
            self._writer = cv2.VideoWriter(str(self._made), cv2.VideoWriter.fourcc(*"mp4v"), codec_rate(rate), size)
        if not self._writer.isOpened():
            self._made.unlink(missing_ok=True)
            raise OSError(f"{printable(path)}: OpenCV cannot write a video of {size[0]}x{size[1]} at {rate:g} Hz")

    def write(self, image: np.ndarray) -> None:
        """Add an image, uint8 (H, W, 3), BGR; one of another size is resized, which OpenCV leaves out in silence."""
        import cv2

        if (image.shape[1], image.shape[0]) != self._size:
            image = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        self._writer.write(image)
        self._count += 1

    def close(self) -> None:
        """Finish the file, and check that it holds the images."""
        import cv2

        if not self._writer.isOpened():
            return
        self._writer.release()
        capture = open_video(self._made)
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        if count != self._count:
            self._made.unlink(missing_ok=True)
            raise OSError(f"{printable(self._path)}: {count} of {self._count} images were written (is the disk full?)")
        if self._temporary:
            shutil.move(self._made, self._path)
            self._temporary.cleanup()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def codec_rate(rate: float) -> float:
    """The rate nearest to ``rate``, images per second, that MPEG-4 can hold: 119.997 Hz becomes 120 Hz."""
    rate = min(max(rate, 0.01), _LARGEST_RATE)
    # OpenCV makes a fraction of it with a power of ten as denominator.
    return next(r for digits in (3, 2, 1, 0) if (r := round(rate, digits)) * 10**digits <= _LARGEST_TIMEBASE)


def is_file(path: Path) -> bool:
    """Whether there is such a file; False also for names that no file can have."""
    try:
        return path.is_file()
    except OSError:  # too long, or in a folder that is not open to us
        return False


def printable(path: str | os.PathLike[str]) -> str:
    """A path for messages: bytes that are not UTF-8 as ``\\xe9``, and a line feed as ``\\n``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace("\n", "\\n")


def _is_utf8(path: str | os.PathLike[str]) -> bool:
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


@contextlib.contextmanager
def _utf8_path(path: Path) -> Iterator[str]:
    """A name of a file that can be opened as long as the context lasts: its own, or that of a link to it."""
    if _is_utf8(path):
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        link = os.path.join(folder, "video" + (path.suffix if _is_utf8(path.suffix) else ""))
        os.symlink(path.absolute(), link)
        yield link


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """Without OpenCV's warnings: each failure is reported once, by an error."""
    import cv2

    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
