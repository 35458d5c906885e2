#!/usr/bin/env python3
"""What watching costs: rate and latency of ~/hands alone, and while two watch markers and image.

    .venv/bin/python tools/measure_viewing.py [--seconds N] [--rounds N] [--rate HZ] [--frames N] [--json]

A rendered clip is played in a loop to hand_recon. In each round, in turn, nobody watches; two processes subscribe to
~/markers and ~/debug_image of hand_recon, with the QoS of config/hand_recon.rviz; the same of hand_recon_view. Figures
are over all rounds. Run it while nothing else runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hand_recon_ros.ros.demo.launcher import clip_source
from hand_recon_ros.ros.demo.processes import Process, dds_environment
from hand_recon_ros.synthetic import rendered_clip

NAMESPACE = "/viewing"
WATCHERS = 2
CASES = {"nobody watches": "", "hand_recon draws": "hand_recon", "hand_recon_view draws": "hand_recon_view"}
SETTLE = 3.0
"""Time between a change of who watches and the measurement, seconds."""


def watch(node_name: str) -> None:
    """Subscribe to what RViz shows of a node, until SIGTERM; messages are received and not converted."""
    import rclpy
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import Image
    from visualization_msgs.msg import MarkerArray

    rclpy.init()
    node = rclpy.create_node(f"watcher_{os.getpid()}", namespace=NAMESPACE)
    for kind, topic, depth in ((MarkerArray, "markers", 5), (Image, "debug_image", 1)):
        node.create_subscription(kind, f"{node_name}/{topic}", lambda _: None, QoSProfile(depth=depth), raw=True)
    with contextlib.suppress(rclpy.executors.ExternalShutdownException):
        rclpy.spin(node)


class Listener:
    """Counts the images by their camera_info, and stores the messages of ~/hands."""

    def __init__(self, namespace: str = NAMESPACE) -> None:
        import rclpy
        from hand_recon_ros.msg import TwoHands
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import CameraInfo

        if not rclpy.ok():
            rclpy.init()
        self.images, self.hands = 0, []  # type: ignore[var-annotated]
        node = rclpy.create_node(f"listener{namespace.replace('/', '_')}", namespace=namespace)
        node.create_subscription(TwoHands, "hand_recon/hands", lambda data: self.hands.append(data), 100, raw=True)
        node.create_subscription(CameraInfo, "camera_info", self._count, 100, raw=True)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._node = node

    def _count(self, _: bytes) -> None:
        self.images += 1

    def listen(self, seconds: float) -> None:
        """Receive for a time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def wait(self, condition: Callable[[], bool], what: str, timeout: float = 120.0) -> None:
        """Receive until something is true; raises TimeoutError."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {timeout:.0f} s for {what}")
            self.listen(0.2)

    def watched(self, node_name: str) -> bool:
        """Whether all watch a node."""
        topics = [f"{node_name}/{topic}" for topic in ("markers", "debug_image")]
        return all(self._node.count_subscribers(topic) == WATCHERS for topic in topics)


def measure(listener: Listener, node_name: str, seconds: float) -> dict[str, Any]:
    """What comes within ``seconds`` while all watch a node (empty: nobody does).

    Numbers of images and of hands, and the latencies of the hands in seconds.
    """
    if node_name:
        listener.wait(lambda: listener.watched(node_name), f"those who watch {node_name}")
    listener.listen(SETTLE)
    listener.images, listener.hands = 0, []
    listener.listen(seconds)
    return received(listener)


def received(listener: Listener) -> dict[str, Any]:
    """Numbers of images and of hands that a listener has received, and the latencies of the hands in seconds."""
    from hand_recon_ros.msg import TwoHands
    from rclpy.serialization import deserialize_message

    latencies = [deserialize_message(data, TwoHands).latency for data in listener.hands]
    return {"images": listener.images, "hands": len(latencies), "latencies": latencies}


@contextlib.contextmanager
def watchers(node_name: str) -> Iterator[None]:
    """Two processes that watch a node; none where its name is empty."""
    command = [sys.executable, __file__, "--watch", node_name]
    started = [subprocess.Popen(command) for _ in range(WATCHERS if node_name else 0)]
    try:
        yield
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait()


def run(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Rate of ~/hands, their share of the images, and latencies in seconds, for each of CASES."""
    clip = rendered_clip(options.clips, options.frames, 0)
    found: dict[str, list[dict[str, Any]]] = {case: [] for case in CASES}
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:

        def start(name: str, module: str, remappings: dict[str, str] | None = None, **parameters: Any) -> Process:
            module = f"hand_recon_ros.ros.{module}"
            return Process(name, module, parameters, Path(scratch), NAMESPACE, os.environ, remappings)

        stack.enter_context(start("hand_recon", "node"))
        source = {"source": str(clip_source(clip)), "camera_info_url": str(clip / "camera.yaml")}
        stack.enter_context(start("camera_source", "demo.camera_source", rate=options.rate, loop=True, **source))
        listener = Listener()
        listener.wait(lambda: bool(listener.hands), "hands")
        for _ in range(options.rounds):
            for case, node_name in CASES.items():
                with contextlib.ExitStack() as watching:
                    if node_name == "hand_recon_view":
                        watching.enter_context(start(node_name, "view", {"hands": "hand_recon/hands"}))
                    watching.enter_context(watchers(node_name))
                    found[case].append(measure(listener, node_name, options.seconds))
    return {case: summary(runs, options.seconds) for case, runs in found.items()}


def summary(runs: list[dict[str, Any]], seconds: float) -> dict[str, float]:
    """The figures of all rounds of a case."""
    hands, images = (sum(run[name] for run in runs) for name in ("hands", "images"))
    latencies = [latency for run in runs for latency in run["latencies"]]
    p50, p95 = np.nanpercentile(latencies, (50, 95)).tolist() if latencies else (np.nan, np.nan)
    return {
        "hands_per_second": hands / (seconds * len(runs)),
        "hands_per_image": hands / max(images, 1),
        "latency_p50": p50,
        "latency_p95": p95,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each case (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=30.0, help="images per second (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=300, help="length of the clip (default: %(default)s)")
    parser.add_argument("--clips", type=Path, default=Path("out/clips"), help="its folder (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--watch", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        watch(options.watch)
        return 0
    os.environ.update(dds_environment())
    results = run(options)
    if options.json:
        print(json.dumps(results, indent=1))
        return 0
    print(f"{'':24}{'hands/s':>10}{'per image':>11}{'p50, ms':>10}{'p95, ms':>10}")
    for case, row in results.items():
        times = "".join(f"{1e3 * row[name]:10.1f}" for name in ("latency_p50", "latency_p95"))
        print(f"{case:24}{row['hands_per_second']:10.2f}{row['hands_per_image']:11.3f}{times}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
