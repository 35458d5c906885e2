"""The node behind `hand-recon view` over DDS: it finds the topics, pairs images with hands, and says what is wrong."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
pytest.importorskip("viser")

from hand_recon_ros.msg import TwoHands  # noqa: E402
from rclpy.node import NodeNameNonExistentError  # noqa: E402
from rclpy.time import Time  # noqa: E402
from ros_support import (  # noqa: E402
    HEIGHT,
    WIDTH,
    OnDds,
    camera_info,
    estimate_of,
    hand_model,
    image_message,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from viewer_support import SceneClient  # noqa: E402

from hand_recon_ros.conversions.frames import hand_poses  # noqa: E402
from hand_recon_ros.ros.browsing import BrowsingNode, BrowsingSettings  # noqa: E402
from hand_recon_ros.ros.images import build_compressed_image_message  # noqa: E402
from hand_recon_ros.ros.messages import build_hands_message  # noqa: E402
from hand_recon_ros.types import Side  # noqa: E402
from hand_recon_ros.viewer.frames import ViewedFrame  # noqa: E402

IMAGE, COMPRESSED, INFO, HANDS = "/cam/color", "/cam/color/compressed", "/cam/color_info", "/hand_recon/hands"
GREY = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)


class Screen:
    """In place of a browser: the frames that it is given, with their pictures, and the texts."""

    def __init__(self) -> None:
        self.watched = True
        self.frames: list[ViewedFrame] = []
        self.texts: list[str] = []

    def show(self, frame: ViewedFrame) -> None:
        self.frames.append(frame)

    def say(self, texts: Sequence[str]) -> None:
        self.texts = list(texts)

    def check(self) -> None: ...


class Graph(OnDds):
    """The node, and a client in place of hand_recon: it publishes hands and subscribes to the topics of ``inputs``."""

    def __init__(self, settings: BrowsingSettings | None = None, **inputs: type) -> None:
        self.screen = Screen()
        browser: Any = self.screen
        super().__init__(
            lambda context: BrowsingNode(browser, settings or BrowsingSettings(), hand_model(), context=context)
        )
        for topic, kind in inputs.items():
            self.client.create_subscription(kind, topic, lambda _: None, 1)
        self._hands = self.client.create_publisher(TwoHands, HANDS, 10)

    def ready(self, images: bool = True) -> None:
        """Wait until the node subscribes to the hands, and to the images."""
        self.wait(lambda: self.node.inputs and self.node.inputs.watched == (True, images), "the subscriptions")
        self.wait(lambda: self._hands.get_subscription_count(), "the subscription to the hands")

    def hands(self, stamp: float, frame_id: str = "camera", latency: float = 0.04) -> None:
        estimate = estimate_of()
        header = Header(stamp=Time(nanoseconds=round(stamp * 1e9)).to_msg(), frame_id=frame_id)
        message = build_hands_message(estimate, hand_poses(estimate), header, hand_model(), (WIDTH, HEIGHT), dropped=0)
        message.latency = latency
        arrivals = self.node.inputs.hands
        count = arrivals.count
        self._hands.publish(message)
        self.wait(lambda: arrivals.count > count, "the hands")

    def image(self, stamp: float, topic: str = IMAGE, frame_id: str = "camera") -> None:
        message = image_message(GREY) if topic == IMAGE else build_compressed_image_message(GREY, 90)
        message.header.stamp, message.header.frame_id = Time(nanoseconds=round(stamp * 1e9)).to_msg(), frame_id
        arrivals = self.node.inputs.images
        count = arrivals.count
        publisher, asked = self.publisher(type(message), topic), itertools.count()

        def arrived() -> bool:
            if next(asked) % 200 == 0:  # again about each second: one may be lost on the way
                publisher.publish(message)
            return arrivals.count > count

        self.wait(arrived, "the image", 60.0)

    def info(self, topic: str = INFO) -> None:
        self.publisher(CameraInfo, topic).publish(camera_info())
        self.wait(lambda: self.node.inputs.camera_info is not None, "camera_info")

    def last(self) -> ViewedFrame:
        return self.wait(lambda: self.screen.frames, "a frame")[-1]


@pytest.fixture
def graph() -> Iterator[Graph]:
    with Graph(**{IMAGE: Image, INFO: CameraInfo}) as running:
        yield running


@pytest.mark.parametrize(("topic", "kind"), [(IMAGE, Image), (COMPRESSED, CompressedImage)])
def test_hands_are_shown_with_the_image_that_they_were_found_in(topic: str, kind: type) -> None:
    """Of the topics to which the publisher of the hands subscribes, whatever their names."""
    with Graph(**{topic: kind, INFO: CameraInfo}) as graph:
        graph.ready()
        graph.info()
        for number in range(1, 4):
            graph.image(number, topic)
        graph.hands(2.0)
        frame = graph.last()
        picture = frame.picture()
        assert picture is not None and frame.estimate.stamp == 2.0 and frame.frame_id == "camera"
        assert abs(float(picture.image.mean()) - 90.0) < 2.0 and picture.camera.calibrated
        assert frame.latency == pytest.approx(0.04)
        for side in Side:
            expected = estimate_of().hand(side).vertices
            np.testing.assert_allclose(frame.estimate.hand(side).vertices, expected, atol=1e-5)
        graph.wait(lambda: graph.screen.texts == [], "no problem")


def test_it_subscribes_only_while_a_browser_is_open(graph: Graph) -> None:
    graph.ready()
    graph.screen.watched = False
    graph.wait(lambda: graph.node.inputs.watched == (False, False), "the end of the subscriptions")
    assert not graph.client.count_subscribers(HANDS)
    graph.screen.watched = True
    graph.ready()
    graph.info()
    graph.image(5.0)
    graph.hands(5.0)
    assert graph.last().picture() is not None


def test_hands_without_an_image_are_shown_alone() -> None:
    """Those of a program that has no images, as one that plays a recording of hands."""
    with Graph() as graph:
        graph.ready(images=False)
        graph.hands(1.0, frame_id="/base", latency=float("nan"))
        frame = graph.last()
        assert frame.picture() is None and frame.frame_id == "base" and np.isnan(frame.latency)
        assert graph.node.problems.active() == []


def test_images_are_found_once_their_subscriber_is_known() -> None:
    """The node of a publisher is known a moment after the publisher; and hand_recon subscribes once it is active."""
    with Graph() as graph:
        find, unknown = graph.node.get_subscriber_names_and_types_by_node, []

        def not_yet(name: str, namespace: str) -> Any:
            unknown.append(name)
            if len(unknown) < 3:
                raise NodeNameNonExistentError("cannot find it")
            return find(name, namespace)

        graph.node.get_subscriber_names_and_types_by_node = not_yet
        graph.ready(images=False)
        graph.hands(1.0)
        assert graph.last().picture() is None
        graph.wait(lambda: len(unknown) > 2, "three looks")
        graph.client.create_subscription(Image, IMAGE, lambda _: None, 1)
        graph.ready()
        graph.info(f"{IMAGE.rpartition('/')[0]}/camera_info")
        graph.image(2.0)
        graph.hands(2.0)
        graph.wait(lambda: graph.screen.frames[-1].estimate.stamp == 2.0, "the next hands")
        assert graph.last().picture() is not None


def test_topics_can_be_given() -> None:
    settings = BrowsingSettings(hands=HANDS, image=IMAGE, camera_info="/elsewhere/info")
    with Graph(settings, **{"/depth": Image, IMAGE: Image, INFO: CameraInfo}) as graph:
        graph.ready()
        graph.info("/elsewhere/info")
        graph.image(1.0)
        graph.hands(1.0)
        assert graph.last().picture() is not None


def test_several_images_are_named() -> None:
    with Graph(**{"/depth": Image, IMAGE: Image, INFO: CameraInfo}) as graph:
        reason = f"several topics with images: name one with --image: {IMAGE}, /depth"
        graph.wait(lambda: any(reason in text for text in graph.screen.texts), "the text in the browser")
        graph.ready(images=False)
        graph.hands(1.0)
        assert graph.last().picture() is None


def test_what_is_wrong_is_said_in_the_browser(graph: Graph) -> None:
    graph.ready()
    graph.info()
    graph.image(1.0)
    graph.hands(1.0, frame_id="base")
    assert graph.last().picture() is None
    graph.wait(lambda: any("the hands are in 'base'" in text for text in graph.screen.texts), "the text")
    graph.image(2.0)
    graph.hands(2.0)
    graph.wait(lambda: graph.screen.frames[-1].estimate.stamp == 2.0, "the next frame")
    assert graph.last().picture() is not None
    graph.wait(lambda: graph.screen.texts == [], "the end of the text")


def test_an_image_that_cannot_be_drawn_does_not_end_it(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no ink")

    graph.ready()
    graph.info()
    with monkeypatch.context() as patched:
        patched.setattr("hand_recon_ros.ros.watching.decode", broken)
        graph.image(1.0)
        graph.hands(1.0)
        assert graph.last().picture() is None
        (text,) = graph.node.problems.active(error=True)
        assert "RuntimeError: no ink" in text
    assert graph.last().picture() is not None and graph.node.problems.active() == []


def start(*arguments: str) -> tuple[subprocess.Popen[str], str, list[str]]:
    """`hand-recon view` as a process, its URL and what it printed before."""
    command = [sys.executable, "-m", "hand_recon_ros.cli", "view", "--port", "0", "--json", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return process, found[0], lines
    return process, "", lines


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_shows_the_graph_until_it_is_interrupted(graph: Graph, number: int) -> None:
    process, url, lines = start()
    assert url, lines
    try:
        with SceneClient(url) as client:
            graph.ready()
            infos, images = (graph.publisher(kind, topic) for kind, topic in ((CameraInfo, INFO), (Image, IMAGE)))
            stamps = iter(range(1, 10_000))

            def seen() -> bool:
                stamp = float(next(stamps))
                infos.publish(camera_info())
                graph.image(stamp)
                graph.hands(stamp)
                return client.shown("/right/mesh") and client.shown("/camera")

            graph.wait(lambda: images.get_subscription_count() == 2, "the subscription of the process", timeout=60.0)
            graph.wait(seen, "hands and image in the browser", timeout=60.0)
            assert "| state | TRACKED | TRACKED |" in client.texts and "latency 40 ms" in client.texts
            process.send_signal(number)
            process.send_signal(number)
            output, errors = process.communicate(timeout=60.0)
    finally:
        process.kill()
    assert process.returncode == 0 and "Traceback" not in errors, errors
    result = json.loads(output)
    assert result["source"] is None and result["frames"] >= 1 and result["drawn"] >= 1


def test_a_name_that_is_none_is_one_line() -> None:
    process, _, _ = start("--hands", "/no name")
    _, errors = process.communicate(timeout=60.0)
    assert process.returncode == 1 and "Traceback" not in errors
    assert errors.count("\n") == 1 and "hand-recon view: '/no name' is no name of a topic" in errors


def test_the_process_has_a_lower_priority(graph: Graph) -> None:
    process, url, lines = start()
    assert url, lines
    try:
        own = os.getpriority(os.PRIO_PROCESS, 0)
        wanted = min(own + 10, 19)
        graph.wait(lambda: os.getpriority(os.PRIO_PROCESS, process.pid) == wanted, "the priority", timeout=60.0)
    finally:
        process.terminate()
        process.communicate(timeout=60.0)
