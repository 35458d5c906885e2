"""Relaxing two hands that press into each other until they touch without penetration: many pairs at once (torch).

Joint angles, wrist orientations and positions move along the gradient (Adam) of what the collision proxies measure:
skin inside the other hand goes out, skin close to it comes nearer, and everything stays near where it began and inside
the joints' limits.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from ..geometry.mesh_queries import TOUCHING, gap_between, penetration_depth
from ..hand_model import HandModel
from ..models.collision import CollisionModel, PosedHands, geman_mcclure, penetration_loss, signed_distances
from ..models.hand_kinematics import skew
from ..types import Side

_ROUNDS = (36, 20, 16)
"""Rounds of descent; after each of the first two goes on what by the meshes is too deep, with more room, or apart."""
_CHOOSE_EVERY = 12
"""Rounds between two choices of the skin points that matter."""
_NEAR, _OWN, _COARSE = 112, 48, 320
"""Skin points of a hand measured against the other hand, and against its own; those are chosen of the first
``_COARSE``, which are spread over the hand."""
_MARGIN, _WANTED = 0.0004, 0.0006
"""How far the skin is to stay out of the other hand's proxies at first, and the PenDepth that is good, metres."""
_MOST_ROOM = 0.0015
"""What is added to that at most where the meshes are still too deep."""
_REACH, _PULL = 0.010, 0.004
"""Skin nearer than ``_REACH`` is pulled towards the other hand, with a robust loss of this scale, metres."""
_SELF = 0.002
"""How deep a hand may press into itself: its soft parts do, metres."""
_RATES = {"angles": 0.010, "turn": 0.004, "shift": 0.0006}
_STAY = {"angles": 0.30, "turn": 0.10, "shift": 0.010}
"""Step of a round, and the distance from the start that costs as much as one point 1 mm inside; radians and metres."""


@dataclasses.dataclass(frozen=True, eq=False)
class HandPairs:
    """N pairs of hands as the hand model takes them: dimension 1 is the side.

    Attributes:
        rotations: (N, 2, 16, 3, 3); betas: (N, 2, 10); translation: (N, 2, 3), metres.
    """

    rotations: np.ndarray
    betas: np.ndarray
    translation: np.ndarray


class PenetrationSolver:
    """Relaxes pairs of hands of one model; holds no state between calls."""

    def __init__(self, hand_model: HandModel) -> None:
        self.hand_model = hand_model
        self._kinematics = [hand_model.kinematics(side) for side in Side]
        self._collision = CollisionModel(hand_model, hand_model.num_vertices)
        frames = np.stack([kinematics.joint_frames for kinematics in self._kinematics])
        limits = np.stack([kinematics.limits for kinematics in self._kinematics])
        self._frames = torch.as_tensor(frames[:, 1:], dtype=torch.float32)
        self._limits = torch.as_tensor(limits[:, 1:], dtype=torch.float32)
        # The same angles make mirrored poses, see hand_model.angles.
        self._signs = torch.tensor([[[1.0, -1.0, -1.0]], [[1.0, 1.0, 1.0]]])

    def __call__(self, pairs: HandPairs) -> tuple[HandPairs, np.ndarray, np.ndarray]:
        """The pairs, relaxed, and their PenDepth and contact (:func:`measure_contact`); each depends on itself only."""
        rotations, translation = pairs.rotations.copy(), pairs.translation.copy()
        margins, depths = np.full(len(rotations), _MARGIN), np.zeros(len(rotations))
        touching, left = np.zeros(len(rotations), dtype=bool), np.arange(len(rotations))
        for rounds in _ROUNDS:
            part = HandPairs(rotations[left], pairs.betas[left], translation[left])
            rotations[left], translation[left] = self._descend(part, margins[left], rounds)
            part = HandPairs(rotations[left], pairs.betas[left], translation[left])
            depths[left], touching[left] = measure_contact(part, self.hand_model)
            # The proxies are off there by about what is left; hands that parted get no more room than at first.
            margins += np.clip(depths - 0.5 * _WANTED, 0.0, _MOST_ROOM)
            margins[~touching] = _MARGIN
            left = np.flatnonzero((depths > _WANTED) | ~touching)
            if not len(left):
                break
        return HandPairs(rotations, pairs.betas, translation), depths, touching

    def _descend(self, pairs: HandPairs, margins: np.ndarray, rounds: int) -> tuple[np.ndarray, np.ndarray]:
        """Rotations and translation after some rounds, the skin kept out of the proxies by ``margins`` (N,)."""
        angles = np.stack([self._kinematics[s].angles_of(pairs.rotations[:, s])[:, 1:] for s in Side], axis=1)
        low, high = self._limits.unbind(dim=-1)
        start = torch.as_tensor(angles, dtype=torch.float32).clamp(low, high)
        wrist = torch.as_tensor(pairs.rotations[:, :, 0], dtype=torch.float32)
        # Near the origin single precision is finer.
        middle = pairs.translation.mean(axis=1, keepdims=True)
        places = torch.as_tensor(pairs.translation - middle, dtype=torch.float32)
        betas = torch.as_tensor(pairs.betas, dtype=torch.float32)
        room = torch.as_tensor(margins, dtype=torch.float32)[:, None, None]
        moved = {"angles": start.clone(), "turn": torch.zeros_like(places), "shift": torch.zeros_like(places)}
        optimizer = torch.optim.Adam(
            [{"params": [value.requires_grad_()], "lr": _RATES[name]} for name, value in moved.items()],
            betas=(0.8, 0.95),
        )
        for done in range(rounds):
            if done % _CHOOSE_EVERY == 0:
                with torch.no_grad():
                    whole = self._collision.pose(self._rotations(moved, wrist), betas, places + moved["shift"])
                    chosen = self._chosen(whole)
            # Large steps first, then ever finer ones.
            for group, rate in zip(optimizer.param_groups, _RATES.values(), strict=True):
                group["lr"] = rate * (1.0 - 0.9 * done / rounds)
            hands = self._collision.pose(self._rotations(moved, wrist), betas, places + moved["shift"], chosen)
            loss = self._collision_loss(hands, chosen[..., _NEAR:], room)
            for name, origin in (("angles", start), ("turn", 0.0), ("shift", 0.0)):
                loss = loss + ((moved[name] - origin) / _STAY[name]).square().flatten(1).sum(dim=1)
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
            with torch.no_grad():
                moved["angles"].clamp_(low, high)
        with torch.no_grad():
            rotations = self._rotations(moved, wrist).double().numpy()
            shift = moved["shift"].double().numpy()
        return _orthonormal(rotations), pairs.translation + shift

    def _rotations(self, moved: dict[str, torch.Tensor], wrist: torch.Tensor) -> torch.Tensor:
        angles = moved["angles"] * self._signs
        local = _flexed(angles)
        joints = self._frames @ local @ self._frames.mT
        return torch.cat([(torch.linalg.matrix_exp(skew(moved["turn"])) @ wrist)[:, :, None], joints], dim=2)

    def _chosen(self, hands: PosedHands) -> torch.Tensor:
        """Skin points (N, 2, _NEAR + _OWN): the nearest to the other hand, then the nearest to parts of their own."""
        spheres, skin = hands.spheres.flip(1).flatten(0, 1), hands.skin.flatten(0, 1)
        away = (torch.cdist(skin, spheres[..., :3]) - spheres[:, None, :, 3]).amin(dim=-1)
        coarse = slice(None, _COARSE)
        own = signed_distances(
            skin[:, coarse], hands.spheres.flatten(0, 1), self._collision.pairs, self._collision.self_allowed[coarse]
        )
        chosen = [distances.topk(k, largest=False).indices for distances, k in ((away, _NEAR), (own, _OWN))]
        return torch.cat(chosen, dim=1).unflatten(0, (-1, 2))

    def _collision_loss(self, hands: PosedHands, own: torch.Tensor, room: torch.Tensor) -> torch.Tensor:
        """One for every point that is 1 mm too near, (N,)."""
        pairs, skin = self._collision.pairs, hands.skin.flatten(0, 1)
        near = signed_distances(skin[:, :_NEAR], hands.spheres.flip(1).flatten(0, 1), pairs)
        allowed = self._collision.self_allowed[own.flatten(0, 1)]
        within = signed_distances(skin[:, _NEAR:], hands.spheres.flatten(0, 1), pairs, allowed)
        between = near.unflatten(0, (-1, 2)) - room
        pull = 0.15 * geman_mcclure(between.clamp(0.0, _REACH), _PULL).flatten(1).sum(dim=1)
        # Hands that are farther apart come nearer, however far it is.
        apart = 2.0 * (between.flatten(1).amin(dim=1).clamp(min=0.0) / _PULL)
        inside = penetration_loss(between) + penetration_loss(within.unflatten(0, (-1, 2)), _SELF)
        return pull + apart + 1e6 * inside


def measure_contact(pairs: HandPairs, hand_model: HandModel) -> tuple[np.ndarray, np.ndarray]:
    """PenDepth (N,), metres, and whether the hands are nearer than TOUCHING (N,), by the closed meshes."""
    faces = [hand_model.faces(side) for side in Side]
    middle = pairs.translation.mean(axis=1, keepdims=True)
    left, right = (
        hand_model.mesh(side, pairs.rotations[:, side], pairs.betas[:, side], (pairs.translation - middle)[:, side])
        for side in Side
    )
    depths = np.array([penetration_depth(a, faces[0], b, faces[1]) for a, b in zip(left, right, strict=True)])
    touching = [
        depth > 0.0 or gap_between(a, faces[0], b, faces[1], TOUCHING) < TOUCHING
        for a, b, depth in zip(left, right, depths, strict=True)
    ]
    return depths, np.array(touching)


def _flexed(angles: torch.Tensor) -> torch.Tensor:
    """Ry(flexion) Rz(abduction) Rx(twist) (..., 3, 3) of angles (..., 3), see :mod:`hand_model.angles`."""
    (cf, ca, ct), (sf, sa, st) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    rows = [
        torch.stack([cf * ca, sf * st - cf * sa * ct, sf * ct + cf * sa * st], dim=-1),
        torch.stack([sa, ca * ct, -ca * st], dim=-1),
        torch.stack([-sf * ca, cf * st + sf * sa * ct, cf * ct - sf * sa * st], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def _orthonormal(rotations: np.ndarray) -> np.ndarray:
    """Rotations to the last bit of double precision."""
    u, _, vt = np.linalg.svd(rotations)
    return u @ vt
