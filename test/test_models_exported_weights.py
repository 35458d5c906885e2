"""Exported encoders as networks in torch again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from hand_recon_ros.config import ConfigError
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.models.encoder import EncoderConfig, FusionAlignmentEncoder
from hand_recon_ros.models.export import export_onnx
from hand_recon_ros.models.exported_weights import encoder_from_onnx
from hand_recon_ros.runtime.bundled_networks import bundled_network

MODEL = load_hand_model()


@pytest.mark.parametrize("fusion", ["aligned", "none"])
def test_the_weights_are_those_that_were_exported(fusion: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = EncoderConfig(width=32, layers=2, fusion=fusion)
    exported = FusionAlignmentEncoder(config, MODEL)
    with torch.no_grad():
        for name, parameter in exported.named_parameters():
            if parameter.requires_grad and not name.startswith("backbones."):
                parameter.add_(0.01 * torch.randn_like(parameter))  # the exporter stores equal weights once
    export_onnx(exported, tmp_path / "encoder.onnx", half=False, factors={"keypoint_scales": 1.5})
    network = encoder_from_onnx(tmp_path / "encoder.onnx", MODEL)
    assert network.config == dataclasses.replace(config, fusion="unaligned" if fusion == "aligned" else "none")
    expected, compared = exported.state_dict(), 0
    for name, value in network.state_dict().items():
        if fusion == "none" and name == "type_embedding":
            value, expected[name] = value[[0, 1, 3]], expected[name][[0, 1, 3]]  # the other row is not used
        torch.testing.assert_close(value, expected[name], msg=name)
        compared += 1
    assert compared > 100


def test_the_shipped_encoder_can_be_trained_further() -> None:
    network = encoder_from_onnx(bundled_network("encoder", "small"), MODEL)
    assert (network.config.width, network.config.layers, network.config.trained_from) == (128, 3, "stride16a")
    assert any(parameter.requires_grad for parameter in network.parameters())


def test_files_that_are_refused(tmp_path: Path) -> None:
    shipped = bundled_network("encoder", "small")
    for name, content in (("noise.onnx", b"noise" * 50), ("cut.onnx", shipped.read_bytes()[:100000])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=f"{name}: not an exported encoder"):
            encoder_from_onnx(tmp_path / name, MODEL)
    with pytest.raises(ConfigError, match=r"none.onnx: not an exported encoder"):
        encoder_from_onnx(tmp_path / "none.onnx", MODEL)
    model = onnx.load(str(shipped))
    # Two rows of the type embedding exchanged: a network that predicts something else than the file.
    rows = [entry for entry in model.graph.initializer if entry.name.startswith("onnx::Add_")]
    first, second = rows[0].name, rows[1].name
    rows[0].name, rows[1].name = second, first
    values = numpy_helper.to_array(rows[0]), numpy_helper.to_array(rows[1])
    assert np.abs(values[0] - values[1]).max() > 0.1
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name in (first, second):
                node.input[index] = second if name == first else first
    onnx.save(model, str(tmp_path / "exchanged.onnx"))
    with pytest.raises(ConfigError, match="the network made of it predicts another"):
        encoder_from_onnx(tmp_path / "exchanged.onnx", MODEL)
