"""The hand that no landmarks are found of, because the other one hides it: the encoder tells where it is, and how.

The landmark network looks at hands one by one, and of two that are laid into each other it sees the front one wherever
it looks. The encoder says from the crop of the hand that was found where the other one's square is, and reads both
squares together.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..detect.duplicates import part_of, same_hand
from ..landmarks.crops import tracking_box
from ..landmarks.landmarks import HandLandmarks
from ..landmarks.observation import EncoderPrediction, Observation, RotatedBox
from ..types import Camera, Side
from .hand_encoder import HandEncoder

_SHOWN = 0.5
"""Probability of another hand's being there from which on it is looked for."""
_PRESENT = 0.8
_TOLD_STDDEV = 0.13
"""A hand is taken for found when the standard deviation told for its keypoints is less, as a part of its extent."""
_AGREE = 0.5
"""Presence from which on the landmark network's own word about the hand counts, where it means the same hand."""


def with_other_hand(
    encoder: HandEncoder,
    image: np.ndarray,
    seen: Observation,
    camera: Camera,
    square: RotatedBox | None = None,
    looks: int = 1,
) -> list[Observation]:
    """The one hand that was found, and the other one where the encoder sees it, both encoded; left before right.

    Args:
        encoder: that looks.
        image: uint8 (H, W, 3) BGR.
        seen: the hand that was found.
        camera: that took the image.
        square: where the other hand was in the last image; None where that is not known.
        looks: how often to look at most, each time where the hand was seen the last time.
    """
    side, alone = seen.side.other, None
    if square is None:
        (alone,) = encoder(image, [seen], camera)
        told = _encoded(alone)
        if told.other_shown < _SHOWN:
            return [alone]
        square = told.other_square
    pair: list[Observation] = []
    for _ in range(looks):
        other = _observation(encoder, image, square, side, seen)
        pair = encoder(image, sorted([seen, other], key=lambda observation: observation.side), camera)
        square = tracking_box(_encoded(pair[side]).keypoints_2d)
    if pair and _is_hand(_encoded(pair[side]), seen):
        pair[side] = _told(pair[side])
        return pair
    return encoder(image, [seen], camera) if alone is None else [alone]


def _encoded(observation: Observation) -> EncoderPrediction:
    assert observation.prediction is not None
    return observation.prediction


def _observation(
    encoder: HandEncoder, image: np.ndarray, square: RotatedBox, side: Side, seen: Observation
) -> Observation:
    """A hand in a square, as yet with the landmark network's keypoints."""
    shown = side.other if seen.mirrored else side
    hand = encoder.landmarks(image, square, mirrored=shown == Side.LEFT)
    return Observation(
        side=side,
        score=hand.presence,
        side_score=seen.side_score,
        keypoints_2d=hand.keypoints,
        screen_depth=hand.screen_depth,
        world=hand.world,
        joint_scores=np.full(21, hand.presence * _right_side(hand, shown)),
        roi=square,
        detected=False,
        mirrored=seen.mirrored,
        stem=hand.stem,
    )


def _right_side(hand: HandLandmarks, shown: Side) -> float:
    return hand.right if shown == Side.RIGHT else 1.0 - hand.right


def _is_hand(told: EncoderPrediction, seen: Observation) -> bool:
    """Whether what is told is a hand, and another one than the one that was found."""
    if told.presence < _PRESENT or told.stddev_2d.mean() > _TOLD_STDDEV * np.ptp(told.keypoints_2d, axis=0).max():
        return False
    found = [seen.keypoints_2d] + ([seen.prediction.keypoints_2d] if seen.prediction is not None else [])
    return not any(same_hand(told.keypoints_2d, points) or part_of(told.keypoints_2d, points) for points in found)


def _told(observation: Observation) -> Observation:
    """The hand as the encoder tells it; the landmark network is heard only where it means this hand, too."""
    told = _encoded(observation)
    agree = observation.score >= _AGREE and same_hand(told.keypoints_2d, observation.keypoints_2d)
    return dataclasses.replace(
        observation,
        score=told.presence,
        joint_scores=observation.joint_scores if agree else np.zeros(21),
        keypoints_2d=observation.keypoints_2d if agree else told.keypoints_2d,
    )
