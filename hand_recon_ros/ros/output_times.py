"""What each optional output costs the node: how long it takes to publish the hands of an image while somebody else
subscribes to that output. ``hand-recon benchmark`` runs this module.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..camera import Camera
from ..conversions.problems import Problems
from ..conversions.stream import InputFrame
from ..reconstructor import TwoHandReconstructor
from ..types import Frame
from . import topics
from .connections import Connections
from .demo.processes import dds_environment
from .outputs import Outputs
from .parameters import NodeConfig

_MODULE = "hand_recon_ros.ros.output_times"
_PERIOD = 1.0 / 30.0
_HIGHEST_RATE = 240.0
_START_LIMIT = 30.0
"""Seconds that a subscriber may take to be discovered."""


def optional_topics() -> list[topics.Topic]:
    """The outputs that are made only while somebody subscribes to them."""
    return [topic for topic in topics.OUTPUTS if topic.lazy]


def output_times(image: np.ndarray, count: int) -> dict[str, list[float]]:
    """Seconds that publishing takes, of ``count`` images each, without and with a subscriber of each optional output.

    Args:
        image: uint8 (H, W, 3) BGR, with hands.
        count: number of images, published at 30 Hz.

    Raises RuntimeError where a subscriber does not connect.
    """
    import rclpy
    from std_msgs.msg import Header

    camera = Camera.from_fov(image.shape[1], image.shape[0], 65.0)
    reconstructor = TwoHandReconstructor.from_config()
    estimate = reconstructor.reconstruct_image(image, camera)
    rclpy.init(args=[])
    node = rclpy.create_node("hand_recon")
    outputs = Outputs(Connections(node, Problems(print, print)), reconstructor.hand_model)
    config = NodeConfig(marker_rate=_HIGHEST_RATE, debug_image_rate=_HIGHEST_RATE)

    def measure(config: NodeConfig) -> list[float]:
        times = []
        for _ in range(count):
            header = Header(frame_id="camera", stamp=node.get_clock().now().to_msg())
            frame = InputFrame(header, Frame(image, camera, 0.0), continues=True, latency_known=True)
            begin = time.perf_counter()
            outputs.publish(frame, estimate, 0, config)
            times.append(time.perf_counter() - begin)
            time.sleep(max(0.0, _PERIOD - times[-1]))
        return times

    try:
        result = {"without optional outputs": measure(config)}
        for topic in optional_topics():
            command = [sys.executable, "-P", "-m", _MODULE, "--subscribe", topic.name]
            with subprocess.Popen(command, stdin=subprocess.PIPE) as subscriber:
                _wait_for_subscribers(node, topic.name, 1)
                result[f"and {topic.name}"] = measure(config)
                subscriber.communicate()  # ends it
            _wait_for_subscribers(node, topic.name, 0)
        result["and all keypoints on /tf"] = measure(NodeConfig(publish_tf="full"))
        return result
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def _wait_for_subscribers(node: Any, name: str, count: int) -> None:
    end = time.monotonic() + _START_LIMIT
    while node.count_subscribers(name) != count:
        if time.monotonic() > end:
            raise RuntimeError(f"{name} has {node.count_subscribers(name)} subscribers after {_START_LIMIT:.0f} s")
        time.sleep(0.02)


def _subscribe(name: str) -> None:
    """Receive the messages of one output until standard input ends."""
    import threading

    import rclpy
    from rclpy.executors import ExternalShutdownException

    rclpy.init(args=[])
    node = rclpy.create_node("subscriber")
    (topic,) = [topic for topic in optional_topics() if topic.name == name]
    received: list[Any] = []
    full_name = name.replace("~", "/hand_recon", 1)
    node.create_subscription(topic.message_type(), full_name, received.append, topic.qos(), raw=True)

    def end() -> None:
        sys.stdin.read()
        rclpy.try_shutdown()

    threading.Thread(target=end, daemon=True).start()
    try:
        while rclpy.ok():
            rclpy.spin_once(node, timeout_sec=0.1)
            received.clear()
    except ExternalShutdownException:
        pass


def main(arguments: list[str] | None = None) -> int:
    """Print the times as JSON."""
    parser = argparse.ArgumentParser(prog="output_times", description="times of publishing")
    parser.add_argument("image", type=Path, nargs="?", help="an image with hands, .npy")
    parser.add_argument("--count", type=int, default=90, help="images for each output (default: %(default)s)")
    parser.add_argument("--subscribe", help="receive this output instead")
    options = parser.parse_args(arguments)
    os.environ.update(dds_environment())
    if options.subscribe:
        _subscribe(options.subscribe)
    else:
        print(json.dumps(output_times(np.load(options.image, allow_pickle=False), options.count)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
