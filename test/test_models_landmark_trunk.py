"""The landmark network in torch has the outputs of its file in OpenVINO."""

from __future__ import annotations

import shutil

import numpy as np
import openvino
import pytest
import torch

from hand_recon_ros.models.landmark_trunk import STAGE_NAMES, LandmarkTrunk, TrunkOutput
from hand_recon_ros.models.landmark_weights import load_landmark_trunk
from hand_recon_ros.runtime.model_files import HAND_LANDMARKS, PALM_DETECTION, ModelFileError, find_model

F32 = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2}
# Channels, stride and last operation of each map, by which it is found in the file's graph.
MAPS = {
    "stride8": (40, 8, "Add"),
    "stride16": (112, 16, "Add"),
    "stride32": (192, 32, "Add"),
    "head": (1152, 32, "Clamp"),
}
# Largest differences measured: 1.1e-4 px on screen landmarks of up to 179 px, 1.3e-6 on the other outputs and the mean,
# none on the maps. Other kernels sum in another order: with channels first 1.7e-4 px, and 9e-5 on maps of up to 30.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def trunk() -> LandmarkTrunk:
    return load_landmark_trunk(find_model(HAND_LANDMARKS)).eval()


@pytest.fixture(autouse=True)
def everything_trains(trunk):
    trunk.freeze_until("stem")
    trunk.zero_grad()


def reference(images: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs and intermediate maps of the file in OpenVINO for (B, 3, n, n) images."""
    core = openvino.Core()
    model = core.read_model(find_model(HAND_LANDMARKS))
    batch, _, size, _ = images.shape
    model.reshape([batch, size, size, 3])
    nodes = model.get_ordered_ops()
    for channels, stride, kind in MAPS.values():
        shape = [batch, channels, size // stride, size // stride]
        same = [n for n in nodes if n.get_type_name() == kind and list(n.output(0).shape) == shape]
        model.add_outputs([same[-1].output(0)])
    model.add_outputs([next(n for n in nodes if n.get_type_name() == "ReduceMean").output(0)])
    result = core.compile_model(model, "CPU", F32)(np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
    names = ("screen", "presence", "handedness", "world", *MAPS, "pooled")
    return {name: result[index] for index, name in enumerate(names)}


def named(output: TrunkOutput) -> dict[str, np.ndarray]:
    tensors = {**output._asdict(), **(output.landmarks._asdict() if output.landmarks else {})}
    del tensors["landmarks"]
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}


def random_images(size: int, count: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3, size, size), dtype=np.float32)


def smooth_image(size: int) -> np.ndarray:
    """A bright blob with five ridges on a dim gradient: large smooth areas, where noise would hide a shift."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    blob = np.exp(-((x - 0.45) ** 2 + (y - 0.6) ** 2) / 0.05) * (0.8 + 0.2 * np.sin(32 * x))
    return np.stack([0.2 * x + 0.7 * blob, 0.2 * y + 0.5 * blob, 0.1 + 0.4 * blob])[None].clip(0, 1).astype(np.float32)


@pytest.mark.parametrize(
    "images",
    [random_images(224), smooth_image(224), 0 * smooth_image(224), random_images(160), smooth_image(256)],
    ids=["random", "smooth", "black", "random 160", "smooth 256"],
)
def test_outputs_and_maps_are_those_of_the_file(trunk, images):
    expected = reference(images)
    with torch.no_grad():
        found = named(trunk(torch.from_numpy(images)))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape, name
        np.testing.assert_allclose(found[name], array, err_msg=name, **TOLERANCE)


def test_one_wrong_bias_fails_the_comparison():
    images = random_images(224, count=1)
    expected = reference(images)
    wrong = load_landmark_trunk(find_model(HAND_LANDMARKS))
    with torch.no_grad():
        wrong.stages["stride4"][0].depthwise.bias[3] += 0.05
        found = named(wrong(torch.from_numpy(images)))
    for name in (*MAPS, "pooled", "screen"):
        assert not np.allclose(found[name], expected[name], **TOLERANCE), name


def test_a_batch_has_the_outputs_of_its_images_alone(trunk):
    images = torch.from_numpy(random_images(96, count=3))
    with torch.no_grad():
        together = named(trunk(images))
        last = named(trunk(images[2:]))
    for name, array in together.items():
        np.testing.assert_allclose(array[2:], last[name], err_msg=name, **TOLERANCE)


def test_height_and_width_may_differ(trunk):
    with torch.no_grad():
        output = trunk(torch.zeros(1, 3, 64, 96))
    assert output.stride8.shape == (1, 40, 8, 12)
    assert output.stride16.shape == (1, 112, 4, 6)
    assert output.head.shape == (1, 1152, 2, 3)
    assert output.pooled.shape == (1, 1152)


def test_features_alone_are_the_same_features(trunk):
    images = torch.from_numpy(random_images(64))
    with torch.no_grad():
        full, features = trunk(images), trunk(images, features_only=True)
        landmarks = trunk.read_out(features.pooled)
    assert features.landmarks is None
    for a, b in zip(full[:5], features[:5], strict=True):
        assert torch.equal(a, b)
    for a, b in zip(full.landmarks, landmarks, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("shape", [(3, 224, 224), (1, 1, 224, 224), (1, 224, 224, 3), (1, 3, 100, 96), (1, 3, 0, 32)])
def test_images_of_another_shape_are_refused(trunk, shape):
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\) with H and W divisible by 32, got "):
        trunk(torch.zeros(shape))


def loss(output: TrunkOutput) -> torch.Tensor:
    return sum(tensor.square().mean() for tensor in (output.stride8, output.stride16, *output.landmarks))


def test_gradients_reach_every_weight_and_the_image(trunk):
    images = torch.from_numpy(random_images(64)).requires_grad_()
    loss(trunk(images)).backward()
    assert images.grad.abs().sum() > 0
    for name, parameter in trunk.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_the_gradient_is_the_slope_of_the_outputs(trunk):
    # In float64 on a small image; the direction is the gradient itself, along which the slope is its length. The step
    # is so short that hardly a channel crosses an edge of its ReLU6 on the way.
    double = LandmarkTrunk().double()
    double.load_state_dict(trunk.state_dict())
    image = torch.from_numpy(smooth_image(64)).double().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(double(image)), image)
    step = 1e-6 * gradient / gradient.norm()
    with torch.no_grad():
        slope = (loss(double(image + step)) - loss(double(image - step))) / 2e-6
    assert slope.item() == pytest.approx(gradient.norm().item(), rel=1e-4)


@pytest.mark.parametrize("stage", STAGE_NAMES)
def test_stages_before_the_named_one_are_frozen(trunk, stage):
    for other in ("outputs", stage):  # what an earlier call froze trains again
        trunk.freeze_until(other)
    loss(trunk(torch.from_numpy(random_images(32)))).backward()
    before = STAGE_NAMES[: STAGE_NAMES.index(stage)]
    for name, parameter in trunk.named_parameters():
        frozen = name.removeprefix("stages.").split(".")[0] in before
        assert (parameter.grad is None) == frozen, name


def test_an_unknown_stage_is_refused(trunk):
    with pytest.raises(ValueError, match="no stage 'stride16' .* stem, stride2, .* stride16a, .* outputs"):
        trunk.freeze_until("stride16")


def test_another_network_is_refused_by_the_layer_that_differs():
    with pytest.raises(ModelFileError) as caught:
        load_landmark_trunk(find_model(PALM_DETECTION))
    message = str(caught.value)
    assert "palm_detection_full.tflite is not the landmark network: layer stages.stem: " in message
    assert "expected weights (24, 3, 3, 3), stride (2, 2), padding (0, 0, 1, 1), activation Clamp 0..6" in message
    assert "found weights (32, 3, 5, 5)" in message


def altered(tmp_path, alter) -> str:
    """The network's graph after ``alter(model)``, saved."""
    model = openvino.Core().read_model(find_model(HAND_LANDMARKS))
    path = str(tmp_path / "altered.xml")
    openvino.save_model(alter(model) or model, path, compress_to_fp16=False)
    return path


def test_a_rewritten_file_of_the_same_network_loads(tmp_path, trunk):
    copy = load_landmark_trunk(altered(tmp_path, lambda model: None))
    for name, tensor in copy.state_dict().items():
        assert torch.equal(tensor, trunk.state_dict()[name]), name


def test_another_activation_is_refused(tmp_path):
    def alter(model):
        clamp = [node for node in model.get_ordered_ops() if node.get_type_name() == "Clamp"][3]
        relu = openvino.opset8.clamp(clamp.input_value(0), 0.0, 4.0)
        clamp.output(0).replace(relu.output(0))

    with pytest.raises(ModelFileError, match=r"layer stages.stride4.0.depthwise: .* 0\.\.6; found .* 0\.\.4"):
        load_landmark_trunk(altered(tmp_path, alter))


def test_a_network_that_ends_early_is_refused(tmp_path):
    def alter(model):
        clamp = [node for node in model.get_ordered_ops() if node.get_type_name() == "Clamp"][-2]
        return openvino.Model([clamp.output(0)], model.get_parameters())

    with pytest.raises(ModelFileError, match=r"ends before layer stages.head.1 \(weights \(1152, 1, 3, 3\)"):
        load_landmark_trunk(altered(tmp_path, alter))


def test_a_network_with_fewer_outputs_is_refused(tmp_path):
    def alter(model):
        return openvino.Model(model.get_results()[:3], model.get_parameters())

    with pytest.raises(ModelFileError, match="has 3 outputs, expected 4: screen, presence, handedness, world"):
        load_landmark_trunk(altered(tmp_path, alter))


def test_swapped_outputs_are_refused(tmp_path):
    def alter(model):
        return openvino.Model(model.get_results()[::-1][1:] + model.get_results()[-1:], model.get_parameters())

    with pytest.raises(ModelFileError, match=r"layer outputs.screen: expected weights \(63, .*; found weights \(1, "):
        load_landmark_trunk(altered(tmp_path, alter))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ModelFileError, match="there is no such file"):
        load_landmark_trunk(tmp_path / "missing.tflite")
    text = tmp_path / "text.tflite"
    text.write_text("not a network")
    with pytest.raises(ModelFileError, match="text.tflite: OpenVINO cannot read this network"):
        load_landmark_trunk(text)


def test_a_pickle_is_not_opened(tmp_path, trunk):
    path = tmp_path / "trunk.pt"
    torch.save(trunk.state_dict(), path)
    shutil.copy(path, tmp_path / "trunk.tflite")
    for name in ("trunk.pt", "trunk.tflite"):
        with pytest.raises(ModelFileError, match="OpenVINO cannot read this network"):
            load_landmark_trunk(tmp_path / name)


@pytest.mark.parametrize("features_only", [False, True])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_openvino_runs_the_exported_module(trunk, features_only):
    class Exported(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = trunk

        def forward(self, images):
            output = self.trunk(images, features_only=features_only)
            return (*output[:5], *(output.landmarks or ()))

    model = openvino.convert_model(Exported().eval(), example_input=torch.zeros(1, 3, 224, 224))
    compiled = openvino.Core().compile_model(model, "CPU", F32)
    for images in (random_images(224), random_images(160, count=1)):
        with torch.no_grad():
            expected = Exported()(torch.from_numpy(images))
        result = compiled(images)
        assert len(result) == len(expected)
        for index, tensor in enumerate(expected):
            np.testing.assert_allclose(result[index], tensor.numpy(), **TOLERANCE)
