"""Hands without landmarks, of which only a box is known: the encoder predicts their pose, or that there is none.

The landmark network takes hands one by one: of two interlaced hands it finds the front one in either crop, and it
rejects hands in thick gloves. The box is that of a detector, that of the last image, or the one that the encoder
predicts from the crop of the other hand. Both crops are then encoded together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ..detect.duplicates import part_of, same_hand
from ..detect.handedness import probability
from ..detect.image_hands import on_one_hand
from ..detect.pair_detector import CLEAR_SIDE, same_box
from ..landmarks.hand_keypoints import hand_box, in_hand_model
from ..landmarks.observation import EncoderPrediction, Observation, RotatedBox
from ..types import Camera, Side
from .hand_encoder import Encoder

_SHOWN = 0.5
"""Predicted probability of another hand from which on its box is evaluated."""
_PRESENT = 0.8
"""Predicted presence from which on the other hand is accepted."""
_MAX_STDDEV = 0.12
"""Predicted standard deviation of its keypoints, as a part of its extent, up to which it is accepted."""
_MAX_STDDEV_DETECTED = 0.145
"""For a hand in a detector's box, away from those that were found."""
_MAX_STDDEV_PAIR = 0.155
"""Where a detector is certain that there are two hands. In 220 images of rendered pairs 0.848 of the hands are found
with these limits, 0.850 with limits larger by a sixth; in photographs more false hands are found with those."""
_AGREE = 0.5
"""Presence from which on landmarks in its crop count, where they are of the same hand."""


def with_other_hand(
    encoder: Encoder,
    image: np.ndarray,
    seen: Observation,
    camera: Camera,
    crops: int = 1,
    box: RotatedBox | None = None,
) -> list[Observation]:
    """The one hand that was located, and the other one where the encoder predicts it; left before right.

    Args:
        encoder: predicts both.
        image: uint8 (H, W, 3) BGR.
        seen: the hand that was located.
        camera: of the image.
        crops: number of crops of the other hand that are evaluated, each around the last prediction.
        box: of the other hand, where a detector is certain that there are two. Of the predictions in it and in the box
            that the encoder predicts the surer one is taken.
    """
    (alone,) = encoder(image, [seen], camera)
    prediction = _prediction(alone)
    boxes = [] if box is None else [box]
    if prediction.is_finite and (box is not None or prediction.other_visible >= _SHOWN):
        boxes.append(prediction.other_box)
    side, pair = seen.side.other, box is not None
    # Where the detector's box is elsewhere, a prediction on the hand that was located is that hand again.
    covering = box is not None and on_one_hand(box, hand_box(seen.keypoints_2d))
    found = [
        with_boxes(encoder, image, [alone], {side: each}, camera, crops, pair, seen.mirrored, pair, covering)
        for each in boxes
    ]
    pairs = [hands for hands in found if len(hands) == 2]
    return min(pairs, key=lambda hands: _unsteadiness(hands[side]), default=[alone])


def with_boxes(
    encoder: Encoder,
    image: np.ndarray,
    seen: Sequence[Observation],
    boxes: Mapping[Side, RotatedBox],
    camera: Camera,
    crops: int = 1,
    detected: bool = False,
    mirrored: bool = False,
    pair: bool = False,
    covering: bool | None = None,
) -> list[Observation]:
    """The hands that were located, and those in boxes where the encoder predicts a hand; left before right.

    Args:
        encoder: predicts all of them.
        image: uint8 (H, W, 3) BGR.
        seen: hands with landmarks. One that has a prediction already is returned with it where there is no other hand.
        boxes: of the sides without.
        camera: of the image.
        crops: number of crops of each box that are evaluated, each around the last prediction.
        detected: the boxes are those of a detector.
        mirrored: the image is mirrored.
        pair: a detector is certain that there are two hands.
        covering: whether they may cover each other point by point; None: where ``pair`` is set.
    """
    covering = pair if covering is None else covering
    current = dict(boxes)
    own = [hand_box(observation.keypoints_2d) for observation in seen]
    # Beside a hand that was found its own keypoints can be taken for the other one's.
    apart = {side for side, box in boxes.items() if not any(same_box(box, other) for other in own)}
    side_score = seen[0].side_score if seen else probability(CLEAR_SIDE, Side.RIGHT)
    found: dict[Side, Observation] = {}
    for _ in range(crops if current else 1):
        others = [_observation(encoder, image, box, side, side_score, mirrored) for side, box in current.items()]
        everything = sorted([*seen, *others], key=lambda observation: observation.side)
        found = {observation.side: observation for observation in encoder(image, everything, camera)}
        for side in list(current):
            if _prediction(found[side]).is_finite:
                current[side] = hand_box(_prediction(found[side]).keypoints_2d)
            else:
                del current[side]
    accepted = {observation.side: found[observation.side] for observation in seen}
    # The surest first: of two on one hand it is kept.
    for side in sorted(current, key=lambda side: _unsteadiness(found[side])):
        limit = _limit(pair, detected and side in apart)
        others = [] if covering else list(accepted.values())
        if _is_hand(_prediction(found[side]), others, limit):
            accepted[side] = _fused(found[side], list(accepted.values()))
    if len(accepted) == len(seen) == 1 and seen[0].prediction is not None:
        return list(seen)
    if len(accepted) < len(found):
        # Predictions of a pair are made of both crops; those of a crop without a hand do not count.
        return encoder(image, [accepted[side] for side in sorted(accepted)], camera)
    return [accepted[side] for side in sorted(accepted)]


def _limit(pair: bool, detected: bool) -> float:
    """The largest accepted standard deviation; ``detected``: in a detector's box, away from found hands."""
    if pair:
        return _MAX_STDDEV_PAIR
    return _MAX_STDDEV_DETECTED if detected else _MAX_STDDEV


def _prediction(observation: Observation) -> EncoderPrediction:
    assert observation.prediction is not None
    return observation.prediction


def _unsteadiness(observation: Observation) -> float:
    """Predicted standard deviation of the keypoints as a part of the hand's extent."""
    prediction = _prediction(observation)
    extent = float(np.ptp(prediction.keypoints_2d, axis=0).max())
    return float(prediction.stddev_2d.mean()) / max(extent, 1e-6)


def _observation(
    encoder: Encoder, image: np.ndarray, box: RotatedBox, side: Side, side_score: float, mirrored: bool
) -> Observation:
    """A hand in a box, with the landmarks in it, which may be those of the hand in front."""
    shown = side.other if mirrored else side
    hand = encoder.landmarks(image, box, mirrored=shown == Side.LEFT)
    if hand.presence < _AGREE:
        # Of hands in gloves the encoder, too, predicts more without colours: it has the landmark network's features.
        grey = encoder.landmarks(image, box, mirrored=shown == Side.LEFT, grey=True)
        hand = max(grey, hand, key=lambda one: one.presence)
    of_side = hand.right if shown == Side.RIGHT else 1.0 - hand.right
    keypoints, depth, world = in_hand_model(hand)
    return Observation(
        side=side,
        score=hand.presence,
        side_score=side_score,
        keypoints_2d=keypoints,
        screen_depth=depth,
        world=world,
        joint_scores=np.full(21, hand.presence * of_side),
        roi=box,
        detected=False,
        mirrored=mirrored,
        stem=hand.stem,
        grey=hand.grey,
    )


def _is_hand(prediction: EncoderPrediction, others: Sequence[Observation], limit: float) -> bool:
    """Whether a prediction is a hand, and another one than ``others``."""
    extent = np.ptp(prediction.keypoints_2d, axis=0).max()
    if not prediction.is_finite or prediction.presence < _PRESENT or prediction.stddev_2d.mean() > limit * extent:
        return False
    found = [other.keypoints_2d for other in others]
    found += [other.prediction.keypoints_2d for other in others if other.prediction is not None]
    return not any(
        same_hand(prediction.keypoints_2d, points) or part_of(prediction.keypoints_2d, points) for points in found
    )


def _fused(observation: Observation, others: Sequence[Observation]) -> Observation:
    """The hand as the encoder predicts it; landmarks count only where they are of this hand, too, and not of others."""
    prediction = _prediction(observation)
    agree = observation.score >= _AGREE and same_hand(prediction.keypoints_2d, observation.keypoints_2d)
    agree &= not any(same_hand(other.keypoints_2d, observation.keypoints_2d) for other in others)
    return dataclasses.replace(
        observation,
        score=prediction.presence,
        joint_scores=observation.joint_scores if agree else np.zeros(21),
        keypoints_2d=observation.keypoints_2d if agree else prediction.keypoints_2d,
    )
