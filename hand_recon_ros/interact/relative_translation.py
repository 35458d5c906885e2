"""The predicted vector between the wrists, fused with the position that each hand was lifted to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from ..landmarks.observation import Observation
from ..lift.lifted_hand import LiftedHand
from ..skeleton import WRIST, mirror_points
from ..types import Side
from .plausibility import VECTOR_STDDEV, clipped_stddev, consistency, one_person


def with_relative_translation(hands: Sequence[LiftedHand], observations: Sequence[Observation]) -> list[LiftedHand]:
    """Lifted hands moved along their rays towards the relative translation that the encoder predicts.

    Args:
        hands: at most one of a side.
        observations: what each was lifted from; both predict the vector to the other hand, whose mean is used.

    Returns the hands in the same order; unchanged where there are not two finite ones, where the encoder did not
    evaluate both together, or where both can hardly be one person's.
    """
    by_side = {hand.side: hand for hand in hands if hand.finite}
    vector = _predicted_vector(observations)
    if len(by_side) < len(Side) or vector is None:
        return list(hands)
    wrists = np.stack([by_side[side].keypoints[WRIST] for side in Side])
    stddevs = np.array([by_side[side].position_stddev for side in Side])
    if not one_person(wrists, stddevs):
        return list(hands)
    weight = consistency(wrists, stddevs, vector)
    if not weight > 0.0:
        return list(hands)
    moved, stddevs = along_rays(wrists, stddevs, vector, VECTOR_STDDEV / math.sqrt(weight))
    return [_shifted(hand, (moved - wrists)[hand.side], float(stddevs[hand.side])) for hand in hands]


def along_rays(
    wrists: np.ndarray, stddevs: np.ndarray, vector: np.ndarray, vector_stddev: float = VECTOR_STDDEV
) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest wrists on their rays, given the vector between them; their projections do not move.

    Args:
        wrists: of the left and the right hand (2, 3), metres, camera frame.
        stddevs: of each along its ray (2,), metres.
        vector: from the left wrist to the right one (3,), metres, independent of ``wrists``.
        vector_stddev: of each of its coordinates, metres.

    Returns the wrists (2, 3), metres, and their standard deviations along the rays (2,).
    """
    rays = wrists / np.linalg.norm(wrists, axis=1, keepdims=True)
    rows = np.stack([-rays[Side.LEFT], rays[Side.RIGHT]], axis=1) / vector_stddev
    error = (vector - (wrists[Side.RIGHT] - wrists[Side.LEFT])) / vector_stddev
    covariance = np.linalg.inv(rows.T @ rows + np.diag(1.0 / clipped_stddev(stddevs) ** 2))
    return wrists + (covariance @ rows.T @ error)[:, None] * rays, np.sqrt(covariance.diagonal())


def _predicted_vector(observations: Sequence[Observation]) -> np.ndarray | None:
    """From the left wrist to the right one (3,), metres, the mean of both hands' predictions; None without both."""
    vectors: dict[Side, np.ndarray] = {}
    for observation in observations:
        if observation.prediction is not None and observation.prediction.to_other is not None:
            vector = observation.prediction.to_other
            vectors[observation.side] = mirror_points(vector) if observation.mirrored else vector
    if len(vectors) < len(Side):
        return None
    vector = 0.5 * (vectors[Side.LEFT] - vectors[Side.RIGHT])
    return vector if np.isfinite(vector).all() else None


def _shifted(hand: LiftedHand, shift: np.ndarray, stddev: float) -> LiftedHand:
    return dataclasses.replace(
        hand, translation=hand.translation + shift, keypoints=hand.keypoints + shift, position_stddev=stddev
    )
