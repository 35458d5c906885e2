"""The noise schedule of the two-hand prior and DDIM sampling, in NumPy, for inference without torch.

Noise is added as in DDPM (Ho et al., arXiv:2006.11239) with the cosine schedule of Nichol & Dhariwal
(arXiv:2102.09672), ``squaredcos_cap_v2`` of diffusers; sampling is DDIM (Song et al., arXiv:2010.02502) without added
noise (eta 0), from a network that predicts x0 (``prediction_type="sample"``). All vectors are normalised to mean 0 and
standard deviation 1. Names are those of diffusers, the oracle of the tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

BETA_SCHEDULE = "squaredcos_cap_v2"
"""The schedule's name in diffusers."""
NUM_TRAIN_TIMESTEPS = 1000
"""Time steps of the schedule; at the last there is noise only."""
_MAX_BETA = 0.999


def cosine_alphas_cumprod() -> np.ndarray:
    """Share of the variance (NUM_TRAIN_TIMESTEPS,) float64 that is signal at each time step, from almost 1 to 0."""

    def alpha_bar(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2.0) ** 2

    count = NUM_TRAIN_TIMESTEPS
    betas = [min(1.0 - alpha_bar((t + 1) / count) / alpha_bar(t / count), _MAX_BETA) for t in range(count)]
    return np.cumprod(1.0 - np.array(betas))


def add_noise(x0: np.ndarray, noise: np.ndarray | float, alpha_cumprod: float) -> np.ndarray:
    """x_t of ``x0`` at a time step of this share of signal; ``noise`` as ``x0``, standard normal, or 0 for none."""
    return math.sqrt(alpha_cumprod) * x0 + math.sqrt(1.0 - alpha_cumprod) * noise


def ddim_timesteps(steps: int, start: int = NUM_TRAIN_TIMESTEPS - 1) -> list[int]:
    """``steps`` evenly spaced time steps from ``start`` down, as ``timestep_spacing="trailing"`` in diffusers.

    The first is ``start`` itself, so that the network is given the time of as much noise as there is. Raises ValueError
    where there are not so many time steps.
    """
    if not 0 <= start < NUM_TRAIN_TIMESTEPS or not 1 <= steps <= start + 1:
        raise ValueError(
            f"expected 0 <= start < {NUM_TRAIN_TIMESTEPS} and 1 to start + 1 steps, got {start} and {steps}"
        )
    return [round((start + 1) * (steps - k) / steps) - 1 for k in range(steps)]


def ddim_step(x_t: np.ndarray, x0: np.ndarray, alpha_cumprod: float, prev_alpha_cumprod: float) -> np.ndarray:
    """x at the previous time step: equation 12 of arXiv:2010.02502 with sigma 0.

    Args:
        x_t: at this time step.
        x0: predicted by the network, same shape.
        alpha_cumprod: share of signal at this time step, below 1.
        prev_alpha_cumprod: share of signal at the previous time step; 1 for ``x0`` itself.
    """
    noise = (x_t - math.sqrt(alpha_cumprod) * x0) / math.sqrt(1.0 - alpha_cumprod)
    return math.sqrt(prev_alpha_cumprod) * x0 + math.sqrt(1.0 - prev_alpha_cumprod) * noise


def ddim_loop(
    predict: Callable[[np.ndarray, int], np.ndarray],
    x_t: np.ndarray,
    timesteps: list[int],
    alphas_cumprod: np.ndarray,
) -> np.ndarray:
    """Sample from ``x_t`` at the first of the ``timesteps`` down to x0; ``predict(x_t, t)`` is the network's x0."""
    for t, prev_timestep in zip(timesteps, [*timesteps[1:], None], strict=True):
        prev_alpha_cumprod = 1.0 if prev_timestep is None else float(alphas_cumprod[prev_timestep])
        x_t = ddim_step(x_t, predict(x_t, t), float(alphas_cumprod[t]), prev_alpha_cumprod)
    return x_t
