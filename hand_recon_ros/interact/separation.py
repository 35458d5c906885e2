"""Separation of two estimated hands that penetrate each other, and the same steps for guidance and for closing gaps."""

from __future__ import annotations

import dataclasses
import time
from typing import NamedTuple

import numpy as np

from ..geometry.hand_kinematics import Pose
from ..geometry.mesh_queries import TOUCHING
from ..hand_model import HandModel
from ..hand_model.hand_pair import HandPair
from .collision_geometry import CollisionGeometry
from .contacts import CAPSULE_ERROR
from .pair_chain import PairChain
from .separation_problem import CONTACT_MARGIN, SeparationProblem
from .uncertainty import PairUncertainty, PoseGaussian

MAX_DEPTH = 0.001
"""Skin that is no deeper than this, metres, is left where it is."""
_EXACT_STEPS = 3
"""Steps at the end that use the meshes."""
_CERTAIN_DEPTH = 0.0025
"""Depth by capsules, metres, from which on the meshes certainly penetrate each other."""
_INTERLOCKED_DEPTH = 0.006
"""Depth, metres, from which on steps from within do not separate the hands: they move along the ray first."""
_REMAINING_DEPTH = 0.002
"""Depth, metres, that half of the steps should not leave: else the hands move along the ray as well."""
_RAY_OVERLAP = 0.004
"""Overlap, metres, that hands moved along the ray may have; the steps remove it."""


class Separated(NamedTuple):
    """Separated hands: their pose, the pair of it, and the factor on each wrist's standard deviation (2,)."""

    pose: Pose
    pair: HandPair
    stddev_scale: np.ndarray


class Separation:
    """Separates pairs of hands of a hand model; holds nothing of any image."""

    def __init__(self, hand_model: HandModel) -> None:
        self.chain, self._geometry = PairChain(hand_model), CollisionGeometry(hand_model)

    def __call__(
        self, gaussian: PoseGaussian, uncertainty: PairUncertainty, steps: int, deadline: float = float("inf")
    ) -> Separated | None:
        """The separated hands; None where nothing is deeper than MAX_DEPTH at the start.

        Args:
            gaussian: around the estimate, where the steps begin.
            uncertainty: of the estimate.
            steps: at most so many.
            deadline: time of ``time.perf_counter`` at which the best pose so far is returned.
        """
        start = gaussian.mean
        problem = self._problem(start)
        # The capsules alone suffice where their depth is far above their error.
        evaluated = problem.evaluate(start)
        if evaluated.depth <= _CERTAIN_DEPTH:
            evaluated = problem.evaluate(start, exact=True)
        if evaluated.depth <= MAX_DEPTH:
            return None
        first = best = evaluated
        offset = evaluated.depth > _INTERLOCKED_DEPTH
        if offset:
            evaluated = problem.evaluate(_shifted(start, problem.ray_offset(evaluated, uncertainty, _RAY_OVERLAP)))
        for left in range(steps, 0, -1):
            began = time.perf_counter()
            # Capsules first; the last steps and the end use the meshes.
            exact = evaluated.exact or evaluated.depth <= MAX_DEPTH or left <= _EXACT_STEPS
            evaluated = problem.evaluate(problem.step(evaluated, gaussian), exact)
            # Depth by the meshes counts; where time does not reach so far, depth by the capsules.
            if evaluated.depth < first.depth and (evaluated.exact, -evaluated.depth) > (best.exact, -best.depth):
                best = evaluated
            if evaluated.exact and evaluated.depth <= MAX_DEPTH or 2.0 * time.perf_counter() - began > deadline:
                break
            if not offset and 2 * left <= steps + 1 and evaluated.depth > _REMAINING_DEPTH:
                offset, evaluated = True, problem.evaluate(start)
                shift = problem.ray_offset(evaluated, uncertainty, _RAY_OVERLAP)
                evaluated = problem.evaluate(_shifted(start, shift))
        return Separated(best.pose, problem.pair(best), problem.stddev_scale(best, gaussian))

    def may_penetrate(self, pair: HandPair) -> bool:
        """Whether the hands' capsules are so near each other that the meshes may penetrate."""
        return self._geometry.proxies.gap(pair, CAPSULE_ERROR) < CAPSULE_ERROR

    def guided_step(self, gaussian: PoseGaussian) -> Pose:
        """The pose one step from the mean of a Gaussian, by capsules alone."""
        problem = self._problem(gaussian.mean)
        return problem.step(problem.evaluate(gaussian.mean), gaussian)

    def close_gap(self, pose: Pose, uncertainty: PairUncertainty, reach: float) -> Pose:
        """The pose with hands that float in front of each other moved along the ray until they touch.

        In full where the gap is less than half of ``reach``, metres; from there on less, and from ``reach`` on not at
        all. Hands that touch already stay where they are.
        """
        problem = self._problem(pose)
        evaluated = problem.evaluate(pose)
        if evaluated.contacts.depth.max(initial=-CONTACT_MARGIN) > -TOUCHING:
            return pose
        offset = problem.ray_offset(evaluated, uncertainty, 0.0)
        gap = float(np.linalg.norm(offset, axis=1).sum())
        return _shifted(pose, float(np.clip(2.0 - 2.0 * gap / reach, 0.0, 1.0)) * offset)

    def _problem(self, estimate: Pose) -> SeparationProblem:
        return SeparationProblem(self.chain, self._geometry, estimate)


def _shifted(pose: Pose, offset: np.ndarray) -> Pose:
    """The pose with its wrists moved by ``offset`` (2, 3)."""
    return dataclasses.replace(pose, wrist=pose.wrist + offset)
