"""The Fusion Alignment Encoder: from two crops to the parameters of both hands and their relative translation.

After "Aligning Foundation Model Priors and Diffusion-Based Hand Interactions for Occlusion-Resistant Two-Hand
Reconstruction" (arXiv:2503.17788). An image backbone computes the tokens F_i. In training a projection fuses the maps
of foundation models (:mod:`datasets.priors`) into tokens F_p, and a second backbone learns to predict them from the
image alone: its tokens F_fa follow F_p, whose gradient is stopped, so that the two cannot collapse to a constant. In
training both F_p (teacher) and F_fa (student) go through the same transformer and heads; at inference there is F_fa
only. Each has one token per grid cell and a summary token: that of the priors is computed from the keypoints'
coordinates. The heads get these tokens beside the transformer's output.

Both crops show right hands (see :class:`encode.crop_frame.CropFrame`) and share all weights. A hand's tokens attend to
its own and to the other hand's tokens, which differ by the embedding of the other crop's position, not by the side:
swapping and mirroring the hands swaps and mirrors the result, exactly.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import nn

from ..config import setting
from ..datasets import priors
from ..encode.crop_frame import PAIR_FEATURES, RAY_FEATURES
from ..hand_model import HandModel
from .backbones import SHARED, Backbone, Features, LandmarkPrediction, make_backbones
from .encoder_heads import Heads, OtherHand, TrainingOutputs, mlp
from .hand_kinematics import HandChain
from .landmark_trunk import STAGES
from .other_wrist import to_other_wrist


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Architecture of an encoder."""

    size: str = setting("small", "small: landmark trunk, for CPUs; base: two ResNet-50", choices=("small", "base"))
    width: int = setting(128, "channels of a token", low=16, high=1024)
    layers: int = setting(3, "layers of the transformer", low=1, high=12)
    heads: int = setting(4, "attention heads", low=1, high=16)
    fusion: str = setting(
        "aligned",
        "none: image tokens alone; unaligned: a second backbone without alignment; aligned: it follows the priors; "
        "priors: priors at inference too",
        choices=("none", "unaligned", "aligned", "priors"),
    )
    prior_groups: str = setting("keypoints,segmentation,depth", "prior maps that the projection reads")
    backbone: str = setting("", "weights of the backbone: a local path, or empty for the ones that come with the size")
    pretrained: bool = setting(True, "start the image backbone from pretrained hand weights; false: from scratch")
    trained_from: str = setting(
        SHARED,
        "small: first stage of the second backbone that is its own, and trained; the ones before are the pipeline's",
        choices=tuple(stage.name for stage in STAGES[1:]),
    )


class EncoderOutput(NamedTuple):
    """Outputs for B pairs of crops; the last three in training of an aligned encoder only.

    Attributes:
        hands: predictions from the student's tokens, (B, H, ...).
        teacher: the same from the priors' tokens.
        predicted_tokens: F_fa (B * H, tokens, width), which follow ``prior_tokens``.
        prior_tokens: F_p, likewise.
    """

    hands: TrainingOutputs
    teacher: TrainingOutputs | None
    predicted_tokens: torch.Tensor | None
    prior_tokens: torch.Tensor | None


class FusionAlignmentEncoder(nn.Module):
    """See the module. Stems are computed by :meth:`stem`, everything else by :meth:`forward`.

    The stem, the part of the image backbone that is not trained, is separate so that a data loader can run it.
    """

    def __init__(self, config: EncoderConfig, hand_model: HandModel, load_weights: bool = True) -> None:
        """``load_weights`` False skips the backbones' pretrained weights, where a state dict will replace them."""
        super().__init__()
        self.config = config
        self.backbones: Backbone = make_backbones(config, load_weights)
        width, grid = config.width, self.backbones.grid
        self.chain = HandChain(hand_model)
        self.project_image = nn.Conv2d(self.backbones.image_channels, width, 1)
        pooled = self.backbones.pooled_channels + (_LANDMARK_FEATURES if self.backbones.predicts_landmarks else 0)
        self.project_pooled = nn.Linear(pooled, width)
        self.position_embedding = nn.Parameter(_sinusoids(grid, width))
        self.type_embedding = nn.Parameter(torch.randn(4, width) * 0.5)  # pooled, image, second, the other hand's
        self.embed_ray = mlp(RAY_FEATURES, width, width)
        self.embed_pair = mlp(PAIR_FEATURES, width, width)
        if config.fusion in ("aligned", "priors"):
            self.project_priors = _PriorProjection(width, grid, config.prior_groups)
        if config.fusion in ("unaligned", "aligned"):
            self.project_second = nn.Sequential(nn.Conv2d(self.backbones.second_channels, width, 1), nn.GELU(),
                                                nn.Conv2d(width, width, 1))  # fmt: skip
            self.project_summary = mlp(pooled, 2 * width, width)
        self.layers = nn.ModuleList(_Layer(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.heads = Heads(width if config.fusion == "none" else 2 * width, width, grid, pooled)
        self.other_hand = OtherHand(width, grid)

    def stem(self, crops: torch.Tensor) -> torch.Tensor:
        """Features of crops (N, 3, S, S), RGB in 0..1, that are not trained."""
        return self.backbones.stem(crops)

    def stems_of(self, crops: torch.Tensor) -> torch.Tensor:
        """:meth:`stem` of pairs of images, (B, 2, S, S, 3) uint8 RGB to (B, 2, ...)."""
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
        """Predict B pairs of hands from their crops, left then right (H = 2), or B single hands (H = 1).

        Args:
            stems: :meth:`stem` of the crops, (B, H, ...).
            rays: (B, H, RAY_FEATURES), see CropFrame.ray_features.
            pairs: (B, H, PAIR_FEATURES), see CropFrame.pair_features.
            others: (B, H) 1 where there is a crop of the other hand; where it is 0, its tokens are masked.
            prior_maps: (B, H, priors.CHANNELS, GRID, GRID), in training and for ``fusion="priors"``.
        """
        image, second, pooled, landmarks = self._features(stems.flatten(0, 1), others.flip(1).flatten())
        if landmarks is not None:
            pooled = torch.cat([pooled, _landmark_features(landmarks)], dim=-1)
        ray = self.embed_ray(rays).flatten(0, 1)
        summary_token = (self.project_pooled(pooled) + self.type_embedding[0] + ray)[:, None]
        image_tokens = self._normalised(self.project_image(image)) + self.position_embedding + self.type_embedding[1]
        predicted_tokens = prior_tokens = None
        if self.config.fusion in ("aligned", "priors") and prior_maps is not None:
            prior_tokens = self.project_priors(prior_maps.flatten(0, 1))
        if self.config.fusion in ("unaligned", "aligned"):
            summary = nn.functional.layer_norm(self.project_summary(pooled), (self.config.width,))
            maps = self._normalised(self.project_second(second))
            predicted_tokens = torch.cat([summary[:, None], maps], dim=1)

        def predict(second_tokens: torch.Tensor | None) -> TrainingOutputs:
            return self._predict(
                summary_token, image_tokens, second_tokens, rays, pairs, others, pooled, landmarks
            )  # fmt: skip

        if self.config.fusion == "priors":
            if prior_tokens is None:
                raise ValueError("an encoder with fusion 'priors' needs prior_maps at inference too")
            return EncoderOutput(predict(prior_tokens), None, None, None)
        hands = predict(predicted_tokens)
        if self.config.fusion != "aligned" or prior_tokens is None:
            return EncoderOutput(hands, None, predicted_tokens, None)
        return EncoderOutput(hands, predict(prior_tokens), predicted_tokens, prior_tokens)

    def _features(self, stems: torch.Tensor, has_crop: torch.Tensor) -> Features:
        """Features of stems (N, ...); in training only those with a crop are computed, the others are one of these."""
        if not self.training or not 0 < (count := int(has_crop.sum())) < len(has_crop):
            return self.backbones(stems)
        features = self.backbones(stems[has_crop > 0])
        rows = (has_crop.long().cumsum(0) - 1).clamp(0, count - 1)
        landmarks = features.landmarks
        if landmarks is not None:
            landmarks = LandmarkPrediction(*(part[rows] for part in landmarks))
        return Features(features.image[rows], features.second[rows], features.pooled[rows], landmarks)

    def _normalised(self, maps: torch.Tensor) -> torch.Tensor:
        """Feature maps (N, width, h, w) as tokens (N, h * w, width) of unit variance."""
        return nn.functional.layer_norm(_tokens(maps), (self.config.width,))

    def _predict(
        self,
        summary_token: torch.Tensor,
        image_tokens: torch.Tensor,
        second_tokens: torch.Tensor | None,
        rays: torch.Tensor,
        pairs: torch.Tensor,
        others: torch.Tensor,
        pooled: torch.Tensor,
        landmarks: LandmarkPrediction | None,
    ) -> TrainingOutputs:
        tokens = [summary_token, image_tokens]
        if second_tokens is not None:
            positions = nn.functional.pad(self.position_embedding, (0, 0, 1, 0))
            tokens.append(second_tokens + positions + self.type_embedding[2])
        x = torch.cat(tokens, dim=1)
        batch = pairs.shape[0]
        x = x.reshape(batch, -1, *x.shape[1:])
        other = (self.embed_pair(pairs) + self.type_embedding[3])[:, :, None]
        masked = others < 0.5
        for layer in self.layers:
            x = layer(x, x.flip(1) + other, masked)
        # The image's and the second token of a cell are added; the second one is also passed around the transformer.
        if second_tokens is None:
            features = self.norm(x).flatten(0, 1)
        else:
            features = torch.cat([self.norm(sum(x.chunk(2, dim=2))).flatten(0, 1), second_tokens], dim=-1)
        # Before the transformer, so that it depends on this crop alone.
        other_hand = self.other_hand(image_tokens if second_tokens is None else image_tokens + second_tokens[:, 1:])
        flat, depth_weight = self.heads(features, pooled, landmarks, other_hand, self.chain)
        hands: TrainingOutputs = flat.map(lambda part: part.reshape(batch, -1, *part.shape[1:]))
        # The vector between the wrists follows from their positions in both crops; its depth is regressed as well.
        geometric = to_other_wrist(hands.keypoints_2d[..., 0, :], hands.log_crop_width, rays, pairs) * others[..., None]
        depth = geometric[..., 2:].lerp(hands.to_other[..., 2:], depth_weight.reshape(batch, -1, 1).sigmoid())
        to_other = torch.cat([geometric[..., :2] + 0.1 * hands.to_other[..., :2], depth], dim=-1)
        return dataclasses.replace(hands, to_other=to_other)


_LANDMARK_FEATURES = 21 * 2 + 21 * 3 + 2
_HEATMAP_SUM = 6.0
"""Approximate sum of the heatmap of one keypoint."""


def _landmark_features(landmarks: LandmarkPrediction) -> torch.Tensor:
    """Landmarks as features (N, _LANDMARK_FEATURES), scaled to similar size."""
    logits = landmarks.logits.clamp(-8.0, 8.0) / 4.0
    return torch.cat([landmarks.keypoints_2d.flatten(1) * 4.0, landmarks.joints.flatten(1) * 15.0, logits], dim=-1)


def _sinusoids(grid: int, width: int) -> torch.Tensor:
    """Position embedding (1, grid * grid, width): sines and cosines along both axes (Vaswani et al. 2017).

    Its norm is that of the tokens, so that tokens of one cell attend to each other from the start.
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
    """F_p = Proj(F_k, F_s, F_d): prior maps to tokens of unit variance, the summary token first."""

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
        self.project_summary = mlp(3 * keypoints + width, 2 * width, width)
        self.register_buffer("centres", (torch.arange(priors.GRID) + 0.5) / priors.GRID - 0.5, False)
        self.width = width

    centres: torch.Tensor

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        maps = maps * self.mask
        tokens = _tokens(self.convolutions(maps))
        summary = torch.cat([self._keypoints(maps[:, priors.KEYPOINTS]), tokens.mean(dim=1)], dim=-1)
        tokens = torch.cat([self.project_summary(summary)[:, None], tokens], dim=1)
        return nn.functional.layer_norm(tokens, (self.width,))

    def _keypoints(self, heatmaps: torch.Tensor) -> torch.Tensor:
        """Centroids of heatmaps (N, K, GRID, GRID) in quarters of the crop, and their sums in 0..1: (N, 3 K)."""
        sums = heatmaps.sum(dim=(2, 3))
        centroids = [(heatmaps.sum(dim=axis) * self.centres).sum(dim=-1) / (sums + 1e-3) for axis in (2, 3)]
        return torch.cat([*(4.0 * centroid for centroid in centroids), (sums / _HEATMAP_SUM).clamp(max=1.0)], dim=1)


class _Layer(nn.Module):
    """Pre-norm transformer layer: a hand's tokens attend to their own and to the other hand's."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_other, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out, self.feed = nn.Linear(width, width), mlp(width, 4 * width, width)

    def forward(self, own: torch.Tensor, other: torch.Tensor, masked: torch.Tensor) -> torch.Tensor:
        """(B, H, N, width) each; ``masked`` (B, H) is true where there is no other hand."""
        batch, _, count, width = own.shape
        normed = self.norm(own)
        context = torch.cat([normed, self.norm_other(other)], dim=2).flatten(0, 1)
        query = self._split(self.query(normed.flatten(0, 1)))
        key, value = (self._split(part) for part in self.key_value(context).chunk(2, dim=-1))
        bias = masked.reshape(-1, 1, 1, 1).to(own.dtype) * -1e4
        bias = torch.cat([torch.zeros_like(bias).expand(-1, -1, -1, count), bias.expand(-1, -1, -1, count)], dim=-1)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        own = own + self.out(mixed.transpose(1, 2).reshape(batch, -1, count, width))
        return own + self.feed(self.norm_feed(own))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)
