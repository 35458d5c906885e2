"""Weighted Gram matrices, compiled."""

from __future__ import annotations

import numpy as np

from ..geometry.compiled import compiled


def weighted_gram(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``rows.T @ diag(weights) @ rows`` (P, P) of rows (N, P), most of whose entries are zero, and weights (N,).

    BLAS would start threads for this product, which go on spinning on the cores that the networks need.
    """
    if rows.ndim != 2 or weights.shape != rows.shape[:1]:
        raise ValueError(f"rows (N, P) and weights (N,) expected, got {rows.shape} and {weights.shape}")
    result = np.zeros((rows.shape[1], rows.shape[1]))
    _accumulate(np.ascontiguousarray(rows, np.float64), np.ascontiguousarray(weights, np.float64), result)
    return result


@compiled
def _accumulate(rows, weights, result):  # type: ignore[no-untyped-def]
    """Add to ``result`` (P, P); all float64 and C-contiguous."""
    for n in range(rows.shape[0]):
        for i in range(rows.shape[1]):
            value = weights[n] * rows[n, i]
            if value != 0.0:
                for j in range(rows.shape[1]):
                    result[i, j] += value * rows[n, j]
