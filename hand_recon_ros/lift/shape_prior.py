"""What a stream of images teaches about the shape of one hand: a Gaussian over its betas that forgets."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..geometry.hand_kinematics import NUM_BETAS
from ..hand_model.kinematics import Kinematics, template_of
from .lifted_hand import LiftedHand

_MEMORY = 3.0
"""Time constant, seconds, with which what was learnt of a hand's shape is forgotten."""
LEARNING_RATE = 1.0
"""How often a second of evidence counts, in images: neighbouring images repeat each other's errors."""
_PRECISION = 2.0
"""Precision of the population's betas, in units of 1 / variance. The landmarks of one image have errors in common, so
that as evidence of a shape they count half."""
_LENGTH_STEPS = 3
"""Gauss-Newton steps: the length is nearly linear in the betas."""


_MIDDLE = slice(8, 12)
"""Bones from the wrist to the tip of the middle finger."""


@dataclasses.dataclass(frozen=True, eq=False)
class ShapePrior:
    """Gaussian over a hand's betas.

    Attributes:
        mean, information: (10,) and the inverse covariance (10, 10).
        known: what it forgets towards where the hand's size is known; None: the population.
        length: of the hand, metres, where that is known; else 0.
    """

    mean: np.ndarray
    information: np.ndarray
    known: ShapePrior | None = None
    length: float = 0.0

    @classmethod
    def population(cls) -> ShapePrior:
        """The prior of any human hand: betas are in units of the population's standard deviation."""
        return cls(np.zeros(NUM_BETAS), _PRECISION * np.eye(NUM_BETAS))

    @classmethod
    def of_known(cls, mean: np.ndarray, covariance: np.ndarray, length: float) -> ShapePrior:
        """The prior of one person's hand: mean (10,) and covariance (10, 10) of its betas, and its length, metres."""
        known = cls(mean, np.linalg.inv(covariance), length=length)
        return dataclasses.replace(known, known=known)

    def with_length(self, kinematics: Kinematics, length: float) -> ShapePrior:
        """The prior of a hand of which a person has measured the length, metres, see :func:`hand_length`.

        It is as wide as before, around the right size: the shape takes up errors that the landmarks have in common. On
        clips of ``val`` a narrower one gives no smaller errors.
        """
        mean = self.mean
        for _ in range(_LENGTH_STEPS):
            expected, slope = _length_and_slope(kinematics, mean)
            along = np.linalg.solve(self.information, slope)
            mean = mean + along * ((length - expected) / (slope @ along))
        return ShapePrior.of_known(mean, np.linalg.inv(self.information), length)

    def evidence(self, hand: LiftedHand) -> tuple[np.ndarray, np.ndarray]:
        """What one image adds in information form, matrix (10, 10) and vector (10,): ``hand`` was solved with this
        prior, which is subtracted from the solution."""
        posterior = np.linalg.inv(hand.betas_covariance)
        return posterior - self.information, posterior @ hand.betas - self.information @ self.mean

    def updated(self, hand: LiftedHand, seconds: float, score: float = 1.0) -> ShapePrior:
        """The prior for the next image, after ``hand`` was solved with this one.

        Only the evidence of the image is added. What was learnt before decays with a time constant of 3 s towards the
        population, or the known shape, so that the information stays finite and another person's hand is learnt within
        seconds. Both are integrals over time, the same at any frame rate.

        Args:
            hand: the solution.
            seconds: since the last update.
            score: weight of the evidence, 0..1.
        """
        if not hand.finite:
            return self
        base = self.known or ShapePrior.population()
        forgotten = -math.expm1(-max(seconds, 0.0) / _MEMORY)
        gain = score * LEARNING_RATE * _MEMORY * forgotten
        decay = 1.0 - forgotten
        matrix, vector = self.evidence(hand)
        start = base.information @ base.mean
        information = base.information + decay * (self.information - base.information) + gain * matrix
        vector = start + decay * (self.information @ self.mean - start) + gain * vector
        return ShapePrior(np.linalg.solve(information, vector), information, self.known, self.length)


def hand_length(kinematics: Kinematics, betas: np.ndarray, covariance: np.ndarray | None = None) -> tuple[float, float]:
    """Length of a hand from the wrist to the tip of the middle finger, all straight, and its standard deviation, which
    is 0 without a covariance (10, 10) of the betas; metres."""
    length, slope = _length_and_slope(kinematics, betas)
    return length, 0.0 if covariance is None else float(np.sqrt(slope @ covariance @ slope))


def _length_and_slope(kinematics: Kinematics, betas: np.ndarray) -> tuple[float, np.ndarray]:
    """The hand's length, and its derivative (10,) by the betas."""
    template = template_of([kinematics])
    shapedirs = template.bone_shapedirs[0, _MIDDLE]
    bones = template.bones[0, _MIDDLE] + shapedirs @ betas
    lengths = np.linalg.norm(bones, axis=-1)
    return float(lengths.sum()), np.einsum("bi,bis->s", bones / lengths[:, None], shapedirs)
