"""The setting ``device``."""

from __future__ import annotations

import ctypes
import dataclasses
import logging
import subprocess
import sys

import numpy as np
import pytest

from hand_recon_ros import Camera, TwoHandReconstructor, reconstructor
from hand_recon_ros.config import ReconstructorConfig, settings_of
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.runtime import devices
from hand_recon_ros.runtime.devices import (
    DEVICES,
    DeviceError,
    choose_device,
    cuda_problem,
    describe_device,
    gpus_of,
    resolved_device,
)
from hand_recon_ros.synthetic import clip_scenes, render_scene
from hand_recon_ros.types import HandState

CAMERA = Camera.from_fov(640, 480, 65.0)


@pytest.fixture(autouse=True)
def ask_again():
    """The answer about CUDA is kept; each test asks anew."""
    cuda_problem.cache_clear()
    yield
    cuda_problem.cache_clear()


@pytest.fixture
def without_gpu(monkeypatch):
    monkeypatch.setattr(devices, "driver_problem", lambda: "there is no NVIDIA driver: install it")


@pytest.fixture
def with_gpu(monkeypatch):
    monkeypatch.setattr(devices, "cuda_problem", lambda: "")


@pytest.mark.parametrize(("name", "reason"), [("auto", "CUDA cannot be used (there is no NVIDIA"), ("cpu", "set to")])
def test_without_a_gpu_the_cpu_is_chosen_and_one_line_names_it_and_the_reason(caplog, without_gpu, name, reason):
    with caplog.at_level(logging.INFO, logger="hand_recon_ros"):
        assert choose_device(name) == "cpu"
    (record,) = caplog.records
    assert record.name == "hand_recon_ros" and record.levelno == logging.INFO
    assert record.getMessage() == describe_device(name)
    assert "CPU" in describe_device(name) and reason in describe_device(name)


def test_with_a_gpu_it_is_chosen(with_gpu, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert [resolved_device(name) for name in DEVICES] == ["cuda", "cpu", "cuda", "torch"]
    assert describe_device("auto") == "networks run on the GPU a GPU (device is 'auto')"
    assert "CPU" in describe_device("auto", "cpu") and "the GPU failed" in describe_device("auto", "cpu")


@pytest.mark.parametrize(
    ("visible", "gpus"), [(None, ["0", "1", "2"]), ("", ["0", "1", "2"]), ("4,6,7", ["4", "6", "7"])]
)
def test_gpus_have_the_names_that_a_process_can_be_given(with_gpu, monkeypatch, visible, gpus):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus_of("auto") == gpus_of("cuda") == gpus
    assert gpus_of("cpu") == gpus_of("torch") == []


def test_cuda_without_a_gpu_is_refused_with_the_reason_and_the_way_out(caplog, without_gpu):
    message = r"device 'cuda': there is no NVIDIA driver: install it, or set device to 'auto' or 'cpu'"
    with pytest.raises(DeviceError, match=message):
        choose_device("cuda")
    assert not caplog.records


@pytest.mark.parametrize("name", ["cuda", "torch"])
def test_without_torch_its_package_is_named(monkeypatch, name):
    monkeypatch.setattr(devices, "driver_problem", lambda: "")
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match=r"PyTorch is not installed: pip install 'hand_recon_ros\[cuda\]'"):
        resolved_device(name)
    assert resolved_device("auto") == "cpu"


def test_a_build_of_torch_without_cuda_is_named(monkeypatch):
    import torch

    monkeypatch.setattr(devices, "driver_problem", lambda: "")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "is built without CUDA" in cuda_problem()


def test_a_gpu_that_torch_cannot_use_is_named(monkeypatch):
    import torch

    def fail(*_, **__):
        raise RuntimeError("CUDA error: out of memory\nmore")

    monkeypatch.setattr(devices, "driver_problem", lambda: "")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch, "zeros", fail)
    assert "cannot use the GPU (CUDA error: out of memory): check the driver" in cuda_problem()
    assert "more" not in cuda_problem()


class Driver:
    """An NVIDIA driver that answers with a code and a number of GPUs."""

    def __init__(self, code, count):
        self._code, self._count = code, count

    def cuInit(self, flags):  # noqa: N802 - its name
        return self._code

    def cuDeviceGetCount(self, count):  # noqa: N802 - its name
        ctypes.cast(count, ctypes.POINTER(ctypes.c_int)).contents.value = self._count
        return 0


@pytest.mark.parametrize(
    ("driver", "reason"),
    [
        (None, r"there is no NVIDIA driver \(libcuda.so.1 cannot be loaded\)"),
        (Driver(100, 0), r"does not work \(CUDA error 100\)"),
        (Driver(0, 0), "knows no GPU"),
        (Driver(0, 1), ""),
    ],
)
def test_the_driver_is_asked_without_torch(monkeypatch, driver, reason):
    def load(name):
        if driver is None:
            raise OSError(name)
        return driver

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(devices, "torch_problem", lambda: "no torch")
    expected = reason or "no torch"
    assert expected.replace("\\", "") in cuda_problem()


def test_the_reconstructor_refuses_cuda_before_it_loads_anything(tmp_path, without_gpu):
    with pytest.raises(DeviceError, match="set device to 'auto' or 'cpu'"):
        TwoHandReconstructor.from_config(device="cuda", model_dir=str(tmp_path))


def test_an_unknown_device_is_named():
    with pytest.raises(ValueError, match="'auto', 'cpu', 'cuda', 'torch', got 'tpu'"):
        choose_device("tpu")


def test_the_setting_has_the_same_choices(without_gpu):
    setting, default = settings_of(ReconstructorConfig)["device"]
    assert setting.choices == DEVICES and choose_device(default) == "cpu"


def test_without_a_gpu_no_device_imports_a_framework():
    code = (
        "import sys; from hand_recon_ros.runtime import devices; devices.CUDA_LIBRARY = 'no such library';"
        "devices.choose_device(); devices.choose_device('cpu');"
        "print('torch' in sys.modules, 'openvino' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.fixture(scope="module")
def images():
    model = load_hand_model()
    scenes = clip_scenes(model, 40, 5, CAMERA)[1]
    return [render_scene(scene, model).image for scene in scenes[10:16]]


@pytest.mark.slow
def test_torch_gives_the_hands_of_openvino(images):
    """The code of ``cuda`` on the CPU: the same hands within a millimetre and half a pixel."""
    estimates = []
    for device in ("cpu", "torch"):
        # Refinement until it is done: the time that it takes decides nothing.
        reconstruct = TwoHandReconstructor.from_config(device=device, refine_budget=1.0)
        assert reconstruct.device == device
        estimates.append([reconstruct(image, CAMERA, stamp=index / 30) for index, image in enumerate(images)])
    tracked = 0
    for theirs, ours in zip(*estimates, strict=True):
        for expected, found in ((theirs.left, ours.left), (theirs.right, ours.right)):
            assert found.state == expected.state
            if expected.state == HandState.TRACKED:
                tracked += 1
                np.testing.assert_allclose(found.joints, expected.joints, atol=1e-3)
                np.testing.assert_allclose(found.keypoints_2d, expected.keypoints_2d, atol=0.5)
    assert tracked > len(images)


def failing(monkeypatch, at_loading=False):
    """Pretend that the networks are on a GPU, which fails at loading or at the first image."""
    monkeypatch.setattr(devices, "cuda_problem", lambda: "")
    monkeypatch.setattr(reconstructor, "choose_device", lambda name: "cuda" if name in ("auto", "cuda") else name)
    plain, loads = reconstructor.HandNetworks.load, []

    def load(config):
        loads.append(config.device)
        if config.device == "cuda" and at_loading:
            raise DeviceError("device 'cuda': the GPU has too little free memory")
        return plain(dataclasses.replace(config, device="cpu"))

    for name in ("load_encoder", "load_refiner"):
        function = getattr(reconstructor, name)
        monkeypatch.setattr(
            reconstructor, name,
            lambda config, rest, function=function: function(dataclasses.replace(config, device="cpu"), rest),
        )  # fmt: skip

    class Lost(reconstructor.HandLocator):
        def locate(self, *arguments):
            if loads[-1] == "cuda":
                raise DeviceError("device 'cuda': the GPU failed (unspecified launch failure)")
            return super().locate(*arguments)

    monkeypatch.setattr(reconstructor, "HandLocator", Lost)
    monkeypatch.setattr(reconstructor.HandNetworks, "load", load)
    return loads


@pytest.mark.parametrize("at_loading", [False, True])
def test_where_the_gpu_fails_auto_goes_on_with_the_cpu(monkeypatch, caplog, images, at_loading):
    loads = failing(monkeypatch, at_loading)
    reconstruct = TwoHandReconstructor.from_config(device="auto")
    assert reconstruct.device == ("cpu" if at_loading else "cuda")
    estimate = reconstruct(images[1], CAMERA, stamp=1 / 30)
    assert reconstruct.device == "cpu" and loads == ["cuda", "cpu"]
    assert HandState.TRACKED in (estimate.left.state, estimate.right.state)
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "device is 'auto', so networks run on the CPU from now on" in warning.getMessage()


def test_where_the_gpu_fails_cuda_is_an_error(monkeypatch):
    failing(monkeypatch, at_loading=True)
    with pytest.raises(DeviceError, match="too little free memory"):
        TwoHandReconstructor.from_config(device="cuda")
