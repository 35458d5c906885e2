"""The device that networks run on."""

from __future__ import annotations

import logging

DEVICES = ("auto", "cpu", "cuda")

_LOGGER = logging.getLogger("hand_recon_ros")


class DeviceError(RuntimeError):
    """The chosen device cannot be used; the message names the reason and the way out."""


def choose_device(name: str = "auto") -> str:
    """The device for the setting ``device``, in this version always ``"cpu"``; logs :func:`describe_device`.

    Raises DeviceError for ``cuda`` and ValueError for an unknown name.
    """
    line = describe_device(name)
    _LOGGER.info(line)
    return "cpu"


def describe_device(name: str) -> str:
    """One line about the device that the setting ``device`` leads to, and why; raises as :func:`choose_device`."""
    if name == "auto":
        return "networks run on the CPU: device is 'auto' and this version has no CUDA inference"
    if name == "cpu":
        return "networks run on the CPU, as device is set to 'cpu'"
    if name == "cuda":
        raise DeviceError("device 'cuda': this version runs networks on the CPU only, set device to 'auto' or 'cpu'")
    raise ValueError(f"device must be one of {', '.join(map(repr, DEVICES))}, got {name!r}")
