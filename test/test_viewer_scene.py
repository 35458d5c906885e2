"""What a browser gets of the viewer: both hands, the camera and the panel, and only the newest of it."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

viser = pytest.importorskip("viser")

from ros_support import CAMERA, HEIGHT, WIDTH, estimate_of, hand_estimate  # noqa: E402
from viewer_support import SceneClient  # noqa: E402

from hand_recon_ros.camera import Camera  # noqa: E402
from hand_recon_ros.geometry.rotations import quaternion_matrices  # noqa: E402
from hand_recon_ros.overlay import OPACITY  # noqa: E402
from hand_recon_ros.skeleton import BONES  # noqa: E402
from hand_recon_ros.types import HandState, ScaleSource, Side, TwoHandEstimate  # noqa: E402
from hand_recon_ros.viewer.browser import Browser  # noqa: E402
from hand_recon_ros.viewer.frames import Picture, ViewedFrame, ViewError  # noqa: E402
from hand_recon_ros.viewer.scene import IMAGE_DEPTH, IMAGE_WIDTH  # noqa: E402

GRADIENT = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
GRADIENT[..., 2] = np.linspace(0, 255, WIDTH)  # red from left to right
GRADIENT[..., 1] = np.linspace(0, 255, HEIGHT)[:, None]  # green from top to bottom


@pytest.fixture
def browser() -> Iterator[Browser]:
    with Browser("127.0.0.1", 0, 240.0) as running:
        yield running


@pytest.fixture
def client(browser: Browser) -> Iterator[SceneClient]:
    with SceneClient(browser.url) as running:
        running.wait(lambda: browser.watched, "the connection")
        yield running


def frame_of(estimate: TwoHandEstimate, image: np.ndarray | None = GRADIENT, camera: Camera = CAMERA, **fields: Any):
    return ViewedFrame(estimate, lambda: None if image is None else Picture(image, camera), **fields)


def draw(browser: Browser, frame: ViewedFrame) -> None:
    """Let a frame be drawn."""
    count = browser.drawn
    browser.show(frame)
    end = time.monotonic() + 30.0
    while browser.drawn == count:
        browser.check()
        assert time.monotonic() < end, "waited for a frame to be drawn"
        time.sleep(0.002)


def test_an_estimate_is_in_the_scene(browser: Browser, client: SceneClient) -> None:
    estimate = estimate_of(stamp=12.5)
    draw(browser, frame_of(estimate, latency=0.034, frame_id="camera_optical"))
    client.wait(lambda: "12.500" in client.texts and client.shown("/camera"), "the frame")
    for side in Side:
        hand, name = estimate.hand(side), f"/{side.label}"
        assert client.shown(name)
        vertices = client.array(f"{name}/mesh", "vertices", -1, 3)
        np.testing.assert_allclose(vertices, hand.vertices, atol=1e-6)
        np.testing.assert_array_equal(client.array(f"{name}/mesh", "faces", -1, 3), hand.faces)
        assert client.nodes[f"{name}/mesh"]["opacity"] == OPACITY[HandState.TRACKED]
        bones = client.array(f"{name}/skeleton", "points", -1, 2, 3)
        np.testing.assert_allclose(bones, hand.joints[np.array(BONES)], atol=1e-6)
        np.testing.assert_allclose(client.array(f"{name}/keypoints", "points", -1, 3), hand.joints, atol=1e-6)
        wrist = client.poses[f"{name}/wrist"]
        w, x, y, z = wrist["wxyz"]
        np.testing.assert_allclose(quaternion_matrices(np.array([x, y, z, w])), hand.wrist_pose[:3, :3], atol=1e-6)
        np.testing.assert_allclose(wrist["position"], hand.wrist_pose[:3, 3], atol=1e-6)
        assert client.nodes[f"{name}/label"]["text"] == f"{side.label} TRACKED"
        assert f"{np.linalg.norm(hand.joints[0]):.3f} m" in client.texts
    for text in ("| state | TRACKED | TRACKED |", "| scale | PRIOR | PRIOR |", "| std. dev. | 12 mm | 12 mm |",
                 "processing 2 ms", "latency 34 ms", "camera calibrated", "`camera_optical`"):  # fmt: skip
        assert text in client.texts
    assert np.abs(client.image.astype(int) - GRADIENT).mean() < 4.0
    frustum = client.nodes["/camera"]
    assert frustum["fov"] == pytest.approx(2.0 * np.arctan(0.5 * HEIGHT / CAMERA.K[1, 1]))
    assert frustum["aspect"] == pytest.approx(WIDTH / HEIGHT)


def test_lost_hands_disappear_and_come_back(browser: Browser, client: SceneClient) -> None:
    def state(left: bool, right: bool) -> None:
        draw(browser, frame_of(estimate_of(left, right)))
        client.wait(lambda: (client.shown("/left/mesh"), client.shown("/right/mesh")) == (left, right), "the hands")
        assert (client.shown("/left/skeleton"), client.shown("/right/wrist")) == (left, right)

    draw(browser, frame_of(estimate_of(False, False)))
    client.wait(lambda: "| state | LOST | LOST |" in client.texts, "the panel")
    assert not client.shown("/left") and not client.shown("/right") and client.shown("/camera")
    for left, right in ((True, True), (True, False), (False, False), (False, True)):
        state(left, right)
    predicted = dataclasses.replace(estimate_of(), left=hand_estimate(Side.LEFT, HandState.PREDICTED))
    draw(browser, frame_of(predicted))
    client.wait(lambda: "| state | PREDICTED | TRACKED |" in client.texts, "the panel")
    assert client.nodes["/left/mesh"]["opacity"] == OPACITY[HandState.PREDICTED]
    assert client.nodes["/left/label"]["text"] == "left PREDICTED"


def test_hands_without_a_mesh_have_a_skeleton(browser: Browser, client: SceneClient) -> None:
    draw(browser, frame_of(estimate_of()))
    client.wait(lambda: client.shown("/left/mesh"), "the mesh")
    left = hand_estimate(Side.LEFT)
    bare = dataclasses.replace(left, mesh=lambda: np.zeros((0, 3)), faces=np.zeros((0, 3), np.int32))
    draw(browser, frame_of(dataclasses.replace(estimate_of(), left=bare)))
    client.wait(lambda: not client.shown("/left/mesh"), "the mesh to go")
    assert client.shown("/left/skeleton") and client.shown("/right/mesh")


def test_the_image_is_that_of_the_scene(browser: Browser, client: SceneClient) -> None:
    """Reduced where it is large, turned back where it is mirrored, away where there is none, of its camera's shape."""
    large = np.kron(GRADIENT, np.ones((4, 4, 1), np.uint8))
    center = np.array([0.12, 0.0, 0.0])  # as of the second camera of a stereo pair
    camera = Camera(K=CAMERA.K * [[8.0], [4.0], [1.0]], width=4 * WIDTH, height=4 * HEIGHT, center=center)
    mirrored = dataclasses.replace(estimate_of(camera=camera), mirrored=True, calibrated=False)
    draw(browser, frame_of(mirrored, large, camera))
    client.wait(lambda: client.shown("/camera"), "the image")
    height = round(IMAGE_WIDTH * HEIGHT / WIDTH)
    assert client.image.shape == (height, IMAGE_WIDTH, 3)
    assert client.image[height // 2, 20, 2] > 200 > 50 > client.image[height // 2, -20, 2]
    frustum = client.nodes["/camera"]
    assert frustum["aspect"] == pytest.approx(0.5 * WIDTH / HEIGHT)
    half_width, half_height = 0.5 * WIDTH / (2.0 * CAMERA.K[0, 0]), 0.5 * HEIGHT / CAMERA.K[1, 1]
    assert frustum["scale"] ** 3 == pytest.approx(IMAGE_DEPTH**3 * half_width * half_height / 3.0)
    client.wait(lambda: "/camera" in client.poses, "the place of the camera")
    np.testing.assert_allclose(client.poses["/camera"]["position"], center)
    client.wait(lambda: "not calibrated" in client.texts, "the panel")
    draw(browser, frame_of(estimate_of(), None))
    client.wait(lambda: not client.shown("/camera"), "the image to go")


def test_the_panel_says_where_the_scale_comes_from_and_what_is_wrong(browser: Browser, client: SceneClient) -> None:
    left = dataclasses.replace(hand_estimate(Side.LEFT), scale_source=ScaleSource.DEPTH, position_stddev=0.003)
    draw(browser, frame_of(dataclasses.replace(estimate_of(), left=left)))
    client.wait(lambda: "| scale | DEPTH | PRIOR |" in client.texts, "the panel")
    assert "| std. dev. | 3 mm | 12 mm |" in client.texts and "latency unknown" in client.texts
    browser.say(["nobody publishes on /hands"])
    client.wait(lambda: "nobody publishes on /hands" in client.texts, "the text")
    browser.say([])
    client.wait(lambda: "nobody publishes" not in client.texts, "the end of the text")


def test_processing_and_latency_are_plotted_over_time(browser: Browser, client: SceneClient) -> None:
    for number in range(8):
        estimate = dataclasses.replace(estimate_of(stamp=100.0 + number), timings={"total": 0.02 + 0.001 * number})
        draw(browser, frame_of(estimate, latency=0.05 if number > 3 else float("nan")))
    client.wait(lambda: len(client.plots) == 2 and len(client.plots[1][0]) == 4, "two plots")
    (times, processing), (latency_times, latency) = client.plots
    np.testing.assert_allclose(times, np.arange(8.0))
    np.testing.assert_allclose(processing, 20.0 + np.arange(8.0))
    np.testing.assert_allclose(latency, 50.0)
    np.testing.assert_allclose(latency_times, np.arange(4.0))
    for stamp in (3.0, 4.0):  # the recording begins again
        draw(browser, frame_of(estimate_of(stamp=stamp)))
    client.wait(lambda: len(client.plots[0][0]) == 2, "the new plot")


def test_a_browser_that_comes_late_gets_what_is_shown(browser: Browser) -> None:
    draw(browser, frame_of(estimate_of(right=False)))
    with SceneClient(browser.url) as client:
        client.wait(lambda: client.shown("/left/mesh") and client.shown("/camera"), "the scene")
        assert not client.shown("/right")


class Blocked:
    """A scene that draws nothing until it may."""

    def __init__(self, _: Any) -> None:
        self.go, self.stamps = threading.Event(), list[float]()

    def show(self, frame: ViewedFrame) -> None:
        self.stamps.append(frame.estimate.stamp)
        assert self.go.wait(30.0)

    def say(self, _: Any) -> None: ...


def test_only_the_newest_frame_waits_and_nobody_waits_for_the_drawing() -> None:
    scenes: list[Blocked] = []

    def make(server: Any) -> Blocked:
        scenes.append(Blocked(server))
        return scenes[0]

    with Browser("127.0.0.1", 0, 240.0, make) as browser:
        draws = [0]
        for number in range(100):
            browser.show(frame_of(estimate_of(stamp=float(number))))
            while not scenes[0].stamps:
                time.sleep(0.001)
            draws.append(browser.drawn)
        assert set(draws) == {0} and scenes[0].stamps == [0.0]
        scenes[0].go.set()
        end = time.monotonic() + 30.0
        while browser.drawn < 2 and time.monotonic() < end:
            time.sleep(0.001)
        assert scenes[0].stamps == [0.0, 99.0]


def test_a_browser_that_reads_nothing_holds_up_nothing(browser: Browser) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (360, 480, 3), dtype=np.uint8)
    camera = Camera(K=CAMERA.K, width=480, height=360)
    with SceneClient(browser.url, reads=False), SceneClient(browser.url) as reader:
        reader.wait(lambda: len(browser.server.get_clients()) == 2, "both connections")
        for number in range(120):
            draw(browser, frame_of(estimate_of(stamp=float(number)), noise, camera))
        reader.wait(lambda: "stamp 119.000 s" in reader.texts, "the last frame")


def test_what_ends_the_drawing_is_raised(browser: Browser) -> None:
    def broken() -> Picture:
        raise RuntimeError("no ink")

    browser.show(ViewedFrame(estimate_of(), broken))
    with pytest.raises(RuntimeError, match="no ink"):
        end = time.monotonic() + 30.0
        while time.monotonic() < end:
            browser.check()


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://127.0.0.1:9000", "http://evil.example"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9001"),
        ("http://evil.example:9000", "http://evil.example:9000"),  # a name that points to the loopback
        ("http://evil.example:9000", None),
    ],
)
def test_pages_of_other_sites_are_refused(browser: Browser, url: str, origin: str | None) -> None:
    end = time.monotonic() + 10.0
    while browser.watched and time.monotonic() < end:  # by the client of the test before
        time.sleep(0.01)
    with SceneClient(url, origin=origin, port=browser.server.get_port()) as client:
        client.wait(lambda: client.closed, "the end of the connection")
        assert client.closed.startswith("1008 opened by a page of another site")
        assert not client.nodes and not browser.watched


@pytest.mark.parametrize("name", ["127.0.0.1:9000", "localhost:9000", "[::1]:9000"])
def test_its_own_page_is_served_through_a_tunnel_as_well(browser: Browser, name: str) -> None:
    """As by ssh -L 9000:127.0.0.1:8080."""
    with SceneClient(f"http://{name}", origin=f"http://{name}", port=browser.server.get_port()) as client:
        client.wait(lambda: "/left" in client.nodes, "the scene")


def test_no_tunnel_to_the_internet_is_opened(browser: Browser, client: SceneClient, monkeypatch) -> None:
    """A browser can ask viser for one."""
    asked: list[Any] = []
    refuse = type(browser.server).request_share_url
    monkeypatch.setattr(type(browser.server), "request_share_url", lambda server: asked.append(refuse(server)))
    client.send({"type": "ShareUrlRequest"})
    client.wait(lambda: asked, "the request")
    assert asked == [None] and refuse is not viser.ViserServer.request_share_url


def test_it_listens_where_it_was_asked_to_or_says_why_not() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ViewError, match=rf"port {port} of 127.0.0.1 is in use: name another one with --port"):
            Browser("127.0.0.1", port, 30.0)
    for host in ("192.0.2.1", "no.such.host.invalid"):
        with pytest.raises(ViewError, match=f"cannot listen on {host}: "):
            Browser(host, 0, 30.0)
    with pytest.raises(ViewError, match="there is no port 70000"):
        Browser("127.0.0.1", 70000, 30.0)
    with Browser("0.0.0.0", 0, 30.0) as browser:
        assert browser.url == f"http://{socket.gethostname()}:{browser.server.get_port()}"
        with SceneClient(f"http://127.0.0.1:{browser.server.get_port()}") as client:
            client.wait(lambda: "/left" in client.nodes, "the scene")


def test_nothing_goes_to_stdout(capfd) -> None:
    with Browser("127.0.0.1", 0, 30.0):
        pass
    assert capfd.readouterr().out == ""
