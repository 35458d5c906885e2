"""The encoder's backbones: one for the image, and the second that learns to imagine the priors."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from ..config import ConfigError
from ..landmarks.landmarks import DEPTH_UNIT
from ..lift.evidence import SCREEN_DEPTH_GAIN, WORLD_DEPTH_WEIGHT
from ..runtime.model_files import HAND_LANDMARKS, find_model
from .landmark_trunk import HEAD_CHANNELS, STAGES, LandmarkTrunk

if TYPE_CHECKING:
    from .encoder import EncoderConfig


STEM_SHAPES = ((STAGES[-2].channels, 14, 14), (STAGES[-1].channels, 7, 7))
"""What the frozen landmark network gives for a crop: its maps at strides 16 and 32."""


class Reading(NamedTuple):
    """What a backbone that knows hands says of N crops by itself: where the encoder starts from.

    Attributes:
        places: keypoints in the crop (N, 21, 2), see CropFrame.pixels_in.
        joints: keypoints (N, 21, 3), metres from the wrist, axes parallel to the crop's.
        logits: (N, 2) that there is a hand, and that it is a right one.
    """

    places: torch.Tensor
    joints: torch.Tensor
    logits: torch.Tensor


class Features(NamedTuple):
    """What the backbones give for N crops.

    Attributes:
        image, second: maps (N, channels, grid, grid).
        pooled: the image's (N, pooled_channels).
        reading: of a backbone that knows hands, else None.
    """

    image: torch.Tensor
    second: torch.Tensor
    pooled: torch.Tensor
    reading: Reading | None


class Backbone(nn.Module):
    """Both backbones behind one stem.

    Attributes:
        input_size: side of the crops, pixels.
        grid: side of the token maps.
        image_channels, second_channels, pooled_channels: what they give.
        pretrained: whether they started from weights that know something, to be changed carefully.
        reads: whether they give a reading of their own.
    """

    input_size = 224
    grid = 7
    image_channels: int
    second_channels: int
    pooled_channels: int
    pretrained = False
    frozen = False
    reads = False

    def stem(self, crops: torch.Tensor) -> torch.Tensor:
        """What of crops (N, 3, input_size, input_size), RGB in 0..1, is not trained, (N, ...)."""
        raise NotImplementedError

    def forward(self, stems: torch.Tensor) -> Features:
        """Features of stems (N, ...)."""
        raise NotImplementedError


class TrunkBackbone(Backbone):
    """``small``: the landmark network's trunk.

    The image backbone is that network as it is, so that in the pipeline, which runs it anyway, it costs nothing. From
    stride 16 on there are layers of one's own, which are trained: the second backbone, or where none is asked for, the
    image's. With the trunk come its landmarks, read from the trained layers: the encoder starts from them and learns
    what to add. Trained from scratch, nothing is frozen and there are no landmarks to start from.
    """

    def __init__(
        self, pretrained: bool = True, second: bool = True, path: str = "", weights_follow: bool = False
    ) -> None:
        super().__init__()
        self.frozen = self.pretrained = self.reads = pretrained

        def trunk() -> LandmarkTrunk:
            if not pretrained or weights_follow:
                return LandmarkTrunk()
            return LandmarkTrunk.from_tflite(path or find_model(HAND_LANDMARKS, ""))

        first = trunk()
        stages = dict(first.stages.items())
        self.tail, self.head = stages.pop("stride32"), stages.pop("head")
        self.outputs = first.outputs if self.reads else nn.ModuleDict()
        self.early = nn.Sequential(*stages.values())
        self.image_tail = trunk().stages["stride32"] if second or self.frozen else nn.Identity()
        for part in (self.early, self.image_tail):
            part.requires_grad_(not self.frozen)
        self.second = second
        self.image_channels = self.second_channels = STAGES[-1].channels
        self.pooled_channels = HEAD_CHANNELS

    def stem(self, crops: torch.Tensor) -> torch.Tensor:
        """(N, STEM) maps at strides 16 and 32, each flattened, one after the other; trained from scratch there is no
        stem, and the crops come back."""
        if not self.frozen:
            return crops
        with torch.no_grad():
            return torch.cat([part.flatten(1) for part in self._image(crops)], dim=1)

    def forward(self, stems: torch.Tensor) -> Features:
        """See :meth:`Backbone.forward`."""
        if self.frozen:
            parts = stems.split([math.prod(shape) for shape in STEM_SHAPES], dim=1)
            early, image = (part.unflatten(1, shape) for part, shape in zip(parts, STEM_SHAPES, strict=True))
        else:
            early, image = self._image(stems)
        own = self.tail(early)
        pooled = self.head(own).mean(dim=(2, 3))
        return Features(image if self.second else own, own, pooled, self._read(pooled) if self.reads else None)

    def _image(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        early = self.early(crops)
        return early, self.image_tail(early)

    def _read(self, pooled: torch.Tensor) -> Reading:
        screen = self.outputs["screen"](pooled).reshape(-1, 21, 3) / self.input_size
        joints = self.outputs["world"](pooled).reshape(-1, 21, 3)
        screen, joints = screen - screen.new_tensor([0.5, 0.5, 0.0]), joints - joints[:, :1]
        # Depth is told twice; the mean of both is better than either, as the lifting knows too.
        metre = spread(joints[..., :2]) / spread(screen[..., :2])
        depth = (screen[..., 2] - screen[:, :1, 2]) * (SCREEN_DEPTH_GAIN / DEPTH_UNIT * metre)[:, None]
        depth = joints[..., 2].lerp(depth, 1.0 - WORLD_DEPTH_WEIGHT)
        logits = [self.outputs[name](pooled) for name in ("presence", "handedness")]
        return Reading(
            screen[..., :2], torch.cat([joints[..., :2], depth[..., None]], dim=-1), torch.cat(logits, dim=-1)
        )


def spread(points: torch.Tensor) -> torch.Tensor:
    """How far points (N, K, D) spread about their middle, (N,)."""
    return (points - points.mean(dim=1, keepdim=True)).square().sum(-1).mean(-1).add(1e-6).sqrt()


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

    def forward(self, stems: torch.Tensor) -> Features:
        """See :meth:`Backbone.forward`."""
        image = self.image(stems).last_hidden_state
        second = self.second(stems)
        second = second if isinstance(second, torch.Tensor) else second.last_hidden_state
        return Features(image, second, image.mean(dim=(2, 3)), None)


def _resnet(path: str) -> nn.Module:
    try:
        from transformers import ResNetConfig, ResNetModel
    except ImportError as error:
        raise ConfigError(f"size 'base' needs the package transformers, which cannot be imported ({error})") from error
    if path and not os.path.isdir(path):
        raise ConfigError(f"backbone {path}: no such folder; expected a ResNet-50 in the format of transformers")
    model: nn.Module = ResNetModel.from_pretrained(path, local_files_only=True) if path else ResNetModel(ResNetConfig())
    return model


def make_backbones(config: EncoderConfig, weights_follow: bool = False) -> Backbone:
    """The backbones of a configuration, without their weights where those are to be loaded anyway."""
    second = config.fusion in ("unaligned", "aligned")
    if config.size == "small":
        return TrunkBackbone(config.pretrained, second, config.backbone, weights_follow)
    return ResNetBackbone(config.backbone, second, weights_follow)
