"""Bootstrap intervals (Efron 1979)."""

from __future__ import annotations

import numpy as np

_RESAMPLES = 1000


def interval(values: np.ndarray) -> list[float]:
    """Lower and upper bound of the 95 % percentile interval of the mean of ``values`` (N,)."""
    rng = np.random.default_rng(0)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(_RESAMPLES)]
    return [float(bound) for bound in np.percentile(means, [2.5, 97.5])]
