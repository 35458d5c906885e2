"""Hand poses: named postures, and random ones between them, inside the anatomical limits.

Fingers do not move independently: a pose is a blend of whole-hand postures (the synergies of Santello, Flanders &
Soechting 1998) with a small deviation of each finger, and the DIP joint follows the PIP joint.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..geometry.joint_angles import ABDUCTION, FLEXION, TWIST
from ..hand_model.kinematics import Kinematics
from ..skeleton import NUM_JOINTS

DIP_PER_PIP = 0.6
"""Flexion of the DIP joint per flexion of the PIP joint (about 2/3; Lin, Wu & Huang 2000)."""


@dataclasses.dataclass(frozen=True)
class Posture:
    """Joint angles in degrees.

    Attributes:
        thumb: flexion, abduction and twist of its CMC joint, flexion of MCP and IP.
        mcp, pip: flexion, index to little finger; the DIP joints follow.
        spread: abduction of the finger bases, positive towards the thumb.
    """

    thumb: tuple[float, float, float, float, float]
    mcp: tuple[float, float, float, float]
    pip: tuple[float, float, float, float]
    spread: tuple[float, float, float, float] = (3.0, 0.0, -2.0, -4.0)

    def angles(self) -> np.ndarray:
        """Flexion, abduction and twist (16, 3), radians; the wrist's are zero."""
        angles = np.zeros((NUM_JOINTS, 3))
        angles[1] = self.thumb[:3]
        angles[2, FLEXION], angles[3, FLEXION] = self.thumb[3:]
        for finger in range(4):
            base = 4 + 3 * finger
            angles[base, FLEXION], angles[base, ABDUCTION] = self.mcp[finger], self.spread[finger]
            angles[base + 1, FLEXION] = self.pip[finger]
            angles[base + 2, FLEXION] = DIP_PER_PIP * max(self.pip[finger], 0.0)
        return np.radians(angles)


POSTURES = {
    "open": Posture((0, 0, 0, 5, 5), (0, 0, 0, 2), (4, 4, 4, 4), (8, 1, -7, -14)),
    "flat": Posture((5, -12, 0, 5, 0), (2, 2, 2, 2), (2, 2, 2, 2), (-1, 0, 1, 2)),
    "relaxed": Posture((12, 0, 5, 15, 15), (18, 22, 26, 30), (28, 32, 36, 38), (3, 0, -3, -6)),
    "cupped": Posture((22, 5, 12, 20, 10), (35, 36, 38, 40), (25, 26, 28, 30), (0, 0, 0, 0)),
    "grasp": Posture((28, 8, 15, 25, 25), (42, 45, 48, 50), (52, 55, 57, 58)),
    "fist": Posture((4, 42, -12, 55, 58), (78, 82, 84, 84), (98, 102, 102, 98), (0, 0, 0, 0)),
    "point": Posture((12, 17, 5, 42, 52), (6, 76, 80, 80), (6, 94, 98, 96), (0, 0, 0, 0)),
    "victory": Posture((26, 15, 14, 50, 42), (2, 2, 78, 80), (6, 6, 96, 96), (11, -9, 0, 0)),
    "pinch": Posture((8, 17, 10, 17, 19), (52, 24, 20, 18), (46, 30, 28, 28), (0, 0, -4, -8)),
    "hook": Posture((8, -8, 0, 15, 15), (12, 12, 14, 16), (74, 76, 78, 78), (0, 0, 0, 0)),
    "thumb_up": Posture((-12, 8, 0, 2, 0), (70, 74, 76, 78), (92, 96, 98, 96), (0, 0, 0, 0)),
    "count_three": Posture((0, 0, 0, 5, 5), (2, 2, 76, 78), (4, 4, 94, 94), (8, -4, 0, 0)),
    "tripod": Posture((17, 22, 14, 25, 23), (50, 52, 45, 42), (44, 44, 55, 58)),
}


def posture(name: str, kinematics: Kinematics) -> np.ndarray:
    """Angles (16, 3), radians, of a named posture, inside the limits. Raises KeyError for an unknown name."""
    if name not in POSTURES:
        raise KeyError(f"unknown posture {name!r}, expected one of: {', '.join(POSTURES)}")
    return kinematics.clamp_angles(POSTURES[name].angles())


def sample_angles(rng: np.random.Generator, kinematics: Kinematics, freedom: float = 1.0) -> np.ndarray:
    """Angles (16, 3), radians, of a random posture.

    Args:
        rng: random number generator.
        kinematics: of the hand whose limits apply.
        freedom: scale of the deviation of single fingers from the blend of postures; 0 for none, 1 is ordinary.
    """
    names = rng.choice(list(POSTURES), size=2, replace=False)
    # A U-shaped distribution: mostly near one posture, sometimes halfway between two.
    share = rng.beta(0.5, 0.5)
    angles = (1 - share) * POSTURES[names[0]].angles() + share * POSTURES[names[1]].angles()
    return perturb_angles(angles, rng, kinematics, freedom)


def perturb_angles(angles: np.ndarray, rng: np.random.Generator, kinematics: Kinematics, freedom: float) -> np.ndarray:
    """Angles (16, 3) with normal noise on every finger, ``freedom`` times an ordinary one, inside the limits."""
    angles = angles.copy()
    curl = np.radians(9.0) * freedom * rng.standard_normal(4)
    angles[4::3, FLEXION] += curl + np.radians(7.0) * freedom * rng.standard_normal(4)
    bend = curl + np.radians(8.0) * freedom * rng.standard_normal(4)
    angles[5::3, FLEXION] += bend
    angles[6::3, FLEXION] += DIP_PER_PIP * bend + np.radians(4.0) * freedom * rng.standard_normal(4)
    angles[4::3, ABDUCTION] += np.radians(3.0) * freedom * rng.standard_normal(4)
    angles[4::3, TWIST] += np.radians(2.0) * freedom * rng.standard_normal(4)
    angles[1] += np.radians([6.0, 6.0, 3.0]) * freedom * rng.standard_normal(3)
    angles[2:4, FLEXION] += np.radians(8.0) * freedom * rng.standard_normal(2)
    angles[0] = 0.0
    return kinematics.clamp_angles(angles)


def sample_betas(rng: np.random.Generator, count: int = 10, spread: float = 0.7) -> np.ndarray:
    """A random hand shape (count,): normal with standard deviation ``spread``, clipped to [-2, 2]."""
    return np.clip(spread * rng.standard_normal(count), -2.0, 2.0)
