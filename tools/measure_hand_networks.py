#!/usr/bin/env python3
"""Time and memory of HaMeR and WiLoR: importing a checkpoint, loading it, and a hand.

    .venv/bin/python tools/measure_hand_networks.py hamer wilor --threads 1 2

Without ``--file`` a checkpoint of the published size with random weights is written to a temporary folder (2.7 GB).
Each part runs in a process of its own, whose memory at the end is printed beside the time.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

REPEATS = 7


def write(network: str, path: Path) -> None:
    """A checkpoint with random weights."""
    import torch

    from hand_recon_ros.models.hamer import HamerConfig
    from hand_recon_ros.models.hand_networks import make_network
    from hand_recon_ros.models.wilor import WilorConfig

    torch.manual_seed(0)
    made = make_network(HamerConfig() if network == "hamer" else WilorConfig())
    torch.save({"state_dict": made.state_dict()}, path)
    report(parameters=sum(value.numel() for value in made.parameters()))


def convert(path: Path) -> None:
    from hand_recon_ros.models.checkpoint_import import import_checkpoint

    begin = time.perf_counter()
    result = import_checkpoint(path)
    report(path=str(result.path), bytes=result.bytes, seconds=time.perf_counter() - begin)


def evaluate(path: Path, device: str, threads: int) -> None:
    from hand_recon_ros.encode.mano_encoder import load_pose_network
    from hand_recon_ros.hand_model import load_hand_model

    model = load_hand_model()
    begin = time.perf_counter()
    network: Any = load_pose_network(path, device, threads, model)
    loaded = time.perf_counter() - begin
    times = {}
    for hands in (1, 2):
        crops = np.random.default_rng(0).integers(0, 256, (hands, 256, 256, 3), dtype=np.uint8)
        network(crops)
        durations = []
        for _ in range(REPEATS):
            begin = time.perf_counter()
            network(crops)
            durations.append(time.perf_counter() - begin)
        times[hands] = (statistics.median(durations), min(durations))
    report(load=loaded, times=times, precision=str(network.precision).removeprefix("torch."))


def report(**values: object) -> None:
    """Print values, with the process's memory in use, GiB, without that of mapped files."""
    (line,) = re.findall(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    print(json.dumps({**values, "memory": int(line) / 1024**2}))


def run(*arguments: object) -> dict[str, Any]:
    """A part of this script in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


def imported(network: str, folder: Path) -> Path:
    """A file of import-checkpoint with random weights; prints what that took."""
    source = folder / f"{network}.ckpt"
    parameters = run(network, "--file", source, "--part", "write")["parameters"]
    made = run("--file", source, "--part", "convert")
    source.unlink()
    print(f"{network}: {parameters / 1e6:.0f} M parameters, file {made['bytes'] / 1e9:.2f} GB", end="; ")
    print(f"import-checkpoint {made['seconds']:.0f} s, memory {made['memory']:.1f} GiB", flush=True)
    return Path(made["path"])


def measure(network: str, path: Path, device: str, thread_counts: list[int]) -> None:
    for threads in thread_counts:
        row = run("--file", path, "--device", device, "--threads", threads, "--part", "evaluate")
        times = [f"{hands} hands {median:.2f} s (best {best:.2f})" for hands, (median, best) in row["times"].items()]
        print(f"{network}, {device}, {row['precision']}, {threads} threads: load {row['load']:.1f} s", *times,
              f"memory {row['memory']:.1f} GiB", sep=", ", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=["hamer"], help="hamer, wilor (default: hamer)")
    parser.add_argument("--file", type=Path, help="a file of import-checkpoint, instead of random weights")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--part", choices=("write", "convert", "evaluate"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "write":
        write(options.networks[0], options.file)
    elif options.part == "convert":
        convert(options.file)
    elif options.part == "evaluate":
        evaluate(options.file, options.device, options.threads[0])
    else:
        everything(options)


def everything(options: argparse.Namespace) -> None:
    for network in [options.file.stem] if options.file else options.networks:
        with tempfile.TemporaryDirectory() as scratch:
            measure(network, options.file or imported(network, Path(scratch)), options.device, options.threads)


if __name__ == "__main__":
    main()
