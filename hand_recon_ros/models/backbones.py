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
from .landmark_trunk import HEAD_CHANNELS, STAGE_SHAPES, STAGES, LandmarkTrunk
from .landmark_weights import load_landmark_trunk

if TYPE_CHECKING:
    from .encoder import EncoderConfig


SHARED = STAGES[-1].name
"""First trained stage of the second backbone by default: it shares all stages before it with the image backbone."""


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

    @property
    def stem_stages(self) -> tuple[str, ...]:
        """Stages of the pipeline's landmark network whose maps are the stem; none where it is anything else."""
        return ()

    def stem(self, crops: torch.Tensor) -> torch.Tensor:
        """The part that is not trained: crops (N, 3, input_size, input_size), RGB in 0..1, to (N, ...)."""
        raise NotImplementedError

    def forward(self, stems: torch.Tensor) -> Features:
        """Features of stems (N, ...)."""
        raise NotImplementedError


class TrunkBackbone(Backbone):
    """``small``: the trunk of the landmark network, twice.

    The image backbone is that network unchanged: the pipeline evaluates it anyway, so it costs nothing. The second one
    shares its stages before ``trained_from``; from there on it has trained ones of its own. Landmarks are predicted
    from these, and the encoder learns residuals to them. The stem is the maps of the landmark network that both start
    from. Trained from scratch, nothing is frozen, no landmarks are predicted, and the stem is the crop.
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
        self.pretrained = self.predicts_landmarks = self.frozen = pretrained

        def trunk() -> LandmarkTrunk:
            if not (pretrained and load_weights):
                return LandmarkTrunk()
            return load_landmark_trunk(path or find_model(HAND_LANDMARKS, ""))

        names = [stage.name for stage in STAGES]
        self.shared = names[names.index(trained_from if pretrained else SHARED) - 1]
        first, own = trunk(), trunk()
        stages = {name: module for name, module in first.stages.items() if name not in (SHARED, "head")}
        self.early, self.middle = nn.Sequential(*stages.values()), nn.Sequential()
        for name in names[names.index(self.shared) + 1 : -1]:
            self.middle.add_module(name, own.stages[name])
        self.tail, self.head = own.stages[SHARED], own.stages["head"]
        self.outputs = own.outputs if self.predicts_landmarks else nn.ModuleDict()
        self.image_tail = first.stages[SHARED] if second or self.frozen else nn.Identity()
        if self.frozen:
            self.early.requires_grad_(False)
            self.image_tail.requires_grad_(False)
        self._shared_stages = 1 + list(stages).index(self.shared)
        self.second = second
        self.image_channels = self.second_channels = STAGES[-1].channels
        self.pooled_channels = HEAD_CHANNELS

    @property
    def stem_stages(self) -> tuple[str, ...]:
        """See :meth:`Backbone.stem_stages`: the last shared stage and the last one of the image backbone."""
        return (self.shared, SHARED) if self.frozen else ()

    def stem(self, crops: torch.Tensor) -> torch.Tensor:
        """The maps of :attr:`stem_stages`, flattened and concatenated (N, STEM); from scratch the crops themselves."""
        if not self.frozen:
            return crops
        with torch.no_grad():
            shared = self.early[: self._shared_stages](crops)
            image = self.image_tail(self.early[self._shared_stages :](shared))
            return torch.cat([part.flatten(1) for part in (shared, image)], dim=1)

    def forward(self, stems: torch.Tensor) -> Features:
        """See :meth:`Backbone.forward`."""
        if self.frozen:
            shapes = [STAGE_SHAPES[name] for name in self.stem_stages]
            parts = stems.split([math.prod(shape) for shape in shapes], dim=1)
            shared, image = (part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True))
        else:
            shared = self.early(stems)
            image = self.image_tail(shared)
        trained = self.tail(self.middle(shared))
        pooled = self.head(trained).mean(dim=(2, 3))
        landmarks = self._landmarks(pooled) if self.predicts_landmarks else None
        return Features(image if self.second else trained, trained, pooled, landmarks)

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
