"""The node camera_source over real DDS: what it publishes, when, and how it ends."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402

from hand_recon_ros import Camera  # noqa: E402
from hand_recon_ros.calibration import scaled_camera, write_calibration  # noqa: E402
from hand_recon_ros.ros.demo import camera_source  # noqa: E402
from hand_recon_ros.ros.demo.camera_frames import CameraModel, Preparer, time_step  # noqa: E402
from hand_recon_ros.ros.parameters import node_options  # noqa: E402
from hand_recon_ros.sources import open_source  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
DOMAIN = 1 + os.getpid() % 100
NAMESPACE = f"/test_{os.getpid()}"  # another run on this machine may have the same domain
CAMERA = Camera(
    K=np.array([[70.5, 0.0, 31.25], [0.0, 71.5, 23.75], [0.0, 0.0, 1.0]]),
    width=64,
    height=48,
    distortion_model="plumb_bob",
    D=np.array([0.1, -0.05, 0.001, -0.002, 0.01]),
)


class Listener:
    """Collects what the node publishes."""

    def __init__(self, reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        self.node = rclpy.create_node("listener", namespace=NAMESPACE, context=self.context)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.images: list[Any] = []
        self.compressed: list[Any] = []
        self.infos: list[Any] = []
        profile = QoSProfile(depth=100, reliability=reliability)
        self.node.create_subscription(Image, "image", self.images.append, profile)
        self.node.create_subscription(CompressedImage, "image/compressed", self.compressed.append, profile)
        self.node.create_subscription(CameraInfo, "camera_info", self.infos.append, profile)

    def until(self, condition: Any, timeout: float = 20.0) -> bool:
        end = time.monotonic() + timeout
        while not condition() and time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.05)
        return bool(condition())

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def listener(monkeypatch) -> Iterator[Listener]:
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    result = Listener()
    yield result
    result.close()


@pytest.fixture
def start() -> Iterator[Any]:
    processes: list[subprocess.Popen[str]] = []

    def run(**parameters: Any) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "ROS_DOMAIN_ID": str(DOMAIN),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
        }
        arguments = ["-r", f"__ns:={NAMESPACE}"]
        arguments += [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
        process = subprocess.Popen(
            [sys.executable, "-m", "hand_recon_ros.ros.demo.camera_source", "--ros-args", *arguments],
            env=environment, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        processes.append(process)
        return process

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=10)


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(6):
        image = np.full((48, 64, 3), (10 * index, 100, 200), dtype=np.uint8)
        image[0, 0] = 255
        cv2.imwrite(str(folder / f"{index}.png"), image)
    write_calibration(tmp_path / "camera.yaml", CAMERA)
    return folder


def stamp_of(message: Any) -> float:
    return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9


def test_a_folder_with_its_calibration(listener, start, photos):
    log, begin = photos.parent / "sent.jsonl", time.time()
    process = start(
        source=photos, rate=20, wait_for_subscribers=1, start_delay=0.3, linger=0.5, frame_id="test_camera",
        camera_info_url=f"file://{photos.parent}/camera.yaml", sent_log=log,
    )  # fmt: skip
    assert listener.until(lambda: len(listener.images) == 6 and len(listener.infos) == 6)
    output = process.communicate(timeout=10)[0]
    assert process.returncode == 0, output
    assert "ended after 6 images" in output

    for index, message in enumerate(listener.images):
        assert (message.width, message.height, message.step, message.encoding) == (64, 48, 192, "bgr8")
        assert message.is_bigendian == 0 and message.header.frame_id == "test_camera"
        pixels = np.frombuffer(message.data, dtype=np.uint8).reshape(48, 64, 3)
        assert pixels[0, 0].tolist() == [255, 255, 255]
        assert pixels[47, 63].tolist() == [10 * index, 100, 200]

    stamps = [stamp_of(message) for message in listener.images]
    assert np.all(np.diff(stamps) > 0)
    assert begin < stamps[0] and stamps[-1] < time.time()

    assert [stamp_of(info) for info in listener.infos] == stamps
    for info in listener.infos:
        assert info.header.frame_id == "test_camera" and (info.width, info.height) == (64, 48)
        np.testing.assert_array_equal(np.array(info.k).reshape(3, 3), CAMERA.K)
        np.testing.assert_array_equal(np.array(info.d), CAMERA.D)
        np.testing.assert_array_equal(np.array(info.p).reshape(3, 4), np.hstack([CAMERA.K, np.zeros((3, 1))]))
        assert info.distortion_model == "plumb_bob"
        assert Camera.from_camera_info(info).calibrated

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["number"] for line in lines] == list(range(6))
    assert [Path(line["name"]).name for line in lines] == [f"{index}.png" for index in range(6)]
    assert [line["stamp"][0] + line["stamp"][1] * 1e-9 for line in lines] == stamps


def test_loop_repeat_and_resize_until_interrupted(listener, start, photos):
    process = start(
        source=photos, rate=50, loop=True, repeat=2, width=32, camera_info_url=photos.parent / "camera.yaml",
        wait_for_subscribers=1, start_delay=0.3,
    )  # fmt: skip
    assert listener.until(lambda: len(listener.images) >= 15)
    process.terminate()
    assert process.wait(timeout=10) == 0
    values = [np.frombuffer(message.data, dtype=np.uint8)[-3] for message in listener.images[:15]]
    assert values == [0, 0, 10, 10, 20, 20, 30, 30, 40, 40, 50, 50, 0, 0, 10]
    message, info = listener.images[0], listener.infos[0]
    assert (message.width, message.height) == (info.width, info.height) == (32, 24)
    np.testing.assert_allclose(np.array(info.k).reshape(3, 3), scaled_camera(CAMERA, 32, 24).K)


def test_compressed_video_of_an_uncalibrated_camera(listener, start, tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (64, 48))
    for value in (0, 60, 120, 180):
        writer.write(np.full((48, 64, 3), value, dtype=np.uint8))
    writer.release()
    process = start(source=tmp_path / "clip.mp4", compressed=True, wait_for_subscribers=1, start_delay=0.3, linger=0.5)
    assert listener.until(lambda: len(listener.compressed) == 4 and len(listener.infos) == 4)
    output = process.communicate(timeout=10)[0]
    assert process.returncode == 0 and "not calibrated" in output
    assert not listener.images
    for value, message in zip((0, 60, 120, 180), listener.compressed, strict=True):
        assert "jpeg" in message.format and message.header.frame_id == "camera_optical_frame"
        image = cv2.imdecode(np.frombuffer(message.data, dtype=np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (48, 64, 3) and image.mean() == pytest.approx(value, abs=5)
    assert not np.any(listener.infos[0].k)


def test_a_field_of_view_becomes_a_camera(listener, start, photos):
    start(source=photos / "0.png", fov=90, wait_for_subscribers=1, start_delay=0.3, repeat=3, rate=30)
    assert listener.until(lambda: len(listener.infos) == 3)
    np.testing.assert_allclose(listener.infos[0].k, [32, 0, 31.5, 0, 32, 23.5, 0, 0, 1], atol=1e-9)


def test_every_vga_image_arrives(listener, start, tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (8, 480, 640, 3), dtype=np.uint8)
    for index, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
    start(source=tmp_path, rate=30, repeat=6, wait_for_subscribers=1, start_delay=0.3)
    assert listener.until(lambda: len(listener.images) == 48)


class Clock(threading.Event):
    """An event that is never set, and the clock on which only waiting for it takes time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return False


def test_images_are_published_at_the_rate_and_a_late_one_shifts_the_rest(photos, monkeypatch):
    clock, sent = Clock(), []
    monkeypatch.setattr(camera_source, "time", clock)
    context = rclpy.Context()
    rclpy.init(context=context)
    overrides = [rclpy.parameter.Parameter(n, value=v) for n, v in {"source": str(photos), "rate": 20.0}.items()]
    node = rclpy.create_node("camera_source", context=context, parameter_overrides=overrides, **node_options())
    source = camera_source.CameraSource(node)

    def publish(_: Any) -> None:
        sent.append(clock.now)
        clock.now += 0.12 if len(sent) == 3 else 0.01

    monkeypatch.setattr(source.images, "publish", publish)
    source.run(clock)
    np.testing.assert_allclose(np.diff(sent), [0.05, 0.05, 0.12, 0.05, 0.05])
    node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, "no source given"),
        ({"source": "/nowhere/clip.mp4"}, "/nowhere/clip.mp4: no such file"),
        ({"source": "63"}, "camera 63: cannot be opened"),
        ({"source": "{photos}", "rate": -1.0}, "rate must lie in"),
        ({"source": "{photos}", "rte": 30}, "did you mean 'rate'"),
        ({"source": "{photos}", "fov": 60, "camera_info_url": "a.yaml"}, "contradict each other"),
        ({"source": "{photos}", "camera_info_url": "/nowhere.yaml"}, "calibration /nowhere.yaml: No such file"),
        ({"source": "{photos}", "camera_info_url": "{photos}/../big.yaml"}, "is for 128x96, but the images are 64x48"),
    ],
)
def test_what_is_wrong_is_logged_in_one_line(start, photos, parameters, text):
    write_calibration(photos.parent / "big.yaml", scaled_camera(CAMERA, 128, 96))
    parameters = {
        name: value.format(photos=photos) if isinstance(value, str) else value for name, value in parameters.items()
    }
    process = start(**parameters)
    output = process.communicate(timeout=20)[0]
    assert process.returncode == 1
    assert text in output
    assert len(output.strip().splitlines()) == 1 and "Traceback" not in output


def test_a_video_is_played_by_its_own_times(tmp_path):
    """Twice, as in a loop; photos and the step back to the beginning have the period of the rate."""
    animation = cv2.Animation()
    animation.frames = [np.full((48, 64, 3), 20 * i, dtype=np.uint8) for i in range(4)]
    animation.durations = [30, 300, 100, 30]
    cv2.imwriteanimation(str(tmp_path / "phone.gif"), animation)
    source = open_source(str(tmp_path / "phone.gif"))
    prepare = Preparer(CameraModel("", 60.0), 0, 0, None)
    played = [prepare(item) for _ in range(2) for item in source]
    steps = [time_step(a, b, 0.25) for a, b in itertools.pairwise(played)]
    np.testing.assert_allclose(steps, [0.03, 0.3, 0.1, 0.25, 0.03, 0.3, 0.1], atol=1e-6)
    cv2.imwrite(str(tmp_path / "a.png"), animation.frames[0])
    (photo,) = map(prepare, open_source(str(tmp_path / "a.png")))
    assert time_step(photo, photo, 0.25) == 0.25
