"""The 61 numbers of FreiHAND's ``mano`` files: pose 48, betas 10, root pixel 2, scale 1.

The pose is MANO's axis-angle with the mean pose left out (``flat_hand_mean=False``). The root, the middle finger's MCP,
is where the root pixel's ray is at a depth of focal length / scale.
"""

from __future__ import annotations

import numpy as np

from ..hand_model import HandModel
from ..skeleton import MIDDLE_MCP
from ..types import Side

COUNT = 61
_POSE, _BETAS, _PIXEL, _SCALE = slice(0, 48), slice(48, 58), slice(58, 60), 60


def parameters_from_numbers(
    numbers: np.ndarray, K: np.ndarray, hand_model: HandModel
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotations (16, 3, 3), betas (10,) and translation (3,), metres, of ``numbers`` (61,) in the camera ``K`` (3, 3).

    Raises ValueError where they put the hand nowhere.
    """
    pose = numbers[_POSE].copy()
    pose[3:] += hand_model.arrays(Side.RIGHT).hands_mean
    focal, scale = _focal_length(K), float(numbers[_SCALE])
    if scale <= 0:
        raise ValueError(f"the scale must be positive, got {scale:g}")
    with np.errstate(all="ignore"):
        rotations, betas = hand_model.from_mano_pose(pose), numbers[_BETAS]
        root = np.append(numbers[_PIXEL] - K[:2, 2], focal) / scale
        translation = root - _root_at_origin(hand_model, rotations, betas)
    if not (np.isfinite(rotations).all() and np.isfinite(translation).all()):
        raise ValueError("the numbers are too large for a hand")
    return rotations, betas, translation


def numbers_from_parameters(
    rotations: np.ndarray, betas: np.ndarray, translation: np.ndarray, K: np.ndarray, hand_model: HandModel
) -> np.ndarray:
    """The inverse of :func:`parameters_from_numbers`: (61,)."""
    numbers = np.empty(COUNT)
    numbers[_POSE], numbers[_BETAS] = hand_model.to_mano_pose(rotations), betas
    numbers[3:48] -= hand_model.arrays(Side.RIGHT).hands_mean
    root = translation + _root_at_origin(hand_model, rotations, betas)
    numbers[_SCALE] = _focal_length(K) / root[2]
    numbers[_PIXEL] = root[:2] * numbers[_SCALE] + K[:2, 2]
    return numbers


def _focal_length(K: np.ndarray) -> float:
    """One for both axes, as FreiHAND's own code has it."""
    return float(K[0, 0] + K[1, 1]) / 2


def _root_at_origin(hand_model: HandModel, rotations: np.ndarray, betas: np.ndarray) -> np.ndarray:
    mesh = hand_model.mesh(Side.RIGHT, rotations, betas, np.zeros(3))
    return np.asarray(hand_model.mesh_keypoints(Side.RIGHT, mesh)[MIDDLE_MCP])
