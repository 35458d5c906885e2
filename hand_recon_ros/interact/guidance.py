"""Partial denoising with guidance: a learned prior of two hands proposes, separation moves what it proposes.

The estimate is taken to a time in the middle of the noise schedule and denoised again in a few deterministic steps
(:mod:`diffusion`; to begin in the middle is SDEdit's way, Meng et al., 2022; it begins without noise, see
docs/two_hand_prior.md). At each step the prior says what the clean hands are, and these are moved as the separation
would, before they are taken to the next time (arXiv:2503.17788, where the gradient of the collision loss moves them).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from .ddim import ddim_loop, ddim_times, noised
from .denoiser import Denoiser
from .pair import PER_HAND, HandPair
from .pair_vector import RELATION_UNIT, confidences, pack, unpack
from .uncertainty import PoseGaussian

START = 199
"""Time of the noise schedule that the estimate is taken to."""
STEPS = 2
"""More change neither errors nor contact, see docs/refinement.md."""
_MEAN_ABSOLUTE = math.sqrt(2.0 / math.pi)
"""Mean absolute value of a standard normal number."""


def confidence_of(belief: PoseGaussian) -> np.ndarray:
    """What a prior is told of how good an estimate is (CONFIDENCES,), 0..1, of the errors that the belief expects.

    Of the betas nothing is known but that they are a human hand's, of the vector between the wrists that the errors of
    both are not independent: it is taken to be as far off as the unit says.
    """
    # The errors of the two hands are independent, so that each block of the information has its own inverse.
    blocks = belief.information.reshape(2, PER_HAND, 2, PER_HAND)[[0, 1], :, [0, 1]]
    variance = np.linalg.inv(blocks).diagonal(axis1=1, axis2=2)
    turns = np.concatenate([variance[:, :3], variance[:, 6:]], axis=1).reshape(2, 16, 3).sum(axis=-1)
    return confidences(_MEAN_ABSOLUTE * np.sqrt(turns), np.full(2, _MEAN_ABSOLUTE), np.full(2, RELATION_UNIT))


def denoised(
    denoiser: Denoiser,
    estimate: HandPair,
    confidence: np.ndarray,
    guide: Callable[[HandPair], HandPair],
    deadline: float = math.inf,
    steps: int = STEPS,
) -> HandPair:
    """The hands that a prior makes of an estimate; the point halfway between the wrists stays.

    Args:
        denoiser: the prior.
        estimate: what it is asked about.
        confidence: how good that is (CONFIDENCES,).
        guide: moves what the prior says at each step.
        deadline: time of ``time.perf_counter`` after which the prior is asked no more.
        steps: of denoising.
    """
    condition, middle = pack(estimate.rotations, estimate.betas, estimate.wrists), estimate.wrists.mean(axis=0)
    said: list[np.ndarray] = []

    def predict(x_t: np.ndarray, t: int) -> np.ndarray:
        if said and time.perf_counter() > deadline:
            return said[-1]
        pair = guide(HandPair(*unpack(denoiser(denoiser.plain(x_t), t, condition, confidence), middle)))
        said.append(denoiser.normalised(pack(pair.rotations, pair.betas, pair.wrists)))
        return said[-1]

    times = ddim_times(steps, START)
    x_t = noised(denoiser.normalised(condition), 0.0, float(denoiser.alphas_cumprod[times[0]]))
    return HandPair(*unpack(denoiser.plain(ddim_loop(predict, x_t, times, denoiser.alphas_cumprod)), middle))
