"""A cache of computed arrays in files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ..runtime.model_files import replacing


def cached(path: Path, compute: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays of a file (.npz), by name; a missing file is written with the result of ``compute`` first."""
    if not path.exists():
        write_arrays(path, compute())
    return read_arrays(path)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to a file (.npz) as a whole; raises OSError."""
    with replacing(path) as scratch, scratch.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file of :func:`write_arrays`, by name."""
    with np.load(path) as stored:
        return dict(stored)
