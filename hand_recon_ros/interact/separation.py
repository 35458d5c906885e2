"""Taking two estimated hands apart where they run into each other: Gauss-Newton on both hands at once.

Minimised over orientations, wrists and joint angles x of both hands (betas stay):

    (x - m)^T H (x - m) / 2 + sum_k rho(max(depth_k(x), 0)) / 2

m and H are the belief about the estimate (:mod:`belief`), so hands part where least is known of them, mostly along the
ray, and the less certain hand moves more. depth_k are those of skin of either hand inside the other
(:mod:`contacts`), rho(d) = d^2 / (1 + d^2 / c^2) / s^2 is the loss of Geman & McClure (1987), as iteratively reweighted
squares. Of skin that is outside nothing is asked: hands that touched go on touching. Each step is a small quadratic
program with one-sided terms, whose active ones are found by turns, so that no step brings skin in that was still out.
"""

from __future__ import annotations

import dataclasses
import time
from typing import NamedTuple

import numpy as np

from ..geometry.compiled import compiled
from ..geometry.hand_kinematics import ANGLES, ROTATION, TRANSLATION, Pose, Posed, forward
from ..geometry.mesh_queries import TOUCHING
from ..hand_model import HandModel
from .contacts import Contacts, among_capsules, between_meshes
from .gram import weighted_gram
from .pair import MAX_STDDEV, MIN_STDDEV, PER_HAND, HandPair, PairChain, PairUncertainty, moved
from .ray_offsets import touching_ways
from .skinning import Flesh, both_frames, carried
from .uncertainty import PoseGaussian

ENOUGH = 0.001
"""Skin that is no deeper than this, metres, is left where it is."""
_SHARPNESS = 0.0005
_ROBUST = 0.02
"""s and c of the loss, metres."""
_NEAR = 0.008
_MAX_WRIST, _MAX_TURN, _MAX_BEND = 0.008, 0.1, 0.2
"""Trust region of one step, metres and radians, and how far outside skin is watched for it, metres."""
_ACTIVE_TURNS = 4
_EXACT_STEPS = 3
"""Steps at the end that are taken on the meshes."""
_DAMPING = 1e-3

_SURE = 0.0025
"""Depth among capsules, metres, from which on the meshes need not be asked whether there is something to repair."""
_LOCKED = 0.006
"""Depth, metres, from which on hands are locked in each other and have to pass."""
_STUCK = 0.002
"""Depth, metres, that is not to be left after half of the steps: then they have to pass as well."""
_PRESSED = 0.004
"""How far hands that have passed may still press into each other, metres; the steps do the rest."""


@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """Hands on their way.

    Attributes:
        pose, posed: parameters, and the chain posed by them.
        contacts: where the hands meet.
        depth: the deepest of them, metres, among capsules, or on the meshes where ``exact``.
        exact: whether it was looked for on the meshes too.
    """

    pose: Pose
    posed: Posed
    contacts: Contacts
    depth: float
    exact: bool


class Problem:
    """One estimated pair to be taken apart."""

    def __init__(self, chain: PairChain, flesh: Flesh, estimate: Pose) -> None:
        self._chain, self._flesh = chain, flesh
        self._keypoints, self._spheres, self._radii = flesh.capsules(estimate.betas)
        self._skin = flesh.skin(chain.pair(estimate, forward(chain.template, estimate)))
        low, high = chain.template.limits[..., 0], chain.template.limits[..., 1]
        # An estimate may bend further than it should: it is not bent back, for that is not what is to be repaired.
        self._low, self._high = np.minimum(low, estimate.angles), np.maximum(high, estimate.angles)

    def at(self, pose: Pose, exact: bool = False) -> State:
        """The state of the hands in a pose; ``exact`` looks at the meshes as well."""
        posed = forward(self._chain.template, pose)
        if exact:  # bending shapes the skin, which is left out from step to step
            self._skin = self._flesh.skin(self._chain.pair(pose, posed))
        skin = both_frames(carried(self._skin, self._keypoints, posed))
        contacts = among_capsules(
            skin, self._skin.share, self._posed_spheres(posed), self._spheres.share, self._flesh.pairs, _NEAR
        )
        if not exact:
            return State(pose, posed, contacts, contacts.deepest, False)
        on_meshes = between_meshes(skin, self._skin.share, self._flesh.faces, contacts)
        return State(pose, posed, contacts + on_meshes, on_meshes.deepest, True)

    def looked_at(self, pose: Pose) -> State:
        """The state in a pose, from capsules where these are sure that there is something to repair."""
        state = self.at(pose)
        return state if state.depth > _SURE else self.at(pose, exact=True)

    def _posed_spheres(self, posed: Posed) -> np.ndarray:
        spheres = np.empty((*self._radii.shape, 4))
        spheres[..., :3] = both_frames(carried(self._spheres, self._keypoints, posed))
        spheres[..., 3] = self._radii
        return spheres

    def pair(self, state: State) -> HandPair:
        """The hands of a state."""
        return self._chain.pair(state.pose, state.posed)

    def passed(self, state: State, uncertainty: PairUncertainty) -> Pose:
        """The likeliest pose in which hands that are locked in each other have passed along the ray."""
        return _shifted(state.pose, self.touching(state, uncertainty, _PRESSED))

    def touching(self, state: State, uncertainty: PairUncertainty, press: float) -> np.ndarray:
        """The shortest way (2, 3) of the wrists along the ray to where the hands touch and press into each other by
        ``press``, metres; zeros where there is none. Each hand has its part of it by its variance."""
        ray = state.pose.wrist / np.linalg.norm(state.pose.wrist, axis=1, keepdims=True)
        variance = np.clip(uncertainty.position_stddev, MIN_STDDEV, MAX_STDDEV) ** 2
        way = (variance / variance.sum())[:, None] * ray * np.array([[1.0], [-1.0]])
        apart = both_frames(way[:, None])[:, 0]
        apart = apart[0] - apart[1]
        ways = touching_ways(self._posed_spheres(state.posed), self._flesh.pairs, apart, press)
        return way * (ways[np.abs(ways).argmin()] if len(ways) else 0.0)

    def stepped(self, state: State, belief: PoseGaussian) -> Pose:
        """The pose one Gauss-Newton step further, its angles inside their limits."""
        contacts, rows = state.contacts, _depth_jacobian(state)
        normal, gradient = belief.information.copy(), belief.gradient(state.pose)
        normal[np.diag_indices(len(normal))] *= 1.0 + _DAMPING
        active = _pressing(contacts.depth)
        for _ in range(_ACTIVE_TURNS):
            depth, pressing = contacts.depth[active], rows[active]
            weights = _weights(depth)
            coupled = normal + weighted_gram(pressing, weights)
            step = -np.linalg.solve(coupled, gradient + pressing.T @ (weights * depth))
            before, active = active, _pressing(contacts.depth + rows @ step)
            if (before == active).all():
                break
        pose = moved(state.pose, _trusted(step.reshape(2, PER_HAND)))
        return dataclasses.replace(pose, angles=np.clip(pose.angles, self._low, self._high))

    def stddev_scale(self, state: State, belief: PoseGaussian) -> np.ndarray:
        """How much narrower contact makes the Gaussian along each wrist's ray (2,), 0..1.

        The posterior's information is that of the estimate and of the depths that press, linearised at the state.
        """
        active = _pressing(state.contacts.depth)
        pressing = _depth_jacobian(state)[active]
        contact = weighted_gram(pressing, _weights(state.contacts.depth[active]))
        rays = np.zeros((2 * PER_HAND, 2))
        for hand, wrist in enumerate(state.pose.wrist):
            rays[PER_HAND * hand :, hand][TRANSLATION] = wrist / np.linalg.norm(wrist)
        before, after = (
            (rays * np.linalg.solve(information, rays)).sum(axis=0)
            for information in (belief.information, belief.information + contact)
        )
        return np.asarray(np.sqrt(after / before))


class Separated(NamedTuple):
    """Hands taken apart: their pose, the pair of it, and the factor on each wrist's standard deviation (2,)."""

    pose: Pose
    pair: HandPair
    stddev_scale: np.ndarray


class Separation:
    """Takes pairs apart; holds the hand model's parts, nothing of any frame."""

    def __init__(self, hand_model: HandModel) -> None:
        self.chain, self.flesh = PairChain(hand_model), Flesh(hand_model)

    def __call__(
        self, belief: PoseGaussian, uncertainty: PairUncertainty, steps: int, deadline: float = float("inf")
    ) -> Separated | None:
        """The hands taken apart; None where nothing is deeper than ENOUGH at the start.

        Args:
            belief: what to stay close to, and where to begin.
            uncertainty: of the estimate.
            steps: at most so many.
            deadline: time of ``time.perf_counter`` to be ready by; then the best so far is what there is.
        """
        start = belief.mean
        problem = Problem(self.chain, self.flesh, start)
        first = best = state = problem.looked_at(start)
        if state.depth <= ENOUGH:
            return None
        locked = state.depth > _LOCKED
        if locked:
            state = problem.at(problem.passed(state, uncertainty))
        for left in range(steps, 0, -1):
            began = time.perf_counter()
            pose = problem.stepped(state, belief)
            # Capsules lead, the last steps and the end are the meshes'.
            state = problem.at(pose, exact=state.exact or state.depth <= ENOUGH or left <= _EXACT_STEPS)
            # What the meshes say counts; where time does not reach so far, what the capsules say.
            if state.depth < first.depth and (state.exact, -state.depth) > (best.exact, -best.depth):
                best = state
            if state.exact and state.depth <= ENOUGH or 2.0 * time.perf_counter() - began > deadline:
                break
            if not locked and 2 * left <= steps + 1 and state.depth > _STUCK:
                locked, state = True, problem.at(problem.passed(problem.at(start), uncertainty))
        return Separated(best.pose, problem.pair(best), problem.stddev_scale(best, belief))

    def drawn(self, pose: Pose, uncertainty: PairUncertainty, most: float) -> Pose:
        """The pose with hands that float in front of each other moved along the ray until they touch.

        All the way where that is less than half of ``most``, metres; from there on less, and from ``most`` on none.
        Hands that touch already stay where they are.
        """
        problem = Problem(self.chain, self.flesh, pose)
        state = problem.at(pose)
        if state.contacts.depth.max(initial=-_NEAR) > -TOUCHING:
            return pose
        way = problem.touching(state, uncertainty, 0.0)
        length = float(np.linalg.norm(way, axis=1).sum())
        return _shifted(pose, float(np.clip(2.0 - 2.0 * length / most, 0.0, 1.0)) * way)

    def nudged(self, belief: PoseGaussian) -> Pose:
        """The pose one step from the middle of a belief, seen by capsules alone."""
        problem = Problem(self.chain, self.flesh, belief.mean)
        return problem.stepped(problem.at(belief.mean), belief)


def _depth_jacobian(state: State) -> np.ndarray:
    """Derivatives of the depths by both hands' parameters (N, 2 PER_HAND)."""
    contacts, posed = state.contacts, state.posed
    rows = np.zeros((len(contacts.depth), 2 * PER_HAND))
    depth_jacobian(
        contacts.hand, contacts.depth, contacts.points, contacts.away, contacts.own, contacts.other,
        posed.keypoints, posed.axes, rows,
    )  # fmt: skip
    return rows


def _weights(depth: np.ndarray) -> np.ndarray:
    """Weights (N,) of depths in the squares, 1 / m^2."""
    return np.asarray(1.0 / (_SHARPNESS * (1.0 + np.maximum(depth, 0.0) ** 2 / _ROBUST**2)) ** 2)


def _shifted(pose: Pose, way: np.ndarray) -> Pose:
    """The pose with its wrists moved by ``way`` (2, 3)."""
    return dataclasses.replace(pose, wrist=pose.wrist + way)


def _pressing(depth: np.ndarray) -> np.ndarray:
    """Which depths (N,) count: those inside, and where there is none the nearest, so that the hands go on touching."""
    inside = depth > 0.0
    if len(depth) and not inside.any():
        inside[depth.argmax()] = True
    return np.asarray(inside)


def _trusted(step: np.ndarray) -> np.ndarray:
    """A step (2, PER_HAND) shortened to the trust region."""
    turn = np.linalg.norm(step[:, ROTATION], axis=1).max() / _MAX_TURN
    shift = np.linalg.norm(step[:, TRANSLATION], axis=1).max() / _MAX_WRIST
    bend = np.abs(step[:, ANGLES]).max() / _MAX_BEND
    return step / max(turn, shift, bend, 1.0)


@compiled
def depth_jacobian(hand, depth, points, away, own, other, keypoints, axes, rows):  # type: ignore[no-untyped-def]
    """Write what each parameter does to each depth (N, 2 PER_HAND): skin that moves outwards loses depth, and so it
    does where what it meets of the other hand moves the other way."""
    surface, outwards = np.empty(3), np.empty(3)
    for c in range(hand.shape[0]):
        for k in range(3):
            surface[k], outwards[k] = points[c, k] + depth[c] * away[c, k], -away[c, k]
        mine, others = hand[c], 1 - hand[c]
        _row(outwards, points[c], own[c], keypoints[mine], axes[mine], mine == 0,
             rows[c, PER_HAND * mine : PER_HAND * (mine + 1)])  # fmt: skip
        _row(away[c], surface, other[c], keypoints[others], axes[others], others == 0,
             rows[c, PER_HAND * others : PER_HAND * (others + 1)])  # fmt: skip


@compiled
def _row(direction, at, share, keypoints, axes, mirrored, row):  # type: ignore[no-untyped-def]
    """Write how far each parameter of a hand moves a point of it along a direction, both in the frame of both hands."""
    flip = -1.0 if mirrored else 1.0
    gx, gy, gz = flip * direction[0], direction[1], direction[2]
    px, py, pz = flip * at[0], at[1], at[2]
    x, y, z = px - keypoints[0, 0], py - keypoints[0, 1], pz - keypoints[0, 2]
    row[0], row[1], row[2] = y * gz - z * gy, z * gx - x * gz, x * gy - y * gx
    row[3], row[4], row[5] = gx, gy, gz
    for joint in range(15):
        if share[joint] > 1e-3:
            k = 4 * (joint // 3) + joint % 3 + 1
            x, y, z = px - keypoints[k, 0], py - keypoints[k, 1], pz - keypoints[k, 2]
            mx, my, mz = y * gz - z * gy, z * gx - x * gz, x * gy - y * gx
            for a in range(3):
                turn = axes[joint, 0, a] * mx + axes[joint, 1, a] * my + axes[joint, 2, a] * mz
                row[6 + 3 * joint + a] = share[joint] * turn
