"""What each optional output costs the node: how long it takes to publish the hands of an image while somebody else
subscribes to that output. ``hand-recon benchmark`` runs this module.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
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
from .demo.processes import Process, dds_environment
from .outputs import Outputs
from .parameters import NodeConfig
from .running import start

_MODULE = "hand_recon_ros.ros.output_times"
_PERIOD = 1.0 / 30.0
_HIGHEST_RATE = 240.0
_START_LIMIT = 30.0
"""Seconds that a subscriber may take to be discovered."""


def optional_topics() -> list[topics.Topic]:
    """The outputs that are made only while somebody subscribes to them."""
    return [topic for topic in topics.OUTPUTS if topic.lazy]


def output_times(image: np.ndarray, count: int, names: Sequence[str]) -> dict[str, list[float]]:
    """Seconds that publishing takes, of ``count`` images each, without and with a subscriber of each optional output.

    Args:
        image: uint8 (H, W, 3) BGR, with hands.
        count: number of images, published at 30 Hz.
        names: of the optional outputs.

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
            frame = InputFrame(header, Frame(image, camera, time.monotonic()), continues=True, latency_known=True)
            begin = time.perf_counter()
            outputs.publish(frame, estimate, 0, config)
            times.append(time.perf_counter() - begin)
            time.sleep(max(0.0, _PERIOD - times[-1]))
        return times

    try:
        result = {"without optional outputs": measure(config)}
        for name in names:
            with (
                tempfile.TemporaryDirectory() as folder,
                Process("subscriber", _MODULE, {"subscribe": name}, Path(folder), "/benchmark", os.environ),
            ):
                _wait_for_subscribers(node, name, 1)
                result[f"and {name}"] = measure(config)
            _wait_for_subscribers(node, name, 0)
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


def _subscribe(arguments: list[str]) -> None:
    """Receive the messages of the output that the parameter ``subscribe`` names, until SIGINT or SIGTERM."""
    import rclpy

    stop = start(arguments)
    node = rclpy.create_node("subscriber")
    name: str = node.declare_parameter("subscribe", "").value
    (topic,) = [topic for topic in optional_topics() if topic.name == name]
    full_name = name.replace("~", "/hand_recon", 1)
    node.create_subscription(topic.message_type(), full_name, lambda _: None, topic.qos(), raw=True)
    while not stop.is_set():
        rclpy.spin_once(node, timeout_sec=0.1)
    node.destroy_node()
    rclpy.try_shutdown()


def main(arguments: list[str] | None = None) -> int:
    """Print the times as JSON; with ``--ros-args``: be the subscriber."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--ros-args" in arguments:
        _subscribe(arguments)
        return 0
    parser = argparse.ArgumentParser(prog="output_times", description="times of publishing")
    parser.add_argument("image", type=Path, help="an image with hands, .npy")
    parser.add_argument("--count", type=int, default=90, help="images for each output (default: %(default)s)")
    names = [topic.name for topic in optional_topics()]
    parser.add_argument(
        "--outputs", nargs="+", default=names, choices=names, help="the optional outputs (default: all)"
    )
    options = parser.parse_args(arguments)
    os.environ.update(dds_environment())
    image = np.load(options.image, allow_pickle=False)
    print(json.dumps(output_times(image, options.count, options.outputs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
