"""What a hand that was not found costs, in figures whose name ends in "-p": a hand in rest pose at the true wrist."""

from __future__ import annotations

import numpy as np

from ...hand_model import HandModel
from ...skeleton import NUM_JOINTS, WRIST
from ...types import Side
from .protocol import HandPairs

SUFFIX = "-p"


def rest_hands(model: HandModel) -> HandPairs:
    """Both hands of a model, one image: flat, of mean shape, oriented as the model is, wrists at the origin."""
    flat, betas = np.tile(np.eye(3), (NUM_JOINTS, 1, 1)), np.zeros(10)
    joints, meshes = [], []
    for side in Side:
        keypoints = model.kinematics(side).rest_keypoints(betas)
        joints.append(keypoints - keypoints[WRIST])
        meshes.append(model.mesh(side, flat, betas, -keypoints[WRIST]).astype(np.float64))
    return HandPairs(np.stack(joints)[None], np.stack(meshes)[None])


def with_rest(points: np.ndarray, found: np.ndarray, rest: np.ndarray, wrists: np.ndarray) -> np.ndarray:
    """Points (..., P, 3) of hands, those that were not found in their place at rest.

    Args:
        points: predicted, metres.
        found: which hands (...) were found.
        rest: points at rest with the wrist at the origin, (P, 3), or of both hands.
        wrists: the true ones (..., 3), metres.
    """
    return np.where(found[..., None, None], points, rest + wrists[..., None, :])
