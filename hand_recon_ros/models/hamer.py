"""HaMeR: a ViT-H backbone and a cross-attention head that predicts MANO's parameters from one crop of a right hand.

Pavlakos et al., "Reconstructing Hands in 3D with Transformers" (CVPR 2024). Written from the paper and from the layout
of the published checkpoint, whose names the modules have.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import nn
from torch.nn import functional

from .mano_parameters import BETAS_SIZE, CAMERA_SIZE, POSE_SIZE, ManoParameters
from .vit import VisionTransformer, VitConfig, are_sizes

DECODER_HEAD_SIZE = 64
"""Channels of an attention head of the decoder."""


@dataclasses.dataclass(frozen=True)
class HamerConfig:
    """Size of the network; the defaults are those of the published checkpoint.

    Attributes:
        vit: of the backbone.
        dim, depth, heads, mlp_dim: of the decoder.
    """

    vit: VitConfig = dataclasses.field(default_factory=VitConfig)
    dim: int = 1024
    depth: int = 6
    heads: int = 8
    mlp_dim: int = 1024

    def __post_init__(self) -> None:
        if not are_sizes(self.dim, self.depth, self.heads, self.mlp_dim):
            raise ValueError(f"not the size of a decoder: {self}")


class PreNorm(nn.Module):
    """A module behind a layer norm, named as in the checkpoint."""

    def __init__(self, dim: int, module: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = module

    def forward(self, tokens: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        return self.fn(self.norm(tokens), *others)


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
    """Attention of tokens (B, N, heads * size) to others (B, M, heads * size)."""
    query, key, value = (tokens.unflatten(-1, (heads, -1)).transpose(1, 2) for tokens in (query, key, value))
    return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


class DecoderSelfAttention(nn.Module):
    """Attention among tokens (B, N, dim)."""

    def __init__(self, config: HamerConfig) -> None:
        super().__init__()
        self.heads, inner = config.heads, config.heads * DECODER_HEAD_SIZE
        self.to_qkv = nn.Linear(config.dim, 3 * inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, config.dim))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        query, key, value = self.to_qkv(tokens).chunk(3, dim=-1)
        return self.to_out(_attention(query, key, value, self.heads))


class DecoderCrossAttention(nn.Module):
    """Attention of tokens (B, N, dim) to the image's (B, 192, vit.dim)."""

    def __init__(self, config: HamerConfig) -> None:
        super().__init__()
        self.heads, inner = config.heads, config.heads * DECODER_HEAD_SIZE
        self.to_kv = nn.Linear(config.vit.dim, 2 * inner, bias=False)
        self.to_q = nn.Linear(config.dim, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, config.dim))

    def forward(self, tokens: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        key, value = self.to_kv(image).chunk(2, dim=-1)
        return self.to_out(_attention(self.to_q(tokens), key, value, self.heads))


class DecoderPerceptron(nn.Module):
    """Each token (..., dim) by itself; number 2 of the checkpoint's sequence is a dropout."""

    def __init__(self, config: HamerConfig) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(config.dim, config.mlp_dim), nn.GELU(), nn.Identity(), nn.Linear(config.mlp_dim, config.dim)
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.net(tokens)


class DecoderLayers(nn.Module):
    """All layers of the decoder: self-attention, cross-attention, perceptron."""

    def __init__(self, config: HamerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(
                PreNorm(config.dim, part(config))
                for part in (DecoderSelfAttention, DecoderCrossAttention, DecoderPerceptron)
            )
            for _ in range(config.depth)
        )

    def forward(self, tokens: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        for attention, cross_attention, perceptron in self.layers:
            tokens = tokens + attention(tokens)
            tokens = tokens + cross_attention(tokens, image)
            tokens = tokens + perceptron(tokens)
        return tokens


class Decoder(nn.Module):
    """One query token, whose input is zero, that reads the image's tokens (B, 192, vit.dim); gives (B, dim)."""

    def __init__(self, config: HamerConfig) -> None:
        super().__init__()
        self.to_token_embedding = nn.Linear(1, config.dim)
        self.pos_embedding = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.transformer = DecoderLayers(config)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        token = self.to_token_embedding(image.new_zeros(len(image), 1, 1)) + self.pos_embedding
        return self.transformer(token, image)[:, 0]


class HamerHead(nn.Module):
    """MANO's parameters from the image's tokens (B, 192, vit.dim), as differences from mean parameters."""

    init_hand_pose: torch.Tensor
    init_betas: torch.Tensor
    init_cam: torch.Tensor

    def __init__(self, config: HamerConfig) -> None:
        super().__init__()
        self.transformer = Decoder(config)
        self.decpose = nn.Linear(config.dim, POSE_SIZE)
        self.decshape = nn.Linear(config.dim, BETAS_SIZE)
        self.deccam = nn.Linear(config.dim, CAMERA_SIZE)
        self.register_buffer("init_hand_pose", torch.zeros(1, POSE_SIZE))
        self.register_buffer("init_betas", torch.zeros(1, BETAS_SIZE))
        self.register_buffer("init_cam", torch.zeros(1, CAMERA_SIZE))

    def forward(self, image: torch.Tensor) -> ManoParameters:
        token = self.transformer(image)
        mean = ManoParameters(self.init_hand_pose, self.init_betas, self.init_cam)
        return mean.plus(self.decpose(token), self.decshape(token), self.deccam(token))


class HamerNetwork(nn.Module):
    """From crops (B, 3, 256, 192) of right hands, normalised, to ManoParameters."""

    def __init__(self, config: HamerConfig | None = None) -> None:
        super().__init__()
        self.config = config or HamerConfig()
        self.backbone = VisionTransformer(self.config.vit)
        self.mano_head = HamerHead(self.config)

    def forward(self, images: torch.Tensor) -> ManoParameters:
        return self.mano_head(self.backbone.tokens(images))
