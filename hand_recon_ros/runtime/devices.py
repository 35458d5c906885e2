"""The device that networks run on."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import logging
import os

DEVICES = ("auto", "cpu", "cuda", "torch")

_LOGGER = logging.getLogger("hand_recon_ros")
CUDA_LIBRARY = "libcuda.so.1"
VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"


class DeviceError(RuntimeError):
    """The chosen device cannot be used; the message names the reason and the way out."""


def choose_device(name: str = "auto") -> str:
    """The device for the setting ``device``, see :func:`resolved_device`; logs :func:`describe_device`."""
    line = describe_device(name)
    _LOGGER.info(line)
    return resolved_device(name)


def resolved_device(name: str) -> str:
    """``cpu`` (OpenVINO), ``cuda``, or ``torch`` (torch on the CPU, which runs the code of ``cuda``).

    Raises DeviceError for ``cuda`` where there is no GPU that torch can use and for ``torch`` without torch, and
    ValueError for an unknown name.
    """
    if name == "auto":
        return "cpu" if cuda_problem() else "cuda"
    if name not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(map(repr, DEVICES))}, got {name!r}")
    if reason := cuda_problem() if name == "cuda" else torch_problem() if name == "torch" else "":
        raise DeviceError(f"device {name!r}: {reason}, or set device to 'auto' or 'cpu'")
    return name


def describe_device(name: str, used: str = "") -> str:
    """One line about the device that the setting ``device`` leads to, and why; raises as :func:`resolved_device`.

    ``used`` is the device that is used, where a GPU failed later on.
    """
    device = used or resolved_device(name)
    if device == "cpu":
        if name != "auto":
            return "networks run on the CPU, as device is set to 'cpu'"
        problem = cuda_problem() or "the GPU failed"
        return f"networks run on the CPU: device is 'auto' and CUDA cannot be used ({problem})"
    if device == "torch":
        return "networks run on the CPU in torch (set to 'torch')"
    import torch

    return f"networks run on the GPU {torch.cuda.get_device_name()} (device is {name!r})"


def gpus_of(name: str) -> list[str]:
    """The GPUs that processes can share with the setting ``device``, as CUDA_VISIBLE_DEVICES names them; [] where the
    networks run on the CPU. Raises as :func:`resolved_device`."""
    if resolved_device(name) != "cuda":
        return []
    import torch

    count, named = torch.cuda.device_count(), os.environ.get(VISIBLE_GPUS, "")
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


def torch_problem() -> str:
    """Why torch cannot be used here; empty where it can."""
    if importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed: pip install 'hand_recon_ros[cuda]'"
    return ""


@functools.cache
def cuda_problem() -> str:
    """Why CUDA cannot be used here; empty where it can. torch is imported only where there is a GPU with a driver."""
    if reason := driver_problem() or torch_problem():
        return reason
    try:
        import torch

        if torch.version.cuda is None:
            return f"PyTorch {torch.__version__} is built without CUDA: install a build with it (pytorch.org)"
        torch.zeros(1, device="cuda")
    except (ImportError, OSError, RuntimeError) as error:
        return f"PyTorch cannot use the GPU ({str(error).splitlines()[0]}): check the driver and PyTorch"
    return ""


def driver_problem() -> str:
    """Why there is no GPU with a driver; empty where there is. The driver itself is asked, which takes milliseconds."""
    try:
        driver = ctypes.CDLL(CUDA_LIBRARY)
        code, count = driver.cuInit(0), ctypes.c_int(0)
        if code == 0:
            code = driver.cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError):
        return f"there is no NVIDIA driver ({CUDA_LIBRARY} cannot be loaded): install it"
    if code != 0:
        return f"the NVIDIA driver does not work (CUDA error {code}): check nvidia-smi"
    return "" if count.value else "the NVIDIA driver knows no GPU: check nvidia-smi"
