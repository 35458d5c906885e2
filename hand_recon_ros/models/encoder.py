"""The Fusion Alignment Encoder: two crops in, the parameters of both hands and their relation out.

After "Aligning Foundation Model Priors and Diffusion-Based Hand Interactions for Occlusion-Resistant Two-Hand
Reconstruction" (arXiv:2503.17788). An image backbone gives the tokens F_i. In training a projection fuses the maps of
foundation models (:mod:`priors`) into tokens F_p, and a second backbone learns to say the same from the image alone:
its F_fa follow F_p, whose gradient is stopped, so that the two cannot agree on a constant. Both F_p and F_fa go through
the same transformer and heads in training; at inference there is F_fa only. Each has a token for every cell of the
crop, and one that sums up: of the priors it is made of the keypoints' places as numbers. The heads see these tokens as
they are beside what the transformer makes of them.

Both crops show right hands (see :class:`crop_frame.CropFrame`) and go through the same weights. A hand's tokens attend
to its own and to the other hand's, which are told apart by where the other crop lies, not by which side it is: swapping
and mirroring the hands swaps and mirrors the result, exactly.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import nn

from ..config import setting
from ..datasets import priors
from ..encode.crop_frame import PAIR_FEATURES, RAY_FEATURES
from ..encode.outputs import HandsOutput
from ..hand_model import HandModel
from .backbones import Backbone, Reading, make_backbones
from .encoder_heads import HeadOutputs, Heads, OtherHand, mlp
from .hand_kinematics import HandChain
from .other_wrist import to_other_wrist


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """What an encoder is made of."""

    size: str = setting("small", "small: landmark trunk, for CPUs; base: two ResNet-50", choices=("small", "base"))
    width: int = setting(128, "numbers in a token", low=16, high=1024)
    layers: int = setting(3, "layers of the transformer", low=1, high=12)
    heads: int = setting(4, "attention heads", low=1, high=16)
    fusion: str = setting(
        "aligned",
        "none: image tokens alone; unaligned: a second backbone without alignment; aligned: it follows the priors; "
        "priors: priors at inference too",
        choices=("none", "unaligned", "aligned", "priors"),
    )
    prior_groups: str = setting("keypoints,segmentation,depth", "maps the projection gets")
    backbone: str = setting("", "weights of the backbone: a local path, or empty for the ones that come with the size")
    pretrained: bool = setting(True, "start the image backbone from weights that know hands; false: from scratch")


class EncoderOutput(NamedTuple):
    """The result, and in training that of the priors' path and the two sets of tokens that are to agree.

    ``votes`` and ``teacher_votes`` are both paths' keypoints (B, H, 21, 2) by the votes of the cells alone.
    """

    hands: HandsOutput
    votes: torch.Tensor
    teacher: HandsOutput | None
    teacher_votes: torch.Tensor | None
    imagined: torch.Tensor | None
    fused: torch.Tensor | None


class FusionAlignmentEncoder(nn.Module):
    """See the module. Stems are computed by :meth:`stem`, everything else by :meth:`forward`.

    The stem, the part of the image backbone that is not trained, is separate so that a data loader can run it.
    """

    def __init__(self, config: EncoderConfig, hand_model: HandModel, weights_follow: bool = False) -> None:
        """``weights_follow`` leaves out the weights the backbones start from: all of them will be loaded."""
        super().__init__()
        self.config = config
        self.backbones: Backbone = make_backbones(config, weights_follow)
        width, grid = config.width, self.backbones.grid
        self.chain = HandChain(hand_model)
        self.project_image = nn.Conv2d(self.backbones.image_channels, width, 1)
        told = self.backbones.pooled_channels + (_READING if self.backbones.reads else 0)
        self.project_pooled = nn.Linear(told, width)
        self.places = nn.Parameter(_waves(grid, width))
        self.kinds = nn.Parameter(torch.randn(4, width) * 0.5)  # pooled, image, second, the other hand's
        self.embed_ray = mlp(RAY_FEATURES, width, width)
        self.embed_pair = mlp(PAIR_FEATURES, width, width)
        if config.fusion in ("aligned", "priors"):
            self.project_priors = _PriorProjection(width, grid, config.prior_groups)
        if config.fusion in ("unaligned", "aligned"):
            self.project_second = nn.Sequential(nn.Conv2d(self.backbones.second_channels, width, 1), nn.GELU(),
                                                nn.Conv2d(width, width, 1))  # fmt: skip
            self.sum_up = mlp(told, 2 * width, width)
        self.layers = nn.ModuleList(_Layer(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.heads = Heads(width if config.fusion == "none" else 2 * width, width, grid, told)
        self.find_other = OtherHand(width, grid)

    def stem(self, crops: torch.Tensor) -> torch.Tensor:
        """Features of crops (N, 3, S, S), RGB in 0..1, that are not trained."""
        return self.backbones.stem(crops)

    def stems_of(self, crops: torch.Tensor) -> torch.Tensor:
        """:meth:`stem` of pairs of pictures, (B, 2, S, S, 3) uint8 RGB to (B, 2, ...)."""
        stems = self.stem(crops.flatten(0, 1).permute(0, 3, 1, 2).float() / 255.0)
        return stems.reshape(-1, 2, *stems.shape[1:])

    def forward(
        self,
        stems: torch.Tensor,
        rays: torch.Tensor,
        pairs: torch.Tensor,
        others: torch.Tensor,
        prior_maps: torch.Tensor | None = None,
    ) -> EncoderOutput:
        """What is to be said of B pairs of crops, left then right, or of B single ones (H = 2 or 1).

        Args:
            stems: :meth:`stem` of the crops, (B, H, ...).
            rays: (B, H, RAY_FEATURES), see CropFrame.ray_features.
            pairs: (B, H, PAIR_FEATURES), see CropFrame.pair_features.
            others: (B, H) 1 where there is a crop of the other hand; where there is none, none is looked at.
            prior_maps: (B, H, priors.CHANNELS, GRID, GRID), in training and for ``fusion="priors"``.
        """
        image, second, pooled, reading = self.backbones(stems.flatten(0, 1))
        if reading is not None:
            pooled = torch.cat([pooled, _numbers(reading)], dim=-1)
        ray = self.embed_ray(rays).flatten(0, 1)
        head = (self.project_pooled(pooled) + self.kinds[0] + ray)[:, None]
        first = self._unit(self.project_image(image)) + self.places + self.kinds[1]
        imagined = fused = None
        if self.config.fusion in ("aligned", "priors") and prior_maps is not None:
            fused = self.project_priors(prior_maps.flatten(0, 1))
        if self.config.fusion in ("unaligned", "aligned"):
            summary = nn.functional.layer_norm(self.sum_up(pooled), (self.config.width,))
            imagined = torch.cat([summary[:, None], self._unit(self.project_second(second))], dim=1)
        if self.config.fusion == "priors":
            if fused is None:
                raise ValueError("an encoder with fusion 'priors' needs prior_maps at inference too")
            hands, votes = self._read(head, first, fused, rays, pairs, others, pooled, reading)
            return EncoderOutput(hands, votes, None, None, None, None)
        hands, votes = self._read(head, first, imagined, rays, pairs, others, pooled, reading)
        if self.config.fusion != "aligned" or fused is None:
            return EncoderOutput(hands, votes, None, None, imagined, None)
        teacher, teacher_votes = self._read(head, first, fused, rays, pairs, others, pooled, reading)
        return EncoderOutput(hands, votes, teacher, teacher_votes, imagined, fused)

    def _unit(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps (N, width, h, w) as tokens (N, h * w, width) of unit variance."""
        return nn.functional.layer_norm(_tokens(maps), (self.config.width,))

    def _read(
        self,
        head: torch.Tensor,
        first: torch.Tensor,
        second: torch.Tensor | None,
        rays: torch.Tensor,
        pairs: torch.Tensor,
        others: torch.Tensor,
        pooled: torch.Tensor,
        reading: Reading | None,
    ) -> tuple[HandsOutput, torch.Tensor]:
        tokens = [head, first]
        if second is not None:
            tokens.append(second + nn.functional.pad(self.places, (0, 0, 1, 0)) + self.kinds[2])
        x = torch.cat(tokens, dim=1)
        batch = pairs.shape[0]
        x = x.reshape(batch, -1, *x.shape[1:])
        other = (self.embed_pair(pairs) + self.kinds[3])[:, :, None]
        hidden = others < 0.5
        for layer in self.layers:
            x = layer(x, x.flip(1) + other, hidden)
        # Both tokens of a place tell of it, and the second also as it came.
        if second is None:
            kept = self.norm(x).flatten(0, 1)
        else:
            kept = torch.cat([self.norm(sum(x.chunk(2, dim=2))).flatten(0, 1), second], dim=-1)
        # Told from what this crop shows, before anything is known of another.
        found = self.find_other(first if second is None else first + second[:, 1:])
        said: HeadOutputs = self.heads(kept, pooled, reading, found, self.chain)
        hands = HandsOutput(*(part.reshape(batch, -1, *part.shape[1:]) for part in said.hands))
        # Where both crops show their wrists lies the other one; how far behind this one can also be told outright.
        seen = to_other_wrist(hands.keypoints_2d[..., 0, :], hands.log_crop_width, rays, pairs) * others[..., None]
        trust = said.trust.reshape(batch, -1, 1).sigmoid()
        behind = seen[..., 2:].lerp(hands.to_other[..., 2:], trust)
        to_other = torch.cat([seen[..., :2] + 0.1 * hands.to_other[..., :2], behind], dim=-1)
        return hands._replace(to_other=to_other), said.votes.reshape(batch, -1, *said.votes.shape[1:])


_READING = 21 * 2 + 21 * 3 + 2
_MASS = 6.0
"""About the sum of a heatmap of one keypoint."""


def _numbers(reading: Reading) -> torch.Tensor:
    """A reading as features (N, _READING) of one size."""
    logits = reading.logits.clamp(-8.0, 8.0) / 4.0
    return torch.cat([reading.places.flatten(1) * 4.0, reading.joints.flatten(1) * 15.0, logits], dim=-1)


def _waves(grid: int, width: int) -> torch.Tensor:
    """Where a token lies, (1, grid * grid, width): sines and cosines along both axes (Vaswani et al. 2017).

    They are as strong as the tokens themselves, so that those of one place find each other from the start.
    """
    cells = torch.arange(grid) / grid
    frequencies = 2.0 * torch.pi * torch.arange(1, width // 4 + 1) * grid / width
    angles = cells[:, None] * frequencies
    axis = torch.cat([angles.sin(), angles.cos()], dim=-1)
    rows, columns = axis[:, None].expand(grid, grid, -1), axis[None].expand(grid, grid, -1)
    return torch.cat([rows, columns], dim=-1).reshape(1, grid * grid, width)


def _tokens(maps: torch.Tensor) -> torch.Tensor:
    return maps.flatten(2).transpose(1, 2)


class _PriorProjection(nn.Module):
    """F_p = Proj(F_k, F_s, F_d): prior maps to tokens of unit variance, the one that sums up first."""

    def __init__(self, width: int, grid: int, groups: str) -> None:
        super().__init__()
        chosen = [name.strip() for name in groups.split(",") if name.strip()]
        unknown = set(chosen) - set(priors.GROUPS)
        if unknown:
            raise ValueError(f"prior_groups: unknown {sorted(unknown)}, expected some of {sorted(priors.GROUPS)}")
        mask = torch.zeros(priors.CHANNELS)
        for name in chosen:
            mask[priors.GROUPS[name]] = 1.0
        self.register_buffer("mask", mask[:, None, None])
        self.convolutions = nn.Sequential(
            nn.Conv2d(priors.CHANNELS, width, 3, 2, 1), nn.GELU(),
            nn.Conv2d(width, width, 3, 2, 1), nn.GELU(),
            nn.AdaptiveAvgPool2d(grid), nn.Conv2d(width, width, 1),
        )  # fmt: skip
        keypoints = priors.KEYPOINTS.stop - priors.KEYPOINTS.start
        self.sum_up = mlp(3 * keypoints + width, 2 * width, width)
        self.register_buffer("middles", (torch.arange(priors.GRID) + 0.5) / priors.GRID - 0.5, False)
        self.width = width

    middles: torch.Tensor

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        maps = maps * self.mask
        tokens = _tokens(self.convolutions(maps))
        numbers = torch.cat([self._keypoints(maps[:, priors.KEYPOINTS]), tokens.mean(dim=1)], dim=-1)
        tokens = torch.cat([self.sum_up(numbers)[:, None], tokens], dim=1)
        return nn.functional.layer_norm(tokens, (self.width,))

    def _keypoints(self, heat: torch.Tensor) -> torch.Tensor:
        """Middles of heatmaps (N, K, GRID, GRID) in quarters of the crop, and how much is in each: (N, 3 K)."""
        mass = heat.sum(dim=(2, 3))
        middles = [(heat.sum(dim=axis) * self.middles).sum(dim=-1) / (mass + 1e-3) for axis in (2, 3)]
        return torch.cat([*(4.0 * middle for middle in middles), (mass / _MASS).clamp(max=1.0)], dim=1)


class _Layer(nn.Module):
    """Pre-norm transformer layer: a hand's tokens look at their own and at the other hand's."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_other, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out, self.feed = nn.Linear(width, width), mlp(width, 4 * width, width)

    def forward(self, own: torch.Tensor, other: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """(B, H, N, width) each; ``hidden`` (B, H) says whose other hand is not there."""
        batch, _, count, width = own.shape
        normed = self.norm(own)
        seen = torch.cat([normed, self.norm_other(other)], dim=2).flatten(0, 1)
        query = self._split(self.query(normed.flatten(0, 1)))
        key, value = (self._split(part) for part in self.key_value(seen).chunk(2, dim=-1))
        bias = hidden.reshape(-1, 1, 1, 1).to(own.dtype) * -1e4
        bias = torch.cat([torch.zeros_like(bias).expand(-1, -1, -1, count), bias.expand(-1, -1, -1, count)], dim=-1)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        own = own + self.out(mixed.transpose(1, 2).reshape(batch, -1, count, width))
        return own + self.feed(self.norm_feed(own))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)
