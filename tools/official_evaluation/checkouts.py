"""Running functions of a checkout that was not written to be imported, and reading the figures that they only print."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

_NAMES = ("config", "dataset", "models", "utils")
"""Top-level modules that several of the checkouts have."""


class CheckoutError(RuntimeError):
    """A folder that is not the checkout that it should be."""


def stubs(*names: str, **modules: Any) -> dict[str, Any]:
    """Modules that accept everything, for ``sys.modules``: those of ``names``, and others with given attributes, whose
    dots are written as two underscores."""
    given = {name.replace("__", "."): types.SimpleNamespace(**content) for name, content in modules.items()}
    return {**{name: mock.MagicMock() for name in names}, **given}


@contextlib.contextmanager
def imports(root: Path, folders: Sequence[str], replaced: Mapping[str, Any]) -> Iterator[None]:
    """Within it, modules are looked for in folders of a checkout first, and some are replaced."""

    def foreign(name: str) -> bool:
        return name.split(".")[0] in _NAMES or name in replaced

    before = {name: module for name, module in sys.modules.items() if foreign(name)}
    path, folder = sys.path.copy(), Path.cwd()
    for name in before:
        del sys.modules[name]
    sys.modules.update(replaced)
    sys.path[:0] = [str(root / name) for name in folders]
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # some write files where they run
        try:
            yield
        finally:
            os.chdir(folder)
            sys.path[:] = path
            for name in [name for name in sys.modules if foreign(name)]:
                del sys.modules[name]
            sys.modules.update(before)


def load(path: Path, name: str) -> Any:
    """The module in a file of a checkout."""
    if not path.is_file():
        raise CheckoutError(f"no such file in the checkout: {path}")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with contextlib.redirect_stdout(io.StringIO()):
        spec.loader.exec_module(module)
    return module


def variables(function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """The local variables with which a function returns; what it prints is dropped. Official codes print figures with
    two or three digits, of which these are the exact values."""
    code = function.__code__  # type: ignore[attr-defined]
    found: dict[str, Any] = {}

    def profile(frame: types.FrameType, event: str, _: Any) -> None:
        if event == "return" and frame.f_code is code:
            found.update(frame.f_locals)

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        sys.setprofile(profile)
        try:
            function(*arguments)
        finally:
            sys.setprofile(None)
    return found
