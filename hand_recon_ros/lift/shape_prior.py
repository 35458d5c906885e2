"""What a stream of images teaches about the shape of one hand: a Gaussian over its betas that forgets."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..geometry.hand_kinematics import NUM_BETAS
from .lifted_hand import LiftedHand

_MEMORY = 3.0
"""Time constant, seconds, with which what was learnt of a hand's shape is forgotten."""
_LEARNING_RATE = 1.0
"""How often a second of evidence counts, in images: neighbouring images repeat each other's errors."""
_PRECISION = 2.0
"""Precision of the population's betas, in units of 1 / variance. The landmarks of one image have errors in common,
above all fingers that are too short, so that as evidence of a shape they count half."""


@dataclasses.dataclass(frozen=True, eq=False)
class ShapePrior:
    """Gaussian over a hand's betas: mean (10,) and information, the inverse covariance (10, 10)."""

    mean: np.ndarray
    information: np.ndarray

    @classmethod
    def population(cls) -> ShapePrior:
        """The prior of any human hand: betas are in units of the population's standard deviation."""
        return cls(np.zeros(NUM_BETAS), _PRECISION * np.eye(NUM_BETAS))

    def updated(self, hand: LiftedHand, seconds: float, score: float = 1.0) -> ShapePrior:
        """The prior for the next image, after ``hand`` was solved with this one.

        Only the evidence of the image is added: the prior that went into the solution is subtracted from it. What was
        learnt before decays towards the population with a time constant of 3 s, so that the information stays finite
        and another person's hand is learnt within seconds. Both are integrals over time, the same at any frame rate.

        Args:
            hand: the solution.
            seconds: since the last update.
            score: weight of the evidence, 0..1.
        """
        if not hand.finite:
            return self
        population = ShapePrior.population()
        forgotten = -math.expm1(-max(seconds, 0.0) / _MEMORY)
        gain = score * _LEARNING_RATE * _MEMORY * forgotten
        decay = 1.0 - forgotten
        posterior = np.linalg.inv(hand.betas_covariance)
        information = population.information + decay * (self.information - population.information)
        information = information + gain * (posterior - self.information)
        # In information form the evidence is a difference, and the population's mean of 0 adds nothing.
        before = self.information @ self.mean
        return ShapePrior(
            np.linalg.solve(information, decay * before + gain * (posterior @ hand.betas - before)), information
        )
