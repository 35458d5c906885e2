"""Left or right: evidence gathered over time, and the assignment of hands to the two slots."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from ..types import Side

PLAUSIBLE = 0.1
"""Lowest probability of a side at which a hand may take that side's slot. A certain network outputs 0.97: such a right
hand does not take the left slot because the right one is taken. It is another person's, or an error, and is dropped."""

_MEMORY = 0.32
"""Time constant (s) with which evidence of handedness fades."""
_WEIGHT = 5.0
"""Log odds of one image that the evidence tends to when all images agree."""
_LIMIT = 4.0
_STAY = 1.0
_SIZE_WEIGHT = 0.5


def log_odds(probability: float) -> float:
    """log(p / (1 - p)), limited to +-4, the most that one image counts for."""
    limit = 1 / (1 + math.exp(-_LIMIT))
    probability = min(max(probability, 1 - limit), limit)
    return math.log(probability / (1 - probability))


def updated(evidence: float, right: float, seconds: float) -> float:
    """Evidence of a right hand (log odds) after one more image, ``seconds`` after the one before.

    ``right`` is the network's probability of a right hand. Consecutive images are correlated, so each counts for a part
    of its log odds; earlier ones fade with a time constant, so that a wrong start is overcome. The total stays within
    +-20.
    """
    kept = math.exp(-seconds / _MEMORY)
    return kept * evidence + min(_WEIGHT * (1.0 - kept), 1.0) * log_odds(right)


def probability(evidence: float, side: Side) -> float:
    """Probability of a side given the log odds of right against left."""
    signed = evidence if side == Side.RIGHT else -evidence
    return 1 / (1 + math.exp(-min(max(signed, -60.0), 60.0)))


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A hand to be assigned to a slot.

    Attributes:
        evidence: log odds of right against left.
        size: extent in the image, pixels.
        presence: probability that it is a hand.
        slot: the slot it holds already.
    """

    evidence: float
    size: float
    presence: float = 1.0
    slot: Side | None = None


def assign(candidates: Sequence[Candidate]) -> tuple[int | None, int | None]:
    """Indices of the candidates for the left and the right slot, or None where a slot stays empty.

    Every pair is weighed jointly by log probabilities, so that of two hands classified as left the less certain one
    becomes the right one, if that is plausible at all (``PLAUSIBLE``), and is dropped otherwise. Of several people's
    hands the larger (nearer) ones win. A hand in a slot stays there unless exchanging is clearly better (by a factor e
    per hand). Never the same candidate twice; at most one hand per side by construction.
    """
    if not candidates:
        return None, None
    largest = max(max(candidate.size for candidate in candidates), 1e-6)
    values = np.array([[slot_value(candidate, side, largest) for side in Side] for candidate in candidates])
    choices: list[int | None] = [None, *range(len(candidates))]
    best: tuple[int | None, int | None] = (None, None)
    best_value = 0.0
    for left, right in itertools.product(choices, choices):
        if left is not None and left == right:
            continue
        value = 0.0 if left is None else values[left, Side.LEFT]
        value += 0.0 if right is None else values[right, Side.RIGHT]
        if value > best_value:
            best, best_value = (left, right), value
    return best


def slot_value(candidate: Candidate, side: Side, largest: float) -> float:
    """Value of a candidate in a slot, whose sum :func:`assign` maximises; an empty slot has 0.

    ``largest`` is the size of the largest candidate, pixels.
    """
    stay = _STAY if candidate.slot == side else 0.0
    likely = math.log(max(probability(candidate.evidence, side), 1e-30)) - math.log(PLAUSIBLE)
    if likely + stay <= 0:
        return -math.inf
    # Size and presence choose among plausible hands and must not push one out of an empty slot.
    preference = _SIZE_WEIGHT * math.log(max(candidate.size, 1e-6) / largest) + math.log(max(candidate.presence, 1e-6))
    return max(likely + stay + preference, 1e-6)
