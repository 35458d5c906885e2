"""Sources of images: a photo, a folder of photos, a video file, a webcam or a network stream."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

__all__ = ["ImageSource", "Live", "Photos", "SourceError", "SourceImage", "Video", "open_source", "resized"]

PHOTO_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
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
    """

    image: np.ndarray
    number: int
    name: str
    captured: float | None = None


class ImageSource(Protocol):
    """An iterable of images; each iteration starts from the beginning (live sources: from now)."""

    rate: float
    """Images per second of the source; 0 where it has no rate (photos)."""
    live: bool
    """Whether the images are those of a camera, and a late consumer misses some."""
    size: tuple[int, int]
    """Width and height of the first image, pixels."""

    def __iter__(self) -> Iterator[SourceImage]: ...

    def close(self) -> None: ...


def open_source(source: str, size: tuple[int, int] = (0, 0), rate: float = 0.0, timeout: float = 5.0) -> ImageSource:
    """Open a source and check that its first image can be read.

    Args:
        source: path of a photo, of a folder (its photos sorted by name) or of a video file; an index ("0") or
            ``/dev/video*`` path of a webcam; a URL of a network stream.
        size: width and height to set in a webcam; 0: its default.
        rate: images per second to set in a webcam; 0: its default.
        timeout: of a live source until its first image, seconds.

    Raises SourceError.
    """
    source = source.strip()
    if not source:
        raise SourceError("no source given; expected a photo, a folder, a video file or a webcam index")
    if source.isdigit() or source.startswith("/dev/video") or "://" in source:
        return Live(source, size=size, rate=rate, timeout=timeout)
    path = Path(source).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in PHOTO_SUFFIXES and file.is_file())
        if not files:
            raise SourceError(f"{path}: no photos in this folder (looked for {' '.join(PHOTO_SUFFIXES)})")
        return Photos(files)
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder")
    if path.suffix.lower() in PHOTO_SUFFIXES:
        return Photos([path])
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        # FFmpeg reads a text file as a video of its characters.
        raise SourceError(f"{path}: not a photo ({' '.join(PHOTO_SUFFIXES)}) nor a video ({' '.join(VIDEO_SUFFIXES)})")
    return Video(path)


class Photos:
    """Photos in the given order; unreadable ones are left out. Raises SourceError where none can be read."""

    rate = 0.0
    live = False

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.unreadable: set[Path] = set()
        first = next(iter(self), None)
        if first is None:
            more = f" nor any of the other {len(files) - 1}" if len(files) > 1 else ""
            raise SourceError(f"{files[0]}{more} can be read as an image (truncated, or not an image?)")
        self.size = (first.image.shape[1], first.image.shape[0])

    def __iter__(self) -> Iterator[SourceImage]:
        import cv2

        for number, file in enumerate(self.files):
            with _quiet_opencv():
                image = cv2.imread(str(file), cv2.IMREAD_COLOR)
            if image is None:
                self.unreadable.add(file)
                continue
            yield SourceImage(image, number, str(file))

    def close(self) -> None:
        """Nothing to release."""


class Video:
    """A video file; 30 Hz are assumed where the file has no rate. Raises SourceError where it cannot be read."""

    live = False

    def __init__(self, path: Path) -> None:
        import cv2

        self.path = path
        capture = self._open()
        rate = capture.get(cv2.CAP_PROP_FPS)
        capture.release()
        self.rate = float(rate) if np.isfinite(rate) and 0.0 < rate <= 1000.0 else 30.0
        iterator = iter(self)
        first = next(iterator, None)
        iterator.close()
        if first is None:
            raise SourceError(f"{path}: the video has no frame that can be read (truncated?)")
        self.size = (first.image.shape[1], first.image.shape[0])

    def _open(self) -> Any:
        import cv2

        # FFmpeg only: OpenCV's other backends read the name as a pattern of image files.
        with _quiet_opencv():
            capture = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            capture.release()
            raise SourceError(f"{self.path}: cannot be read as a video (truncated, or not a video?)")
        return capture

    def __iter__(self) -> Generator[SourceImage, None, None]:
        capture = self._open()
        try:
            number = 0
            while True:
                with _quiet_opencv():
                    good, image = capture.read()
                if not good:
                    return
                yield SourceImage(image, number, str(self.path))
                number += 1
        finally:
            capture.release()

    def close(self) -> None:
        """Nothing to release: every iteration has its own decoder."""


class Live:
    """A webcam or a network stream. A thread reads every image; iterating returns the newest. Raises SourceError."""

    live = True

    def __init__(self, device: str, size: tuple[int, int], rate: float, timeout: float) -> None:
        import cv2

        self.device = device
        self.timeout = timeout
        with _quiet_opencv():
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
                if self._stop.is_set():
                    return
                raise SourceError(f"camera {self.device}: no more images (unplugged, or the stream has ended)")
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


@contextlib.contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Without OpenCV's warnings: each failure is reported once, by a SourceError."""
    import cv2

    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
