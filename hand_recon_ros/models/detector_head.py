"""Head of the hand detector: from features of the palm detector to maps of left and right hands."""

from __future__ import annotations

import os

import torch
from torch import nn

from ..detect.hand_detector import CHANNELS, FEATURE_SHAPES, FEATURES, GRID
from .export import write_onnx

NEAR, WIDE = (FEATURE_SHAPES[name] for name in FEATURES)
_WIDTH, _NEAR_WIDTH, _BLOCKS = 96, 32, 3
_RARE = -4.0
"""Initial logit of the heatmaps: few cells have a hand (arXiv 1708.02002)."""


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 5, padding=2, groups=width), nn.Conv2d(width, 2 * width, 1), nn.ReLU(),
            nn.Conv2d(2 * width, width, 1),
        )  # fmt: skip

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = image + self.layers(image)
        return result


class DetectorHead(nn.Module):
    """Convolutions on the 12 x 12 grid, where the receptive field is the whole view, upsampled to maps of 24 x 24.

    The coarser grid costs a quarter and loses no accuracy: a view has few hands of each side.
    """

    def __init__(self) -> None:
        super().__init__()
        # The features' scale differs between channels and is far from 1; the next layers have weights and biases.
        self.norms = nn.ModuleList([nn.BatchNorm2d(shape[0], affine=False) for shape in (NEAR, WIDE)])
        self.near = nn.Conv2d(NEAR[0], _NEAR_WIDTH, 1)
        self.fuse = nn.Sequential(nn.Conv2d(4 * _NEAR_WIDTH + WIDE[0], _WIDTH, 1), nn.ReLU())
        self.blocks = nn.Sequential(*(_Block(_WIDTH) for _ in range(_BLOCKS)), nn.ReLU())
        self.maps = nn.Conv2d(_WIDTH, 4 * 2 * CHANNELS, 1)
        with torch.no_grad():
            self.maps.bias.zero_().view(2, CHANNELS, 4)[:, 0] = _RARE
        self.to(memory_format=torch.channels_last)  # a third faster on a CPU

    def forward(self, near: torch.Tensor, wide: torch.Tensor) -> torch.Tensor:
        """(B, 128, 24, 24) and (B, 256, 12, 12) -> (B, 2 x CHANNELS, 24, 24), see :mod:`detect.hand_detector`."""
        near, wide = (norm(features) for norm, features in zip(self.norms, (near, wide), strict=True))
        near = nn.functional.pixel_unshuffle(torch.relu(self.near(near)), 2)
        maps = self.maps(self.blocks(self.fuse(torch.cat([near, wide], dim=1))))
        return nn.functional.pixel_shuffle(maps, GRID // WIDE[1])


def export_head(head: DetectorHead, path: str | os.PathLike[str]) -> None:
    """Write a head for one view as an ONNX file; its inputs are named as in FEATURES."""
    example = torch.zeros(1, *NEAR), torch.zeros(1, *WIDE)
    write_onnx(head, example, path, FEATURES, ("detector",))
