"""Recordings of ROS 2, written for the tests without ROS."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mcap.reader import make_reader
from ros_support import CAMERA, HEIGHT, WIDTH, ScriptedReconstructor
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from hand_recon_ros.bags.images import ImageOptions, RecordedImages
from hand_recon_ros.bags.messages import deserialized, empty, message_store, serialized
from hand_recon_ros.bags.output import ABOUT, HANDS, HandsFile
from hand_recon_ros.bags.reconstruct import reconstruct_recording
from hand_recon_ros.camera import Camera
from hand_recon_ros.hand_model import load_hand_model

IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO = "sensor_msgs/msg/CameraInfo"
STORAGES = {"mcap": StoragePlugin.MCAP, "db3": StoragePlugin.SQLITE3}

TOPIC = "/cam/image_raw"
INFO_TOPIC = "/cam/camera_info"
PICTURE = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)

Recorded = tuple[str, float, Any]
"""A topic, the time of recording in seconds, and a message."""


def nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def stamped(kind: str, stamp: float, frame_id: str = "camera") -> Any:
    """An empty message of ``kind`` with a header."""
    message = empty(kind)
    header = message.header
    header.stamp.sec, header.stamp.nanosec = divmod(nanoseconds(stamp), 10**9)
    header.frame_id = frame_id
    return message


def image_of(picture: np.ndarray, stamp: float, encoding: str = "bgr8", frame_id: str = "camera") -> Any:
    """A sensor_msgs/Image of pixels (H, W[, channels]) as they are."""
    message = stamped(IMAGE, stamp, frame_id)
    message.height, message.width = picture.shape[:2]
    message.encoding, message.step = encoding, picture[0].nbytes
    message.data = np.ascontiguousarray(picture).view(np.uint8).reshape(-1)
    return message


def compressed_of(picture: np.ndarray, stamp: float) -> Any:
    """A sensor_msgs/CompressedImage (JPEG) of a picture."""
    message = stamped(COMPRESSED, stamp)
    message.format = "bgr8; jpeg compressed bgr8"
    message.data = cv2.imencode(".jpg", picture)[1].reshape(-1)
    return message


def info_of(camera: Camera, stamp: float) -> Any:
    """The sensor_msgs/CameraInfo of a camera without distortion."""
    message = stamped(INFO, stamp)
    message.width, message.height = camera.width, camera.height
    message.distortion_model, message.d = "plumb_bob", np.zeros(5)
    message.k = camera.K.reshape(-1)
    message.p = np.hstack([camera.K, np.zeros((3, 1))]).reshape(-1)
    return message


def write_bag(folder: Path, recorded: Iterable[Recorded], storage: str = "mcap", compressed: bool = False) -> Path:
    """Write a recording of rosbag2 in ``folder``; returns the file in it, of the type ``storage``."""
    opened = Writer(folder, version=9, storage_plugin=STORAGES[storage])
    if compressed:
        opened.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
    with opened as writer:
        topics: dict[str, Any] = {}
        for topic, time, message in recorded:
            if topic not in topics:
                topics[topic] = writer.add_connection(topic, message.__msgtype__, typestore=message_store())
            writer.write(topics[topic], nanoseconds(time), serialized(message))
    return next(folder.glob(f"*.{storage}"))


def read_hands_file(path: Path) -> list[Recorded]:
    """All messages of an MCAP file, in the order of the file."""
    with open(path, "rb") as file:
        records = make_reader(file, validate_crcs=True).iter_messages(log_time_order=False)
        return [
            (channel.topic, record.log_time * 1e-9, deserialized(record.data, schema.name))
            for schema, channel, record in records
        ]


def rewrite(source: Path, out: Path, change: Callable[[list[Recorded]], Any]) -> Path:
    """Write a file of hands again, after ``change`` of its messages."""
    recorded = read_hands_file(source)
    with open(source, "rb") as file:
        about = next(each.metadata for each in make_reader(file).iter_metadata() if each.name == ABOUT)
    change(recorded)
    with HandsFile(out, load_hand_model(), "wrist", "human_") as hands:
        for topic, time, message in recorded:
            hands.copy(topic, nanoseconds(time), serialized(message))
        hands.finish(about)
    return out


class Bench:
    """A scripted reconstructor, and recordings of grey images for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reconstructor = ScriptedReconstructor()
        self.out = folder / "hands.mcap"

    def write(self, recorded: list[Recorded], storage: str = "mcap", compressed: bool = False) -> Path:
        ordered = sorted(recorded, key=lambda each: each[1])
        return write_bag(self.folder / "recording", ordered, storage, compressed)

    def run(self, source: Path, topic: str = TOPIC, **options: Any) -> dict[str, Any]:
        fields = {field.name for field in dataclasses.fields(ImageOptions)}
        how = ImageOptions(**{name: value for name, value in options.items() if name in fields})
        others = {name: value for name, value in options.items() if name not in fields}
        with RecordedImages(source, topic, how) as images:
            return reconstruct_recording(self.reconstructor, images, self.out, **others)  # type: ignore[arg-type]

    @property
    def hands(self) -> list[Any]:
        return [message for topic, _, message in read_hands_file(self.out) if topic == HANDS]

    @property
    def cameras(self) -> list[Camera]:
        return [camera for _, camera, _ in self.reconstructor.calls]


def grey(stamp: float, recorded: float | None = None, frame_id: str = "camera") -> Recorded:
    return TOPIC, stamp if recorded is None else recorded, image_of(PICTURE, stamp, frame_id=frame_id)


def info(stamp: float, recorded: float | None = None, factor: float = 1.0) -> Recorded:
    camera = Camera(K=CAMERA.K * [[factor], [factor], [1.0]], width=WIDTH, height=HEIGHT)
    return INFO_TOPIC, stamp if recorded is None else recorded, info_of(camera, stamp)
