"""Validation of the encoder during training: the same few samples each time, in the metrics of the evaluation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Dataset

from ..datasets.crops import CROP_SIZE
from ..encode.crop_frame import crop_pixels
from ..encode.outputs import HandOutputs
from ..evaluation import metrics
from ..evaluation.predicted_errors import calibration, relative_errors
from ..models.encoder import FusionAlignmentEncoder
from ..overlay import draw_bones
from .crop_dataset import to_device

_BATCH = 16
_PICTURED = 8
_TRUTH = (
    "present", "posed", "located", "both", "has_crop", "joints", "joint_weights", "keypoints_2d", "keypoint_weights",
    "log_crop_width", "to_other", "other_box", "other_visible",
)  # fmt: skip


class Validation:
    """The first samples of a split, cached in memory."""

    def __init__(self, dataset: Dataset[dict[str, np.ndarray]], count: int) -> None:
        self._samples = dataset
        self._count = count
        self._batches: list[dict[str, torch.Tensor]] = []
        self._keypoints_2d: list[np.ndarray] = []

    def _load(self) -> list[dict[str, torch.Tensor]]:
        if not self._batches:
            for start in range(0, self._count, _BATCH):
                numbers = range(start, min(start + _BATCH, self._count))
                self._batches.append(torch.utils.data.default_collate([self._samples[n] for n in numbers]))
        return self._batches

    @torch.no_grad()
    def __call__(self, model: FusionAlignmentEncoder, device: torch.device) -> dict[str, float]:
        """Figures of an encoder.

        Errors of joints from the wrist, of aligned joints and of the vector to the other wrist, mm; ``keypoint_error``,
        2D, as a share of the crop; ``width_error``, relative; ``other_box_error``, of the centre of the other hand's
        box as a share of its size; ``presence``, accuracy. Each is over the hands whose ground truth is known, those of
        joints over hands of which all joints are; one for which there is none is left out.
        """
        values: dict[str, list[np.ndarray]] = {}
        self._keypoints_2d = []
        for batch, hands in self._predicted(model, device):
            self._keypoints_2d.append(hands.keypoints_2d.float().cpu().numpy())
            for name, value in _errors(hands, batch).items():
                values.setdefault(name, []).append(value)
        model.train()
        found = {name: np.concatenate(parts) for name, parts in values.items()}
        return {name: float(errors.mean()) for name, errors in found.items() if errors.size}

    def _predicted(
        self, model: FusionAlignmentEncoder, device: torch.device
    ) -> Iterator[tuple[dict[str, torch.Tensor], HandOutputs]]:
        """Each batch with the encoder's outputs."""
        model.eval()
        for batch in self._load():
            batch = to_device(batch, device, model)
            others = batch["has_crop"].flip(1)
            yield batch, model(batch["stems"], batch["rays"], batch["pairs"], others, self._priors(model, batch)).hands

    @torch.no_grad()
    def calibration(self, model: FusionAlignmentEncoder, device: torch.device) -> dict[str, float]:
        """Factors on an encoder's outputs that calibrate the errors that it predicts, see :func:`calibration`."""
        parts: dict[str, list[np.ndarray]] = {}
        for batch, hands in self._predicted(model, device):
            truth = {name: _array(batch[name]) for name in _TRUTH}
            for name, errors in relative_errors(hands.map(_array), truth).items():
                parts.setdefault(name, []).append(errors.ravel())
        return calibration({name: np.concatenate(errors) for name, errors in parts.items()})

    @staticmethod
    def _priors(model: FusionAlignmentEncoder, batch: dict[str, torch.Tensor]) -> torch.Tensor | None:
        return batch["priors"] if model.config.fusion == "priors" else None

    def picture(self) -> np.ndarray:
        """The first crops with the last predicted keypoints (green) and the true ones (white), uint8 (H, W, 3) RGB."""
        batch = self._batches[0]
        columns = []
        for sample in range(min(_PICTURED, len(batch["crops"]))):
            pair = []
            for side in range(2):
                crop = np.ascontiguousarray(batch["crops"][sample, side].numpy())
                if batch["present"][sample, side] > 0:
                    for keypoints_2d, colour in (
                        (batch["keypoints_2d"][sample, side].numpy(), (255, 255, 255)),
                        (self._keypoints_2d[0][sample, side], (0, 255, 0)),
                    ):
                        draw_bones(crop, crop_pixels(keypoints_2d, CROP_SIZE), (colour,) * 5)
                pair.append(crop)
            columns.append(np.concatenate(pair, axis=0))
        return np.concatenate(columns, axis=1)


def _array(values: torch.Tensor) -> np.ndarray:
    return values.float().cpu().numpy().astype(np.float64)


def _errors(outputs: HandOutputs, batch: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    hands, truth = outputs.map(_array), {name: _array(batch[name]) for name in _TRUTH}
    present, both = truth["present"] > 0, truth["both"].min(axis=1) > 0
    has_crop, other, located = truth["has_crop"] > 0, truth["other_visible"] > 0, truth["located"] > 0
    jointed = truth["joint_weights"].min(axis=-1) > 0
    joints, true_joints = hands.joints[jointed], truth["joints"][jointed]
    marked = truth["keypoint_weights"].max(axis=-1) > 0
    weights = truth["keypoint_weights"][marked]
    error_2d = np.linalg.norm(hands.keypoints_2d[marked] - truth["keypoints_2d"][marked], axis=-1)
    # Each hand predicts the vector to the other one.
    to_other = np.linalg.norm(hands.to_other[both] - truth["to_other"][both], axis=-1).ravel()
    boxes, true_boxes = hands.other_box[other], truth["other_box"][other]
    box_error = np.linalg.norm(boxes[:, :2] - true_boxes[:, :2], axis=-1) / np.exp(true_boxes[:, 2])
    return {
        "mpjpe_mm": metrics.mpjpe(joints, true_joints),
        "pa_mpjpe_mm": metrics.pa_mpjpe(joints, true_joints),
        "to_other_mm": to_other * 1e3,
        "keypoint_error": (error_2d * weights).sum(axis=-1) / weights.sum(axis=-1),
        "width_error": np.abs(np.expm1(hands.log_crop_width - truth["log_crop_width"]))[located],
        "other_box_error": box_error,
        "presence": ((hands.presence > 0) == present)[has_crop].astype(np.float64),
    }
