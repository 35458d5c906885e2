"""The demonstration: camera_source, hand_recon and a recorder as three processes over DDS, then pictures and figures.

``python -m hand_recon_ros.ros.demo.launcher --out DIR`` plays a rendered clip; with ``--input SOURCE`` a photo, a
folder of photos, a video file or a webcam. The report is made by another process
(:mod:`hand_recon_ros.evaluation.demo_report`) from the recorded files alone, and can be made again from them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...calibration import read_calibration
from ...camera import CameraError
from ...sources import SourceError, open_source, source_path
from .processes import Process, ProcessFailed, dds_environment, python_command

_CLIP_RATE = 30.0
_PHOTO_RATE, _PHOTO_REPEAT = 10.0, 10
_MODULES = {"hand_recon": "node", "recorder": "demo.recorder", "camera_source": "demo.camera_source"}
_START_LIMIT = 60.0
_LINGER = 2.0  # longer than one period of the node's diagnostics and its last image


class DemoError(RuntimeError):
    """The demonstration cannot continue; the message has the reason in one line."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is played, and how.

    Attributes:
        kind: clip, photos, video or live.
        source: parameter of camera_source.
        rate: images per second.
        repeat: how often each photo is published.
        duration: expected, seconds.
        folder: of a rendered clip with its ground truth.
        camera_info: path of the calibration; empty: none.
        fov: field of view without calibration, degrees.
        namespace: of the nodes, different from that of other demonstrations.
    """

    kind: str
    source: str
    rate: float
    repeat: int
    duration: float
    folder: str = ""
    camera_info: str = ""
    fov: float = 0.0
    namespace: str = dataclasses.field(default_factory=lambda: f"/demo_{os.getpid()}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="demo", description=(__doc__ or "").splitlines()[0])
    result.add_argument(
        "--out", type=Path, default=Path("out/demo"), help="folder of the results (default: %(default)s)"
    )
    result.add_argument(
        "--input",
        default="",
        help="photo, folder of photos, video file or webcam index; empty (default): a rendered clip",
    )
    result.add_argument(
        "--duration", type=float, default=10.0, help="how long a webcam is recorded, seconds (default: %(default)s)"
    )
    result.add_argument("--frames", type=int, default=300, help="length of the rendered clip (default: %(default)s)")
    result.add_argument("--seed", type=int, default=0, help="which clip is rendered (default: %(default)s)")
    result.add_argument(
        "--rate", type=float, default=0.0, help="images per second; 0: 30 for the clip, that of a video, 10 for photos"
    )
    result.add_argument(
        "--camera-info", default="", help="calibration of the camera that took the input (camera_calibration's YAML)"
    )
    result.add_argument(
        "--fov",
        type=float,
        default=60.0,
        help="field of view of that camera where there is no calibration, degrees (default: %(default)s)",
    )
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the demonstration: 0 where hands were found, 1 with the reason on standard error, 130 where interrupted."""
    options = parser().parse_args(arguments)
    try:
        out = options.out.resolve()
        check_inputs(out, [options.input, options.camera_info])
        plan = make_plan(options, out.parent / "clips")
        # Only now: an input that cannot be played must not cost the results of an earlier demonstration.
        run = fresh_folder(out)
        (run / "run.json").write_text(json.dumps(dataclasses.asdict(plan), indent=1) + "\n")
        record(plan, run)
        return report(out)
    except (DemoError, ProcessFailed, SourceError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130


def check_inputs(out: Path, inputs: Sequence[str]) -> None:
    """Raises DemoError where one of the ``inputs`` (sources, or calibration files) would be deleted with the results in
    ``out``."""
    for path in filter(None, map(source_path, filter(None, inputs))):
        if out == path.resolve() or out in path.resolve().parents:
            raise DemoError(f"{path} is in {out}, whose contents are replaced: move it, or name another --out")


def fresh_folder(out: Path) -> Path:
    """Make ``out`` and its folder ``run`` for the recording; results of an earlier demonstration are deleted."""
    run = out / "run"
    try:
        if run.exists():
            shutil.rmtree(run)
        run.mkdir(parents=True)
        for name in ("overlay.mp4", "contact_sheet.png", "hands.jsonl", "hands.mcap", "summary.json"):
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise DemoError(f"{out} cannot be written to: {error}") from error
    return run


def make_plan(options: argparse.Namespace, clips: Path) -> Plan:
    """The plan for these options; renders the clip where there is no input. Raises SourceError, DemoError."""
    if not options.input:
        from ...synthetic import rendered_clip

        folder = rendered_clip(clips, options.frames, options.seed)
        rate = options.rate or _CLIP_RATE
        return Plan(
            "clip",
            str(clip_source(folder)),
            rate,
            1,
            options.frames / rate,
            str(folder),
            camera_info=str(folder / "camera.yaml"),
        )
    source = open_source(options.input)
    try:
        given = source_path(options.input)
        path = options.input if given is None else str(given.resolve())
        count = 0 if source.live else sum(1 for _ in source)
    finally:
        source.close()
    if source.live:
        kind, rate, repeat, duration = "live", options.rate, 1, options.duration
    elif source.rate:
        rate = options.rate or source.rate
        kind, repeat, duration = "video", 1, count / rate
    else:
        rate = options.rate or _PHOTO_RATE
        kind, repeat, duration = "photos", _PHOTO_REPEAT, count * _PHOTO_REPEAT / rate
    calibration = ""
    if options.camera_info:
        calibration = str(Path(options.camera_info).resolve())
        try:
            read_calibration(calibration)
        except CameraError as error:
            raise DemoError(str(error)) from error
    return Plan(kind, path, rate, repeat, duration, camera_info=calibration, fov=0.0 if calibration else options.fov)


def clip_source(folder: Path) -> Path:
    """The source of a rendered clip for camera_source: its lossless pictures, else its video."""
    images = folder / "images"
    return images if images.is_dir() else folder / "clip.mp4"


def record(plan: Plan, run: Path) -> None:
    """Play the plan to the node and record the node's messages in ``run``. Raises ProcessFailed."""
    environment = dds_environment()
    live = plan.kind == "live"

    def start(name: str, parameters: dict[str, Any]) -> Process:
        return Process(name, f"hand_recon_ros.ros.{_MODULES[name]}", parameters, run, plan.namespace, environment)

    # With a queue of one, an image that comes while the node's threads wait for a busy processor replaces another
    # before it is counted: "received" would not be what the transport delivered.
    queue = {f"qos_overrides.{plan.namespace}/image.subscription.depth": 5}
    with (
        start("hand_recon", {"fallback_fov": plan.fov, **queue}) as node,
        start("recorder", {"out": run, "save_images": live}) as recorder,
    ):
        recorder.wait_for_line("ready", timeout=_START_LIMIT, others=[node])
        camera_parameters = {
            "source": plan.source,
            "rate": plan.rate,
            "repeat": plan.repeat,
            "duration": plan.duration if live else 0.0,
            "camera_info_url": plan.camera_info,
            "wait_for_subscribers": 2 if live else 1,  # the recorder writes live images
            "start_delay": 0.5,
            "linger": _LINGER,
            "sent_log": run / "sent.jsonl",
        }
        where = f"in {plan.namespace}, ROS_DOMAIN_ID={environment['ROS_DOMAIN_ID']}"
        print(f"demo: playing {plan.source} for {plan.duration:.0f} s {where}", file=sys.stderr, flush=True)
        with start("camera_source", camera_parameters) as camera:
            camera.wait_for_end(timeout=_START_LIMIT + 2.0 * plan.duration, others=[node, recorder])
        # The recorder writes its files when it is interrupted.
        recorder.stop()
        node.stop()
    if not (run / "hands.jsonl").exists():
        raise ProcessFailed(f"the recorder wrote no hands.jsonl: {recorder.last_line()}")


def report(out: Path) -> int:
    """Make pictures and figures from the recording."""
    command = [*python_command("hand_recon_ros.evaluation.demo_report"), str(out)]
    try:
        return subprocess.run(command, timeout=1800.0, check=False).returncode
    except subprocess.TimeoutExpired as error:
        raise DemoError(f"the report did not end within {error.timeout:.0f} s") from error


if __name__ == "__main__":
    sys.exit(main())
