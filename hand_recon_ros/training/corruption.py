"""Pairs of hands spoilt as estimates are: what the two-hand prior is given to repair (torch, seeded).

Vectors as of :mod:`refine.pair_vector`. Five kinds of estimates, drawn by their shares: true ones, in which nothing is
to be repaired; plausible pairs with a little noise, which interpenetrate or come apart; a relative depth that is off
and nothing else; errors with heavy tails, like an encoder's; and one hand that is known far worse than the other, as
behind it. The confidences told with them are of errors of the size that was drawn, not of the errors themselves, and
inexact at that.
"""

from __future__ import annotations

import dataclasses
import math

import torch

from ..config import setting
from ..hand_model import HandModel
from ..interact.pair_vector import ANGLE_UNIT, HAND, RELATION_UNIT, SHAPE_UNIT
from ..models.hand_kinematics import matrix_from_6d, skew, to_6d
from ..skeleton import NUM_JOINTS
from ..types import Side

KINDS = ("exact", "noise", "depth", "heavy", "hidden")
_AXES = (0.35, 1.0, 0.5)
"""How far off twist, flexion and abduction of a joint are, relative to each other."""
_ASIDE = 0.25
"""How far the vector between the wrists is off across the viewing ray, relative to along it."""
_INEXACT = 0.4
"""Standard deviation of the log of the errors that the confidences tell."""
_VIEW = 0.5
"""Tangent of the widest angle between the viewing ray and the camera's axis, across and down."""


@dataclasses.dataclass(frozen=True)
class CorruptionShares:
    """How often each kind of estimate is drawn, relative to the others."""

    exact: float = setting(0.15, "nothing is wrong", low=0.0)
    noise: float = setting(0.3, "angles off by 2 to 15 degrees, the wrists by 3 to 30 mm", low=0.0)
    depth: float = setting(0.1, "the wrists off by 3 to 60 mm along the viewing ray", low=0.0)
    heavy: float = setting(0.3, "heavy-tailed errors, angles 2 to 12 degrees, wrists 6 to 60 mm", low=0.0)
    hidden: float = setting(0.15, "one hand off by 8 to 30 degrees, the other by 2 to 6", low=0.0)


class Corruption:
    """Draws estimates of pairs, all on the CPU from a generator; holds no state between calls."""

    def __init__(self, shares: CorruptionShares, hand_model: HandModel) -> None:
        self._shares = torch.tensor([getattr(shares, kind) for kind in KINDS])
        # Both hands are right hands in the vector.
        frames = torch.tensor(hand_model.kinematics(Side.RIGHT).joint_frames, dtype=torch.float32)
        axes = torch.tensor(_AXES) / torch.tensor(_AXES).square().mean().sqrt()
        self._axes = frames * axes
        self._axes[0] = torch.eye(3)

    def __call__(self, x: torch.Tensor, chance: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Estimates of pairs (B, PAIR), their confidences (B, CONFIDENCES) and their kinds (B,), indices of KINDS."""
        count = len(x)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(count, *shape, generator=chance)

        def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
            return low + (high - low) * torch.rand(count, *shape, generator=chance)

        def scales(low: float, high: float, *shape: int) -> torch.Tensor:
            return uniform(math.log(low), math.log(high), *shape).exp()

        kinds = torch.multinomial(self._shares, count, replacement=True, generator=chance)
        degree = math.pi / 180.0
        nothing = torch.zeros(count, 1)
        # Both hands of a pair are off alike but where one is hidden.
        worse = torch.nn.functional.one_hot(torch.randint(2, (count,), generator=chance), 2).float()
        hidden = worse * scales(8.0, 30.0, 1) + (1.0 - worse) * scales(2.0, 6.0, 1)
        angles = torch.stack([nothing.expand(-1, 2), scales(2.0, 15.0, 1).expand(-1, 2), nothing.expand(-1, 2),
                              scales(2.0, 12.0, 1).expand(-1, 2), hidden])  # fmt: skip
        shape = torch.stack([nothing, scales(0.05, 0.6, 1), nothing, scales(0.1, 0.8, 1), scales(0.1, 0.8, 1)])
        length = torch.stack([nothing, scales(0.003, 0.03, 1), scales(0.003, 0.06, 1), scales(0.006, 0.06, 1),
                              scales(0.01, 0.06, 1)])  # fmt: skip
        each = torch.arange(count)
        angle, shape, length = angles[kinds, each] * degree, shape[kinds, each], length[kinds, each]
        angle = angle[..., None] * (0.3 * normal(2, NUM_JOINTS)).exp()
        angle[..., 0] *= scales(0.4, 1.0, 1)

        # A Laplace distribution is a normal one whose variance is exponentially distributed.
        heavy = (kinds >= KINDS.index("heavy")).float()
        tails = torch.empty(count, 2, NUM_JOINTS + 2).exponential_(generator=chance).sqrt()
        tails = torch.lerp(torch.ones_like(tails), tails, heavy[:, None, None])
        turns = (angle * tails[..., :NUM_JOINTS])[..., None] * normal(2, NUM_JOINTS, 3) / math.sqrt(3.0)
        hands = x[:, : 2 * HAND].reshape(count, 2, HAND)
        rotations = matrix_from_6d(hands[..., : NUM_JOINTS * 6].unflatten(-1, (NUM_JOINTS, 6)))
        rotations = rotation_of((self._axes @ turns[..., None])[..., 0]) @ rotations
        # Both hands are one person's: much of the error of their shape is the same.
        wrong = shape[:, None] * (0.7 * normal(1, 10) + 0.7 * normal(2, 10)) * tails[..., NUM_JOINTS, None]
        ray = torch.cat([uniform(-_VIEW, _VIEW, 2), torch.ones(count, 1)], dim=1)
        ray = torch.nn.functional.normalize(ray, dim=1)
        shift = length * tails[:, 0, -1:] * (ray * normal(1) + _ASIDE * normal(3))
        same = (kinds == KINDS.index("exact"))[:, None]
        spoilt = torch.cat([to_6d(rotations).flatten(2), hands[..., NUM_JOINTS * 6 :] + wrong], dim=-1)
        spoilt = torch.cat([spoilt.flatten(1), x[:, 2 * HAND :] + shift], dim=1)

        told = torch.cat(
            [angle / ANGLE_UNIT, shape[:, None].expand(-1, 2, -1) / SHAPE_UNIT,
             length[:, None].expand(-1, 2, -1) / RELATION_UNIT], dim=-1,
        )  # fmt: skip
        told = told + 0.05 * torch.rand(told.shape, generator=chance)
        told = told * (_INEXACT * normal(2, 1) + _INEXACT * normal(2, NUM_JOINTS + 2)).exp()
        # The vector between the wrists is one, whoever tells it.
        told[:, 0, -1] = told[:, 1, -1]
        return torch.where(same, x, spoilt), (-told).exp().flatten(1), kinds


def turned(x: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    """The pairs (B, PAIR) as seen by a camera that is turned: everything rotated by (B, 3, 3) about the camera."""
    hands = x[:, : 2 * HAND].reshape(-1, 2, HAND)
    mirror = x.new_tensor([-1.0, 1.0, 1.0])
    both = torch.stack([rotations * mirror * mirror[:, None], rotations], dim=1)
    columns = hands[..., :6].unflatten(-1, (2, 3)) @ both.mT
    relation = (rotations @ x[:, 2 * HAND :, None])[..., 0]
    return torch.cat([torch.cat([columns.flatten(2), hands[..., 6:]], dim=-1).flatten(1), relation], dim=1)


def random_rotations(count: int, chance: torch.Generator) -> torch.Tensor:
    """Rotations (N, 3, 3), uniform over all."""
    w, *xyz = torch.nn.functional.normalize(torch.randn(count, 4, generator=chance), dim=1).unbind(1)
    axis = torch.stack(xyz, dim=1)
    sine = axis.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return rotation_of(axis / sine * 2.0 * torch.atan2(sine, w[:, None]))


def rotation_of(vectors: torch.Tensor) -> torch.Tensor:
    """Rotation matrices (..., 3, 3) of axis times angle (..., 3), radians (Rodrigues)."""
    square = vectors.square().sum(-1, keepdim=True)[..., None]
    angle = square.sqrt().clamp(min=1e-6)
    cross = skew(vectors)
    straight = torch.eye(3, dtype=vectors.dtype, device=vectors.device)
    return straight + angle.sin() / angle * cross + (1.0 - angle.cos()) / angle.square() * cross @ cross
