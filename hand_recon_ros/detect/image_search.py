"""Thorough search for hands in a single image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from ..config import ReconstructorConfig
from ..landmarks.crops import alike
from ..landmarks.landmarks import UNSTEADY, HandLandmarks
from ..landmarks.observation import RotatedBox
from ..types import Side
from .body_networks import hands_of_persons
from .duplicates import is_palm_of, part_of, same_hand
from .handedness import PLAUSIBLE, Candidate, assign, log_odds, probability
from .networks import HandNetworks
from .new_hands import BODY_EVIDENCE, body_evidence
from .pair_detector import CERTAIN, CLEAR_SIDE, LIKELY, around, in_region, matched, region_of, same_box
from .test_time_augmentation import averaged
from .views import as_hand, tiles, turned, whole

_LOW_DETECTION = 0.15
"""Palms are evaluated down to this score; where the landmark network finds no hand they are dropped again."""
_FIRST_PASS_PRESENCE = 0.1
_CANDIDATES_PER_VIEW = 5
_MOST_CANDIDATES = 32
_AGREE = 0.15
_AGREE_WELL = 0.08
_HIGH_PRESENCE = 0.8
_CERTAIN_SIDE = 0.8
_SMALLEST_HAND = 16.0
_LEAST_PRESENCE = 0.75
_LEAST_PRESENCE_SUPPORTED = 0.6
"""For a hand that the pose of a body predicts, too."""
_NEW = 0.1
"""Boxes more alike than this are evaluated once."""
_TURNS = (0.0, 0.8, -0.8)
"""Rotations (rad) in which a predicted box is evaluated, the others only where there is no hand in the first."""
_ON_A_HAND = 0.45
"""Distance between the centres of boxes, in units of the larger one, below which they are of one hand, or of two of
which one covers the other."""
_VISIBLE, _ELSEWHERE = 0.8, 0.3
"""Visibility of both wrists from which on hands elsewhere count less, and the factor on their presence."""
_BODIES = 2
"""Persons whose hands are searched, the largest first."""
_REGIONS = 24
"""Most regions that the pair detector evaluates in one image."""


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


@dataclasses.dataclass(frozen=True, eq=False)
class ImageHands:
    """The hands of a single image.

    Attributes:
        hands: that look like a left and a right one; None where the landmark network found none.
        boxes: of those, by side, that a detector predicts without the landmark network finding a hand there.
    """

    hands: tuple[ImageHand | None, ...]
    boxes: dict[Side, RotatedBox]


@dataclasses.dataclass(frozen=True)
class _Prediction:
    """What a detector that predicts sides predicts of one hand.

    Attributes:
        detector: its name.
        roi: the box of the hand's crop.
        score: probability, 0..1.
        evidence: log odds of a right hand.
    """

    detector: str
    roi: RotatedBox
    score: float
    evidence: float


@dataclasses.dataclass(eq=False)
class _Found:
    """A hand, the log odds of a right one from each of its crops, and the surest of each detector by its name."""

    hand: HandLandmarks
    crops: list[float]
    detectors: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def evidence(self) -> float:
        """Log odds of a right hand."""
        return (float(np.mean(self.crops)) if self.crops else 0.0) + self.of_detectors

    @property
    def of_detectors(self) -> float:
        """The detectors' part of it, limited so that they do not overrule certain landmarks."""
        return min(max(sum(self.detectors.values()), -BODY_EVIDENCE), BODY_EVIDENCE)


def search(networks: HandNetworks, image: np.ndarray, config: ReconstructorConfig) -> ImageHands:
    """The hands classified as left and right in a BGR image.

    The whole image comes first: palms, bodies, and pairs of hands around what was found. While one of the hands is
    missing or uncertain, further views follow: the image rotated by quarters and within a black frame (for hands that
    fill the image), then tiles (for small hands). Palms are accepted at low scores where the landmark network then
    converges on a hand. An image without any palm is evaluated as the crop of one hand, in each of four rotations.
    """
    hands = _ImageSearch(networks, image, config)
    height, width = image.shape[:2]
    hands.detect(None)
    hands.bodies()
    hands.pairs()
    if not hands.complete():
        hands.pairs_in([whole(width, height)])
    for views in (turned(width, height), tiles(width, height)):
        if hands.complete():
            break
        for view in views:
            hands.detect(view)
        hands.pairs()
        if not hands.complete():
            hands.pairs_in([view for view in views if view.angle == 0.0])
    if not hands.found:
        hands.evaluate(as_hand(width, height))
        hands.pairs()
    chosen = hands.result()
    return ImageHands(chosen, hands.boxes_without(chosen))


class _ImageSearch:
    """Hands found so far in one image."""

    def __init__(self, networks: HandNetworks, image: np.ndarray, config: ReconstructorConfig) -> None:
        self.networks, self.image, self.config = networks, image, config
        self.found: list[_Found] = []
        self.predicted: list[_Prediction] = []
        self.unread: list[_Prediction] = []
        """Predictions of the pair detector in whose boxes the landmark network found no other hand."""
        self.weak: list[RotatedBox] = []
        """Boxes of detections in which no hand was found yet."""
        self.both_wrists = False
        """Whether both wrists of a person are visible."""
        self.evaluated: list[RotatedBox] = []
        self.regions: list[RotatedBox] = []
        self.dropped: set[int] = set()

    def detect(self, view: RotatedBox | None) -> None:
        """Detect palms in a view, evaluate them, and add those that are hands."""
        low = min(_LOW_DETECTION, self.config.min_detection_score)
        clear = [found.hand for found in self.found if found.hand.presence >= _HIGH_PRESENCE]
        rois, detected = [], []
        for palm in self.networks.detect_palms(self.image, low, view)[:_CANDIDATES_PER_VIEW]:
            if not any(is_palm_of(palm, hand) for hand in clear) and self._is_unevaluated(palm.roi, 0.05):
                rois.append(palm.roi)
                detected.append(palm.score >= self.config.min_detection_score)
        self.weak += rois
        self._add(self.networks.read(self.image, rois), detected)

    def bodies(self) -> None:
        """Add the hands of the persons in the image, the largest persons first."""
        if self.networks.body is None:
            return
        for person in hands_of_persons(self.networks.body, self.image, _BODIES):
            hands = [hand for hand in person if _inside(hand.roi, self.image)]
            self.both_wrists |= len(hands) == len(Side) and all(hand.visibility >= _VISIBLE for hand in hands)
            self._take([_Prediction("body", hand.roi, hand.visibility, body_evidence(hand)) for hand in hands])

    def pairs(self) -> None:
        """Add the hands that the pair detector predicts around what was found, and its evidence of their sides."""
        self.pairs_in(self._regions())

    def pairs_in(self, views: Sequence[RotatedBox]) -> None:
        """Add the hands that the pair detector predicts in views of the image."""
        if self.networks.pair is None:
            return
        for view in views:
            self._pair(view)

    def boxes_without(self, hands: Sequence[ImageHand | None]) -> dict[Side, RotatedBox]:
        """Boxes by side of hands that the pair detector is certain of, where the landmark network found none at all.

        A second hand beside one that was found is too often a part of that hand again.
        """
        if any(hand is not None for hand in hands):
            return {}
        certain = [prediction for prediction in self.unread if prediction.score >= CERTAIN]
        clear = [prediction for prediction in certain if abs(prediction.evidence) >= CLEAR_SIDE]
        return {
            Side(prediction.evidence > 0): prediction.roi for prediction in sorted(clear, key=lambda one: one.score)
        }

    def _regions(self) -> list[RotatedBox]:
        """Regions around the hands found so far, alone and together, and around detections without a hand."""
        boxes = [found.hand.next_roi() for found in self.found]
        regions = [region_of(boxes)] if len(boxes) == 2 and _overlap(*boxes) else []
        regions += [around(box) for box in boxes]
        weak = [roi for roi in self.weak if not any(same_box(box, roi) for box in boxes)]
        regions += [region_of([roi], 1.4) for roi in weak]
        return regions

    def _pair(self, region: RotatedBox) -> None:
        if len(self.regions) >= _REGIONS or any(alike(region, other, 0.1) for other in self.regions):
            return
        self.regions.append(region)
        hands = in_region(self.networks.detect_pair, self.image, region)
        self._take([_Prediction("pair", hand.roi, hand.score, hand.evidence) for hand in hands if hand.score >= LIKELY])

    def _take(self, predictions: list[_Prediction]) -> None:
        """Keep predictions of different hands by one detector, and evaluate the boxes of those that are new.

        Each hand is one prediction's at most: the boxes of clasped hands are near each other.
        """
        self.predicted += predictions
        boxes = [prediction.roi for prediction in predictions]
        known = matched(boxes, [found.hand.next_roi() for found in self.found])
        for i, prediction in enumerate(predictions):
            if i in known:
                found: _Found | None = self.found[known[i]]
            else:
                again = self._refined(prediction)
                if again is None:
                    continue
                prediction = again
                found = self._evaluated(prediction)
            if found is not None:
                before = found.detectors.get(prediction.detector, 0.0)
                found.detectors[prediction.detector] = max(before, prediction.evidence, key=abs)
            elif prediction.detector == "pair":
                self.unread.append(prediction)

    def _refined(self, prediction: _Prediction) -> _Prediction | None:
        """A prediction of the pair detector evaluated once more, in a region around its hand alone; None where there is
        no hand, or one that was found."""
        if prediction.detector != "pair":
            return prediction
        if self._is_on_a_hand(prediction.roi):
            return None
        hands = self.networks.detect_pair(self.image, region_of([prediction.roi], 1.4))
        present = [hand for hand in hands if hand.score >= LIKELY]
        near = [hand for hand in present if same_box(hand.roi, prediction.roi)]
        if not near:
            return None
        hand = min(near, key=lambda hand: math.dist(hand.roi.center, prediction.roi.center))
        if self._is_on_a_hand(hand.roi):
            return None
        return _Prediction("pair", hand.roi, min(hand.score, prediction.score), prediction.evidence)

    def _is_on_a_hand(self, roi: RotatedBox) -> bool:
        """Whether a box is so near a hand that was found that the landmark network would find that hand again."""
        own = [found.hand.next_roi() for found in self.found]
        return any(math.dist(roi.center, box.center) < _ON_A_HAND * max(roi.size, box.size) for box in own)

    def _evaluated(self, prediction: _Prediction) -> _Found | None:
        """The hand in a predicted box, if the landmark network finds one that was not found before."""
        count = len(self.found)
        if self._is_unevaluated(prediction.roi, _NEW):
            box = prediction.roi
            rois = [RotatedBox(box.center, box.size, box.angle + turn) for turn in _TURNS]
            seen = self.networks.read(self.image, rois[:1])
            if seen[0].presence < self.config.min_presence:
                seen += self.networks.read(self.image, rois[1:])
            self._add([max(seen, key=lambda hand: hand.presence)], [True], stay=True)
        return self.found[-1] if len(self.found) > count else None

    def _is_unevaluated(self, roi: RotatedBox, tolerance: float) -> bool:
        """Whether a box was not evaluated before; it then counts as evaluated."""
        if len(self.evaluated) >= _MOST_CANDIDATES or any(alike(roi, other, tolerance) for other in self.evaluated):
            return False
        self.evaluated.append(roi)
        return True

    def _is_supported(self, hand: HandLandmarks) -> bool:
        """Whether the pose of a body predicts this hand."""
        own = hand.next_roi()
        return any(
            prediction.detector == "body" and prediction.score >= LIKELY and same_box(prediction.roi, own)
            for prediction in self.predicted
        )

    def evaluate(self, rois: list[RotatedBox]) -> None:
        """Add the hands in boxes that no detection supports."""
        self._add(self.networks.read(self.image, rois), [False] * len(rois))

    def _add(self, first: list[HandLandmarks], detected: list[bool], stay: bool = False) -> None:
        """Keep the hands of first crops that remain hands in two more, each in the box of the last landmarks.

        With ``stay`` a crop counts only while its hand is in the box: of two clasped hands the network tends to the one
        in front.
        """
        crops = [[hand] for hand in first]
        for _ in range(2):
            going_on = [i for i, seen in enumerate(crops) if not self._is_decided(seen)]
            again = self.networks.read(self.image, [crops[i][-1].next_roi() for i in going_on])
            for i, hand in zip(going_on, again, strict=True):
                if stay and not same_box(first[i].roi, hand.next_roi()):
                    hand = crops[i][-1]
                crops[i].append(hand)
        for seen, of_palm in zip(crops, detected, strict=True):
            evidence = [log_odds(hand.right) for hand in seen if hand.presence >= 0.5]
            known = self._known(seen[-1])
            if known is not None and not stay:
                self.found[known].crops += evidence
            elif known is None and len(seen) == 3 and self._is_hand(seen[1], seen[2], of_palm):
                self._keep(seen[2], evidence)

    def _is_decided(self, seen: list[HandLandmarks]) -> bool:
        """Whether another crop is pointless: there is no hand, or one that was found before."""
        return seen[0].presence < _FIRST_PASS_PRESENCE or self._known(seen[-1]) is not None

    def _known(self, hand: HandLandmarks) -> int | None:
        """The index of the hand with high presence that this is, if any."""
        for index, known in enumerate(self.found):
            if known.hand.presence >= _HIGH_PRESENCE and same_hand(known.hand.keypoints, hand.keypoints):
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
        for known in self.found:
            if same_hand(known.hand.keypoints, hand.keypoints):
                known.crops += evidence
                if hand.presence > known.hand.presence:
                    known.hand = hand
                return
        self.found.append(_Found(hand, evidence))

    def _chosen(self) -> tuple[int | None, int | None]:
        kept = [index for index in range(len(self.found)) if index not in self.dropped]
        left, right = assign(
            [
                Candidate(found.evidence, found.hand.size, self._presence(found))
                for found in (self.found[index] for index in kept)
            ]
        )
        return (None if left is None else kept[left]), (None if right is None else kept[right])

    def _presence(self, found: _Found) -> float:
        """Presence of a hand, lower for one that is at neither wrist of a person whose wrists are both visible."""
        elsewhere = self.both_wrists and "body" not in found.detectors
        return found.hand.presence * (_ELSEWHERE if elsewhere else 1.0)

    def complete(self) -> bool:
        """Whether both slots have a hand of high presence and certain handedness."""
        for side, index in zip(Side, self._chosen(), strict=True):
            if index is None or self.found[index].hand.presence < _HIGH_PRESENCE:
                return False
            if probability(self.found[index].evidence, side) < _CERTAIN_SIDE:
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
        found = self.found[index]
        hand, spread, evidence = averaged(self.networks, self.image, found.hand, found.crops)
        least = _LEAST_PRESENCE_SUPPORTED if self._is_supported(hand) else _LEAST_PRESENCE
        if hand.presence < max(least, self.config.min_presence) or spread.mean() > UNSTEADY * hand.size:
            return None
        return ImageHand(hand, evidence + found.of_detectors, spread)

    @staticmethod
    def _worst(chosen: tuple[int | None, int | None], hands: Sequence[ImageHand | None]) -> int | None:
        """Which of the chosen to drop: one that failed the augmentation, one that after it can hardly be of its slot's
        side, or the worse of two on one hand; else None."""
        for side, index, hand in zip(Side, chosen, hands, strict=True):
            if index is not None and (hand is None or probability(hand.evidence, side) < PLAUSIBLE):
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


def _overlap(a: RotatedBox, b: RotatedBox) -> bool:
    return math.dist(a.center, b.center) < 0.75 * (a.size + b.size) / 2


def _inside(box: RotatedBox, image: np.ndarray) -> bool:
    return 0 <= box.center[0] < image.shape[1] and 0 <= box.center[1] < image.shape[0]
