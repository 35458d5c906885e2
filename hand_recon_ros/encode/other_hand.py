"""A hand without landmarks, because the other one occludes it: the encoder predicts its box and its pose.

The landmark network takes hands one by one, and of two interlaced hands it finds the front one in either crop. From the
crop of the hand that was found the encoder predicts the box of the other one; then it encodes both crops together.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..detect.duplicates import part_of, same_hand
from ..landmarks.crops import tracking_box
from ..landmarks.observation import EncoderPrediction, Observation, RotatedBox
from ..types import Camera, Side
from .hand_encoder import HandEncoder

_SHOWN = 0.5
"""Predicted probability of another hand from which on its box is evaluated."""
_PRESENT = 0.8
"""Predicted presence from which on the other hand is accepted."""
_MAX_STDDEV = 0.13
"""Predicted standard deviation of its keypoints, as a part of its extent, up to which it is accepted."""
_AGREE = 0.5
"""Presence from which on landmarks in its crop count, where they are of the same hand."""


def with_other_hand(
    encoder: HandEncoder,
    image: np.ndarray,
    seen: Observation,
    camera: Camera,
    box: RotatedBox | None = None,
    crops: int = 1,
) -> list[Observation]:
    """The one hand that was located, and the other one where the encoder predicts it; left before right.

    Args:
        encoder: predicts both.
        image: uint8 (H, W, 3) BGR.
        seen: the hand that was located.
        camera: of the image.
        box: of the other hand in the last image; None where it is not known.
        crops: number of crops of the other hand that are evaluated, each around the last prediction.
    """
    side, alone = seen.side.other, None
    if box is None:
        (alone,) = encoder(image, [seen], camera)
        prediction = _prediction(alone)
        if not prediction.is_finite or prediction.other_visible < _SHOWN:
            return [alone]
        box = prediction.other_box
    pair: list[Observation] = []
    for _ in range(crops):
        other = _observation(encoder, image, box, side, seen)
        pair = encoder(image, sorted([seen, other], key=lambda observation: observation.side), camera)
        if not _prediction(pair[side]).is_finite:
            break
        box = tracking_box(_prediction(pair[side]).keypoints_2d)
    if pair and _is_hand(_prediction(pair[side]), seen):
        pair[side] = _fused(pair[side])
        return pair
    return encoder(image, [seen], camera) if alone is None else [alone]


def _prediction(observation: Observation) -> EncoderPrediction:
    assert observation.prediction is not None
    return observation.prediction


def _observation(
    encoder: HandEncoder, image: np.ndarray, box: RotatedBox, side: Side, seen: Observation
) -> Observation:
    """A hand in a box, with the landmarks in it, which may be those of the hand in front."""
    shown = side.other if seen.mirrored else side
    hand = encoder.landmarks(image, box, mirrored=shown == Side.LEFT)
    of_side = hand.right if shown == Side.RIGHT else 1.0 - hand.right
    return Observation(
        side=side,
        score=hand.presence,
        side_score=seen.side_score,
        keypoints_2d=hand.keypoints,
        screen_depth=hand.screen_depth,
        world=hand.world,
        joint_scores=np.full(21, hand.presence * of_side),
        roi=box,
        detected=False,
        mirrored=seen.mirrored,
        stem=hand.stem,
    )


def _is_hand(prediction: EncoderPrediction, seen: Observation) -> bool:
    """Whether a prediction is a hand, and another one than the one that was located."""
    extent = np.ptp(prediction.keypoints_2d, axis=0).max()
    if not prediction.is_finite or prediction.presence < _PRESENT or prediction.stddev_2d.mean() > _MAX_STDDEV * extent:
        return False
    found = [seen.keypoints_2d] + ([seen.prediction.keypoints_2d] if seen.prediction is not None else [])
    return not any(
        same_hand(prediction.keypoints_2d, points) or part_of(prediction.keypoints_2d, points) for points in found
    )


def _fused(observation: Observation) -> Observation:
    """The hand as the encoder predicts it; landmarks count only where they are of this hand, too."""
    prediction = _prediction(observation)
    agree = observation.score >= _AGREE and same_hand(prediction.keypoints_2d, observation.keypoints_2d)
    return dataclasses.replace(
        observation,
        score=prediction.presence,
        joint_scores=observation.joint_scores if agree else np.zeros(21),
        keypoints_2d=observation.keypoints_2d if agree else prediction.keypoints_2d,
    )
