"""Reading pickles of others without running anything that is in them.

A pickle is a program that may call whatever it can name. Here every name is looked up by the caller, who gives back
what is harmless and refuses the rest.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any


class PickleError(ValueError):
    """A pickle that is refused, or damaged; the message says what it tried."""


def restricted_load(
    data: bytes, resolve: Callable[[str, str], Any], persistent_load: Callable[[Any], Any] | None = None
) -> Any:
    """What is in a pickle.

    Args:
        data: the pickle, whole.
        resolve: gives what stands for a name, by module and name as in Python 3 (``__builtin__`` is ``builtins``,
            ``numpy._core`` is ``numpy.core``); raises PickleError for names that it refuses.
        persistent_load: gives what stands for a persistent id; None where there are none.

    Raises PickleError where a name is refused, and where the pickle is damaged.
    """
    try:
        for code, number, _ in pickletools.genops(data):
            # pickle has as much memory as the largest number in its memo: a few bytes could take gigabytes.
            if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(number or 0) <= len(data):
                raise PickleError(f"number {number} in the memo of {len(data)} bytes")
        return _Unpickler(data, resolve, persistent_load).load()
    except PickleError:
        raise
    # A damaged pickle gives arguments of any kind to the code of pickle, which raises what it likes.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PickleError(f"not a readable pickle ({reason})") from error


_RENAMED = {"numpy._core": "numpy.core", "__builtin__": "builtins", "copy_reg": "copyreg"}


def plain_module(module: str) -> str:
    """The name of a module in Python 3 and NumPy 1, by which names are looked up."""
    for old, new in _RENAMED.items():
        if module == old or module.startswith(old + "."):
            return new + module[len(old) :]
    return module


class _Unpickler(pickle.Unpickler):
    def __init__(
        self, data: bytes, resolve: Callable[[str, str], Any], persistent: Callable[[Any], Any] | None
    ) -> None:
        # Not from the file: of that pickle would want as many bytes as a damaged length says.
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._resolve, self._persistent = resolve, persistent

    def find_class(self, module: str, name: str) -> Any:
        return self._resolve(plain_module(module), name)

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise PickleError("it refers to objects outside of it")
        return self._persistent(pid)
