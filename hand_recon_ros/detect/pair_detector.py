"""The pair detector: the left and the right hand in a region of an image with one or two hands.

A palm detector often merges hands that clasp or cover each other into one detection. This network evaluates the whole
region. It predicts a set of at most two hands: in each of two slots the presence of a hand, its side and the box of the
landmark network's crop. So two hands in the same place are two detections.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..landmarks.crops import crop
from ..landmarks.observation import RotatedBox
from ..runtime.bundled_networks import ASSETS, checked_asset
from ..runtime.model_files import ModelFileError
from ..runtime.sessions import Session
from ..types import Side
from .handedness import log_odds, probability

SIZE = 160
"""Side of the crop, pixels."""
VALUES = 7
"""Of a slot: logit of presence; logit of a right hand; x, y of the box's centre, units of the crop; logarithm of the
box's size in units of the crop; cosine and sine of its angle."""
INPUT, OUTPUT = "crop", "hands"

LIKELY, CERTAIN = 0.5, 0.97
"""Lowest score of a hand that the landmark network evaluates, and of one whose box counts without that."""
BOTH = 0.9
"""Lowest score of both hands from which on there are two. With 0.85 a second hand is found in 1 of 100 photographs of
single hands of ``val`` and in none with 0.95, which finds 1 of 95 rendered pairs less."""
CLEAR_SIDE = 1.0
"""Log odds of a side from which on it counts without landmarks."""
SIDE_WEIGHT = 0.4
"""Weight of the predicted log odds of a side. On the rendered pictures of ``val`` the sides are most likely with 0.35
for pairs and 0.5 for single hands, on real pictures with 0.65 and 0.43."""
_REGION = 0.3
"""Lowest score of a hand that is part of the region of the second evaluation."""
_AROUND = 3.2
"""Size of the region in which the other hand is searched, relative to the hand at its centre."""
_ALONE = 1.4
"""Size of the region in which one hand is evaluated alone, relative to the hand."""
_HAND = 1 / 1.6
"""Size of a hand relative to the landmark network's crop of it."""
_NEAR, _FACTOR = 0.35, 2.5
"""Boxes can be of the same hand where their centres differ by less than this share of the larger size, and their sizes
by less than this factor."""


@dataclasses.dataclass(frozen=True)
class RegionHand:
    """A hand of one side in a region.

    Attributes:
        side: the side it looks like.
        score: probability that the hand is in the region, 0..1.
        roi: the box of the landmark network's crop.
        evidence: log odds of a right hand against a left one.
    """

    side: Side
    score: float
    roi: RotatedBox
    evidence: float


def pair_detector_file() -> Path:
    """The weights, which come with the package; raises ModelFileError where they are missing or altered."""
    path = ASSETS / "pair_detector.onnx"
    if not path.is_file():
        raise ModelFileError(f"{path} is missing: it is part of the package, so install hand_recon_ros again")
    return checked_asset(path)


def decode(values: np.ndarray, region: RotatedBox) -> tuple[RegionHand, RegionHand]:
    """The hands, left and right, from the network's output (2, VALUES) for the crop of a region.

    Two hands of one person have different sides, so where both are present each slot is evidence of the other's side.
    """
    values = np.asarray(values, dtype=float)
    scores = [probability(float(logit), Side.RIGHT) for logit in values[:, 0]]
    right = [log_odds(probability(float(logit), Side.RIGHT)) for logit in values[:, 1]]
    odds = [SIDE_WEIGHT * (right[slot] - scores[1 - slot] * right[1 - slot]) for slot in range(2)]
    # A slot that hardly holds a hand does not decide the sides.
    first = int(np.argmax(scores))
    swapped = odds[0] > odds[1] if min(scores) >= LIKELY else (odds[first] > 0) == (first == 0)
    hands = []
    for side in Side:
        slot = 1 - side if swapped else int(side)
        _, _, x, y, log_size, cos, sin = values[slot]
        center = region.to_image(np.array([x, y]))
        size = math.exp(min(max(log_size, -5.0), 3.0)) * region.size
        box = RotatedBox((float(center[0]), float(center[1])), size, math.atan2(sin, cos) + region.angle)
        sign = 1 if side == Side.RIGHT else -1
        hands.append(RegionHand(side, scores[slot], box, sign * max(sign * odds[slot], 0.0)))
    return hands[0], hands[1]


def detect_pair(session: Session, image: np.ndarray, region: RotatedBox) -> tuple[RegionHand, RegionHand]:
    """The hands, left and right, in a square region of a BGR image; pixels outside the image are black."""
    crop(image, region, session.inputs[0], repeat_border=False)
    return decode(session.run(1)[0][0], region)


def in_region(
    detect: Callable[[np.ndarray, RotatedBox], tuple[RegionHand, RegionHand]], image: np.ndarray, region: RotatedBox
) -> tuple[RegionHand, RegionHand]:
    """The hands, left and right: detected in a region, and again in the smallest region around the first result.

    ``detect`` is :func:`detect_pair` with a session. Without a likely hand in the first result there is no second
    evaluation.
    """
    hands = detect(image, region)
    likely = [hand.roi for hand in hands if hand.score >= _REGION]
    return detect(image, region_of(likely)) if likely else hands


def alone(box: RotatedBox) -> RotatedBox:
    """The region around the hand in a crop of the landmark network in which this hand is evaluated alone."""
    return region_of([box], _ALONE)


def of_hand(
    detect: Callable[[np.ndarray, RotatedBox], tuple[RegionHand, RegionHand]], image: np.ndarray, box: RotatedBox
) -> list[RegionHand]:
    """The hands, detected in the region around the hand in ``box`` alone, that can be this one; ``detect`` as in
    :func:`in_region`."""
    return [hand for hand in detect(image, alone(box)) if same_box(hand.roi, box)]


def second_hand(
    detect: Callable[[np.ndarray, RotatedBox], tuple[RegionHand, RegionHand]], image: np.ndarray, box: RotatedBox
) -> RegionHand | None:
    """The other hand of a pair, near the hand in ``box`` or in the same place; None where the detector is not certain
    that there are two. ``detect`` as in :func:`in_region`."""
    return _beside(box, in_region(detect, image, around(box)))


def still_second(
    detect: Callable[[np.ndarray, RotatedBox], tuple[RegionHand, RegionHand]],
    image: np.ndarray,
    box: RotatedBox,
    other: RotatedBox,
) -> RegionHand | None:
    """As :func:`second_hand`, in one evaluation, of a hand that was in the box ``other`` in the image before."""
    return _beside(box, detect(image, region_of([box, other])))


def _beside(box: RotatedBox, hands: tuple[RegionHand, RegionHand]) -> RegionHand | None:
    """Of two certain hands the one that is not in ``box``."""
    own = matched([hand.roi for hand in hands], [box])
    if not own or min(hand.score for hand in hands) < BOTH:
        return None
    return next(hand for index, hand in enumerate(hands) if index not in own)


def overlap(a: RotatedBox, b: RotatedBox) -> bool:
    """Whether the hands in two crops may touch or cover each other."""
    return math.dist(a.center, b.center) < 0.75 * (a.size + b.size) / 2


def same_box(a: RotatedBox, b: RotatedBox, near: float = _NEAR) -> bool:
    """Whether two crops can be of the same hand: their centres are near each other and their sizes are similar."""
    larger, smaller = max(a.size, b.size), max(min(a.size, b.size), 1e-6)
    return math.dist(a.center, b.center) < near * larger and larger / smaller < _FACTOR


def matched(boxes: Sequence[RotatedBox], others: Sequence[RotatedBox]) -> dict[int, int]:
    """Index of the other box that is the same hand's, for each box that has one: one to one, the nearest first.

    The boxes of clasped hands are near each other, so that being near is not enough.
    """
    distances = sorted(
        (math.dist(box.center, other.center), i, j)
        for i, box in enumerate(boxes)
        for j, other in enumerate(others)
        if same_box(box, other)
    )
    result: dict[int, int] = {}
    for _, i, j in distances:
        if i not in result and j not in result.values():
            result[i] = j
    return result


def region_of(boxes: Sequence[RotatedBox], scale: float = 1.15) -> RotatedBox:
    """The upright square around the hands in crops of the landmark network, ``scale`` times as large as needed."""
    corners = np.concatenate([RotatedBox(box.center, box.size * _HAND, box.angle).corners() for box in boxes])
    low, high = corners.min(axis=0), corners.max(axis=0)
    center = (low + high) / 2
    return RotatedBox((float(center[0]), float(center[1])), scale * float((high - low).max()))


def around(box: RotatedBox) -> RotatedBox:
    """The region around the hand in a crop of the landmark network in which the other hand is searched."""
    return RotatedBox(box.center, _AROUND * _HAND * box.size)
