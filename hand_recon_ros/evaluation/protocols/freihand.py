"""FreiHAND's scores (Zimmermann et al., ICCV 2019), as the official code computes them: one right hand in an image.

"raw" compares positions in the camera frame; "pa" is after an alignment with scale that may also mirror, of keypoints
and of vertices each by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from ...geometry.alignment import procrustes
from ...skeleton import NUM_KEYPOINTS, WRIST
from ...types import Side
from .. import metrics
from .protocol import HandPairs
from .rest_pose import SUFFIX, with_rest
from .summary import summarised

PROTOCOL = (
    "FreiHAND: raw in the camera frame; pa after Procrustes with scale and reflection, keypoints and vertices each by "
    "themselves; AUC over 100 thresholds of 0 to 50 mm"
)
_THRESHOLDS = np.linspace(0.0, 0.05, 100)
"""Of the curve of correct keypoints, metres."""
_F_THRESHOLDS = {"f_5": 0.005, "f_15": 0.015}
"""Of the F-scores, metres."""
_EPSILON = 1e-8
"""Added by the official code to the norm of centred points."""

Scores = dict[str, np.ndarray]
"""Figure -> its values (N,), one per image, NaN where the hand was not found."""


def measure(
    joints: np.ndarray,
    vertices: np.ndarray | None,
    true_joints: np.ndarray,
    true_vertices: np.ndarray | None,
    rest: HandPairs | None = None,
) -> Scores:
    """The scores of N images.

    Args:
        joints, true_joints: keypoints (N, 21, 3), metres in the camera frame; NaN where no hand was found.
        vertices, true_vertices: (N, V, 3), likewise. Without predicted ones, or with those of another hand
            model, which are not passed, there are no scores of meshes.
        rest: of :func:`rest_pose.rest_hands`, for hands that were not found; None where all were.

    Raises ValueError where shapes do not fit, or a hand was not found and there is no rest.
    """
    joints, true_joints = _checked(joints, true_joints, "joints")
    if true_joints.shape[1:] != (NUM_KEYPOINTS, 3):
        raise ValueError(f"joints must have shape (N, {NUM_KEYPOINTS}, 3), got {true_joints.shape}")
    found = np.isfinite(joints).all(axis=(1, 2))
    wrists = true_joints[:, WRIST]
    if vertices is not None and true_vertices is not None:
        vertices, true_vertices = _checked(vertices, true_vertices, "vertices")
        found &= np.isfinite(vertices).all(axis=(1, 2))
    if rest is None and not found.all():
        raise ValueError("hands that were not found need a hand at rest")
    filled = joints if rest is None else with_rest(joints, found, rest.joints[0, Side.RIGHT], wrists)
    scores = _point_scores(filled, true_joints, "mpjpe_mm", "auc")
    if vertices is not None and true_vertices is not None and (rest is None or rest.vertices is not None):
        flat = None if rest is None else rest.vertices
        filled = vertices if flat is None else with_rest(vertices, found, flat[0, Side.RIGHT], wrists)
        scores |= _point_scores(filled, true_vertices, "mpvpe_mm", "mesh_auc")
        scores |= _f_scores(filled, true_vertices)
    plain = {name: np.where(found, values, np.nan) for name, values in scores.items()}
    charged = {name + SUFFIX: values for name, values in scores.items()}
    return {"found": found.astype(np.float64), **plain, **charged}


def concatenated(parts: Sequence[Scores]) -> Scores:
    """The scores of all images of several parts."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def report(scores: Scores) -> dict[str, Any]:
    """The figures of a data set: "protocol", "n", "counts", and "metrics" and "ci95" as in :func:`summary.summarised`.

    Figures are over the hands that were found; those that end in "-p" are over all, with the score of a hand at rest
    for one that was not. The official code knows no hand that was not found: its scores are these where all are.
    """
    count, found = len(scores["found"]), int(scores["found"].sum())
    counts = {"images": count, "hands": count, "hands_found": found}
    return {"protocol": PROTOCOL, "n": count, "counts": counts, **summarised(scores)}


def official_scores(figures: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a report under the names of the official scores.txt, whose distances are in centimetres."""
    names = {
        "xyz_mean3d": "raw_mpjpe_mm", "xyz_auc3d": "raw_auc", "xyz_al_mean3d": "pa_mpjpe_mm", "xyz_al_auc3d": "pa_auc",
        "mesh_mean3d": "raw_mpvpe_mm", "mesh_auc3d": "raw_mesh_auc",
        "mesh_al_mean3d": "pa_mpvpe_mm", "mesh_al_auc3d": "pa_mesh_auc",
        "f_score_5": "raw_f_5", "f_al_score_5": "pa_f_5", "f_score_15": "raw_f_15", "f_al_score_15": "pa_f_15",
    }  # fmt: skip
    return {
        official: figures[name] / 10.0 if name.endswith("_mm") else figures[name]
        for official, name in names.items()
        if name in figures
    }


def aligned(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Points (N, P, 3) laid over their targets (N, P, 3): similarity and reflection, of the official code.

    It divides centred points by their Frobenius norm + 1e-8, so that points that are all the same become the centre of
    the target.
    """
    centred = points - points.mean(axis=1, keepdims=True)
    factor, rotation, _ = procrustes(centred, target, scale=True, reflection=True)
    norm = np.linalg.norm(centred, axis=(1, 2))
    factor = factor * (norm / (norm + _EPSILON)) ** 2
    return factor[:, None, None] * centred @ np.swapaxes(rotation, 1, 2) + target.mean(axis=1, keepdims=True)


def area_under_curve(distances: np.ndarray) -> np.ndarray:
    """Area (N,) under the curves of correct points, of distances (N, P) in metres, as a share of the whole.

    A point is correct at every threshold that is not less than its distance; the area is of trapezoids.
    """
    first = np.searchsorted(_THRESHOLDS, distances, side="left")
    steps = len(_THRESHOLDS) - 1
    areas = np.where(first > 0, (steps - first + 0.5) / steps, 1.0)
    return np.where(first <= steps, areas, 0.0).mean(axis=1)


def f_score(points: np.ndarray, target: np.ndarray, threshold: float) -> float:
    """Harmonic mean of the shares of points (P, 3) and of targets (Q, 3) whose nearest neighbour in the other set is
    nearer than a threshold, metres (Knapitsch et al., "Tanks and Temples", 2017)."""
    return _harmonic(_nearest(points, target), threshold)


def _checked(points: np.ndarray, truth: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    points, truth = np.asarray(points, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if points.shape != truth.shape or points.ndim != 3 or points.shape[2] != 3:
        raise ValueError(f"predicted and true {name} must be (N, P, 3), got {points.shape} and {truth.shape}")
    return points, truth


def _point_scores(points: np.ndarray, truth: np.ndarray, error: str, auc: str) -> Scores:
    scores = {}
    for kind, compared in (("raw", points), ("pa", aligned(points, truth))):
        scores[f"{kind}_{error}"] = metrics.mpjpe(compared, truth, root=None)
        scores[f"{kind}_{auc}"] = area_under_curve(metrics.point_errors(compared, truth))
    return scores


def _f_scores(vertices: np.ndarray, truth: np.ndarray) -> Scores:
    scores = {}
    for kind, compared in (("raw", vertices), ("pa", aligned(vertices, truth))):
        distances = [_nearest(points, target) for points, target in zip(compared, truth, strict=True)]
        for name, threshold in _F_THRESHOLDS.items():
            scores[f"{kind}_{name}"] = np.array([_harmonic(each, threshold) for each in distances])
    return scores


def _nearest(points: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return cKDTree(target).query(points)[0], cKDTree(points).query(target)[0]


def _harmonic(distances: tuple[np.ndarray, np.ndarray], threshold: float) -> float:
    precision, recall = (float((distance < threshold).mean()) for distance in distances)
    return 2.0 * precision * recall / (precision + recall) if precision + recall > 0.0 else 0.0
