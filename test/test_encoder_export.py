"""The exported encoder says what the torch one says, runs without torch, and other files are refused."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from hand_recon_ros.encode.session import EncoderSession
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.models.encoder import EncoderConfig, FusionAlignmentEncoder
from hand_recon_ros.models.export import export_onnx
from hand_recon_ros.runtime.model_files import HAND_LANDMARKS, find_model
from hand_recon_ros.runtime.sessions import SessionError

pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    model = FusionAlignmentEncoder(EncoderConfig(), load_hand_model()).eval()
    with torch.no_grad():  # so that what it says depends on the image, as that of a trained one does
        model.heads.numbers.weight *= 10.0
        model.heads.spatial.weight *= 3.0
    path = tmp_path_factory.mktemp("encoder") / "encoder.onnx"
    export_onnx(model, path)
    return model, path


def given(model, seed=0):
    rng = np.random.default_rng(seed)
    coarse = torch.tensor(rng.uniform(0, 1, (2, 3, 12, 12)), dtype=torch.float32)
    crops = torch.nn.functional.interpolate(coarse, (224, 224), mode="bicubic").clamp(0, 1)
    return model.stem(crops).numpy(), rng.normal(size=(2, 5)), rng.normal(size=(2, 5))


def said(model, *arrays):
    with torch.no_grad():
        return model(*(torch.tensor(array, dtype=torch.float32)[None] for array in arrays)).hands


@pytest.mark.parametrize("hands", [1, 2])
def test_it_says_what_the_network_says(exported, hands):
    model, path = exported
    arrays = [array[:hands] for array in (*given(model), np.full(2, hands - 1.0))]
    session = EncoderSession(path, reduced_precision=False)
    assert session.takes_stems and session.input_shape == arrays[0].shape[1:]
    found, expected = session.run(*arrays), said(model, *arrays)
    for name, a, b in zip(found._fields, found, expected, strict=True):
        assert a.shape == tuple(b.shape[1:]), name
    joints = np.linalg.norm(found.joints - expected.joints[0].numpy(), axis=-1)
    places = np.linalg.norm(found.keypoints_2d - expected.keypoints_2d[0].numpy(), axis=-1)
    assert joints.max() < 0.001, f"joints differ by {1e3 * joints.max():.2f} mm"
    assert places.max() * 224 < 0.5, f"keypoints differ by {places.max() * 224:.2f} px"
    np.testing.assert_allclose(found.log_crop_width, expected.log_crop_width[0].numpy(), atol=0.005)
    assert np.abs(found.presence - expected.presence[0].numpy()).max() < 0.05
    others = session.run(given(model, 1)[0][:hands], *arrays[1:])
    assert np.abs(others.joints - found.joints).max() > 0.001


def test_one_that_was_trained_from_scratch_takes_crops(tmp_path):
    torch.manual_seed(0)
    config = EncoderConfig(width=32, layers=1, heads=2, pretrained=False)
    model = FusionAlignmentEncoder(config, load_hand_model()).eval()
    export_onnx(model, tmp_path / "scratch.onnx")
    session = EncoderSession(tmp_path / "scratch.onnx", reduced_precision=False)
    assert not session.takes_stems and session.input_shape == (224, 224, 3)
    crops = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    rest = np.zeros((2, 5)), np.zeros((2, 5)), np.ones(2)
    expected = said(model, model.stem(torch.tensor(crops).permute(0, 3, 1, 2) / 255.0).numpy(), *rest)
    np.testing.assert_allclose(session.run(crops, *rest).joints, expected.joints[0].numpy(), atol=0.001)


def test_half_precision_halves_the_file(exported, tmp_path):
    model, path = exported
    export_onnx(model, tmp_path / "single.onnx", half=False)
    assert path.stat().st_size < 0.55 * (tmp_path / "single.onnx").stat().st_size
    assert path.stat().st_size < 15e6


def test_it_runs_without_torch(exported):
    code = (
        "import sys; from hand_recon_ros.encode.session import EncoderSession;"
        f"EncoderSession({str(exported[1])!r}); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_other_networks_are_refused(tmp_path):
    with pytest.raises(SessionError, match="not an encoder"):
        EncoderSession(find_model(HAND_LANDMARKS, ""))
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    with pytest.raises(SessionError, match="cannot read"):
        EncoderSession(tmp_path / "x.onnx")


def test_what_needs_priors_is_not_exported(tmp_path):
    model = FusionAlignmentEncoder(EncoderConfig(fusion="priors"), load_hand_model())
    with pytest.raises(ValueError, match="foundation models"):
        export_onnx(model, tmp_path / "x.onnx")
