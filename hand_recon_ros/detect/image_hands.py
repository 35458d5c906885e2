"""The hands found in a single image, before it is decided which are its left and its right one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from ..landmarks.landmarks import HandLandmarks
from ..landmarks.observation import RotatedBox
from ..types import Side
from .duplicates import same_hand
from .new_hands import BODY_EVIDENCE
from .pair_detector import LIKELY, same_box

_ON_ONE_HAND = 0.45
"""Distance between the centres of boxes, in units of the larger one, below which they are of one hand, or of two of
which one covers the other."""


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
        pair: whether the pair detector is certain that the hand in a box is another than the one that was found.
    """

    hands: tuple[ImageHand | None, ...]
    boxes: dict[Side, RotatedBox]
    pair: bool = False


@dataclasses.dataclass(frozen=True)
class Prediction:
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
class FoundHand:
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


@dataclasses.dataclass(eq=False)
class FoundHands:
    """What was found so far in one image.

    Attributes:
        hands: different ones, none of them with certainty.
        of_persons: predictions of the pose of each person, the operator first.
        without_landmarks: predictions in whose boxes the landmark network found no other hand.
        both_wrists: whether both wrists of the operator are visible.
    """

    hands: list[FoundHand] = dataclasses.field(default_factory=list)
    of_persons: list[list[Prediction]] = dataclasses.field(default_factory=list)
    without_landmarks: list[Prediction] = dataclasses.field(default_factory=list)
    both_wrists: bool = False

    def keep(self, hand: HandLandmarks, evidence: list[float]) -> None:
        """Add a hand, or the evidence of its crops to those of the same hand."""
        for known in self.hands:
            if same_hand(known.hand.keypoints, hand.keypoints):
                known.crops += evidence
                if hand.presence > known.hand.presence:
                    known.hand = hand
                return
        self.hands.append(FoundHand(hand, list(evidence)))

    def is_of_body(self, hand: HandLandmarks) -> bool:
        """Whether the pose of a body predicts this hand."""
        return any(predicts(person, hand) for person in self.of_persons)

    def is_of_another(self, hand: HandLandmarks) -> bool:
        """Whether the pose of another person predicts this hand, and the operator's does not."""
        if not self.of_persons or predicts(self.of_persons[0], hand):
            return False
        return any(predicts(person, hand) for person in self.of_persons[1:])

    def is_elsewhere(self, hand: HandLandmarks) -> bool:
        """Whether both of the operator's wrists are visible, but not at this hand."""
        return self.both_wrists and bool(self.of_persons) and not predicts(self.of_persons[0], hand)


def predicts(person: Sequence[Prediction], hand: HandLandmarks) -> bool:
    """Whether a person's pose predicts this hand."""
    own = hand.next_roi
    return any(prediction.score >= LIKELY and same_box(prediction.roi, own) for prediction in person)


def on_one_hand(a: RotatedBox, b: RotatedBox) -> bool:
    """Whether boxes are so near each other that the landmark network would find the same hand in both."""
    return math.dist(a.center, b.center) < _ON_ONE_HAND * max(a.size, b.size)
