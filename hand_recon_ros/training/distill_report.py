"""What a distilled encoder gained: errors before and after, on what it was not trained on, as figures and as a card."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..datasets.crops import sample_crops
from ..datasets.sample import Sample
from ..evaluation import metrics
from ..evaluation.encoder import measure_encoders
from ..evaluation.encoder_predictors import Predictor
from ..evaluation.intervals import interval, reduction_interval
from ..landmarks.exposure import normalised
from ..synthetic.clips import Clip
from .recorded_hands import RecordedHands, image_sample

_BATCH = 16
_SEED = 4021
"""Of the jitter of the measured crops."""
_LEAST_VISIBLE = 0.5
"""Share of a true hand's pixels that must be visible for it to be measured."""
_WORSE = 0.05
"""Relative increase of MPJPE, on renders or on the held-out part, from which on the encoder is not better."""
_RENDERED = ("mpjpe_mm", "pa_mpjpe_mm", "mrrpe_predicted_mm")
Errors = dict[str, np.ndarray]
"""Figure -> values (N,), one of each measured hand: ``keypoints``, share of the hand in the image; ``mpjpe_mm`` and
``pa_mpjpe_mm`` from the wrist, NaN where the pose is not known."""


def held_out_labels(recorded: RecordedHands) -> Iterator[dict[str, np.ndarray]]:
    """The crops of labelled hands, each cut the same way at every call."""
    for number in range(len(recorded)):
        yield recorded.arrays(number, np.random.default_rng([_SEED, number]), varied=False)


def true_hands(clip: Clip, numbers: Sequence[int]) -> Iterator[dict[str, np.ndarray]]:
    """The crops of all hands of some images of a rendered clip, with the exact ground truth: also of those hands for
    which there is no label, unless less than half of them is visible or in the image."""
    wanted = set(numbers)
    for number, image in enumerate(clip.images()):
        if number in wanted:
            sample = _true_sample(clip, number, image)
            if sample.present.any():
                yield sample_crops(sample, np.random.default_rng([_SEED, number]), distractors=False).arrays


def _true_sample(clip: Clip, number: int, image: np.ndarray) -> Sample:
    truth, camera = clip.truth, clip.camera
    keypoints = truth["keypoints_2d"][number]
    size = np.array([camera.width, camera.height])
    with np.errstate(invalid="ignore"):
        inside = ((keypoints > -0.5) & (keypoints < size - 0.5)).all(axis=-1).mean(axis=1)
    present = (truth["visible_share"][number] >= _LEAST_VISIBLE) & (inside >= _LEAST_VISIBLE)
    present &= np.isfinite(keypoints).all(axis=(1, 2))
    return image_sample(
        normalised(image), camera, f"{clip.folder.name}/{number}", present=present,
        rotations=truth["rotations"][number], betas=truth["betas"], translation=truth["translation"][number],
        joints=truth["joints"][number], keypoints_2d=keypoints,
    )  # fmt: skip


def crop_errors(predictors: Sequence[Predictor], crops: Iterable[dict[str, np.ndarray]]) -> list[Errors]:
    """Errors of each predictor on the same crops; see :data:`Errors`."""
    values: list[dict[str, list[float]]] = [{"keypoints": [], "mpjpe_mm": [], "pa_mpjpe_mm": []} for _ in predictors]
    batch: list[dict[str, np.ndarray]] = []
    for arrays in crops:
        batch.append(arrays)
        if len(batch) == _BATCH:
            _add(values, predictors, batch)
            batch = []
    if batch:
        _add(values, predictors, batch)
    return [{name: np.array(column) for name, column in each.items()} for each in values]


def _add(
    values: list[dict[str, list[float]]], predictors: Sequence[Predictor], batch: list[dict[str, np.ndarray]]
) -> None:
    together = torch.utils.data.default_collate(batch)
    for predict, columns in zip(predictors, values, strict=True):
        outputs = predict(together).map(lambda part: part.numpy().astype(np.float64))
        for index, arrays in enumerate(batch):
            for side in np.flatnonzero(arrays["present"] > 0):
                hand, true = outputs[index][side], arrays["keypoints_2d"][side]
                extent = np.ptp(true, axis=0).max()
                columns["keypoints"].append(float(metrics.point_errors(hand.keypoints_2d, true).mean() / extent))
                posed, joints = arrays["posed"][side] > 0, arrays["joints"][side].astype(np.float64)
                for name, metric in (("mpjpe_mm", metrics.mpjpe), ("pa_mpjpe_mm", metrics.pa_mpjpe)):
                    columns[name].append(float(metric(hand.joints[None], joints[None])[0]) if posed else np.nan)


def rendered_errors(predictors: Sequence[Predictor], count: int) -> list[Errors]:
    """Errors on the first renders of ``val``."""
    with np.errstate(invalid="ignore"):  # an absent hand has no predicted error to compare with
        measured = measure_encoders(predictors, "val", count)
    return [{name: each.estimate[name] for name in _RENDERED} for each in measured]


def comparison(before: Errors, after: Errors) -> dict[str, Any]:
    """Figure -> mean "before" and "after" of the hands in which it is known, their number, and the relative
    "reduction" with its 95 % interval, paired."""
    result = {}
    for name in before:
        known = np.isfinite(before[name]) & np.isfinite(after[name])
        if not known.any():
            continue
        old, new = before[name][known], after[name][known]
        result[name] = {
            "before": float(old.mean()), "before_ci95": interval(old), "after": float(new.mean()),
            "after_ci95": interval(new), "reduction": float(1.0 - new.mean() / old.mean()),
            "reduction_ci95": reduction_interval(old, new), "n": int(known.sum()),
        }  # fmt: skip
    return result


def verdict(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Why the encoder after is not to be used; empty where it is better.

    It is better where the keypoints' error on the held-out part is smaller with 95 % confidence, by the ground truth
    where there is any and otherwise by the labels, and MPJPE is not more than 5 % larger, neither there nor on renders.
    """
    basis = "held_out_truth" if "held_out_truth" in measured else "held_out_labels"
    figure = measured[basis]["keypoints"]
    if figure["reduction_ci95"][0] <= 0.0:
        return (
            f"on the held-out part the keypoints' error is {100 * figure['before']:.2f} % of the hand before and "
            f"{100 * figure['after']:.2f} % after: no gain beyond chance"
        )
    for part, place, meaning in (
        (basis, "the held-out part", "keypoints are better in the image but worse in space"),
        ("renders", "renders", "it has forgotten what it knew"),
    ):
        error = measured[part].get("mpjpe_mm")
        if error is not None and error["reduction"] < -_WORSE:
            return f"on {place} MPJPE is {error['before']:.1f} mm before and {error['after']:.1f} mm after: {meaning}"
    return ""


_ROWS = (
    ("held_out_labels", "keypoints", "held out, labels: keypoints, % of the hand", 100.0),
    ("held_out_labels", "pa_mpjpe_mm", "held out, labels: PA-MPJPE, mm", 1.0),
    ("held_out_truth", "keypoints", "held out, truth: keypoints, % of the hand", 100.0),
    ("held_out_truth", "mpjpe_mm", "held out, truth: MPJPE, mm", 1.0),
    ("held_out_truth", "pa_mpjpe_mm", "held out, truth: PA-MPJPE, mm", 1.0),
    ("renders", "mpjpe_mm", "renders of val: MPJPE, mm", 1.0),
    ("renders", "pa_mpjpe_mm", "renders of val: PA-MPJPE, mm", 1.0),
    ("renders", "mrrpe_predicted_mm", "renders of val: vector between the wrists, mm", 1.0),
)


def table(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures as a table in Markdown."""
    lines = ["| error | before | after | smaller by | n |", "|---|---|---|---|---|"]
    for part, name, text, unit in _ROWS:
        figure = measured.get(part, {}).get(name)
        if figure is None:
            continue
        columns = []
        for when in ("before", "after"):
            low, high = figure[f"{when}_ci95"]
            columns.append(f"{unit * figure[when]:.2f} [{unit * low:.2f}, {unit * high:.2f}]")
        low, high = figure["reduction_ci95"]
        gain = f"{100 * figure['reduction']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        lines.append(f"| {text} | {columns[0]} | {columns[1]} | {gain} | {figure['n']} |")
    return "\n".join(lines)


def card(report: Mapping[str, Any]) -> str:
    """The model card, in Markdown."""
    lines = ["# Encoder `small`, distilled", "", f"Made by `{report['command']}`.", "", "- **Recordings:**"]
    for recording in report["recordings"]:
        out = ", ".join(f"{reason} {count}" for reason, count in recording["left_out_hands"].items() if count)
        lines.append(
            f"  - `{recording['name']}`: {recording['images']} images labelled; hands kept for training "
            f"{recording['kept']['train']}, held out {recording['kept']['val']}; left out: {out or 'none'}"
        )
    result = report["not_better"]
    lines += [
        f"- **Teacher:** `{report['teacher']}`, with landmarks, lifting and smoothing.",
        f"- **Training:** {report['steps']} steps of {report['batch']} samples from the weights of the package, "
        f"{100 * report['share']:.0f} % of them from the recordings, the others renders; {report['seconds']:.0f} s.",
        f"- **Result:** {'not better: ' + result if result else 'better on the held-out part'}.", "",
        "The encoder alone, on crops with random jitter, 95 % intervals:", "", report["table"], "",
        "Its licence is that of the package where you hold the rights in the recordings, unless the teacher's weights "
        "restrict what is made with them (docs/weights.md).", "",
    ]  # fmt: skip
    return "\n".join(lines)
