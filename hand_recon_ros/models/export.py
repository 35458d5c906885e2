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
from ..encode.outputs import PosedHandOutputs
from ..interact.ddim import BETA_SCHEDULE, NUM_TRAIN_TIMESTEPS
from ..interact.pair_vector import CONFIDENCES, INPUTS, PAIR
from .encoder import FusionAlignmentEncoder
from .pair_denoiser import TwoHandPrior

_OPSET = 17
_SMALL = 256
"""Arrays with fewer numbers stay in single precision."""


class _Inference(nn.Module):
    """From the crops of one image, or their stems, to PosedHandOutputs, all (H, ...), of one or two hands."""

    def __init__(self, encoder: FusionAlignmentEncoder, factors: Mapping[str, float]) -> None:
        super().__init__()
        self.encoder, self.factors = encoder, factors

    def forward(
        self, images: torch.Tensor, rays: torch.Tensor, pairs: torch.Tensor, others: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        stems = images if self.encoder.backbones.frozen else self.encoder.stem(images)
        hands = self.encoder(stems[None], rays[None], pairs[None], others[None]).hands
        return tuple(self.factors.get(name, 1.0) * getattr(hands, name)[0] for name in PosedHandOutputs.names())


def export_onnx(
    encoder: FusionAlignmentEncoder,
    path: str | os.PathLike[str],
    half: bool = True,
    factors: Mapping[str, float] | None = None,
) -> None:
    """Write an encoder for the one or two hands of an image; its outputs are those of PosedHandOutputs.

    The first input is ``crops``, (H, 3, S, S) RGB in 0..1; or ``stems``, (H, N), where the stem is the frozen landmark
    network, which the pipeline runs anyway.

    Args:
        encoder: with its weights; one that needs priors at inference cannot be exported.
        path: of the file.
        half: store the weights in half precision: half the size, and differences far below the encoder's errors.
        factors: on outputs, by name, see ``evaluation.predicted_errors.calibration``; without it 1.

    Raises ValueError for an encoder with fusion 'priors'.
    """
    if encoder.config.fusion == "priors":
        raise ValueError("an encoder with fusion 'priors' needs foundation models at inference: it is not exported")
    size = encoder.backbones.input_size
    crops = torch.zeros(2, 3, size, size)
    images = encoder.stem(crops) if encoder.backbones.frozen else crops
    inputs = ["stems" if encoder.backbones.frozen else "crops", "rays", "pairs", "others"]
    example = images, torch.zeros(2, RAY_FEATURES), torch.zeros(2, PAIR_FEATURES), torch.ones(2)
    about = {"size": encoder.config.size, "input_size": size, "stem": list(encoder.backbones.stem_stages)}
    metadata = {"encoder": json.dumps(about)}
    outputs = PosedHandOutputs.file_names()
    write_onnx(_Inference(encoder, factors or {}), example, path, inputs, outputs, half, metadata, batch_axis="hands")


def export_prior(prior: TwoHandPrior, path: str | os.PathLike[str], half: bool = True) -> None:
    """Write a two-hand prior for ``interact.denoiser.Denoiser``; ``half`` as in :func:`export_onnx`.

    Inputs ``x_t``, ``t``, ``condition`` and ``confidence``, all float32 with a batch axis, not normalised; output
    ``x0``. The metadata, entry ``prior``, has the mean and standard deviation that normalise a vector and the name of
    the noise schedule.
    """
    example = torch.zeros(2, PAIR), torch.zeros(2), torch.ones(2, PAIR), torch.ones(2, CONFIDENCES)
    notes = {
        "schedule": BETA_SCHEDULE, "times": NUM_TRAIN_TIMESTEPS, "mean": prior.mean.tolist(), "std": prior.std.tolist(),
    }  # fmt: skip
    metadata = {"prior": json.dumps(notes)}
    write_onnx(prior, example, path, list(INPUTS), ["x0"], half, metadata, batch_axis="pairs")


def write_onnx(
    module: nn.Module,
    example: tuple[torch.Tensor, ...],
    path: str | os.PathLike[str],
    inputs: Sequence[str],
    outputs: Sequence[str],
    half: bool = True,
    metadata: Mapping[str, str] | None = None,
    batch_axis: str = "",
) -> None:
    """Write a module for inputs of the shapes of ``example``; ``half`` as in :func:`export_onnx`.

    ``batch_axis`` names the first axis of every input and output where it may have any length; empty: it is fixed.
    """
    import onnx

    axes = {name: {0: batch_axis} for name in (*inputs, *outputs)} if batch_axis else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing and its deprecation: the traced graphs have no branches
        torch.onnx.export(
            module.eval(), example, os.fspath(path), input_names=list(inputs), output_names=list(outputs),
            opset_version=_OPSET, dynamo=False, dynamic_axes=axes,
        )  # fmt: skip
    model = onnx.load(os.fspath(path))
    if half:
        _halve(model)
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, os.fspath(path))


def _halve(model: Any) -> None:
    """Store large weights in half precision; a cast behind each keeps the computation in single precision."""
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
