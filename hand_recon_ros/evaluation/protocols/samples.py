"""Estimates of the pipeline as the arrays that protocols are applied to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...skeleton import NUM_KEYPOINTS
from ...types import HandState, Side, TwoHandEstimate
from .protocol import HandPairs


def predicted_pairs(estimates: Sequence[TwoHandEstimate], num_vertices: int = 0) -> HandPairs:
    """The hands that were measured in each image, NaN otherwise.

    ``num_vertices`` is that of the data set's meshes: estimates with another hand model have no meshes to compare, nor
    has any with 0.
    """
    joints = np.full((len(estimates), 2, NUM_KEYPOINTS, 3), np.nan)
    vertices = np.full((len(estimates), 2, num_vertices, 3), np.nan)
    comparable = num_vertices > 0
    for number, estimate in enumerate(estimates):
        for side in Side:
            hand = estimate.hand(side)
            if hand.state != HandState.TRACKED:
                continue
            joints[number, side] = hand.joints
            comparable = comparable and len(hand.vertices) == num_vertices
            if comparable:
                vertices[number, side] = hand.vertices
    return HandPairs(joints, vertices if comparable else None)
