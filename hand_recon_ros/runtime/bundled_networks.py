"""The trained networks that come with the package, by name, or others by path.

What ``assets/`` holds is known by its sha256: ``assets/SHA256SUMS``, in the form of sha256sum, which ``make digests``
renews.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

from ..config import ConfigError
from .model_files import ModelFileError, ModelStatus, sha256_of

ASSETS = Path(__file__).resolve().parent.parent / "assets"
DIGESTS = "SHA256SUMS"
"""File in ASSETS with a line for each bundled network and hand model: sha256, two spaces, path in ASSETS."""
IMPORTED = ".safetensors"
"""Suffix of the files of ``hand-recon import-checkpoint``, which run in PyTorch."""
_WAY_OUT = "install the package again; where the file is new, `make digests` renews the table"


def bundled_network(kind: str, name: str) -> Path:
    """The file for the value ``name`` of the setting ``kind``: ``assets/<kind>_<name>.onnx``, or ``name`` as a path.

    Raises ConfigError where there is no such file, and ModelFileError where one of assets/ is not as in DIGESTS.
    """
    bundled = ASSETS / f"{kind}_{name}.onnx"
    if bundled.exists():
        return checked_asset(bundled)
    path = Path(os.path.expanduser(name))
    if not path.is_file():
        names = sorted(file.stem.removeprefix(f"{kind}_") for file in ASSETS.glob(f"{kind}_*.onnx"))
        imported = f", or of a network of `hand-recon import-checkpoint` ({IMPORTED})" if kind == "encoder" else ""
        raise ConfigError(
            f"{kind} must be {', '.join(map(repr, ['none', *names]))} or the path of an exported {kind} (.onnx)"
            f"{imported}, got {name!r}"
        )
    return path


def checked_asset(path: Path) -> Path:
    """``path``, of a file in ASSETS, where it has its digest; raises ModelFileError with both digests where not."""
    expected = bundled_digests().get(path.relative_to(ASSETS).as_posix(), "none")
    about = path.stat()
    found = _digest(path, about.st_size, about.st_mtime_ns)
    if found != expected:
        raise ModelFileError(
            f"{path} is not the file it should be: expected sha256 {expected}, found {found}; {_WAY_OUT}"
        )
    return path


@functools.lru_cache(maxsize=8)
def _digest(path: Path, size: int, modified: int) -> str:
    """Once for a start, in which several steps read the same network."""
    return sha256_of(path)


def bundled_digests() -> dict[str, str]:
    """Path in ASSETS -> sha256 of the bundled files. Raises ModelFileError where the table cannot be read."""
    path = ASSETS / DIGESTS
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
        return {name: digest for digest, name in lines}
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}; {_WAY_OUT}") from error


def list_bundled() -> list[ModelStatus]:
    """State of every bundled file, as :func:`model_files.list_models` has it of the others."""
    result = []
    for name, expected in bundled_digests().items():
        path = ASSETS / name
        found = sha256_of(path) if path.is_file() else ""
        result.append(
            ModelStatus(
                name=path.stem,
                state="missing" if not found else "ok" if found == expected else "altered",
                path=str(path) if found else "",
                expected_sha256=expected,
                found_sha256=found,
                source="this package",
                licence="MIT" if name.startswith("hand/") else "Apache-2.0",
            )
        )
    return result


def verify_bundled() -> list[Path]:
    """Paths of all bundled files; raises ModelFileError for the first that is missing or altered."""
    paths = [ASSETS / name for name in bundled_digests()]
    for path in paths:
        if not path.is_file():
            raise ModelFileError(f"{path} is missing: it is part of the package, so install hand_recon_ros again")
    return [checked_asset(path) for path in paths]
