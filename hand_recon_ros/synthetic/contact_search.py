"""Where two hands just touch, and how far to separate them: searches over the overlap along a line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from ..hand_model import HandModel
from ..types import Side
from .overlap import ShiftedMeshes, overlap_depth

TOLERANCE = 0.002
"""How deep hands may press into each other, metres."""
_SEPARATION_ROUNDS = 5


def contact_distance(
    meshes: ShiftedMeshes, direction: np.ndarray, near: float, far: float, tolerance: float = TOLERANCE
) -> float:
    """The shift along ``direction`` (3,), metres, at which the second mesh just touches the first.

    The search goes from ``far`` to ``near`` and ends at the first contact: an overlap further on does not matter.
    Returns ``near`` where there is no contact.
    """
    steps = np.linspace(far, near, 11)
    free = far
    for shift in steps:
        if meshes.depth(shift * direction) > tolerance:
            break
        free = float(shift)
    else:
        return near
    blocked = free - float(steps[0] - steps[1])
    return _bisect(lambda shift: meshes.depth(shift * direction) > tolerance, free, blocked, 4)


def separation_distance(meshes: ShiftedMeshes, direction: np.ndarray, tolerance: float = TOLERANCE) -> float:
    """How far the second mesh must move along ``direction`` (3,) to overlap by ``tolerance`` at most, metres."""
    shift = 0.0
    for _ in range(8):
        depth = meshes.depth(shift * direction)
        if depth <= tolerance:
            break
        shift += 1.2 * depth + 0.001
    return shift


def largest_free_share(overlaps: Callable[[float], bool], steps: int = 5) -> float:
    """The last of ``steps`` evenly spaced shares of 0..1 before ``overlaps`` (of a share) first holds."""
    free = 0.0
    for share in np.linspace(0, 1, steps + 1)[1:]:
        if overlaps(float(share)):
            break
        free = float(share)
    return free


def touching_distance(
    hand_model: HandModel, rotations: np.ndarray, betas: np.ndarray, translation: np.ndarray, axis: np.ndarray
) -> float:
    """How far apart along ``axis`` two hands must be to just touch, metres.

    Args:
        hand_model: of both hands.
        rotations: (2, 16, 3, 3).
        betas: of both hands (10,).
        translation: (2, 3) metres, of the hands at distance 0.
        axis: from left to right (3,), any length.
    """
    left, right = (hand_model.mesh(side, rotations[side], betas, translation[side]) for side in Side)
    faces = [hand_model.faces(side) for side in Side]
    direction = axis / np.linalg.norm(axis)

    def overlaps(distance: float) -> bool:
        return overlap_depth(left, faces[0], right + distance * direction, faces[1]) > 0.0

    # From far apart inwards, to the first contact.
    near, far = 0.0, float((left @ direction).max() - (right @ direction).min())
    steps = np.linspace(far, near, 24)
    blocked = next((float(distance) for distance in steps if overlaps(distance)), 0.0)
    return _bisect(overlaps, min(blocked + float(steps[0]) - float(steps[1]), far), blocked, 6)


def separate_motion(
    hand_model: HandModel, rotations: np.ndarray, betas: np.ndarray, translation: np.ndarray, time_step: float
) -> np.ndarray:
    """Translations (N, 2, 3) of a motion whose hands are moved apart, smoothly over time, where they overlap.

    Args:
        hand_model: of both hands.
        rotations: (N, 2, 16, 3, 3).
        betas: (2, 10).
        translation: (N, 2, 3) metres.
        time_step: seconds.
    """
    meshes = [hand_model.mesh(side, rotations[:, side], betas[side], translation[:, side]) for side in Side]
    faces = [hand_model.faces(side) for side in Side]
    centres = np.stack([mesh.mean(axis=1) for mesh in meshes], axis=1)
    # The hands separate sideways, as arms do, and less along the other axes.
    axis = (centres[:, 1] - centres[:, 0]) * (1.0, 0.3, 0.6)
    axis = gaussian_filter1d(axis, 0.15 / time_step, axis=0, mode="nearest")
    axis /= np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-6)
    needed = np.zeros(len(rotations))
    low = np.stack([mesh.min(axis=1) for mesh in meshes], axis=1)
    high = np.stack([mesh.max(axis=1) for mesh in meshes], axis=1)
    close = (np.minimum(high[:, 0], high[:, 1]) > np.maximum(low[:, 0], low[:, 1])).all(axis=1)
    for i in np.flatnonzero(close):
        for _ in range(_SEPARATION_ROUNDS):
            shift = needed[i] * axis[i] / 2
            depth = overlap_depth(meshes[0][i] - shift, faces[0], meshes[1][i] + shift, faces[1])
            if depth < 0.0005:
                break
            needed[i] += 1.1 * depth + 0.0005
    # The maximum filter starts early and lasts long enough that smoothing gives no frame less than it needs.
    width = max(1, round(0.12 / time_step))
    distance = gaussian_filter1d(maximum_filter1d(needed, 2 * width + 1), width / 2.5, mode="nearest")
    shift = distance[:, None] * axis / 2
    return translation + np.stack([-shift, shift], axis=1)


def _bisect(overlaps: Callable[[float], bool], free: float, blocked: float, rounds: int) -> float:
    """A distance without overlap, closer to ``blocked`` by ``rounds`` halvings of the interval from ``free``."""
    for _ in range(rounds):
        middle = (free + blocked) / 2
        if overlaps(middle):
            blocked = middle
        else:
            free = middle
    return free
