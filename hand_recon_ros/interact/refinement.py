"""The two-hand refinement at run time: when it runs, within what time, and how its corrections live on in a video."""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections.abc import Hashable

import numpy as np

from ..config import ReconstructorConfig
from ..geometry.hand_kinematics import Pose, forward
from ..hand_model import HandModel
from ..runtime.bundled_networks import bundled_network
from ..skeleton import WRIST
from .denoiser import Denoiser
from .guidance import STEPS, confidence_of, denoised
from .pair import PER_HAND, HandPair, PairUncertainty, difference, moved
from .separation import ENOUGH, Separation
from .skinning import both_frames
from .uncertainty import PoseGaussian

_FADING = 0.15
"""Time constant, seconds, with which in a stream what a prior says comes and goes, and a way apart that is no longer
needed goes away."""
_LONGEST = 0.5
"""What is older than this, seconds, is forgotten."""
_SMALLEST = np.array([0.002] * 3 + [0.0002] * 3 + [0.002] * 45)
"""Changes below this (rad, m, rad) have gone away."""
_NOTHING = np.zeros((2, PER_HAND))
_MEETING = 0.2
"""Overlap of the hands' boxes in the image from which on a prior is believed; below, in proportion, so that in a video
its word comes and goes gradually."""
_REACH = 0.1
"""Default of ``reach``: how far one hand is in front of the other is known to about half of it."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Memory:
    """What was done to hands in the last frame (2, PER_HAND): what a prior proposed, and what took them apart."""

    proposal: np.ndarray
    apart: np.ndarray
    stamp: float
    hands: Hashable


def load_refiner(config: ReconstructorConfig, hand_model: HandModel) -> Refiner:
    """The refiner with the prior that the settings name.

    Raises ConfigError where ``refiner`` is neither a name nor a file, and SessionError where the file is no prior.
    """
    named = config.refiner != "none"
    return Refiner(hand_model, Denoiser(bundled_network("refiner", config.refiner)) if named else None)


class Refiner:
    """Refines pairs of hands that meet; remembers, of a stream, what it last changed of them."""

    def __init__(
        self,
        hand_model: HandModel,
        denoiser: Denoiser | None = None,
        denoising_steps: int = STEPS,
        guided: bool = True,
        reach: float = _REACH,
    ) -> None:
        """A refiner that remembers nothing yet.

        Args:
            hand_model: of both hands.
            denoiser: a learned prior of two hands; without one hands are taken apart and no more.
            denoising_steps: in which the prior is asked.
            guided: whether what it says is moved on the way; else hands are only taken apart at the end.
            reach: how far from touching, metres along the ray, hands that meet in the image are still drawn together a
                little; in full from half of it on.
        """
        self._separation = Separation(hand_model)
        self._denoiser, self._denoising_steps, self._guided, self._reach = denoiser, denoising_steps, guided, reach
        self._warned = False
        self.reset()

    def reset(self) -> None:
        """Forget the last frame."""
        self._last: _Memory | None = None

    def warm_up(self, pair: HandPair, uncertainty: PairUncertainty) -> None:
        """Use every part once on a pair, penetrating or not; nothing is remembered."""
        self(pair, dataclasses.replace(uncertainty, overlap=1.0), 1)
        chain = self._separation.chain
        self._separation(PoseGaussian.about(chain.template, chain.pose(pair), uncertainty), uncertainty, 4)

    def __call__(
        self,
        pair: HandPair,
        uncertainty: PairUncertainty,
        steps: int,
        budget: float = math.inf,
        stamp: float | None = None,
        hands: Hashable = None,
    ) -> HandPair:
        """The pair as two hands can be; ``pair`` itself where nothing is to be repaired.

        A prior, where there is one, is asked about hands that meet in the image. Hands that do not run into each other
        by more than about a millimetre are not taken apart. In a stream what the prior says comes and goes gradually,
        and the last way apart is where the next one starts and fades where none is needed any more.

        Args:
            pair: as estimated. Numbers that no hands can have come back as they are, with one warning.
            uncertainty: what is certain of it.
            steps: of Gauss-Newton at most.
            budget: seconds; then the best so far is what there is.
            stamp: of a frame of a stream, seconds; None for a picture by itself, which uses and leaves no memory.
            hands: which hands these are; what was done to others is forgotten.
        """
        deadline = time.perf_counter() + budget
        if not _sane(pair, uncertainty):
            return self._untouched(pair)
        last = self._remembered(stamp, hands)
        asked = self._denoiser is not None and uncertainty.overlap > 0.0
        unprepared = last is None and not asked
        if unprepared and not self._penetrating(pair):
            return pair
        chain = self._separation.chain
        estimate = chain.pose(pair)
        proposal, apart = self._proposal(pair, estimate, uncertainty, deadline) if asked else _NOTHING, _NOTHING
        if stamp is not None:
            gone = 1.0 if last is None else math.exp(-(stamp - last.stamp) / _FADING)
            proposal = proposal + gone * ((_NOTHING if last is None else last.proposal) - proposal)
            apart = apart if last is None else gone * last.apart
        proposed = self._moved(estimate, proposal)
        start = self._moved(proposed, apart)
        before = pair if start is estimate else chain.pair(start, forward(chain.template, start))
        found = None
        if unprepared or self._penetrating(before):
            found = self._separation(
                PoseGaussian.about(chain.template, start, uncertainty), uncertainty, steps, deadline
            )
        pose, result = (start, before) if found is None else found
        if stamp is not None:
            apart = difference(pose, proposed)
            kept = asked or _noticeable(proposal) or _noticeable(apart)
            self._last = _Memory(proposal, apart, stamp, hands) if kept else None
        return result

    def _proposal(self, pair: HandPair, estimate: Pose, uncertainty: PairUncertainty, deadline: float) -> np.ndarray:
        """What the prior changes of the estimate (2, PER_HAND), as far as the hands meet in the image; betas stay."""
        assert self._denoiser is not None
        separation, template = self._separation, self._separation.chain.template
        belief = PoseGaussian.about(template, estimate, uncertainty)

        def posed(said: HandPair) -> Pose:
            return self._within_limits(dataclasses.replace(separation.chain.pose(said), betas=estimate.betas), estimate)

        def guide(said: HandPair) -> HandPair:
            if not self._guided:
                return said
            pose = separation.nudged(PoseGaussian(posed(said), belief.information))
            return separation.chain.pair(pose, forward(template, pose))

        clean = denoised(self._denoiser, pair, confidence_of(belief), guide, deadline, self._denoising_steps)
        said = posed(clean)
        meeting = min(uncertainty.overlap / _MEETING, 1.0)
        proposed = moved(estimate, meeting * difference(said, estimate))
        if self._reach == 0.0:
            return difference(proposed, estimate)
        return difference(separation.drawn(proposed, uncertainty, meeting * self._reach), estimate)

    def _within_limits(self, pose: Pose, before: Pose) -> Pose:
        """The pose with its angles inside the joints' limits, or where those of ``before`` are."""
        limits = self._separation.chain.template.limits
        low, high = np.minimum(limits[..., 0], before.angles), np.maximum(limits[..., 1], before.angles)
        return dataclasses.replace(pose, angles=np.clip(pose.angles, low, high))

    def _moved(self, pose: Pose, step: np.ndarray) -> Pose:
        """The pose moved by a step inside the joints' limits; the pose itself where that is nothing noticeable."""
        return self._within_limits(moved(pose, step), pose) if _noticeable(step) else pose

    def _remembered(self, stamp: float | None, hands: Hashable) -> _Memory | None:
        """The last frame of a stream, None where there is none of the same hands; of long ago is its stamp alone."""
        last = self._last
        if stamp is None or last is None:
            return None
        if last.hands != hands or stamp < last.stamp:
            self._last = last = None
        elif stamp - last.stamp >= _LONGEST:
            last = _Memory(_NOTHING, _NOTHING, last.stamp, hands)
        return last

    def _penetrating(self, pair: HandPair) -> bool:
        """Whether the hands' proxies overlap by more than ENOUGH: then it is worth to look closer."""
        flesh = self._separation.flesh
        rest = both_frames(flesh.joints(pair.betas)[:, WRIST, None])[:, 0]
        return flesh.proxies.gap(pair.rotations, pair.betas, pair.wrists - rest, 0.0) < -ENOUGH

    def _untouched(self, pair: HandPair) -> HandPair:
        self._last = None
        if not self._warned:
            self._warned = True
            warnings.warn("hands that cannot be are not refined: numbers are not finite or out of range", stacklevel=3)
        return pair


def _noticeable(step: np.ndarray) -> bool:
    return bool((np.abs(step) > _SMALLEST).any())


def _sane(pair: HandPair, uncertainty: PairUncertainty) -> bool:
    numbers = (uncertainty.precision, uncertainty.position_stddev, uncertainty.scores)
    return pair.plausible() and all(np.isfinite(array).all() for array in numbers)
