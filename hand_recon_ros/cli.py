"""``hand-recon``: the commands without ROS. Progress and logs go to stderr; ``--json`` prints to stdout."""

from __future__ import annotations

import argparse
import importlib.util
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__
from .runtime.devices import DEVICES

_FAILURE, _USAGE = 1, 2
_SHOWN_FAULTS = 20


class CommandError(RuntimeError):
    """A command cannot be carried out; its user gets the message alone."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 for a failure that was explained, 2 for bad arguments."""
    options = _parser().parse_args(arguments)
    options.line = shlex.join(["hand-recon", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        result = options.run(options)
    except _expected_errors() as error:
        print(f"hand-recon {options.command}: {error}", file=sys.stderr)
        return _FAILURE
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "hand_recon_ros"):
            raise
        extra = {"train": "train", "bag": "bags"}.get(options.command, "eval" if package != "torch" else "train")
        print(
            f"hand-recon {options.command}: needs {package}, which is not installed: "
            f"pip install 'hand_recon_ros[{extra}]'",
            file=sys.stderr,
        )
        return _FAILURE
    except KeyboardInterrupt:
        return 130
    if options.json:
        print(json.dumps(_plain(result), allow_nan=False))
    return 0


def _expected_errors() -> tuple[type[Exception], ...]:
    from .bags.messages import BagError
    from .camera import CameraError
    from .config import ConfigError
    from .datasets.pictures import AnnotationError
    from .hand_model import HandModelError
    from .runtime.devices import DeviceError
    from .runtime.model_files import ModelFileError
    from .runtime.sessions import SessionError
    from .sources import SourceError

    return (
        CommandError, AnnotationError, BagError, CameraError, ConfigError, DeviceError, HandModelError, ModelFileError,
        SessionError, SourceError, OSError,
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hand-recon", description="Both hands in metric 3D from images, without ROS.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--json", action="store_true", help="print one JSON object on stdout")
        sub.set_defaults(run=run)
        return sub

    sub = command("reconstruct", _reconstruct, "hands in a photo, a folder of photos or a video: overlays and JSON")
    sub.add_argument("source", help="photo, folder, video file, URL of a stream, or index of a webcam")
    sub.add_argument(
        "--out", type=Path, default=Path("out/reconstruct"), help="folder for the results (default: %(default)s)"
    )
    sub.add_argument("--config", help="YAML file with settings")
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="override one setting")
    sub.add_argument(
        "--fov", type=float, default=60.0, help="field of view where no calibration is given (deg, %(default)s)"
    )
    sub.add_argument("--calibration", help="camera calibration YAML (format of ROS camera_calibration)")
    sub.add_argument(
        "--all-people", action="store_true", help="hands of every person in a photo: the JSON is a list, operator first"
    )

    sub = command("bag", _bag, "hands in a ROS 2 recording, without ROS: an MCAP file with TwoHands messages")
    sub.add_argument("recording", type=Path, help="folder of rosbag2, .mcap or .db3")
    sub.add_argument("--image", metavar="TOPIC", help="sensor_msgs/Image or CompressedImage to reconstruct")
    sub.add_argument("--out", type=Path, metavar="OUT.mcap", help="file to write; none is written over")
    sub.add_argument("--camera-info", metavar="TOPIC", help="calibration (default: camera_info beside the images)")
    sub.add_argument("--calibration", help="camera calibration YAML, used instead of camera_info")
    sub.add_argument(
        "--fov", type=float, default=60.0, help="field of view where no calibration is there (deg, %(default)s)"
    )
    sub.add_argument("--rectified", action="store_true", help="the images are rectified: use P of camera_info")
    sub.add_argument("--depth", metavar="TOPIC", help="depth images registered to the images")
    sub.add_argument(
        "--depth-slop", type=float, default=0.04, metavar="S",
        help="highest difference of the stamps of image and depth image (s, %(default)s)",
    )  # fmt: skip
    sub.add_argument(
        "--publish-tf", choices=("off", "wrist", "full"), default="wrist", help="transforms on /tf (%(default)s)"
    )
    sub.add_argument("--tf-prefix", default="human_", help="prefix of the frames on /tf (%(default)s)")
    sub.add_argument("--with-images", action="store_true", help="copy the images and their camera_info to the output")
    sub.add_argument("--config", help="YAML file with settings")
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="override one setting")
    sub.add_argument(
        "--check", action="store_true", help="check a file that this command has written, and reconstruct nothing"
    )

    sub = command("synth", _synth, "render a clip of two hands with exact ground truth")
    sub.add_argument("--out", type=Path, required=True, help="folder to write")
    sub.add_argument("--frames", type=int, default=300, help="number of frames (default: %(default)s)")
    sub.add_argument("--seed", type=int, default=0, help="the same seed gives the same clip (default: %(default)s)")
    sub.add_argument(
        "--format", choices=("mp4", "png"), default="png", help="one video or single pictures (%(default)s)"
    )

    sub = command("train", _train, "train the hand detector, the encoder or the refiner")
    sub.add_argument("what", choices=("detector", "encoder", "refiner"))
    sub.add_argument("--config", type=Path, required=True, help="YAML file of the recipe")
    sub.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    sub.add_argument(
        "--set", action="append", default=[], metavar="[SECTION.]NAME=VALUE",
        help="override one setting of the recipe, of its section training where none is named",
    )  # fmt: skip

    sub = command("evaluate", _evaluate, "measure accuracy against ground truth")
    sub.add_argument(
        "--dataset", choices=("synthetic", "pictures"), default="synthetic",
        help="rendered hands, or real pictures with annotated boxes and sides (default: %(default)s)",
    )  # fmt: skip
    sub.add_argument("--root", type=Path, metavar="DIR", help="of pictures: folder with annotations.json")
    sub.add_argument(
        "--compare", nargs="+", action="append", default=[], metavar="NAME=VALUE",
        help="of pictures: also measure with these settings changed; may be repeated, each time for another row",
    )  # fmt: skip
    sub.add_argument(
        "--split", default="val", choices=("demo", "val", "test", "test-occluded", "test-interacting"),
        help="which clips (demo: that of make demo), single images or, with --encoder, crops (default: %(default)s)",
    )  # fmt: skip
    sub.add_argument("--frames", type=int, default=300, help="frames of each clip, or images (default: %(default)s)")
    sub.add_argument(
        "--single-images",
        action="store_true",
        help="single images instead of clips; always so for test-occluded and test-interacting",
    )
    sub.add_argument(
        "--encoder", help="measure an encoder alone, on crops of single images: its name, .onnx or .safetensors"
    )
    sub.add_argument(
        "--depth", action="store_true", help="of clips: each image with a depth image, rendered with noise"
    )
    sub.add_argument("--detection", action="store_true", help="measure the detection of hands in single images")
    sub.add_argument(
        "--report", type=Path, metavar="DIR",
        help="also write DIR/report.html: figures, errors of each keypoint, PCK curves, overlays of the worst images; "
        "of pictures: those that are not right",
    )  # fmt: skip
    sub.add_argument("--config", help="YAML file with settings")
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="override one setting")

    sub = command("benchmark", _benchmark, "latency and throughput, beside installed peers")
    sub.add_argument("--seconds", type=float, default=3.0, help="duration of each measurement (default: %(default)s)")
    sub.add_argument("--no-ros", action="store_true", help="do not measure the node over DDS")
    sub.add_argument("--device", choices=DEVICES, default="auto", help="of the networks (default: %(default)s)")

    sub = command("import-mano", _import_mano, "convert MANO_RIGHT.pkl or MANO_LEFT.pkl to the pickle-free layout")
    sub.add_argument("file", type=Path)
    sub.add_argument(
        "--out", type=Path, help="folder for MANO_RIGHT.npz and MANO_LEFT.npz (default: that of the input)"
    )

    sub = command("models", _models, "the network files: list, fetch, verify")
    sub.add_argument("action", nargs="?", choices=("list", "fetch", "verify"), default="list")
    sub.add_argument("--dest", default="", help="fetch: folder to put them in (default: the user's cache)")
    sub.add_argument("--wheel", type=Path, help="fetch: extract them from this wheel instead of downloading it")
    return parser


def _overrides(texts: Sequence[str], option: str = "--set") -> dict[str, Any]:
    import yaml

    values = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise CommandError(f"{option} takes NAME=VALUE, got {text!r}")
        values[name] = yaml.safe_load(value) if value else ""
    return values


def _plain(value: Any) -> Any:
    """``value`` in JSON's types; NaN and infinity become null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def _reconstruct(options: argparse.Namespace) -> dict[str, Any]:
    from .batch import reconstruct_source
    from .image_files import printable
    from .reconstructor import TwoHandReconstructor

    reconstructor = TwoHandReconstructor.from_config(options.config, **_overrides(options.set))
    summary = reconstruct_source(
        reconstructor, options.source, options.out, options.fov, options.calibration, options.all_people
    )
    for left_out in summary["left_out"]:
        print(f"left out: {printable(left_out['image'])}: {left_out['reason']}", file=sys.stderr)
    read, expected = summary["images"], summary["images_expected"]
    count = f"{read} images" if read == expected else f"{read} of {expected} images"
    print(f"{count} -> {printable(options.out)}", file=sys.stderr)
    return summary


def _bag(options: argparse.Namespace) -> dict[str, Any]:
    if options.check:
        if options.image or options.out:
            raise CommandError("--check takes a file that this command has written: leave out --image and --out")
        return _check_bag(options)
    if options.image is None or options.out is None:
        raise CommandError("needs --image TOPIC and --out OUT.mcap, or --check")
    from .bags.images import ImageOptions, RecordedImages
    from .bags.output import check_output
    from .bags.reconstruct import reconstruct_recording
    from .image_files import printable
    from .reconstructor import TwoHandReconstructor

    check_output(options.recording, options.out)
    how = ImageOptions(
        options.camera_info, options.calibration, options.fov, options.rectified, options.depth, options.depth_slop
    )
    with RecordedImages(options.recording, options.image, how) as images:
        reconstructor = TwoHandReconstructor.from_config(options.config, **_overrides(options.set))
        summary = reconstruct_recording(
            reconstructor, images, options.out, options.publish_tf, options.tf_prefix, options.with_images
        )
    for each in summary["left_out"]:
        print(f"left out: image {each['image']}, stamp {each['stamp']:.3f}: {each['reason']}", file=sys.stderr)
    read, expected = summary["images"], summary["images_expected"]
    count = f"{read} images" if read == expected else f"{read} of {expected} images"
    print(f"{count}, {_found(summary)} -> {printable(options.out)}", file=sys.stderr)
    return summary


def _check_bag(options: argparse.Namespace) -> dict[str, Any]:
    from .bags.check import check_hands_file
    from .image_files import printable

    report = check_hands_file(options.recording)
    name, faults = printable(options.recording), report["faults"]
    if faults:
        raise CommandError("\n".join([f"{name}: faults: {len(faults)}", *faults[:_SHOWN_FAULTS]]))
    print(f"{name}: {report['images']} images, {_found(report)}: no fault", file=sys.stderr)
    return report


def _found(report: dict[str, Any]) -> str:
    return ", ".join(f"{side} hand in {count}" for side, count in report["found"].items())


def _synth(options: argparse.Namespace) -> dict[str, Any]:
    from .synthetic import write_clip

    if options.frames < 1:
        raise CommandError(f"--frames must be at least 1, got {options.frames}")
    write_clip(options.out, frames=options.frames, seed=options.seed, fmt=options.format)
    print(f"{options.frames} frames -> {options.out}", file=sys.stderr)
    return {"out": options.out, "frames": options.frames, "seed": options.seed, "format": options.format}


def _train(options: argparse.Namespace) -> dict[str, Any]:
    if options.what == "refiner":
        if importlib.util.find_spec("diffusers") is None:
            raise CommandError("training the refiner needs diffusers, for its noise schedule: pip install diffusers")
        from .training.prior import train_refiner

        return train_refiner(options.config, options.resume, **_overrides(options.set))
    if options.what == "detector":
        from .training.pair_detector import train_pair_detector

        return train_pair_detector(options.config, options.resume, **_overrides(options.set))
    from .training.encoder import train_encoder

    return train_encoder(options.config, options.resume, **_overrides(options.set))


def _evaluate(options: argparse.Namespace) -> dict[str, Any]:
    if options.dataset == "pictures":
        if options.depth:
            raise CommandError("--depth is of --dataset synthetic")
        return _evaluate_pictures(options)
    if options.root or options.compare:
        raise CommandError("--root and --compare are of --dataset pictures")
    if options.depth and (
        options.detection or options.encoder or options.single_images or options.split.startswith("test-")
    ):
        raise CommandError("--depth is of clips: leave out --detection, --encoder and --single-images")
    if options.split == "demo" and (options.detection or options.encoder or options.single_images):
        raise CommandError("--split demo is a clip: leave out --detection, --encoder and --single-images")
    if options.detection:
        if options.report:
            raise CommandError("--report is of keypoints' errors, which --detection does not measure: leave one out")
        return _evaluate_detection(options)
    cases = _report_folder(options.report) if options.report else None
    report = _evaluate_encoder(options, cases) if options.encoder else _evaluate_pipeline(options, cases)
    for name, value in report["metrics"]["estimate"].items():
        if value is not None:
            low, high = report["ci95"]["estimate"][name]
            true = report["metrics"]["ground_truth"][name]
            refined = None if report["metrics"]["refined"] is None else report["metrics"]["refined"][name]
            others = "" if refined is None else f"   refined {refined:.3f}"
            others += "" if true is None else f"   ground truth {true:.3f}"
            print(f"{name:>16} {value:9.3f}   [{low:.3f}, {high:.3f}]{others}", file=sys.stderr)
    for name, value in report.get("depth", {}).items():
        print(f"{'depth ' + name:>28} {value:9.3f}" if value is not None else f"{name}: none", file=sys.stderr)
    if cases is not None:
        from .evaluation.report import write_report

        print(f"report -> {write_report(options.report, _plain(report), cases, options.line)}", file=sys.stderr)
    return report


def _evaluate_pictures(options: argparse.Namespace) -> dict[str, Any]:
    from .datasets.pictures import read_pictures
    from .evaluation.picture_tables import comparison_rows, kind_rows, lines
    from .evaluation.pictures import evaluate_pictures
    from .reconstructor import TwoHandReconstructor

    if options.root is None:
        raise CommandError("--dataset pictures needs --root DIR, the folder with annotations.json")
    if options.detection or options.encoder or options.single_images:
        raise CommandError("--detection, --encoder and --single-images are of --dataset synthetic")
    if options.report:
        _report_folder(options.report)
    pictures = read_pictures(options.root)
    given = _overrides(options.set)
    changes = {"as given": {}, **{" ".join(texts): _overrides(texts, "--compare") for texts in options.compare}}
    reconstructors = {
        name: TwoHandReconstructor.from_config(options.config, **{**given, **change})
        for name, change in changes.items()
    }
    report, measured = evaluate_pictures(reconstructors, pictures)
    tables = [kind_rows(report), *([comparison_rows(report)] if "comparison" in report else [])]
    for rows in tables:
        print(*lines(rows), "", sep="\n", file=sys.stderr)
    if options.report:
        from .evaluation.picture_report import write_picture_report

        path = write_picture_report(options.report, _plain(report), tables, measured, options.line)
        print(f"report -> {path}", file=sys.stderr)
    return report


def _evaluate_detection(options: argparse.Namespace) -> dict[str, Any]:
    from .evaluation.detection import evaluate_detection

    report = evaluate_detection(options.split, options.frames)
    for part, rows in report["metrics"].items():
        print(f"{part}: {report['n'][part]} frames", file=sys.stderr)
        for name, figures in rows.items():
            text = "  ".join(f"{figure} {value:.3f}" for figure, value in figures.items())
            print(f"{name:>16}  {text}", file=sys.stderr)
    return report


def _evaluate_encoder(options: argparse.Namespace, cases: list[Any] | None) -> dict[str, Any]:
    from .config import ReconstructorConfig, checked
    from .evaluation.encoder import evaluate_encoder
    from .evaluation.encoder_predictors import load_encoder, network_predictor, session_predictor
    from .hand_model import load_hand_model
    from .interact.refinement import load_refiner

    trained = options.encoder.endswith(".safetensors")
    predict = network_predictor(load_encoder(options.encoder)) if trained else session_predictor(options.encoder)
    settings = checked(ReconstructorConfig, _overrides(options.set))
    refiner = load_refiner(settings, load_hand_model(settings.hand_model)) if settings.refine_steps else None
    return evaluate_encoder(predict, options.split, options.frames, cases, refiner, settings.refine_steps)


def _evaluate_pipeline(options: argparse.Namespace, cases: list[Any] | None) -> dict[str, Any]:
    from .evaluation.synthetic import SPLITS, evaluate_synthetic
    from .reconstructor import TwoHandReconstructor

    reconstructor = TwoHandReconstructor.from_config(options.config, **_overrides(options.set))
    if options.single_images or options.split not in SPLITS:
        from .evaluation.images import evaluate_images

        return evaluate_images(reconstructor, options.split, options.frames, cases)
    return evaluate_synthetic(reconstructor, options.split, options.frames, cases=cases, depth=options.depth)


def _report_folder(folder: Path) -> list[Any]:
    """The empty list of a report's cases; fails before anything is measured where the report cannot be written."""
    if importlib.util.find_spec("matplotlib") is None:
        raise CommandError("--report needs matplotlib: pip install matplotlib")
    folder.mkdir(parents=True, exist_ok=True)
    return []


def _benchmark(options: argparse.Namespace) -> dict[str, Any]:
    from .evaluation.benchmark import run_benchmark

    report = run_benchmark(seconds=options.seconds, ros=not options.no_ros, device=options.device)
    print(f"{'ms':42} {'median':>9} {'limit':>9} {'p95':>9} {'limit':>9}", file=sys.stderr)
    for row in report["results"]:
        limit, p95_limit = (
            " " * 9 if row.get(name) is None else f"{row[name]:9.1f}" for name in ("limit_ms", "p95_limit_ms")
        )
        print(f"{row['name']:42} {row['median_ms']:9.2f} {limit} {row['p95_ms']:9.2f} {p95_limit}", file=sys.stderr)
    memory = report["memory"]
    print(f"{'resident memory, MiB':42} {memory['resident_mib']:9.1f} {memory['limit_mib']:9.1f}", file=sys.stderr)
    if memory["gpu_mib"] is not None:
        print(f"{'GPU memory, MiB':42} {memory['gpu_mib']:9.1f}", file=sys.stderr)
    for note in report["notes"]:
        print(note, file=sys.stderr)
    return report


def _import_mano(options: argparse.Namespace) -> dict[str, Any]:
    from .hand_model.mano_import import import_mano

    path = import_mano(options.file, options.out)
    print(f"{options.file} -> {path}; use it with hand_model:={path}", file=sys.stderr)
    return {"path": path}


def _models(options: argparse.Namespace) -> dict[str, Any]:
    import dataclasses

    from .runtime import model_files

    if options.action == "fetch":
        for path in model_files.fetch_models(options.dest, options.wheel):
            print(path, file=sys.stderr)
    elif options.action == "verify":
        model_files.verify_models(options.dest)
    states = [dataclasses.asdict(status) for status in model_files.list_models(options.dest)]
    for state in states:
        print(f"{state['name']:16} {state['state']:8} {state['path'] or state['source']}", file=sys.stderr)
    return {"models": states}


if __name__ == "__main__":
    sys.exit(main())
