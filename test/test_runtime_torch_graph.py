"""Network files in torch: equal to OpenVINO, and free of anything that waits for a GPU."""

from __future__ import annotations

import numpy as np
import openvino
import pytest
import torch
from openvino import opset14 as ops

from hand_recon_ros.encode.outputs import HandOutputs
from hand_recon_ros.encode.session import EncoderSession
from hand_recon_ros.interact.denoiser import Denoiser
from hand_recon_ros.interact.pair_vector import CONFIDENCES, INPUTS, PAIR
from hand_recon_ros.runtime import torch_session
from hand_recon_ros.runtime.bundled_networks import bundled_network
from hand_recon_ros.runtime.devices import DeviceError
from hand_recon_ros.runtime.model_files import (
    HAND_LANDMARKS,
    HAND_RECROP,
    PALM_DETECTION,
    POSE_DETECTION,
    POSE_LANDMARKS,
    find_model,
)
from hand_recon_ros.runtime.openvino_session import image_model, read_network
from hand_recon_ros.runtime.sessions import SessionError, open_session
from hand_recon_ros.runtime.torch_graph import TorchGraph
from hand_recon_ros.runtime.torch_session import TorchNetwork

FILES = {
    "palm": PALM_DETECTION, "landmarks": HAND_LANDMARKS, "recrop": HAND_RECROP, "pose detection": POSE_DETECTION,
    "pose": POSE_LANDMARKS,
}  # fmt: skip
STEMS = ("conv2d_22/Conv2D", "conv2d_30/Conv2D")
OPTIONS = {
    "landmarks": {"feature_layers": STEMS},
    "pose detection": {"input_range": (-1.0, 1.0)},
    "pose": {"outputs": (0, 1, 3)},  # those that the pipeline reads
}
ONNX = {"encoder": ("encoder", "small"), "denoiser": ("refiner", "small")}


def file_of(name):
    return bundled_network("pair", "detector") if name == "pairs" else find_model(FILES[name])


def smooth_images(count, size, seed=0):
    coarse = torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed)) * 255
    fine = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 255)
    return fine.permute(0, 2, 3, 1).to(torch.uint8).numpy()


@pytest.mark.parametrize("name", [*FILES, "pairs"])
def test_a_network_for_images_is_that_of_openvino(name):
    path, options = file_of(name), OPTIONS.get(name, {})
    theirs, ours = (open_session(path, device=device, capacity=2, **options) for device in ("cpu", "torch"))
    assert ours.size == theirs.size and ours.inputs.shape == theirs.inputs.shape
    images = smooth_images(2, ours.size)
    results = []
    for session in (theirs, ours):
        alone = []
        for image in images:
            session.inputs[0] = image
            alone += session.run(1)
        results.append(alone)
    for expected, found in zip(*results, strict=True):
        assert [array.shape for array in found] == [array.shape for array in expected]
        for a, b in zip(found, expected, strict=True):
            assert np.abs(a - b).max() <= 3e-4 * max(1.0, np.abs(b).max())


@pytest.mark.parametrize("device", ["cpu", "torch"])
@pytest.mark.parametrize("name", [*FILES, "pairs"])
def test_several_images_are_as_each_by_itself(name, device):
    session = open_session(file_of(name), device=device, capacity=3, **OPTIONS.get(name, {}))
    images = smooth_images(3, session.size, seed=1)
    filled = []

    def fill(index):
        session.inputs[index] = images[index]
        filled.append(index)

    together = session.run(3, fill)
    assert filled == [0, 1, 2] and len(session.run(0)) == 0
    before = [array.copy() for array in together[0]]
    for image, outputs in zip(images, together, strict=True):
        session.inputs[0] = image
        for a, b in zip(session.run(1)[0], outputs, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4 * max(1.0, np.abs(b).max()))
    for a, b in zip(together[0], before, strict=True):
        np.testing.assert_array_equal(a, b)  # outputs outlive the next run
    with pytest.raises(ValueError, match="up to 3 images at once, got 4"):
        session.run(4)


@pytest.mark.parametrize("hands", [1, 2])
def test_the_encoder_is_that_of_openvino(hands):
    rng = np.random.default_rng(0)
    path = bundled_network("encoder", "small")
    sessions = [EncoderSession(path, HandOutputs, device=device) for device in ("cpu", "torch")]
    inputs = [rng.uniform(-2, 2, (hands, *sessions[0].input_shape)).astype(np.float32)]
    inputs += [rng.normal(size=(hands, 5)), rng.normal(size=(hands, 5)), np.full(hands, hands - 1.0)]
    theirs, ours = (session.run(*inputs) for session in sessions)
    for name in HandOutputs.names():
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-4, err_msg=name)


def test_the_denoiser_is_that_of_openvino():
    rng = np.random.default_rng(0)
    path = bundled_network("refiner", "small")
    theirs, ours = (Denoiser(path, device=device) for device in ("cpu", "torch"))
    condition = theirs.plain(rng.normal(size=PAIR))
    for time in (0, 400, 900):
        arguments = theirs.plain(rng.normal(size=PAIR)), time, condition, rng.uniform(0, 1, CONFIDENCES)
        np.testing.assert_allclose(ours(*arguments), theirs(*arguments), atol=1e-4)


@pytest.mark.parametrize("name", [*FILES, "pairs", "encoder", "denoiser"])
def test_no_value_is_read_while_a_network_runs(name):
    """A tensor without data has no values to read: what runs on it can be recorded as a CUDA graph."""
    if name in ONNX:
        model = read_network(bundled_network(*ONNX[name]))
        model.reshape({
            entry.get_any_name(): [2, *(int(n.get_length()) for n in list(entry.partial_shape)[1:])]
            for entry in model.inputs
        })  # fmt: skip
        inputs = [torch.zeros(list(entry.shape), device="meta") for entry in model.inputs]
    else:
        model = image_model(file_of(name))
        shape = list(model.inputs[0].shape)
        inputs = [torch.zeros(shape, dtype=torch.uint8, device="meta")]
    outputs = TorchGraph(model).to("meta")(*inputs)
    assert [list(output.shape) for output in outputs] == [list(output.shape) for output in model.outputs]


def constant(*values):
    return ops.constant(np.array(values, dtype=np.int64))


def image_operations():
    """Name and OpenVINO model of an operation in a mode of its own, on an input (1, 4, 6, 9)."""
    x = ops.parameter([1, 4, 6, 9], name="x")
    weight = ops.constant(np.random.default_rng(0).normal(size=(8, 4, 3, 3)).astype(np.float32))
    single = ops.constant(np.random.default_rng(1).normal(size=(4, 1, 1, 3, 3)).astype(np.float32))
    yield "convolution, uneven padding", ops.convolution(x, weight, [2, 3], [0, 1], [1, 0], [1, 1])
    yield "convolution, same_lower", ops.convolution(x, weight, [2, 2], [0, 0], [0, 0], [1, 2], auto_pad="same_lower")
    yield "convolution, same_upper", ops.convolution(x, weight, [2, 2], [0, 0], [0, 0], [1, 1], auto_pad="same_upper")
    yield "convolution, valid", ops.convolution(x, weight, [1, 2], [3, 3], [3, 3], [1, 1], auto_pad="valid")
    yield "group convolution", ops.group_convolution(x, single, [1, 1], [1, 1], [1, 1], [1, 1])
    yield "max pool", ops.max_pool(x, [2, 1], [1, 1], [0, 1], [1, 0], [3, 2], rounding_type="floor").output(0)
    yield "max pool, ceil", ops.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2], rounding_type="ceil").output(0)
    yield "slice backwards", ops.slice(x, constant(5, 8), constant(0, -100), constant(-2, -3), constant(2, 3))
    yield "slice", ops.slice(x, constant(1, -4), constant(3, 100), constant(1, 2), constant(1, -1))
    yield "strided slice", ops.strided_slice(
        x, constant(0, -1, 1, 7), constant(1, 0, 5, 0), constant(1, 1, 2, -2), [1, 0, 0, 0], [1, 0, 0, 1],
        [], [0, 1, 0, 0], [],
    )  # fmt: skip
    yield "pad", ops.pad(x, constant(0, 0, 1, 2), constant(0, 1, 0, 3), "constant", ops.constant(np.float32(2.5)))
    yield "parametric relu", ops.prelu(x, ops.constant(np.array([0.1, 0.5, -1.0, 2.0], dtype=np.float32)))
    yield "depth to space", ops.depth_to_space(x, "blocks_first", 2)
    yield "depth to space, depth first", ops.depth_to_space(x, "depth_first", 2)
    yield "gather", ops.gather(x, constant(2, -1, 0), constant(1))
    yield "gather one", ops.gather(x, ops.constant(np.int64(-2)), constant(3))
    yield "mean and variance", ops.mvn(x, constant(2, 3), True, 1e-3, "outside_sqrt")
    yield "mean alone", ops.mvn(x, constant(1), False, 1e-3, "inside_sqrt")
    yield "split", ops.split(x, ops.constant(np.int64(3)), 3).output(1)
    yield "variadic split", ops.variadic_split(x, ops.constant(np.int64(3)), constant(2, -1, 3)).output(1)
    yield "reduce", ops.reduce_l2(ops.reduce_sum(x, constant(1), True), constant(-1), False)
    yield "product", ops.reduce_prod(x, constant(1, -1), False)
    yield "squeeze", ops.unsqueeze(ops.squeeze(ops.unsqueeze(x, constant(0, -1)), constant(0, -1)), constant(2))
    yield "broadcast", ops.broadcast(ops.reduce_mean(x, constant(2), True), constant(1, 4, 5, 9))
    yield "cumulated", ops.cum_sum(x, ops.constant(np.int64(2)))
    yield "softmax", ops.softmax(x, -2)
    for mode in ("half_pixel", "align_corners"):
        yield (
            f"linear, {mode}",
            ops.interpolate(
                x, constant(12, 13), "linear_onnx", "sizes", axes=constant(2, 3), coordinate_transformation_mode=mode
            ),
        )


@pytest.mark.parametrize("name", [name for name, _ in image_operations()])
def test_an_operation_is_that_of_openvino(name):
    result = dict(image_operations())[name]
    output = result if isinstance(result, openvino.Output) else result.output(0)
    model = openvino.Model([output], find_parameters(output), "operation")
    image = np.random.default_rng(2).normal(size=(1, 4, 6, 9)).astype(np.float32)
    expected = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([image])[0]
    (found,) = TorchGraph(model)(torch.from_numpy(image))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)


def find_parameters(output):
    """The parameters that an output depends on."""
    found, todo = [], [output.get_node()]
    while todo:
        node = todo.pop()
        if node.get_type_name() == "Parameter":
            found = [node]
        todo += [node.input_value(index).get_node() for index in range(node.get_input_size())]
    return found


def test_what_is_not_known_is_named():
    x = ops.parameter([1, 4, 6, 9], name="x")
    unknown = openvino.Model([ops.acosh(x)], [x], "unknown")
    with pytest.raises(SessionError, match="Acosh.* is not known to the torch runtime"):
        TorchGraph(unknown)
    reflected = openvino.Model([ops.pad(x, constant(0, 0, 1, 1), constant(0, 0, 1, 1), "reflect")], [x], "reflected")
    with pytest.raises(SessionError, match=r"Pad .*: mode reflect is not known"):
        TorchGraph(reflected)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "too little free memory"),
        (
            RuntimeError("CUDA error: device-side assert triggered\nand more"),
            r"failed \(CUDA error: device-side assert",
        ),
    ],
)
def test_a_failure_of_the_gpu_names_the_way_out(monkeypatch, error, words):
    def fail(*_):
        raise error

    monkeypatch.setattr(torch_session, "RecordedGraph", fail)
    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.Module, "to", lambda module, device: module)
        network = TorchNetwork(image_model(find_model(HAND_RECROP)), "cuda")
    with pytest.raises(DeviceError, match=f"{words}.*set device to 'cpu'"):
        network.evaluate([np.zeros((1, 256, 256, 3), np.uint8)])
    monkeypatch.setattr(torch.nn.Module, "to", fail)
    with pytest.raises(DeviceError, match=words):
        TorchNetwork(image_model(find_model(HAND_RECROP)), "cuda")


def test_inputs_are_given_by_name():
    assert list(INPUTS) == ["x_t", "t", "condition", "confidence"]
    model = read_network(bundled_network("refiner", "small"))
    model.reshape({name: [1, size] if size else [1] for name, size in INPUTS.items()})
    network = TorchNetwork(model, "torch")
    arrays = {name: np.full((1, size) if size else 1, 0.3, dtype=np.float32) for name, size in INPUTS.items()}
    (one,), (two,) = network(arrays), network(dict(reversed(arrays.items())))
    np.testing.assert_array_equal(one, two)
