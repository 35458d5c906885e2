"""``hand-recon distill``: adapts the encoder ``small`` to a user's camera, gloves and hands, from recordings alone."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..config import ConfigError, checked, setting
from ..evaluation.encoder_predictors import session_predictor
from ..image_files import KeptFiles, printable
from ..models.exported_weights import encoder_from_onnx
from ..runtime.bundled_networks import bundled_network
from ..runtime.model_files import replacing, write_whole
from . import distill_report
from .encoder import EncoderTraining, Recipe
from .label_recordings import label_recordings, left_out_text
from .losses import LossWeights
from .recorded_hands import DistillTrainer, RecordedHands
from .recording_labels import Labeller, LabelOptions
from .recordings import Recording, open_recordings, read_files

_START = "small"
_FILES = ("run.json", "labels.json", "start.safetensors", "encoder.onnx", "encoder.md", "distill.json")


@dataclasses.dataclass(frozen=True)
class DistillTraining(EncoderTraining):
    """Section ``training`` of the settings, with defaults for a short training from the shipped weights."""

    steps: int = setting(400, "steps of the optimiser", low=1)
    batch: int = setting(8, "samples (pairs of crops) of a step", low=1)
    learning_rate: float = setting(5e-5, "its maximum", low=0.0)
    average: float = setting(0.99, "decay of the moving average of the weights", low=0.0, high=1.0)
    warm_up: int = setting(20, "steps until the learning rate is at its maximum", low=0)
    workers: int = setting(0, "processes that make samples", low=0)
    distinct: int = setting(128, "rendered samples, used several times with variations", low=1)
    validation: int = setting(64, "renders of val, on which the predicted errors are calibrated", low=1)
    validate_every: int = setting(1000000, "steps between validations; always at the end", low=1)
    checkpoint_every: int = setting(50, "steps between checkpoints", low=1)
    recorded: float = setting(0.5, "share of the recordings among the samples; the others are renders", low=0.05,
                              high=0.95)  # fmt: skip
    measured: int = setting(100, "renders of val that are measured before and after", low=8)


_FIXED = ("out", "weights", "cache", "photographs", "photograph_share", "priors", "segmentation_model", "depth_model",
          "corrupted", "steps")  # fmt: skip
"""Settings of a training that the command chooses itself."""


@dataclasses.dataclass(frozen=True)
class DistillOptions:
    """What is distilled, from what, and how.

    Attributes:
        sources: videos, folders of pictures or folders of rendered clips.
        out: folder for everything that is written.
        teacher: encoder that labels, as the setting ``encoder``.
        hand_model: MANO's file, where the teacher needs it.
        calibration, fov: of the camera, see :func:`recordings.open_recordings`.
        labels, training, losses: the settings.
        resume: go on with an interrupted run.
        command: as it was typed.
    """

    sources: list[str]
    out: Path
    teacher: str = _START
    hand_model: str = ""
    calibration: str | None = None
    fov: float | None = None
    labels: LabelOptions = LabelOptions()
    training: DistillTraining = DistillTraining()
    losses: LossWeights = LossWeights()
    resume: bool = False
    command: str = ""

    def decisive(self) -> dict[str, Any]:
        """What the labels depend on; a run goes on only with the same."""
        return {
            "sources": [os.path.abspath(source) if os.path.exists(source) else source for source in self.sources],
            "teacher": self.teacher, "hand_model": self.hand_model, "calibration": self.calibration, "fov": self.fov,
            "labels": dataclasses.asdict(self.labels),
        }  # fmt: skip


def distill_settings(values: Mapping[str, Any], steps: int | None, every: float | None) -> dict[str, Any]:
    """Sections ``labels``, ``training`` and ``losses`` from overrides ``[SECTION.]NAME``, of ``training`` where none is
    named. Raises ConfigError for unknown and bad ones, and for those that the command chooses."""
    sections: dict[str, dict[str, Any]] = {"labels": {}, "training": {}, "losses": {}}
    for name, value in values.items():
        section, _, key = name.rpartition(".")
        section = section or "training"
        if section not in sections:
            raise ConfigError(f"{name}: there is no section {section!r}, expected one of {sorted(sections)}")
        if (section == "training" and key in _FIXED) or (section, key) == ("labels", "every"):
            option = {"steps": "--steps", "every": "--every", "out": "--out"}.get(key, "")
            raise ConfigError(f"{name} is chosen by the command{f': use {option}' if option else ''}")
        sections[section][key] = value
    if steps is not None:
        sections["training"]["steps"] = steps
    if every is not None:
        sections["labels"]["every"] = every
    kinds = {"labels": LabelOptions, "training": DistillTraining, "losses": LossWeights}
    return {name: checked(kinds[name], sections[name]) for name in sections}


def distill(options: DistillOptions) -> dict[str, Any]:
    """Label, train, measure, and write ``encoder.onnx`` with its card; returns the report, also in ``distill.json``.

    Raises ConfigError, SourceError, CameraError and OSError where something cannot be used, each with what to do.
    """
    begin, out = time.perf_counter(), options.out
    teacher = bundled_network("encoder", options.teacher)
    recordings = open_recordings(options.sources, options.calibration, options.fov, out)
    try:
        kept = KeptFiles(read_files(recordings, options.calibration, str(teacher)))
        about = _begin_run(options, kept)
        if "recordings" not in about:
            labeller = Labeller(options.teacher, options.labels, options.training.threads, options.hand_model)
            about["recordings"] = label_recordings(labeller, recordings, options.labels, out, kept)
            _write_json(out / "run.json", about)
        for recording in about["recordings"]:
            _tell(recording)
        exported, steps = _train(options)
        measured = _measure(recordings, about["recordings"], options, exported)
    finally:
        for each in recordings:
            each.close()
    report = {
        "out": str(out), "encoder": str(exported), "command": options.command, "teacher": options.teacher,
        "recordings": about["recordings"], "steps": steps, "batch": options.training.batch,
        "share": options.training.recorded, "seconds": round(time.perf_counter() - begin, 1), **measured,
        "not_better": distill_report.verdict(measured), "table": distill_report.table(measured),
    }  # fmt: skip
    (out / "encoder.md").write_text(distill_report.card(report), encoding="utf-8")
    _write_json(out / "distill.json", report)
    return report


def _begin_run(options: DistillOptions, kept: KeptFiles) -> dict[str, Any]:
    """What ``run.json`` has of an interrupted run; raises ConfigError where there is one of other settings, or one and
    the run is not to go on."""
    path = options.out / "run.json"
    for name in _FILES:
        kept.check(options.out / name)
    decisive = json.loads(json.dumps(options.decisive()))
    if not path.exists():
        if options.resume:
            raise ConfigError(f"{printable(options.out)}: has no run to go on with: leave out --resume")
        if options.out.exists() and any(options.out.iterdir()):
            raise ConfigError(f"{printable(options.out)}: has files of something else: name another folder")
        options.out.mkdir(parents=True, exist_ok=True)
        about = {"settings": decisive}
        _write_json(path, about)
        return about
    if not options.resume:
        raise ConfigError(f"{printable(options.out)}: has an earlier run: go on with --resume, or name another folder")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        before = about["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{printable(path)}: damaged ({error}): name another folder") from error
    changed = [name for name, value in decisive.items() if before.get(name) != value]
    if changed:
        raise ConfigError(f"{printable(path)} is of a run with other {', '.join(changed)}: name another folder")
    if "recordings" in about and not (options.out / "labels.json").exists():
        del about["recordings"]
    return dict(about)


def _train(options: DistillOptions) -> tuple[Path, int]:
    """Train by the labels; returns the exported encoder and the number of steps."""
    from safetensors.torch import save_file

    out, start = options.out, options.out / "start.safetensors"
    network = encoder_from_onnx(bundled_network("encoder", _START))
    if not start.exists():
        weights = {name: value.contiguous() for name, value in network.state_dict().items()}
        with replacing(start) as scratch:
            save_file(weights, scratch, {"encoder": json.dumps(dataclasses.asdict(network.config))})
    training = dataclasses.replace(
        options.training, out=str(out / "training"), weights=str(start), cache=str(out / "renders"), corrupted=0.0
    )
    recipe = Recipe(network.config, options.losses, training)
    trainer = DistillTrainer(recipe, out / "labels.json", training.recorded, resume=options.resume)
    trainer.run()
    written = trainer.export()
    assert written is not None  # the encoder needs no priors
    exported = out / "encoder.onnx"
    written.replace(exported)
    return exported, trainer.step


def _measure(
    recordings: list[Recording], reports: list[dict[str, Any]], options: DistillOptions, exported: Path
) -> dict[str, Any]:
    """Errors before and after: on the held-out labels, by the ground truth of rendered clips, and on renders."""
    predictors = [session_predictor(name) for name in (_START, str(exported))]
    held_out = RecordedHands(options.out / "labels.json", "val")
    labels = distill_report.crop_errors(predictors, distill_report.held_out_labels(held_out))
    result = {"held_out_labels": distill_report.comparison(*labels)}
    parts = [
        distill_report.crop_errors(predictors, distill_report.true_hands(recording.clip, report["held_out"]))
        for recording, report in zip(recordings, reports, strict=True)
        if recording.clip is not None
    ]
    if parts:
        truth = [{name: np.concatenate([part[i][name] for part in parts]) for name in labels[0]} for i in range(2)]
        result["held_out_truth"] = distill_report.comparison(*truth)
    renders = distill_report.rendered_errors(predictors, options.training.measured)
    result["renders"] = distill_report.comparison(*renders)
    return result


def _tell(recording: Mapping[str, Any]) -> None:
    kept = recording["kept"]
    print(
        f"{printable(recording['name'])}: {recording['images']} images, hands kept {kept['train']} + {kept['val']} "
        f"held out; left out: {left_out_text([recording])}",
        file=sys.stderr,
    )
    for file, reason in recording["not_read"].items():
        print(f"not read: {printable(file)}: {reason}", file=sys.stderr)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_whole(path, (json.dumps(content, indent=1) + "\n").encode())
