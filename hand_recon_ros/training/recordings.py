"""A user's recordings, read for pseudo-labels: videos and rendered clips as streams, pictures one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..calibration import calibration_path, image_cameras
from ..camera import Camera
from ..config import ConfigError
from ..image_files import printable
from ..sources import ImageSource, Live, Photos, SourceError, open_source, source_path
from ..synthetic.clips import Clip, load_clip


@dataclasses.dataclass(frozen=True, eq=False)
class RecordedImage:
    """One image of a recording.

    Attributes:
        image: uint8 (H, W, 3) BGR.
        camera: that took it.
        number: in the recording, from 0.
        time: seconds from the beginning; of pictures their number.
        file: the picture on disk; None of a video.
    """

    image: np.ndarray
    camera: Camera
    number: int
    time: float
    file: Path | None


class Recording:
    """One recording.

    Attributes:
        name: as it was given.
        is_stream: whether its images follow each other, so that hands are tracked through them.
        clip: of a rendered clip, with its ground truth; else None.
        left_out: file and why it, or a part of it, was not read, after an iteration.
        files: those that are read.
    """

    def __init__(self, name: str, camera_of: Callable[[np.ndarray], Camera]) -> None:
        """Open a video, a picture, a folder of pictures, or the folder of a rendered clip.

        Raises SourceError where it cannot be read, or is a camera, which has no end.
        """
        self.name, self._camera_of = name, camera_of
        self.left_out: dict[str, str] = {}
        self.clip: Clip | None = None
        self._images: ImageSource | None = None
        path = source_path(name)
        if path is not None and (path / "truth.npz").is_file():
            self.clip = _clip(path)
            self.is_stream, pictures = True, path / "images"
            self.files = [*sorted(pictures.glob("*.png")), *path.glob("clip.mp4"), path / "truth.npz"]
            return
        self._images = open_source(name, in_order=True)
        if isinstance(self._images, Live):
            self._images.close()
            raise SourceError(f"{name}: a camera has no end; record a video first")
        self.is_stream = not isinstance(self._images, Photos)
        if isinstance(self._images, Photos):
            self.files = list(self._images.files)
        else:
            self.files = [] if path is None else [path]

    def __iter__(self) -> Iterator[RecordedImage]:
        """The images in order. Raises CameraError where the calibration is for another aspect ratio."""
        if self.clip is not None:
            yield from self._rendered(self.clip)
            return
        assert self._images is not None
        for item in self._images:
            time = item.time if item.time is not None else float(item.number)
            file = None if self.is_stream else Path(item.name)
            yield RecordedImage(item.image, self._camera_of(item.image), item.number, time, file)
        self.left_out = dict(self._images.left_out)

    def _rendered(self, clip: Clip) -> Iterator[RecordedImage]:
        pictures = clip.folder / "images"
        try:
            for number, image in enumerate(clip.images()):
                file = pictures / f"{number:06d}.png" if pictures.is_dir() else None
                yield RecordedImage(image, clip.camera, number, float(clip.truth["stamps"][number]), file)
        except OSError as error:
            self.left_out[str(clip.folder)] = str(error)

    def close(self) -> None:
        """Release the decoder."""
        if self._images is not None:
            self._images.close()


def open_recordings(names: list[str], calibration: str | None, fov: float | None, out: Path) -> list[Recording]:
    """The recordings, all checked before the first is read.

    Args:
        names: files, folders or URLs.
        calibration: file of the camera that took all but the rendered clips, which have their own; or None.
        fov: its field of view across the longer side, degrees, where there is no calibration; None: 60.
        out: folder that will be written to.

    Raises SourceError and CameraError, and ConfigError for options that do not go together, or an ``out`` among the
    recordings.
    """
    if calibration is not None and fov is not None:
        raise ConfigError("--calibration states the field of view: leave out --fov")
    if len(set(names)) < len(names):
        raise ConfigError("a recording is named twice: its labels would count twice")
    camera_of = image_cameras(calibration, 60.0 if fov is None else fov)
    recordings: list[Recording] = []
    try:
        for name in names:
            recordings.append(Recording(name, camera_of))
            given, written = source_path(name), out.resolve()
            folder = None if given is None else given.resolve()
            if folder is not None and (written == folder or folder in written.parents or written in folder.parents):
                raise ConfigError(
                    f"{printable(out)}: results would be written among the recordings; name another folder"
                )
        if (calibration or fov is not None) and all(recording.clip is not None for recording in recordings):
            raise ConfigError("a rendered clip has a camera.yaml of its own: leave out --calibration and --fov")
    except Exception:
        for recording in recordings:
            recording.close()
        raise
    return recordings


def read_files(recordings: list[Recording], calibration: str | None, encoder: str) -> list[Path]:
    """The files that are read, none of which may be written over."""
    files = [file for recording in recordings for file in recording.files]
    return [*files, *([Path(calibration_path(calibration))] if calibration else []), Path(encoder)]


def _clip(folder: Path) -> Clip:
    try:
        return load_clip(folder)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise SourceError(f"{printable(folder)}: a rendered clip that cannot be read: {error}") from error
