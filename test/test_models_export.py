"""The exported encoder computes what the torch one does, runs without torch, and other files are refused."""

import subprocess
import sys

import numpy as np
import openvino
import pytest
import torch

from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.datasets.crops import CROP_SIZE, sample_crops
from hand_recon_ros.detect.networks import HandNetworks
from hand_recon_ros.encode.hand_encoder import decode_prediction
from hand_recon_ros.encode.outputs import HandOutputs, PosedHandOutputs
from hand_recon_ros.encode.session import EncoderSession
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.landmarks.landmarks import stem_of
from hand_recon_ros.models.encoder import EncoderConfig, FusionAlignmentEncoder
from hand_recon_ros.models.export import export_onnx
from hand_recon_ros.models.landmark_trunk import STAGES
from hand_recon_ros.runtime import openvino_session
from hand_recon_ros.runtime.bundled_networks import bundled_network
from hand_recon_ros.runtime.model_files import HAND_LANDMARKS, find_model
from hand_recon_ros.runtime.sessions import SessionError
from hand_recon_ros.synthetic import SampleStream

pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    model = FusionAlignmentEncoder(EncoderConfig(), load_hand_model()).eval()
    with torch.no_grad():  # so that the outputs depend on the image, as those of a trained one do
        model.heads.regression.weight *= 10.0
        model.heads.dense.weight *= 3.0
    path = tmp_path_factory.mktemp("encoder") / "encoder.onnx"
    export_onnx(model, path)
    return model, path


def random_inputs(model, seed=0):
    rng = np.random.default_rng(seed)
    coarse = torch.tensor(rng.uniform(0, 1, (2, 3, 12, 12)), dtype=torch.float32)
    crops = torch.nn.functional.interpolate(coarse, (224, 224), mode="bicubic").clamp(0, 1)
    return model.stem(crops).numpy(), rng.normal(size=(2, 5)), rng.normal(size=(2, 5))


def torch_outputs(model, *arrays):
    with torch.no_grad():
        hands = model(*(torch.tensor(array, dtype=torch.float32)[None] for array in arrays)).hands
    return hands[0].map(lambda output: output.numpy())


@pytest.mark.parametrize("hands", [1, 2])
def test_the_session_computes_what_the_network_computes(exported, hands):
    model, path = exported
    arrays = [array[:hands] for array in (*random_inputs(model), np.full(2, hands - 1.0))]
    session = EncoderSession(path, PosedHandOutputs)
    assert session.takes_stems and session.input_shape == arrays[0].shape[1:]
    found, expected = session.run(*arrays), torch_outputs(model, *arrays)
    for name in PosedHandOutputs.names():
        assert getattr(found, name).shape == getattr(expected, name).shape, name
    joints = np.linalg.norm(found.joints - expected.joints, axis=-1)
    keypoints = np.linalg.norm(found.keypoints_2d - expected.keypoints_2d, axis=-1)
    assert joints.max() < 0.001, f"joints differ by {1e3 * joints.max():.2f} mm"
    assert keypoints.max() * 224 < 0.5, f"keypoints differ by {keypoints.max() * 224:.2f} px"
    np.testing.assert_allclose(found.log_crop_width, expected.log_crop_width, atol=0.005)
    assert np.abs(found.presence - expected.presence).max() < 0.05
    others = session.run(random_inputs(model, 1)[0][:hands], *arrays[1:])
    assert np.abs(others.joints - found.joints).max() > 0.001


@pytest.mark.parametrize("outputs", [HandOutputs, PosedHandOutputs])
def test_only_the_outputs_that_are_read_are_compiled(outputs):
    """The shipped file has more outputs; those that remain have the same values."""
    path = bundled_network("encoder", "small")
    session = EncoderSession(path, outputs)
    for network in session.networks.values():
        compiled = [set(outputs.file_names()) & output.names for output in network.request.model_outputs]
        assert compiled == [{name} for name in outputs.file_names()]
    rng = np.random.default_rng(0)
    arrays = rng.uniform(0, 1, (2, *session.input_shape)).astype(np.float32), np.zeros((2, 5)), np.zeros((2, 5))
    complete = openvino.Core().compile_model(str(path), "CPU", openvino_session.cpu_config(2))
    expected = complete([array.astype(np.float32) for array in (*arrays, np.ones(2))])
    found = session.run(*arrays, np.ones(2))
    for name, file_name in zip(outputs.names(), outputs.file_names(), strict=True):
        np.testing.assert_allclose(getattr(found, name), expected[file_name], atol=1e-5, err_msg=name)


def test_an_exported_file_has_the_outputs_that_are_read(exported):
    model = openvino.Core().read_model(exported[1])
    assert [set(PosedHandOutputs.file_names()) & output.names for output in model.outputs] == [
        {name} for name in PosedHandOutputs.file_names()
    ]


def predictions(session, samples, networks):
    """The pipeline's predictions for the hands of samples, with their crop frames, in order."""
    result = []
    for number, sample in enumerate(samples):
        crops = sample_crops(sample, np.random.default_rng(number), distractors=False)
        sides = [side for side in range(2) if crops.frames[side] is not None]
        networks.landmark.inputs[: len(sides)] = crops.arrays["crops"][sides][..., ::-1]
        stems = np.stack([stem_of(outputs) for outputs in networks.landmark.run(len(sides))])
        both = len(sides) == 2
        hands = session.run(
            stems, crops.arrays["rays"][sides], crops.arrays["pairs"][sides], np.full(len(sides), float(both))
        )
        result += [(crops.frames[side], decode_prediction(crops.frames[side], hands[i], both)) for i, side in
                   enumerate(sides)]  # fmt: skip
    return result


@pytest.mark.slow
def test_precision_is_float32_where_bfloat16_differs(monkeypatch):
    """Where bfloat16 changes a hand by more than 1 mm or half a pixel of its crop, the pipeline computes in float32."""
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16")
    path = bundled_network("encoder", "small")
    default = EncoderSession(path, HandOutputs)
    config = openvino_session.cpu_config(2)
    sessions = {}
    for precision in ("f32", "bf16"):
        with monkeypatch.context() as patch:
            options = {**config, "INFERENCE_PRECISION_HINT": precision}
            patch.setattr(openvino_session, "cpu_config", lambda *_, options=options: options)
            sessions[precision] = EncoderSession(path, HandOutputs)
    networks, stream = HandNetworks.load(ReconstructorConfig()), SampleStream("val", 90210)
    samples = [stream[number] for number in range(8)]
    pairs = zip(*(predictions(session, samples, networks) for session in sessions.values()), strict=True)
    differences = []
    for (frame, single), (_, reduced) in pairs:
        pixels = np.linalg.norm(single.keypoints_2d - reduced.keypoints_2d, axis=1) * CROP_SIZE / frame.box.size
        metres = [np.linalg.norm(single.joints - reduced.joints, axis=1).max()]
        metres += [np.linalg.norm(getattr(single, name) - getattr(reduced, name)) for name in ("wrist", "to_other")
                   if getattr(single, name) is not None]  # fmt: skip
        differences.append((pixels.max(), 1e3 * max(metres)))
    pixels, millimetres = np.max(differences, axis=0)
    print(f"bfloat16 against float32: {pixels:.2f} px, {millimetres:.2f} mm at most")
    compiled = [network.request.get_compiled_model() for network in default.networks.values()]
    precisions = {network.get_property("INFERENCE_PRECISION_HINT") for network in compiled}
    if pixels > 0.5 or millimetres > 1.0:
        assert precisions == {openvino.Type.f32}


def test_an_encoder_trained_from_scratch_takes_crops(tmp_path):
    torch.manual_seed(0)
    config = EncoderConfig(width=32, layers=1, heads=2, pretrained=False)
    model = FusionAlignmentEncoder(config, load_hand_model()).eval()
    export_onnx(model, tmp_path / "scratch.onnx")
    session = EncoderSession(tmp_path / "scratch.onnx", HandOutputs)
    assert not session.takes_stems and session.input_shape == (224, 224, 3)
    crops = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    rest = np.zeros((2, 5)), np.zeros((2, 5)), np.ones(2)
    expected = torch_outputs(model, model.stem(torch.tensor(crops).permute(0, 3, 1, 2) / 255.0).numpy(), *rest)
    np.testing.assert_allclose(session.run(crops, *rest).joints, expected.joints, atol=0.001)


@pytest.mark.parametrize("trained_from", [stage.name for stage in STAGES[1:]])
@pytest.mark.parametrize("device", ["cpu", "torch"])
def test_the_landmark_network_outputs_the_stem(tmp_path, trained_from, device):
    """Of each stage that the second backbone may start from, in OpenVINO and in torch."""
    torch.manual_seed(0)
    config = EncoderConfig(width=32, layers=1, heads=2, trained_from=trained_from)
    model = FusionAlignmentEncoder(config, load_hand_model()).eval()
    export_onnx(model, tmp_path / "encoder.onnx")
    settings = ReconstructorConfig(encoder=str(tmp_path / "encoder.onnx"), detector="none", body="none", device=device)
    networks = HandNetworks.load(settings)
    crops = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3)).astype(np.uint8)
    networks.landmark.inputs[:1] = crops[..., ::-1]
    stem = stem_of(networks.landmark.run(1)[0])
    expected = model.stem(torch.tensor(crops).permute(0, 3, 1, 2) / 255.0)[0].numpy()
    np.testing.assert_allclose(stem, expected, atol=2e-3, rtol=1e-3)
    networks.landmark.inputs[1] = networks.landmark.inputs[0][:, ::-1]
    for count in (1, 2):  # of several crops there is another graph without the features
        with_features, without = networks.landmark.run(count), networks.landmark.run(count, features=False)
        for expected_outputs, outputs in zip(with_features, without, strict=True):
            for expected_output, output in zip(expected_outputs[:4], outputs, strict=True):
                np.testing.assert_allclose(output, expected_output, atol=1e-3, rtol=1e-4)
    session = EncoderSession(tmp_path / "encoder.onnx", HandOutputs)
    assert session.input_shape == stem.shape


def test_half_precision_halves_the_file(exported, tmp_path):
    model, path = exported
    export_onnx(model, tmp_path / "single.onnx", half=False)
    assert path.stat().st_size < 0.55 * (tmp_path / "single.onnx").stat().st_size
    assert path.stat().st_size < 15e6


def test_calibrated_errors_are_exported(exported, tmp_path):
    model, path = exported
    export_onnx(model, tmp_path / "calibrated.onnx", factors={"keypoint_scales": 1.5})
    stems, rays, pairs = random_inputs(model)
    plain, calibrated = (
        EncoderSession(file, HandOutputs).run(stems, rays, pairs, np.ones(2))
        for file in (path, tmp_path / "calibrated.onnx")
    )
    np.testing.assert_allclose(calibrated.keypoint_scales, 1.5 * plain.keypoint_scales, rtol=1e-4)
    np.testing.assert_allclose(calibrated.log_crop_width_scale, plain.log_crop_width_scale, rtol=1e-4)


def test_the_session_runs_without_torch(exported):
    code = (
        "import sys; from hand_recon_ros.encode.session import EncoderSession;"
        "from hand_recon_ros.encode.outputs import HandOutputs;"
        f"EncoderSession({str(exported[1])!r}, HandOutputs); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_other_networks_are_refused(tmp_path):
    with pytest.raises(SessionError, match="not an encoder"):
        EncoderSession(find_model(HAND_LANDMARKS, ""), HandOutputs)
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    with pytest.raises(SessionError, match="cannot read"):
        EncoderSession(tmp_path / "x.onnx", HandOutputs)


def test_an_encoder_that_needs_priors_is_not_exported(tmp_path):
    model = FusionAlignmentEncoder(EncoderConfig(fusion="priors"), load_hand_model())
    with pytest.raises(ValueError, match="foundation models"):
        export_onnx(model, tmp_path / "x.onnx")
