"""The setting ``device``."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from hand_recon_ros import TwoHandReconstructor
from hand_recon_ros.config import ReconstructorConfig, settings_of
from hand_recon_ros.runtime.devices import DEVICES, DeviceError, choose_device, describe_device


@pytest.mark.parametrize(("name", "reason"), [("auto", "has no CUDA inference"), ("cpu", "set to 'cpu'")])
def test_the_cpu_is_chosen_and_one_line_names_it_and_the_reason(caplog, name, reason):
    with caplog.at_level(logging.INFO, logger="hand_recon_ros"):
        assert choose_device(name) == "cpu"
    (record,) = caplog.records
    assert record.name == "hand_recon_ros" and record.levelno == logging.INFO
    assert record.getMessage() == describe_device(name)
    assert "CPU" in describe_device(name) and reason in describe_device(name)


def test_cuda_is_refused_with_the_way_out(caplog):
    with pytest.raises(DeviceError, match=r"'cuda': this version runs .* CPU only, set device to 'auto' or 'cpu'"):
        choose_device("cuda")
    assert not caplog.records


def test_the_reconstructor_refuses_cuda_before_it_loads_anything(tmp_path):
    with pytest.raises(DeviceError, match="set device to 'auto' or 'cpu'"):
        TwoHandReconstructor.from_config(device="cuda", model_dir=str(tmp_path))


def test_an_unknown_device_is_named():
    with pytest.raises(ValueError, match="'auto', 'cpu', 'cuda', got 'tpu'"):
        choose_device("tpu")


def test_the_setting_has_the_same_choices():
    setting, default = settings_of(ReconstructorConfig)["device"]
    assert setting.choices == DEVICES and choose_device(default) == "cpu"


def test_no_device_imports_a_framework():
    code = (
        "import sys; from hand_recon_ros.runtime.devices import choose_device; choose_device(); choose_device('cpu');"
        "print('torch' in sys.modules, 'openvino' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
