"""The network of the two-hand diffusion prior: a noisy pair of hands and an estimate of it in, the pair out (torch).

After the refinement of "Aligning Foundation Model Priors and Diffusion-Based Hand Interactions for Occlusion-Resistant
Two-Hand Reconstruction" (arXiv:2503.17788): a transformer is given both hands' parameters with noise, the time and the
estimate, and says x0, as in MDM (Tevet et al., arXiv:2209.14916). Tokens: each hand's 16 joints, its shape, and the
other hand as seen from it. All of a batch is computed each for itself.

Symmetry is built in. Each hand looks at the pair from its own wrist, as the estimate has that oriented, in a world in
which it is a right hand: orientations, the vector to the other wrist and the other hand are given and told in that
frame. Both hands go through the same weights, and their two answers for the vector between the wrists are averaged. So
swapping the hands in a mirror swaps and mirrors the result, and turning the pair turns it, exactly; the one thing that
does not turn along is the camera's viewing axis, which the network is told because depth is what estimates know least.
Off the image's middle the axis is not quite the ray to the hands; estimates that the network is trained on are spoilt
along rays about it.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import nn

from ..config import setting
from ..hand_model import HandModel
from ..interact.ddim import cosine_alphas_cumprod
from ..interact.pair_vector import HAND, PAIR, SHAPE, TOKENS
from ..skeleton import JOINT_KEYPOINTS, MIDDLE_MCP, NUM_JOINTS
from .encoder_heads import mlp
from .hand_kinematics import HandChain
from .rotations import matrix_from_6d

_JOINT_FEATURES = 6 + 6 + 1 + 4 * 3
_SHAPE_FEATURES = SHAPE + SHAPE + 1
_RELATION_FEATURES = 3 + 3 + 6 + 6 + 3 + 1
_LENGTH = 0.1
"""Positions are given in this unit, metres."""
_WIDE = 0.05
"""Of how wide a normal distribution x0 is thought to be where it is guessed from x_t alone: 1 / variance."""


@dataclasses.dataclass(frozen=True)
class PriorConfig:
    """What a prior is made of."""

    width: int = setting(128, "numbers in a token", low=16, high=1024)
    layers: int = setting(4, "layers of the transformer", low=1, high=12)
    heads: int = setting(4, "attention heads", low=1, high=16)


class TwoHandPrior(nn.Module):
    """See the module. Takes and gives plain vectors (:mod:`pair_vector`), normalised inside."""

    mean: torch.Tensor
    std: torch.Tensor
    alphas: torch.Tensor
    mirror: torch.Tensor
    starts: torch.Tensor
    ends: torch.Tensor

    def __init__(self, config: PriorConfig, hand_model: HandModel) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.chain = HandChain(hand_model)
        self.register_buffer("mean", torch.zeros(PAIR))
        self.register_buffer("std", torch.ones(PAIR))
        self.register_buffer("alphas", torch.tensor(cosine_alphas_cumprod(), dtype=torch.float32), False)
        self.register_buffer("mirror", torch.tensor([-1.0, 1.0, 1.0]), False)
        starts = torch.tensor(JOINT_KEYPOINTS.tolist())
        ends = starts + 1
        ends[0] = MIDDLE_MCP
        self.register_buffer("starts", starts, False)
        self.register_buffer("ends", ends, False)
        scale = _JOINT_FEATURES**-0.5
        self.embed_joints = nn.Parameter(torch.randn(NUM_JOINTS, _JOINT_FEATURES, width) * scale)
        self.embed_shape = nn.Linear(_SHAPE_FEATURES, width)
        self.embed_relation = nn.Linear(_RELATION_FEATURES, width)
        self.kinds = nn.Parameter(torch.randn(TOKENS, width) * 0.5)
        self.embed_time = mlp(width, width, width)
        self.layers = nn.ModuleList(_Layer(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        # At first nothing is changed, and x_t hardly trusted.
        self.tell_joints = nn.Parameter(torch.zeros(NUM_JOINTS, width, 6))
        self.tell_shape = nn.Linear(width, SHAPE)
        self.tell_relation = nn.Linear(width, 3)
        self.trust = nn.Linear(width, 1)
        for layer in (self.tell_shape, self.tell_relation, self.trust):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.trust.bias, -2.0)

    def forward(
        self, x_t: torch.Tensor, t: torch.Tensor, condition: torch.Tensor, confidence: torch.Tensor
    ) -> torch.Tensor:
        """x0 (B, PAIR) of noisy vectors.

        Args:
            x_t: (B, PAIR), plain numbers: ``mean + std * x`` of the noisy normalised ones ``x``.
            t: times (B,), 0..999.
            condition: the estimate (B, PAIR), its rotations orthonormal.
            confidence: (B, CONFIDENCES), see :func:`pair_vector.confidences`.
        """
        signal = self.alphas[t.long()].reshape(-1, 1, 1)
        turn = matrix_from_6d(condition[:, : 2 * HAND].reshape(-1, 2, HAND)[..., :6])
        mean = torch.cat([self.mean[:HAND], self.mean[2 * HAND :]])
        std = torch.cat([self.std[:HAND], self.std[2 * HAND :]])
        noisy, noisy_other = self._views(x_t, turn)
        known, known_other = self._views(condition, turn)
        points = self._points(known, turn)
        noisy, known = (noisy - mean) / std, (known - mean) / std
        sure = confidence.reshape(-1, 2, TOKENS, 1)
        joints = torch.cat([_joints(noisy), _joints(known), sure[:, :, :NUM_JOINTS], points], dim=-1)
        shape = torch.cat([noisy[..., _SHAPE], known[..., _SHAPE], sure[:, :, NUM_JOINTS]], dim=-1)
        relation = [noisy[..., HAND:], known[..., HAND:], noisy_other / std[:6], known_other / std[:6]]
        # The viewing axis is the camera's z, in both hands' worlds.
        relation = torch.cat([*relation, turn[..., 2, :], sure[:, :, NUM_JOINTS + 1]], dim=-1)
        tokens = [torch.einsum("bhjf,jfw->bhjw", joints, self.embed_joints)]
        tokens += [self.embed_shape(shape)[:, :, None], self.embed_relation(relation)[:, :, None]]
        x = torch.cat(tokens, dim=2) + self.kinds
        x = x + self.embed_time(_waves(t.to(x.dtype), self.config.width))[:, None, None]
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        moved = [torch.einsum("bhjw,jwn->bhjn", x[:, :, :NUM_JOINTS], self.tell_joints).flatten(2)]
        moved += [self.tell_shape(x[:, :, NUM_JOINTS]), self.tell_relation(x[:, :, NUM_JOINTS + 1])]
        trust = self.trust(x).sigmoid()
        sizes = (NUM_JOINTS, 6), (1, SHAPE), (1, 3)
        parts = trust.split([count for count, _ in sizes], dim=2)
        trust = torch.cat([p.expand(-1, -1, -1, n).flatten(2) for p, (_, n) in zip(parts, sizes, strict=True)], dim=-1)
        guess = noisy * (signal.sqrt() / (signal + _WIDE * (1.0 - signal)))
        told = known + trust * (guess - known) + torch.cat(moved, dim=-1)
        return self._joined(told * std + mean, turn)

    def normalised(self, x: torch.Tensor) -> torch.Tensor:
        """Vectors (..., PAIR) in numbers of mean 0 and standard deviation 1."""
        return (x - self.mean) / self.std

    def plain(self, x: torch.Tensor) -> torch.Tensor:
        """The inverse of :meth:`normalised`."""
        return self.mean + self.std * x

    def _views(self, x: torch.Tensor, turn: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The pair as each hand sees it whose orientation is ``turn`` (B, 2, 3, 3): its numbers and the vector to the
        other wrist (B, 2, HAND + 3), and the first two columns of the other's orientation (B, 2, 6)."""
        hands, relation = x[:, : 2 * HAND].reshape(-1, 2, HAND), x[:, 2 * HAND :]
        to_other = torch.stack([-relation * self.mirror, relation], dim=1)
        columns = hands[..., :6].unflatten(-1, (2, 3))
        # In a hand's own world the other one is a left hand: its columns are those of S R S.
        others = columns.flip(1) * self.mirror * self.mirror[:2, None]
        rows = torch.cat([columns, others, to_other[:, :, None]], dim=2) @ turn
        own = torch.cat([rows[:, :, :2].flatten(2), hands[..., 6:], rows[:, :, 4]], dim=-1)
        return own, rows[:, :, 2:4].flatten(2)

    def _joined(self, own: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
        """The vector (B, PAIR) of what the hands say each of itself and of the other wrist (B, 2, HAND + 3)."""
        rows = torch.cat([own[..., :6].unflatten(-1, (2, 3)), own[:, :, None, HAND:]], dim=2) @ turn.transpose(-1, -2)
        hands = torch.cat([rows[:, :, :2].flatten(2), own[..., 6:HAND]], dim=-1)
        relation = 0.5 * (rows[:, 1, 2] - rows[:, 0, 2] * self.mirror)
        return torch.cat([hands.flatten(1), relation], dim=-1)

    def _points(self, known: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
        """Where both ends of each joint's bone are, seen from its own and from the other wrist (B, 2, 16, 12)."""
        rotations, betas = matrix_from_6d(_joints(known)), known[..., _SHAPE]
        keypoints = self.chain(rotations.flatten(0, 1), betas.flatten(0, 1)).unflatten(0, (-1, 2))
        points = torch.cat([keypoints[:, :, self.starts], keypoints[:, :, self.ends]], dim=2)
        across = (points - known[:, :, None, HAND:]) @ turn.transpose(-1, -2) * self.mirror @ turn.flip(1)
        ends = torch.cat([points, across], dim=2) / _LENGTH
        return ends.unflatten(2, (4, NUM_JOINTS)).transpose(2, 3).flatten(3)


_SHAPE = slice(NUM_JOINTS * 6, HAND)


def _joints(own: torch.Tensor) -> torch.Tensor:
    return own[..., : NUM_JOINTS * 6].unflatten(-1, (NUM_JOINTS, 6))


def _waves(t: torch.Tensor, width: int) -> torch.Tensor:
    """Times (B,) as sines and cosines (B, width) (Vaswani et al. 2017)."""
    steps = torch.arange(width // 2, dtype=t.dtype, device=t.device) * (-math.log(10000.0) / (width // 2))
    angles = t[:, None] * steps.exp()
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class _Layer(nn.Module):
    """Pre-norm transformer layer: a hand's tokens look at their own and at the other hand's."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.other = nn.Parameter(torch.randn(2 * width) * 0.5)
        self.out, self.feed = nn.Linear(width, width), mlp(width, 2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (B, 2, N, width) of both hands."""
        normed = self.norm(x)
        query = self._split(self.query(normed).flatten(0, 1))
        seen = self.key_value(normed)
        seen = torch.cat([seen, seen.flip(1) + self.other], dim=2).flatten(0, 1)
        key, value = (self._split(part) for part in seen.chunk(2, dim=-1))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(mixed.transpose(1, 2).flatten(2)).reshape(x.shape)
        return x + self.feed(self.norm_feed(x))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
