"""A pair of hands as the vector of 215 numbers that the two-hand prior works on.

Layout: the left hand's 16 joint rotations, 6 numbers each (the first two columns of the matrix; Zhou et al., CVPR
2019), and its 10 betas; the same of the right hand; the vector from the right wrist to the left one, metres. The left
hand is mirrored in the plane x = 0, as a right hand, so that everything of one hand is of the same kind for both. The
vector between the wrists is not mirrored. The frame is the camera's; the position of the hands in it is not part of the
vector.
"""

from __future__ import annotations

import math

import numpy as np

from ..geometry.rotations import matrices_from_6d, matrices_to_6d
from ..hand_model.hand_pair import HandPair
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
TRANSLATION_UNIT = 0.03
"""Expected errors at which a confidence is 1/e: of a joint's rotation, of betas, of the vector between the wrists."""


def pack(pair: HandPair) -> np.ndarray:
    """The vectors (..., PAIR) float64 of pairs of hands in the camera frame."""
    betas, wrists = pair.betas.astype(np.float64), pair.wrists.astype(np.float64)
    numbers = matrices_to_6d(np.stack([mirror_rotations(_of(pair, Side.LEFT)), _of(pair, Side.RIGHT)], axis=-4))
    hands = np.concatenate([numbers.reshape(*betas.shape[:-1], NUM_JOINTS * 6), betas], axis=-1)
    vector = wrists[..., Side.LEFT, :] - wrists[..., Side.RIGHT, :]
    return np.concatenate([hands.reshape(*betas.shape[:-2], 2 * HAND), vector], axis=-1)


def unpack(x: np.ndarray, middle_wrist: np.ndarray) -> HandPair:
    """The pairs of vectors (..., PAIR): the inverse of :func:`pack`.

    The six numbers of a rotation need not be orthonormal (Gram & Schmidt). ``middle_wrist`` (..., 3), metres, is the
    point halfway between the wrists, which the vector does not have.
    """
    x, middle_wrist = np.asarray(x, dtype=np.float64), np.asarray(middle_wrist, dtype=np.float64)
    hands = x[..., : 2 * HAND].reshape(*x.shape[:-1], 2, HAND)
    rotations = matrices_from_6d(hands[..., : NUM_JOINTS * 6].reshape(*hands.shape[:-1], NUM_JOINTS, 6))
    rotations[..., Side.LEFT, :, :, :] = mirror_rotations(rotations[..., Side.LEFT, :, :, :])
    half = 0.5 * x[..., 2 * HAND :]
    wrists = np.stack([middle_wrist + half, middle_wrist - half], axis=-2)
    return HandPair(rotations, hands[..., NUM_JOINTS * 6 :].copy(), wrists)


def confidences(angles: np.ndarray, shape: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """The confidences (..., CONFIDENCES), 0..1, that the prior is given with an estimate, from the expected errors.

    Each is ``exp(-error / unit)``, left hand then right.

    Args:
        angles: of the joints' rotations relative to their parents (..., 2, 16), radians; the first is the orientation.
        shape: of betas (..., 2), mean absolute error, per standard deviation.
        translation: of the vector between the wrists (..., 2), metres, of each hand's prediction of it; the same twice
            where there is one.
    """
    parts = np.concatenate(
        [
            np.asarray(angles) / ANGLE_UNIT, np.asarray(shape)[..., None] / SHAPE_UNIT,
            np.asarray(translation)[..., None] / TRANSLATION_UNIT,
        ],
        axis=-1,
    )  # fmt: skip
    return np.exp(-parts).reshape(*parts.shape[:-2], CONFIDENCES)


def _of(pair: HandPair, side: Side) -> np.ndarray:
    return pair.rotations[..., side, :, :, :].astype(np.float64)
