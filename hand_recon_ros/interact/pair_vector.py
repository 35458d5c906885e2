"""Two hands as one vector of 215 numbers, as the two-hand prior knows them.

Layout: the left hand's 16 joint rotations, 6 numbers each (the first two columns of the matrix; Zhou et al., CVPR
2019), and its 10 betas; the same of the right hand; the vector from the right wrist to the left one, metres. The left
hand is given as its mirror image (the plane x = 0), a right hand, so that everything of one hand is of the same kind
for both. The vector between the wrists is not mirrored. Frame: that of the camera; where in it the hands are is not
part of the vector.
"""

from __future__ import annotations

import math

import numpy as np

from ..geometry.rotations import matrices_from_6d, matrices_to_6d
from ..skeleton import NUM_JOINTS, mirror_rotations
from ..types import Side

SHAPE = 10
HAND = NUM_JOINTS * 6 + SHAPE
"""Numbers of one hand."""
PAIR = 2 * HAND + 3
TOKENS = NUM_JOINTS + 2
"""Parts of a hand that have a confidence: its joints, its shape, and the vector between the wrists."""
CONFIDENCES = 2 * TOKENS
INPUTS = {"x_t": PAIR, "t": 0, "condition": PAIR, "confidence": CONFIDENCES}
"""The prior's inputs in an ONNX file, behind the batch axis; 0 is a single number."""

ANGLE_UNIT = math.radians(10.0)
SHAPE_UNIT = 1.0
RELATION_UNIT = 0.03
"""Expected errors at which a confidence is 1/e: of a joint's rotation, of betas, of the vector between the wrists."""


def pack(rotations: np.ndarray, betas: np.ndarray, wrists: np.ndarray) -> np.ndarray:
    """The vector (..., PAIR) float64 of two hands, left then right, in the camera frame.

    Args:
        rotations: of the joints relative to their parents (..., 2, 16, 3, 3); the first is the orientation.
        betas: (..., 2, 10).
        wrists: positions of the wrists (..., 2, 3), metres.
    """
    rotations, wrists = np.asarray(rotations, dtype=np.float64), np.asarray(wrists, dtype=np.float64)
    left = mirror_rotations(rotations[..., Side.LEFT, :, :, :])
    parts = []
    for side, hand in ((Side.LEFT, left), (Side.RIGHT, rotations[..., Side.RIGHT, :, :, :])):
        numbers = matrices_to_6d(hand)
        parts += [numbers.reshape(*numbers.shape[:-2], -1), np.asarray(betas, dtype=np.float64)[..., side, :]]
    return np.concatenate([*parts, wrists[..., Side.LEFT, :] - wrists[..., Side.RIGHT, :]], axis=-1)


def unpack(x: np.ndarray, middle_wrist: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The inverse of :func:`pack`: rotations, betas and wrists of a vector (..., PAIR).

    The six numbers of a rotation need not be orthonormal (Gram & Schmidt). ``middle_wrist`` (..., 3), metres, is the
    point halfway between the wrists, which the vector does not have.
    """
    x, middle_wrist = np.asarray(x, dtype=np.float64), np.asarray(middle_wrist, dtype=np.float64)
    hands = x[..., : 2 * HAND].reshape(*x.shape[:-1], 2, HAND)
    rotations = matrices_from_6d(hands[..., : NUM_JOINTS * 6].reshape(*hands.shape[:-1], NUM_JOINTS, 6))
    rotations[..., Side.LEFT, :, :, :] = mirror_rotations(rotations[..., Side.LEFT, :, :, :])
    half = 0.5 * x[..., 2 * HAND :]
    return rotations, hands[..., NUM_JOINTS * 6 :].copy(), np.stack([middle_wrist + half, middle_wrist - half], axis=-2)


def swapped(x: np.ndarray) -> np.ndarray:
    """The vector (..., PAIR) of the same two hands in a mirror, the plane x = 0: each hand is the other side's."""
    relation = x[..., 2 * HAND :] * np.array([1.0, -1.0, -1.0], dtype=np.asarray(x).dtype)
    return np.concatenate([x[..., HAND : 2 * HAND], x[..., :HAND], relation], axis=-1)


def confidences(angles: np.ndarray, shape: np.ndarray, relation: np.ndarray) -> np.ndarray:
    """What the prior is told of how good an estimate is (..., CONFIDENCES), 0..1, of the errors that are expected.

    Each is ``exp(-error / unit)``, left hand then right.

    Args:
        angles: of the joints' rotations relative to their parents (..., 2, 16), radians; the first is the orientation.
        shape: of betas (..., 2), mean absolute error, per standard deviation.
        relation: of the vector between the wrists (..., 2), metres, as each hand has it; the same twice where
            there is one.
    """
    parts = np.concatenate(
        [
            np.asarray(angles) / ANGLE_UNIT, np.asarray(shape)[..., None] / SHAPE_UNIT,
            np.asarray(relation)[..., None] / RELATION_UNIT,
        ],
        axis=-1,
    )  # fmt: skip
    return np.exp(-parts).reshape(*parts.shape[:-2], CONFIDENCES)
