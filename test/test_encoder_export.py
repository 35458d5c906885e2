"""The exported encoder says what the torch one says, runs without torch, and other files are refused."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from hand_recon_ros.encode.network import EncoderConfig, FusionAlignmentEncoder
from hand_recon_ros.encode.session import EncoderSession
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.runtime.model_files import HAND_LANDMARKS, find_model
from hand_recon_ros.runtime.sessions import SessionError
from hand_recon_ros.training.export import export_onnx

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


def given(seed=0):
    rng = np.random.default_rng(seed)
    coarse = torch.tensor(rng.uniform(0, 255, (2, 3, 12, 12)))
    crops = torch.nn.functional.interpolate(coarse, (224, 224), mode="bicubic").clamp(0, 255)
    images = crops.permute(0, 2, 3, 1).numpy().astype(np.uint8)
    return images, rng.normal(size=(2, 5)), rng.normal(size=(2, 5))


@pytest.mark.parametrize("shown", [(1.0, 1.0), (0.0, 1.0)])
def test_it_says_what_the_network_says(exported, shown):
    model, path = exported
    images, rays, pairs = given()
    session = EncoderSession(path, reduced_precision=False)
    session.crops[:] = images
    found = session.run(rays, pairs, np.array(shown))
    crops = torch.tensor(images).permute(0, 3, 1, 2).float() / 255.0
    with torch.no_grad():
        arguments = (torch.tensor(a, dtype=torch.float32)[None] for a in (rays, pairs, shown))
        expected = model(model.stem(crops)[None], *arguments).hands
    seen = np.array(shown) > 0
    for name, a, b in zip(found._fields, found, expected, strict=True):
        assert a.shape == tuple(b.shape[1:]), name
    joints = np.linalg.norm(found.joints - expected.joints[0].numpy(), axis=-1)[seen]
    places = np.linalg.norm(found.places - expected.places[0].numpy(), axis=-1)[seen]
    assert joints.max() < 0.001, f"joints differ by {1e3 * joints.max():.2f} mm"
    assert places.max() * 224 < 0.5, f"keypoints differ by {places.max() * 224:.2f} px"
    np.testing.assert_allclose(found.log_width[seen], expected.log_width[0].numpy()[seen], atol=0.005)
    assert np.abs(found.presence - expected.presence[0].numpy())[seen].max() < 0.05
    other = EncoderSession(path)
    other.crops[:] = given(1)[0]
    assert np.abs(other.run(rays, pairs, np.array(shown)).joints - found.joints)[seen].max() > 0.001


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
