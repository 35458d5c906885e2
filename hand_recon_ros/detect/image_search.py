"""Thorough search for hands in a single image."""

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
"""Palms are evaluated down to this score; where the landmark network finds no hand they are dropped again."""
_FIRST_PASS_PRESENCE = 0.1
_CANDIDATES_PER_VIEW = 5
_MOST_CANDIDATES = 16
_AGREE = 0.15
_AGREE_WELL = 0.08
_HIGH_PRESENCE = 0.8
_CERTAIN_SIDE = 0.8
_SMALLEST_HAND = 16.0
_LEAST_PRESENCE = 0.75
_LEAST_PRESENCE_SUPPORTED = 0.6
"""For a hand that the hand detector detects, too."""
_LOW_HAND_SCORE = 0.15
_HANDS_PER_VIEW = 2
_NEW = 0.1
"""Boxes of the hand detector more alike than this are evaluated once."""


@dataclasses.dataclass(frozen=True, eq=False)
class ImageHand:
    """A hand found in a single image.

    Attributes:
        hand: its landmarks.
        evidence: log odds that it looks like a right hand.
        spread: root mean square deviation of each keypoint over several crops (21,), pixels.
    """

    hand: HandLandmarks
    evidence: float
    spread: np.ndarray


def search(networks: HandNetworks, image: np.ndarray, config: ReconstructorConfig) -> tuple[ImageHand | None, ...]:
    """The hands classified as left and right in a BGR image (None where not found).

    The whole image comes first. While one of the hands is missing or uncertain, further views follow: the image rotated
    by quarters and within a black frame (for hands that fill the image), then tiles (for small hands). Palms are
    accepted at low scores where the landmark network then converges on a hand. An image without any palm is evaluated
    as the crop of one hand, in each of four rotations.
    """
    hands = _ImageSearch(networks, image, config)
    height, width = image.shape[:2]
    stages: list[Sequence[RotatedBox | None]] = [[None], turned(width, height), tiles(width, height)]
    for views in stages:
        for view in views:
            hands.detect(view)
        if hands.complete():
            break
    if not hands.found:
        hands.evaluate(as_hand(width, height))
    return hands.result()


class _ImageSearch:
    """Hands found so far in one image."""

    def __init__(self, networks: HandNetworks, image: np.ndarray, config: ReconstructorConfig) -> None:
        self.networks, self.image, self.config = networks, image, config
        self.found: list[HandLandmarks] = []
        self.evidence: list[list[float]] = []
        self.detector_hands: list[DetectedHand] = []
        self.evaluated: list[RotatedBox] = []
        self.dropped: set[int] = set()

    def detect(self, view: RotatedBox | None) -> None:
        """Detect palms and hands in a view, evaluate them, and add those that are hands."""
        low = min(_LOW_DETECTION, self.config.min_detection_score)
        palms, hands = self.networks.detect(self.image, low, view, _LOW_HAND_SCORE)
        self.detector_hands += hands
        clear = [hand for hand in self.found if hand.presence >= _HIGH_PRESENCE]
        rois, detected, squares = [], [], []
        for palm in palms[:_CANDIDATES_PER_VIEW]:
            if not any(is_palm_of(palm, hand) for hand in clear) and self._is_unevaluated(palm.roi, 0.05):
                rois.append(palm.roi)
                detected.append(palm.score >= self.config.min_detection_score)
        for found in hands[:_HANDS_PER_VIEW]:
            if not any(alike(found.roi, hand.next_roi(), SAME) for hand in clear) and self._is_unevaluated(
                found.roi, _NEW
            ):
                squares.append(found.roi)
        self._add(rois, detected)
        self._add(squares, [False] * len(squares), only_new=True)

    def _is_unevaluated(self, roi: RotatedBox, tolerance: float) -> bool:
        """Whether a box was not evaluated before; it then counts as evaluated."""
        if len(self.evaluated) >= _MOST_CANDIDATES or any(alike(roi, other, tolerance) for other in self.evaluated):
            return False
        self.evaluated.append(roi)
        return True

    def _is_supported(self, hand: HandLandmarks) -> bool:
        """Whether the hand detector detected this hand, too."""
        own = hand.next_roi()
        return any(found.score >= LIKELY and alike(found.roi, own, SAME) for found in self.detector_hands)

    def evaluate(self, rois: list[RotatedBox]) -> None:
        """Add the hands in boxes that no detection supports."""
        self._add(rois, [False] * len(rois))

    def _add(self, rois: list[RotatedBox], detected: list[bool], only_new: bool = False) -> None:
        """Evaluate boxes, and keep those that remain hands in two more crops, each in the box of the last landmarks.

        With ``only_new`` the crops are no evidence for hands that were found before: the hand detector's rotation is
        less exact than a palm's, and the handedness of a hand that is not upright is random.
        """
        crops = [[hand] for hand in self.networks.read(self.image, rois)]
        for _ in range(2):
            going_on = [i for i, seen in enumerate(crops) if not self._is_decided(seen)]
            again = self.networks.read(self.image, [crops[i][-1].next_roi() for i in going_on])
            for i, hand in zip(going_on, again, strict=True):
                crops[i].append(hand)
        for seen, of_palm in zip(crops, detected, strict=True):
            evidence = [log_odds(hand.right) for hand in seen if hand.presence >= 0.5]
            known = self._known(seen[-1])
            if only_new and any(same_hand(hand.keypoints, seen[-1].keypoints) for hand in self.found):
                continue
            if known is not None:
                self.evidence[known] += evidence
            elif len(seen) == 3 and self._is_hand(seen[1], seen[2], of_palm):
                self._keep(seen[2], evidence)

    def _is_decided(self, seen: list[HandLandmarks]) -> bool:
        """Whether another crop is pointless: there is no hand, or one that was found before."""
        return seen[0].presence < _FIRST_PASS_PRESENCE or self._known(seen[-1]) is not None

    def _known(self, hand: HandLandmarks) -> int | None:
        """The index of the hand with high presence that this is, if any."""
        for index, known in enumerate(self.found):
            if known.presence >= _HIGH_PRESENCE and same_hand(known.keypoints, hand.keypoints):
                return index
        return None

    def _is_hand(self, before: HandLandmarks, hand: HandLandmarks, detected: bool) -> bool:
        """Whether the landmarks of two successive crops agree, as they do on hands only."""
        moved = np.linalg.norm(hand.keypoints - before.keypoints, axis=1).mean() / hand.size
        presence = min(before.presence, hand.presence)
        if hand.size < _SMALLEST_HAND:
            return False
        if detected or self._is_supported(hand):
            return bool(presence >= self.config.min_presence and moved < _AGREE)
        return bool(presence >= max(_LEAST_PRESENCE, self.config.min_presence) and moved < _AGREE_WELL)

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

    def complete(self) -> bool:
        """Whether both slots have a hand of high presence and certain handedness."""
        for side, index in zip(Side, self._chosen(), strict=True):
            if index is None or self.found[index].presence < _HIGH_PRESENCE:
                return False
            if probability(float(np.mean(self.evidence[index])), side) < _CERTAIN_SIDE:
                return False
        return True

    def result(self) -> tuple[ImageHand | None, ...]:
        """The chosen hands after test-time augmentation; those with too low presence or too high spread are dropped."""
        checked: dict[int, ImageHand | None] = {}
        while True:
            chosen = self._chosen()
            for index in chosen:
                if index is not None and index not in checked:
                    checked[index] = self._augmented(index)
            hands = [None if index is None else checked[index] for index in chosen]
            worst = self._worst(chosen, hands)
            if worst is None:
                return tuple(hands)
            self.dropped.add(worst)

    def _augmented(self, index: int) -> ImageHand | None:
        hand, spread, evidence = averaged(self.networks, self.image, self.found[index], self.evidence[index])
        least = _LEAST_PRESENCE_SUPPORTED if self._is_supported(hand) else _LEAST_PRESENCE
        if hand.presence < max(least, self.config.min_presence) or spread.mean() > UNSTEADY * hand.size:
            return None
        return ImageHand(hand, evidence, spread)

    @staticmethod
    def _worst(chosen: tuple[int | None, int | None], hands: list[ImageHand | None]) -> int | None:
        """Which of the chosen to drop: one that failed the augmentation, or the worse of two on one hand; else None."""
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
