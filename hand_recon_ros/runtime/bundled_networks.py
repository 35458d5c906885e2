"""The trained networks that come with the package, by name, or others by path."""

from __future__ import annotations

import os
from pathlib import Path

from ..config import ConfigError

ASSETS = Path(__file__).resolve().parent.parent / "assets"
IMPORTED = ".safetensors"
"""Suffix of the files of ``hand-recon import-checkpoint``, which run in PyTorch."""


def bundled_network(kind: str, name: str) -> Path:
    """The file for the value ``name`` of the setting ``kind``: ``assets/<kind>_<name>.onnx``, or ``name`` as a path.

    Raises ConfigError where there is no such file.
    """
    path = ASSETS / f"{kind}_{name}.onnx"
    path = path if path.exists() else Path(os.path.expanduser(name))
    if not path.is_file():
        bundled = sorted(file.stem.removeprefix(f"{kind}_") for file in ASSETS.glob(f"{kind}_*.onnx"))
        imported = f", or of a network of `hand-recon import-checkpoint` ({IMPORTED})" if kind == "encoder" else ""
        raise ConfigError(
            f"{kind} must be {', '.join(map(repr, ['none', *bundled]))} or the path of an exported {kind} (.onnx)"
            f"{imported}, got {name!r}"
        )
    return path
