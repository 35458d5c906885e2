"""Bootstrap intervals (Efron 1979)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_RESAMPLES = 1000


def interval(values: np.ndarray) -> list[float]:
    """Lower and upper bound of the 95 % percentile interval of the mean of ``values`` (N,)."""
    return _percentiles([values[chosen].mean() for chosen in _resamples(len(values))])


def ratio_interval(parts: np.ndarray, wholes: np.ndarray) -> list[float] | None:
    """As :func:`interval`, of the sum of ``parts`` (N,) over that of ``wholes`` (N,); None where all wholes are 0."""
    parts, wholes = parts[wholes > 0], wholes[wholes > 0]
    if not len(wholes):
        return None
    return _percentiles([parts[chosen].sum() / wholes[chosen].sum() for chosen in _resamples(len(wholes))])


def reduction_interval(before: np.ndarray, after: np.ndarray) -> list[float]:
    """As :func:`interval`, of the relative reduction of the mean from ``before`` to ``after``, (N,) each, paired."""
    return _percentiles([1.0 - after[chosen].mean() / before[chosen].mean() for chosen in _resamples(len(before))])


def _resamples(count: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    return (rng.integers(count, size=count) for _ in range(_RESAMPLES))


def _percentiles(figures: list[float]) -> list[float]:
    return [float(bound) for bound in np.percentile(figures, [2.5, 97.5])]
