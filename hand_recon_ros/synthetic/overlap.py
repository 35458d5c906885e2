"""Keeping two moving hands out of each other: how deep they overlap, and how far to move them apart."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d
from scipy.spatial import cKDTree

from ..hand_model import HandModel
from ..types import Side
from .surface import vertex_normals

_REACH = 0.03
"""Vertices farther than this from the other hand are not inside it, metres (half of the thickest part)."""
_ROUNDS = 5


def overlap_depth(vertices_a: np.ndarray, faces_a: np.ndarray, vertices_b: np.ndarray, faces_b: np.ndarray) -> float:
    """How deep two closed meshes overlap, metres: the deepest vertex behind its nearest point's tangent plane.

    Approximate to the size of a triangle: for keeping apart, not for measuring.
    """
    deepest = 0.0
    for points, others, faces in ((vertices_a, vertices_b, faces_b), (vertices_b, vertices_a, faces_a)):
        low, high = others.min(axis=0), others.max(axis=0)
        near = points[((points > low) & (points < high)).all(axis=1)]
        if not len(near):
            continue
        distance, nearest = cKDTree(others).query(near, distance_upper_bound=_REACH)
        found = np.isfinite(distance)
        if not found.any():
            continue
        normals = vertex_normals(np.ascontiguousarray(others, dtype=np.float64), faces)
        behind = np.einsum("ij,ij->i", near[found] - others[nearest[found]], normals[nearest[found]])
        deepest = max(deepest, float(-behind.min()))
    return deepest


def touching_distance(
    hand_model: HandModel, rotations: np.ndarray, betas: np.ndarray, translation: np.ndarray, axis: np.ndarray
) -> float:
    """How far apart along ``axis`` (3,), pointing from left to right, two hands must be to just touch, metres.

    Args:
        hand_model: of both hands.
        rotations: (2, 16, 3, 3); betas (10,) of both; translation (2, 3) metres, of the hands laid onto each other.
        axis: any length.
    """
    left, right = (hand_model.mesh(side, rotations[side], betas, translation[side]) for side in Side)
    faces = [hand_model.faces(side) for side in Side]
    direction = axis / np.linalg.norm(axis)
    # From far apart inwards: what overlaps deep inside does not count once the surfaces have met.
    near, far = 0.0, float((left @ direction).max() - (right @ direction).min())
    steps = np.linspace(far, near, 24)
    met = 0.0
    for distance in steps:
        if overlap_depth(left, faces[0], right + distance * direction, faces[1]) > 0.0:
            met = distance
            break
    apart, touching = min(met + steps[0] - steps[1], far), met
    for _ in range(6):
        middle = (apart + touching) / 2
        if overlap_depth(left, faces[0], right + middle * direction, faces[1]) > 0.0:
            touching = middle
        else:
            apart = middle
    return apart


def separate_motion(
    hand_model: HandModel, rotations: np.ndarray, betas: np.ndarray, translation: np.ndarray, step: float
) -> np.ndarray:
    """Translations (N, 2, 3) moved apart where the hands overlap, smoothly over time.

    Args:
        hand_model: of both hands.
        rotations: (N, 2, 16, 3, 3); betas (2, 10); translation (N, 2, 3) metres.
        step: time between two of them, seconds.
    """
    meshes = [hand_model.mesh(side, rotations[:, side], betas[side], translation[:, side]) for side in Side]
    faces = [hand_model.faces(side) for side in Side]
    centres = np.stack([mesh.mean(axis=1) for mesh in meshes], axis=1)
    # The hands part sideways, as arms do; a little forwards and back where they lie so.
    axis = (centres[:, 1] - centres[:, 0]) * (1.0, 0.3, 0.6)
    axis = gaussian_filter1d(axis, 0.15 / step, axis=0, mode="nearest")
    axis /= np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-6)
    needed = np.zeros(len(rotations))
    low = np.stack([mesh.min(axis=1) for mesh in meshes], axis=1)
    high = np.stack([mesh.max(axis=1) for mesh in meshes], axis=1)
    close = (np.minimum(high[:, 0], high[:, 1]) > np.maximum(low[:, 0], low[:, 1])).all(axis=1)
    for i in np.flatnonzero(close):
        for _ in range(_ROUNDS):
            shift = needed[i] * axis[i] / 2
            depth = overlap_depth(meshes[0][i] - shift, faces[0], meshes[1][i] + shift, faces[1])
            if depth < 0.0005:
                break
            needed[i] += 1.1 * depth + 0.0005
    # Early and long enough that no frame gets less than it needs after smoothing.
    window = max(1, round(0.12 / step))
    push = gaussian_filter1d(maximum_filter1d(needed, 2 * window + 1), window / 2.5, mode="nearest")
    shift = push[:, None] * axis / 2
    return translation + np.stack([-shift, shift], axis=1)
