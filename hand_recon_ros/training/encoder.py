"""Training of the Fusion Alignment Encoder on an endless stream of samples: ``hand-recon train encoder``."""

from __future__ import annotations

import contextlib
import dataclasses
import json
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
from torch.utils.data import DataLoader

from ..config import ConfigError, checked, setting
from ..encode.network import EncoderConfig, FusionAlignmentEncoder
from ..hand_model import load_hand_model
from .data import CropDataset, to_device
from .export import export_onnx
from .losses import LossWeights, encoder_loss
from .recipe import recipe_sections
from .validation import Validation


@dataclasses.dataclass(frozen=True)
class EncoderTraining:
    """A recipe. Everything that decides the result is in here; the rest is how fast it comes."""

    out: str = setting("out/train/encoder", "folder for checkpoints, logs and the result")
    seed: int = setting(0, "of weights and samples", low=0)
    steps: int = setting(2000, "steps of the optimiser", low=1)
    batch: int = setting(16, "samples (pairs of crops) of a step, all processes together", low=1)
    learning_rate: float = setting(5e-4, "at its highest", low=0.0)
    pretrained_rate: float = setting(0.2, "share of the learning rate for layers that come with weights", low=0.0)
    weight_decay: float = setting(0.01, "of AdamW", low=0.0)
    warm_up: int = setting(100, "steps until the learning rate is at its highest", low=0)
    clip: float = setting(1.0, "largest norm of the gradient", low=0.0)
    average: float = setting(0.998, "decay of the moving average of the weights", low=0.0, high=1.0)
    precision: str = setting("no", "mixed precision", choices=("no", "bf16", "fp16"))
    workers: int = setting(1, "processes that make samples", low=0)
    threads: int = setting(1, "CPU threads of the training process", low=1)
    cache: str = setting("", "folder that keeps computed samples for other runs on the same ones; empty: none is kept")
    corrupted: float = setting(0.5, "how much the training's priors are spoilt, 0 none, 1 as real models err", low=0.0)
    validate_every: int = setting(250, "steps between validations", low=1)
    validation: int = setting(128, "samples of a validation, the first of the split", low=1)
    checkpoint_every: int = setting(100, "steps between checkpoints", low=1)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A recipe file: sections ``encoder``, ``losses`` and ``training``."""

    encoder: EncoderConfig
    losses: LossWeights
    training: EncoderTraining

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], **overrides: Any) -> Recipe:
        """Raises ConfigError for what is not in a recipe; ``overrides`` as :func:`recipe_sections` takes them."""
        content = recipe_sections(path, ("encoder", "losses", "training"), overrides)
        recipe = cls(
            checked(EncoderConfig, content["encoder"]),
            checked(LossWeights, content["losses"]),
            checked(EncoderTraining, content["training"]),
        )
        if recipe.encoder.fusion == "aligned" and recipe.losses.teacher <= 0:
            raise ConfigError("losses.teacher is 0: nothing would teach the priors' tokens that the encoder follows")
        return recipe


class EncoderTrainer:
    """One training run; its state goes to ``<out>/checkpoint.pt`` and comes back from there.

    Started again from a checkpoint it goes on as if it had not stopped: samples are numbered, and a step's samples do
    not depend on what came before.
    """

    def __init__(self, recipe: Recipe, resume: bool = False) -> None:
        options = recipe.training
        torch.set_num_threads(options.threads)
        set_seed(options.seed)
        self.recipe, self.out = recipe, Path(options.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.accelerator = Accelerator(mixed_precision=options.precision)
        self.hand_model = load_hand_model()
        model = FusionAlignmentEncoder(recipe.encoder, self.hand_model)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(model, options), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.model, self.optimizer = self.accelerator.prepare(model, self.optimizer)
        self.average = {name: value.detach().clone() for name, value in self._plain_model.state_dict().items()}
        self.step = 0
        self.history: list[dict[str, float]] = []
        if resume:
            self._load()
        elif self._checkpoint.exists():
            raise ConfigError(f"{self._checkpoint} is of an earlier run: go on with --resume, or choose another out")

    @property
    def _plain_model(self) -> FusionAlignmentEncoder:
        model: FusionAlignmentEncoder = self.accelerator.unwrap_model(self.model)
        return model

    @property
    def _checkpoint(self) -> Path:
        return self.out / "checkpoint.pt"

    def _rate(self, step: int) -> float:
        """Share of the learning rate at a step: linear warm-up, then half a cosine."""
        options = self.recipe.training
        if step < options.warm_up:
            return (step + 1) / options.warm_up
        done = (step - options.warm_up) / max(1, options.steps - options.warm_up)
        return 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))

    def run(self, until: int = 0) -> dict[str, float]:
        """Train to the end, or to a step; returns the last validation's figures."""
        options, accelerator = self.recipe.training, self.accelerator
        last = min(until or options.steps, options.steps)
        validation = Validation(self._dataset("val", corrupted=0.0), options.validation)
        loader = self._loader(last)
        with self._writer() as writer, _progress(self.step, last, accelerator.is_main_process) as bar:
            for batch in loader:
                terms = self._update(batch)
                self.step += 1
                bar.update(1)
                if self.step % 10 == 0:
                    bar.set_postfix(loss=f"{terms['loss']:.3f}", joints_mm=f"{terms['joints'] * 100:.1f}")
                    self._log(writer, "train", terms)
                if self.step % options.validate_every == 0 or self.step == last:
                    figures = self.validate(validation)
                    self.history.append({"step": self.step, **figures})
                    self._log(writer, "val", figures)
                    if writer is not None:
                        writer.add_image("val/crops", validation.picture(), self.step, dataformats="HWC")
                    said = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
                    if self.accelerator.is_main_process:
                        bar.write(f"step {self.step}: {said}", file=sys.stderr)
                if self.step % options.checkpoint_every == 0 or self.step == last:
                    self.save()
        return self.history[-1] if self.history else {}

    def validate(self, validation: Validation) -> dict[str, float]:
        """Figures of the averaged weights on the first samples of the validation split."""
        model = self._plain_model
        own = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.average)
        try:
            return validation(model, self.accelerator.device)
        finally:
            model.load_state_dict(own)

    def _update(self, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        self.model.train()
        batch = to_device(batch, self.accelerator.device, self._plain_model)
        with self.accelerator.autocast():
            others = batch["shown"].flip(1)
            output = self.model(batch["stems"], batch["rays"], batch["pairs"], others, batch["priors"])
            loss, terms = encoder_loss(output, batch, self.recipe.losses)
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        if self.recipe.training.clip > 0:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.training.clip)
        self.optimizer.step()
        self.schedule.step()
        decay = min(self.recipe.training.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self._plain_model.state_dict().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1.0 - decay)
                else:
                    self.average[name].copy_(value)  # a counter
        return {"loss": float(loss.detach()), **{name: float(term) for name, term in terms.items()}}

    def _dataset(self, split: str, corrupted: float) -> CropDataset:
        options = self.recipe.training
        # Processes of their own take the stem's work off this one; a GPU does it faster than they would.
        apart = split == "train" and options.workers > 0 and self.accelerator.device.type == "cpu"
        apart = apart and self._plain_model.backbones.frozen
        stem = self._plain_model if apart else None
        return CropDataset(split, options.seed, self.hand_model, corrupted, stem, options.cache)

    def _loader(self, last: int) -> DataLoader[Any]:
        options, accelerator = self.recipe.training, self.accelerator
        share, rest = divmod(options.batch, accelerator.num_processes)
        if rest:
            raise ConfigError(f"batch {options.batch} cannot be shared evenly by {accelerator.num_processes} processes")
        first = options.batch * accelerator.process_index // accelerator.num_processes
        numbers = [
            list(range(step * options.batch + first, step * options.batch + first + share))
            for step in range(self.step, last)
        ]
        return DataLoader(
            self._dataset("train", options.corrupted), batch_sampler=numbers, num_workers=options.workers,
            prefetch_factor=4 if options.workers else None, pin_memory=accelerator.device.type == "cuda",
        )  # fmt: skip

    def save(self) -> None:
        """Write the checkpoint, and the averaged weights as ``encoder.safetensors``."""
        if not self.accelerator.is_main_process:
            return
        from safetensors.torch import save_file

        state = {
            "recipe": self._decisive, "step": self.step, "history": self.history,
            "model": self._plain_model.state_dict(), "average": self.average,
            "optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict(),
        }  # fmt: skip
        # Written beside and moved: a run may be ended at any moment, also in here.
        part = self._checkpoint.with_suffix(".part")
        torch.save(state, part)
        part.replace(self._checkpoint)
        weights = {name: value.contiguous() for name, value in self.average.items()}
        metadata = {"encoder": json.dumps(dataclasses.asdict(self.recipe.encoder)), "step": str(self.step)}
        save_file(weights, self.out / "encoder.part", metadata)
        (self.out / "encoder.part").replace(self.out / "encoder.safetensors")

    def export(self) -> Path | None:
        """Write the averaged weights as ``encoder.onnx``, for the pipeline; None for an encoder that needs priors."""
        if not self.accelerator.is_main_process or self.recipe.encoder.fusion == "priors":
            return None
        model = FusionAlignmentEncoder(self.recipe.encoder, self.hand_model, weights_follow=True)
        model.load_state_dict({name: value.cpu() for name, value in self.average.items()})
        export_onnx(model.eval(), self.out / "encoder.onnx")
        return self.out / "encoder.onnx"

    @property
    def _decisive(self) -> dict[str, Any]:
        """What must not change between the parts of a run."""
        options = self.recipe.training
        return {
            "encoder": dataclasses.asdict(self.recipe.encoder), "losses": dataclasses.asdict(self.recipe.losses),
            "seed": options.seed, "batch": options.batch,
        }  # fmt: skip

    def _load(self) -> None:
        if not self._checkpoint.exists():
            return
        state = torch.load(self._checkpoint, map_location="cpu", weights_only=True)
        for name, value in self._decisive.items():
            if state["recipe"][name] != value:
                raise ConfigError(f"{self._checkpoint} was made with {name} {state['recipe'][name]}, not {value}")
        self._plain_model.load_state_dict(state["model"])
        self.average = {name: value.to(self.accelerator.device) for name, value in state["average"].items()}
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.step, self.history = state["step"], state["history"]

    @contextlib.contextmanager
    def _writer(self) -> Iterator[Any]:
        if not self.accelerator.is_main_process:
            yield None
            return
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(self.out / "log"), purge_step=self.step) as writer:
            yield writer

    def _log(self, writer: Any, part: str, values: dict[str, float]) -> None:
        if writer is not None:
            for name, value in values.items():
                writer.add_scalar(f"{part}/{name}", value, self.step)


def parameter_groups(model: FusionAlignmentEncoder, options: EncoderTraining) -> list[dict[str, Any]]:
    """What is trained, with its learning rate: layers that come with weights are changed more carefully."""
    known: list[torch.nn.Parameter] = []
    new: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (known if name.startswith("backbones.") and model.backbones.pretrained else new).append(parameter)
    rate = options.learning_rate
    groups = [{"params": new, "lr": rate}, {"params": known, "lr": rate * options.pretrained_rate}]
    return [group for group in groups if group["params"]]


@contextlib.contextmanager
def _progress(start: int, end: int, shown: bool) -> Iterator[Any]:
    from tqdm import tqdm

    with tqdm(total=end, initial=start, unit="step", file=sys.stderr, disable=not shown, smoothing=0.1) as bar:
        yield bar


def train_encoder(path: str | os.PathLike[str], resume: bool = False, **overrides: Any) -> dict[str, Any]:
    """Train by a recipe file, to the end, and export the result; what is printed then."""
    begin = time.perf_counter()
    trainer = EncoderTrainer(Recipe.from_yaml(path, **overrides), resume)
    figures = trainer.run()
    exported = trainer.export()
    return {
        "out": str(trainer.out), "exported": str(exported or ""), "steps": trainer.step,
        "seconds": round(time.perf_counter() - begin, 1),
        "samples": trainer.step * trainer.recipe.training.batch,
        "validation": {name: round(float(np.float64(value)), 4) for name, value in figures.items()},
    }  # fmt: skip
