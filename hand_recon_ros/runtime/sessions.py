"""Inference sessions: uint8 images in, arrays out, for any inference runtime."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np


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

    def run(self, count: int = 1, fill: Callable[[int], None] | None = None) -> list[tuple[np.ndarray, ...]]:
        """Outputs of each of the first ``count`` inputs, without the batch axis; they stay valid after the next run.

        ``fill(i)`` writes input i. It is called for 0, 1, ... in order while earlier inputs are evaluated, and must not
        change those.
        """
        ...


def open_session(
    path: str | os.PathLike[str],
    *,
    threads: int = 2,
    capacity: int = 1,
    feature_layers: Sequence[str] = (),
    outputs: Sequence[int] | None = None,
    input_range: tuple[float, float] = (0.0, 1.0),
) -> Session:
    """Load a network file (TFLite or ONNX, one image input NHWC, RGB) for the CPU, in float32.

    Args:
        path: file of the network.
        threads: number of CPU threads.
        capacity: largest number of images in one ``run``.
        feature_layers: names of convolutions or linear layers whose inputs, (C, H, W) or (N,), are outputs as well;
            they come after the network's own.
        outputs: indices of those of the network's own outputs that are needed, without it all. Layers that only the
            others depend on are not evaluated.
        input_range: values of black and of white in the network's input.

    Raises SessionError where no runtime for it can be imported or the file cannot be loaded.
    """
    try:
        from .openvino_session import OpenVinoSession
    except ImportError as error:
        raise SessionError(
            f"the landmark networks run in OpenVINO, which cannot be imported here ({error}): "
            f"`pip install openvino` has wheels for Linux, Windows and macOS on x86-64 and arm64; this is "
            f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
        ) from error
    return OpenVinoSession(
        path,
        threads=threads,
        capacity=capacity,
        feature_layers=feature_layers,
        outputs=outputs,
        input_range=input_range,
    )
