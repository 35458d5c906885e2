"""The vision transformer of HaMeR and WiLoR: ViT-H/16 of ViTPose, at 256 x 192 pixels.

Dosovitskiy et al., "An Image is Worth 16x16 Words" (ICLR 2021); Xu et al., "ViTPose" (NeurIPS 2022). Modules are named
as in the published checkpoints, so that their weights fit.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn
from torch.nn import functional

IMAGE_SIZE = (256, 192)
"""Height and width of the input, pixels."""
GRID = (16, 12)
"""Rows and columns of patches."""
HEAD_SIZE = 80
"""Channels of an attention head."""
LOWERED = ("patch_embed.", "pos_embed", "blocks.", "last_norm.")
"""Beginnings of the names of parameters that may be in lower precision."""
_PATCH, _PADDING = 16, 2
_EPSILON = 1e-6
_LARGEST = 2**15


@dataclasses.dataclass(frozen=True)
class VitConfig:
    """Size of the transformer; the defaults are ViT-H.

    Attributes:
        dim: channels of a token, a multiple of HEAD_SIZE.
        depth: number of blocks.
        mlp_dim: channels inside a block's perceptron.
    """

    dim: int = 1280
    depth: int = 32
    mlp_dim: int = 5120

    def __post_init__(self) -> None:
        if not are_sizes(self.dim, self.depth, self.mlp_dim) or self.dim % HEAD_SIZE:
            raise ValueError(f"not the size of a ViT with heads of {HEAD_SIZE} channels: {self}")

    @property
    def heads(self) -> int:
        """Number of attention heads."""
        return self.dim // HEAD_SIZE


def are_sizes(*numbers: Any) -> bool:
    """Whether these are whole numbers that a network can have as sizes."""
    return all(type(number) is int and 1 <= number <= _LARGEST for number in numbers)


class PatchEmbedding(nn.Module):
    """Images (B, 3, 256, 192) as tokens (B, 192, dim), row by row.

    The convolution is padded by two pixels, so that patch (0, 0) begins at pixel (-2, -2).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, _PATCH, stride=_PATCH, padding=_PADDING)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.proj(images).flatten(2).mT


class SelfAttention(nn.Module):
    """Attention among tokens (B, N, dim)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)  # (B, heads, N, HEAD_SIZE)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    """Each token (..., dim) by itself, with exact GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.fc2(functional.gelu(self.fc1(tokens)))


class Block(nn.Module):
    """One pre-norm block on tokens (B, N, dim)."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=_EPSILON)
        self.attn = SelfAttention(config.dim, config.heads)
        self.norm2 = nn.LayerNorm(config.dim, eps=_EPSILON)
        self.mlp = Perceptron(config.dim, config.mlp_dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class VisionTransformer(nn.Module):
    """Images, with tokens of the caller in front, through all blocks.

    The blocks may be in lower precision than the rest of a network, see :meth:`set_precision`.
    """

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbedding(config.dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + GRID[0] * GRID[1], config.dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.last_norm = nn.LayerNorm(config.dim, eps=_EPSILON)

    def set_precision(self, dtype: torch.dtype) -> None:
        """The type in which patches and blocks are computed; what is in front of and behind them stays float32."""
        for name, value in self.named_parameters():
            if name.startswith(LOWERED):
                value.data = value.data.to(dtype)

    def tokens(self, images: torch.Tensor, front: torch.Tensor | None = None) -> torch.Tensor:
        """Tokens (B, E + 192, dim), float32, after the last norm.

        Args:
            images: (B, 3, 256, 192), normalised.
            front: (B, E, dim), tokens that are prepended; None for none.
        """
        dtype = self.pos_embed.dtype
        # The first position is that of the class token of the pretraining, which is none here; it is added to all.
        tokens = self.patch_embed(images.to(dtype)) + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        if front is not None:
            tokens = torch.cat([front.to(dtype), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.last_norm(tokens).float()
