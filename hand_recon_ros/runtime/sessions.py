"""Inference sessions: uint8 images in, arrays out, whatever runtime is behind them."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import Protocol

import numpy as np


class SessionError(RuntimeError):
    """A network cannot be run here; the message says what is missing and what to do."""


class Session(Protocol):
    """A loaded network that takes square BGR images of one size.

    ``inputs`` holds the buffers of the network, (capacity, size, size, 3) uint8, to be filled in place: a crop warped
    straight into them is never copied again. ``run(n)`` computes the first n of them.
    """

    @property
    def size(self) -> int: ...

    @property
    def inputs(self) -> np.ndarray: ...

    def run(self, count: int = 1) -> list[tuple[np.ndarray, ...]]:
        """Outputs of each of the first ``count`` inputs, without the batch axis; they stay valid after the next run."""
        ...


def open_session(
    path: str | os.PathLike[str],
    *,
    threads: int = 2,
    capacity: int = 1,
    head: str | os.PathLike[str] | None = None,
    inner: Sequence[str] = (),
) -> Session:
    """Load a network file (TFLite or ONNX, one image input NHWC, RGB in 0..1) for the CPU, which computes in float32.

    Args:
        path: the network.
        threads: CPU threads it may use.
        capacity: the most images one ``run`` takes.
        head: a second network on inner tensors of the first, run with it as one graph; its outputs come last. Its
            inputs bear the names of the convolutions of the first that read those tensors. For ``capacity`` 1.
        inner: names of convolutions or linear layers whose inputs, (C, H, W) or (N,), become outputs too.

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
    return OpenVinoSession(path, threads=threads, capacity=capacity, head=head, inner=inner)
