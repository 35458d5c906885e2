"""Samples of a data set and estimates of the pipeline as the arrays that protocols are applied to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...datasets.sample import Sample
from ...skeleton import NUM_KEYPOINTS
from ...types import HandState, Side, TwoHandEstimate
from .protocol import HandPairs, TrueHandPairs


def true_pairs(
    samples: Sequence[Sample], joint_valid: np.ndarray | None = None, type_valid: np.ndarray | None = None
) -> TrueHandPairs:
    """The ground truth of samples whose ``arrangement`` is the type of the image's hands, as in InterHand2.6M and HIC.

    ``joint_valid`` (N, 2, 21) and ``type_valid`` (N,) are as of TrueHandPairs. Raises ValueError where samples have
    meshes of different hand models.
    """
    meshes = [sample.vertices for sample in samples if sample.vertices is not None]
    vertices = None
    if meshes:
        vertices = np.full((len(samples), *meshes[0].shape), np.nan)
        for mesh, sample in zip(vertices, samples, strict=True):
            if sample.vertices is not None:
                if sample.vertices.shape != mesh.shape:
                    raise ValueError(f"{sample.name}: meshes {sample.vertices.shape}, those before {mesh.shape}")
                mesh[:] = sample.vertices
    joints = np.stack([sample.joints for sample in samples])
    types = np.array([sample.arrangement for sample in samples])
    return TrueHandPairs(joints, vertices, types, joint_valid, type_valid)


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
