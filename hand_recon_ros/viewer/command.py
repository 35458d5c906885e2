"""The command ``hand-recon view``: which options belong to which source, and what is shown of it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import sys
import threading
from collections.abc import Mapping
from typing import Any

from ..camera import Camera
from ..config import ReconstructorConfig, reconstructor_config
from ..hand_model import load_hand_model
from ..image_files import printable
from .browser import Browser
from .frames import ViewError
from .view import ViewOptions, open_view_source, recording_path, show_source, stopped_by_signals

_OF_VIEW = ("source", "host", "port", "rate", "config", "set", "fov")
"""The options that `hand-recon view` takes for every source, and below those that it takes for each kind."""
_OF_VIEW_KINDS = {
    "the live graph": ("hands", "image", "camera_info", "rectified"),
    "a recording": (
        "hands", "image", "camera_info", "rectified", "calibration", "depth", "reconstruct", "loop",
    ),
    "images": ("calibration", "loop"),
}  # fmt: skip


def view(options: argparse.Namespace, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Show a source until the process is interrupted.

    Args:
        options: of the command line, see ``cli.py``.
        settings: of the reconstruction, over those of the file ``options.config``.

    Returns:
        {"source", "url", "frames", "drawn"}: frames that there were to show, and those that were drawn.

    Raises ViewError, and what the source raises.
    """
    source = options.source
    kind = "the live graph" if source is None else "a recording" if recording_path(source) else "images"
    _check_view_options(options, kind)
    if not options.rate > 0.0:
        raise ViewError(f"--rate must be greater than 0, got {options.rate:g}")
    Camera.from_fov(2, 2, options.fov)  # raises CameraError now, and not for the first image
    config = reconstructor_config(options.config, **settings)
    with stopped_by_signals() as stop, contextlib.ExitStack() as stack:
        shown = None
        if source is None:
            _check_ros()
        else:
            fields = [field.name for field in dataclasses.fields(ViewOptions)]
            belongs = ViewOptions(**{name: getattr(options, name) for name in fields})
            shown = open_view_source(source, belongs, config)
            stack.callback(shown.close)
        browser = stack.enter_context(Browser(options.host, options.port, options.rate))
        what = "the hands of the ROS graph" if source is None else printable(source)
        print(f"{what} at {browser.url}; Ctrl-C ends", file=sys.stderr)
        if shown is None:
            frames = _view_live(options, config, browser, stop)
        else:
            frames = show_source(shown, browser, stop, options.loop)
        return {"source": source, "url": browser.url, "frames": frames, "drawn": browser.drawn}


def _check_view_options(options: argparse.Namespace, kind: str) -> None:
    known = {"command", "json", "line", "run", "default_of", *_OF_VIEW, *_OF_VIEW_KINDS[kind]}
    others = {name: value for name, value in vars(options).items() if name not in known}
    given = [name for name, value in others.items() if value != options.default_of(name)]
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ViewError(f"the source is {kind}: leave out {names}")


def _check_ros() -> None:
    for module, what in (("rclpy", "source a ROS 2 installation"), ("hand_recon_ros.msg", "build the package in it")):
        if not _is_installed(module):
            raise ViewError(
                f"without a source the hands of the ROS graph are shown, which needs {module}: {what}, or name a"
                " recording, a video or a webcam"
            )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _view_live(
    options: argparse.Namespace, config: ReconstructorConfig, browser: Browser, stop: threading.Event
) -> int:
    from ..ros.browsing import BrowsingSettings, show_live_hands

    settings = BrowsingSettings(
        hands=options.hands or BrowsingSettings.hands,
        image=options.image,
        camera_info=options.camera_info,
        rectified=options.rectified,
        fallback_fov=options.fov,
        mirrored_input=config.mirrored_input,
    )
    return show_live_hands(browser, settings, load_hand_model(config.hand_model), stop)
