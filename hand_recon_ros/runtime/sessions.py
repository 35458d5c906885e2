"""Inference sessions: uint8 images in, arrays out, for any inference runtime."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    import openvino


class SessionError(RuntimeError):
    """A network cannot be run on this machine; the message names what is missing and the way out."""


class Session(Protocol):
    """A loaded network for square BGR images of one size.

    ``inputs``, (capacity, size, size, 3) uint8, are the input buffers of the network, filled in place: a crop is warped
    into one and not copied again.
    """

    @property
    def size(self) -> int: ...

    @property
    def inputs(self) -> np.ndarray: ...

    def run(
        self, count: int = 1, fill: Callable[[int], None] | None = None, features: bool = True
    ) -> list[tuple[np.ndarray, ...]]:
        """Outputs of each of the first ``count`` inputs, without the batch axis; they stay valid after the next run.

        ``fill(i)`` writes input i. It is called for 0, 1, ... in order while earlier inputs are evaluated, and must not
        change those. Without ``features`` the outputs of the feature layers are left out, which saves time.
        """
        ...


class Network(Protocol):
    """A loaded network of any inputs and outputs, with static shapes."""

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs, in the order of the file's, of arrays by name of the input; they stay valid after the next
        call."""
        ...


def open_session(
    path: str | os.PathLike[str],
    *,
    device: str = "cpu",
    threads: int = 2,
    cache: str = "",
    capacity: int = 1,
    feature_layers: Sequence[str] = (),
    outputs: Sequence[int] | None = None,
    input_range: tuple[float, float] = (0.0, 1.0),
) -> Session:
    """Load a network file (TFLite or ONNX, one image input NHWC, RGB), in float32.

    Args:
        path: file of the network.
        device: one that ``devices.resolved_device`` gives: ``cpu``, ``cuda``, or ``torch``.
        threads: number of CPU threads.
        cache: folder that stores networks as compiled for the CPU, see :func:`cache_folder`; empty: none.
        capacity: largest number of images in one ``run``.
        feature_layers: names of convolutions or linear layers whose inputs, (C, H, W) or (N,), are outputs as well;
            they come after the network's own.
        outputs: indices of those of the network's own outputs that are needed, without it all. Layers that only the
            others depend on are not evaluated.
        input_range: values of black and of white in the network's input.

    Raises SessionError where no runtime for it can be imported or the file cannot be loaded, and DeviceError where the
    GPU fails.
    """
    try:
        from .openvino_session import OpenVinoSession
    except ImportError as error:
        raise SessionError(
            f"the landmark networks run in OpenVINO, which cannot be imported here ({error}): "
            f"`pip install openvino` has wheels for Linux, Windows and macOS on x86-64 and arm64; this is "
            f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
        ) from error
    if device != "cpu":
        from .torch_session import TorchSession

        return TorchSession(
            path, device, capacity=capacity, feature_layers=feature_layers, outputs=outputs, input_range=input_range
        )
    return OpenVinoSession(
        path,
        threads=threads,
        cache=cache,
        capacity=capacity,
        feature_layers=feature_layers,
        outputs=outputs,
        input_range=input_range,
    )


def cache_folder(path: str) -> str:
    """A folder for compiled networks, made where it is missing; a leading ``~`` is the home folder.

    Empty is the folder of the environment variable HAND_RECON_MODEL_CACHE, and stays empty without that.

    Raises SessionError where it cannot be written.
    """
    path = path or os.environ.get("HAND_RECON_MODEL_CACHE", "")
    if not path:
        return ""
    folder = Path(path).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        raise SessionError(
            f"model_cache {path}: compiled networks cannot be stored there ({error}): name a folder that can be"
            " written, or leave it empty"
        ) from error
    return str(folder)


def compiled(model: openvino.Model, device: str, threads: int, cache: str = "") -> Network:
    """A model with static shapes, ready to run; arguments and errors as of :func:`open_session`."""
    if device == "cpu":
        from .openvino_session import OpenVinoNetwork

        return OpenVinoNetwork(model, threads, cache)
    from .torch_session import TorchNetwork

    return TorchNetwork(model, device)
