"""Partial denoising with guidance: a learned prior of two hands proposes a pair, steps of the separation guide it.

The estimate is taken to a time step in the middle of the noise schedule and denoised again in a few deterministic steps
(:mod:`ddim`; to begin in the middle is SDEdit's way, Meng et al., 2022; it begins without noise, see
docs/two_hand_prior.md). At each step the prior predicts x0, which moves one step of the separation before it is taken
to the next time step (arXiv:2503.17788, where the gradient of a collision loss moves it).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from ..hand_model.hand_pair import HandPair
from .ddim import add_noise, ddim_loop, ddim_timesteps
from .denoiser import Denoiser
from .pair_vector import TRANSLATION_UNIT, confidences, pack, unpack
from .uncertainty import PoseGaussian

START_TIMESTEP = 199
"""Time step of the noise schedule that the estimate is taken to."""
DENOISING_STEPS = 2
"""More change neither errors nor contact, see docs/refinement.md."""
_MEAN_ABSOLUTE = math.sqrt(2.0 / math.pi)
"""Mean absolute value of a standard normal number."""


def confidence_of(gaussian: PoseGaussian) -> np.ndarray:
    """The confidence (CONFIDENCES,), 0..1, of an estimate whose errors have this distribution.

    Betas have the errors of the population. The errors of both wrists are not independent, so that the vector between
    them has its unit's expected error.
    """
    variance = np.linalg.inv(gaussian.blocks).diagonal(axis1=1, axis2=2)
    rotations = np.concatenate([variance[:, :3], variance[:, 6:]], axis=1).reshape(2, 16, 3).sum(axis=-1)
    return confidences(_MEAN_ABSOLUTE * np.sqrt(rotations), np.full(2, _MEAN_ABSOLUTE), np.full(2, TRANSLATION_UNIT))


def denoise(
    denoiser: Denoiser,
    estimate: HandPair,
    confidence: np.ndarray,
    guide: Callable[[HandPair], HandPair],
    deadline: float = math.inf,
    steps: int = DENOISING_STEPS,
) -> HandPair:
    """The pair that a prior proposes for an estimate; the point halfway between the wrists stays.

    Args:
        denoiser: the prior.
        estimate: its condition, and where denoising starts.
        confidence: of the estimate (CONFIDENCES,).
        guide: moves the predicted x0 at each step.
        deadline: time of ``time.perf_counter`` after which the last x0 is used again.
        steps: of denoising.
    """
    condition, middle = pack(estimate), estimate.wrists.mean(axis=0)
    last: np.ndarray | None = None

    def predict(x_t: np.ndarray, t: int) -> np.ndarray:
        nonlocal last
        if last is None or time.perf_counter() <= deadline:
            x0 = denoiser(denoiser.plain(x_t), t, condition, confidence)
            last = denoiser.normalised(pack(guide(unpack(x0, middle))))
        return last

    timesteps = ddim_timesteps(steps, START_TIMESTEP)
    x_t = add_noise(denoiser.normalised(condition), 0.0, float(denoiser.alphas_cumprod[timesteps[0]]))
    return unpack(denoiser.plain(ddim_loop(predict, x_t, timesteps, denoiser.alphas_cumprod)), middle)
