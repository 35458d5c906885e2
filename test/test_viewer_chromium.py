"""The picture that headless Chromium shows of the viewer: the hands are where they are, and gone where LOST."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("viser")

from chromium_support import Chromium, chromium_path  # noqa: E402
from ros_support import CAMERA, HEIGHT, WIDTH, estimate_of  # noqa: E402

from hand_recon_ros.types import Side  # noqa: E402
from hand_recon_ros.viewer.browser import Browser  # noqa: E402
from hand_recon_ros.viewer.frames import Picture, ViewedFrame  # noqa: E402
from hand_recon_ros.viewer.scene import IMAGE_DEPTH, LOOK_AT, VIEWPOINT  # noqa: E402

if chromium_path() is None:
    pytest.skip("no Chromium: apt install chromium, or set CHROMIUM to one", allow_module_level=True)

PAGE = 1200, 700
FIELD_OF_VIEW = np.radians(75.0)
"""Of viser's camera, vertical."""
GREEN = np.full((HEIGHT, WIDTH, 3), (40, 200, 40), np.uint8)
PATIENCE = 180.0


def pixels(points: np.ndarray) -> np.ndarray:
    """Where points (N, 3) of the scene are on the page, (N, 2), seen from the viewpoint of a new browser."""
    forward = np.array(LOOK_AT) - VIEWPOINT
    forward /= np.linalg.norm(forward)
    right = np.cross(np.array([0.0, 1.0, 0.0]), forward)  # y is down
    right /= np.linalg.norm(right)
    x, y, z = np.stack([right, np.cross(forward, right), forward]) @ (points - VIEWPOINT).T
    focal = 0.5 * PAGE[1] / np.tan(0.5 * FIELD_OF_VIEW)
    return np.stack([0.5 * PAGE[0] + focal * x / z, 0.5 * PAGE[1] + focal * y / z], axis=1)


def colours(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The colours, BGR (N, 3), where points are on the page."""
    u, v = np.rint(pixels(points)).astype(int).T
    assert u.min() >= 0 and u.max() < 860, "left of the panel"
    return picture[v, u].astype(int)


def blue(found: np.ndarray) -> float:
    """The share that is bluer than red, as the mesh of the left hand is."""
    return float((found[:, 0] > found[:, 2] + 25).mean())


def orange(found: np.ndarray) -> float:
    """The share that is redder than blue, as the mesh of the right hand is."""
    return float((found[:, 2] > found[:, 0] + 25).mean())


def white(found: np.ndarray) -> float:
    """The share of the background."""
    return float((found > 250).all(axis=1).mean())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser("127.0.0.1", 0, 30.0) as running:
        yield running


@pytest.fixture(scope="module")
def chromium(browser: Browser) -> Iterator[Chromium]:
    with Chromium(*PAGE) as running:
        running.open(browser.url)
        yield running


class Watcher:
    """Shows hands and looks at the page until it shows them."""

    def __init__(self, browser: Browser, chromium: Chromium, file: Path) -> None:
        self._browser, self._chromium, self._file = browser, chromium, file

    def see(self, left: bool, right: bool, picture: bool, right_one: Callable[[np.ndarray], bool]) -> np.ndarray:
        """The page once it is as expected; what it shows after PATIENCE seconds is the test's to judge."""
        end = time.monotonic() + PATIENCE
        image = Picture(GREEN, CAMERA) if picture else None
        self._browser.show(ViewedFrame(estimate_of(left, right), lambda: image, 0.02))
        seen = self._chromium.picture(self._file)
        while not right_one(seen) and time.monotonic() < end:
            time.sleep(0.5)
            seen = self._chromium.picture(self._file)
        return seen


@pytest.fixture
def watcher(browser: Browser, chromium: Chromium, tmp_path: Path) -> Watcher:
    return Watcher(browser, chromium, tmp_path / "page.png")


LEFT, RIGHT = (estimate_of().hand(side).vertices for side in Side)


@pytest.mark.slow
def test_hands_are_where_they_are_and_gone_when_lost(watcher: Watcher) -> None:
    def both(seen: np.ndarray) -> bool:
        return blue(colours(seen, LEFT)) > 0.6 and orange(colours(seen, RIGHT)) > 0.6

    seen = watcher.see(True, True, False, both)
    assert both(seen), (blue(colours(seen, LEFT)), orange(colours(seen, RIGHT)))
    # A hand's own places, and no others: those where it was if it were mirrored, or ten centimetres higher, are empty.
    for vertices in (LEFT * [1.0, -1.0, 1.0] - [0.0, 0.25, 0.0], RIGHT - [0.0, 0.15, 0.0]):
        assert white(colours(seen, vertices)) > 0.95

    def no_right(seen: np.ndarray) -> bool:
        return blue(colours(seen, LEFT)) > 0.6 and white(colours(seen, RIGHT)) > 0.99

    seen = watcher.see(True, False, False, no_right)
    assert no_right(seen), (blue(colours(seen, LEFT)), white(colours(seen, RIGHT)))

    def none(seen: np.ndarray) -> bool:
        return white(colours(seen, LEFT)) > 0.99 and white(colours(seen, RIGHT)) > 0.99

    seen = watcher.see(False, False, False, none)
    assert none(seen), (white(colours(seen, LEFT)), white(colours(seen, RIGHT)))
    assert both(watcher.see(True, True, False, both)), "they come back"


@pytest.mark.slow
def test_the_image_is_in_the_frustum_of_the_camera(watcher: Watcher) -> None:
    """The image plane lies where the rays of the image's corners reach its depth."""
    u, v = np.meshgrid(np.linspace(0.03, 0.97, 12) * WIDTH, np.linspace(0.03, 0.97, 12) * HEIGHT)
    rays = np.linalg.inv(CAMERA.K) @ np.stack([u.ravel(), v.ravel(), np.ones(u.size)])
    inside = (IMAGE_DEPTH * rays).T
    outside = inside[np.abs(u.ravel() / WIDTH - 0.5) > 0.4] * [1.4, 1.0, 1.0]

    def image(seen: np.ndarray) -> bool:
        found = colours(seen, inside)
        return bool(((found[:, 1] > found[:, 0] + 60) & (found[:, 1] > found[:, 2] + 60)).mean() > 0.85)

    seen = watcher.see(True, True, True, image)
    assert image(seen)
    green = colours(seen, outside)
    assert (green[:, 1] > green[:, 0] + 60).mean() < 0.1

    def nothing(seen: np.ndarray) -> bool:
        return white(colours(seen, inside)) > 0.99

    assert nothing(watcher.see(True, True, False, nothing))
