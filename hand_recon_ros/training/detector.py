"""Training of the hand detector's head on features of rendered frames: ``hand-recon train detector``."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch.nn import functional

from ..config import checked, setting
from ..detect.hand_detector import CHANNELS, FEATURES, GRID, decode
from ..evaluation.detection import Tally
from ..landmarks.observation import RotatedBox
from ..models.detector_head import DetectorHead, export_head
from ..types import Side
from .detector_data import FeatureCache
from .engine import rate_share
from .recipe import recipe_sections

_SPREAD = 0.06
"""Standard deviation of a heatmap's peak as a part of the square's side: two landmark looks from a centre this far off
still see the hand."""
_LEAST_SPREAD = 0.7
_VIEW = RotatedBox((0.5, 0.5), 1.0)


@dataclasses.dataclass(frozen=True)
class DetectorTraining:
    """A recipe: section ``training`` of its file."""

    out: str = setting("out/train/detector", "folder for logs and the result")
    cache: str = setting("out/train/detector/features", "folder for the features of the frames")
    seed: int = setting(0, "of weights and frames", low=0)
    frames: int = setting(12000, "rendered frames, two views of each", low=1)
    epochs: int = setting(1, "how often each view is seen", low=1)
    batch: int = setting(32, "views of a step", low=1)
    learning_rate: float = setting(3e-3, "at its highest", low=0.0)
    weight_decay: float = setting(0.02, "of AdamW", low=0.0)
    warm_up: int = setting(100, "steps until the learning rate is at its highest", low=0)
    workers: int = setting(2, "processes that render frames and compute their features", low=0)
    threads: int = setting(1, "CPU threads of the training process", low=1)
    validation: int = setting(200, "frames of the validation, the first of the split", low=1)

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], **overrides: Any) -> DetectorTraining:
        """Raises ConfigError for what is not in a recipe."""
        return checked(cls, recipe_sections(path, ("training",), overrides)["training"])


def targets(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What a head should say of squares (B, 2, 5), see ``detector_views.BOX``; NaN where there is no hand.

    Returns:
        heat (B, 2, G, G) in 0..1, 1 in the one cell with the square's centre; and values (B, 2, CHANNELS - 1, G, G):
        the square as every cell would have to say it.
    """
    boxes = boxes[..., None, None]
    x, y, size, cos, sin = boxes.unbind(2)
    cells = torch.arange(GRID, dtype=boxes.dtype, device=boxes.device) + 0.5
    dx, dy = x * GRID - cells, y * GRID - cells[:, None]
    spread = (_SPREAD * GRID * size).clamp(min=_LEAST_SPREAD)
    heat = torch.exp(-(dx**2 + dy**2) / (2 * spread**2))
    heat = torch.where((dx.abs() <= 0.5) & (dy.abs() <= 0.5), 1.0, heat)
    values = torch.stack(torch.broadcast_tensors(dx, dy, size.log(), cos, sin), dim=2)
    return torch.nan_to_num(heat), torch.nan_to_num(values)


def detector_loss(
    maps: torch.Tensor, boxes: torch.Tensor, asked: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Penalty-reduced focal loss of the heatmaps (arXiv 1904.07850) and L1 of the squares about their centres.

    Args:
        maps: (B, 2 x CHANNELS, G, G).
        boxes: (B, 2, 5); asked: (B, 2) bool, the sides that count.
    """
    maps = maps.reshape(-1, len(Side), CHANNELS, GRID, GRID)
    heat, values = targets(boxes)
    logits, counts = maps[:, :, 0], asked[..., None, None].float()
    yes, no = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    # A centre on a cell's border is in two cells, hence not compared for equality with one.
    focal = -torch.where(heat >= 1, no.exp() ** 2 * yes, (1 - heat) ** 4 * yes.exp() ** 2 * no)
    hands = (torch.isfinite(boxes[..., 0]) & asked).sum().clamp(min=1)
    weights = (counts * heat * (heat > 0.3))[:, :, None]
    errors = weights * (maps[:, :, 1:] - values).abs() / weights.sum().clamp(min=1e-6)
    offset, size, direction = (errors[:, :, part].sum() for part in (slice(0, 2), slice(2, 3), slice(3, 5)))
    terms = {"heat": (focal * counts).sum() / hands, "offset": offset, "size": size, "direction": direction}
    return terms["heat"] + 0.3 * offset + size + direction, terms


class DetectorTrainer:
    """One training run: features first, then the head; the result is ``<out>/hand_detector.onnx``.

    Features that are in the cache are not computed again.
    """

    def __init__(self, options: DetectorTraining) -> None:
        torch.set_num_threads(options.threads)
        set_seed(options.seed)
        self.options, self.out = options, Path(options.out)
        self.out.mkdir(parents=True, exist_ok=True)
        parts = (("train", options.frames, False), ("val", options.validation, True))
        self.train, self.val = (
            FeatureCache(options.cache, split, options.seed if split == "train" else 0, frames, whole)
            for split, frames, whole in parts
        )
        self.accelerator = Accelerator()
        self.head: Any = DetectorHead()
        self.optimizer: Any = torch.optim.AdamW(
            self.head.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        self.head, self.optimizer = self.accelerator.prepare(self.head, self.optimizer)
        views = options.frames * self.train.arrays["boxes"].shape[1]
        self.steps_of_epoch = math.ceil(views / options.batch)
        steps = options.epochs * self.steps_of_epoch
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: rate_share(step, options.warm_up, steps)
        )

    def run(self) -> dict[str, float]:
        """Train, and export after every epoch; returns the last validation's figures."""
        from torch.utils.tensorboard import SummaryWriter
        from tqdm import tqdm

        options = self.options
        for part in (self.train, self.val):
            part.fill(options.workers)
        steps, figures, step = options.epochs * self.steps_of_epoch, {}, 0
        with SummaryWriter(str(self.out / "log")) as writer, tqdm(total=steps, unit="step", file=sys.stderr) as bar:
            for epoch in range(options.epochs):
                for batch in self._batches(epoch):
                    terms = self._update(batch)
                    step += 1
                    bar.update(1)
                    for name, value in terms.items():
                        writer.add_scalar(f"train/{name}", value, step)
                figures = self.validate()
                for name, value in figures.items():
                    writer.add_scalar(f"val/{name}", value, step)
                said = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
                bar.write(f"epoch {epoch + 1}: {said}", file=sys.stderr)
                export_head(self.accelerator.unwrap_model(self.head), self.out / "hand_detector.onnx")
        return figures

    def _batches(self, epoch: int) -> Iterator[dict[str, torch.Tensor]]:
        views = self.train.arrays["boxes"].shape[1]
        order = np.random.default_rng([self.options.seed, epoch]).permutation(self.options.frames * views)
        for start in range(0, len(order), self.options.batch):
            # In order, files are read faster.
            frames, which = np.divmod(np.sort(order[start : start + self.options.batch]), views)
            yield {name: self._tensor(array[frames, which]) for name, array in self.train.arrays.items()}

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array).to(self.accelerator.device)
        return tensor.float() if tensor.is_floating_point() else tensor

    def _update(self, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        self.head.train()
        maps = self.head(*(batch[name] for name in FEATURES))
        loss, terms = detector_loss(maps, batch["boxes"], batch["asked"])
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.head.parameters(), 5.0)
        self.optimizer.step()
        self.schedule.step()
        return {"loss": float(loss.detach()), **{name: float(term.detach()) for name, term in terms.items()}}

    @torch.no_grad()
    def validate(self, threshold: float = 0.3) -> dict[str, float]:
        """How many hands of the validation's frames have a candidate, and how many candidates are of no hand."""
        self.head.eval()
        tally, losses = Tally(), []
        for number in range(self.val.frames):
            batch = {name: self._tensor(array[number]) for name, array in self.val.arrays.items()}
            maps = self.head(*(batch[name] for name in FEATURES))
            losses.append(float(detector_loss(maps, batch["boxes"], batch["asked"])[0]))
            found = decode(maps[0].cpu().numpy(), threshold, _VIEW)
            tally.add([hand.roi for hand in found], self._truth(number), self.val.arrays["asked"][number, 0])
        return {"loss": float(np.mean(losses)), **tally.figures()}

    def _truth(self, number: int) -> list[RotatedBox | None]:
        return [
            RotatedBox((float(x), float(y)), float(size), math.atan2(sin, cos)) if math.isfinite(x) else None
            for x, y, size, cos, sin in self.val.arrays["boxes"][number, 0]
        ]


def train_detector(path: str | os.PathLike[str], **overrides: Any) -> dict[str, Any]:
    """Train by a recipe file; what is printed at the end."""
    begin = time.perf_counter()
    trainer = DetectorTrainer(DetectorTraining.from_yaml(path, **overrides))
    figures = trainer.run()
    return {
        "out": str(trainer.out), "steps": trainer.options.epochs * trainer.steps_of_epoch,
        "frames": trainer.options.frames, "seconds": round(time.perf_counter() - begin, 1),
        "validation": {name: round(value, 4) for name, value in figures.items()},
    }  # fmt: skip
