"""Trained networks as ONNX files, which run without torch."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ..encode.crop_frame import PAIR_FEATURES, RAY_FEATURES
from ..encode.network import FusionAlignmentEncoder
from ..encode.outputs import HandsOutput

INPUTS = ("crops", "rays", "pairs", "shown")
_OPSET = 17
_SMALL = 256  # numbers: what is smaller stays in single precision


class _Inference(nn.Module):
    """One pair of crops, (2, 3, S, S) RGB in 0..1, to every part of HandsOutput, (2, ...)."""

    def __init__(self, encoder: FusionAlignmentEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(
        self, crops: torch.Tensor, rays: torch.Tensor, pairs: torch.Tensor, shown: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        stems = self.encoder.stem(crops)
        output = self.encoder(stems[None], rays[None], pairs[None], shown[None])
        return tuple(part[0] for part in output.hands)


def export_onnx(encoder: FusionAlignmentEncoder, path: str | os.PathLike[str], half: bool = True) -> None:
    """Write an encoder for one pair of crops.

    Args:
        encoder: with its weights; one that needs priors at inference cannot be exported.
        path: of the file.
        half: keep the weights in half precision: half the size, and differences far below the encoder's errors.
    """
    if encoder.config.fusion == "priors":
        raise ValueError("an encoder with fusion 'priors' needs foundation models at inference: nothing to export")
    size = encoder.backbones.input_size
    example = (
        torch.zeros(2, 3, size, size), torch.zeros(2, RAY_FEATURES), torch.zeros(2, PAIR_FEATURES), torch.ones(2),
    )  # fmt: skip
    metadata = {"encoder": json.dumps({"size": encoder.config.size, "input_size": size})}
    write_onnx(_Inference(encoder), example, path, INPUTS, HandsOutput._fields, half, metadata)


def write_onnx(
    module: nn.Module,
    example: tuple[torch.Tensor, ...],
    path: str | os.PathLike[str],
    inputs: Sequence[str],
    outputs: Sequence[str],
    half: bool = True,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a module for inputs of the shapes of ``example``; ``half`` as in :func:`export_onnx`."""
    import onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing and its deprecation: every shape here is fixed
        torch.onnx.export(
            module.eval(), example, os.fspath(path), input_names=list(inputs), output_names=list(outputs),
            opset_version=_OPSET, dynamo=False,
        )  # fmt: skip
    model = onnx.load(os.fspath(path))
    if half:
        _halve(model)
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, os.fspath(path))


def _halve(model: Any) -> None:
    """Store large weights in half precision; a cast behind each keeps the computation as it is."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT and np.prod(weight.dims) >= _SMALL:
            name = weight.name
            half = numpy_helper.to_array(weight).astype(np.float16)
            weight.CopyFrom(numpy_helper.from_array(half, name + "_half"))
            casts.append(helper.make_node("Cast", [name + "_half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
