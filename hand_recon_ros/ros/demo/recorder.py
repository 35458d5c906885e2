"""The node ``recorder``: writes every TwoHands message as a line of JSON, the node's diagnostics, and an MCAP file."""

from __future__ import annotations

import array
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...bags.messages import BagError
from ...bags.output import HANDS, KINDS, TF, RecordingFile
from ...config import ConfigError, setting
from ...conversions.images import InputError
from ...image_files import write_image
from ..images import decode
from ..parameters import declare, node_options, refused_arguments
from ..running import start


@dataclasses.dataclass(frozen=True)
class RecorderConfig:
    """Parameters of the node."""

    out: str = setting("", "folder of hands.jsonl, hands.mcap, diagnostics.jsonl and the images")
    save_images: bool = setting(False, "also write the images, as JPEG files named after their stamps")

    def __post_init__(self) -> None:
        if not self.out:
            raise ConfigError("out is empty, expected the folder to write to")


def to_plain(value: Any) -> Any:
    """A message as dicts, lists, numbers and strings, under the names of its fields."""
    if hasattr(value, "get_fields_and_field_types"):
        return {name: to_plain(getattr(value, name)) for name in value.get_fields_and_field_types()}
    if isinstance(value, (np.ndarray, array.array)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, bytes):
        return int.from_bytes(value, "little")  # the type "byte", as in DiagnosticStatus.level
    return value


class Recorder:
    """Subscribes to what ``hand_recon`` publishes of the hands, and ``/diagnostics`` (and ``image``), and writes their
    messages.

    The callbacks store serialised messages, which are converted when the recording ends: so recording takes almost no
    time from the processes that it records.
    """

    def __init__(self, node: Any) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from geometry_msgs.msg import PoseStamped
        from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import Image
        from tf2_msgs.msg import TFMessage

        from hand_recon_ros.msg import TwoHands

        self.config = declare(node, RecorderConfig)
        self.out = Path(self.config.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self._hands: dict[str, list[tuple[float, bytes]]] = {topic: [] for topic in KINDS}
        self._diagnostics: list[tuple[float, bytes]] = []
        self._images: list[bytes] = []
        everything = QoSProfile(depth=0, history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)
        self._names = []
        for topic, messages in self._hands.items():
            kind = {HANDS: TwoHands, TF: TFMessage}.get(topic, PoseStamped)
            name = topic if topic == TF else topic.removeprefix("/")
            subscription = node.create_subscription(kind, name, _keeper(messages), everything, raw=True)
            if topic != TF:  # which the node may not publish
                self._names.append(subscription.topic_name)
        node.create_subscription(DiagnosticArray, "/diagnostics", _keeper(self._diagnostics), 100, raw=True)
        if self.config.save_images:
            camera = QoSProfile(depth=5, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT)
            (self.out / "images").mkdir(exist_ok=True)
            node.create_subscription(Image, "image", self._on_image, camera)
        self._node = node

    def _on_image(self, message: Any) -> None:
        stamp = message.header.stamp
        try:
            write_image(self.out / "images" / f"{stamp.sec}.{stamp.nanosec:09d}.jpg", decode(message))
        except (InputError, OSError) as error:
            self._node.get_logger().warning(str(error), once=True)

    @property
    def connected(self) -> bool:
        """Whether the publishers of the hands have been discovered."""
        return all(self._node.count_publishers(name) > 0 for name in self._names)

    def write(self) -> int:
        """Write the recording; returns the number of TwoHands messages. Raises BagError and OSError."""
        from diagnostic_msgs.msg import DiagnosticArray

        from hand_recon_ros.msg import TwoHands

        hands = self._hands[HANDS]
        _write_lines(self.out / "hands.jsonl", TwoHands, hands)
        _write_lines(self.out / "diagnostics.jsonl", DiagnosticArray, self._diagnostics)
        try:
            self._write_mcap(self.out / "hands.mcap")
        except ImportError as error:
            self._node.get_logger().info(f"no hands.mcap ({error}): it needs hand_recon_ros[bags]")
        return len(hands)

    def _write_mcap(self, path: Path) -> None:
        """The file of :mod:`hand_recon_ros.bags.output`, of what the node has published, in the order of arrival."""
        topics = {topic: kind for topic, kind in KINDS.items() if self._hands[topic] or topic != TF}
        with RecordingFile(path, topics) as file:
            arrived = [(received, topic, data) for topic in KINDS for received, data in self._hands[topic]]
            for received, topic, data in sorted(arrived, key=lambda one: one[0]):
                file.copy(topic, int(received * 1e9), data)
            path.unlink(missing_ok=True)
            file.finish({"images": str(len(self._hands[HANDS]))})


def _keeper(messages: list[tuple[float, bytes]]) -> Callable[[bytes], None]:
    """A callback that keeps serialised messages with the time of their arrival."""
    return lambda data: messages.append((time.time(), data))


def _write_lines(path: Path, kind: type, messages: list[tuple[float, bytes]]) -> None:
    from rclpy.serialization import deserialize_message

    with open(path, "w", encoding="utf-8") as file:
        for received, data in messages:
            file.write(json.dumps({"received": received, **to_plain(deserialize_message(data, kind))}) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Record until interrupted; prints ``ready`` on standard output once the publishers of the hands are discovered."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    try:
        stop = start(arguments)
        node = rclpy.create_node("recorder", **node_options())
    except Exception as error:  # rcl has no public class for the arguments that it refuses
        return refused_arguments("recorder", error)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        recorder = Recorder(node)
        ready = False
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
            if not ready and recorder.connected:
                ready = True
                print("ready", flush=True)
        node.get_logger().info(f"{recorder.write()} messages written to {recorder.out}")
        return 0
    except (BagError, ConfigError, OSError) as error:
        node.get_logger().error(str(error))
        return 1
    finally:
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
