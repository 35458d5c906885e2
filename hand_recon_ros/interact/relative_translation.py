"""What is told of where the hands are to each other, brought into where each of them is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..landmarks.observation import Observation
from ..lift.lifter import LiftedHand
from ..skeleton import WRIST, mirror_points
from ..types import Side

_TOLD_SIGMA = 0.03
"""Standard deviation of the vector between the wrists as the encoder tells it, metres: measured on renders."""
_LEAST, _MOST = 1e-3, 1.0
"""Bounds of what is believed of a wrist's standard deviation along its ray, metres."""


def with_relative_translation(hands: Sequence[LiftedHand], observations: Sequence[Observation]) -> list[LiftedHand]:
    """Lifted hands where the encoder says that they are to each other, as far as it is to be believed.

    Args:
        hands: at most one of a side.
        observations: what each was lifted from; both tell the vector to the other hand, and the mean of it counts.

    Returns the hands in the same order, as they were where there are not two or the encoder was not asked about both.
    """
    told: dict[Side, np.ndarray] = {}
    for observation in observations:
        if observation.prediction is not None and observation.prediction.to_other is not None:
            vector = observation.prediction.to_other
            told[observation.side] = mirror_points(vector) if observation.mirrored else vector
    if len(told) < len(Side):
        return list(hands)
    both = sorted(hands, key=lambda hand: hand.side)
    wrists = np.stack([hand.keypoints[WRIST] for hand in both])
    found, stddevs = along_rays(
        wrists, np.array([hand.position_stddev for hand in both]), 0.5 * (told[Side.LEFT] - told[Side.RIGHT])
    )
    return [_shifted(hand, (found - wrists)[hand.side], float(stddevs[hand.side])) for hand in hands]


def along_rays(wrists: np.ndarray, stddevs: np.ndarray, told: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest wrists on their rays, given the vector between them: they stay where they are in the image.

    Args:
        wrists: of the left and the right hand (2, 3), metres, camera frame.
        stddevs: of each along its ray (2,), metres.
        told: from the left wrist to the right one (3,), metres, independent of ``wrists``.

    Returns where they are then (2, 3), and the standard deviations along the rays of that (2,).
    """
    rays = wrists / np.linalg.norm(wrists, axis=1, keepdims=True)
    rows = np.stack([-rays[Side.LEFT], rays[Side.RIGHT]], axis=1) / _TOLD_SIGMA
    error = (told - (wrists[Side.RIGHT] - wrists[Side.LEFT])) / _TOLD_SIGMA
    covariance = np.linalg.inv(rows.T @ rows + np.diag(1.0 / np.clip(stddevs, _LEAST, _MOST) ** 2))
    return wrists + (covariance @ rows.T @ error)[:, None] * rays, np.sqrt(covariance.diagonal())


def _shifted(hand: LiftedHand, shift: np.ndarray, stddev: float) -> LiftedHand:
    return dataclasses.replace(
        hand, translation=hand.translation + shift, keypoints=hand.keypoints + shift, position_stddev=stddev
    )
