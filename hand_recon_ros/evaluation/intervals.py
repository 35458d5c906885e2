"""Means and their bootstrap intervals (Efron 1979), and the part of a report that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

_RESAMPLES = 1000


def interval(values: np.ndarray) -> list[float]:
    """Lower and upper bound of the 95 % percentile interval of the mean of ``values`` (N,)."""
    rng = np.random.default_rng(0)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(_RESAMPLES)]
    return [float(bound) for bound in np.percentile(means, [2.5, 97.5])]


def report(
    names: Iterable[str], estimate: Mapping[str, np.ndarray], ground_truth: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """The entries ``metrics`` and ``ci95`` of a report: means and intervals of the values by name.

    Values that are NaN do not count; a name without any is None. ``boolean_failures`` says of how many pairs the volume
    of the intersection could not be computed.
    """
    names = tuple(names)
    metrics: dict[str, Any] = {"estimate": None, "refined": None, "ground_truth": None}
    intervals, failures = dict(metrics), {}
    for column, pooled in (("estimate", estimate), ("ground_truth", ground_truth)):
        finite = {name: pooled[name][np.isfinite(pooled[name])] for name in names if name in pooled}
        counted = {name: values for name, values in finite.items() if values.size}
        metrics[column] = {name: float(counted[name].mean()) if name in counted else None for name in names}
        intervals[column] = {name: interval(counted[name]) if name in counted else None for name in names}
        failures[column] = int(np.isnan(pooled.get("pen_vol_cm3", np.zeros(0))).sum())
    return {"metrics": metrics, "ci95": intervals, "boolean_failures": failures}
