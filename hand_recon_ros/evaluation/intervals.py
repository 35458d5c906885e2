"""Bootstrap intervals (Efron 1979)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

_RESAMPLES = 1000
_BATCH = 50
"""Resamples that are multiplied with a table at once."""


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


def columns_interval(values: np.ndarray) -> list[float]:
    """As :func:`interval`, of the mean of the columns' means: keypoints (columns) of images (rows), (N, K).

    NaN does not count, nor does a column in which a resample has nothing else. Rows are resampled.
    """
    known = np.isfinite(values)
    table = np.concatenate([np.where(known, values, 0.0), known], axis=1)
    means: list[float] = []
    resamples = _resamples(len(values))
    while batch := list(itertools.islice(resamples, _BATCH)):
        times = np.stack([np.bincount(chosen, minlength=len(values)) for chosen in batch]).astype(np.float64)
        sums, counts = np.split(times @ table, 2, axis=1)
        columns = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
        means += [float(np.mean(row[np.isfinite(row)])) for row in columns if np.isfinite(row).any()]
    return _percentiles(means)


def _resamples(count: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    return (rng.integers(count, size=count) for _ in range(_RESAMPLES))


def _percentiles(figures: list[float]) -> list[float]:
    return [float(bound) for bound in np.percentile(figures, [2.5, 97.5])]
