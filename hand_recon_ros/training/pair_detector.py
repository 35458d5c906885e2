"""Training of the pair detector: ``hand-recon train detector``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.torch import load_model
from torch.utils.data import DataLoader, Dataset

from ..config import checked, setting
from ..datasets.pair_crops import HandPicture, pair_crop, random_region
from ..detect.pair_detector import SIZE, VALUES, RegionHand, decode, region_of
from ..detect.views import whole
from ..evaluation.detection import matches
from ..landmarks.crops import crop
from ..landmarks.observation import RotatedBox
from ..models.efficientnet import load_imagenet
from ..models.pair_detector import PairDetector, export_pair_detector
from ..types import Side
from .engine import Trainer, TrainingOptions, train_and_export
from .pair_loss import pair_loss
from .pair_pictures import PictureCache
from .photographs import Photographs
from .recipe import recipe_sections

_EXCHANGED_BACKGROUND = 0.4
"""Share of rendered crops with a part of a photograph as background, where there are photographs."""
_AROUND_HANDS = 1.6
"""Size of the region of a photograph in the validation, relative to its hands."""


@dataclasses.dataclass(frozen=True)
class PairDetectorTraining(TrainingOptions):
    """A recipe: section ``training`` of its file."""

    out: str = setting("out/train/detector", "folder for checkpoints, logs and the result")
    cache: str = setting("out/train/detector/pictures", "folder for the rendered pictures")
    seed: int = setting(0, "of weights, pictures and crops", low=0)
    pictures: int = setting(12000, "rendered pictures", low=1)
    photographs: str = setting("", "file of labelled photographs, see tools/label_pictures.py; empty: none")
    photograph_share: float = setting(0.25, "share of crops of photographs", low=0.0, high=1.0)
    weights: str = setting("", "file of weights to start from (.safetensors); empty: those of ImageNet")
    frozen: int = setting(3, "first blocks of the backbone that keep their weights, the stem with them", low=0)
    steps: int = setting(2400, "of the whole run", low=1)
    batch: int = setting(48, "crops of a step", low=1)
    learning_rate: float = setting(1e-3, "its maximum", low=0.0)
    pretrained_rate: float = setting(0.4, "factor on the learning rate of the backbone", low=0.0)
    weight_decay: float = setting(0.02, "of AdamW", low=0.0)
    clip: float = setting(5.0, "largest norm of the gradient; 0: not clipped", low=0.0)
    workers: int = setting(1, "processes that render pictures and make crops", low=0)
    validation: int = setting(400, "rendered pictures of the validation", low=1)

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], **overrides: Any) -> PairDetectorTraining:
        """Read a recipe; ``overrides`` as in :func:`recipe_sections`. Raises ConfigError for unknown or bad values."""
        return checked(cls, recipe_sections(path, ("training",), overrides)["training"])


class PairCrops(Dataset[dict[str, np.ndarray]]):
    """Numbered training crops; a number is always the same crop."""

    def __init__(self, rendered: PictureCache, photographs: Photographs | None, share: float, seed: int) -> None:
        self._rendered, self._photographs, self._share, self._seed = rendered, photographs, share, seed

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        cv2.setNumThreads(0)  # the cores belong to the processes
        rng = np.random.default_rng([self._seed, number, 47])
        photographs, background = self._photographs, None
        if photographs is not None and rng.random() < self._share:
            picture = photographs.sample(rng)
        else:
            picture = self._rendered[int(rng.integers(len(self._rendered)))]
            if photographs is not None and rng.random() < _EXCHANGED_BACKGROUND:
                background = photographs.background(SIZE, rng)
        sample = pair_crop(picture, random_region(picture, rng), SIZE, rng, background)
        return sample._asdict()


class PairDetectorTrainer(Trainer):
    """Trains the head and the backbone's later blocks; missing pictures are rendered first."""

    name = "pair_detector"

    def __init__(self, recipe: PairDetectorTraining, resume: bool = False) -> None:
        self.recipe = recipe
        self._rendered = PictureCache(recipe.cache, "train", recipe.seed, recipe.pictures)
        self._val = PictureCache(recipe.cache, "val", 0, recipe.validation)
        self._photographs = self._val_photographs = None
        if recipe.photographs:
            self._photographs = Photographs(recipe.photographs, "train")
            self._val_photographs = Photographs(recipe.photographs, "val", may_be_empty=True)
        super().__init__(recipe, recipe.steps, resume)

    def make_model(self) -> PairDetector:
        """The network with the recipe's weights, or ImageNet's in its backbone."""
        model = PairDetector()
        if self.recipe.weights:
            load_model(model, self.recipe.weights)
        else:
            load_imagenet(model.backbone)
        model.backbone.freeze(self.recipe.frozen)
        # On a CPU a third faster than with channels first.
        return model.to(memory_format=torch.channels_last)

    def parameter_groups(self, model: torch.nn.Module) -> list[dict[str, Any]]:
        """The backbone's parameters with a lower learning rate."""
        assert isinstance(model, PairDetector)
        rate = self.recipe.learning_rate
        return [
            {"params": list(model.head.parameters()), "lr": rate},
            {
                "params": [parameter for parameter in model.backbone.parameters() if parameter.requires_grad],
                "lr": rate * self.recipe.pretrained_rate,
            },
        ]

    def run(self, until: int = 0) -> dict[str, float]:
        """See :meth:`Trainer.run`."""
        for cache in (self._val, self._rendered):
            cache.fill(self.recipe.workers)
        return super().run(until)

    def batches(self, last: int) -> DataLoader[Any]:
        """Crops whose numbers follow from the step."""
        share, batch = self.share_of_batch(), self.recipe.batch
        numbers = [
            list(range(step * batch + share.start, step * batch + share.stop)) for step in range(self.step, last)
        ]
        crops = PairCrops(self._rendered, self._photographs, self.recipe.photograph_share, self.recipe.seed)
        workers = self.recipe.workers
        return DataLoader(
            crops, batch_sampler=numbers, num_workers=workers, prefetch_factor=4 if workers else None,
            pin_memory=self.accelerator.device.type == "cuda",
        )  # fmt: skip

    def loss(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """See :func:`pair_loss`."""
        device = self.accelerator.device
        images = batch["image"].to(device, non_blocking=True).flip(-1).float() / 255.0
        # Dropout depends on the step alone, so that a resumed run ends like one that was not stopped.
        torch.manual_seed(self.recipe.seed + self.step)
        with self.accelerator.autocast():
            output = self.model(images)
        truth = (batch[name].to(device) for name in ("values", "present", "sided", "keypoints"))
        return pair_loss(output.float(), *truth)

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        """Shares on rendered pictures, each as a whole, and with the prefix "photo_" on photographs of ``val``, each in
        the region around its hands: "found" and "located" of the hands (a score of 0.5 and a box that matches, the
        latter with either side), "both" of the pairs, and "false", surplus hands per absent hand. Hands whose side is
        not known are found with either."""
        rendered = self._shares(self._val, _all_of)
        if not self._val_photographs:  # none, or none of val
            return rendered
        photographs = self._shares(self._val_photographs, _around_hands)
        return rendered | {f"photo_{name}": share for name, share in photographs.items()}

    def _shares(
        self, pictures: PictureCache | Photographs, region_in: Callable[[HandPicture], RotatedBox]
    ) -> dict[str, float]:
        counts = {"hands": 0, "found": 0, "located": 0, "absent": 0, "false": 0, "pairs": 0, "both": 0}
        model = self.plain_model.eval()
        for number in range(len(pictures)):
            picture = pictures[number]
            likely = [hand for hand in self._detected(model, picture, region_in(picture)) if hand.score >= 0.5]
            found = []
            for side in Side:
                box = picture.roi(side)
                if box is None:
                    continue
                posed = picture.has_keypoints(side)
                matching = {
                    hand.side
                    for hand in likely
                    if matches(hand.roi, box if posed else dataclasses.replace(box, angle=hand.roi.angle))
                }
                found.append(side in matching if picture.sided[side] else bool(matching))
                counts["located"] += bool(matching)
            counts["hands"] += len(found)
            counts["found"] += sum(found)
            if picture.known.all():
                counts["absent"] += 2 - len(found)
                counts["false"] += max(len(likely) - len(found), 0)
            if len(found) == 2:
                counts["pairs"] += 1
                counts["both"] += all(found)
        totals = {"found": "hands", "located": "hands", "both": "pairs", "false": "absent"}
        return {name: counts[name] / max(counts[total], 1) for name, total in totals.items()}

    def _detected(self, model: PairDetector, picture: HandPicture, region: RotatedBox) -> tuple[RegionHand, RegionHand]:
        image = crop(picture.image, region, np.empty((SIZE, SIZE, 3), np.uint8), repeat_border=False)
        tensor = torch.from_numpy(image[None, :, :, ::-1].copy()).to(self.accelerator.device).float() / 255.0
        return decode(model(tensor)[0, :, :VALUES].cpu().numpy(), region)

    def export(self) -> Path | None:
        """Write ``pair_detector.onnx``, for the pipeline."""
        if not self.accelerator.is_main_process:
            return None
        export_pair_detector(self.averaged(PairDetector()), self.out / "pair_detector.onnx")
        return self.out / "pair_detector.onnx"

    @property
    def decisive(self) -> dict[str, Any]:
        """What the batches depend on."""
        names = ("seed", "pictures", "batch", "photographs", "photograph_share", "weights", "frozen")
        labels = "" if self._photographs is None else self._photographs.digest
        return {"labels": labels, **{name: getattr(self.recipe, name) for name in names}}


def _all_of(picture: HandPicture) -> RotatedBox:
    height, width = picture.image.shape[:2]
    return whole(width, height)


def _around_hands(picture: HandPicture) -> RotatedBox:
    return region_of([box for box in map(picture.roi, Side) if box is not None], _AROUND_HANDS)


def train_pair_detector(path: str | os.PathLike[str], resume: bool = False, **overrides: Any) -> dict[str, Any]:
    """Train by a recipe file to the end and export the result; returns the command's report."""
    return train_and_export(lambda: PairDetectorTrainer(PairDetectorTraining.from_yaml(path, **overrides), resume))
