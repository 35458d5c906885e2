"""Evidence of the embedded hand's keypoints as that of another hand model's, which lie elsewhere in the same hand."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..geometry.hand_kinematics import Posed
from ..hand_model import HandModel
from ..hand_model.refit import turned_offsets
from ..skeleton import NUM_KEYPOINTS, mirror_points
from ..types import Side
from .evidence import CHILDREN, PARENTS, Evidence
from .normal_equations import MIN_DEPTH


def right_hand_offsets(model: HandModel) -> dict[Side, np.ndarray] | None:
    """Offsets (21, 3), metres, of each hand as a right one, see ``HandRefit``; None for a model that needs none."""
    refits = {side: model.refit(side) for side in Side}
    if all(refit is None for refit in refits.values()):
        return None
    offsets = {side: np.zeros((NUM_KEYPOINTS, 3)) if r is None else r.keypoint_offsets for side, r in refits.items()}
    return {**offsets, Side.LEFT: mirror_points(offsets[Side.LEFT])}


def without_offsets(evidence: Evidence, offsets: np.ndarray, posed: Posed) -> Evidence:
    """The evidence with the offsets (B, 21, 3) taken off; ``posed`` is a first estimate of the same hands, which says
    how these are turned, and how far away they are."""
    moved = turned_offsets(offsets, posed.orientations)
    depth = np.maximum(posed.keypoints[..., 2:], MIN_DEPTH)
    bones = posed.keypoints[:, CHILDREN] - posed.keypoints[:, PARENTS]
    lengths = np.linalg.norm(bones, axis=-1, keepdims=True)
    directions = evidence.directions * lengths - (moved[:, CHILDREN] - moved[:, PARENTS])
    directions /= np.maximum(np.linalg.norm(directions, axis=-1, keepdims=True), 1e-6)
    return dataclasses.replace(
        evidence,
        points=np.ascontiguousarray(evidence.points - (moved[..., :2] - evidence.points * moved[..., 2:]) / depth),
        shape=evidence.shape - (moved - moved[:, :1]),
        directions=np.ascontiguousarray(directions),
        wrist=np.where(evidence.wrist_precision[:, None] > 0.0, evidence.wrist - moved[:, 0], evidence.wrist),
    )
