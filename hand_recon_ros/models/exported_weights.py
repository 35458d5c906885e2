"""The weights of an exported encoder as those of the network in torch, to train it further.

An exported file (:mod:`models.export`) has what inference needs: an encoder with ``fusion: aligned`` comes back as
``unaligned``, which has the same layers without the projection of the priors.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

from ..config import ConfigError
from ..encode.crop_frame import PAIR_FEATURES, RAY_FEATURES
from ..encode.outputs import PosedHandOutputs
from ..encode.session import EncoderSession
from ..hand_model import HandModel, load_hand_model
from ..runtime.openvino_session import network_notes
from ..runtime.sessions import SessionError
from .encoder import EncoderConfig, FusionAlignmentEncoder
from .landmark_trunk import STAGES

_PREFIX = "encoder."
_HALF = "_half"
_TOLERANCE = 2e-3
"""Largest difference of outputs (metres, radians, shares of the crop) of the file and of the network made of it."""
_SCALES = ("keypoint_scales", "log_crop_width_scale")
"""Outputs that the export has multiplied with a calibration."""


def encoder_from_onnx(path: str | os.PathLike[str], hand_model: HandModel | None = None) -> FusionAlignmentEncoder:
    """The network of an exported encoder of size ``small``, in evaluation mode.

    The predicted standard deviations are those before the calibration of the export; all other outputs are compared
    with those of the file. Raises ConfigError where the file is no such encoder.
    """
    import onnx

    try:
        about = network_notes(path, "encoder")
        size, stem = about["size"], about["stem"]
    except (SessionError, KeyError) as error:
        raise ConfigError(f"{path}: not an exported encoder: {' '.join(str(error).split())}") from error
    if size != "small" or not stem:
        raise ConfigError(f"{path}: an encoder of size {size!r}; only those of size 'small' are trained further")
    weights = _weights(onnx.load(os.fspath(path)).graph)
    names = [stage.name for stage in STAGES]
    try:
        config = EncoderConfig(
            size="small",
            width=len(weights["project_image.bias"]),
            layers=1 + max(int(name.split(".")[1]) for name in weights if name.startswith("layers.")),
            fusion="unaligned" if "project_second.0.bias" in weights else "none",
            trained_from=names[names.index(stem[0]) + 1],
        )
        network = FusionAlignmentEncoder(config, hand_model or load_hand_model())
        state = network.state_dict()
        # The stem, and the image's own copy of the last stages, are the frozen landmark network's.
        missing = [name for name in state if name not in weights and not name.startswith("backbones.")]
        if missing:
            raise ValueError(f"{', '.join(missing[:3])} are missing")
        network.load_state_dict({**state, **{name: torch.tensor(value) for name, value in weights.items()}})
    except (KeyError, ValueError, IndexError, RuntimeError) as error:
        raise ConfigError(f"{path}: its weights are not those of an encoder: {' '.join(str(error).split())}") from error
    _check_outputs(path, network.eval())
    return network


def _weights(graph: Any) -> dict[str, np.ndarray]:
    """The weights by their names in the network, float32.

    The exporter names a linear layer's weight only where its input is a matrix; of others it stores the transposed
    weight without a name, and the bias that is added to the product says whose it is. Of the type embedding it stores
    the rows that are added to tokens, one by one.
    """
    from onnx import numpy_helper

    values = {
        entry.name.removesuffix(_HALF): numpy_helper.to_array(entry).astype(np.float32) for entry in graph.initializer
    }
    result = {name.removeprefix(_PREFIX): value for name, value in values.items() if name.startswith(_PREFIX)}
    products = {node.output[0]: node.input[1] for node in graph.node if node.op_type == "MatMul"}
    rows: list[str] = []
    for node in graph.node:
        if node.op_type != "Add":
            continue
        bias = next((name for name in node.input if name.startswith(_PREFIX) and name.endswith(".bias")), None)
        product = next((products[name] for name in node.input if name in products), None)
        if bias is not None and product in values:
            result[bias.removeprefix(_PREFIX).removesuffix("bias") + "weight"] = values[product].T
        for name in node.input:
            if name in values and not name.startswith(_PREFIX) and name not in rows:
                rows.append(name)
    rows.sort(key=lambda name: int(name.rpartition("_")[2]))  # in the order of their use
    if rows:
        embedding = [values[name] for name in rows]
        if len(embedding) == 3:  # without a second backbone its row is not used
            embedding.insert(2, np.zeros_like(embedding[0]))
        result["type_embedding"] = np.stack(embedding)
    return result


@torch.no_grad()
def _check_outputs(path: str | os.PathLike[str], network: FusionAlignmentEncoder) -> None:
    """Raise ConfigError where the network's outputs differ from those of the file, on two random crops."""
    rng = np.random.default_rng(0)
    crops = torch.tensor(rng.integers(0, 256, (2, 224, 224, 3)).astype(np.uint8))
    stems = network.stem(crops.permute(0, 3, 1, 2).float() / 255.0)
    rays, pairs = (rng.normal(0, 0.3, (2, size)).astype(np.float32) for size in (RAY_FEATURES, PAIR_FEATURES))
    expected = EncoderSession(os.fspath(path), PosedHandOutputs).run(stems.numpy(), rays, pairs, np.ones(2))
    inputs = (stems[None], torch.tensor(rays)[None], torch.tensor(pairs)[None], torch.ones(1, 2))
    outputs = network(*inputs).hands
    for name in PosedHandOutputs.names():
        if name in _SCALES:
            continue
        difference = np.abs(np.asarray(getattr(expected, name)) - getattr(outputs, name)[0].numpy()).max()
        scale = max(1.0, float(np.abs(getattr(expected, name)).max()))
        if not difference <= _TOLERANCE * scale:
            raise ConfigError(f"{path}: the network made of it predicts another {name}, by {difference:.3g}")
