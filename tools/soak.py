#!/usr/bin/env python3
"""The node under load and faults, for minutes or hours: what must not happen is looked for, and fails the run.

    .venv/bin/python tools/soak.py [--seconds N] [--seed N] [--only NAME] [--out FOLDER]

The node runs in a process of its own and gets a rendered clip over DDS from another. One scenario follows the other
(tools/soaking/scenarios.py), each followed by images without faults, in which the hands have to be found as ever. More
time gives more rounds. Writes table.md and results.json; the exit code is 1 where a limit was not kept.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from soaking.camera import play
from soaking.rounds import run
from soaking.scenarios import SCENARIOS, subscribe


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="how long, about (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is random (default: %(default)s)")
    parser.add_argument("--only", action="append", choices=list(SCENARIOS), help="this scenario; may be repeated")
    parser.add_argument("--out", type=Path, default=Path("out/soak"), help="folder (default: %(default)s)")
    parser.add_argument("--clips", type=Path, default=Path("out/clips"), help="of the clip (default: %(default)s)")
    for name, kind, default in (
        ("camera", Path, None), ("log", Path, None), ("namespace", str, ""), ("rate", float, 10.0), ("faults", int, 0),
        ("stamps", str, "system"), ("scale", float, 1.0), ("always", int, 0), ("subscribe", str, ""),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=kind, default=default, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.camera:
        play(
            options.camera, options.log, options.namespace, options.rate, bool(options.faults), options.stamps,
            options.scale, options.seed, bool(options.always),
        )  # fmt: skip
        return 0
    if options.subscribe:
        subscribe(options.subscribe, options.namespace)
        return 0
    from hand_recon_ros.ros.demo.processes import dds_environment

    os.environ.update(dds_environment())
    return run(options.out, options.clips, options.seconds, options.seed, options.only or list(SCENARIOS))


if __name__ == "__main__":
    sys.exit(main())
