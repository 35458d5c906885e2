"""Backbones of the encoder: one for the image, and a second one that learns to predict the priors' tokens."""

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
from .landmark_weights import load_landmark_trunk

if TYPE_CHECKING:
    from .encoder import EncoderConfig


SHARED = STAGES[-1].name
"""First trained stage of an encoder that shares all stages before it with the pipeline's landmark network."""
STEM_SHAPES = ((STAGES[-2].channels, 14, 14), (STAGES[-1].channels, 7, 7))
"""Feature maps of the frozen landmark network for a crop, at strides 16 and 32."""


class LandmarkPrediction(NamedTuple):
    """Landmarks that a pretrained backbone predicts for N crops; the encoder learns residuals to them.

    Attributes:
        keypoints_2d: (N, 21, 2) in units of the crop, see CropFrame.pixels_in.
        joints: (N, 21, 3), metres, relative to the wrist, axes parallel to the crop's.
        logits: (N, 2) of the presence of a hand and of its being a right one.
    """

    keypoints_2d: torch.Tensor
    joints: torch.Tensor
    logits: torch.Tensor


class Features(NamedTuple):
    """Outputs of the backbones for N crops.

    Attributes:
        image, second: feature maps (N, channels, grid, grid) of both backbones.
        pooled: of the image (N, pooled_channels).
        landmarks: of a backbone that predicts them, else None.
    """

    image: torch.Tensor
    second: torch.Tensor
    pooled: torch.Tensor
    landmarks: LandmarkPrediction | None


class Backbone(nn.Module):
    """Both backbones behind one stem.

    Attributes:
        input_size: side of the crops, pixels.
        grid: side of the token maps.
        image_channels, second_channels, pooled_channels: sizes of the features.
        pretrained: whether training starts from pretrained weights, at a lower learning rate.
        frozen: whether the stem is not trained.
        predicts_landmarks: whether the features include landmarks.
    """

    input_size = 224
    grid = 7
    image_channels: int
    second_channels: int
    pooled_channels: int
    pretrained = False
    frozen = False
    predicts_landmarks = False

    def stem(self, crops: torch.Tensor) -> torch.Tensor:
        """The part that is not trained: crops (N, 3, input_size, input_size), RGB in 0..1, to (N, ...)."""
        raise NotImplementedError

    def forward(self, stems: torch.Tensor) -> Features:
        """Features of stems (N, ...)."""
        raise NotImplementedError


class TrunkBackbone(Backbone):
    """``small``: the trunk of the landmark network.

    Its stages from ``trained_from`` on are trained: those of the second backbone, or of the image backbone where there
    is no second one. Where that is SHARED, the image backbone is that network unchanged: the pipeline runs it anyway,
    so it costs nothing. Otherwise the encoder evaluates a crop by itself, and both backbones have the stages up to
    stride 16 in common. Landmarks are predicted from the trained stages; the encoder learns residuals to them. Trained
    from scratch, nothing is frozen and no landmarks are predicted.
    """

    def __init__(
        self,
        pretrained: bool = True,
        second: bool = True,
        path: str = "",
        load_weights: bool = True,
        trained_from: str = SHARED,
    ) -> None:
        super().__init__()
        self.pretrained = self.predicts_landmarks = pretrained
        self.frozen = pretrained and trained_from == SHARED

        def trunk() -> LandmarkTrunk:
            if not (pretrained and load_weights):
                return LandmarkTrunk()
            return load_landmark_trunk(path or find_model(HAND_LANDMARKS, ""))

        first = trunk()
        if pretrained:
            first.freeze_until(trained_from)
        stages = dict(first.stages.items())
        self.tail, self.head = stages.pop("stride32"), stages.pop("head")
        self.outputs = first.outputs if self.predicts_landmarks else nn.ModuleDict()
        self.early = nn.Sequential(*stages.values())
        self.image_tail = trunk().stages["stride32"] if second or self.frozen else nn.Identity()
        if self.frozen:
            self.image_tail.requires_grad_(False)
        self.second = second
        self.image_channels = self.second_channels = STAGES[-1].channels
        self.pooled_channels = HEAD_CHANNELS

    def stem(self, crops: torch.Tensor) -> torch.Tensor:
        """Feature maps (N, STEM) at strides 16 and 32, flattened and concatenated; the crops themselves where nothing
        is frozen."""
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
        trained = self.tail(early)
        pooled = self.head(trained).mean(dim=(2, 3))
        landmarks = self._landmarks(pooled) if self.predicts_landmarks else None
        return Features(image if self.second else trained, trained, pooled, landmarks)

    def _image(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        early = self.early(crops)
        return early, self.image_tail(early)

    def _landmarks(self, pooled: torch.Tensor) -> LandmarkPrediction:
        screen = self.outputs["screen"](pooled).reshape(-1, 21, 3) / self.input_size
        joints = self.outputs["world"](pooled).reshape(-1, 21, 3)
        screen, joints = screen - screen.new_tensor([0.5, 0.5, 0.0]), joints - joints[:, :1]
        # Depth is predicted twice; the weighted mean is better than either, as in lift.evidence.
        metre = spread(joints[..., :2]) / spread(screen[..., :2])
        depth = (screen[..., 2] - screen[:, :1, 2]) * (SCREEN_DEPTH_GAIN / DEPTH_UNIT * metre)[:, None]
        depth = joints[..., 2].lerp(depth, 1.0 - WORLD_DEPTH_WEIGHT)
        logits = [self.outputs[name](pooled) for name in ("presence", "handedness")]
        joints = torch.cat([joints[..., :2], depth[..., None]], dim=-1)
        return LandmarkPrediction(screen[..., :2], joints, torch.cat(logits, dim=-1))


def spread(points: torch.Tensor) -> torch.Tensor:
    """Root mean square distance (N,) of points (N, K, D) from their mean."""
    return (points - points.mean(dim=1, keepdim=True)).square().sum(-1).mean(-1).add(1e-6).sqrt()


class ResNetBackbone(Backbone):
    """``base``: two ResNet-50 (He et al. 2016), as in the paper; weights from a local folder of ``transformers``."""

    image_channels = second_channels = pooled_channels = 2048

    def __init__(self, path: str = "", second: bool = True, load_weights: bool = True) -> None:
        super().__init__()
        self.pretrained = bool(path)
        source = path if load_weights else ""
        self.image, self.second = _resnet(source), _resnet(source) if second else nn.Identity()

    def stem(self, crops: torch.Tensor) -> torch.Tensor:
        """The crops, normalised with ImageNet's mean and standard deviation."""
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


def make_backbones(config: EncoderConfig, load_weights: bool = True) -> Backbone:
    """The backbones of a configuration; without ``load_weights`` their weights are random, to be replaced."""
    second = config.fusion in ("unaligned", "aligned")
    if config.size == "small":
        return TrunkBackbone(config.pretrained, second, config.backbone, load_weights, config.trained_from)
    return ResNetBackbone(config.backbone, second, load_weights)
