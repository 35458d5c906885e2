"""Hands in another frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from ..types import HandEstimate, TwoHandEstimate


def transformed(hand: HandEstimate, matrix: np.ndarray) -> HandEstimate:
    """A hand in another frame; ``matrix`` (4, 4) takes points to it. A LOST hand stays as it is."""
    if not hand.found:
        return hand
    turn, shift = matrix[:3, :3], matrix[:3, 3]
    joints = hand.joints @ turn.T + shift
    # The hand model turns about its wrist, which is at ``joints[0]``: this much of it is not translation.
    offset = hand.joints[0] - hand.translation
    return dataclasses.replace(
        hand,
        joints=joints,
        mesh=_moved(hand.mesh, turn, shift),
        rotations=np.concatenate([(turn @ hand.rotations[0])[None], hand.rotations[1:]]),
        translation=joints[0] - offset,
        wrist_pose=matrix @ hand.wrist_pose,
    )


def _moved(mesh: Callable[[], np.ndarray], turn: np.ndarray, shift: np.ndarray) -> Callable[[], np.ndarray]:
    def moved() -> np.ndarray:
        vertices = mesh()
        result: np.ndarray = (vertices @ turn.T + shift).astype(vertices.dtype)
        return result

    return moved


def shifted(estimate: TwoHandEstimate, shift: np.ndarray) -> TwoHandEstimate:
    """An estimate whose hands are moved by ``shift`` (3,), metres."""
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    left, right = transformed(estimate.left, matrix), transformed(estimate.right, matrix)
    before = estimate.unrefined
    if before is not None:
        before = transformed(before[0], matrix), transformed(before[1], matrix)
    return dataclasses.replace(estimate, left=left, right=right, unrefined=before)
