"""What ``hand-recon view`` shows, until it is interrupted: a recording, photos, a video or a camera."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from ..config import ReconstructorConfig
from ..conversions.interrupts import setter
from ..hand_model import load_hand_model
from ..image_files import printable
from ..reconstructor import TwoHandReconstructor
from ..sources import source_path
from .browser import Browser
from .files import ViewedImages
from .frames import ViewedFrame, ViewError
from .playback import Playback

_RECORDINGS = (".mcap", ".db3")


@dataclasses.dataclass(frozen=True)
class ViewOptions:
    """What belongs to a source.

    Attributes:
        fov: field of view across the longer image side where there is no calibration, degrees.
        calibration: path of a calibration file.
        hands, image, camera_info, depth: topics of a recording; None takes those that are there.
        rectified: the images of a recording are rectified.
        reconstruct: reconstruct the images of a recording that has hands as well.
    """

    fov: float = 60.0
    calibration: str | None = None
    hands: str | None = None
    image: str | None = None
    camera_info: str | None = None
    depth: str | None = None
    rectified: bool = False
    reconstruct: bool = False


class ViewSource(Protocol):
    """Something to show.

    Attributes:
        live: whether its frames come whether somebody looks or not; others begin when the first browser is opened.
    """

    live: bool

    def frames(self, playback: Playback) -> Iterator[ViewedFrame]: ...

    def problems(self) -> list[str]: ...

    def close(self) -> None: ...


def recording_path(source: str) -> Path | None:
    """The path of a recording of ROS 2; None of another source."""
    path = source_path(source)
    recorded = path is not None and (path.suffix in _RECORDINGS or (path / "metadata.yaml").is_file())
    return path if recorded else None


def open_view_source(
    source: str,
    options: ViewOptions,
    config: ReconstructorConfig,
    make: Callable[[ReconstructorConfig], TwoHandReconstructor] = TwoHandReconstructor,
) -> ViewSource:
    """Open what is to be shown; ``make`` makes the reconstructor where one is needed.

    Raises ViewError, SourceError, BagError, CameraError, HandModelError, and what ``make`` raises.
    """
    path = recording_path(source)
    if path is None:
        return ViewedImages(source, options.calibration, options.fov, lambda: make(config))
    from ..bags.images import ImageOptions
    from .recordings import ViewedHands, ViewedRecording, hands_topic_of, image_topic_of

    belongs = ImageOptions(options.camera_info, options.calibration, options.fov, options.rectified, options.depth)
    hands = None if options.reconstruct else hands_topic_of(path, options.hands)
    image = image_topic_of(path, options.image)
    if hands is not None:
        model = load_hand_model(config.hand_model)
        return ViewedHands(path, hands, image, belongs, model, config.mirrored_input)
    if image is None:
        raise ViewError(f"{printable(path)}: the recording has neither hands (hand_recon_ros/TwoHands) nor images")
    return ViewedRecording(path, image, belongs, lambda: make(config))


def show_source(source: ViewSource, browser: Browser, stop: threading.Event, loop: bool = False) -> int:
    """Show a source until ``stop`` is set, also after its end; returns how many frames there were.

    Args:
        source: closed at the end.
        browser: shows it.
        stop: ends it.
        loop: begin again at the end.
    """
    playback = Playback(stop)
    count = 0
    try:
        if not source.live:
            browser.wait_for_browser(stop)
        while not stop.is_set():
            before = count
            for frame in source.frames(playback):
                if stop.is_set():
                    break
                browser.check()
                browser.show(frame)
                browser.say(source.problems())
                count += 1
            browser.say(source.problems())
            if not loop or count == before:
                break
        if not stop.is_set():
            print(f"the end, after {count} images; Ctrl-C ends the view", file=sys.stderr)
        stop.wait()
    finally:
        source.close()
    return count


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, however often they come."""
    stop = threading.Event()
    set_stop = setter(stop)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, lambda *_: set_stop())
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
