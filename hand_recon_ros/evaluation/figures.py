"""The figures of a hand, computed in one place for every evaluation, and the summary of a list of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import metrics
from .intervals import interval

PER_HAND = (
    "mpjpe_mm", "mpvpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm", "wrist_error_mm", "error_2d_px", "pck_0_05", "pck_0_1",
)  # fmt: skip
PER_JOINT = "per_joint_mm"
"""Name of the joint errors (N, 21) of hands among the values; in a report it is beside "metrics"."""
PCK_SHARES = {"pck_0_05": 0.05, "pck_0_1": 0.1}
"""Thresholds of the 2D error, as a share of the larger side of the true box."""

Figures = dict[str, np.ndarray]
"""Figure -> its values, one per hand."""
Values = dict[str, list[np.ndarray]]
"""Figure -> its values () or (N,), one array per hand, pair or image."""


class HandErrors(NamedTuple):
    """Errors of a hand's keypoints.

    Attributes:
        joints_mm: in 3D, relative to the wrist (21,), mm.
        shares: in the image (21,), as a share of the larger side of the true box; NaN for keypoints that do not count.
    """

    joints_mm: np.ndarray
    shares: np.ndarray


def joint_figures(joints: np.ndarray, true_joints: np.ndarray) -> Figures:
    """Figures of the keypoints (N, 21, 3) of N hands in the camera frame, metres; PER_JOINT is (N, 21), others (N,)."""
    errors = metrics.joint_errors(joints, true_joints)
    return {
        PER_JOINT: errors,
        "mpjpe_mm": errors.mean(axis=-1),
        "pa_mpjpe_mm": metrics.pa_mpjpe(joints, true_joints),
        "wrist_error_mm": metrics.wrist_error(joints, true_joints),
    }


def mesh_figures(
    vertices: np.ndarray, true_vertices: np.ndarray, wrists: np.ndarray, true_wrists: np.ndarray
) -> Figures:
    """Figures (N,) of the meshes (N, V, 3) of N hands with their wrists (N, 3), in the camera frame, metres."""
    return {
        "mpvpe_mm": metrics.mpvpe(vertices, true_vertices, wrists[:, None], true_wrists[:, None]),
        "pa_mpvpe_mm": metrics.pa_mpjpe(vertices, true_vertices),
    }


def image_figures(errors_px: np.ndarray, size: np.ndarray) -> Figures:
    """Figures (N,) of K keypoints' errors (N, K) in the image, pixels; ``size`` (N,): larger side of the true box."""
    shares = errors_px / size[:, None]
    return {
        "error_2d_px": errors_px.mean(axis=-1),
        **{name: (shares < share).mean(axis=-1) for name, share in PCK_SHARES.items()},
    }


def add_hand(
    values: Values,
    joints: np.ndarray,
    true_joints: np.ndarray,
    vertices: np.ndarray,
    true_vertices: np.ndarray,
    pixels: np.ndarray,
    true_pixels: np.ndarray,
    counted: np.ndarray,
) -> HandErrors:
    """Add one hand's values to the lists.

    Args:
        values: gets PER_HAND and PER_JOINT; the 2D ones only where a keypoint counts.
        joints, true_joints: keypoints (21, 3) in the camera frame, metres.
        vertices, true_vertices: of the meshes (V, 3), likewise.
        pixels, true_pixels: keypoints (21, 2) in the image; the true box is that of ``true_pixels``.
        counted: which keypoints count in the image (21,) bool.
    """
    figures = joint_figures(joints[None], true_joints[None])
    figures |= mesh_figures(vertices[None], true_vertices[None], joints[None, 0], true_joints[None, 0])
    shares = np.full(len(pixels), np.nan)
    if counted.any():
        error_2d = metrics.point_errors(pixels[counted], true_pixels[counted])
        size = np.ptp(true_pixels, axis=0).max()
        shares[counted] = error_2d / size
        figures |= image_figures(error_2d[None], size[None])
    for name, figure in figures.items():
        values[name].append(figure)
    return HandErrors(figures[PER_JOINT][0], shares)


def pooled(values: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
    """Figure -> its values, concatenated: (N,), of PER_JOINT (N, 21)."""
    return {
        name: np.concatenate([np.atleast_1d(part) for part in parts]) if parts else np.zeros(0)
        for name, parts in values.items()
    }


def summary(
    estimate: Mapping[str, np.ndarray],
    ground_truth: Mapping[str, np.ndarray],
    refined: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Means and 95 % bootstrap intervals of values (N,) by figure: the part of a report that all evaluations share.

    ``refined`` are the values of the same images after the two-hand refinement, ``estimate`` those before it.

    Returns "metrics" and "ci95", each with "estimate", "refined" (None where it was not measured) and "ground_truth":
    figure -> mean and figure -> [low, high] of the values that are not NaN, None where there are none; PER_JOINT: the
    mean error of each of the 21 keypoints relative to the wrist, mm; and "boolean_failures": the number of pairs whose
    intersection volume could not be computed.
    """
    names = [name for name in estimate if name != PER_JOINT]
    result: dict[str, Any] = {
        part: {"estimate": None, "refined": None, "ground_truth": None} for part in ("metrics", "ci95")
    }
    failures, per_joint = {}, {}
    columns = {"estimate": estimate, **({} if refined is None else {"refined": refined}), "ground_truth": ground_truth}
    for column, values in columns.items():
        finite = {name: values[name][np.isfinite(values[name])] for name in names if name in values}
        counted = {name: found for name, found in finite.items() if found.size}
        result["metrics"][column] = {name: float(counted[name].mean()) if name in counted else None for name in names}
        result["ci95"][column] = {name: interval(counted[name]) if name in counted else None for name in names}
        failures[column] = int(np.isnan(values.get("pen_vol_cm3", np.zeros(0))).sum())
        if PER_JOINT in values:
            joints = values[PER_JOINT]
            per_joint[column] = joints.mean(axis=0).tolist() if joints.size else None
    return {**result, PER_JOINT: per_joint, "boolean_failures": failures}
