"""One hand followed from image to image by its landmarks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from ..detect.duplicates import is_part_of, same_hand
from ..detect.handedness import log_odds, probability, updated
from ..landmarks.landmarks import HandLandmarks
from ..landmarks.observation import RotatedBox
from ..skeleton import PALM
from ..types import Side

_MAX_LEAD = 0.3
"""The search box moves ahead by at most this part of the hand's extent, so that a hand that turns back stays inside."""
_JITTER_TIME = 0.15
"""Time constant (s) of the jitter's running mean."""
_CORRELATION = 2.0
"""The standard deviation of independent crops over that of consecutive images, whose errors are correlated. On a
rendered clip consecutive images showed less than half of it for the same error."""


@dataclasses.dataclass
class ImageTrack:
    """Landmarks of one hand in consecutive images.

    Attributes:
        hand: the landmarks in the last image.
        evidence: log odds of a right hand against a left hand, from all images so far.
        time: of the last image, seconds.
        velocity: of the palm (2,), pixels per second.
        detected: whether the hand was detected in the last image, not followed into it.
        jitter: variance of each keypoint (21,), as a part of the hand's extent squared; None before the third image.
    """

    hand: HandLandmarks
    evidence: float
    time: float
    velocity: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(2))
    detected: bool = True
    jitter: np.ndarray | None = None
    _last_step: tuple[np.ndarray, float] | None = None

    @property
    def unsteadiness(self) -> np.ndarray | None:
        """Standard deviation (21,) for ``landmarks.joint_scores``, on the scale of independent crops."""
        return None if self.jitter is None else _CORRELATION * np.sqrt(self.jitter)

    def predicted_roi(self, time: float) -> RotatedBox:
        """The box in which to evaluate the landmark network at ``time`` (s), at constant velocity."""
        roi = self.hand.next_roi
        motion = self.velocity * (time - self.time)
        lead = motion * min(1.0, _MAX_LEAD * self.hand.size / max(float(np.linalg.norm(motion)), 1e-9))
        return RotatedBox((roi.center[0] + float(lead[0]), roi.center[1] + float(lead[1])), roi.size, roi.angle)

    def follow(self, hand: HandLandmarks, right: float, time: float) -> None:
        """Take over the landmarks of the image at ``time`` (s); ``right`` is the probability of a right hand."""
        step, seconds = hand.keypoints - self.hand.keypoints, max(time - self.time, 1e-6)
        if self._last_step is not None:
            # Subtracting the expected step leaves out steady motion. With white noise of variance 1 in each image the
            # difference has variance 1 + (1 + r)^2 + r^2.
            before, duration = self._last_step
            ratio = seconds / duration
            change = step - ratio * before
            change = (change - change.mean(axis=0)) / hand.size
            variance = (change**2).sum(axis=1) / (1.0 + (1.0 + ratio) ** 2 + ratio**2)
            gain = 1.0 - math.exp(-seconds / _JITTER_TIME)
            self.jitter = variance if self.jitter is None else self.jitter + gain * (variance - self.jitter)
        self._last_step = step, seconds
        self.velocity = step[PALM].mean(axis=0) / seconds
        self.evidence = updated(self.evidence, right, seconds)
        self.hand, self.time, self.detected = hand, time, False

    def agreement(self, hand: HandLandmarks, right: float, time: float) -> float:
        """Log probability that landmarks of the image at ``time`` (s) belong to this track, by handedness and place."""
        handedness = log_odds(right) * (1 if self.evidence > 0 else -1)
        offset = np.asarray(hand.next_roi.center) - np.asarray(self.predicted_roi(time).center)
        distance = float(np.sum((offset / (0.2 * self.hand.size)) ** 2))
        return math.log(max(hand.presence, 1e-6)) + handedness / 2 - distance / 2

    def side_probability(self, side: Side) -> float:
        """Probability that the hand is of a side."""
        return probability(self.evidence, side)


def worse_duplicate(seen: Sequence[tuple[ImageTrack, HandLandmarks, float]], time: float) -> int | None:
    """The index of the track to drop where two tracks have the landmarks of one hand, or one of a part of the other;
    None where they do not.

    Args:
        seen: each track with its landmarks in the image at ``time`` and their probability of a right hand.
        time: seconds.
    """
    if len(seen) < 2:
        return None
    (_, first, _), (_, second, _) = seen
    if same_hand(first.keypoints, second.keypoints):
        return int(np.argmin([track.agreement(hand, right, time) for track, hand, right in seen]))
    if is_part_of(first, second):
        return 0
    return 1 if is_part_of(second, first) else None
