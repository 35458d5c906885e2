"""Resolves the penetration of two hands until they just touch: gradient descent on many pairs at once (torch).

Adam minimises a loss over joint angles, wrist orientations and positions. The loss penalises skin inside the other
hand's collision capsules and deviation from the start, and attracts skin that is close to the other hand. Joint angles
stay inside their limits.
"""

from __future__ import annotations

import numpy as np
import torch

from ..geometry.mesh_queries import TOUCHING, gap_between, penetration_depth
from ..geometry.rotations import nearest_rotations
from ..hand_model import HandModel
from ..hand_model.hand_pair import HandPair
from ..models.collision import CollisionModel, PosedHands, geman_mcclure, penetration_loss, signed_distances
from ..models.rotations import rotation_matrices, rotations_from_angles
from ..types import Side

_ITERATIONS = (36, 20, 16)
"""Iterations of three stages; the later ones are for pairs whose meshes remain too deep, or out of contact."""
_SELECT_EVERY = 12
"""Iterations between two selections of the skin points that enter the loss."""
_NUM_BETWEEN, _NUM_WITHIN, _NUM_SPREAD = 112, 48, 320
"""Selected skin points per hand, for the distance to the other hand and for self-collision; the latter are among the
first ``_NUM_SPREAD`` points, which are spread over the hand."""
_MARGIN, _TARGET_DEPTH = 0.0004, 0.0006
"""Initial distance of the skin from the other hand's capsules, and the PenDepth at which a pair is done, metres."""
_MAX_EXTRA_MARGIN = 0.0015
"""Largest increase of the margin per stage where the meshes remain too deep, metres."""
_ATTRACTION_RADIUS, _ATTRACTION_SCALE = 0.010, 0.004
"""Skin within the radius is attracted by the other hand, with a robust loss of this scale, metres."""
_SELF_TOLERANCE = 0.002
"""How deep a hand may press into itself, as soft tissue does, metres."""
_LEARNING_RATES = {"angles": 0.010, "turn": 0.004, "shift": 0.0006}
_DEVIATIONS = {"angles": 0.30, "turn": 0.10, "shift": 0.010}
"""Deviation from the start that costs as much as one point 1 mm inside; radians and metres."""


class PenetrationSolver:
    """Resolves the penetration of pairs of hands of one model; keeps no state between calls."""

    def __init__(self, hand_model: HandModel) -> None:
        self._hand_model = hand_model
        self._kinematics = [hand_model.kinematics(side) for side in Side]
        self._collision = CollisionModel(hand_model, hand_model.num_vertices)
        frames = np.stack([kinematics.joint_frames for kinematics in self._kinematics])
        limits = np.stack([kinematics.limits for kinematics in self._kinematics])
        self._frames = torch.as_tensor(frames[:, 1:], dtype=torch.float32)
        self._limits = torch.as_tensor(limits[:, 1:], dtype=torch.float32)
        # The same angles make mirrored poses, see geometry.joint_angles.
        self._signs = torch.tensor([[[1.0, -1.0, -1.0]], [[1.0, 1.0, 1.0]]])

    def __call__(self, pairs: HandPair) -> tuple[HandPair, np.ndarray, np.ndarray]:
        """The pairs, a batch of N, without penetration, and their PenDepth (N,) and contact (N,) (see
        :func:`measure_contact`). A result depends on its own pair only.
        """
        rotations, wrists = pairs.rotations.copy(), pairs.wrists.copy()
        margins, depths = np.full(len(rotations), _MARGIN), np.zeros(len(rotations))
        touching, active = np.zeros(len(rotations), dtype=bool), np.arange(len(rotations))
        for iterations in _ITERATIONS:
            part = HandPair(rotations[active], pairs.betas[active], wrists[active])
            part = self._descend(part, margins[active], iterations)
            rotations[active], wrists[active] = part.rotations, part.wrists
            depths[active], touching[active] = measure_contact(part, self._hand_model)
            # The remaining depth is about the capsules' error there; hands that lost contact get the initial margin.
            margins += np.clip(depths - 0.5 * _TARGET_DEPTH, 0.0, _MAX_EXTRA_MARGIN)
            margins[~touching] = _MARGIN
            active = np.flatnonzero((depths > _TARGET_DEPTH) | ~touching)
            if not len(active):
                break
        return HandPair(rotations, pairs.betas, wrists), depths, touching

    def _descend(self, pairs: HandPair, margins: np.ndarray, iterations: int) -> HandPair:
        """The pairs after the descent, with ``margins`` (N,), metres, between skin and capsules."""
        angles = np.stack([self._kinematics[s].angles_of(pairs.rotations[:, s])[:, 1:] for s in Side], axis=1)
        low, high = self._limits.unbind(dim=-1)
        start = torch.as_tensor(angles, dtype=torch.float32).clamp(low, high)
        wrist = torch.as_tensor(pairs.rotations[:, :, 0], dtype=torch.float32)
        # Single precision is finer near the origin.
        translations = pairs.translations(self._hand_model)
        middle = translations.mean(axis=1, keepdims=True)
        positions = torch.as_tensor(translations - middle, dtype=torch.float32)
        betas = torch.as_tensor(pairs.betas, dtype=torch.float32)
        margin = torch.as_tensor(margins, dtype=torch.float32)[:, None, None]
        moved = {"angles": start.clone(), "turn": torch.zeros_like(positions), "shift": torch.zeros_like(positions)}
        optimizer = torch.optim.Adam(
            [{"params": [value.requires_grad_()], "lr": _LEARNING_RATES[name]} for name, value in moved.items()],
            betas=(0.8, 0.95),
        )
        for iteration in range(iterations):
            if iteration % _SELECT_EVERY == 0:
                with torch.no_grad():
                    hands = self._collision.pose(self._rotations(moved, wrist), betas, positions + moved["shift"])
                    selected = self._select_points(hands)
            for group, rate in zip(optimizer.param_groups, _LEARNING_RATES.values(), strict=True):
                group["lr"] = rate * (1.0 - 0.9 * iteration / iterations)
            hands = self._collision.pose(self._rotations(moved, wrist), betas, positions + moved["shift"], selected)
            loss = self._collision_loss(hands, selected[..., _NUM_BETWEEN:], margin)
            for name, origin in (("angles", start), ("turn", 0.0), ("shift", 0.0)):
                loss = loss + ((moved[name] - origin) / _DEVIATIONS[name]).square().flatten(1).sum(dim=1)
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
            with torch.no_grad():
                moved["angles"].clamp_(low, high)
        with torch.no_grad():
            rotations = self._rotations(moved, wrist).double().numpy()
            shift = moved["shift"].double().numpy()
        return HandPair(nearest_rotations(rotations), pairs.betas, pairs.wrists + shift)

    def _rotations(self, moved: dict[str, torch.Tensor], wrist: torch.Tensor) -> torch.Tensor:
        """Joint rotations (N, 2, 16, 3, 3) of the parameters; ``wrist`` (N, 2, 3, 3) are the initial orientations."""
        joints = rotations_from_angles(moved["angles"] * self._signs, self._frames)
        return torch.cat([(rotation_matrices(moved["turn"]) @ wrist)[:, :, None], joints], dim=2)

    def _select_points(self, hands: PosedHands) -> torch.Tensor:
        """Indices (N, 2, _NUM_BETWEEN + _NUM_WITHIN) of skin points: the closest to the other hand, then the closest to
        capsules of their own hand."""
        spheres, skin = hands.spheres.flip(1).flatten(0, 1), hands.skin.flatten(0, 1)
        away = (torch.cdist(skin, spheres[..., :3]) - spheres[:, None, :, 3]).amin(dim=-1)
        spread = slice(None, _NUM_SPREAD)
        own = signed_distances(
            skin[:, spread], hands.spheres.flatten(0, 1), self._collision.pairs, self._collision.self_allowed[spread]
        )
        counts = ((away, _NUM_BETWEEN), (own, _NUM_WITHIN))
        selected = [distances.topk(count, largest=False).indices for distances, count in counts]
        return torch.cat(selected, dim=1).unflatten(0, (-1, 2))

    def _collision_loss(self, hands: PosedHands, own: torch.Tensor, margin: torch.Tensor) -> torch.Tensor:
        """The loss (N,) of selected points, 1 for each that is 1 mm too deep.

        ``own`` (N, 2, _NUM_WITHIN) are the indices of those for self-collision, ``margin`` (N, 1, 1) is in metres.
        """
        pairs, skin = self._collision.pairs, hands.skin.flatten(0, 1)
        between = signed_distances(skin[:, :_NUM_BETWEEN], hands.spheres.flip(1).flatten(0, 1), pairs)
        allowed = self._collision.self_allowed[own.flatten(0, 1)]
        within = signed_distances(skin[:, _NUM_BETWEEN:], hands.spheres.flatten(0, 1), pairs, allowed)
        between = between.unflatten(0, (-1, 2)) - margin
        near = geman_mcclure(between.clamp(0.0, _ATTRACTION_RADIUS), _ATTRACTION_SCALE)
        attraction = 0.15 * near.flatten(1).sum(dim=1)
        # The closest point attracts the hands at any distance.
        gap = 2.0 * (between.flatten(1).amin(dim=1).clamp(min=0.0) / _ATTRACTION_SCALE)
        inside = penetration_loss(between) + penetration_loss(within.unflatten(0, (-1, 2)), _SELF_TOLERANCE)
        return attraction + gap + 1e6 * inside


def measure_contact(pairs: HandPair, hand_model: HandModel) -> tuple[np.ndarray, np.ndarray]:
    """PenDepth (N,), metres, and whether the hands are nearer than TOUCHING (N,), measured on the closed meshes."""
    faces = [hand_model.faces(side) for side in Side]
    # Single precision is finer near the origin.
    centred = HandPair(pairs.rotations, pairs.betas, pairs.wrists - pairs.wrists.mean(axis=1, keepdims=True))
    left, right = centred.meshes(hand_model)
    depths = np.array([penetration_depth(a, faces[0], b, faces[1]) for a, b in zip(left, right, strict=True)])
    touching = [
        depth > 0.0 or gap_between(a, faces[0], b, faces[1], TOUCHING) < TOUCHING
        for a, b, depth in zip(left, right, depths, strict=True)
    ]
    return depths, np.array(touching)
