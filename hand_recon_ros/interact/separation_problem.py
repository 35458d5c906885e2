"""The optimisation problem of separating one pair of hands: contacts at a pose, and the Gauss-Newton step from it.

Minimised over orientations, wrists and joint angles x of both hands (betas stay):

    (x - m)^T H (x - m) / 2 + sum_k rho(max(depth_k(x), 0)) / 2

m and H are the mean and the information of the Gaussian around the estimate (:mod:`uncertainty`), so hands separate
where least is known of them, mostly along the ray, and the less certain hand moves more. depth_k are those of skin of
either hand inside the other (:mod:`contacts`), rho(d) = d^2 / (1 + d^2 / c^2) / s^2 is the loss of Geman & McClure
(1987), as iteratively reweighted squares. Skin that is outside adds nothing, so that hands that touch go on touching.
Each step is a small quadratic program with one-sided terms, whose active set is iterated, so that no step brings in
skin that was outside.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..geometry.compiled import compiled
from ..geometry.hand_kinematics import ANGLES, ROTATION, TRANSLATION, Pose, Posed, forward
from ..hand_model.hand_pair import HandPair
from .collision_geometry import CollisionGeometry, left_mirrored
from .contacts import Contacts, capsule_contacts, mesh_contacts
from .gram import weighted_gram
from .pair_chain import PER_HAND, PairChain, moved
from .plausibility import clipped_stddev
from .ray_offsets import touching_offsets
from .uncertainty import PairUncertainty, PoseGaussian

_SHARPNESS = 0.0005
_ROBUST = 0.02
"""s and c of the loss, metres."""
CONTACT_MARGIN = 0.008
"""Skin outside the other hand is a contact up to this distance, metres: as far as a step may move a wrist."""
_MAX_WRIST_STEP, _MAX_ROTATION_STEP, _MAX_ANGLE_STEP = CONTACT_MARGIN, 0.1, 0.2
"""Trust region of one step, metres and radians."""
_ACTIVE_SET_ITERATIONS = 4
_DAMPING = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluatedPose:
    """A pose with its contacts.

    Attributes:
        pose, posed: parameters, and their forward kinematics.
        contacts: of both hands.
        depth: the largest of them, metres, by capsules, or by the meshes where ``exact``.
        exact: whether the meshes were used too.
    """

    pose: Pose
    posed: Posed
    contacts: Contacts
    depth: float
    exact: bool


class SeparationProblem:
    """The problem of one estimated pair."""

    def __init__(self, chain: PairChain, geometry: CollisionGeometry, estimate: Pose) -> None:
        self._chain, self._geometry = chain, geometry
        self._keypoints, self._spheres, self._radii = geometry.capsules(estimate.betas)
        self._skin = geometry.skin(chain.pair(estimate, forward(chain.template, estimate)))
        # An estimate beyond the joints' limits is not what is to be repaired: it may stay there.
        low, high = chain.template.limits[..., 0], chain.template.limits[..., 1]
        self._low, self._high = np.minimum(low, estimate.angles), np.maximum(high, estimate.angles)

    def evaluate(self, pose: Pose, exact: bool = False) -> EvaluatedPose:
        """The contacts at a pose, by capsules, and with ``exact`` by the meshes as well."""
        posed = forward(self._chain.template, pose)
        if exact:  # the pose correctives, which do not change in other steps
            self._skin = self._geometry.skin(self._chain.pair(pose, posed))
        skin = left_mirrored(self._skin.posed(self._keypoints, posed))
        contacts = capsule_contacts(
            skin, self._skin.influence, self._posed_spheres(posed), self._spheres.influence, self._geometry.pairs,
            CONTACT_MARGIN,
        )  # fmt: skip
        if not exact:
            return EvaluatedPose(pose, posed, contacts, contacts.max_depth, False)
        inside = mesh_contacts(skin, self._skin.influence, self._geometry.faces, contacts)
        return EvaluatedPose(pose, posed, contacts + inside, inside.max_depth, True)

    def pair(self, evaluated: EvaluatedPose) -> HandPair:
        """The pair of a pose."""
        return self._chain.pair(evaluated.pose, evaluated.posed)

    def ray_offset(self, evaluated: EvaluatedPose, uncertainty: PairUncertainty, max_overlap: float) -> np.ndarray:
        """The shortest offset (2, 3) of the wrists along the ray, metres, after which the hands touch and overlap by
        ``max_overlap``; zeros where there is none. Each hand's part is proportional to its variance."""
        ray = evaluated.pose.wrist / np.linalg.norm(evaluated.pose.wrist, axis=1, keepdims=True)
        variance = clipped_stddev(uncertainty.position_stddev) ** 2
        offset = (variance / variance.sum())[:, None] * ray * np.array([[1.0], [-1.0]])
        left, right = left_mirrored(offset[:, None])[:, 0]
        spheres = self._posed_spheres(evaluated.posed)
        lengths = touching_offsets(spheres, self._geometry.pairs, left - right, max_overlap)
        return offset * (lengths[np.abs(lengths).argmin()] if len(lengths) else 0.0)

    def step(self, evaluated: EvaluatedPose, gaussian: PoseGaussian) -> Pose:
        """The pose after one Gauss-Newton step, its angles inside their limits."""
        depth, rows = evaluated.contacts.depth, depth_jacobian(evaluated)
        information, gradient = gaussian.information.copy(), gaussian.gradient(evaluated.pose)
        information[np.diag_indices(len(information))] *= 1.0 + _DAMPING
        active = _active(depth)
        for _ in range(_ACTIVE_SET_ITERATIONS):
            weights = _weights(depth[active])
            coupled = information + weighted_gram(rows[active], weights)
            step = -np.linalg.solve(coupled, gradient + rows[active].T @ (weights * depth[active]))
            before, active = active, _active(depth + rows @ step)
            if (before == active).all():
                break
        pose = moved(evaluated.pose, _in_trust_region(step.reshape(2, PER_HAND)))
        return dataclasses.replace(pose, angles=np.clip(pose.angles, self._low, self._high))

    def stddev_scale(self, evaluated: EvaluatedPose, gaussian: PoseGaussian) -> np.ndarray:
        """The factor by which contact narrows the Gaussian along each wrist's ray (2,), 0..1.

        The information of the posterior is that of the estimate and of the active depths, linearised at the pose.
        """
        active = _active(evaluated.contacts.depth)
        rows = depth_jacobian(evaluated)[active]
        contact = weighted_gram(rows, _weights(evaluated.contacts.depth[active]))
        rays = np.zeros((2, PER_HAND, 2))
        for hand, wrist in enumerate(evaluated.pose.wrist):
            rays[hand, TRANSLATION, hand] = wrist / np.linalg.norm(wrist)
        before = (rays * np.linalg.solve(gaussian.blocks, rays)).sum(axis=(0, 1))
        both = rays.reshape(2 * PER_HAND, 2)
        after = (both * np.linalg.solve(gaussian.information + contact, both)).sum(axis=0)
        return np.asarray(np.sqrt(after / before))

    def _posed_spheres(self, posed: Posed) -> np.ndarray:
        spheres = np.empty((*self._radii.shape, 4))
        spheres[..., :3] = left_mirrored(self._spheres.posed(self._keypoints, posed))
        spheres[..., 3] = self._radii
        return spheres


def depth_jacobian(evaluated: EvaluatedPose) -> np.ndarray:
    """Derivatives of the depths by both hands' parameters (N, 2 PER_HAND)."""
    contacts, posed = evaluated.contacts, evaluated.posed
    rows = np.zeros((len(contacts.depth), 2 * PER_HAND))
    _rows(
        contacts.hand, contacts.depth, contacts.points, contacts.outward, contacts.own_influence,
        contacts.other_influence, posed.keypoints, posed.axes, rows,
    )  # fmt: skip
    return rows


def _active(depth: np.ndarray) -> np.ndarray:
    """The active depths (N,): those inside, and where there is none the nearest, so that the hands keep touching."""
    inside = depth > 0.0
    if len(depth) and not inside.any():
        inside[depth.argmax()] = True
    return np.asarray(inside)


def _weights(depth: np.ndarray) -> np.ndarray:
    """Weights (N,) of squared depths in the loss, 1 / m^2."""
    return np.asarray(1.0 / (_SHARPNESS * (1.0 + np.maximum(depth, 0.0) ** 2 / _ROBUST**2)) ** 2)


def _in_trust_region(step: np.ndarray) -> np.ndarray:
    """A step (2, PER_HAND) shortened to the trust region."""
    rotation = np.linalg.norm(step[:, ROTATION], axis=1).max() / _MAX_ROTATION_STEP
    wrist = np.linalg.norm(step[:, TRANSLATION], axis=1).max() / _MAX_WRIST_STEP
    angle = np.abs(step[:, ANGLES]).max() / _MAX_ANGLE_STEP
    return step / max(rotation, wrist, angle, 1.0)


@compiled
def _rows(hand, depth, points, outward, own, other, keypoints, axes, rows):  # type: ignore[no-untyped-def]
    """Write the derivatives of each depth: skin that moves outwards loses depth, and so it does where the surface that
    it is in moves the other way."""
    surface, inward = np.empty(3), np.empty(3)
    for c in range(hand.shape[0]):
        for k in range(3):
            surface[k], inward[k] = points[c, k] + depth[c] * outward[c, k], -outward[c, k]
        mine, others = hand[c], 1 - hand[c]
        _row(inward, points[c], own[c], keypoints[mine], axes[mine], mine == 0,
             rows[c, PER_HAND * mine : PER_HAND * (mine + 1)])  # fmt: skip
        _row(outward[c], surface, other[c], keypoints[others], axes[others], others == 0,
             rows[c, PER_HAND * others : PER_HAND * (others + 1)])  # fmt: skip


@compiled
def _row(direction, point, influence, keypoints, axes, mirrored, row):  # type: ignore[no-untyped-def]
    """Write how far each parameter of a hand moves one of its points along a direction, both in the frame of both
    hands."""
    flip = -1.0 if mirrored else 1.0
    gx, gy, gz = flip * direction[0], direction[1], direction[2]
    px, py, pz = flip * point[0], point[1], point[2]
    x, y, z = px - keypoints[0, 0], py - keypoints[0, 1], pz - keypoints[0, 2]
    row[0], row[1], row[2] = y * gz - z * gy, z * gx - x * gz, x * gy - y * gx
    row[3], row[4], row[5] = gx, gy, gz
    for joint in range(15):
        if influence[joint] > 1e-3:
            k = 4 * (joint // 3) + joint % 3 + 1
            x, y, z = px - keypoints[k, 0], py - keypoints[k, 1], pz - keypoints[k, 2]
            mx, my, mz = y * gz - z * gy, z * gx - x * gz, x * gy - y * gx
            for a in range(3):
                moment = axes[joint, 0, a] * mx + axes[joint, 1, a] * my + axes[joint, 2, a] * mz
                row[6 + 3 * joint + a] = influence[joint] * moment
