"""Early validation: the same few samples again and again, in the metrics of the evaluation."""

from __future__ import annotations

import numpy as np
import torch

from ..datasets.crops import CROP_SIZE
from ..encode.crop_frame import crop_pixels
from ..encode.outputs import HandsOutput
from ..evaluation import metrics
from ..models.encoder import FusionAlignmentEncoder
from ..overlay import draw_bones
from ..synthetic.crop_dataset import CropDataset, to_device

_BATCH = 16
_SHOWN = 8


class Validation:
    """The first samples of a split, kept as they are."""

    def __init__(self, dataset: CropDataset, count: int) -> None:
        self._samples = dataset
        self._count = count
        self._batches: list[dict[str, torch.Tensor]] = []
        self._places: list[np.ndarray] = []

    def _load(self) -> list[dict[str, torch.Tensor]]:
        if not self._batches:
            for start in range(0, self._count, _BATCH):
                numbers = range(start, min(start + _BATCH, self._count))
                self._batches.append(torch.utils.data.default_collate([self._samples[n] for n in numbers]))
        return self._batches

    @torch.no_grad()
    def __call__(self, model: FusionAlignmentEncoder, device: torch.device) -> dict[str, float]:
        """Figures of an encoder: joints from the wrist, aligned joints and the vector to the other wrist in mm,
        the place error as a share of the crop, the width's error, how far off the middle of the other hand's square is
        as a share of it, presence's accuracy."""
        model.eval()
        values: dict[str, list[np.ndarray]] = {}
        self._places = []
        for batch in self._load():
            batch = to_device(batch, device, model)
            others = batch["has_crop"].flip(1)
            output = model(batch["stems"], batch["rays"], batch["pairs"], others, self._priors(model, batch))
            self._places.append(output.hands.keypoints_2d.float().cpu().numpy())
            for name, value in _errors(output.hands, batch).items():
                values.setdefault(name, []).append(value)
        model.train()
        return {name: float(np.concatenate(parts).mean()) for name, parts in values.items()}

    @staticmethod
    def _priors(model: FusionAlignmentEncoder, batch: dict[str, torch.Tensor]) -> torch.Tensor | None:
        return batch["priors"] if model.config.fusion == "priors" else None

    def picture(self) -> np.ndarray:
        """The first crops with the keypoints as last told (green) and as they are (white), uint8 (H, W, 3) RGB."""
        batch = self._batches[0]
        rows = []
        for sample in range(min(_SHOWN, len(batch["crops"]))):
            pair = []
            for side in range(2):
                shown = np.ascontiguousarray(batch["crops"][sample, side].numpy())
                if batch["present"][sample, side] > 0:
                    for places, colour in (
                        (batch["keypoints_2d"][sample, side].numpy(), (255, 255, 255)),
                        (self._places[0][sample, side], (0, 255, 0)),
                    ):
                        draw_bones(shown, crop_pixels(places, CROP_SIZE), (colour,) * 5)
                pair.append(shown)
            rows.append(np.concatenate(pair, axis=0))
        return np.concatenate(rows, axis=1)


def _errors(hands: HandsOutput, truth: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    def array(values: torch.Tensor) -> np.ndarray:
        return values.float().cpu().numpy().astype(np.float64)

    there, both = array(truth["present"]) > 0, array(truth["both"]).min(axis=1) > 0
    joints, true_joints = array(hands.joints)[there], array(truth["joints"])[there]
    weights = array(truth["keypoint_weights"])[there]
    place_error = np.linalg.norm(array(hands.keypoints_2d)[there] - array(truth["keypoints_2d"])[there], axis=-1)
    # Each hand tells where the other one is.
    to_other = array(hands.to_other)[both], array(truth["to_other"])[both]
    relative = np.linalg.norm(to_other[0] - to_other[1], axis=-1).ravel()
    shown = array(truth["has_crop"]) > 0
    other = array(truth["other_visible"]) > 0
    squares, true_squares = array(hands.other_box)[other], array(truth["other_box"])[other]
    away = np.linalg.norm(squares[:, :2] - true_squares[:, :2], axis=-1) / np.exp(true_squares[:, 2])
    return {
        "mpjpe_mm": metrics.mpjpe(joints, true_joints),
        "pa_mpjpe_mm": metrics.pa_mpjpe(joints, true_joints),
        "to_other_mm": relative * 1e3,
        "place_error": (place_error * weights).sum(axis=-1) / np.maximum(weights.sum(axis=-1), 1.0),
        "width_error": np.abs(np.expm1(array(hands.log_crop_width) - array(truth["log_crop_width"])))[there],
        "other_away": away,
        "presence": ((array(hands.presence) > 0) == there)[shown].astype(np.float64),
    }
