"""The pair detector: left and right hand in a crop of one or two hands."""

from __future__ import annotations

import os

import torch
from torch import nn

from ..detect.pair_detector import INPUT, OUTPUT, SIZE, VALUES
from .efficientnet import CHANNELS, STRIDE, EfficientNetLite0
from .export import write_onnx

_GRID = SIZE // STRIDE
_REDUCED, _HIDDEN = 96, 384
KEYPOINTS = 42
"""Of a slot, after its VALUES: x, y of 21 keypoints in units of the crop; for the training only."""


class PairDetector(nn.Module):
    """EfficientNet-Lite0 with a fully connected head, whose weights differ by a feature's position."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = EfficientNetLite0()
        self.head = nn.Sequential(
            nn.Conv2d(CHANNELS, _REDUCED, 1, bias=False), nn.BatchNorm2d(_REDUCED), nn.ReLU(), nn.Flatten(),
            nn.Dropout(0.1), nn.Linear(_REDUCED * _GRID * _GRID, _HIDDEN), nn.ReLU(),
            nn.Linear(_HIDDEN, 2 * (VALUES + KEYPOINTS)),
        )  # fmt: skip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """RGB in 0..1 (B, SIZE, SIZE, 3) to (B, 2, VALUES + KEYPOINTS), two slots: see
        :mod:`detect.pair_detector`."""
        result: torch.Tensor = self.head(self.backbone(images.permute(0, 3, 1, 2)))
        return result.reshape(-1, 2, VALUES + KEYPOINTS)


class _WithoutKeypoints(nn.Module):
    def __init__(self, detector: PairDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.detector(images)[..., :VALUES]
        return result


def export_pair_detector(detector: PairDetector, path: str | os.PathLike[str]) -> None:
    """Write the detector for one crop as an ONNX file without the keypoints, its weights in half precision."""
    network = _WithoutKeypoints(detector).eval()
    write_onnx(network, (torch.zeros(1, SIZE, SIZE, 3),), path, (INPUT,), (OUTPUT,), half=True)
