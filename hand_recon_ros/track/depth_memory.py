"""What the last depth image corrected of a hand's position, for images without depth.

A hand's position by the image alone has errors that persist: mostly the distance, by the size of the hand. They are
taken for an Ornstein-Uhlenbeck process, whose correlation from image to image decays with time. So a hand neither jumps
back when the depth image is missing, nor follows a correction of long ago.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..lift.lifted_hand import LiftedHand
from ..skeleton import WRIST
from ..types import ScaleSource

_TIME_CONSTANT = 0.7
"""Seconds in which the correlation of the errors decays: on clips of ``val`` 0.8 after 0.13 s, 0.6 after 0.4 s."""
_MIN_CORRELATION = 0.05
"""Below this nothing is corrected any more."""


@dataclasses.dataclass(frozen=True, eq=False)
class DepthMemory:
    """The last correction of one hand by a depth image.

    Attributes:
        correction: of the wrist (3,), per metre of its distance.
        time: of the image, seconds.
        variance: of the wrist's distance with depth, per square metre of it.
    """

    correction: np.ndarray
    time: float
    variance: float

    @classmethod
    def of(cls, hand: LiftedHand, time: float) -> DepthMemory | None:
        """What a depth image corrected of a lifted hand; None where there was none."""
        if hand.image_wrist is None:
            return None
        distance = float(np.linalg.norm(hand.image_wrist))
        shift = hand.keypoints[WRIST] - hand.image_wrist
        return cls(shift / distance, time, (hand.position_stddev / distance) ** 2)

    @classmethod
    def none(cls) -> DepthMemory:
        """That of a hand before its first depth image."""
        return cls(np.zeros(3), -math.inf, 0.0)

    def correlation(self, time: float) -> float:
        """Of the errors at ``time`` (s) with those at the correction, 0..1."""
        return math.exp(-max(time - self.time, 0.0) / _TIME_CONSTANT)

    def applied(self, hand: LiftedHand, time: float) -> LiftedHand:
        """A hand that was lifted without depth, corrected as far as the correction still holds at ``time`` (s)."""
        rho = self.correlation(time)
        if hand.image_wrist is not None or rho < _MIN_CORRELATION:
            return hand
        distance = float(np.linalg.norm(hand.keypoints[WRIST]))
        shift = rho * distance * self.correction
        remaining = (1.0 - rho**2) * hand.position_stddev**2 + rho**2 * self.variance * distance**2
        return dataclasses.replace(
            hand,
            translation=hand.translation + shift,
            keypoints=hand.keypoints + shift,
            position_stddev=min(math.sqrt(remaining), hand.position_stddev),
            scale_source=ScaleSource.DEPTH if rho**2 > 0.5 else hand.scale_source,
        )

    def sudden(self, hand: LiftedHand, time: float) -> np.ndarray:
        """The part (3,), metres, of a new correction of ``hand`` that was not there in the image before: a step of the
        estimate and not of the hand."""
        assert hand.image_wrist is not None
        rho = self.correlation(time)
        before = hand.image_wrist + rho * float(np.linalg.norm(hand.image_wrist)) * self.correction
        return np.asarray((1.0 - rho**2) * (hand.keypoints[WRIST] - before))
