"""``hand-recon evaluate``: which measurement the options ask for, and its figures as text."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .commands import CommandError, overrides, plain

_DATA_SETS = ("interhand26m", "freihand", "hic")
_SPLITS = ("demo", "val", "test", "test-occluded", "test-interacting")
_OF_SYNTHETIC = ("depth", "hand_length", "smoothing_delay", "detection", "encoder", "single_images")
_OF_DATA_SETS = ("protocol", "cache", "fail_on_damaged", "predictions", "save_predictions", "streams")


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    if options.dataset not in _DATA_SETS and (
        any(getattr(options, name) for name in _OF_DATA_SETS) or options.processes != 1
    ):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in (*_OF_DATA_SETS, "processes"))
        raise CommandError(f"{names} are of --dataset {', '.join(_DATA_SETS)}")
    if options.dataset != "synthetic":
        if any(getattr(options, name) for name in _OF_SYNTHETIC):
            names = ", ".join(f"--{name.replace('_', '-')}" for name in _OF_SYNTHETIC)
            raise CommandError(f"{names} are of --dataset synthetic")
        if options.root is None:
            raise CommandError(f"--dataset {options.dataset} needs --root DIR, its folder")
        return _evaluate_pictures(options) if options.dataset == "pictures" else _evaluate_data_set(options)
    if options.root or options.compare:
        raise CommandError("--root and --compare are of --dataset pictures, --root of the published data sets as well")
    options.split = options.split or "val"
    if options.split not in _SPLITS:
        raise CommandError(f"--split of synthetic is one of {', '.join(_SPLITS)}, not {options.split}")
    options.frames = 300 if options.frames is None else options.frames
    if (options.depth or options.hand_length) and (
        options.detection or options.encoder or options.single_images or options.split.startswith("test-")
    ):
        raise CommandError(
            "--depth and --hand-length are of clips: leave out --detection, --encoder and --single-images"
        )
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

        print(f"report -> {write_report(options.report, plain(report), cases, options.line)}", file=sys.stderr)
    return report


def _evaluate_pictures(options: argparse.Namespace) -> dict[str, Any]:
    from .datasets.pictures import read_pictures
    from .evaluation.picture_tables import comparison_rows, kind_rows, lines
    from .evaluation.pictures import evaluate_pictures
    from .reconstructor import TwoHandReconstructor

    if options.report:
        _report_folder(options.report)
    pictures = read_pictures(options.root)
    given = overrides(options.set)
    changes = {"as given": {}, **{" ".join(texts): overrides(texts, "--compare") for texts in options.compare}}
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

        path = write_picture_report(options.report, plain(report), tables, measured, options.line)
        print(f"report -> {path}", file=sys.stderr)
    return report


def _evaluate_data_set(options: argparse.Namespace) -> dict[str, Any]:
    from tqdm import tqdm

    from .config import ConfigError, reconstructor_config
    from .evaluation import data_sets
    from .evaluation.picture_tables import lines
    from .evaluation.protocols.published import beside

    if options.compare or options.report:
        raise CommandError("--compare and --report are not of the published data sets")
    if options.dataset != "freihand" and (options.predictions or options.save_predictions):
        raise CommandError("--predictions and --save-predictions are of --dataset freihand")
    if options.streams and (options.dataset != "interhand26m" or options.frames is not None):
        raise CommandError("--streams is of --dataset interhand26m, of all images: leave out --frames")
    if options.save_predictions and (options.frames is not None or options.predictions):
        raise CommandError("--save-predictions writes those of all images: leave out --frames and --predictions")
    if options.processes < 1 or (options.frames is not None and options.frames < 1):
        raise CommandError("--processes and --frames must be at least 1")
    config = reconstructor_config(options.config, **overrides(options.set))
    try:
        data = data_sets.open_data_set(
            options.dataset, options.root, options.split or "", options.protocol, config.hand_model
        )
    except ConfigError:
        raise
    except ValueError as error:
        raise CommandError(str(error)) from error
    if options.predictions:
        report = data_sets.evaluate_freihand_predictions(data, options.predictions)
    else:

        def progress(parts: Iterable[Any]) -> Iterable[Any]:
            total = len(data.images) if options.frames is None else min(options.frames, len(data.images))
            with tqdm(desc=options.dataset, total=total, unit="image", disable=None) as bar:
                for part in parts:
                    yield part
                    bar.update(len(part["index"]) + len(part["damaged"]))

        report = data_sets.evaluate_data_set(
            data, config, options.frames, options.cache, options.processes, progress,
            not options.fail_on_damaged, options.save_predictions, options.streams,
        )  # fmt: skip
    for message in report.get("damaged", []):
        print(f"left out: {message}", file=sys.stderr)
    print(report["protocol"], file=sys.stderr)
    print("  ".join(f"{name} {count}" for name, count in report["counts"].items()), file=sys.stderr)
    for when in ("estimate", "refined"):
        figures = report["metrics"][when]
        if figures is None:
            continue
        print(f"\n{when}:", file=sys.stderr)
        width = max(map(len, figures))
        for name, value in figures.items():
            if value is not None:
                low, high = report["ci95"][when][name]
                print(f"{name:>{width}} {value:9.3f}   [{low:.3f}, {high:.3f}]", file=sys.stderr)
    last = "refined" if report["metrics"]["refined"] else "estimate"
    figures = {name: report[name][last] for name in ("metrics", "ci95")}
    print("", *lines(beside(options.dataset, report["protocol_name"], figures)), sep="\n", file=sys.stderr)
    if report["miniature"]:
        print("measured on a rendered miniature: the published figures are of the real images", file=sys.stderr)
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
    settings = checked(ReconstructorConfig, overrides(options.set))
    refiner = load_refiner(settings, load_hand_model(settings.hand_model)) if settings.refine_steps else None
    return evaluate_encoder(predict, options.split, options.frames, cases, refiner, settings.refine_steps)


def _evaluate_pipeline(options: argparse.Namespace, cases: list[Any] | None) -> dict[str, Any]:
    from .evaluation.synthetic import SPLITS, evaluate_synthetic
    from .reconstructor import TwoHandReconstructor

    reconstructor = TwoHandReconstructor.from_config(options.config, **overrides(options.set))
    if options.single_images or options.split not in SPLITS:
        from .evaluation.images import evaluate_images

        return evaluate_images(reconstructor, options.split, options.frames, cases)
    return evaluate_synthetic(
        reconstructor, options.split, options.frames, cases=cases, depth=options.depth, length=options.hand_length,
        smoothing_delay=options.smoothing_delay,
    )  # fmt: skip


def _report_folder(folder: Path) -> list[Any]:
    """The empty list of a report's cases; fails before anything is measured where the report cannot be written."""
    if importlib.util.find_spec("matplotlib") is None:
        raise CommandError("--report needs matplotlib: pip install matplotlib")
    folder.mkdir(parents=True, exist_ok=True)
    return []
