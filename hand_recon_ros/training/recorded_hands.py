"""Labelled hands of a user's recordings as samples, and the training of the encoder on them and on renders."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch.utils.data import DataLoader, Dataset

from ..calibration import scaled_camera
from ..camera import Camera
from ..config import ConfigError
from ..datasets.crops import UNKNOWN_CLASS, sample_crops
from ..datasets.image_augmentation import augmented
from ..datasets.sample import Sample
from ..image_files import read_image
from ..landmarks.exposure import normalised
from ..types import Side
from .crop_dataset import CropDataset
from .encoder import EncoderTrainer, Recipe
from .recording_labels import MeasuredHand
from .recordings import RecordedImage

_AUGMENTED = 0.6
"""Share of the samples whose crops are augmented, as of rendered ones (``datasets.variations``)."""


def label_row(
    item: RecordedImage, file: Path, size: tuple[int, int], kept: Sequence[MeasuredHand],
    left_out: Sequence[MeasuredHand], recording: str, split: str, posed: Sequence[bool],
) -> dict[str, Any]:  # fmt: skip
    """One entry of ``labels.json``: that of a photograph (:class:`training.pseudo_labels.PictureLabels`), with the
    camera and, of each hand, its pose in 3D.

    Args:
        item: the image; file: the picture, of ``size`` (width, height), which may be reduced.
        kept, left_out: its hands; posed: of which of the kept the pose is a label.
        recording: its name; split: ``train`` or ``val``, the part that is measured on.
    """
    factor, camera = size[0] / item.camera.width, scaled_camera(item.camera, *size)
    hands = []
    for measured, is_posed in zip(kept, posed, strict=True):
        hand = measured.hand
        shown = dataclasses.replace(measured, keypoints=_scaled(measured.keypoints, factor))
        hands.append(
            {
                **shown.labelled(hand.side).as_json(),
                "posed": bool(is_posed),
                "joints": hand.joints.round(5).tolist(),
                "rotations": hand.rotations.round(5).tolist(),
                "betas": hand.betas.round(4).tolist(),
                "translation": hand.translation.round(5).tolist(),
            }
        )
    unlabelled = [_box(_scaled(measured.keypoints, factor)) for measured in left_out]
    if len(kept) < len(Side):
        unlabelled.append([0.0, 0.0, float(size[0]), float(size[1])])  # there may be a hand that was not found
    return {
        "file": str(file.resolve()), "source": recording, "licence": "", "split": split, "number": item.number,
        "time": round(item.time, 4), "width": size[0], "height": size[1], "complete": not unlabelled, "hands": hands,
        "missed": [], "missed_sides": [], "unlabelled": unlabelled,
        "camera": {
            "K": camera.K.ravel().tolist(), "D": camera.D.tolist(), "distortion_model": camera.distortion_model,
            "calibrated": camera.calibrated,
        },
    }  # fmt: skip


def _scaled(points: np.ndarray, factor: float) -> np.ndarray:
    return (points + 0.5) * factor - 0.5


def _box(keypoints: np.ndarray) -> list[float]:
    return [float(value) for value in (*keypoints.min(axis=0).round(2), *keypoints.max(axis=0).round(2))]


def recorded_sample(row: Mapping[str, Any]) -> Sample:
    """The sample of an entry of ``labels.json``; hands without a pose have keypoints in the image alone.

    Raises ConfigError where the picture is missing or has another size.
    """
    try:
        image = normalised(read_image(row["file"]))
    except OSError as error:
        raise ConfigError(f"{row['file']}: missing, or not an image ({error})") from error
    about, size = row["camera"], (int(row["width"]), int(row["height"]))
    if image.shape[1::-1] != size:
        raise ConfigError(
            f"{row['file']} is {image.shape[1]}x{image.shape[0]}, but was labelled as {size[0]}x{size[1]}"
        )
    camera = Camera(
        np.reshape(about["K"], (3, 3)), *size, about["distortion_model"], np.array(about["D"]),
        calibrated=about["calibrated"],
    )  # fmt: skip
    truth = {
        "present": np.zeros(2, dtype=bool), "rotations": np.full((2, 16, 3, 3), np.nan),
        "betas": np.full((2, 10), np.nan),
        "translation": np.full((2, 3), np.nan), "joints": np.full((2, 21, 3), np.nan),
        "keypoints_2d": np.full((2, 21, 2), np.nan),
    }  # fmt: skip
    for hand in row["hands"]:
        side = Side[hand["side"].upper()]
        truth["present"][side] = True
        truth["keypoints_2d"][side] = hand["keypoints"]
        for name in ("rotations", "betas", "translation", "joints"):
            truth[name][side] = hand[name]
    return image_sample(image, camera, f"{row['source']}/{row['number']}", **truth)


def image_sample(image: np.ndarray, camera: Camera, name: str, **truth: Any) -> Sample:
    """A sample without maps: ``truth`` are its other arrays, of keypoints and pose."""
    visible = truth["present"][:, None] & np.isfinite(truth["keypoints_2d"]).all(axis=-1)
    return Sample(
        image=image, camera=camera, frame_camera=camera, name=name, keypoint_visible=visible,
        occluded=np.zeros((2, 21), dtype=bool), labels=np.zeros(image.shape[:2], dtype=np.uint8),
        depth=np.full(image.shape[:2], np.inf, dtype=np.float32), has_maps=False, has_labels=False, **truth,
    )  # fmt: skip


class RecordedHands:
    """The entries of a split of ``labels.json`` that have hands.

    Attributes:
        rows: the entries.
        digest: sha256 of the file.
    """

    def __init__(self, path: Path, split: str) -> None:
        """Raises ConfigError where the file cannot be read, or the split has no hand."""
        try:
            content = path.read_bytes()
            self.rows = [row for row in json.loads(content) if row["split"] == split and row["hands"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}: not a file of labelled recordings: {error}") from error
        self.digest = hashlib.sha256(content).hexdigest()
        if not self.rows:
            raise ConfigError(f"{path}: has no hand of split {split!r}")

    def __len__(self) -> int:
        return len(self.rows)

    def arrays(self, number: int, rng: np.random.Generator, varied: bool) -> dict[str, np.ndarray]:
        """The crops of an entry with what is known of them (:func:`crops.sample_crops`); ``varied``: augmented."""
        row = self.rows[number]
        arrays = sample_crops(recorded_sample(row), rng, distractors=False).arrays
        arrays["segmentation"][:] = UNKNOWN_CLASS
        for hand in row["hands"]:
            if not hand["posed"]:
                arrays["posed"][Side[hand["side"].upper()]] = 0.0
        if not arrays["posed"].all():
            arrays["both"][:] = 0.0
        if len(row["hands"]) < len(Side):
            arrays["other_valid"][:] = 0.0  # the other hand may be there, unlabelled
        if varied and rng.random() < _AUGMENTED:
            seed = int(rng.integers(2**31))  # both crops are of one image
            for side in np.flatnonzero(arrays["has_crop"]):
                shown = augmented(arrays["crops"][side, ..., ::-1], np.random.default_rng(seed))
                arrays["crops"][side] = shown[..., ::-1]
        return arrays


class MixedSamples(Dataset[dict[str, np.ndarray]]):
    """Numbered samples: labelled hands of recordings for a share of the numbers, renders for the others."""

    def __init__(self, recorded: RecordedHands, renders: CropDataset, share: float, seed: int) -> None:
        self._recorded, self._renders, self._share, self._seed = recorded, renders, share, seed

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        cv2.setNumThreads(0)
        rng = np.random.default_rng([self._seed, number, 83])
        if rng.random() >= self._share:
            return self._renders[number]
        return self._recorded.arrays(int(rng.integers(len(self._recorded))), rng, varied=True)


class DistillTrainer(EncoderTrainer):
    """Trains an encoder on labelled recordings and renders; a step's samples follow from its number."""

    def __init__(self, recipe: Recipe, labels: Path, share: float, resume: bool = False) -> None:
        """``share``: of the recordings among the samples."""
        self._recorded, self._share = RecordedHands(labels, "train"), share
        super().__init__(recipe, resume)

    def batches(self, last: int) -> DataLoader[Any]:
        """See :meth:`EncoderTrainer.batches`."""
        options = self.recipe.training
        renders = CropDataset(
            "train", options.seed, self.hand_model, 0.0, None, options.cache, options.distinct
        )  # fmt: skip
        samples, first = MixedSamples(self._recorded, renders, self._share, options.seed), self.share_of_batch()
        numbers = [
            list(range(step * options.batch + first.start, step * options.batch + first.stop))
            for step in range(self.step, last)
        ]
        return DataLoader(samples, batch_sampler=numbers, num_workers=options.workers)

    @property
    def decisive(self) -> dict[str, Any]:
        """See :attr:`EncoderTrainer.decisive`."""
        # The weights that the training starts from are always those of the package, wherever they were written.
        settings = {name: value for name, value in super().decisive.items() if name != "weights"}
        return {**settings, "labels": self._recorded.digest, "recorded_share": self._share, "steps": self.steps}
