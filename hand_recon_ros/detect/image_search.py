"""Thorough search for hands in a single image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from ..config import ReconstructorConfig
from ..landmarks.crops import alike
from ..landmarks.landmarks import HandLandmarks
from ..landmarks.observation import RotatedBox
from ..types import Side
from .body_networks import persons_in
from .duplicates import is_palm_of, same_hand
from .handedness import log_odds
from .image_decision import HIGH_PRESENCE, decided, decided_people, is_complete
from .image_hands import FoundHand, FoundHands, ImageHands, Prediction, on_one_hand
from .networks import HandNetworks
from .new_hands import VISIBLE, body_evidence
from .pair_detector import LIKELY, alone, around, in_region, matched, of_hand, overlap, region_of, same_box
from .views import as_hand, tiles, turned, whole

_LOW_DETECTION = 0.15
"""Palms are evaluated down to this score; where the landmark network finds no hand they are dropped again."""
_FIRST_PASS_PRESENCE = 0.1
_CANDIDATES_PER_VIEW = 5
_MOST_CANDIDATES = 32
_AGREE = 0.15
_AGREE_WELL = 0.08
_UNMOVED = 0.015
_SMALLEST_HAND = 16.0
_LEAST_PRESENCE = 0.75
_NEW = 0.1
"""Boxes more alike than this are evaluated once."""
_TURNS = (0.0, 0.8, -0.8)
"""Rotations (rad) in which a predicted box is evaluated, the others only where there is no hand in the first."""
_PERSONS, _MOST_PERSONS = 2, 8
"""Persons whose hands are searched, the largest first: beside the operator to tell their hands apart, and if the hands
of all people are wanted."""
_REGIONS = 24
"""Most regions that the pair detector evaluates in one image."""


def search(networks: HandNetworks, image: np.ndarray, config: ReconstructorConfig) -> ImageHands:
    """The hands classified as left and right in a BGR image.

    The whole image comes first: palms and bodies. While one of the hands is missing or uncertain, pairs of hands around
    what was found and further views follow: the image rotated by quarters and within a black frame (for hands that
    fill the image), then tiles (for small hands). Palms are accepted at low scores where the landmark network then
    converges on a hand. An image without any palm is evaluated as the crop of one hand, in each of four rotations.
    """
    return decided(networks, image, _searched(networks, image, config, _PERSONS), config)


def search_people(networks: HandNetworks, image: np.ndarray, config: ReconstructorConfig) -> list[ImageHands]:
    """The hands of every person in a BGR image, see :func:`decided_people`; arguments as of :func:`search`.

    Whatever was found, all views are searched.
    """
    return decided_people(networks, image, _searched(networks, image, config, _MOST_PERSONS, everyone=True), config)


def _searched(
    networks: HandNetworks, image: np.ndarray, config: ReconstructorConfig, persons: int, everyone: bool = False
) -> FoundHands:
    """The hands in an image, of at most so many persons whose body is visible; see :func:`search`."""
    hands = _ImageSearch(networks, image, config)
    height, width = image.shape[:2]

    def goes_on() -> bool:
        return everyone or not is_complete(hands.found)

    hands.detect(None)
    hands.bodies(persons)
    if goes_on():
        hands.pairs()
    if goes_on():
        hands.pairs_in([whole(width, height)])
    for views in (turned(width, height), tiles(width, height)):
        if not goes_on():
            break
        for view in views:
            hands.detect(view)
        hands.pairs()
        if goes_on():
            hands.pairs_in([view for view in views if view.angle == 0.0])
    if not hands.found.hands:
        hands.evaluate(as_hand(width, height))
        hands.pairs()
    return hands.found


class _ImageSearch:
    """Hands found so far in one image."""

    def __init__(self, networks: HandNetworks, image: np.ndarray, config: ReconstructorConfig) -> None:
        self.networks, self.image, self.config = networks, image, config
        self.found = FoundHands()
        self.weak: list[RotatedBox] = []
        """Boxes of detections in which no hand was found yet."""
        self.evaluated: list[RotatedBox] = []
        self.regions: list[RotatedBox] = []

    def detect(self, view: RotatedBox | None) -> None:
        """Detect palms in a view, evaluate them, and add those that are hands."""
        low = min(_LOW_DETECTION, self.config.min_detection_score)
        clear = [found.hand for found in self.found.hands if found.hand.presence >= HIGH_PRESENCE]
        rois, detected = [], []
        for palm in self.networks.detect_palms(self.image, low, view)[:_CANDIDATES_PER_VIEW]:
            if not any(is_palm_of(palm, hand) for hand in clear) and self._is_unevaluated(palm.roi, 0.05):
                rois.append(palm.roi)
                detected.append(palm.score >= self.config.min_detection_score)
        self.weak += rois
        self._add(self.networks.read(self.image, rois), detected)

    def bodies(self, most: int) -> None:
        """Add the hands of the persons in the image, the operator's first."""
        if self.networks.body is None:
            return
        for person in persons_in(self.networks.body, self.image, most, self.config.operator):
            hands = [hand for hand in person.hands if _inside(hand.roi, self.image)]
            if not self.found.of_persons:
                visible = [hand.visibility >= VISIBLE for hand in hands]
                self.found.both_wrists = len(hands) == len(Side) and all(visible)
            predictions = [Prediction("body", hand.roi, hand.visibility, body_evidence(hand)) for hand in hands]
            self.found.of_persons.append(predictions)
            self._take(predictions)

    def pairs(self) -> None:
        """Add the hands that the pair detector predicts around what was found, and its evidence of their sides."""
        self.pairs_in(self._regions())

    def pairs_in(self, views: Sequence[RotatedBox]) -> None:
        """Add the hands that the pair detector predicts in views of the image."""
        if self.networks.pair is None:
            return
        for view in views:
            self._pair(view)

    def _regions(self) -> list[RotatedBox]:
        """Regions around the hands found so far, alone and together, and around detections without a hand."""
        boxes = [found.hand.next_roi for found in self.found.hands]
        regions = [region_of(boxes)] if len(boxes) == 2 and overlap(*boxes) else []
        regions += [around(box) for box in boxes]
        weak = [roi for roi in self.weak if not any(same_box(box, roi) for box in boxes)]
        regions += [alone(roi) for roi in weak]
        return regions

    def _pair(self, region: RotatedBox) -> None:
        if len(self.regions) >= _REGIONS or any(alike(region, other, 0.1) for other in self.regions):
            return
        self.regions.append(region)
        hands = in_region(self.networks.detect_pair, self.image, region)
        self._take([Prediction("pair", hand.roi, hand.score, hand.evidence) for hand in hands if hand.score >= LIKELY])

    def _take(self, predictions: list[Prediction]) -> None:
        """Keep predictions of different hands by one detector, and evaluate the boxes of those that are new.

        Each hand is one prediction's at most: the boxes of clasped hands are near each other.
        """
        boxes = [prediction.roi for prediction in predictions]
        known = matched(boxes, [found.hand.next_roi for found in self.found.hands])
        for i, prediction in enumerate(predictions):
            right = 0.0
            if i in known:
                found: FoundHand | None = self.found.hands[known[i]]
            else:
                again = self._refined(prediction)
                if again is None:
                    continue
                prediction = again
                found, right = self._evaluated(prediction)
            if found is not None:
                before = found.detectors.get(prediction.detector, 0.0)
                found.detectors[prediction.detector] = max(before, prediction.evidence, key=abs)
            elif prediction.detector == "pair":
                evidence = prediction.evidence + right
                self.found.without_landmarks.append(dataclasses.replace(prediction, evidence=evidence))

    def _refined(self, prediction: Prediction) -> Prediction | None:
        """A prediction of the pair detector evaluated once more, in a region around its hand alone; None where there is
        no hand, or one that was found."""
        if prediction.detector != "pair":
            return prediction
        if self._is_on_a_hand(prediction.roi):
            return None
        hands = of_hand(self.networks.detect_pair, self.image, prediction.roi)
        near = [hand for hand in hands if hand.score >= LIKELY]
        if not near:
            return None
        hand = min(near, key=lambda hand: math.dist(hand.roi.center, prediction.roi.center))
        if self._is_on_a_hand(hand.roi):
            return None
        return Prediction("pair", hand.roi, min(hand.score, prediction.score), prediction.evidence)

    def _is_on_a_hand(self, roi: RotatedBox) -> bool:
        """Whether a box is on a hand that was found."""
        return any(on_one_hand(roi, found.hand.next_roi) for found in self.found.hands)

    def _evaluated(self, prediction: Prediction) -> tuple[FoundHand | None, float]:
        """The hand in a predicted box, if the landmark network finds one that was not found before; and its log odds of
        a right hand there."""
        count, right = len(self.found.hands), 0.0
        if self._is_unevaluated(prediction.roi, _NEW):
            box = prediction.roi
            rois = [RotatedBox(box.center, box.size, box.angle + turn) for turn in _TURNS]
            seen = self.networks.read(self.image, rois[:1])
            if seen[0].presence < self.config.min_presence:
                seen += self.networks.read(self.image, rois[1:])
            if max(hand.presence for hand in seen) < self.config.min_presence:
                seen += self.networks.read(self.image, rois, grey=True)
            right = float(np.mean([log_odds(hand.right) for hand in seen]))
            self._add([max(seen, key=lambda hand: hand.presence)], [True], stay=True)
        return (self.found.hands[-1] if len(self.found.hands) > count else None), right

    def _is_unevaluated(self, roi: RotatedBox, tolerance: float) -> bool:
        """Whether a box was not evaluated before; it then counts as evaluated."""
        if len(self.evaluated) >= _MOST_CANDIDATES or any(alike(roi, other, tolerance) for other in self.evaluated):
            return False
        self.evaluated.append(roi)
        return True

    def evaluate(self, rois: list[RotatedBox]) -> None:
        """Add the hands in boxes that no detection supports."""
        self._add(self.networks.read(self.image, rois), [False] * len(rois))

    def _add(self, first: list[HandLandmarks], detected: list[bool], stay: bool = False) -> None:
        """Keep the hands of first crops that remain hands in two more, each in the box of the last landmarks; in one
        more where two are clear.

        With ``stay`` a crop counts only while its hand is in the box: of two clasped hands the network tends to the one
        in front.
        """
        crops = [[hand] for hand in first]
        for _ in range(2):
            going_on = [i for i, seen in enumerate(crops) if not self._is_decided(seen)]
            if len(going_on) == len(Side) and all(_is_clear(crops[i]) for i in going_on):
                break
            last = [crops[i][-1] for i in going_on]
            rois = [hand.next_roi for hand in last]
            again = self.networks.read(self.image, rois, grey=[hand.grey for hand in last])
            for i, hand in zip(going_on, again, strict=True):
                if stay and not same_box(first[i].roi, hand.next_roi):
                    hand = crops[i][-1]
                crops[i].append(hand)
        for seen, of_palm in zip(crops, detected, strict=True):
            evidence = [log_odds(hand.right) for hand in seen if hand.presence >= 0.5]
            known = self._known(seen[-1])
            if known is not None and not stay:
                self.found.hands[known].crops += evidence
            elif known is None and len(seen) > 1 and self._is_hand(seen[-2], seen[-1], of_palm):
                self.found.keep(seen[-1], evidence)

    def _is_decided(self, seen: list[HandLandmarks]) -> bool:
        """Whether another crop is pointless: there is no hand, or one that was found before."""
        return seen[0].presence < _FIRST_PASS_PRESENCE or self._known(seen[-1]) is not None

    def _known(self, hand: HandLandmarks) -> int | None:
        """The index of the hand with high presence that this is, if any."""
        for index, known in enumerate(self.found.hands):
            if known.hand.presence >= HIGH_PRESENCE and same_hand(known.hand.keypoints, hand.keypoints):
                return index
        return None

    def _is_hand(self, before: HandLandmarks, hand: HandLandmarks, detected: bool) -> bool:
        """Whether the landmarks of two successive crops agree, as they do on hands only."""
        moved = _movement(before, hand)
        presence = min(before.presence, hand.presence)
        if hand.size < _SMALLEST_HAND:
            return False
        if detected or self.found.is_of_body(hand):
            return bool(presence >= self.config.min_presence and moved < _AGREE)
        return bool(presence >= max(_LEAST_PRESENCE, self.config.min_presence) and moved < _AGREE_WELL)


def _is_clear(seen: list[HandLandmarks]) -> bool:
    """Whether several crops show a hand with high presence in one place."""
    if len(seen) == 1 or min(hand.presence for hand in seen) < HIGH_PRESENCE:
        return False
    return _movement(seen[-2], seen[-1]) < _UNMOVED


def _movement(before: HandLandmarks, hand: HandLandmarks) -> float:
    """Mean distance of the keypoints from those of another crop, as a part of the hand's extent."""
    return float(np.linalg.norm(hand.keypoints - before.keypoints, axis=1).mean()) / hand.size


def _inside(box: RotatedBox, image: np.ndarray) -> bool:
    return 0 <= box.center[0] < image.shape[1] and 0 <= box.center[1] < image.shape[0]
