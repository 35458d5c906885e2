"""Detecting hands in an image of a stream, beside those that are followed already."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..config import ReconstructorConfig
from ..landmarks.crops import alike
from ..landmarks.landmarks import HandLandmarks
from ..types import Side
from .duplicates import distinct, is_palm_of
from .hand_detector import SAME
from .handedness import Candidate, assign, log_odds
from .networks import HandNetworks
from .views import of_attempt

_FIRST_PASS_PRESENCE = 0.2
"""A palm's own box is often off: a hand with this presence in it is evaluated again in the box of its landmarks."""
_SPARE_CANDIDATES = 1
_DETECTOR_CANDIDATES = 1
"""Hands of the hand detector alone that are evaluated where there are palms enough for all free slots."""
_SAME_CROP = 0.06


def detect_new_hands(
    networks: HandNetworks,
    image: np.ndarray,
    followed: Sequence[tuple[HandLandmarks, Candidate]],
    attempt: int,
    config: ReconstructorConfig,
) -> list[tuple[HandLandmarks, float]]:
    """Hands in an image that are not followed yet, at most as many as there are free slots.

    Args:
        networks: palm and hand detector, landmark network.
        image: uint8 (H, W, 3) BGR.
        followed: the hands that are followed, at most two.
        attempt: number of detections in a row that found none: they take turns with different views of the image.
        config: thresholds.

    Returns landmarks and log odds of a right hand.
    """
    free = len(Side) - len(followed)
    known = [hand for hand, _ in followed]
    view = of_attempt(attempt, image.shape[1], image.shape[0])
    palms, hands = networks.detect(image, config.min_detection_score, view)
    new = [palm for palm in palms if not any(is_palm_of(palm, hand) for hand in known)]
    rois = [palm.roi for palm in new[: free + _SPARE_CANDIDATES]]
    covered = [*(palm.roi for palm in palms), *(hand.next_roi() for hand in known)]
    others = [hand.roi for hand in hands if not any(alike(hand.roi, roi, SAME) for roi in covered)]
    rois += others[: max(_DETECTOR_CANDIDATES, free - len(rois))]
    first = [hand for hand in networks.read(image, rois) if hand.presence >= _FIRST_PASS_PRESENCE]
    # Only hands that would get a slot are worth a second evaluation.
    first = _worth_a_slot(first, followed, config)
    found = []
    for before, hand in zip(first, _second_pass(networks, image, first), strict=True):
        if is_present(hand, config):
            evidence = (log_odds(right_of(before, config)) + log_odds(right_of(hand, config))) / 2
            found.append((hand, evidence))
    kept = _without_duplicates([hand for hand, _ in found], known)
    return [found[index] for index in kept]


def right_of(hand: HandLandmarks, config: ReconstructorConfig) -> float:
    """Probability of an anatomical right hand."""
    return 1 - hand.right if config.mirrored_input else hand.right


def is_present(hand: HandLandmarks, config: ReconstructorConfig) -> bool:
    """Whether the landmark network sees a hand, with finite landmarks."""
    return hand.presence >= config.min_presence and bool(np.isfinite(hand.keypoints).all())


def _second_pass(networks: HandNetworks, image: np.ndarray, hands: list[HandLandmarks]) -> list[HandLandmarks]:
    """Hands evaluated again in their own boxes, where those differ from the boxes of the first evaluation."""
    result = list(hands)
    stale = [index for index, hand in enumerate(hands) if not alike(hand.roi, hand.next_roi(), _SAME_CROP)]
    again = networks.read(image, [hands[index].next_roi() for index in stale])
    for index, hand in zip(stale, again, strict=True):
        result[index] = hand
    return result


def _worth_a_slot(
    hands: list[HandLandmarks], followed: Sequence[tuple[HandLandmarks, Candidate]], config: ReconstructorConfig
) -> list[HandLandmarks]:
    """The new hands that the assignment to slots would use beside the followed ones."""
    kept = [hands[index] for index in _without_duplicates(hands, [hand for hand, _ in followed])]
    candidates = [candidate for _, candidate in followed]
    candidates += [Candidate(log_odds(right_of(hand, config)), hand.size, hand.presence) for hand in kept]
    first = len(followed)
    return [kept[index - first] for index in assign(candidates) if index is not None and index >= first]


def _without_duplicates(hands: list[HandLandmarks], known: list[HandLandmarks]) -> list[int]:
    """Indices of hands that are neither each other's duplicates nor those of a followed hand."""
    scores = [float("inf")] * len(known) + [hand.presence for hand in hands]
    return [index - len(known) for index in distinct([*known, *hands], scores) if index >= len(known)]
