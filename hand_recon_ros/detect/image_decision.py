"""Which of the hands found in a single image are its left and its right one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ..config import ReconstructorConfig
from ..landmarks.landmarks import UNSTEADY, HandLandmarks
from ..landmarks.observation import RotatedBox
from ..types import Side
from .duplicates import part_of, same_hand
from .handedness import PLAUSIBLE, Candidate, assign, log_odds, probability
from .image_hands import FoundHand, FoundHands, ImageHand, ImageHands, Prediction, on_one_hand, predicts
from .networks import HandNetworks
from .pair_detector import CERTAIN, CLEAR_SIDE, of_hand, second_hand
from .test_time_augmentation import averaged

HIGH_PRESENCE = 0.8
_CERTAIN_SIDE = 0.8
_ELSEWHERE = 0.3
"""Factor on the presence of hands at neither wrist of the operator where both wrists are visible."""
_GREY = 0.75
"""Factor on the presence of hands that were found without colours, beside others: leaves look like hands, too."""
_LEAST_EVIDENCE = 1.75
"""Least sum of evidence of a hand: the log odds of the landmark network's presence, those of the pair detector, and
that of the pose of a body, weighted."""
_BODY_WEIGHT = 0.7
_PAIR_WEIGHT = 0.25
_UNSTEADY_CERTAIN = 0.12
"""As ``landmarks.UNSTEADY``, for a hand of which the pair detector is certain: crops of gloves and of blurred hands
agree less."""
_SIZES = 2.0
"""Largest factor between the boxes of the two hands of a person, where one of them has no landmarks."""
_TYPICAL_SCORE = 0.93
"""Of the pair detector on hands; used where there is no such detector."""


def is_complete(found: FoundHands) -> bool:
    """Whether both slots have a hand of high presence and certain handedness."""
    for side, index in zip(Side, _chosen(found, {}, ()), strict=True):
        if index is None or found.hands[index].hand.presence < HIGH_PRESENCE:
            return False
        if probability(found.hands[index].evidence, side) < _CERTAIN_SIDE:
            return False
    return True


def decided(networks: HandNetworks, image: np.ndarray, found: FoundHands, config: ReconstructorConfig) -> ImageHands:
    """The left and the right hand after test-time augmentation, of those with enough evidence.

    Args:
        networks: detectors and landmark network.
        image: uint8 (H, W, 3) BGR.
        found: what was found in it.
        config: thresholds.
    """
    checked: dict[int, ImageHand | Prediction] = {}
    dropped: set[int] = set()
    while True:
        chosen = _chosen(found, checked, dropped)
        unchecked = [index for index in chosen if index is not None and index not in checked]
        augmented = _augmented(networks, image, found, [found.hands[index] for index in unchecked], config)
        checked |= zip(unchecked, augmented, strict=True)
        if unchecked:
            continue  # more crops may have changed the sides
        hands = [None if index is None else checked[index] for index in chosen]
        worst = _worst(chosen, hands)
        if worst is None:
            break
        dropped.add(worst)
    kept = tuple(hand if isinstance(hand, ImageHand) else None for hand in hands)
    rejected = [hand for hand in checked.values() if isinstance(hand, Prediction)]
    if not any(kept):
        return ImageHands(kept, _boxes([*rejected, *found.without_landmarks]))
    if all(kept) or networks.pair is None:
        return ImageHands(kept, {})
    side, one = next((side, hand) for side, hand in zip(Side, kept, strict=True) if hand is not None)
    other = second_hand(networks.detect_pair, image, one.hand.next_roi)
    if other is not None:
        return ImageHands(kept, {side.other: other.roi}, pair=True)
    box = _beside(one, side, [*rejected, *found.without_landmarks])
    return ImageHands(kept, {} if box is None else {side.other: box})


def decided_people(
    networks: HandNetworks, image: np.ndarray, found: FoundHands, config: ReconstructorConfig
) -> list[ImageHands]:
    """The left and the right hand of every person; arguments as of :func:`decided`.

    First the hands at the wrists of each person whose body is visible, the operator first; then, in pairs, those at no
    known wrist.
    """
    people: list[ImageHands] = []
    rest = list(found.hands)
    for person in [*found.of_persons, None]:
        while own := [one for one in rest if person is None or predicts(person, one.hand)]:
            persons = [] if person is None else [person]
            hands = decided(networks, image, FoundHands(own, of_persons=persons), config)
            kept = [hand.hand.keypoints for hand in hands.hands if hand is not None]
            if not kept:
                break
            people.append(hands)
            before = len(rest)
            rest = [one for one in rest if not any(same_hand(one.hand.keypoints, points) for points in kept)]
            if person is not None or len(rest) == before:
                break
    return people


def _boxes(predictions: Sequence[Prediction]) -> dict[Side, RotatedBox]:
    """Boxes by side of hands that are certain but have no landmarks that could be used, such as gloves."""
    distinct: list[Prediction] = []
    for prediction in sorted(predictions, key=lambda one: -one.score):
        if prediction.score >= CERTAIN and not any(on_one_hand(prediction.roi, other.roi) for other in distinct):
            distinct.append(prediction)
    if len(distinct) >= len(Side):
        left, right = sorted(distinct[: len(Side)], key=lambda one: one.evidence)
        return {Side.LEFT: left.roi, Side.RIGHT: right.roi}
    return {Side(one.evidence > 0): one.roi for one in distinct if abs(one.evidence) >= CLEAR_SIDE}


def _beside(one: ImageHand, side: Side, predictions: Sequence[Prediction]) -> RotatedBox | None:
    """The box of the surest prediction of a hand that is certain, elsewhere than the one hand of ``side`` that was
    found, of similar size and not clearly of the same side; None without one."""
    sign = 1 if side == Side.RIGHT else -1
    own = one.hand.next_roi
    others = [
        prediction
        for prediction in predictions
        if prediction.score >= CERTAIN
        and sign * prediction.evidence < CLEAR_SIDE
        and not on_one_hand(prediction.roi, own)
        and max(prediction.roi.size, own.size) < _SIZES * min(prediction.roi.size, own.size)
    ]
    return max(others, key=lambda prediction: prediction.score).roi if others else None


def _chosen(
    found: FoundHands, checked: Mapping[int, ImageHand | Prediction], dropped: Collection[int]
) -> tuple[int | None, int | None]:
    own = [index for index, one in enumerate(found.hands) if not found.is_of_another(one.hand)]
    kept = [index for index in own if index not in dropped]
    candidates = []
    for index in kept:
        one = found.hands[index]
        evidence = checked[index].evidence if index in checked else one.evidence
        candidates.append(Candidate(evidence, one.hand.size, _presence(found, one)))
    left, right = assign(candidates)
    return (None if left is None else kept[left]), (None if right is None else kept[right])


def _presence(found: FoundHands, one: FoundHand) -> float:
    factor = _ELSEWHERE if found.is_elsewhere(one.hand) else 1.0
    return one.hand.presence * factor * (_GREY if one.hand.grey else 1.0)


def _augmented(
    networks: HandNetworks,
    image: np.ndarray,
    found: FoundHands,
    hands: Sequence[FoundHand],
    config: ReconstructorConfig,
) -> list[ImageHand | Prediction]:
    """Hands from several crops; the box alone of one with too little evidence, or where its crops disagree."""
    means = averaged(networks, image, [one.hand for one in hands], [one.crops for one in hands])
    result: list[ImageHand | Prediction] = []
    for one, (hand, spread, right) in zip(hands, means, strict=True):
        least = _LEAST_EVIDENCE - (_BODY_WEIGHT if found.is_of_body(hand) else 0.0)
        present, unsteadiness = hand.presence >= config.min_presence, spread.mean() / hand.size
        # The pair detector is asked only where its score can change the result.
        sure = present and unsteadiness <= UNSTEADY and _evidence(hand, 0.0) >= least
        score = None if networks.pair is None or sure else _pair_score(networks, image, hand)
        clear = sure or _evidence(hand, _TYPICAL_SCORE if score is None else score) >= least
        steady = unsteadiness <= (UNSTEADY if score is None or score < CERTAIN else _UNSTEADY_CERTAIN)
        right += one.of_detectors
        if clear and present and steady:
            result.append(ImageHand(hand, right, spread))
        else:
            result.append(Prediction("landmarks", hand.next_roi, score or 0.0, right))
    return result


def _evidence(hand: HandLandmarks, score: float) -> float:
    """The evidence of a hand by the landmark network and by the pair detector's score, without the body's."""
    return log_odds(hand.presence) + _PAIR_WEIGHT * log_odds(score)


def _pair_score(networks: HandNetworks, image: np.ndarray, hand: HandLandmarks) -> float:
    """The pair detector's score of this hand in a region around it."""
    return max((other.score for other in of_hand(networks.detect_pair, image, hand.next_roi)), default=0.0)


def _worst(chosen: tuple[int | None, int | None], hands: Sequence[ImageHand | Prediction | None]) -> int | None:
    """Which of the chosen to drop: one without enough evidence, one that after the augmentation can hardly be of its
    slot's side, or the worse of two on one hand; else None."""
    for side, index, hand in zip(Side, chosen, hands, strict=True):
        if isinstance(hand, Prediction) or (hand is not None and probability(hand.evidence, side) < PLAUSIBLE):
            return index
    left, right = hands
    if not isinstance(left, ImageHand) or not isinstance(right, ImageHand):
        return None
    points = left.hand.keypoints, right.hand.keypoints
    if same_hand(*points):
        return chosen[left.hand.presence > right.hand.presence]
    if part_of(*points):
        return chosen[0]
    return chosen[1] if part_of(*points[::-1]) else None
