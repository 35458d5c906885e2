"""The landmark network as a torch module, so that its features can be used and its layers trained on.

Structure and weights are those of ``hand_landmark_full.tflite`` (MediaPipe Hands, Zhang et al. 2020, arXiv:2006.10214;
Apache-2.0): a stem, six stages of inverted residual blocks (MobileNetV2, Sandler et al. 2018, with the depthwise
kernels of EfficientNet), a head, a mean over the image, and four linear outputs. The file has its batch norms folded
into weights and biases, so there are none here either: a frozen stage computes the same in training and evaluation.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import openvino
import torch
from torch import nn

from ..runtime.model_files import ModelFileError

STRIDE = 32
"""What height and width of an image must be divisible by."""


class Stage(NamedTuple):
    """One row of the network's table: blocks of the same kernel and output width.

    Attributes:
        name: after the stride of its output against the image.
        kernel: side of the depthwise kernels.
        stride: of the first block; the others have 1.
        channels: width of each block's output.
        widths: width inside each block; a block that comes in at its inner width has no expansion.
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


class LandmarkOutputs(NamedTuple):
    """The network's own answers for a crop that is turned so that the fingers point up, as the file gives them.

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
    """What the network computes for B images of H x W.

    Attributes:
        stride8: (B, 40, H/8, W/8), not activated, like the next two.
        stride16: (B, 112, H/16, W/16).
        stride32: (B, 192, H/32, W/32).
        head: (B, 1152, H/32, W/32) in 0..6.
        pooled: (B, 1152) mean of ``head`` over the image.
        landmarks: the four outputs, or None where only features were asked for.
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
        # SAME pads by what the last window reaches over, the odd row and column at the end: for stride 2 that is
        # lopsided, which nn.Conv2d cannot do itself.
        before = (kernel - stride) // 2
        after = kernel - stride - before
        self.activated = activated
        super().__init__(inputs, outputs, kernel, stride, before if before == after else 0, groups=groups)
        self.border = (before, after)

    def reset_parameters(self) -> None:
        """Random weights that keep the signal's size through any number of layers (He et al. 2015): none is normed."""
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
    """The landmark network. :meth:`from_tflite` gives it with its weights, the constructor with random ones."""

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
        # Channels last is faster on a CPU (two crops of 224 px in about 0.6 of the time), and torch carries the format
        # of the first layer's weights through all others.
        self.to(memory_format=torch.channels_last)

    @classmethod
    def from_tflite(cls, path: str | os.PathLike[str]) -> LandmarkTrunk:
        """The network with the weights of ``hand_landmark_full.tflite``, in float32.

        Raises ModelFileError, naming the layer, where the file's layers are not exactly this network's.
        """
        name = os.fspath(path)
        if not os.path.isfile(name):
            raise ModelFileError(f"{name}: there is no such file; find_model(HAND_LANDMARKS) gives the network's path")
        try:
            model = openvino.Core().read_model(name)
        except RuntimeError as error:
            raise ModelFileError(f"{name}: OpenVINO cannot read this network: {error}") from error
        trunk = cls()
        try:
            _load(trunk, model)
        except ModelFileError as error:
            raise ModelFileError(f"{name} is not the landmark network: {error}") from error
        return trunk

    def forward(self, images: torch.Tensor, features_only: bool = False) -> TrunkOutput:
        """Features of crops and what the network itself reads out of them.

        Args:
            images: (B, 3, H, W) RGB in 0..1; H and W divisible by 32. The network was trained at 224 x 224: elsewhere
                the features stay meaningful, but screen landmarks remain in pixels of a 224 px crop.
            features_only: leave the four outputs out.
        """
        # In a recorded graph sizes are constants or symbols; there is no one to tell.
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
        """Train from ``stage`` on: it and what follows get gradients, what lies before it gets none.

        Args:
            stage: one of STAGE_NAMES; "stem" trains everything, "outputs" only the four linear outputs.
        """
        if stage not in STAGE_NAMES:
            raise ValueError(f"no stage {stage!r} in the landmark network; its stages are {', '.join(STAGE_NAMES)}")
        first = STAGE_NAMES.index(stage)
        for index, name in enumerate(STAGE_NAMES):
            module = self.outputs if name == "outputs" else self.stages[name]
            module.requires_grad_(index >= first)


@dataclasses.dataclass(frozen=True)
class _Layer:
    """What must agree between a layer here and in the file; ``str`` of it is for error messages."""

    weight: tuple[int, ...]
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    activation: str = "none"

    def __str__(self) -> str:
        place = f", stride {self.stride}, padding {self.padding}" if self.stride else ""
        return f"weights {self.weight}{place}, activation {self.activation}"


def _load(trunk: LandmarkTrunk, model: openvino.Model) -> None:
    """Copy all constants of the graph into the module."""
    # Every convolution depends on the one before it, so their topological order is the order of the layers.
    graph = _convolutions(model)
    layers = [(name, module) for name, module in trunk.named_modules() if isinstance(module, Convolution)]
    for name, module in layers:
        expected = _Layer(
            weight=tuple(module.weight.shape),
            stride=tuple(module.stride),
            padding=2 * (module.border[0],) + 2 * (module.border[1],),
            activation="Clamp 0..6" if module.activated else "none",
        )
        found = next(graph, None)
        if found is None:
            raise ModelFileError(f"it ends before layer {name} ({expected})")
        _copy(name, module, expected, *found)
    if next(graph, None) is not None:
        raise ModelFileError(f"it has more convolutions than the {len(layers)} expected")
    if len(model.outputs) != len(OUTPUTS):
        raise ModelFileError(f"it has {len(model.outputs)} outputs, expected {len(OUTPUTS)}: {', '.join(OUTPUTS)}")
    for (name, size), output in zip(OUTPUTS.items(), model.outputs, strict=True):
        expected = _Layer((size, HEAD_CHANNELS), activation="Sigmoid" if size == 1 else "none")
        _copy(f"outputs.{name}", trunk.outputs[name], expected, *_linear(output.get_node()))


def _copy(name: str, module: nn.Module, expected: _Layer, found: _Layer, weight: np.ndarray, bias: np.ndarray) -> None:
    if found != expected:
        raise ModelFileError(f"layer {name}: expected {expected}; found {found}")
    if bias.size != len(weight):
        raise ModelFileError(f"layer {name}: expected {len(weight)} biases, found shape {bias.shape}")
    with torch.no_grad():
        module.weight.copy_(torch.tensor(weight))
        module.bias.copy_(torch.tensor(bias.ravel()))


def _convolutions(model: openvino.Model) -> Iterator[tuple[_Layer, np.ndarray, np.ndarray]]:
    """Each convolution with the bias and the clamp behind it; weights as torch has them."""
    for node in model.get_ordered_ops():
        if node.get_type_name() not in ("Convolution", "GroupConvolution"):
            continue
        weight = _constant(node.input_value(1).get_node())
        if node.get_type_name() == "GroupConvolution":
            weight = weight.reshape(-1, *weight.shape[2:])  # OpenVINO keeps an axis of its own for the groups
        bias = _only_reader(node)
        if bias is None or bias.get_type_name() != "Add":
            raise ModelFileError(f"{node.get_friendly_name()} with weights {weight.shape} is not followed by a bias")
        clamp = _only_reader(bias)
        activation = "none"
        if clamp is not None and clamp.get_type_name() not in ("Add", "Convolution", "GroupConvolution"):
            activation = clamp.get_type_name()
            if activation == "Clamp":
                limits = clamp.get_attributes()
                activation += f" {limits['min']:g}..{limits['max']:g}"
        attributes = node.get_attributes()
        layer = _Layer(
            weight=weight.shape,
            stride=tuple(attributes["strides"]),
            padding=(*attributes["pads_begin"], *attributes["pads_end"]),
            activation=activation,
        )
        yield layer, weight, _constant(bias.input_value(1).get_node())


def _linear(result: openvino.Node) -> tuple[_Layer, np.ndarray, np.ndarray]:
    """The linear layer, and the function on it if there is one, that an output of the graph comes from."""
    node = result.input_value(0).get_node()
    activation = "none"
    if node.get_type_name() not in ("Add", "MatMul") and node.get_input_size():
        activation = node.get_type_name()
        node = node.input_value(0).get_node()
    product = node.input_value(0).get_node() if node.get_type_name() == "Add" else node
    if node is product or product.get_type_name() != "MatMul":
        raise ModelFileError(f"output {result.get_friendly_name()} does not come from a linear layer with bias")
    weight = _constant(product.input_value(1).get_node())
    return _Layer(weight.shape, activation=activation), weight, _constant(node.input_value(1).get_node())


def _only_reader(node: openvino.Node) -> openvino.Node | None:
    """The node that reads this one's output, or None where there are several."""
    readers = list(node.output(0).get_target_inputs())
    return readers[0].get_node() if len(readers) == 1 else None


def _constant(node: openvino.Node) -> np.ndarray:
    """Value of a node that depends on constants alone, float32: weights are stored in half precision and TFLite order.

    The file's half-precision constants are exact in float32.
    """
    kind = node.get_type_name()
    if kind == "Constant":
        return np.asarray(node.data)
    if kind not in ("Convert", "Transpose", "Reshape", "Unsqueeze"):
        raise ModelFileError(f"{node.get_friendly_name()} ({kind}) stands where a constant is expected")
    value = _constant(node.input_value(0).get_node())
    if kind == "Convert":
        return value.astype(np.float32)
    if kind == "Transpose":
        return value.transpose(_constant(node.input_value(1).get_node()))
    return value.reshape(tuple(node.output(0).shape))
