"""Simulated estimates of pairs of hands: the condition that the two-hand prior is trained with (torch, seeded).

Vectors as in :mod:`interact.pair_vector`. An estimate is the true pair with errors of one of five kinds, sampled by
their shares: none; a little noise, so that plausible pairs penetrate or separate; the relative depth alone; errors with
heavy tails, as an encoder's; and one hand far worse than the other, as where it is occluded. The confidences are
computed from the standard deviations of the sampled errors, not from the errors themselves, and are noisy.
"""

from __future__ import annotations

import dataclasses
import math

import torch

from ..config import setting
from ..hand_model import HandModel
from ..interact.pair_vector import ANGLE_UNIT, HAND, SHAPE_UNIT, TRANSLATION_UNIT
from ..models.rotations import matrix_from_6d, rotation_matrices, to_6d
from ..skeleton import NUM_JOINTS
from ..types import Side

KINDS = ("exact", "noise", "depth", "heavy", "hidden")
_AXES = (0.35, 1.0, 0.5)
"""Relative sizes of the errors of a joint's twist, flexion and abduction."""
_LATERAL = 0.25
"""Error of the vector between the wrists perpendicular to the viewing ray, relative to that along it."""
_CONFIDENCE_NOISE = 0.4
"""Standard deviation of the log of the errors that the confidences stand for."""
_VIEW = 0.5
"""Tangent of the largest angle between the viewing ray and the camera's axis, horizontal and vertical."""


@dataclasses.dataclass(frozen=True)
class CorruptionShares:
    """Relative frequency of each kind of estimate."""

    exact: float = setting(0.15, "no error", low=0.0)
    noise: float = setting(0.3, "errors of 2 to 15 degrees in the angles, 3 to 30 mm between the wrists", low=0.0)
    depth: float = setting(0.1, "errors of 3 to 60 mm between the wrists, along the viewing ray", low=0.0)
    heavy: float = setting(0.3, "heavy-tailed errors of 2 to 12 degrees and 6 to 60 mm", low=0.0)
    hidden: float = setting(0.15, "errors of 8 to 30 degrees in one hand, 2 to 6 in the other", low=0.0)


class Corruption:
    """Samples estimates of pairs on the CPU from a generator; stateless between calls."""

    def __init__(self, shares: CorruptionShares, hand_model: HandModel) -> None:
        self._shares = torch.tensor([getattr(shares, kind) for kind in KINDS])
        # Both hands are right hands in the vector.
        frames = torch.tensor(hand_model.kinematics(Side.RIGHT).joint_frames, dtype=torch.float32)
        axes = torch.tensor(_AXES) / torch.tensor(_AXES).square().mean().sqrt()
        self._axes = frames * axes
        self._axes[0] = torch.eye(3)

    def __call__(self, x: torch.Tensor, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Estimates of pairs x (B, PAIR), their confidences (B, CONFIDENCES) and their kinds (B,), indices of KINDS."""
        count = len(x)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(count, *shape, generator=rng)

        def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
            return low + (high - low) * torch.rand(count, *shape, generator=rng)

        def scales(low: float, high: float, *shape: int) -> torch.Tensor:
            return uniform(math.log(low), math.log(high), *shape).exp()

        kinds = torch.multinomial(self._shares, count, replacement=True, generator=rng)
        degree = math.pi / 180.0
        zero = torch.zeros(count, 1)
        # Both hands of a pair have errors of one size, unless one is occluded.
        worse = torch.nn.functional.one_hot(torch.randint(2, (count,), generator=rng), 2).float()
        hidden = worse * scales(8.0, 30.0, 1) + (1.0 - worse) * scales(2.0, 6.0, 1)
        angles = torch.stack([zero.expand(-1, 2), scales(2.0, 15.0, 1).expand(-1, 2), zero.expand(-1, 2),
                              scales(2.0, 12.0, 1).expand(-1, 2), hidden])  # fmt: skip
        shape = torch.stack([zero, scales(0.05, 0.6, 1), zero, scales(0.1, 0.8, 1), scales(0.1, 0.8, 1)])
        length = torch.stack([zero, scales(0.003, 0.03, 1), scales(0.003, 0.06, 1), scales(0.006, 0.06, 1),
                              scales(0.01, 0.06, 1)])  # fmt: skip
        each = torch.arange(count)
        angle, shape, length = angles[kinds, each] * degree, shape[kinds, each], length[kinds, each]
        angle = angle[..., None] * (0.3 * normal(2, NUM_JOINTS)).exp()
        angle[..., 0] *= scales(0.4, 1.0, 1)

        # A Laplace distribution is a normal one whose variance is exponentially distributed.
        heavy = (kinds >= KINDS.index("heavy")).float()
        tails = torch.empty(count, 2, NUM_JOINTS + 2).exponential_(generator=rng).sqrt()
        tails = torch.lerp(torch.ones_like(tails), tails, heavy[:, None, None])
        turns = (angle * tails[..., :NUM_JOINTS])[..., None] * normal(2, NUM_JOINTS, 3) / math.sqrt(3.0)
        hands = x[:, : 2 * HAND].reshape(count, 2, HAND)
        rotations = matrix_from_6d(hands[..., : NUM_JOINTS * 6].unflatten(-1, (NUM_JOINTS, 6)))
        rotations = rotation_matrices((self._axes @ turns[..., None])[..., 0]) @ rotations
        # Both hands are one person's: half of the variance of their shapes' errors is common.
        shape_error = shape[:, None] * (0.7 * normal(1, 10) + 0.7 * normal(2, 10)) * tails[..., NUM_JOINTS, None]
        ray = torch.cat([uniform(-_VIEW, _VIEW, 2), torch.ones(count, 1)], dim=1)
        ray = torch.nn.functional.normalize(ray, dim=1)
        shift = length * tails[:, 0, -1:] * (ray * normal(1) + _LATERAL * normal(3))
        exact = (kinds == KINDS.index("exact"))[:, None]
        estimate = torch.cat([to_6d(rotations).flatten(2), hands[..., NUM_JOINTS * 6 :] + shape_error], dim=-1)
        estimate = torch.cat([estimate.flatten(1), x[:, 2 * HAND :] + shift], dim=1)

        expected = torch.cat(
            [angle / ANGLE_UNIT, shape[:, None].expand(-1, 2, -1) / SHAPE_UNIT,
             length[:, None].expand(-1, 2, -1) / TRANSLATION_UNIT], dim=-1,
        )  # fmt: skip
        expected = expected + 0.05 * torch.rand(expected.shape, generator=rng)
        expected = expected * (_CONFIDENCE_NOISE * (normal(2, 1) + normal(2, NUM_JOINTS + 2))).exp()
        # Both hands share the vector between the wrists.
        expected[:, 0, -1] = expected[:, 1, -1]
        return torch.where(exact, x, estimate), (-expected).exp().flatten(1), kinds


def rotated(x: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    """The pairs (B, PAIR) in a rotated camera frame: everything rotated by (B, 3, 3) about the camera."""
    hands = x[:, : 2 * HAND].reshape(-1, 2, HAND)
    mirror = x.new_tensor([-1.0, 1.0, 1.0])
    both = torch.stack([rotations * mirror * mirror[:, None], rotations], dim=1)
    columns = hands[..., :6].unflatten(-1, (2, 3)) @ both.mT
    wrists = (rotations @ x[:, 2 * HAND :, None])[..., 0]
    return torch.cat([torch.cat([columns.flatten(2), hands[..., 6:]], dim=-1).flatten(1), wrists], dim=1)
