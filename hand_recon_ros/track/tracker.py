"""Hands followed from frame to frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..detect.duplicates import same_hand
from ..detect.handedness import log_odds, probability, updated
from ..landmarks.landmarks import HandLandmarks
from ..landmarks.observation import RotatedBox
from ..skeleton import PALM
from ..types import Side

_MOST_LEAD = 0.3
"""A predicted square moves by at most this part of the hand's extent: a hand that turns back must stay inside it."""
_JITTER_GAIN = 0.2
_LIKE_LOOKS = 2.0
"""Consecutive images show the network nearly the same, so its errors hardly change between them: on a rendered clip the
same error went with less than half the deviation that looks from different squares have."""


@dataclasses.dataclass
class Track:
    """One hand while it is followed.

    Attributes:
        identity: counts from 1.
        hand: its landmarks in the last image.
        evidence: log odds of right against left.
        slot: the slot it holds, if any yet.
        motion: displacement of the palm between the last two images (2,), pixels.
        detected: found by detection in the last image.
        jitter: variance of each keypoint from image to image (21,), as a part of the hand's extent squared; None
            before the third image.
    """

    identity: int
    hand: HandLandmarks
    evidence: float
    slot: Side | None = None
    motion: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(2))
    detected: bool = True
    jitter: np.ndarray | None = None
    _step: np.ndarray | None = None

    @property
    def unsteadiness(self) -> np.ndarray | None:
        """What ``landmarks.joint_scores`` takes: the jitter as standard deviation, on the scale of several looks."""
        return None if self.jitter is None else _LIKE_LOOKS * np.sqrt(self.jitter)

    def predicted_roi(self) -> RotatedBox:
        """The square to look for this hand in in the next image, led by its motion."""
        roi = self.hand.next_roi()
        length = float(np.linalg.norm(self.motion))
        lead = self.motion * min(1.0, _MOST_LEAD * self.hand.size / max(length, 1e-9))
        return RotatedBox((roi.center[0] + float(lead[0]), roi.center[1] + float(lead[1])), roi.size, roi.angle)

    def follow(self, hand: HandLandmarks, right: float) -> None:
        """Take over the landmarks of the next image; ``right`` is the probability of an anatomical right hand."""
        step = hand.keypoints - self.hand.keypoints
        if self._step is not None:
            # The second difference leaves out steady motion; that of white noise has six times the noise's variance.
            change = step - self._step
            change = (change - change.mean(axis=0)) / hand.size
            variance = (change**2).sum(axis=1) / 6
            self.jitter = variance if self.jitter is None else self.jitter + _JITTER_GAIN * (variance - self.jitter)
        self._step = step
        self.motion = step[PALM].mean(axis=0)
        self.evidence = updated(self.evidence, right)
        self.hand = hand
        self.detected = False

    def agreement(self, hand: HandLandmarks, right: float) -> float:
        """How well landmarks of the next image fit this track (log probability): its side and where it was led to."""
        side = log_odds(right) * (1 if self.evidence > 0 else -1)
        roi = self.predicted_roi()
        offset = np.asarray(hand.next_roi().center) - np.asarray(roi.center)
        return float(np.log(max(hand.presence, 1e-6)) + side / 2 - np.sum((offset / (0.2 * self.hand.size)) ** 2) / 2)

    def side_probability(self, side: Side) -> float:
        return probability(self.evidence, side)


def converged(seen: Sequence[tuple[Track, HandLandmarks, float]]) -> int | None:
    """Which of two tracks to drop because both now see the same hand: the one that this hand fits less; else None.

    ``seen`` holds each track with its landmarks in the next image and their probability of a right hand.
    """
    if len(seen) < 2 or not same_hand(seen[0][1].keypoints, seen[1][1].keypoints):
        return None
    return int(np.argmin([track.agreement(hand, right) for track, hand, right in seen]))
