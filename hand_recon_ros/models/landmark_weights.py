"""Weights of the landmark network, read from its TFLite file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import numpy as np
import openvino
import torch
from torch import nn

from ..runtime.model_files import ModelFileError
from .landmark_trunk import HEAD_CHANNELS, OUTPUTS, Convolution, LandmarkTrunk


def load_landmark_trunk(path: str | os.PathLike[str]) -> LandmarkTrunk:
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
    trunk = LandmarkTrunk()
    try:
        _load(trunk, model)
    except ModelFileError as error:
        raise ModelFileError(f"{name} is not the landmark network: {error}") from error
    return trunk


@dataclasses.dataclass(frozen=True)
class _Layer:
    """Properties of a layer that must be equal in the module and in the file; ``str`` is for error messages."""

    weight: tuple[int, ...]
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    activation: str = "none"

    def __str__(self) -> str:
        position = f", stride {self.stride}, padding {self.padding}" if self.stride else ""
        return f"weights {self.weight}{position}, activation {self.activation}"


def _load(trunk: LandmarkTrunk, model: openvino.Model) -> None:
    """Copy the weights of the graph into the module."""
    # Every convolution depends on the previous one, so their topological order is the order of the layers.
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
    """Each convolution with the bias and the clamp behind it; weights in torch's layout."""
    for node in model.get_ordered_ops():
        if node.get_type_name() not in ("Convolution", "GroupConvolution"):
            continue
        weight = _constant(node.input_value(1).get_node())
        if node.get_type_name() == "GroupConvolution":
            weight = weight.reshape(-1, *weight.shape[2:])  # OpenVINO has an axis for the groups
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
    """The linear layer, with its activation if there is one, that computes an output of the graph."""
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
    """Value of a node that depends on constants alone, float32.

    The file has weights in half precision and in TFLite's layout; half precision is exact in float32.
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
