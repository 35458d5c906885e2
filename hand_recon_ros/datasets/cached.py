"""A cache of computed arrays in files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np


def cached(path: Path, compute: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays of a file (.npz), by name; a missing file is written with the result of ``compute`` first."""
    if not path.exists():
        # Written to another name and renamed: several processes may fill the folder.
        part = path.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as file:
            np.savez(file, **compute())  # type: ignore[arg-type]
        part.replace(path)
    with np.load(path) as arrays:
        return dict(arrays)
