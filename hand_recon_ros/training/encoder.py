"""Training of the Fusion Alignment Encoder on an endless stream of samples: ``hand-recon train encoder``."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from ..config import ConfigError, checked, setting
from ..evaluation.encoder_predictors import load_encoder
from ..hand_model import load_hand_model
from ..models.backbones import SHARED
from ..models.encoder import EncoderConfig, FusionAlignmentEncoder
from ..models.export import export_onnx
from .crop_dataset import CropDataset, to_device
from .engine import Trainer, TrainingOptions, train_and_export
from .foundation_models import FoundationPriors
from .losses import LossWeights, encoder_loss
from .photographs import Photographs
from .recipe import recipe_sections
from .streams import DataStream, StreamOptions, StreamSamples, open_streams, open_validation, read_streams
from .validation import Validation


@dataclasses.dataclass(frozen=True)
class EncoderTraining(TrainingOptions):
    """Section ``training`` of a recipe."""

    out: str = setting("out/train/encoder", "folder for checkpoints, logs and the result")
    steps: int = setting(2000, "steps of the optimiser", low=1)
    batch: int = setting(16, "samples (pairs of crops) of a step, all processes together", low=1)
    learning_rate: float = setting(5e-4, "its maximum", low=0.0)
    pretrained_rate: float = setting(0.2, "factor on the learning rate of pretrained layers", low=0.0)
    workers: int = setting(1, "processes that render samples", low=0)
    weights: str = setting("", "encoder.safetensors of an earlier run of the same encoder to start from; empty: none")
    cache: str = setting("", "folder that caches rendered samples for this run and others; empty: none")
    distinct: int = setting(0, "rendered samples, used several times with variations; 0: each is used once", low=0)
    photographs: str = setting("", "labelled photographs, see tools/label_pictures.py; empty: none")
    photograph_share: float = setting(0.25, "of photographs among the samples, where there are any", low=0.0, high=0.9)
    priors: str = setting(
        "rendered",
        "prior maps: rendered, with errors; or predicted from the images by foundation models, of photographs as well",
        choices=("rendered", "foundation"),
    )
    segmentation_model: str = setting("", "of foundation priors: folder of a SAM; empty: a hand fitted to landmarks")
    depth_model: str = setting(
        "", "of foundation priors: folder of a Depth Anything; empty: a hand fitted to landmarks"
    )
    corrupted: float = setting(0.5, "corruption of rendered priors in training: 0 none, 1 as real models err", low=0.0)
    validation: int = setting(128, "samples of a validation, the first of the split", low=1)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A recipe file: sections ``encoder``, ``losses`` and ``training``, and the list ``streams`` of data sets."""

    encoder: EncoderConfig
    losses: LossWeights
    training: EncoderTraining
    streams: tuple[StreamOptions, ...] = ()

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], **overrides: Any) -> Recipe:
        """Read a recipe; ``overrides`` as in :func:`recipe_sections`. Raises ConfigError for unknown or bad values."""
        content = recipe_sections(path, ("encoder", "losses", "training"), overrides, ("streams",))
        recipe = cls(
            checked(EncoderConfig, content["encoder"]),
            checked(LossWeights, content["losses"]),
            checked(EncoderTraining, content["training"]),
            read_streams(content["streams"]),
        )
        shares = [stream.share for stream in recipe.streams]
        if shares:
            photographs = recipe.training.photograph_share if recipe.training.photographs else 0.0
            total = sum(shares) + photographs
            if total >= 1.0:
                raise ConfigError(
                    f"streams: the shares, with that of the photographs, sum to {total:g}, expected less than 1: the "
                    "rest is that of the rendered samples"
                )
        if recipe.training.distinct and not recipe.training.cache:
            raise ConfigError("training.distinct is set without training.cache: each use would render its sample again")
        if recipe.encoder.trained_from != SHARED and (recipe.encoder.size != "small" or not recipe.encoder.pretrained):
            raise ConfigError("encoder.trained_from is for a pretrained encoder of size small")
        for name in ("segmentation_model", "depth_model"):
            path = getattr(recipe.training, name)
            if path and recipe.training.priors != "foundation":
                raise ConfigError(f"training.{name} is set, but training.priors is not foundation")
            if path and not os.path.isdir(path):
                raise ConfigError(f"training.{name}: {path}: no such folder")
        if recipe.encoder.fusion == "aligned" and recipe.losses.teacher <= 0:
            raise ConfigError(
                "losses.teacher is 0: the priors' tokens, which the encoder follows, would not be trained"
            )
        return recipe


class EncoderTrainer(Trainer):
    """Trains an encoder; a step's samples follow from its number."""

    name = "encoder"

    def __init__(self, recipe: Recipe, resume: bool = False) -> None:
        self.recipe = recipe
        self._validation: Validation | None = None
        self._stream_validations: dict[str, Validation] | None = None
        self.hand_model = load_hand_model()
        self._streams: list[DataStream] = open_streams(recipe.streams, self.hand_model)
        self._validation_streams = open_validation(recipe.streams, self.hand_model)
        path = recipe.training.photographs
        self._photographs = Photographs(path, "train") if path else None
        super().__init__(recipe.training, recipe.training.steps, resume)

    def make_model(self) -> FusionAlignmentEncoder:
        """An encoder with its initial weights. Raises ConfigError for weights of another one."""
        weights = self.recipe.training.weights
        if not weights:
            return FusionAlignmentEncoder(self.recipe.encoder, self.hand_model)
        model = load_encoder(weights)
        if model.config != self.recipe.encoder:
            raise ConfigError(f"{weights} is of another encoder, {model.config}, not {self.recipe.encoder}")
        return model

    def parameter_groups(self, model: Any) -> list[dict[str, Any]]:
        """See :func:`parameter_groups`."""
        return parameter_groups(model, self.recipe.training)

    def figures(self) -> dict[str, float]:
        """Of the first samples of the validation split, and, by the data set's name and that of the figure, of those
        of the streams' validation splits."""
        model, device = self.plain_model, self.accelerator.device
        figures = self._validation_samples()(model, device)
        for stream, validation in self._validations_of_streams().items():
            figures |= {f"{stream}_{name}": value for name, value in validation(model, device).items()}
        return figures

    def _validations_of_streams(self) -> dict[str, Validation]:
        if self._stream_validations is None:
            options = self.recipe.training
            foundation = self._foundation()
            provider = foundation() if foundation is not None and self._validation_streams else None
            self._stream_validations = {
                name: Validation(StreamSamples(stream, options.seed, provider), min(options.validation, len(stream)))
                for name, stream in self._validation_streams.items()
            }
        return self._stream_validations

    def _validation_samples(self) -> Validation:
        if self._validation is None:
            self._validation = Validation(self._dataset("val", corrupted=0.0), self.recipe.training.validation)
        return self._validation

    def progress(self, terms: dict[str, float]) -> dict[str, str]:
        """Loss and mean error of a joint's coordinate."""
        return {**super().progress(terms), "joints_mm": f"{terms['joints'] * 100:.1f}"}

    def draw(self, writer: Any) -> None:
        """Crops with keypoints."""
        if self._validation is not None:
            writer.add_image("val/crops", self._validation.picture(), self.step, dataformats="HWC")

    def loss(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """See :func:`encoder_loss`."""
        batch = to_device(batch, self.accelerator.device, self.plain_model)
        with self.accelerator.autocast():
            others = batch["has_crop"].flip(1)
            output = self.model(batch["stems"], batch["rays"], batch["pairs"], others, batch["priors"])
            return encoder_loss(output, batch, self.recipe.losses)

    def _dataset(self, split: str, corrupted: float) -> CropDataset:
        options = self.recipe.training
        # The data loader's processes compute the stem, unless there is a GPU, which is faster.
        in_loader = split == "train" and options.workers > 0 and self.accelerator.device.type == "cpu"
        stem = self.plain_model if in_loader and self.plain_model.backbones.frozen else None
        varied = (options.distinct, self._photographs, options.photograph_share) if split == "train" else (0, None, 0.0)
        return CropDataset(
            split, options.seed, self.hand_model, corrupted, stem, options.cache, *varied, self._foundation(),
            self._streams if split == "train" else (),
        )  # fmt: skip

    def _foundation(self) -> Callable[[], FoundationPriors] | None:
        """Loads what predicts prior maps from the images; None where they are rendered."""
        options = self.recipe.training
        if options.priors != "foundation":
            return None
        return functools.partial(
            FoundationPriors.load, self.hand_model, options.segmentation_model, options.depth_model
        )

    def batches(self, last: int) -> DataLoader[Any]:
        """Samples of the training split, whose numbers follow from the step."""
        options, share = self.recipe.training, self.share_of_batch()
        numbers = [
            list(range(step * options.batch + share.start, step * options.batch + share.stop))
            for step in range(self.step, last)
        ]
        return DataLoader(
            self._dataset("train", options.corrupted), batch_sampler=numbers, num_workers=options.workers,
            prefetch_factor=4 if options.workers else None, pin_memory=self.accelerator.device.type == "cuda",
        )  # fmt: skip

    def export(self) -> Path | None:
        """Write the averaged weights as ``encoder.onnx``, for the pipeline; None for an encoder that needs priors.

        The errors that it predicts are calibrated on the samples of the validation.
        """
        if not self.accelerator.is_main_process or self.recipe.encoder.fusion == "priors":
            return None
        model = FusionAlignmentEncoder(self.recipe.encoder, self.hand_model, load_weights=False)
        model = self.averaged(model)
        factors = self._validation_samples().calibration(model, torch.device("cpu"))
        export_onnx(model, self.out / "encoder.onnx", factors=factors)
        return self.out / "encoder.onnx"

    @property
    def decisive(self) -> dict[str, Any]:
        """Encoder, losses, and what the samples depend on."""
        options = self.recipe.training
        names = (
            "seed", "batch", "weights", "priors", "segmentation_model", "depth_model", "corrupted", "distinct",
            "photographs", "photograph_share",
        )  # fmt: skip
        return {
            "encoder": dataclasses.asdict(self.recipe.encoder), "losses": dataclasses.asdict(self.recipe.losses),
            # Not the folders, which may be moved.
            "streams": [
                {"dataset": stream.dataset, "split": stream.split, "subset": stream.subset, "share": stream.share,
                 "images": len(images)}
                for stream, images in zip(self.recipe.streams, self._streams, strict=True)
            ],
            "cached": bool(options.cache), "labels": "" if self._photographs is None else self._photographs.digest,
            **{name: getattr(options, name) for name in names},
        }  # fmt: skip

    @property
    def metadata(self) -> dict[str, str]:
        """The encoder's settings."""
        return {"encoder": json.dumps(dataclasses.asdict(self.recipe.encoder))}


def parameter_groups(model: FusionAlignmentEncoder, options: EncoderTraining) -> list[dict[str, Any]]:
    """Trained parameters with their learning rates: pretrained layers have a lower one."""
    pretrained: list[torch.nn.Parameter] = []
    new: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (pretrained if name.startswith("backbones.") and model.backbones.pretrained else new).append(parameter)
    rate = options.learning_rate
    groups = [{"params": new, "lr": rate}, {"params": pretrained, "lr": rate * options.pretrained_rate}]
    return [group for group in groups if group["params"]]


def train_encoder(path: str | os.PathLike[str], resume: bool = False, **overrides: Any) -> dict[str, Any]:
    """Train by a recipe file to the end and export the result; returns the command's report."""
    return train_and_export(lambda: EncoderTrainer(Recipe.from_yaml(path, **overrides), resume))
