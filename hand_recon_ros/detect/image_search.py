"""Thorough search for hands in one still image."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..config import ReconstructorConfig
from ..landmarks.crops import alike
from ..landmarks.landmarks import UNSTEADY, HandLandmarks
from ..landmarks.observation import RotatedBox
from ..types import Side
from .duplicates import is_palm_of, part_of, same_hand
from .hand_detector import LIKELY, SAME, DetectedHand
from .handedness import Candidate, assign, log_odds, probability
from .networks import HandNetworks
from .test_time_augmentation import averaged
from .views import as_hand, tiles, turned

_LOW_DETECTION = 0.15
"""Palms are looked at down to this score; what shows no hand to the landmark network is dropped again."""
_FIRST_PASS_PRESENCE = 0.1
_CANDIDATES_PER_VIEW = 5
_MOST_CANDIDATES = 16
_SETTLED = 0.15
_SETTLED_WELL = 0.08
_SURE_PRESENCE = 0.8
_SURE_SIDE = 0.8
_SMALLEST_HAND = 16.0
_LEAST_PRESENCE = 0.75
_LEAST_PRESENCE_SUPPORTED = 0.6
"""For a hand that the detector sees, too."""
_LOW_LIKELY = 0.15
_HANDS_PER_VIEW = 2
_NEW = 0.1
"""Squares of the detector more alike than this are looked at once."""


@dataclasses.dataclass(frozen=True, eq=False)
class ImageHand:
    """A hand found in a still image.

    Attributes:
        hand: its landmarks.
        evidence: log odds that it is, or looks like, a right hand.
        spread: how far each keypoint moved on average between looks at it (21,), pixels.
    """

    hand: HandLandmarks
    evidence: float
    spread: np.ndarray


def search(networks: HandNetworks, image: np.ndarray, config: ReconstructorConfig) -> tuple[ImageHand | None, ...]:
    """The hands that look left and right in a BGR image (None where not found).

    The whole image comes first. As long as not both hands are sure, the image is also looked at turned by quarters
    and within a black frame (hands that fill it show the detector too little around them), then in tiles (small
    hands). Palms are accepted at low scores where the landmark network then settles on a hand. An image in which no
    palm is found at all is taken as one hand, in each of four rotations: cut-out pictures of single hands.
    """
    state = _ImageSearch(networks, image, config)
    height, width = image.shape[:2]
    stages: list[Sequence[RotatedBox | None]] = [[None], turned(width, height), tiles(width, height)]
    for views in stages:
        for view in views:
            state.look(view)
        if state.both_sure():
            break
    if not state.found:
        state.take_as_hand(as_hand(width, height))
    return state.result()


class _ImageSearch:
    """What was found so far in one image."""

    def __init__(self, networks: HandNetworks, image: np.ndarray, config: ReconstructorConfig) -> None:
        self.networks, self.image, self.config = networks, image, config
        self.found: list[HandLandmarks] = []
        self.evidence: list[list[float]] = []
        self.seen_by_detector: list[DetectedHand] = []
        self.looked_at: list[RotatedBox] = []
        self.dropped: set[int] = set()

    def look(self, view: RotatedBox | None) -> None:
        """Detect palms in a view and add the hands they lead to."""
        low = min(_LOW_DETECTION, self.config.min_detection_score)
        palms, hands = self.networks.detect(self.image, low, view, _LOW_LIKELY)
        self.seen_by_detector += hands
        sure = [hand for hand in self.found if hand.presence >= _SURE_PRESENCE]
        rois, detected, squares = [], [], []
        for palm in palms[:_CANDIDATES_PER_VIEW]:
            if not any(is_palm_of(palm, hand) for hand in sure) and self._is_new(palm.roi, 0.05):
                rois.append(palm.roi)
                detected.append(palm.score >= self.config.min_detection_score)
        for found in hands[:_HANDS_PER_VIEW]:
            if not any(alike(found.roi, hand.next_roi(), SAME) for hand in sure) and self._is_new(found.roi, _NEW):
                squares.append(found.roi)
        self._add(rois, detected)
        self._add(squares, [False] * len(squares), only_new=True)

    def _is_new(self, roi: RotatedBox, tolerance: float) -> bool:
        """Whether a square is worth a look: it then counts as looked at."""
        if len(self.looked_at) >= _MOST_CANDIDATES or any(alike(roi, other, tolerance) for other in self.looked_at):
            return False
        self.looked_at.append(roi)
        return True

    def _is_supported(self, hand: HandLandmarks) -> bool:
        """Whether the detector sees this hand, too."""
        own = hand.next_roi()
        return any(seen.score >= LIKELY and alike(seen.roi, own, SAME) for seen in self.seen_by_detector)

    def take_as_hand(self, rois: list[RotatedBox]) -> None:
        """Add the hands the landmark network sees in squares that no detection supports."""
        self._add(rois, [False] * len(rois))

    def _add(self, rois: list[RotatedBox], detected: list[bool], only_new: bool = False) -> None:
        """Look at squares and keep what turns out to be a hand in two more looks, each in the last one's square.

        With ``only_new`` the looks say nothing about hands that were found before: the detector's squares are turned
        less exactly than palms, and a hand that is not upright looks left or right by chance.
        """
        looks = [[hand] for hand in self.networks.read(self.image, rois)]
        for _ in range(2):
            going_on = [i for i, seen in enumerate(looks) if not self._is_settled(seen)]
            again = self.networks.read(self.image, [looks[i][-1].next_roi() for i in going_on])
            for i, hand in zip(going_on, again, strict=True):
                looks[i].append(hand)
        for seen, sure in zip(looks, detected, strict=True):
            evidence = [log_odds(hand.right) for hand in seen if hand.presence >= 0.5]
            known = self._known(seen[-1])
            if only_new and any(same_hand(hand.keypoints, seen[-1].keypoints) for hand in self.found):
                continue
            if known is not None:
                self.evidence[known] += evidence
            elif len(seen) == 3 and self._is_hand(seen[1], seen[2], sure):
                self._keep(seen[2], evidence)

    def _is_settled(self, seen: list[HandLandmarks]) -> bool:
        """Whether another look is pointless: there is nothing, or it is a hand that was found before."""
        return seen[0].presence < _FIRST_PASS_PRESENCE or self._known(seen[-1]) is not None

    def _known(self, hand: HandLandmarks) -> int | None:
        """The index of the clearly seen hand that this is, if any."""
        for index, known in enumerate(self.found):
            if known.presence >= _SURE_PRESENCE and same_hand(known.keypoints, hand.keypoints):
                return index
        return None

    def _is_hand(self, before: HandLandmarks, hand: HandLandmarks, detected: bool) -> bool:
        """Whether two successive looks agree on a hand: on something else they wander."""
        moved = np.linalg.norm(hand.keypoints - before.keypoints, axis=1).mean() / hand.size
        presence = min(before.presence, hand.presence)
        if hand.size < _SMALLEST_HAND:
            return False
        if detected or self._is_supported(hand):
            return bool(presence >= self.config.min_presence and moved < _SETTLED)
        return bool(presence >= max(_LEAST_PRESENCE, self.config.min_presence) and moved < _SETTLED_WELL)

    def _keep(self, hand: HandLandmarks, evidence: list[float]) -> None:
        for index, known in enumerate(self.found):
            if same_hand(known.keypoints, hand.keypoints):
                self.evidence[index] += evidence
                if hand.presence > known.presence:
                    self.found[index] = hand
                return
        self.found.append(hand)
        self.evidence.append(evidence)

    def _chosen(self) -> tuple[int | None, int | None]:
        kept = [index for index in range(len(self.found)) if index not in self.dropped]
        left, right = assign(
            [Candidate(float(np.mean(self.evidence[i])), self.found[i].size, self.found[i].presence) for i in kept]
        )
        return (None if left is None else kept[left]), (None if right is None else kept[right])

    def both_sure(self) -> bool:
        """Whether both slots are filled and nothing better is to be expected."""
        for side, index in zip(Side, self._chosen(), strict=True):
            if index is None or self.found[index].presence < _SURE_PRESENCE:
                return False
            if probability(float(np.mean(self.evidence[index])), side) < _SURE_SIDE:
                return False
        return True

    def result(self) -> tuple[ImageHand | None, ...]:
        """The chosen hands, each looked at from several squares once more; what does not bear that is dropped."""
        checked: dict[int, ImageHand | None] = {}
        while True:
            chosen = self._chosen()
            for index in chosen:
                if index is not None and index not in checked:
                    checked[index] = self._looked_at_again(index)
            hands = [None if index is None else checked[index] for index in chosen]
            worst = self._worst(chosen, hands)
            if worst is None:
                return tuple(hands)
            self.dropped.add(worst)

    def _looked_at_again(self, index: int) -> ImageHand | None:
        hand, spread, evidence = averaged(self.networks, self.image, self.found[index], self.evidence[index])
        least = _LEAST_PRESENCE_SUPPORTED if self._is_supported(hand) else _LEAST_PRESENCE
        if hand.presence < max(least, self.config.min_presence) or spread.mean() > UNSTEADY * hand.size:
            return None
        return ImageHand(hand, evidence, spread)

    @staticmethod
    def _worst(chosen: tuple[int | None, int | None], hands: list[ImageHand | None]) -> int | None:
        """Which of the chosen to drop: one that failed the looks, or the fainter of two on one hand; else None."""
        for index, hand in zip(chosen, hands, strict=True):
            if index is not None and hand is None:
                return index
        left, right = hands
        if left is None or right is None:
            return None
        points = left.hand.keypoints, right.hand.keypoints
        if same_hand(*points):
            return chosen[left.hand.presence > right.hand.presence]
        if part_of(*points):
            return chosen[0]
        return chosen[1] if part_of(*points[::-1]) else None
