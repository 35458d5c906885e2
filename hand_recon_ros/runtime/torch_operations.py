"""The operations of OpenVINO's graphs in torch, as far as this project's networks use them.

Operations and their attributes are those of OpenVINO's specification (docs.openvino.ai, operation sets 1 to 14).
Shapes, axes and indices are read by the program, so that on a GPU nothing waits for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import openvino
import torch
from torch import Tensor
from torch.nn import functional as F

from .sessions import SessionError

Operation = Callable[..., Any]
INTEGERS = (torch.int8, torch.int32, torch.int64, torch.uint64)


def operation_of(node: openvino.Node) -> Operation:
    """The torch function of a node: its inputs' values to that of its output, or to a tuple of several.

    Raises SessionError for an operation, or a mode of one, that is not known.
    """
    kind = node.get_type_name()
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if kind not in _WITH_ATTRIBUTES:
        raise SessionError(f"operation {kind} ({node.get_friendly_name()}) is not known to the torch runtime")
    return _WITH_ATTRIBUTES[kind](node, node.get_attributes())


def _ints(values: Tensor | None) -> list[int]:
    assert values is not None, "shapes and axes are constants in a graph of static shapes"
    return [int(value) for value in values.reshape(-1).tolist()]


def _require(node: openvino.Node, condition: bool, what: str) -> None:
    if not condition:
        raise SessionError(
            f"{node.get_type_name()} {node.get_friendly_name()}: {what} is not known to the torch runtime"
        )


def _gather(data: Tensor, indices: Tensor, axis: Tensor) -> Tensor:
    (at,) = _ints(axis)
    at %= data.ndim
    if indices.device == data.device:
        chosen = data.index_select(at, indices.reshape(-1).long() % data.shape[at])
    else:  # known beforehand, see TorchGraph
        chosen = torch.cat([data.narrow(at, index % data.shape[at], 1) for index in _ints(indices)], at)
    return chosen.reshape((*data.shape[:at], *indices.shape, *data.shape[at + 1 :]))


def _slice(data: Tensor, start: Tensor, stop: Tensor, step: Tensor, axes: Tensor | None = None) -> Tensor:
    parts = [slice(None)] * data.ndim
    chosen = _ints(axes) if axes is not None else range(len(_ints(start)))
    for axis, first, last, stride in zip(chosen, _ints(start), _ints(stop), _ints(step), strict=True):
        parts[axis] = slice(first, last, stride)
    return _sliced(data, parts)


def _sliced(data: Tensor, parts: Sequence[slice]) -> Tensor:
    """As NumPy's, also with negative steps, which torch does not have."""
    for axis, part in enumerate(parts):
        chosen = range(*part.indices(data.shape[axis]))
        ascending = chosen if chosen.step > 0 else chosen[::-1]
        data = data[(slice(None),) * axis + (slice(ascending.start, ascending.stop, ascending.step),)]
        if chosen.step < 0:
            data = data.flip(axis)
    return data


def _broadcast(data: Tensor, shape: Tensor, *_: Tensor) -> Tensor:
    # Bidirectional: an axis of size 1 in the target takes the data's size.
    return data.expand(torch.broadcast_shapes(data.shape, tuple(_ints(shape))))


def _range(start: Tensor, stop: Tensor, step: Tensor) -> Tensor:
    return torch.arange(start.item(), stop.item(), step.item()).to(start.dtype)


def _padding(begin: Sequence[int], end: Sequence[int]) -> list[int]:
    """As torch takes it: before and after each axis, the last axis first."""
    return [amount for pair in zip(reversed(begin), reversed(end), strict=True) for amount in pair]


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return torch.div(a, b, rounding_mode="floor") if a.dtype in INTEGERS else a / b


def _prelu(data: Tensor, slope: Tensor) -> Tensor:
    if slope.ndim == 1 and slope.numel() > 1:
        slope = slope.reshape(-1, *[1] * (data.ndim - 2))
    return torch.where(data >= 0, data, data * slope)


def _unsqueeze(data: Tensor, axes: Tensor) -> Tensor:
    chosen = _ints(axes)
    ndim = data.ndim + len(chosen)
    for axis in sorted(axis % ndim for axis in chosen):
        data = data.unsqueeze(axis)
    return data


def _squeeze(data: Tensor, axes: Tensor | None = None) -> Tensor:
    if axes is None:
        return data.squeeze()
    return data.squeeze(tuple(axis % data.ndim for axis in _ints(axes)))


def _variadic_split(data: Tensor, axis: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
    sizes = _ints(lengths)
    (at,) = _ints(axis)
    if -1 in sizes:
        sizes[sizes.index(-1)] = data.shape[at] - sum(sizes) - 1
    return data.split(sizes, dim=at)


_SIMPLE: dict[str, Operation] = {
    "Add": torch.add, "Subtract": torch.sub, "Multiply": torch.mul, "Divide": _divide,
    "Maximum": torch.maximum, "Minimum": torch.minimum, "FloorMod": torch.remainder,
    "Equal": torch.eq, "Less": torch.lt, "Select": torch.where,
    "Negative": torch.neg, "Sqrt": torch.sqrt, "Exp": torch.exp, "Log": torch.log, "Sin": torch.sin, "Cos": torch.cos,
    "Erf": torch.erf, "Sigmoid": torch.sigmoid, "Relu": torch.relu, "SoftPlus": F.softplus,
    "PRelu": _prelu, "Transpose": lambda data, order: data.permute(_ints(order)),
    "Unsqueeze": _unsqueeze, "Squeeze": _squeeze, "Slice": _slice,
    "Range": _range, "VariadicSplit": _variadic_split,
}  # fmt: skip


def _shape_of(node: openvino.Node, attributes: dict[str, Any]) -> Operation:
    shape = node.get_input_partial_shape(0)
    _require(node, shape.is_static, "a dynamic shape")
    value = torch.tensor([int(size) for size in node.get_input_shape(0)])
    return lambda _: value


def _reshape(node: openvino.Node, attributes: dict[str, Any]) -> Operation:
    special = bool(attributes["special_zero"])
    source = [int(size) for size in node.get_input_shape(0)]

    def reshape(data: Tensor, shape: Tensor) -> Tensor:
        target = _ints(shape)
        if special:
            target = [data.shape[axis] if size == 0 else size for axis, size in enumerate(target)]
        if target[:1] == [1] and source[:1] == [1]:
            target[0] = data.shape[0]  # the batch
        return data.reshape(target)

    return reshape


def _convolution(node: openvino.Node, attributes: dict[str, Any]) -> Operation:
    strides, dilations = list(attributes["strides"]), list(attributes["dilations"])
    begin, end = _pads(node, attributes)
    grouped = node.get_type_name() == "GroupConvolution"
    even = begin == end

    def convolve(data: Tensor, weight: Tensor) -> Tensor:
        groups = 1
        if grouped:
            groups = weight.shape[0]
            weight = weight.flatten(0, 1)
        if not even:
            data = F.pad(data, _padding(begin, end))
        padding = begin if even else [0] * len(begin)
        return F.conv2d(data, weight, None, strides, padding, dilations, groups)

    return convolve


def _pads(node: openvino.Node, attributes: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Padding before and after each spatial axis of a convolution or pooling."""
    begin, end = list(attributes["pads_begin"]), list(attributes["pads_end"])
    automatic = attributes.get("auto_pad", "explicit")
    if automatic in ("same_upper", "same_lower"):
        sizes, results = list(node.get_input_shape(0))[2:], list(node.get_output_shape(0))[2:]
        kernel = attributes.get("kernel") or list(node.get_input_shape(1))[-len(sizes) :]
        dilations = attributes.get("dilations") or [1] * len(sizes)
        begin, end = [], []
        for size, result, taps, stride, dilation in zip(
            sizes, results, kernel, attributes["strides"], dilations, strict=True
        ):
            total = max((result - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
            small, large = total // 2, total - total // 2
            begin.append(small if automatic == "same_upper" else large)
            end.append(large if automatic == "same_upper" else small)
    elif automatic == "valid":
        begin, end = [0] * len(begin), [0] * len(end)
    return [int(amount) for amount in begin], [int(amount) for amount in end]


def _pad(node: openvino.Node, attributes: dict[str, Any]) -> Operation:
    _require(node, str(attributes["pad_mode"]).lower() == "constant", f"mode {attributes['pad_mode']}")
    value = 0.0
    if node.get_input_size() > 3:
        source = node.input_value(3).get_node()
        _require(node, source.get_type_name() == "Constant", "a value that is computed")
        value = float(source.get_data())
    return lambda data, begin, end, *_: F.pad(data, _padding(_ints(begin), _ints(end)), value=value)


def _max_pool(node: openvino.Node, attributes: dict[str, Any]) -> Operation:
    kernel, strides = list(attributes["kernel"]), list(attributes["strides"])
    _require(node, set(attributes.get("dilations", [1])) == {1}, "dilation")
    begin, end = _pads(node, attributes)
    ceil = attributes["rounding_type"] == "ceil"
    _require(node, attributes["rounding_type"] in ("floor", "ceil"), f"rounding {attributes['rounding_type']}")

    def pool(data: Tensor) -> Tensor:
        if any(begin) or any(end):
            data = F.pad(data, _padding(begin, end), value=-math.inf)
        return F.max_pool2d(data, kernel, strides, ceil_mode=ceil)

    return pool


def _interpolate(node: openvino.Node, attributes: dict[str, Any]) -> Operation:
    mode, coordinates = attributes["mode"], attributes["coordinate_transformation_mode"]
    _require(node, mode in ("linear", "linear_onnx"), f"mode {mode}")
    _require(node, coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners"), f"{coordinates}")
    _require(node, not attributes.get("antialias", False), "smoothing")
    _require(node, not any(attributes["pads_begin"]) and not any(attributes["pads_end"]), "padding")
    source, target = list(node.get_input_shape(0)), list(node.get_output_shape(0))
    last = source[1] != target[1]  # channels, in a file of TFLite
    kept = (0, 3) if last else (0, 1)
    _require(
        node, len(source) == 4 and all(source[axis] == target[axis] for axis in kept), f"from {source} to {target}"
    )
    size, aligned = target[1:3] if last else target[2:], coordinates == "align_corners"

    def resize(data: Tensor, *_: Tensor) -> Tensor:
        data = data.permute(0, 3, 1, 2) if last else data
        data = F.interpolate(data, size, mode="bilinear", align_corners=aligned)
        return data.permute(0, 2, 3, 1) if last else data

    return resize


def _strided_slice(node: openvino.Node, attributes: dict[str, Any]) -> Operation:
    masks = {name: list(attributes[f"{name}_mask"]) for name in ("begin", "end", "new_axis", "shrink_axis", "ellipsis")}
    _require(node, not any(masks["new_axis"]) and not any(masks["ellipsis"]), "a new axis or an ellipsis")
    shape = node.get_input_partial_shape(0)
    of_batch = len(shape) > 1 and shape[0].is_static and int(shape[0].get_length()) == 1
    _require(node, not (of_batch and any(masks["shrink_axis"][:1])), "the first of a batch")

    def given(name: str, axis: int) -> bool:
        return axis < len(masks[name]) and bool(masks[name][axis])

    def cut(data: Tensor, begin: Tensor, end: Tensor, strides: Tensor | None = None) -> Tensor:
        starts, stops = _ints(begin), _ints(end)
        steps = _ints(strides) if strides is not None else [1] * len(starts)
        parts, dropped = [], []
        for axis, (start, stop, step) in enumerate(zip(starts, stops, steps, strict=True)):
            if given("shrink_axis", axis):
                start %= data.shape[axis]
                parts.append(slice(start, start + 1, 1))
                dropped.append(axis)
                continue
            if axis == 0 and of_batch and (start, stop, step) == (0, 1, 1):
                parts.append(slice(None))  # the whole batch
                continue
            parts.append(slice(None if given("begin", axis) else start, None if given("end", axis) else stop, step))
        result = _sliced(data, parts)
        return result.squeeze(tuple(dropped)) if dropped else result

    return cut


def _mvn(node: openvino.Node, attributes: dict[str, Any]) -> Operation:
    epsilon, normalized = float(attributes["eps"]), bool(attributes["normalize_variance"])
    inside = str(attributes["eps_mode"]).lower() == "inside_sqrt"

    def normalize(data: Tensor, axes: Tensor) -> Tensor:
        at = _ints(axes)
        data = data - data.mean(at, keepdim=True)
        if not normalized:
            return data
        variance = data.square().mean(at, keepdim=True)
        return data / ((variance + epsilon).sqrt() if inside else variance.sqrt() + epsilon)

    return normalize


def _reduced(function: Callable[..., Tensor]) -> Callable[[openvino.Node, dict[str, Any]], Operation]:
    def make(node: openvino.Node, attributes: dict[str, Any]) -> Operation:
        keep = bool(attributes["keep_dims"])
        _require(node, node.get_input_shape(1) != [0], "a reduction of no axis")
        return lambda data, axes: function(data, _ints(axes), keep)

    return make


def _product(data: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % data.ndim for axis in axes), reverse=True):
        data = data.prod(axis, keepdim=keep)
    return data


def _depth_to_space(node: openvino.Node, attributes: dict[str, Any]) -> Operation:
    block, first = int(attributes["block_size"]), attributes["mode"] == "blocks_first"

    def arrange(data: Tensor) -> Tensor:
        if not first:
            return F.pixel_shuffle(data, block)
        count, channels, height, width = data.shape
        data = data.reshape(count, block, block, channels // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
        return data.reshape(count, channels // block**2, height * block, width * block)

    return arrange


def _matmul(node: openvino.Node, attributes: dict[str, Any]) -> Operation:
    first, second = bool(attributes["transpose_a"]), bool(attributes["transpose_b"])

    def multiply(a: Tensor, b: Tensor) -> Tensor:
        return torch.matmul(a.mT if first and a.ndim > 1 else a, b.mT if second and b.ndim > 1 else b)

    return multiply


_TYPES = {
    "f32": torch.float32, "f16": torch.float32, "f64": torch.float64, "i64": torch.int64, "i32": torch.int32,
    "boolean": torch.bool, "u8": torch.uint8,
}  # fmt: skip


def _convert(node: openvino.Node, attributes: dict[str, Any]) -> Operation:
    name = str(node.get_output_element_type(0).get_type_name())
    _require(node, name in _TYPES, f"type {name}")
    return lambda data: data.to(_TYPES[name])


def _cumulated(node: openvino.Node, attributes: dict[str, Any]) -> Operation:
    _require(node, not attributes["exclusive"] and not attributes["reverse"], "an exclusive or reverse sum")
    return lambda data, axis: data.cumsum(_ints(axis)[0])


def _gathered(node: openvino.Node, attributes: dict[str, Any]) -> Operation:
    _require(node, attributes.get("batch_dims", 0) == 0, "a batch of indices")
    return _gather


def _broadcasted(node: openvino.Node, attributes: dict[str, Any]) -> Operation:
    _require(node, str(attributes["mode"]).lower() in ("numpy", "bidirectional"), f"mode {attributes['mode']}")
    return _broadcast


_WITH_ATTRIBUTES: dict[str, Callable[[openvino.Node, dict[str, Any]], Operation]] = {
    "ShapeOf": _shape_of, "Reshape": _reshape, "Convolution": _convolution, "GroupConvolution": _convolution,
    "MaxPool": _max_pool, "Interpolate": _interpolate, "StridedSlice": _strided_slice, "MVN": _mvn,
    "MatMul": _matmul, "Convert": _convert, "DepthToSpace": _depth_to_space,
    "Pad": _pad,
    "ReduceMean": _reduced(lambda data, axes, keep: data.mean(axes, keepdim=keep)),
    "ReduceSum": _reduced(lambda data, axes, keep: data.sum(axes, keepdim=keep)),
    "ReduceL2": _reduced(lambda data, axes, keep: data.square().sum(axes, keepdim=keep).sqrt()),
    "ReduceProd": _reduced(_product),
    "Concat": lambda node, attributes: lambda *parts: torch.cat(parts, int(attributes["axis"])),
    "Split": lambda node, attributes: lambda data, axis: data.chunk(int(attributes["num_splits"]), _ints(axis)[0]),
    "Softmax": lambda node, attributes: lambda data: data.softmax(int(attributes["axis"])),
    "Clamp": lambda node, attributes: lambda data: data.clamp(float(attributes["min"]), float(attributes["max"])),
    "Einsum": lambda node, attributes: lambda *parts: torch.einsum(attributes["equation"], *parts),
    "CumSum": _cumulated, "Gather": _gathered, "Broadcast": _broadcasted,
}  # fmt: skip
