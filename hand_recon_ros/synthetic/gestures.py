"""Finger poses for training: blends of whole-hand postures, and hands that spell, each finger its own way."""

from __future__ import annotations

import numpy as np

from ..hand_model.kinematics import Kinematics
from .poses import POSTURES, loosened

_NAMES = tuple(POSTURES)


def sample_gesture(
    rng: np.random.Generator, kinematics: Kinematics, near: str = "", freedom: float = 1.0
) -> np.ndarray:
    """Angles (16, 3), radians, inside the limits.

    Args:
        rng: where chance comes from.
        kinematics: whose limits hold.
        near: a name of poses.POSTURES to stay close to; any posture by default.
        freedom: how far single fingers leave it; 1 is ordinary.
    """
    if near:
        return loosened(POSTURES[near].angles(), rng, kinematics, 0.7 * freedom)
    freedom = freedom * float(rng.uniform(0.5, 1.5))
    way = rng.random()
    if way < 0.55:
        share = rng.beta(0.5, 0.5)
        weights, count = np.array([share, 1 - share]), 2
    else:
        weights, count = rng.dirichlet((0.7, 0.7, 0.7)), 3
    chosen = np.stack([POSTURES[_NAMES[k]].angles() for k in rng.choice(len(_NAMES), count, replace=False)])
    if way < 0.8:
        return loosened(np.einsum("k,kja->ja", weights, chosen), rng, kinematics, freedom)
    # Signs: the thumb goes with the index finger, the others choose for themselves.
    angles = np.zeros((16, 3))
    owners = rng.integers(0, count, 5)
    owners[0] = owners[1]
    for finger, owner in enumerate(owners):
        joints = slice(1 + 3 * finger, 4 + 3 * finger)
        angles[joints] = chosen[owner, joints]
    return loosened(angles, rng, kinematics, freedom)
