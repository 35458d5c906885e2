"""Values of many images as figures: means with their 95 % bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..intervals import columns_interval, interval


def mean_of_columns(table: np.ndarray) -> float | None:
    """Mean of the means of the columns of (N, K), NaN left out; None where there is nothing else."""
    known = np.isfinite(table)
    counts = known.sum(axis=0)
    if not counts.any():
        return None
    sums = np.where(known, table, 0.0).sum(axis=0)
    return float((sums[counts > 0] / counts[counts > 0]).mean())


def summarised(values: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """The entries "metrics" and "ci95": figure -> mean, and figure -> [low, high] of it, None where there is no value.

    Values are (N,), or (N, K) of K keypoints, whose mean is that of the keypoints' means over the images, as in the
    official codes. NaN is left out.
    """
    means: dict[str, float | None] = {}
    intervals: dict[str, list[float] | None] = {}
    for name, value in values.items():
        if value.ndim == 1:
            finite = value[np.isfinite(value)]
            means[name] = float(finite.mean()) if finite.size else None
            intervals[name] = interval(finite) if finite.size else None
        else:
            means[name] = mean_of_columns(value)
            intervals[name] = None if means[name] is None else columns_interval(value)
    return {"metrics": means, "ci95": intervals}
