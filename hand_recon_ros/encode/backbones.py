"""The encoder's backbones: one for the image, and the second that learns to imagine the priors."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..config import ConfigError
from ..runtime.model_files import HAND_LANDMARKS, find_model
from .landmark_trunk import HEAD_CHANNELS, STAGES, LandmarkTrunk

if TYPE_CHECKING:
    from .network import EncoderConfig


class Backbone(nn.Module):
    """Both backbones behind one stem.

    Attributes:
        input_size: side of the crops, pixels.
        grid: side of the token maps.
        image_channels, second_channels, pooled_channels: what they give.
        pretrained: whether they started from weights that know something, to be changed carefully.
    """

    input_size = 224
    grid = 7
    image_channels: int
    second_channels: int
    pooled_channels: int
    pretrained = False
    frozen = False

    def stem(self, crops: torch.Tensor) -> torch.Tensor:
        """Features (N, C, h, w) of crops (N, 3, input_size, input_size), RGB in 0..1, that are not trained."""
        raise NotImplementedError

    def forward(self, stems: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Image map and second map (N, channels, grid, grid), and the image's pooled features (N, pooled_channels)."""
        raise NotImplementedError


class TrunkBackbone(Backbone):
    """``small``: the landmark network's trunk. Its first stages are a stem that both backbones share; from stride 16 on
    each has layers of its own, which are trained. So the second costs a quarter of a network, not a whole one."""

    def __init__(
        self, pretrained: bool = True, second: bool = True, path: str = "", weights_follow: bool = False
    ) -> None:
        super().__init__()
        self.frozen = self.pretrained = pretrained

        def trunk() -> LandmarkTrunk:
            if not pretrained or weights_follow:
                return LandmarkTrunk()
            return LandmarkTrunk.from_tflite(path or find_model(HAND_LANDMARKS, ""))

        first = trunk()
        stages = dict(first.stages.items())
        self.image_tail, self.head = stages.pop("stride32"), stages.pop("head")
        self.early = nn.Sequential(*stages.values())
        self.early.requires_grad_(not self.frozen)
        self.second_tail = trunk().stages["stride32"] if second else nn.Identity()
        self.image_channels = STAGES[-1].channels
        self.second_channels = STAGES[-1].channels
        self.pooled_channels = HEAD_CHANNELS

    def stem(self, crops: torch.Tensor) -> torch.Tensor:
        """(N, 112, 14, 14); trained from scratch there is no stem, and the crops come back."""
        if not self.frozen:
            return crops
        with torch.no_grad():
            result: torch.Tensor = self.early(crops)
        return result

    def forward(self, stems: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See :meth:`Backbone.forward`."""
        if not self.frozen:
            stems = self.early(stems)
        image = self.image_tail(stems)
        return image, self.second_tail(stems), self.head(image).mean(dim=(2, 3))


class ResNetBackbone(Backbone):
    """``base``: two ResNet-50 (He et al. 2016), as in the paper; weights from a local folder of ``transformers``."""

    image_channels = second_channels = pooled_channels = 2048

    def __init__(self, path: str = "", second: bool = True, weights_follow: bool = False) -> None:
        super().__init__()
        self.pretrained = bool(path)
        source = "" if weights_follow else path
        self.image, self.second = _resnet(source), _resnet(source) if second else nn.Identity()

    def stem(self, crops: torch.Tensor) -> torch.Tensor:
        """The crops, normalised as ImageNet's weights expect."""
        mean = crops.new_tensor([0.485, 0.456, 0.406])[:, None, None]
        deviation = crops.new_tensor([0.229, 0.224, 0.225])[:, None, None]
        return (crops - mean) / deviation

    def forward(self, stems: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See :meth:`Backbone.forward`."""
        image = self.image(stems).last_hidden_state
        second = self.second(stems)
        second = second if isinstance(second, torch.Tensor) else second.last_hidden_state
        return image, second, image.mean(dim=(2, 3))


def _resnet(path: str) -> nn.Module:
    try:
        from transformers import ResNetConfig, ResNetModel
    except ImportError as error:
        raise ConfigError(f"size 'base' needs the package transformers, which cannot be imported ({error})") from error
    if path and not os.path.isdir(path):
        raise ConfigError(f"backbone {path}: no such folder; expected a ResNet-50 in the format of transformers")
    model: nn.Module = (
        ResNetModel.from_pretrained(path, local_files_only=True) if path else ResNetModel(ResNetConfig())
    )
    return model


def make_backbones(config: EncoderConfig, weights_follow: bool = False) -> Backbone:
    """The backbones of a configuration, without their weights where those are to be loaded anyway."""
    second = config.fusion in ("unaligned", "aligned")
    if config.size == "small":
        return TrunkBackbone(config.pretrained, second, config.backbone, weights_follow)
    return ResNetBackbone(config.backbone, second, weights_follow)
