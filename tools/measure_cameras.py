#!/usr/bin/env python3
"""Rate and latency of ~/hands with one camera, and with several side by side, each with a node of its own.

    .venv/bin/python tools/measure_cameras.py [--cameras N ...] [--seconds N] [--rate HZ] [--threads N] [--json]

Each camera plays a rendered clip of its own in a loop. All run on this machine: run it while nothing else runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from measure_viewing import SETTLE, Listener, received, summary

from hand_recon_ros.ros.demo.launcher import clip_source
from hand_recon_ros.ros.demo.processes import Process, dds_environment
from hand_recon_ros.synthetic import rendered_clip


def listen(listeners: list[Listener], seconds: float) -> None:
    """Receive of all cameras for a time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for listener in listeners:
            listener.listen(0.02)


def measure(cameras: int, options: argparse.Namespace) -> list[dict[str, float]]:
    """The figures of each of so many cameras."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        listeners = []
        for number in range(cameras):
            clip = rendered_clip(options.clips, options.frames, number)
            namespace, folder = f"/camera{number}", Path(scratch) / str(number)
            folder.mkdir()
            source = {"source": str(clip_source(clip)), "camera_info_url": str(clip / "camera.yaml")}
            for name, module, parameters in (
                ("hand_recon", "node", {"threads": options.threads}),
                ("camera_source", "demo.camera_source", {"rate": options.rate, "loop": True, **source}),
            ):
                process = Process(name, f"hand_recon_ros.ros.{module}", parameters, folder, namespace, os.environ)
                stack.enter_context(process)
            listeners.append(Listener(namespace))
        for listener in listeners:
            listener.wait(lambda listener=listener: bool(listener.hands), "hands")  # type: ignore[misc]
        listen(listeners, SETTLE)
        for listener in listeners:
            listener.images, listener.hands = 0, []
        listen(listeners, options.seconds)
        return [summary([received(listener)], options.seconds) for listener in listeners]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 2], help="how many (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a measurement (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=30.0, help="images per second (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=300, help="length of the clips (default: %(default)s)")
    parser.add_argument("--clips", type=Path, default=Path("out/clips"), help="their folder (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="parameter threads of each node (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    os.environ.update(dds_environment())
    results = {cameras: measure(cameras, options) for cameras in options.cameras}
    if options.json:
        print(json.dumps(results, indent=1))
        return 0
    print(f"{'cameras':10}{'hands/s':>10}{'per image':>11}{'p50, ms':>10}{'p95, ms':>10}")
    for cameras, rows in results.items():
        for row in rows:
            times = "".join(f"{1e3 * row[name]:10.1f}" for name in ("latency_p50", "latency_p95"))
            print(f"{cameras:<10}{row['hands_per_second']:10.2f}{row['hands_per_image']:11.3f}{times}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
