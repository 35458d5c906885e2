"""Latency of each step of the pipeline on rendered frames, of the node over DDS, and of installed peers."""

from __future__ import annotations

import functools
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..camera import Camera
from ..detect.networks import HandNetworks
from ..hand_model import load_hand_model
from ..overlay import draw_overlay
from ..reconstructor import TwoHandReconstructor
from ..runtime.devices import describe_device
from ..types import Side

PEER_VARIABLE = "HAND_RECON_PEER_PYTHON"
"""Interpreter of an environment in which peers (the mediapipe framework) are installed; default: this one."""

_FRAMES = 60
_SIZE = (640, 480)
_SEED = 7


def run_benchmark(seconds: float = 3.0, ros: bool = True, device: str = "auto") -> dict[str, Any]:
    """All figures with their limits.

    Args:
        seconds: duration of each in-process measurement.
        ros: measure the node over DDS as well (needs rclpy; takes about a minute). It runs with its default settings.
        device: of the networks, see ``runtime.devices``.

    Returns {"machine", "results": [{"name", "median_ms", "p95_ms", "limit_ms", "n"}], "memory": {...}, "notes": [...]}.
    Raises DeviceError for a device that cannot be used.
    """
    results, notes = [], []
    results.append(_row("import hand_recon_ros", _starts("import hand_recon_ros", 5), 300.0))
    frames = _rendered_frames()
    with tempfile.TemporaryDirectory() as scratch:
        first = Path(scratch) / "first.npy"
        np.save(first, frames[2][0])
        start = _FIRST_HAND.format(first=str(first), device=device)
        results.append(_row("process start to first hand", _starts(start, 3), 5000.0))
        camera = Camera.from_fov(*_SIZE, 65.0)
        reconstructor = TwoHandReconstructor.from_config(device=device)
        reconstructor.warm_up()
        results += _pipeline(reconstructor, frames, camera, seconds)
        gpu_mib = _gpu_mib() if reconstructor.device == "cuda" else None
        results.append(_row("a training sample, rendered on one core", _samples(seconds)))
        rows, more = _peers(frames, seconds, Path(scratch))
        results += rows
        notes += more
        if ros:
            for rows, more in (_outputs(first), _node(Path(scratch))):
                results += rows
                notes += more
    return {
        "machine": _machine() | {"device": describe_device(device, reconstructor.device)},
        "results": results,
        "memory": {"resident_mib": _resident_mib(frames, device), "limit_mib": 600, "gpu_mib": gpu_mib},
        "notes": notes,
    }


def _row(name: str, durations: list[float], limit_ms: float | None = None) -> dict[str, Any]:
    values = np.array(durations) * 1e3
    return {
        "name": name,
        "median_ms": round(float(np.median(values)), 3),
        "p95_ms": round(float(np.percentile(values, 95)), 3),
        "limit_ms": limit_ms,
        "n": len(values),
    }


def _machine() -> dict[str, Any]:
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}


def _gpu_mib() -> float:
    """The most GPU memory that the networks took in this process, MiB."""
    import torch

    return round(torch.cuda.max_memory_reserved() / 2**20, 1)


def _rendered_frames() -> dict[int, list[np.ndarray]]:
    """The same motion with one hand (key 1) and with two (key 2): frames (H, W, 3) BGR; the hands do not overlap."""
    import dataclasses

    from ..synthetic import clip_scenes, render_scene

    model = load_hand_model()
    # In the first fifth of a clip the hands do not overlap.
    _, scenes = clip_scenes(model, _FRAMES * 5, _SEED, Camera.from_fov(*_SIZE, 65.0))
    chosen = scenes[:_FRAMES]
    alone = [dataclasses.replace(scene, hands=scene.hands[Side.RIGHT :]) for scene in chosen]
    return {1: [render_scene(s, model).image for s in alone], 2: [render_scene(s, model).image for s in chosen]}


def _back_and_forth(frames: list[np.ndarray]) -> Iterator[np.ndarray]:
    """A short clip forwards and backwards, endlessly, so that the motion is smooth."""
    while True:
        yield from frames
        yield from frames[-2:0:-1]


def _timed(call: Callable[[], Any], seconds: float, warm_up: int = 10) -> list[float]:
    for _ in range(warm_up):
        call()
    durations: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(durations) < 20:
        begin = time.perf_counter()
        call()
        durations.append(time.perf_counter() - begin)
    return durations


def _pipeline(
    reconstructor: TwoHandReconstructor, frames: dict[int, list[np.ndarray]], camera: Camera, seconds: float
) -> list[dict[str, Any]]:
    rows = []
    networks = HandNetworks.load(reconstructor.config)
    stamp = 0.0
    for hands, limit in ((1, 6.0), (2, 10.0)):
        # Only tracking is measured: detection for a free slot is postponed.
        reconstructor.update_settings(detection_interval=4.0)
        reconstructor.reset()
        stream = _back_and_forth(frames[hands])
        found = 0
        encoding: list[float] = []

        def follow(stream: Iterator[np.ndarray] = stream, encoding: list[float] = encoding) -> None:
            nonlocal stamp, found
            stamp += 1.0 / 30.0
            estimate = reconstructor(next(stream), camera, stamp)
            found = int(estimate.left.found) + int(estimate.right.found)
            encoding.append(estimate.timings["encode"])

        durations = _timed(follow, seconds, warm_up=40)  # more than the second in which a missing hand is searched
        if found != hands:
            raise RuntimeError(f"the benchmark's clip has {hands} hands, but {found} were tracked at its end")
        rows.append(_row(f"tracking, {hands} hand{'s' * (hands > 1)}", durations, limit))
        if reconstructor.config.encoder != "none":
            rows.append(_row("of these, the encoder", encoding, 10.0))
        # The lower bound on this machine: the network without any of the pipeline's code.
        alone = _timed(functools.partial(networks.landmark.run, hands), seconds / 3)
        rows.append(_row(f"of these, the landmark network on {hands} crop{'s' * (hands > 1)}", alone))
    reconstructor.update_settings(detection_interval=0.0)
    reconstructor.reset()
    stream = _back_and_forth(frames[1])

    def detect() -> None:
        nonlocal stamp
        stamp += 1.0 / 30.0
        reconstructor(next(stream), camera, stamp)

    rows.append(_row("one hand tracked and a search step", _timed(detect, seconds), 14.0))

    def first_frame() -> None:
        reconstructor.reset()
        detect()

    rows.append(_row("first frame, one hand detected", _timed(first_frame, seconds), 14.0))
    stream = _back_and_forth(frames[2])
    rows.append(_row("first frame, two hands detected", _timed(first_frame, seconds)))
    image = frames[2][0]
    search = _timed(lambda: reconstructor.reconstruct_image(image, camera), seconds)
    rows.append(_row("single image, thorough search", search, 150.0))
    missing = _timed(lambda: reconstructor.reconstruct_image(frames[1][0], camera), seconds)
    rows.append(_row("single image, one hand, thorough search", missing, 150.0))
    estimate = reconstructor.reconstruct_image(image, camera)
    overlay = _timed(lambda: draw_overlay(image, estimate, camera), seconds)
    return [*rows, _row("overlay of two hands", overlay, 30.0)]


def _samples(seconds: float) -> list[float]:
    """Seconds per sample of the training stream."""
    from ..synthetic import SampleStream

    numbers = itertools.count()
    stream = SampleStream("train", _SEED)
    return _timed(lambda: stream[next(numbers)], seconds)


def _starts(code: str, repeats: int) -> list[float]:
    """Seconds that a fresh interpreter takes for ``code``, less those of its start."""

    def run(text: str) -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-P", "-c", text], check=True, capture_output=True)
        return time.perf_counter() - begin

    run(code)
    empty = float(np.median([run("pass") for _ in range(repeats)]))
    return [run(code) - empty for _ in range(repeats)]


_FIRST_HAND = """
import numpy as np
from hand_recon_ros import Camera, TwoHandReconstructor
image = np.load({first!r})
camera = Camera.from_fov(image.shape[1], image.shape[0], 65.0)
estimate = TwoHandReconstructor.from_config(device={device!r})(image, camera)
assert estimate.left.found or estimate.right.found
"""
# Not getrusage: its maximum is inherited through exec, so it would be that of the benchmark itself.
_MEMORY = """
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) / 1024)
"""


def _resident_mib(frames: dict[int, list[np.ndarray]], device: str) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        first = Path(scratch) / "first.npy"
        np.save(first, frames[2][0])
        code = _FIRST_HAND.format(first=str(first), device=device) + _MEMORY
        run = subprocess.run([sys.executable, "-P", "-c", code], check=True, capture_output=True, text=True)
    return round(float(run.stdout), 1)


_PEER = """
import json, sys, time
import numpy as np
from mediapipe.python.solutions.hands import Hands
frames = {hands: np.load(f"{sys.argv[1]}/frames{hands}.npy")[..., ::-1].copy() for hands in (1, 2)}
result = {}
for hands, images in frames.items():
    with Hands(static_image_mode=False, max_num_hands=hands) as solver:
        durations, end, i = [], time.perf_counter() + float(sys.argv[2]) + 1, 0
        while time.perf_counter() < end or len(durations) < 20:
            begin = time.perf_counter()
            solver.process(images[i % len(images)])
            durations.append(time.perf_counter() - begin)
            i += 1
    result[hands] = durations[5:]
print(json.dumps(result))
"""


def _peers(
    frames: dict[int, list[np.ndarray]], seconds: float, scratch: Path
) -> tuple[list[dict[str, Any]], list[str]]:
    """The mediapipe framework on the same frames, where it can be imported; it estimates no metric position."""
    for hands, images in frames.items():
        np.save(scratch / f"frames{hands}.npy", np.stack(images + images[-2:0:-1]))
    python = os.environ.get(PEER_VARIABLE, sys.executable)
    command = [python, "-c", _PEER, str(scratch), str(seconds)]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=120.0 + 4 * seconds)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], [f"mediapipe framework: not measured ({error})"]
    if run.returncode != 0:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        return [], [f"mediapipe framework: not measured ({last}); {PEER_VARIABLE} names a Python that has it"]
    measured = json.loads(run.stdout.strip().splitlines()[-1])
    return [
        _row(f"peer: mediapipe framework, {hands} hand{'s' * (hands > '1')}", durations)
        for hands, durations in measured.items()
    ], []


def _outputs(image: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The time of publishing the hands of an image, with a subscriber of each optional output in turn."""
    command = [sys.executable, "-P", "-m", "hand_recon_ros.ros.output_times", str(image)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600.0)
    if run.returncode != 0:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        return [], [f"outputs: not measured ({last})"]
    times = json.loads(run.stdout)
    return [_row(f"publishing, {name}", durations) for name, durations in times.items()], []


def _node(scratch: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Stamp to publish of the node over DDS at 30 and 60 Hz, with the demonstration's three processes."""
    rows, notes = [], []
    for rate, p95_limit in ((30, 30.0), (60, None)):
        out = scratch / f"demo{rate}"
        command = [
            sys.executable,
            "-P",
            "-m",
            "hand_recon_ros.ros.demo.launcher",
            "--out",
            str(out),
            "--rate",
            str(rate),
        ]
        run = subprocess.run(command, capture_output=True, text=True, timeout=900.0)
        summary_file = out / "summary.json"
        if run.returncode != 0 or not summary_file.exists():
            last = (run.stderr.strip().splitlines() or ["no message"])[-1]
            notes.append(f"node at {rate} Hz: not measured ({last})")
            continue
        summary = json.loads(summary_file.read_text())
        records = [json.loads(line) for line in (out / "hands.jsonl").read_text().splitlines()]
        latency = [record["latency"] for record in records]
        rows.append(_row(f"node over DDS at {rate} Hz, stamp to publish", latency, 15.0 if rate == 30 else None))
        rows[-1]["p95_limit_ms"] = p95_limit
        third = max(1, len(latency) // 3)
        growth = 1e3 * (np.median(latency[-third:]) - np.median(latency[:third]))
        notes.append(
            f"node at {rate} Hz: sent {summary['frames_sent']}, received {summary['frames_received']}, processed "
            f"{summary['frames_processed']}, dropped {summary['frames_dropped']}; median latency of the last third "
            f"against the first {growth:+.1f} ms"
        )
    return rows, notes
