"""A camera in a process of its own: plays a rendered clip, with faults if asked for, and records what it sends."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hand_recon_ros.calibration import scaled_camera
from hand_recon_ros.camera import Camera
from hand_recon_ros.ros import running
from hand_recon_ros.synthetic.clips import load_clip

from .faults import FAULTS

FRAME_ID = "camera_optical_frame"
FRAMES = 90
"""How many frames of the clip are played, again and again."""
_SETTLE = 0.5
"""Between the node's subscription and the first image, seconds."""
_AHEAD = 0.02
"""By how much a camera_info with faults precedes its image, seconds: they are of two topics."""


@dataclasses.dataclass(frozen=True)
class Sent:
    """An image that was sent.

    Attributes:
        stamp: nanoseconds.
        wall: the system's clock as it was sent, nanoseconds.
        frame: of the clip.
        frame_id: of its header.
        fault: in :data:`faults.FAULTS`, or empty.
        refused: whether the node has to refuse it; None: either is right.
    """

    stamp: int
    wall: int
    frame: int
    frame_id: str
    fault: str
    refused: bool | None


def read_log(path: Path) -> list[Sent]:
    """What a camera has sent; the last line may be cut off where it was killed."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [Sent(*json.loads(line)) for line in lines]


class Stamps:
    """The stamps of the images: the system's clock, a clock that jumps, or a simulated one that jumps.

    Args:
        mode: ``system``, ``jumps`` (also zero, and standing still), or ``simulated``.
        rng: when, whither, how.
    """

    def __init__(self, mode: str, rng: np.random.Generator) -> None:
        self.mode = mode
        self._rng = rng
        self._offset = 0
        self._kind = "offset"
        self._frozen = 0
        self._change = time.monotonic() + 2.0

    def now(self) -> int:
        """The stamp of the next image, nanoseconds."""
        now = time.time_ns()
        if self.mode == "system":
            return now
        if time.monotonic() > self._change:
            self._change = time.monotonic() + self._rng.uniform(0.5, 3.0)
            self._jump(now)
        if self._kind == "offset":
            return max(now + self._offset, 1)
        return 0 if self._kind == "zero" else self._frozen

    def _jump(self, now: int) -> None:
        kinds = ["offset", "offset", "offset", "zero", "frozen"] if self.mode == "jumps" else ["offset"]
        self._kind = str(self._rng.choice(kinds))
        self._frozen = now + self._offset
        size = 10.0 ** self._rng.uniform(-2.0, 4.0) * self._rng.choice([-1.0, 1.0])
        self._offset = 0 if self._rng.random() < 0.25 else int(1e9 * size)


def frames(folder: Path, scale: float) -> tuple[Camera, list[np.ndarray]]:
    """The camera and the frames of a clip, resized."""
    clip = load_clip(folder)
    width, height = round(scale * clip.camera.width), round(scale * clip.camera.height)
    images = [cv2.resize(image, (width, height)) for image, _ in zip(clip.images(), range(FRAMES), strict=False)]
    return scaled_camera(clip.camera, width, height), images


def build_camera_info(camera: Camera) -> Any:
    """The sensor_msgs/CameraInfo of a rendered clip's camera."""
    from sensor_msgs.msg import CameraInfo

    d = np.pad(camera.D, (0, 5 - len(camera.D))).tolist()
    info = CameraInfo(width=camera.width, height=camera.height, distortion_model="plumb_bob", d=d)
    info.k = camera.K.reshape(-1)
    info.p = np.hstack([camera.K, np.zeros((3, 1))]).reshape(-1)
    return info


def play(
    folder: Path,
    log: Path,
    namespace: str,
    rate: float,
    faults: bool,
    stamps: str,
    scale: float,
    seed: int,
    always: bool = False,
) -> None:
    """Play until SIGTERM or SIGINT, once the node subscribes.

    Args:
        folder: of the clip.
        log: file of what was sent, one line for each image, written before it is.
        namespace: of the topics.
        rate: images per second.
        faults: whether every second image has one.
        stamps: see :class:`Stamps`.
        scale: of the images.
        seed: of faults and stamps.
        always: play also where nobody subscribes.
    """
    import rclpy
    from rclpy.qos import QoSProfile
    from rosgraph_msgs.msg import Clock
    from sensor_msgs.msg import CameraInfo, Image

    camera, images = frames(folder, scale)
    rng = np.random.default_rng(seed)
    stop = running.start([])
    node = rclpy.create_node("camera", namespace=namespace)
    publisher, infos = (node.create_publisher(kind, topic, QoSProfile(depth=2)) for kind, topic in (
        (Image, "image"), (CameraInfo, "camera_info")))  # fmt: skip
    clock = node.create_publisher(Clock, "/clock", 10) if stamps == "simulated" else None
    made = Stamps(stamps, rng)
    with open(log, "w", encoding="utf-8", buffering=1) as file:
        for frame, image in _paced(images, rate, lambda: bool(always or publisher.get_subscription_count()), stop):
            stamp, fault = made.now(), ""
            message, info = _messages(image, camera, stamp)
            if faults and rng.random() < 0.5:
                fault = str(rng.choice(list(FAULTS)))
                FAULTS[fault].change(rng, message, info)
            if clock is not None:
                clock.publish(Clock(clock=message.header.stamp))
            refused = FAULTS[fault].refused if fault else False
            sent = Sent(stamp, time.time_ns(), frame, message.header.frame_id, fault, refused)
            file.write(json.dumps(dataclasses.astuple(sent)) + "\n")
            infos.publish(info)
            if faults:
                time.sleep(_AHEAD)
            publisher.publish(message)


def _messages(image: np.ndarray, camera: Camera, stamp: int) -> tuple[Any, Any]:
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    from hand_recon_ros.ros.images import build_image_message

    header = Header(stamp=Time(sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id=FRAME_ID)
    message, info = build_image_message(image, header), build_camera_info(camera)
    info.header.stamp, info.header.frame_id = header.stamp, FRAME_ID
    return message, info


def _paced(
    images: list[np.ndarray], rate: float, ready: Callable[[], bool], stop: threading.Event
) -> Iterator[tuple[int, np.ndarray]]:
    """The frames in a loop at a rate, once ``ready``, until ``stop``."""
    while not (ready() or stop.wait(0.02)):
        pass
    stop.wait(_SETTLE)
    due, number = time.monotonic(), 0
    while not stop.is_set():
        yield number % len(images), images[number % len(images)]
        number += 1
        # What is late is not made up for, but for a short while: a camera that was stopped does not send a burst.
        due = max(due + 1.0 / rate, time.monotonic() - 0.1)
        stop.wait(max(due - time.monotonic(), 0.0))
