"""The two-hand refinement at run time: when it runs, within what time, and how its corrections decay in a video."""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Hashable

import numpy as np

from ..config import ReconstructorConfig
from ..geometry.hand_kinematics import TRANSLATION, Pose, forward
from ..hand_model import HandModel
from ..hand_model.hand_pair import HandPair
from ..runtime.bundled_networks import bundled_network
from ..runtime.devices import resolved_device
from ..runtime.sessions import cache_folder
from ..types import Side
from .denoiser import Denoiser
from .guidance import DENOISING_STEPS, confidence_of, denoise
from .pair_chain import PER_HAND, difference, moved
from .plausibility import consistency, one_person
from .prior_hand import PriorHand
from .separation import Separation
from .uncertainty import PairUncertainty, PoseGaussian

_TIME_CONSTANT = 0.15
"""Seconds, of the low-pass on what the prior proposes in a stream, and of the decay of a separation that is no longer
needed."""
_INTERVAL = 0.05
"""Seconds between two evaluations of the prior in a stream: every second image at 30 Hz."""
POSTPONED = 0.15
"""Seconds after a run of the prior, or of the encoder, for which the next one is postponed while images wait."""
_MAX_AGE = 0.5
"""Corrections older than this, seconds, are forgotten."""
_NEGLIGIBLE = np.array([0.002] * 3 + [0.0002] * 3 + [0.002] * 45)
"""Corrections below this (rad, m, rad) count as none."""
_NO_CORRECTION = np.zeros((2, PER_HAND))
_FULL_OVERLAP = 0.2
"""Overlap of the hands' boxes in the image from which on the prior counts in full; below, in proportion, so that in a
video its corrections come and go gradually."""
_ACROSS = 0.2
"""Part of a wrist's move across its viewing ray that is taken from the prior: the image shows this position, too. On
pairs of ``val`` MRRPE is 1 mm larger than with 0.5, but in photographs hands that touch stay where the
image has them."""
_LARGEST_GAP = 3.0
"""Standard deviations of the distance between the hands, from which on a gap between them is not closed."""
_REACH = 0.1
"""Default of ``reach``: about twice the error of the distance between one hand and the other behind it."""


@dataclasses.dataclass(frozen=True, eq=False)
class UnrefinedPair:
    """A pair for which the prior is evaluated after its image, for the next one.

    Attributes:
        pair: as estimated.
        uncertainty: of the estimate.
        since: stamp of the last update of the proposal, or of the first image, seconds.
    """

    pair: HandPair
    uncertainty: PairUncertainty
    since: float


@dataclasses.dataclass(frozen=True, eq=False)
class RefinementMemory:
    """How the refinement changed the last image of a stream.

    Attributes:
        proposal: of the prior (2, PER_HAND), as :func:`pair_chain.difference`: rad, m, rad.
        separation: what separated the hands after that (2, PER_HAND).
        stddev_scale: factor on each wrist's standard deviation along its ray (2,).
        stamp: of the image, seconds.
        updated: stamp of the image in which the proposal was last updated, seconds; None after the first image.
        hands: which hands these were.
        due: the pair of the image, where the prior is still to be evaluated for it.
    """

    proposal: np.ndarray
    separation: np.ndarray
    stddev_scale: np.ndarray
    stamp: float
    updated: float | None
    hands: Hashable = None
    due: UnrefinedPair | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class RefinementResult:
    """A refined pair.

    Attributes:
        pair: the pair that was given itself where nothing was changed.
        position_stddev: of each wrist along its ray (2,), metres. Contact couples the hands, so that it is less than
            before where they were separated.
        memory: for the next image of the stream; None where there is nothing to remember.
    """

    pair: HandPair
    position_stddev: np.ndarray
    memory: RefinementMemory | None = None


def load_refiner(config: ReconstructorConfig, hand_model: HandModel) -> Refiner:
    """The refiner with the prior that the settings name.

    Raises ConfigError where ``refiner`` is neither a name nor a file, SessionError where the file is no prior, and
    DeviceError for a device that cannot be used.
    """
    if config.refiner == "none":
        return Refiner(hand_model)
    path, device = bundled_network("refiner", config.refiner), resolved_device(config.device)
    return Refiner(hand_model, Denoiser(path, device=device, cache=cache_folder(config.model_cache)))


class Refiner:
    """Refines pairs of hands that overlap; holds the hand model and the prior, nothing of any image."""

    def __init__(
        self,
        hand_model: HandModel,
        denoiser: Denoiser | None = None,
        denoising_steps: int = DENOISING_STEPS,
        guided: bool = True,
        reach: float = _REACH,
    ) -> None:
        """A refiner for one hand model.

        Args:
            hand_model: of both hands.
            denoiser: a learned prior of two hands; without one, hands are separated and no more.
            denoising_steps: of the prior.
            guided: whether the prior's x0 is guided at each step; else hands are only separated at the end.
            reach: how far from touching, metres along the ray, the gap between hands that overlap in the image is still
                closed a little; in full from half of it on.
        """
        self._separation, self._prior_hand = Separation(hand_model), PriorHand.of(hand_model)
        self._denoiser, self._denoising_steps, self._guided, self._reach = denoiser, denoising_steps, guided, reach

    def warm_up(self, pair: HandPair, uncertainty: PairUncertainty) -> None:
        """Run every part once on a pair, penetrating or not."""
        self(pair, dataclasses.replace(uncertainty, overlap=1.0), 1)
        chain = self._separation.chain
        self._separation(PoseGaussian.around(chain.template, chain.pose(pair), uncertainty), uncertainty, 4)

    def __call__(
        self,
        pair: HandPair,
        uncertainty: PairUncertainty,
        steps: int,
        budget: float = math.inf,
        stamp: float | None = None,
        hands: Hashable = None,
        memory: RefinementMemory | None = None,
        encoded: bool = False,
    ) -> RefinementResult:
        """The plausible pair near an estimate.

        The prior, where there is one, is evaluated for one person's hands that overlap in the image. Hands that
        penetrate each other by no more than about a millimetre are not separated. In a stream the prior is evaluated
        every 0.05 s, its proposal passes a low-pass and is kept in between; where the next image comes soon, the
        evaluation is left for :meth:`finished`. Then a gap between the hands is closed, in every image but the first of
        a stream. The last separation is where the next one starts, and decays where none is needed any more.

        Args:
            pair: as estimated. A pair that no hands can have comes back as it is, with a warning.
            uncertainty: of the estimate.
            steps: of Gauss-Newton at most.
            budget: seconds, after which the best pair so far is returned.
            stamp: of an image of a stream, seconds; None for a single image, which uses and leaves no memory.
            hands: which hands these are; corrections of other hands are forgotten.
            memory: of the image before.
            encoded: whether the encoder ran in this image. The prior is then evaluated in the next one, so that no
                image of a stream has both, unless the encoder runs in every image.
        """
        deadline = time.perf_counter() + budget
        if not (pair.plausible() and uncertainty.finite):
            warnings.warn("hands that cannot be are not refined: numbers are not finite or out of range", stacklevel=2)
            return RefinementResult(pair, uncertainty.position_stddev)
        last = None if stamp is None else _recalled(memory, stamp, hands)
        with_prior = self._denoiser is not None and uncertainty.overlap > 0.0
        # The prior was trained on pairs of one person's hands: a hand of another person it would move by metres.
        with_prior = with_prior and one_person(pair.wrists, uncertainty.position_stddev)
        unchanged = last is None and not with_prior
        if unchanged and not self._separation.may_penetrate(pair):
            return RefinementResult(pair, uncertainty.position_stddev)
        chain = self._separation.chain
        estimate = chain.pose(pair)
        proposal, separation, scale, updated, due = _NO_CORRECTION, _NO_CORRECTION, np.ones(2), None, None
        if stamp is None and with_prior:
            proposal = self._proposal(pair, estimate, uncertainty, deadline)
        elif stamp is not None and last is not None:
            # In a stream the proposal comes gradually, and of nothing in the first image.
            decay = _decay(stamp - last.stamp)
            separation, scale = decay * last.separation, 1.0 + decay * (last.stddev_scale - 1.0)
            proposal, updated = last.proposal, last.updated
            since = last.stamp if updated is None else updated
            if not with_prior:
                proposal, updated = _decay(stamp - since) * last.proposal, stamp
            elif _due(last, stamp, encoded):
                due = UnrefinedPair(pair, uncertainty, since)
                if stamp - last.stamp >= _INTERVAL:
                    proposal, updated, due = self._smoothed(due, stamp, last.proposal, deadline), stamp, None
        proposed = self._corrected(estimate, proposal)
        if with_prior and (stamp is None or last is not None):
            proposed = self._without_gap(proposed, uncertainty)
        start = self._corrected(proposed, separation)
        before = pair if start is estimate else chain.pair(start, forward(chain.template, start))
        separated = None
        if unchanged or self._separation.may_penetrate(before):
            separated = self._separation(
                PoseGaussian.around(chain.template, start, uncertainty), uncertainty, steps, deadline
            )
        pose, result, scale = (start, before, scale) if separated is None else separated
        memory = None
        if stamp is not None:
            separation = difference(pose, proposed)
            if with_prior or _noticeable(proposal) or _noticeable(separation):
                memory = RefinementMemory(proposal, separation, scale, stamp, updated, hands, due)
        return RefinementResult(result, scale * uncertainty.position_stddev, memory)

    def finished(self, memory: RefinementMemory, budget: float = math.inf, hurried: bool = False) -> RefinementMemory:
        """The memory after the evaluation of the prior that was left for after the image, within ``budget`` seconds.

        ``hurried``: an image waits, so the evaluation is left to a later one where the last was less than 0.15 s ago.
        """
        due = memory.due
        if due is None:
            return memory
        memory = dataclasses.replace(memory, due=None)
        if hurried and memory.updated is not None and memory.stamp - memory.updated < POSTPONED - 1e-6:
            return memory
        deadline = time.perf_counter() + budget
        proposal = self._smoothed(due, memory.stamp, memory.proposal, deadline)
        return dataclasses.replace(memory, proposal=proposal, updated=memory.stamp)

    def _smoothed(self, due: UnrefinedPair, stamp: float, before: np.ndarray, deadline: float) -> np.ndarray:
        """The proposal for a pair after the low-pass (2, PER_HAND); ``before``: the one until now."""
        new = self._proposal(due.pair, self._separation.chain.pose(due.pair), due.uncertainty, deadline)
        return new + _decay(stamp - due.since) * (before - new)

    def _proposal(self, pair: HandPair, estimate: Pose, uncertainty: PairUncertainty, deadline: float) -> np.ndarray:
        """How the prior corrects the estimate (2, PER_HAND), in proportion to the hands' overlap in the image, and as
        far as its vector between the wrists is consistent with the estimate; across their rays wrists move by a fifth
        of that, and betas stay."""
        separation, template = self._separation, self._separation.chain.template
        gaussian = PoseGaussian.around(template, estimate, uncertainty)

        def pose_of(x0: HandPair) -> Pose:
            return self._within_limits(dataclasses.replace(separation.chain.pose(x0), betas=estimate.betas), estimate)

        def guide(x0: HandPair) -> HandPair:
            if not self._guided:
                return x0
            pose = separation.guided_step(PoseGaussian(pose_of(x0), gaussian.information))
            return separation.chain.pair(pose, forward(template, pose))

        clean = self._denoised(pair, confidence_of(gaussian), guide, deadline)
        weight = _share(uncertainty)
        vector = clean.wrists[Side.RIGHT] - clean.wrists[Side.LEFT]
        weight *= consistency(pair.wrists, uncertainty.position_stddev, vector)
        if weight == 0.0:
            return _NO_CORRECTION
        correction = difference(pose_of(clean), estimate)
        move, rays = correction[:, TRANSLATION], estimate.wrist / np.linalg.norm(estimate.wrist, axis=1, keepdims=True)
        along = np.sum(move * rays, axis=1, keepdims=True) * rays
        correction[:, TRANSLATION] = along + _ACROSS * (move - along)
        return difference(moved(estimate, weight * correction), estimate)

    def _without_gap(self, pose: Pose, uncertainty: PairUncertainty) -> Pose:
        """The pose with the gap closed as far as ``reach``, or less where the hands hardly overlap in the image or
        where their distance is known better."""
        known = _LARGEST_GAP * float(np.linalg.norm(uncertainty.position_stddev))
        reach = _share(uncertainty) * min(self._reach, known)
        return self._separation.close_gap(pose, uncertainty, reach) if reach > 0.0 else pose

    def _denoised(
        self, pair: HandPair, confidence: np.ndarray, guide: Callable[[HandPair], HandPair], deadline: float
    ) -> HandPair:
        """What the prior proposes, as a pair of the hand model; the prior itself knows the embedded hand only."""
        assert self._denoiser is not None
        hand, betas = self._prior_hand, pair.betas
        if hand is None:
            return denoise(self._denoiser, pair, confidence, guide, deadline, self._denoising_steps)

        def guided(x0: HandPair) -> HandPair:
            return hand.from_model(guide(hand.to_model(x0, betas)))

        clean = denoise(self._denoiser, hand.from_model(pair), confidence, guided, deadline, self._denoising_steps)
        return hand.to_model(clean, betas)

    def _within_limits(self, pose: Pose, before: Pose) -> Pose:
        """The pose with its angles inside the joints' limits, or where those of ``before`` are."""
        limits = self._separation.chain.template.limits
        low, high = np.minimum(limits[..., 0], before.angles), np.maximum(limits[..., 1], before.angles)
        return dataclasses.replace(pose, angles=np.clip(pose.angles, low, high))

    def _corrected(self, pose: Pose, correction: np.ndarray) -> Pose:
        """The pose after a correction, inside the joints' limits; the pose itself where that is negligible."""
        return self._within_limits(moved(pose, correction), pose) if _noticeable(correction) else pose


def _recalled(memory: RefinementMemory | None, stamp: float, hands: Hashable) -> RefinementMemory | None:
    """The memory as far as it is of the same hands and not of later; of long ago, no corrections but the stamp."""
    if memory is None or memory.hands != hands or stamp < memory.stamp:
        return None
    if stamp - memory.stamp >= _MAX_AGE:
        return RefinementMemory(_NO_CORRECTION, _NO_CORRECTION, np.ones(2), memory.stamp, None, hands)
    return memory


def _due(last: RefinementMemory, stamp: float, encoded: bool) -> bool:
    """Whether the prior is evaluated in an image of a stream, in which the encoder ran or not."""
    if last.updated is None:
        return True
    age, step = stamp - last.updated + 1e-6, stamp - last.stamp
    return age >= _INTERVAL and (not encoded or step >= _INTERVAL or age >= 2.0 * _INTERVAL)


def _share(uncertainty: PairUncertainty) -> float:
    """How much corrections of the pair count, 0..1, by the hands' overlap in the image."""
    return min(uncertainty.overlap / _FULL_OVERLAP, 1.0)


def _decay(seconds: float) -> float:
    """What is left of a correction after a time."""
    return math.exp(-seconds / _TIME_CONSTANT)


def _noticeable(correction: np.ndarray) -> bool:
    return bool((np.abs(correction) > _NEGLIGIBLE).any())
