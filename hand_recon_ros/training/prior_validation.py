"""Validation of the two-hand prior: errors of the same simulated estimates before and after denoising."""

from __future__ import annotations

import numpy as np
import torch

from ..geometry.mesh_queries import penetration_depth
from ..hand_model import HandModel
from ..interact.ddim import add_noise, ddim_loop, ddim_timesteps
from ..interact.pair_vector import HAND, unpack
from ..models.pair_denoiser import TwoHandPrior
from ..models.rotations import random_rotations
from ..types import Side
from .corruption import KINDS, Corruption, rotated
from .prior_loss import keypoints_of

ONE_STEP = 99
"""Time step of the noise that is removed in one step."""
START, STEPS = 199, 5
"""First time step and number of steps of DDIM sampling that starts from the estimate."""
DEEP = 0.002
"""PenDepth from which on a pair counts as interpenetrating, metres."""


class PriorValidation:
    """Pairs (N, PAIR), corrupted once; penetration of the meshes is measured for the first ``measured`` of them."""

    def __init__(self, pairs: torch.Tensor, corruption: Corruption, hand_model: HandModel, measured: int) -> None:
        rng = torch.Generator().manual_seed(77)
        self.truth = rotated(pairs, random_rotations(len(pairs), rng))
        self.estimate, self.confidence, self.kinds = corruption(self.truth, rng)
        self.noise = torch.randn(self.truth.shape, generator=rng)
        self._hand_model, self._measured = hand_model, measured
        self._depths_before: np.ndarray | None = None

    @torch.no_grad()
    def __call__(self, model: TwoHandPrior, device: torch.device) -> dict[str, float]:
        """Figures of the estimates (``before``), after one denoising step (``once``), after DDIM sampling from the
        estimate at t = START (``after``) and over the whole schedule (``whole``); the latter two start without noise,
        as the pipeline does.

        Mean distances in mm: of keypoints relative to their hand's wrist (``hand``), and of the vector between the
        wrists (``wrists``); after sampling also for each kind of estimate, for exact ones as ``moved``; PenDepth in mm
        and the share of pairs with more than 2 mm.
        """
        model.eval()
        no_noise = torch.zeros_like(self.noise)
        after = self._sampled(model, device, ddim_timesteps(STEPS, START), no_noise)
        results = {
            "before": self.estimate, "once": self._sampled(model, device, [ONE_STEP], self.noise), "after": after,
            "whole": self._sampled(model, device, ddim_timesteps(STEPS), no_noise),
        }  # fmt: skip
        figures: dict[str, float] = {}
        for name, x in results.items():
            hand, wrists = self._errors(model, x.to(device))
            figures |= {f"hand_{name}_mm": hand.mean(), f"wrists_{name}_mm": wrists.mean()}
            for number, kind in enumerate(KINDS):
                chosen = (self.kinds == number).numpy()
                if name not in ("before", "after") or not chosen.any():
                    continue
                if kind != "exact":
                    figures[f"hand_{kind}_{name}_mm"] = hand[chosen].mean()
                    figures[f"wrists_{kind}_{name}_mm"] = wrists[chosen].mean()
                elif name == "after":
                    figures["hand_moved_mm"], figures["wrists_moved_mm"] = hand[chosen].mean(), wrists[chosen].mean()
        if self._measured:
            if self._depths_before is None:
                self._depths_before = self._depths(self.estimate)
            for name, depths in (("before", self._depths_before), ("after", self._depths(after))):
                figures[f"pen_depth_{name}_mm"] = depths.mean() * 1e3
                figures[f"pen_rate_{name}"] = (depths > DEEP).mean()
        model.train()
        return {name: float(value) for name, value in figures.items()}

    def _sampled(
        self, model: TwoHandPrior, device: torch.device, times: list[int], noise: torch.Tensor
    ) -> torch.Tensor:
        """Pairs sampled by the torch-free DDIM of the pipeline, from the estimates with ``noise``."""
        estimate, confidence = self.estimate.to(device), self.confidence.to(device)
        alphas = model.alphas.double().cpu().numpy()

        def predict(x_t: np.ndarray, t: int) -> np.ndarray:
            noisy = model.plain(torch.tensor(x_t, dtype=torch.float32, device=device))
            x0 = model(noisy, torch.full((len(x_t),), float(t), device=device), estimate, confidence)
            return np.asarray(model.normalised(x0).cpu().numpy())

        start = model.normalised(estimate).cpu().numpy()
        x_t = add_noise(start, noise.numpy(), float(alphas[times[0]]))
        x0 = torch.tensor(ddim_loop(predict, x_t, times, alphas), dtype=torch.float32)
        return model.plain(x0.to(device)).cpu()

    def _errors(self, model: TwoHandPrior, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Errors (N,) of the pairs' keypoints and of the vectors between their wrists, mm."""
        truth = self.truth.to(x.device)
        own, true_own = keypoints_of(x, model.chain)[0], keypoints_of(truth, model.chain)[0]
        hand = (own - true_own).norm(dim=-1).mean(dim=(1, 2)) * 1e3
        wrists = (x - truth)[:, 2 * HAND :].norm(dim=-1) * 1e3
        return hand.cpu().numpy(), wrists.cpu().numpy()

    def _depths(self, x: torch.Tensor) -> np.ndarray:
        """PenDepth (measured,), metres, of the first pairs."""
        pairs = unpack(x[: self._measured].numpy(), np.zeros((min(self._measured, len(x)), 3)))
        meshes = pairs.meshes(self._hand_model)
        faces = [self._hand_model.faces(side) for side in Side]
        return np.array([penetration_depth(a, faces[0], b, faces[1]) for a, b in zip(*meshes, strict=True)])
