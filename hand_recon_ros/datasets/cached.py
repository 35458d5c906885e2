"""Arrays that are computed once and kept in files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np


def cached(path: Path, compute: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays in a file (.npz), by name; where it is not there, what ``compute`` gives is written to it first."""
    if not path.exists():
        # Written beside and moved: several runs may fill the folder.
        part = path.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as file:
            np.savez(file, **compute())  # type: ignore[arg-type]
        part.replace(path)
    with np.load(path) as arrays:
        return dict(arrays)
