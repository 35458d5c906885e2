"""The landmark network as a torch module, for its features and for fine-tuning.

The architecture is that of ``hand_landmark_full.tflite`` (MediaPipe Hands, Zhang et al. 2020, arXiv:2006.10214;
Apache-2.0): a stem, six stages of inverted residual blocks (MobileNetV2, Sandler et al. 2018, with the depthwise
kernels of EfficientNet), a head, a mean over the image, and four linear outputs. Batch norms are folded into weights
and biases, as in the file: a frozen stage computes the same in training and evaluation.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

STRIDE = 32
"""Height and width of an image must be multiples of it."""


class Stage(NamedTuple):
    """A stage of blocks with the same kernel and output channels.

    Attributes:
        name: after the stride of its output relative to the image.
        kernel: side of the depthwise kernels.
        stride: of the first block; the others have 1.
        channels: output channels of each block.
        widths: expanded channels of each block; a block whose input has that many has no expansion.
    """

    name: str
    kernel: int
    stride: int
    channels: int
    widths: tuple[int, ...]


STEM_CHANNELS = 24
STAGES = (
    Stage("stride2", kernel=3, stride=1, channels=16, widths=(24,)),
    Stage("stride4", kernel=3, stride=2, channels=24, widths=(64, 144)),
    Stage("stride8", kernel=5, stride=2, channels=40, widths=(144, 240)),
    Stage("stride16a", kernel=3, stride=2, channels=80, widths=(240, 480, 480)),
    Stage("stride16b", kernel=5, stride=1, channels=112, widths=(480, 672, 672)),
    Stage("stride32", kernel=5, stride=2, channels=192, widths=(672, 1152, 1152, 1152)),
)
HEAD_CHANNELS = 1152
# In the order of the file's outputs.
OUTPUTS = {"screen": 63, "presence": 1, "handedness": 1, "world": 63}
STAGE_NAMES = ("stem", *(stage.name for stage in STAGES), "head", "outputs")


def _stage_shapes(side: int) -> dict[str, tuple[int, int, int]]:
    shapes, side = {}, side // 2
    for stage in STAGES:
        side //= stage.stride
        shapes[stage.name] = (stage.channels, side, side)
    return shapes


STAGE_SHAPES = _stage_shapes(224)
"""Shape (channels, height, width) of the output of each stage for a crop of 224 x 224."""


class LandmarkOutputs(NamedTuple):
    """Outputs of the network for a crop in which the fingers point up, in the file's units.

    Attributes:
        screen: (B, 63) x, y, z of 21 keypoints; x and y in pixels of the 224 px crop, z on 0.4 of their scale.
        presence: (B, 1) probability that there is a hand.
        handedness: (B, 1) near 1 for an anatomical right hand in an unmirrored image, near 0 for a left one.
        world: (B, 63) x, y, z of 21 keypoints in metres, in axes parallel to the crop's.
    """

    screen: torch.Tensor
    presence: torch.Tensor
    handedness: torch.Tensor
    world: torch.Tensor


class TrunkOutput(NamedTuple):
    """Features and outputs for B images of H x W.

    Attributes:
        stride8: (B, 40, H/8, W/8), not activated, like the next two.
        stride16: (B, 112, H/16, W/16).
        stride32: (B, 192, H/32, W/32).
        head: (B, 1152, H/32, W/32) in 0..6.
        pooled: (B, 1152) mean of ``head`` over the image.
        landmarks: the four outputs, or None where only features are computed.
    """

    stride8: torch.Tensor
    stride16: torch.Tensor
    stride32: torch.Tensor
    head: torch.Tensor
    pooled: torch.Tensor
    landmarks: LandmarkOutputs | None


class Convolution(nn.Conv2d):
    """Convolution with bias, TFLite's SAME padding for sizes divisible by its stride, and ReLU6 where ``activated``."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, activated: bool = True
    ) -> None:
        # SAME pads the odd row and column at the end: for stride 2 that is asymmetric, which nn.Conv2d cannot do.
        before = (kernel - stride) // 2
        after = kernel - stride - before
        self.activated = activated
        super().__init__(inputs, outputs, kernel, stride, before if before == after else 0, groups=groups)
        self.border = (before, after)

    def reset_parameters(self) -> None:
        """Random weights that keep the variance of activations through all layers (He et al. 2015), without norms."""
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu" if self.activated else "linear")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) -> (B, outputs, H/stride, W/stride)."""
        if self.border[0] != self.border[1]:
            image = nn.functional.pad(image, 2 * self.border)
        result = super().forward(image)
        return nn.functional.relu6(result, inplace=True) if self.activated else result


class InvertedResidual(nn.Module):
    """MBConv: expand (1x1), filter each channel (depthwise), project (1x1); added to the input where shapes allow."""

    def __init__(self, inputs: int, width: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.expand = Convolution(inputs, width) if width != inputs else nn.Identity()
        self.depthwise = Convolution(width, width, kernel, stride, groups=width)
        self.project = Convolution(width, outputs, activated=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, inputs, H, W) -> (B, outputs, H/stride, W/stride)."""
        result = self.project(self.depthwise(self.expand(image)))
        return image + result if self.residual else result


class LandmarkTrunk(nn.Module):
    """The landmark network with random weights; :mod:`landmark_weights` reads the trained ones."""

    def __init__(self) -> None:
        super().__init__()
        stages: dict[str, nn.Module] = {"stem": Convolution(3, STEM_CHANNELS, kernel=3, stride=2)}
        channels = STEM_CHANNELS
        for stage in STAGES:
            blocks = []
            for index, width in enumerate(stage.widths):
                stride = stage.stride if index == 0 else 1
                blocks.append(InvertedResidual(channels, width, stage.channels, stage.kernel, stride))
                channels = stage.channels
            stages[stage.name] = nn.Sequential(*blocks)
        stages["head"] = nn.Sequential(
            Convolution(channels, HEAD_CHANNELS),
            Convolution(HEAD_CHANNELS, HEAD_CHANNELS, kernel=3, groups=HEAD_CHANNELS),
        )
        self.stages = nn.ModuleDict(stages)
        self.outputs = nn.ModuleDict({name: nn.Linear(HEAD_CHANNELS, size) for name, size in OUTPUTS.items()})
        # Channels last is faster on a CPU (two crops of 224 px in about 0.6 of the time); the format propagates from
        # the first layer's weights through all others.
        self.to(memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor, features_only: bool = False) -> TrunkOutput:
        """Features and outputs for crops.

        Args:
            images: (B, 3, H, W) RGB in 0..1; H and W divisible by 32. The network was trained at 224 x 224: at other
                sizes the features stay meaningful, but screen landmarks remain in pixels of a 224 px crop.
            features_only: do not compute the four outputs.

        Raises ValueError for images of another shape.
        """
        # While a graph is traced, sizes are constants or symbols and cannot be checked.
        if not torch.jit.is_tracing() and not torch.compiler.is_compiling():
            shape = tuple(images.shape)
            if len(shape) != 4 or shape[1] != 3 or shape[2] % STRIDE or shape[3] % STRIDE or 0 in shape[2:]:
                raise ValueError(f"images must be (B, 3, H, W) with H and W divisible by {STRIDE}, got {shape}")
        maps = {}
        image = images
        for name, stage in self.stages.items():
            maps[name] = image = stage(image)
        pooled = image.mean((2, 3))
        return TrunkOutput(
            stride8=maps["stride8"],
            stride16=maps["stride16b"],
            stride32=maps["stride32"],
            head=maps["head"],
            pooled=pooled,
            landmarks=None if features_only else self.read_out(pooled),
        )

    def read_out(self, pooled: torch.Tensor) -> LandmarkOutputs:
        """The four outputs from (B, 1152) pooled features."""
        return LandmarkOutputs(
            screen=self.outputs["screen"](pooled),
            presence=self.outputs["presence"](pooled).sigmoid(),
            handedness=self.outputs["handedness"](pooled).sigmoid(),
            world=self.outputs["world"](pooled),
        )

    def freeze_until(self, stage: str) -> None:
        """Freeze the stages before ``stage``: parameters from it on require gradients, earlier ones do not.

        Args:
            stage: one of STAGE_NAMES; "stem" freezes nothing, "outputs" all but the four linear outputs.

        Raises ValueError for another name.
        """
        if stage not in STAGE_NAMES:
            raise ValueError(f"no stage {stage!r} in the landmark network; its stages are {', '.join(STAGE_NAMES)}")
        first = STAGE_NAMES.index(stage)
        for index, name in enumerate(STAGE_NAMES):
            module = self.outputs if name == "outputs" else self.stages[name]
            module.requires_grad_(index >= first)
