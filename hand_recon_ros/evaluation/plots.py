"""Plots of a report, as PNG files in memory. Needs matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..skeleton import KEYPOINT_NAMES
from .figures import HandErrors

_DPI = 90
_PCK_2D, _PCK_3D = 0.3, 60.0
"""Largest thresholds of the curves: share of the true box, mm."""


def joint_bars(per_joint: Sequence[float | None]) -> bytes:
    """Bars of the mean error of each keypoint (21,), mm, relative to the wrist; None has no bar."""
    figure, (axes,) = _figure(1, 4.6)
    lengths = np.array(per_joint, dtype=np.float64)
    colours = ["0.5"] + [f"C{(keypoint - 1) // 4}" for keypoint in range(1, len(lengths))]
    bars = axes.barh(KEYPOINT_NAMES, lengths, color=colours)
    axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="mean error from the wrist, mm", xmargin=0.08)
    axes.tick_params(labelsize=8)
    return _png(figure)


def pck(shares: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of keypoints with an error below each threshold (T,), as the mean over hands.

    ``shares`` are errors (N, 21) in the unit of the thresholds, NaN for keypoints that do not count.
    """
    shares = shares[np.isfinite(shares).any(axis=1)]
    counted = np.isfinite(shares)
    correct = [((shares < threshold) & counted).sum(axis=1) / counted.sum(axis=1) for threshold in thresholds]
    return np.mean(correct, axis=1)


def pck_curves(hands: Sequence[HandErrors]) -> bytes:
    """PCK over thresholds, in 2D and in 3D."""
    figure, (axes_2d, axes_3d) = _figure(2, 3.2)
    for axes, errors, most, unit in (
        (axes_2d, np.stack([hand.shares for hand in hands]), _PCK_2D, "threshold, share of the true box"),
        (axes_3d, np.stack([hand.joints_mm for hand in hands]), _PCK_3D, "threshold, mm from the wrist"),
    ):
        thresholds = np.linspace(0.0, most, 121)
        if np.isfinite(errors).any():
            axes.plot(thresholds, pck(errors, thresholds))
        axes.set(xlabel=unit, ylabel="keypoints below it", xlim=(0, most), ylim=(0, 1))
        axes.grid(alpha=0.3)
    return _png(figure)


def distribution(hands: Sequence[HandErrors]) -> bytes:
    """Histogram of the hands' mean joint errors."""
    errors = np.array([hand.joints_mm.mean() for hand in hands])
    errors = errors[np.isfinite(errors)]
    figure, (axes,) = _figure(1, 3.2)
    axes.hist(errors, bins=max(5, min(40, round(2 * len(errors) ** 0.5))), color="C0", alpha=0.7)
    for name, value, line in (
        ("median", np.median(errors), "-"), ("mean", errors.mean(), "--"), ("95 %", np.percentile(errors, 95), ":"),
    ) if len(errors) else ():  # fmt: skip
        axes.axvline(value, color="0.2", linestyle=line, label=f"{name} {value:.1f} mm")
    axes.set(xlabel="mean joint error of a hand from the wrist, mm", ylabel="hands", xlim=(0, None))
    axes.legend()
    return _png(figure)


def _figure(columns: int, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(8.0, height), dpi=_DPI, layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
