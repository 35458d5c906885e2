"""The network of the two-hand diffusion prior: predicts a pair of hands from a noisy pair and an estimate (torch).

After the refinement of "Aligning Foundation Model Priors and Diffusion-Based Hand Interactions for Occlusion-Resistant
Two-Hand Reconstruction" (arXiv:2503.17788): the inputs of a transformer are both hands' parameters with noise, the time
step and the estimate; it predicts x0, as in MDM (Tevet et al., arXiv:2209.14916). Tokens: each hand's 16 joints, its
shape, and the other hand relative to it. No sample of a batch depends on another.

Symmetry is built in. Each hand's numbers are given relative to its own estimated orientation, with everything mirrored
so that it is a right hand: orientations, the vector to the other wrist and the other hand, in the input and in the
output. Both hands go through the same weights, and their two predictions of the vector between the wrists are averaged.
So swapping the hands in a mirror swaps and mirrors the result, and rotating the pair rotates it, exactly; the one
exception is the camera's viewing axis, which is an input because depth is the least certain part of an estimate. Away
from the image's centre the axis is not quite the ray to the hands; the training corrupts estimates along rays about it.
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
_TRANSLATION_FEATURES = 3 + 3 + 6 + 6 + 3 + 1
_LENGTH = 0.1
"""Unit of positions in the input, metres."""
_PRIOR_PRECISION = 0.05
"""1 / variance of the normal distribution of x0 under which x0 is estimated from x_t alone."""


@dataclasses.dataclass(frozen=True)
class PriorConfig:
    """The size of a prior."""

    width: int = setting(128, "numbers in a token", low=16, high=1024)
    layers: int = setting(4, "layers of the transformer", low=1, high=12)
    heads: int = setting(4, "attention heads", low=1, high=16)


class TwoHandPrior(nn.Module):
    """See the module. Takes and returns plain vectors (:mod:`pair_vector`), normalised inside."""

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
        self.embed_translation = nn.Linear(_TRANSLATION_FEATURES, width)
        self.token_embedding = nn.Parameter(torch.randn(TOKENS, width) * 0.5)
        self.embed_timestep = mlp(width, width, width)
        self.layers = nn.ModuleList(_Layer(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        # The initial output is close to the estimate: no correction, and a small weight of x_t.
        self.output_joints = nn.Parameter(torch.zeros(NUM_JOINTS, width, 6))
        self.output_shape = nn.Linear(width, SHAPE)
        self.output_translation = nn.Linear(width, 3)
        self.output_weight = nn.Linear(width, 1)
        for layer in (self.output_shape, self.output_translation, self.output_weight):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.output_weight.bias, -2.0)

    def forward(
        self, x_t: torch.Tensor, t: torch.Tensor, condition: torch.Tensor, confidence: torch.Tensor
    ) -> torch.Tensor:
        """The predicted x0 (B, PAIR) of noisy vectors.

        Args:
            x_t: (B, PAIR), plain: ``mean + std * x`` of noisy normalised vectors ``x``.
            t: time steps (B,), 0..999.
            condition: the estimate (B, PAIR), its rotations orthonormal.
            confidence: (B, CONFIDENCES), see :func:`pair_vector.confidences`.
        """
        signal = self.alphas[t.long()].reshape(-1, 1, 1)
        orientation = matrix_from_6d(condition[:, : 2 * HAND].reshape(-1, 2, HAND)[..., :6])
        mean = torch.cat([self.mean[:HAND], self.mean[2 * HAND :]])
        std = torch.cat([self.std[:HAND], self.std[2 * HAND :]])
        noisy, noisy_other = self._relative(x_t, orientation)
        estimate, estimate_other = self._relative(condition, orientation)
        points = self._bone_ends(estimate, orientation)
        noisy, estimate = (noisy - mean) / std, (estimate - mean) / std
        confidence = confidence.reshape(-1, 2, TOKENS, 1)
        joints = torch.cat([_joints(noisy), _joints(estimate), confidence[:, :, :NUM_JOINTS], points], dim=-1)
        shape = torch.cat([noisy[..., _SHAPE], estimate[..., _SHAPE], confidence[:, :, NUM_JOINTS]], dim=-1)
        translation = [noisy[..., HAND:], estimate[..., HAND:], noisy_other / std[:6], estimate_other / std[:6]]
        # The viewing axis is the camera's z, mirrored or not.
        translation += [orientation[..., 2, :], confidence[:, :, NUM_JOINTS + 1]]
        tokens = [torch.einsum("bhjf,jfw->bhjw", joints, self.embed_joints), self.embed_shape(shape)[:, :, None]]
        tokens.append(self.embed_translation(torch.cat(translation, dim=-1))[:, :, None])
        x = torch.cat(tokens, dim=2) + self.token_embedding
        x = x + self.embed_timestep(_sinusoids(t.to(x.dtype), self.config.width))[:, None, None]
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        correction = [torch.einsum("bhjw,jwn->bhjn", x[:, :, :NUM_JOINTS], self.output_joints).flatten(2)]
        correction += [self.output_shape(x[:, :, NUM_JOINTS]), self.output_translation(x[:, :, NUM_JOINTS + 1])]
        weight = self.output_weight(x).sigmoid()
        sizes = (NUM_JOINTS, 6), (1, SHAPE), (1, 3)
        parts = weight.split([count for count, _ in sizes], dim=2)
        weight = torch.cat(
            [part.expand(-1, -1, -1, n).flatten(2) for part, (_, n) in zip(parts, sizes, strict=True)], dim=-1
        )
        from_x_t = noisy * (signal.sqrt() / (signal + _PRIOR_PRECISION * (1.0 - signal)))
        x0 = estimate + weight * (from_x_t - estimate) + torch.cat(correction, dim=-1)
        return self._joined(x0 * std + mean, orientation)

    def normalised(self, x: torch.Tensor) -> torch.Tensor:
        """Vectors (..., PAIR) scaled to mean 0 and standard deviation 1."""
        return (x - self.mean) / self.std

    def plain(self, x: torch.Tensor) -> torch.Tensor:
        """The inverse of :meth:`normalised`."""
        return self.mean + self.std * x

    def _relative(self, x: torch.Tensor, orientation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The pair relative to each hand's ``orientation`` (B, 2, 3, 3): its numbers and the vector to the other wrist
        (B, 2, HAND + 3), and the first two columns of the other's orientation (B, 2, 6)."""
        hands, vector = x[:, : 2 * HAND].reshape(-1, 2, HAND), x[:, 2 * HAND :]
        to_other = torch.stack([-vector * self.mirror, vector], dim=1)
        columns = hands[..., :6].unflatten(-1, (2, 3))
        # Beside a right hand the other one is a left hand: its columns are those of S R S.
        others = columns.flip(1) * self.mirror * self.mirror[:2, None]
        rows = torch.cat([columns, others, to_other[:, :, None]], dim=2) @ orientation
        own = torch.cat([rows[:, :, :2].flatten(2), hands[..., 6:], rows[:, :, 4]], dim=-1)
        return own, rows[:, :, 2:4].flatten(2)

    def _joined(self, own: torch.Tensor, orientation: torch.Tensor) -> torch.Tensor:
        """The vector (B, PAIR) of each hand's numbers and vector to the other wrist (B, 2, HAND + 3), as
        :meth:`_relative` gives them."""
        rows = torch.cat([own[..., :6].unflatten(-1, (2, 3)), own[:, :, None, HAND:]], dim=2)
        rows = rows @ orientation.transpose(-1, -2)
        hands = torch.cat([rows[:, :, :2].flatten(2), own[..., 6:HAND]], dim=-1)
        vector = 0.5 * (rows[:, 1, 2] - rows[:, 0, 2] * self.mirror)
        return torch.cat([hands.flatten(1), vector], dim=-1)

    def _bone_ends(self, estimate: torch.Tensor, orientation: torch.Tensor) -> torch.Tensor:
        """Both ends of each joint's bone relative to its own and to the other wrist (B, 2, 16, 12)."""
        rotations, betas = matrix_from_6d(_joints(estimate)), estimate[..., _SHAPE]
        keypoints = self.chain(rotations.flatten(0, 1), betas.flatten(0, 1)).unflatten(0, (-1, 2))
        points = torch.cat([keypoints[:, :, self.starts], keypoints[:, :, self.ends]], dim=2)
        across = (points - estimate[:, :, None, HAND:]) @ orientation.transpose(-1, -2)
        ends = torch.cat([points, across * self.mirror @ orientation.flip(1)], dim=2) / _LENGTH
        return ends.unflatten(2, (4, NUM_JOINTS)).transpose(2, 3).flatten(3)


_SHAPE = slice(NUM_JOINTS * 6, HAND)


def _joints(own: torch.Tensor) -> torch.Tensor:
    return own[..., : NUM_JOINTS * 6].unflatten(-1, (NUM_JOINTS, 6))


def _sinusoids(t: torch.Tensor, width: int) -> torch.Tensor:
    """Sinusoidal embedding (B, width) of time steps (B,) (Vaswani et al. 2017)."""
    steps = torch.arange(width // 2, dtype=t.dtype, device=t.device) * (-math.log(10000.0) / (width // 2))
    angles = t[:, None] * steps.exp()
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class _Layer(nn.Module):
    """Pre-norm transformer layer: a hand's tokens attend to their own and to the other hand's."""

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
        key_value = self.key_value(normed)
        key_value = torch.cat([key_value, key_value.flip(1) + self.other], dim=2).flatten(0, 1)
        key, value = (self._split(part) for part in key_value.chunk(2, dim=-1))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(mixed.transpose(1, 2).flatten(2)).reshape(x.shape)
        return x + self.feed(self.norm_feed(x))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
