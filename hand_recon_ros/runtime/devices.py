"""Which device the torch parts run on, without importing torch where the answer is the CPU."""

from __future__ import annotations

import os

DEVICES = ("auto", "cpu", "cuda")


class DeviceError(RuntimeError):
    """A device that was asked for and is not there."""


def choose_device(name: str = "auto") -> str:
    """``"cpu"`` or ``"cuda"`` for the setting ``device``.

    ``auto`` takes CUDA where a driver is loaded and torch can use it. torch is imported only when CUDA is in question:
    it costs seconds and hundreds of megabytes that a CPU-only start should not pay. The landmark networks always run
    on the CPU, where one crop takes less time than a transfer to the GPU and back is worth.

    Raises DeviceError for ``cuda`` without a usable GPU and ValueError for an unknown name.
    """
    if name not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(map(repr, DEVICES))}, got {name!r}")
    if name == "cpu" or (name == "auto" and not _driver_loaded()):
        return "cpu"
    reason = _cuda_problem()
    if not reason:
        return "cuda"
    if name == "auto":
        return "cpu"
    raise DeviceError(f"device 'cuda' was asked for, but {reason}; use device 'cpu' or 'auto'")


def _driver_loaded() -> bool:
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    return os.path.exists("/proc/driver/nvidia/version") or os.path.exists("/dev/nvidia0") or os.name == "nt"


def _cuda_problem() -> str:
    """Why torch cannot use CUDA; empty where it can."""
    try:
        import torch
    except ImportError as error:
        return f"torch cannot be imported ({error})"
    if torch.version.cuda is None:
        return f"the installed torch {torch.__version__} was built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    return ""
