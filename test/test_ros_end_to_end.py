"""The real node as a process of its own, with its real networks, on rendered images whose truth is known."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
pytest.importorskip("tf2_msgs")

import rclpy  # noqa: E402
from hand_recon_ros.msg import Hand, TwoHands  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor  # noqa: E402
from ros_support import camera_info, image_message  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402
from visualization_msgs.msg import MarkerArray  # noqa: E402

FRAMES = 24
PROCRUSTES_LIMIT = 0.015
"""Mean joint error after alignment, metres; 0.008 to 0.009 on real photographs."""
WRIST_LIMIT = 0.07
"""Median wrist error, metres, at half a metre: the unknown size of a rendered hand goes into its distance."""


class Peer:
    """The other side of the node: publishes images, collects what comes back."""

    def __init__(self) -> None:
        self._context = Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("peer", context=self._context)
        self.hands: list[TwoHands] = []
        self.tf: list[TFMessage] = []
        self.sent: list[tuple[int, int]] = []
        self.node.create_subscription(TwoHands, "/hand_recon/hands", self.hands.append, 100)
        self.node.create_subscription(TFMessage, "/tf", self.tf.append, 100)
        self.node.create_subscription(MarkerArray, "/hand_recon/markers", lambda _: None, 10, raw=True)
        self._images = self.node.create_publisher(Image, "image", 5)
        self._infos = self.node.create_publisher(CameraInfo, "camera_info", 5)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            pass

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join(5.0)
        self.node.destroy_node()
        self._context.try_shutdown()

    def connected(self) -> bool:
        return bool(self._images.get_subscription_count() and self._infos.get_subscription_count())

    def process(self, image: np.ndarray, info: CameraInfo, timeout: float = 5.0) -> Any:
        """Publish one image, wait for its hands and return them; None if none come."""
        message = image_message(image, frame_id="optical")
        info.header = message.header
        message.header.stamp = self.node.get_clock().now().to_msg()
        self.sent.append((message.header.stamp.sec, message.header.stamp.nanosec))
        count = len(self.hands)
        self._infos.publish(info)
        self._images.publish(message)
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if len(self.hands) > count:
                return self.hands[-1]
            time.sleep(0.002)
        return None


def start(log: pathlib.Path, *arguments: str) -> subprocess.Popen[bytes]:
    with open(log, "wb") as file:
        command = [sys.executable, "-m", "hand_recon_ros.ros.node", "--ros-args", *arguments]
        return subprocess.Popen(command, stdout=file, stderr=file)


def stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGINT)
    try:
        return process.wait(10.0)
    finally:
        process.kill()


def wait_for(text: str, log: pathlib.Path, process: subprocess.Popen[bytes], timeout: float = 60.0) -> None:
    end = time.monotonic() + timeout
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, f"{text!r} not in: {log.read_text()}"
        time.sleep(0.05)


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.close()


def procrustes_error(points: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance after the best rotation, translation and scale (no reflection), metres."""
    p, t = points - points.mean(axis=0), truth - truth.mean(axis=0)
    U, S, Vt = np.linalg.svd(p.T @ t)
    D = np.diag([1.0, 1.0, np.sign(np.linalg.det(U @ Vt))])
    R = U @ D @ Vt
    scale = np.trace(np.diag(S) @ D) / np.sum(p * p)
    return float(np.linalg.norm(scale * p @ R - t, axis=1).mean())


def test_rendered_hands_come_back_in_metres(peer: Peer, tmp_path: pathlib.Path) -> None:
    pytest.importorskip("numba")
    from hand_recon_ros.synthetic import load_clip, write_clip

    clip = load_clip(write_clip(tmp_path / "clip", frames=FRAMES, seed=0, progress=False))
    log = tmp_path / "log"
    process = start(log)
    try:
        wait_for("active: images from /image", log, process)
        end = time.monotonic() + 10.0
        while not peer.connected():
            assert time.monotonic() < end, "the node does not listen"
            time.sleep(0.02)
        time.sleep(0.3)
        info = camera_info(clip.camera)
        results = [peer.process(image, info) for image in clip.images()]
        assert all(results), log.read_text()
        stamps = [(m.header.stamp.sec, m.header.stamp.nanosec, m.header.frame_id) for m in results]
        assert stamps == [(*stamp, "optical") for stamp in peer.sent]
        assert all(m.calibrated for m in results)
        for side in (Hand.LEFT, Hand.RIGHT):
            slots = [m.right if side else m.left for m in results]
            # The first image is where the hands are looked for; after that they are tracked.
            seen = [i for i, slot in enumerate(slots) if slot.state == Hand.TRACKED]
            assert len(seen) >= 0.9 * FRAMES
            joints = np.array([[[p.position.x, p.position.y, p.position.z] for p in s.joints] for s in slots])
            truth = clip.truth["joints"][:, side]
            aligned = np.mean([procrustes_error(joints[i], truth[i]) for i in seen])
            wrist = np.median(np.linalg.norm(joints[seen, 0] - truth[seen, 0], axis=-1))
            assert aligned < PROCRUSTES_LIMIT, f"{aligned * 1000:.1f} mm"
            assert wrist < WRIST_LIMIT, f"{wrist * 1000:.1f} mm"
            pixels = np.array([s.keypoints_2d for s in slots]).reshape(-1, 21, 2)[seen]
            assert np.median(np.linalg.norm(pixels - clip.truth["keypoints_2d"][seen, side], axis=-1)) < 10.0
            assert {s.track_id for s in slots if s.state == Hand.TRACKED} == {slots[seen[0]].track_id}
        names = {t.child_frame_id for m in peer.tf for t in m.transforms}
        assert names == {"human_left_wrist", "human_right_wrist"}
        assert {t.header.frame_id for m in peer.tf for t in m.transforms} == {"optical"}

        # Nothing to see: predicted for a moment, then lost, and no more transforms.
        empty = np.full((clip.camera.height, clip.camera.width, 3), 90, np.uint8)
        end = time.monotonic() + 5.0
        while (result := peer.process(empty, info)) and (result.left.state or result.right.state):
            assert time.monotonic() < end, "the hands are never lost"
        sent = len(peer.tf)
        for _ in range(3):
            result = peer.process(empty, info)
            assert (result.left.state, result.right.state) == (Hand.LOST, Hand.LOST)
        time.sleep(0.1)
        assert len(peer.tf) == sent

        # The end comes while images do, and while there are hands on display.
        first = next(iter(clip.images()))
        assert peer.process(first, info)
        more = threading.Thread(target=lambda: [peer.process(first, info, timeout=0.02) for _ in range(50)])
        more.start()
        time.sleep(0.2)
    finally:
        code = stop(process)
    more.join()
    assert code == 0
    last = peer.hands[-1]
    assert (last.left.state, last.right.state) == (Hand.LOST, Hand.LOST)
    text = log.read_text()
    assert not [word for word in ("Traceback", "[WARN]", "[ERROR]", "Failed") if word in text], text


def test_missing_model_files_are_named_and_the_node_lives_on(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "nothing").mkdir()
    process = start(log, "-p", f"model_dir:={tmp_path / 'nothing'}")
    try:
        wait_for("cannot configure", log, process)
        text = next(line for line in log.read_text().splitlines() if "cannot configure" in line)
        assert ".tflite" in text and str(tmp_path / "nothing") in text
        time.sleep(0.5)
        assert process.poll() is None
    finally:
        code = stop(process)
    assert code == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    "numbers", [(signal.SIGTERM,), (signal.SIGINT, signal.SIGINT)], ids=["SIGTERM", "SIGINT twice"]
)
def test_signals_while_the_networks_are_loaded_end_the_node_without_an_error(
    tmp_path: pathlib.Path, numbers: tuple[signal.Signals, ...]
) -> None:
    log = tmp_path / "log"
    process = start(log)
    try:
        wait_for("loading networks", log, process)
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.1)
        assert process.wait(120.0) == 0, log.read_text()
    finally:
        process.kill()
    assert not [
        word for word in ("Traceback", "[WARN]", "[ERROR]", "cannot configure", "active:") if word in log.read_text()
    ]


def test_bad_parameters_end_the_process_with_one_line(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    process = start(log, "-p", "fallback_fov:=300.0")
    assert process.wait(20.0) == 1
    (line,) = log.read_text().splitlines()
    assert "fallback_fov must lie in [0.0, 175.0] deg, got 300.0" in line


@pytest.mark.parametrize(
    "arguments",
    [("-p", "tf_prefix:="), ("--params-file", "/nowhere.yaml"), ("-r", "__ns:=a//b"), ("-p", "model_dir:=[]")],
    ids=" ".join,
)
def test_arguments_that_ros_refuses_end_the_process_with_one_line(
    tmp_path: pathlib.Path, arguments: tuple[str, str]
) -> None:
    log = tmp_path / "log"
    process = start(log, *arguments)
    assert process.wait(20.0) == 1
    text = log.read_text()
    assert "Traceback" not in text
    assert len([line for line in text.splitlines() if "[FATAL]" in line]) == 1 and "check the arguments" in text


@pytest.mark.parametrize("module", ["camera_source", "recorder"])
@pytest.mark.parametrize(
    "arguments", [("-p", "source:="), ("--params-file", "/nowhere.yaml"), ("-r", "__ns:=a//b")], ids=" ".join
)
def test_the_demonstration_ends_with_one_line_too(module: str, arguments: tuple[str, str]) -> None:
    command = [sys.executable, "-m", f"hand_recon_ros.ros.demo.{module}", "--ros-args", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    (line,) = (line for line in run.stderr.splitlines() if "[FATAL]" in line)
    assert "check the arguments" in line
