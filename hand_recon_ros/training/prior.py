"""Training of the two-hand diffusion prior on pairs of hands in contact: ``hand-recon train refiner``."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler

from ..config import ConfigError, checked, setting
from ..hand_model import load_hand_model
from ..hand_model.hand_pair import HandPair
from ..interact.ddim import BETA_SCHEDULE, NUM_TRAIN_TIMESTEPS
from ..interact.pair_vector import HAND, PAIR, pack
from ..models.export import export_prior
from ..models.pair_denoiser import PriorConfig, TwoHandPrior
from ..models.rotations import random_rotations
from .corruption import KINDS, Corruption, CorruptionShares, rotated
from .engine import Trainer, TrainingOptions, train_and_export
from .pair_data import cached_pairs
from .prior_loss import PriorLossWeights, prior_loss
from .prior_validation import PriorValidation
from .recipe import recipe_sections

_LEAST_STD = 0.02


@dataclasses.dataclass(frozen=True)
class RefinerTraining(TrainingOptions):
    """Section ``training`` of a recipe."""

    out: str = setting("out/train/refiner", "folder for checkpoints, logs and the result")
    cache: str = setting("out/train/refiner/pairs", "folder that caches the pairs of hands")
    seed: int = setting(0, "of weights, noise and estimates", low=0)
    pairs: int = setting(6000, "pairs of hands to train on, of seed 0 of the split", low=1)
    steps: int = setting(20000, "steps of the optimiser", low=1)
    batch: int = setting(64, "pairs of a step, all processes together", low=1)
    from_estimate: float = setting(
        0.5, "share of noisy pairs between ground truth and estimate, as in sampling", low=0.0, high=1.0
    )
    warm_up: int = setting(200, "steps until the learning rate is at its maximum", low=0)
    workers: int = setting(0, "processes that compute pairs", low=0)
    threads: int = setting(2, "CPU threads of the training process", low=1)
    validate_every: int = setting(500, "steps between validations", low=1)
    validation: int = setting(300, "pairs of a validation, the first of the split", low=1)
    measured: int = setting(60, "pairs of them whose meshes' penetration is measured", low=0)
    checkpoint_every: int = setting(250, "steps between checkpoints", low=1)


@dataclasses.dataclass(frozen=True)
class RefinerRecipe:
    """A recipe file: sections ``prior``, ``estimates``, ``losses`` and ``training``."""

    prior: PriorConfig
    estimates: CorruptionShares
    losses: PriorLossWeights
    training: RefinerTraining

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], **overrides: Any) -> RefinerRecipe:
        """Read a recipe; ``overrides`` as in :func:`recipe_sections`. Raises ConfigError for unknown or bad values."""
        content = recipe_sections(path, ("prior", "estimates", "losses", "training"), overrides)
        recipe = cls(
            checked(PriorConfig, content["prior"]), checked(CorruptionShares, content["estimates"]),
            checked(PriorLossWeights, content["losses"]), checked(RefinerTraining, content["training"]),
        )  # fmt: skip
        if not any(getattr(recipe.estimates, kind) for kind in KINDS):
            raise ConfigError("estimates: every share is 0: no kind of estimate can be sampled")
        return recipe


class RefinerTrainer(Trainer):
    """Trains a prior; a step's pairs, noise and estimates follow from its number."""

    name = "refiner"

    def __init__(self, recipe: RefinerRecipe, resume: bool = False) -> None:
        self.recipe = recipe
        options = recipe.training
        self.hand_model = load_hand_model()
        train, val = (
            vectors_of(cached_pairs(options.cache, split, 0, count, options.workers))
            for split, count in (("train", options.pairs), ("val", options.validation))
        )
        self._pairs = train
        self._scales = scales_of(train)
        self._corruption = Corruption(recipe.estimates, self.hand_model)
        self._validation = PriorValidation(val, self._corruption, self.hand_model, options.measured)
        self._noise: Any = DDPMScheduler(
            num_train_timesteps=NUM_TRAIN_TIMESTEPS, beta_schedule=BETA_SCHEDULE, prediction_type="sample"
        )
        super().__init__(options, options.steps, resume)

    def make_model(self) -> TwoHandPrior:
        """A prior with random weights and the mean and standard deviation of the training data."""
        model = TwoHandPrior(self.recipe.prior, self.hand_model)
        for buffer, values in zip((model.mean, model.std), self._scales, strict=True):
            buffer.copy_(values)
        return model

    def batches(self, last: int) -> Iterator[dict[str, torch.Tensor]]:
        """True pairs, noisy pairs (normalised), time steps, estimates and their confidences, by name."""
        share, device = self.share_of_batch(), self.accelerator.device
        for step in range(self.step, last):
            yield {name: value[share].to(device) for name, value in self.batch(step).items()}

    def batch(self, step: int) -> dict[str, torch.Tensor]:
        """The whole batch of a step, on the CPU."""
        options = self.recipe.training
        # Seeded by the step: the same for any number of processes, and in a resumed run.
        seed = np.random.SeedSequence([options.seed, step]).generate_state(1, np.uint64)[0]
        rng = torch.Generator().manual_seed(int(seed))
        chosen = self._pairs[torch.randint(len(self._pairs), (options.batch,), generator=rng)]
        truth = rotated(chosen, random_rotations(options.batch, rng))
        estimate, confidence, _ = self._corruption(truth, rng)
        times = torch.randint(NUM_TRAIN_TIMESTEPS, (options.batch,), generator=rng)
        mean, std = self._scales
        # Sampling starts from the estimate: then the noisy pair is not the truth but lies between both.
        between = torch.rand(options.batch, 1, generator=rng)
        between = between * (torch.rand(options.batch, 1, generator=rng) < options.from_estimate)
        clean = (torch.lerp(truth, estimate, between) - mean) / std
        noise = torch.randn(clean.shape, generator=rng)
        noisy = self._noise.add_noise(clean, noise, times)
        return {"truth": truth, "noisy": noisy, "times": times, "estimate": estimate, "confidence": confidence}

    def loss(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """See :func:`prior_loss`."""
        model = self.plain_model
        with self.accelerator.autocast():
            predicted = self.model(
                model.plain(batch["noisy"]), batch["times"].float(), batch["estimate"], batch["confidence"]
            )
        return prior_loss(predicted.float(), batch["truth"], model.std, model.chain, self.recipe.losses)

    def progress(self, terms: dict[str, float]) -> dict[str, str]:
        """Loss and mean error of a keypoint's coordinate."""
        return {**super().progress(terms), "hands_mm": f"{terms['hands'] * 100:.1f}"}

    def figures(self) -> dict[str, float]:
        """See :class:`PriorValidation`."""
        return self._validation(self.plain_model, self.accelerator.device)

    def export(self) -> Path | None:
        """Write the averaged weights as ``refiner.onnx``, for the pipeline."""
        if not self.accelerator.is_main_process:
            return None
        export_prior(self.averaged(TwoHandPrior(self.recipe.prior, self.hand_model)), self.out / "refiner.onnx")
        return self.out / "refiner.onnx"

    @property
    def decisive(self) -> dict[str, Any]:
        """The network, its losses, and what the samples depend on."""
        options = self.recipe.training
        return {
            "prior": dataclasses.asdict(self.recipe.prior), "estimates": dataclasses.asdict(self.recipe.estimates),
            "losses": dataclasses.asdict(self.recipe.losses), "seed": options.seed, "batch": options.batch,
            "pairs": options.pairs, "from_estimate": options.from_estimate,
        }  # fmt: skip

    @property
    def metadata(self) -> dict[str, str]:
        """The network's settings."""
        return {"prior": json.dumps(dataclasses.asdict(self.recipe.prior))}


def vectors_of(pairs: HandPair) -> torch.Tensor:
    """Pairs as vectors (N, PAIR) float32."""
    return torch.tensor(pack(pairs), dtype=torch.float32)


def scales_of(pairs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (PAIR,) of vectors, the same for both hands.

    For orientations and the vector between the wrists, which rotate with the camera, the mean is 0 and the deviation
    that over all directions: pairs are rotated at random, and the noise must be isotropic.
    """
    hands = pairs[:, : 2 * HAND].reshape(-1, HAND).double()
    mean, std = hands.mean(dim=0), hands.std(dim=0).clamp(min=_LEAST_STD)
    mean[:6], std[:6] = 0.0, 3.0**-0.5
    wrists = pairs[:, 2 * HAND :].double().square().mean().sqrt().expand(3)
    result = torch.cat([mean, mean, torch.zeros(3)]), torch.cat([std, std, wrists])
    assert len(result[0]) == PAIR
    return result[0].float(), result[1].float()


def train_refiner(path: str | os.PathLike[str], resume: bool = False, **overrides: Any) -> dict[str, Any]:
    """Train by a recipe file to the end and export the result; returns the command's report."""
    return train_and_export(lambda: RefinerTrainer(RefinerRecipe.from_yaml(path, **overrides), resume))
