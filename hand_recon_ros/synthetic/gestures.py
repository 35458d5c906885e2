"""Finger poses for training: blends of whole-hand postures, and sign-like poses with a posture per finger."""

from __future__ import annotations

import numpy as np

from ..hand_model.kinematics import Kinematics
from .poses import POSTURES, perturb_angles

_NAMES = tuple(POSTURES)


def sample_gesture(
    rng: np.random.Generator, kinematics: Kinematics, near: str = "", freedom: float = 1.0
) -> np.ndarray:
    """Random joint angles (16, 3), radians, inside the limits.

    Args:
        rng: random number generator.
        kinematics: of the hand whose limits apply.
        near: a name of poses.POSTURES to stay close to; any posture by default.
        freedom: scale of the deviation of single fingers from the posture; 1 is ordinary.
    """
    if near:
        return perturb_angles(POSTURES[near].angles(), rng, kinematics, 0.7 * freedom)
    freedom = freedom * float(rng.uniform(0.5, 1.5))
    kind = rng.random()
    if kind < 0.55:
        share = rng.beta(0.5, 0.5)
        weights, count = np.array([share, 1 - share]), 2
    else:
        weights, count = rng.dirichlet((0.7, 0.7, 0.7)), 3
    chosen = np.stack([POSTURES[_NAMES[k]].angles() for k in rng.choice(len(_NAMES), count, replace=False)])
    if kind < 0.8:
        return perturb_angles(np.einsum("k,kja->ja", weights, chosen), rng, kinematics, freedom)
    # As in signs: thumb and index finger share a posture, each other finger has its own.
    angles = np.zeros((16, 3))
    postures = rng.integers(0, count, 5)
    postures[0] = postures[1]
    for finger, posture in enumerate(postures):
        joints = slice(1 + 3 * finger, 4 + 3 * finger)
        angles[joints] = chosen[posture, joints]
    return perturb_angles(angles, rng, kinematics, freedom)
