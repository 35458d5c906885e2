"""The noise schedule of the two-hand prior and sampling with it, in NumPy: what is needed without torch.

Noise is added as in DDPM (Ho et al., arXiv:2006.11239) with the cosine schedule of Nichol & Dhariwal
(arXiv:2102.09672), ``squaredcos_cap_v2`` of diffusers; sampling is DDIM (Song et al., arXiv:2010.02502) without added
noise (eta 0), from a network that predicts x0 (``prediction_type="sample"``). Everything here is in numbers of mean 0
and standard deviation 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

SCHEDULE = "squaredcos_cap_v2"
"""What diffusers calls the schedule."""
TIMES = 1000
"""Time steps of the schedule; at the last there is noise only."""
_MOST_BETA = 0.999


def cosine_alphas_cumprod() -> np.ndarray:
    """Share of the variance (TIMES,) float64 that is signal at each time; close to 1 at 0 and to 0 at the last."""

    def signal(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2.0) ** 2

    betas = [min(1.0 - signal((t + 1) / TIMES) / signal(t / TIMES), _MOST_BETA) for t in range(TIMES)]
    return np.cumprod(1.0 - np.array(betas))


def noised(x: np.ndarray, noise: np.ndarray | float, alpha: float) -> np.ndarray:
    """``x`` at the time where the share of signal is ``alpha``; ``noise`` as ``x``, standard normal, or 0 for none."""
    return math.sqrt(alpha) * x + math.sqrt(1.0 - alpha) * noise


def ddim_times(steps: int, start: int = TIMES - 1) -> list[int]:
    """Times of so many steps from ``start`` down, evenly; as ``timestep_spacing="trailing"`` in diffusers.

    The first is ``start`` itself, so that the network is asked about as much noise as there is. Raises ValueError
    where there are not so many times.
    """
    if not 0 <= start < TIMES or not 1 <= steps <= start + 1:
        raise ValueError(f"expected 0 <= start < {TIMES} and 1 to start + 1 steps, got {start} and {steps}")
    return [round((start + 1) * (steps - k) / steps) - 1 for k in range(steps)]


def ddim_step(x_t: np.ndarray, x0: np.ndarray, alpha: float, next_alpha: float) -> np.ndarray:
    """Equation 12 of arXiv:2010.02502 with sigma 0: from one time to an earlier one.

    Args:
        x_t: where sampling is.
        x0: where the network says it leads, same shape.
        alpha: share of signal at this time, below 1.
        next_alpha: share of signal at the next time; 1 after the last, which gives ``x0`` itself.
    """
    noise = (x_t - math.sqrt(alpha) * x0) / math.sqrt(1.0 - alpha)
    return math.sqrt(next_alpha) * x0 + math.sqrt(1.0 - next_alpha) * noise


def ddim_loop(
    predict: Callable[[np.ndarray, int], np.ndarray],
    x_t: np.ndarray,
    times: list[int],
    alphas_cumprod: np.ndarray,
) -> np.ndarray:
    """Sample from ``x_t`` at the first of ``times`` down to x0; ``predict(x_t, t)`` gives the network's x0."""
    for t, following in zip(times, [*times[1:], None], strict=True):
        next_alpha = 1.0 if following is None else float(alphas_cumprod[following])
        x_t = ddim_step(x_t, predict(x_t, t), float(alphas_cumprod[t]), next_alpha)
    return x_t
