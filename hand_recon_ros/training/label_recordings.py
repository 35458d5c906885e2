"""Labels of recordings on disk: which hands are kept, for training or to measure on, and the images of videos."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from ..config import ConfigError
from ..image_files import KeptFiles, write_image
from .pseudo_labels import write_labels
from .recorded_hands import label_row
from .recording_labels import REASONS, Labeller, LabelOptions, MeasuredHand, rejection, usual_bones
from .recordings import RecordedImage, Recording

_LARGEST = 1280
"""Longer side to which images of a video are reduced on disk, pixels."""


def label_recordings(
    labeller: Labeller, recordings: list[Recording], options: LabelOptions, out: Path, kept: KeptFiles
) -> list[dict[str, Any]]:
    """Label all recordings into ``out/labels.json``, and store the images of videos in ``out/frames``.

    Returns of each recording its "name", the number of "images", of hands "kept" by part, of those "posed", of
    "left_out_hands" by reason, the files "not_read" and why, and the numbers of the images that are "held_out".

    Raises ConfigError where a part has no label at all; ``kept`` are files that may not be written over.
    """
    rows: list[dict[str, Any]] = []
    reports = []
    for number, recording in enumerate(recordings):
        found, report = _labels_of(labeller, recording, options, number, out, kept)
        rows += found
        reports.append(report)
    for split, part in (("train", "first"), ("val", "last")):
        if not any(row["split"] == split and row["hands"] for row in rows):
            raise ConfigError(
                f"no hand of the {part} part of the recordings is a label ({left_out_text(reports)}): record more, "
                "with hands in view from beginning to end, or relax --set labels.NAME=VALUE"
            )
    write_labels(out / "labels.json", rows)
    return reports


@dataclasses.dataclass
class _Stored:
    """An image of a recording as it is stored for training, and its hands."""

    item: RecordedImage
    file: Path
    size: tuple[int, int]
    hands: list[MeasuredHand]


def _labels_of(
    labeller: Labeller, recording: Recording, options: LabelOptions, index: int, out: Path, kept: KeptFiles
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    images: list[_Stored] = []
    step, seen = 1, 0
    progress = tqdm(labeller(recording), desc=f"label {Path(recording.name).name}", unit="image", disable=None)
    for item, hands in progress:
        seen += 1
        if (seen - 1) % step:
            continue
        images.append(_store(item, hands, out / "frames" / f"{index:03d}-{item.number:07d}.jpg", kept))
        if len(images) > options.most:
            _forget(images[1::2])
            del images[1::2]
            step *= 2
    parts = time_parts(
        [image.item.time for image in images], options.held_out, options.gap if recording.is_stream else 0.0
    )
    in_training = [hand for image, part in zip(images, parts, strict=True) if part == "train" for hand in image.hands]
    bones = usual_bones(in_training, options)
    counts: collections.Counter[str] = collections.Counter()
    hands_kept: collections.Counter[str] = collections.Counter()
    rows = []
    for image, part in zip(images, parts, strict=True):
        if part == "gap":
            counts["between the parts"] += len(image.hands)
            _forget([image])
            continue
        why = [rejection(hand, bones, options) for hand in image.hands]
        counts.update(reason for reason in why if reason)
        good = [hand for hand, reason in zip(image.hands, why, strict=True) if not reason]
        hands_kept[part] += len(good)
        if not good:
            _forget([image])
            continue
        posed = [hand.disagreement_3d <= options.disagreement_3d for hand in good]
        bad = [hand for hand, reason in zip(image.hands, why, strict=True) if reason]
        rows.append(label_row(image.item, image.file, image.size, good, bad, recording.name, part, posed))
    report = {
        "name": recording.name, "images": len(images), "kept": {part: hands_kept[part] for part in ("train", "val")},
        "posed": sum(hand["posed"] for row in rows for hand in row["hands"]),
        "left_out_hands": {reason: counts[reason] for reason in (*REASONS, "between the parts")},
        "not_read": recording.left_out,
        "held_out": [image.item.number for image, part in zip(images, parts, strict=True) if part == "val"],
    }  # fmt: skip
    return rows, report


def _store(item: RecordedImage, hands: list[MeasuredHand], path: Path, kept: KeptFiles) -> _Stored:
    """An image of a video is written, reduced; a picture stays where it is. The pixels are not kept in memory."""
    light = dataclasses.replace(item, image=np.zeros((0, 0, 3), dtype=np.uint8))
    width, height = item.camera.width, item.camera.height
    if item.file is not None:
        return _Stored(light, item.file, (width, height), hands)
    image, factor = item.image, min(1.0, _LARGEST / max(width, height))
    if factor < 1.0:
        image = cv2.resize(image, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept.check(path)
    write_image(path, image, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return _Stored(light, path, (image.shape[1], image.shape[0]), hands)


def _forget(images: list[_Stored]) -> None:
    """Remove the stored images of a video."""
    for image in images:
        if image.item.file is None:
            image.file.unlink(missing_ok=True)


def time_parts(times: list[float], held_out: float, gap: float) -> list[str]:
    """``train``, ``gap`` or ``val`` of each image: the last share ``held_out`` of the time is not trained on, nor what
    is within half of the ``gap``, seconds, of the boundary."""
    if not times:
        return []
    boundary = times[0] + (1.0 - held_out) * (times[-1] - times[0])
    return ["train" if time < boundary - gap / 2 else "val" if time >= boundary + gap / 2 else "gap" for time in times]


def left_out_text(reports: Sequence[Mapping[str, Any]]) -> str:
    """How many hands were left out by reason."""
    total: collections.Counter[str] = collections.Counter()
    for report in reports:
        total.update(report["left_out_hands"])
    return ", ".join(f"{reason} {count}" for reason, count in total.items() if count) or "none was found"
