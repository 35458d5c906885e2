"""Sources of images: a photo, a folder of photos, a video file, a webcam or a network stream."""

from __future__ import annotations

import dataclasses
import os
import re
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlparse

import numpy as np

from .image_files import decode_image, open_video, printable, quiet_opencv

__all__ = ["ImageSource", "Live", "Photos", "SourceError", "SourceImage", "Video", "open_source", "resized"]

PHOTO_SUFFIXES = (
    ".avif", ".bmp", ".dib", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff",
    ".webp",
)  # fmt: skip
UNREAD_PHOTO_SUFFIXES = (
    ".arw", ".cr2", ".cr3", ".dng", ".exr", ".hdr", ".heic", ".heif", ".hif", ".jxl", ".nef", ".orf", ".psd", ".raf",
    ".raw", ".rw2", ".svg",
)  # fmt: skip
"""Pictures that are not read; in a folder they are reported, other files are not."""
VIDEO_SUFFIXES = (
    ".3gp", ".avi", ".flv", ".gif", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv",
    ".ts", ".webm", ".wmv", ".y4m",
)  # fmt: skip


class SourceError(RuntimeError):
    """The source cannot be read; the message names it and the way out, in one line."""


@dataclasses.dataclass(frozen=True, eq=False)
class SourceImage:
    """One image of a source.

    Attributes:
        image: uint8 (H, W, 3), BGR.
        number: of the image in the source, from 0 (frame number of a video, place in the sorted folder).
        name: file or device of the image.
        captured: time of capture, seconds since the epoch; None where the source is not live.
        time: of the image in a video, by the file, seconds from its beginning; None of a photo and a live source.
    """

    image: np.ndarray
    number: int
    name: str
    captured: float | None = None
    time: float | None = None


class ImageSource(Protocol):
    """An iterable of images; each iteration starts from the beginning (live sources: from now)."""

    rate: float
    """Images per second of the source; 0 where it has no rate (photos)."""
    live: bool
    """Whether the images are those of a camera, and a late consumer misses some."""
    size: tuple[int, int]
    """Width and height of the first image, pixels."""
    expected: int
    """How many images there are, those included that cannot be read: known after an iteration. 0 of a live source."""
    left_out: dict[str, str]
    """File and why it, or a part of it, was not read, after an iteration."""

    def __iter__(self) -> Iterator[SourceImage]: ...

    def close(self) -> None: ...


def open_source(
    source: str, size: tuple[int, int] = (0, 0), rate: float = 0.0, timeout: float = 5.0, in_order: bool = False
) -> ImageSource:
    """Open a source and check that its first image can be read.

    Args:
        source: path or ``file://`` URL of a photo, of a folder (its photos sorted by name) or of a video file; an index
            ("0") or ``/dev/video*`` path of a webcam; a URL of a network stream. What exists is a path.
        size: width and height to set in a webcam; 0: its default.
        rate: images per second to set in a webcam; 0: its default.
        timeout: of a live source until its first image, seconds.
        in_order: read every image of a network stream, as of a video file; else only its newest.

    Raises SourceError.
    """
    if not source.strip():
        raise SourceError("no source given; expected a photo, a folder, a video file or a webcam index")
    path = source_path(source)
    if path is None:
        source = source.strip()
        return Video(source) if in_order and "://" in source else Live(source, size=size, rate=rate, timeout=timeout)
    if path.is_dir():
        return _folder(path)
    name = printable(path)
    if not path.exists():
        raise SourceError(f"{name}: no such file or folder")
    if path.suffix.lower() in PHOTO_SUFFIXES:
        return Photos([path])
    if path.suffix.lower() in UNREAD_PHOTO_SUFFIXES:
        raise SourceError(f"{name}: pictures of this kind are not read, convert it to JPEG or PNG")
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        # FFmpeg reads a text file as a video of its characters.
        raise SourceError(f"{name}: not a photo ({' '.join(PHOTO_SUFFIXES)}) nor a video ({' '.join(VIDEO_SUFFIXES)})")
    return Video(path)


def source_path(source: str) -> Path | None:
    """The path that a source is, as in :func:`open_source`; None of a webcam and of a network stream."""
    if source.startswith("file://"):
        return Path(unquote(urlparse(source).path))
    for given in (source, source.strip()):
        if os.path.exists(os.path.expanduser(given)) and not given.startswith("/dev/video"):
            return Path(os.path.expanduser(given))
    source = source.strip()
    if re.fullmatch("[0-9]+", source) or source.startswith("/dev/video") or "://" in source:
        return None
    return Path(os.path.expanduser(source))


def _folder(path: Path) -> Photos:
    """The photos in a folder, and why its other pictures and videos are left out."""
    files = sorted(file for file in path.iterdir() if file.is_file())
    photos = [file for file in files if file.suffix.lower() in PHOTO_SUFFIXES]
    others = {}
    for file in files:
        if file.suffix.lower() in UNREAD_PHOTO_SUFFIXES:
            others[str(file)] = "pictures of this kind are not read, convert it to JPEG or PNG"
        elif file.suffix.lower() in VIDEO_SUFFIXES:
            others[str(file)] = "a video among photos is not read, give it by itself"
    if not photos:
        more = f", nor can {printable(next(iter(others)))} be read" if others else ""
        raise SourceError(f"{printable(path)}: no photos in this folder (looked for {' '.join(PHOTO_SUFFIXES)}){more}")
    return Photos(photos, others)


class Photos:
    """Photos in the given order; unreadable ones are left out. Raises SourceError where none can be read.

    Args:
        files: of the photos.
        others: pictures beside them that are left out, and why.
    """

    rate = 0.0
    live = False

    def __init__(self, files: list[Path], others: dict[str, str] | None = None) -> None:
        self.files = files
        self.left_out = dict(others or {})
        self.expected = len(files) + len(self.left_out)
        first = next(iter(self), None)
        if first is None:
            more = f", and none of the other {len(files) - 1} can be read" if len(files) > 1 else ""
            raise SourceError(f"{printable(files[0])} {self.left_out[str(files[0])]}{more}")
        self.size = (first.image.shape[1], first.image.shape[0])

    def __iter__(self) -> Iterator[SourceImage]:
        for number, file in enumerate(self.files):
            try:
                image = decode_image(file.read_bytes())
            except OSError as error:
                self.left_out[str(file)] = str(error.strerror or error)
                continue
            yield SourceImage(image, number, str(file))

    def close(self) -> None:
        """Nothing to release."""


class Video:
    """A video file, or a network stream read in order. Raises SourceError where it cannot be read.

    Where the file has no rate, 30 Hz are assumed. The times of its images are the file's own: the rate of phones'
    videos varies.
    """

    live = False

    def __init__(self, source: Path | str) -> None:
        import cv2

        self.source = source
        self.name = printable(source)
        self.left_out: dict[str, str] = {}
        capture = self._open()
        rate = capture.get(cv2.CAP_PROP_FPS)
        self.rate = float(rate) if np.isfinite(rate) and 0.0 < rate <= 1000.0 else 30.0
        self._stated = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        self.expected = self._stated
        # The first iteration goes on from here: a stream cannot be opened twice.
        self._begun: Generator[SourceImage, None, None] | None = self._images(capture)
        self._first = next(self._begun, None)
        if self._first is None:
            raise SourceError(f"{self.name}: the video has no frame that can be read (cut off?)")
        self.size = (self._first.image.shape[1], self._first.image.shape[0])

    def _open(self) -> Any:
        capture = open_video(self.source)
        if not capture.isOpened():
            capture.release()
            raise SourceError(f"{self.name}: cannot be read as a video (cut off, or not a video?)")
        return capture

    def __iter__(self) -> Generator[SourceImage, None, None]:
        images, first = self._begun, self._first
        self._begun = self._first = None
        if images is not None and first is not None:
            yield first
        yield from images if images is not None else self._images(self._open())

    def _images(self, capture: Any) -> Generator[SourceImage, None, None]:
        import cv2

        try:
            number, last = 0, -1.0 / self.rate
            while True:
                with quiet_opencv():
                    good, image = capture.read()
                if not good:
                    self._end(number, last)
                    return
                time = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
                # Some formats have no times.
                last = time if np.isfinite(time) and time > last else last + 1.0 / self.rate
                yield SourceImage(image, number, str(self.source), time=last)
                number += 1
        finally:
            capture.release()

    def _end(self, count: int, last: float) -> None:
        """Compare what was read with what the file states; where that is an estimate, by the time that is missing."""
        missing = self._stated / self.rate - (last + 1.0 / self.rate)
        cut = count < self._stated and missing > 1.5 / self.rate
        self.expected = self._stated if cut else count
        if cut:
            self.left_out[str(self.source)] = f"{count} of {self._stated} images could be read (cut off?)"

    def close(self) -> None:
        """Release the decoder of an iteration that was not begun; every other one releases its own."""
        if self._begun is not None:
            self._begun.close()


class Live:
    """A webcam or a network stream. A thread reads every image; iterating returns the newest.

    The end of a stream is the end of its images; a webcam that ends was unplugged. Raises SourceError.
    """

    live = True
    expected = 0

    def __init__(self, device: str, size: tuple[int, int], rate: float, timeout: float) -> None:
        import cv2

        self.left_out: dict[str, str] = {}

        self.device = device
        self.timeout = timeout
        with quiet_opencv():
            if device.isdigit():
                self._capture = cv2.VideoCapture(int(device))
            else:
                self._capture = cv2.VideoCapture(device)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(
                f"camera {device}: cannot be opened (is it plugged in, in use, or not permitted? see /dev/video*)"
            )
        if "://" not in device:
            # Uncompressed 720p does not fit through USB 2 at 30 Hz.
            self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            for setting, value in (
                (cv2.CAP_PROP_FRAME_WIDTH, size[0]),
                (cv2.CAP_PROP_FRAME_HEIGHT, size[1]),
                (cv2.CAP_PROP_FPS, rate),
            ):
                if value:
                    self._capture.set(setting, value)
        self.rate = float(self._capture.get(cv2.CAP_PROP_FPS) or 0.0)
        self._newest: SourceImage | None = None
        self._ended = False
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="capture", daemon=True)
        self._thread.start()
        first = self._wait(after=-1)
        if first is None:
            self.close()
            raise SourceError(f"camera {device}: opened, but no image came within {timeout:g} s")
        self.size = (first.image.shape[1], first.image.shape[0])

    def _read(self) -> None:
        number = 0
        while not self._stop.is_set():
            good = self._capture.grab()
            captured = time.time()
            image = self._capture.retrieve()[1] if good else None
            with self._changed:
                if image is None:
                    self._ended = True
                else:
                    self._newest = SourceImage(image, number, self.device, captured)
                    number += 1
                self._changed.notify_all()
            if image is None:
                return

    def _wait(self, after: int) -> SourceImage | None:
        def newer() -> bool:
            return self._ended or self._newest is not None and self._newest.number > after

        with self._changed:
            self._changed.wait_for(newer, timeout=self.timeout)
            newest = self._newest
        return newest if newest is not None and newest.number > after else None

    def __iter__(self) -> Iterator[SourceImage]:
        number = -1
        while not self._stop.is_set():
            newest = self._wait(after=number)
            if newest is None:
                if self._stop.is_set() or (self._ended and "://" in self.device):
                    return
                raise SourceError(f"camera {self.device}: no more images (unplugged?)")
            number = newest.number
            yield newest

    def close(self) -> None:
        """Stop the thread and release the camera."""
        self._stop.set()
        self._thread.join(timeout=self.timeout)
        if not self._thread.is_alive():  # some drivers crash when released during a read
            self._capture.release()


def resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """``image`` (H, W, 3) resized; a side of 0 keeps the aspect ratio, and both 0 keep the size."""
    import cv2

    height_now, width_now = image.shape[:2]
    if not width and not height:
        return image
    width = width or max(1, round(width_now * height / height_now))
    height = height or max(1, round(height_now * width / width_now))
    if (width, height) == (width_now, height_now):
        return image
    shrinking = width < width_now
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
