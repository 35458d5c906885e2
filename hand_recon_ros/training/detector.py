"""Training of the hand detector's head on features of rendered frames: ``hand-recon train detector``."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import checked, setting
from ..detect.hand_detector import FEATURES, decode
from ..evaluation.detection import CandidateCounts
from ..landmarks.observation import RotatedBox
from ..models.detector_head import DetectorHead, export_head
from .detector_data import FeatureCache
from .detector_loss import detector_loss
from .engine import Trainer, TrainingOptions, train_and_export
from .recipe import recipe_sections

_VIEW = RotatedBox((0.5, 0.5), 1.0)
_THRESHOLD = 0.3
"""Score from which on a detection counts in the validation."""


@dataclasses.dataclass(frozen=True)
class DetectorTraining(TrainingOptions):
    """A recipe: section ``training`` of its file."""

    out: str = setting("out/train/detector", "folder for checkpoints, logs and the result")
    cache: str = setting("out/train/detector/features", "folder for the features of the frames")
    seed: int = setting(0, "of weights and frames", low=0)
    frames: int = setting(12000, "rendered frames, two views of each", low=1)
    epochs: int = setting(1, "passes over all views", low=1)
    batch: int = setting(32, "views of a step", low=1)
    learning_rate: float = setting(3e-3, "its maximum", low=0.0)
    weight_decay: float = setting(0.02, "of AdamW", low=0.0)
    clip: float = setting(5.0, "largest norm of the gradient; 0: not clipped", low=0.0)
    average: float = setting(0.0, "decay of the moving average of the weights", low=0.0, high=1.0)
    workers: int = setting(2, "processes that render frames and compute their features", low=0)
    validate_every: int = setting(750, "steps between validations", low=1)
    validation: int = setting(200, "frames of the validation, the first of the split", low=1)

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], **overrides: Any) -> DetectorTraining:
        """Read a recipe; ``overrides`` as in :func:`recipe_sections`. Raises ConfigError for unknown or bad values."""
        return checked(cls, recipe_sections(path, ("training",), overrides)["training"])


class DetectorTrainer(Trainer):
    """Trains the head; the frames' features are computed first, as far as they are not in the cache."""

    name = "detector"

    def __init__(self, recipe: DetectorTraining, resume: bool = False) -> None:
        self.recipe = recipe
        self._train = FeatureCache(recipe.cache, "train", recipe.seed, recipe.frames, whole=False)
        self._val = FeatureCache(recipe.cache, "val", 0, recipe.validation, whole=True)
        self._steps_per_epoch = math.ceil(recipe.frames * self._train.views / recipe.batch)
        super().__init__(recipe, recipe.epochs * self._steps_per_epoch, resume)

    def make_model(self) -> DetectorHead:
        """A head with random weights."""
        return DetectorHead()

    def run(self, until: int = 0) -> dict[str, float]:
        """See :meth:`Trainer.run`."""
        for cache in (self._train, self._val):
            cache.fill(self.recipe.workers)
        return super().run(until)

    def batches(self, last: int) -> Iterator[dict[str, torch.Tensor]]:
        """Views of the training split, in a random order that follows from the epoch."""
        share = self.share_of_batch()
        for step in range(self.step, last):
            epoch, index = divmod(step, self._steps_per_epoch)
            order = np.random.default_rng([self.recipe.seed, epoch]).permutation(self.recipe.frames * self._train.views)
            first = index * self.recipe.batch
            # Sorted, because files are read faster in order.
            frames, views = np.divmod(np.sort(order[first + share.start : first + share.stop]), self._train.views)
            yield {name: self._tensor(array[frames, views]) for name, array in self._train.arrays.items()}

    def loss(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """See :func:`detector_loss`."""
        with self.accelerator.autocast():
            maps = self.model(*(batch[name] for name in FEATURES))
        return detector_loss(maps.float(), batch["boxes"], batch["valid"])

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        """Shares of hands and of frames with candidates near every hand, and the number of false candidates."""
        head = self.plain_model.eval()
        counts, losses = CandidateCounts(), []
        for number in range(self._val.frames):
            batch = {name: self._tensor(array[number]) for name, array in self._val.arrays.items()}
            maps = head(*(batch[name] for name in FEATURES))
            losses.append(float(detector_loss(maps, batch["boxes"], batch["valid"])[0]))
            hands = decode(maps[0].cpu().numpy(), _THRESHOLD, _VIEW)
            counts.add([hand.roi for hand in hands], self._boxes(number), self._val.arrays["valid"][number, 0])
        return {"loss": float(np.mean(losses)), **counts.figures()}

    def export(self) -> Path | None:
        """Write ``hand_detector.onnx``, for the pipeline."""
        if not self.accelerator.is_main_process:
            return None
        export_head(self.averaged(DetectorHead()), self.out / "hand_detector.onnx")
        return self.out / "hand_detector.onnx"

    @property
    def decisive(self) -> dict[str, Any]:
        """What the batches depend on."""
        return {name: getattr(self.recipe, name) for name in ("seed", "frames", "batch")}

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array).to(self.accelerator.device)
        return tensor.float() if tensor.is_floating_point() else tensor

    def _boxes(self, number: int) -> list[RotatedBox | None]:
        return [
            RotatedBox((float(x), float(y)), float(size), math.atan2(sin, cos)) if math.isfinite(x) else None
            for x, y, size, cos, sin in self._val.arrays["boxes"][number, 0]
        ]


def train_detector(path: str | os.PathLike[str], resume: bool = False, **overrides: Any) -> dict[str, Any]:
    """Train by a recipe file to the end and export the result; returns the command's report."""
    return train_and_export(lambda: DetectorTrainer(DetectorTraining.from_yaml(path, **overrides), resume))
