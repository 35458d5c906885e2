"""Loops compiled by numba, their machine code cached on disk where there is a place for it."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numba as nb
import numpy as np

_log = logging.getLogger(__name__)


def compiled(function: Callable[..., Any]) -> Any:
    """Decorator: ``function`` compiled at its first call.

    It compiles again for every other combination of types and layouts, so that a public wrapper must give it arrays of
    one layout: see :func:`float_array`. The machine code is cached beside the source, or else in the user's cache
    folder (or in ``NUMBA_CACHE_DIR``). Where none of them is writable, as in some containers, every process compiles
    anew, and says so.
    """
    try:
        return nb.njit(cache=True, nogil=True)(function)
    except RuntimeError:
        _warn_of_compiling()
        return nb.njit(nogil=True)(function)


def compiled_ufunc(signature: str, layout: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: ``function`` as a generalised NumPy ufunc, compiled at its first call and cached as :func:`compiled`.

    NumPy converts its arguments to the signature's types and broadcasts their leading dimensions; sizes of core
    dimensions that are not tied to each other are for the public wrapper to check.

    Args:
        signature: types of its arguments, such as ``void(float64[:], float64[:, :])``.
        layout: their core dimensions, such as ``(n)->(n,n)``.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.cache
        def ufunc() -> Any:
            with _one_at_a_time():
                try:
                    return nb.guvectorize([signature], layout, cache=True)(function)
                except RuntimeError:
                    _warn_of_compiling()
                    return nb.guvectorize([signature], layout)(function)

        @functools.wraps(function)
        def call(*arguments: np.ndarray) -> Any:
            return ufunc()(*arguments)

        return call

    return decorate


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """A part that one thread of one process at a time runs.

    numba stores a ufunc in two files, of which one names a function in the other, and that name differs from process to
    process. Two processes that compile at the same time would leave one file each, and whoever loads them crashes.
    """
    with contextlib.ExitStack() as undoing:
        # Some file systems know no locks, and where the source cannot be opened, nothing is stored beside it either.
        with contextlib.suppress(OSError):
            file = undoing.enter_context(open(__file__, "rb"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@functools.cache
def _warn_of_compiling() -> None:
    _log.warning(
        "compiled code cannot be stored, neither beside the package nor in the user's cache: every start compiles"
        " for some seconds; set NUMBA_CACHE_DIR to a folder that can be written"
    )


def float_array(array: np.ndarray, name: str, *shape: int | None) -> np.ndarray:
    """``array`` as contiguous float64, without a copy where it is; ValueError where its shape is not (None: any)."""
    return _array(array, np.float64, name, shape)


def index_array(array: np.ndarray, name: str, count: int, *shape: int | None) -> np.ndarray:
    """``array`` as contiguous int64, as :func:`float_array`; ValueError too where it is not indices of ``count``
    things, since compiled loops do not check them."""
    indices = _array(array, np.int64, name, shape)
    # Negative numbers are large ones without a sign.
    if indices.size and indices.view(np.uint64).max() >= count:
        raise ValueError(f"{name} must be indices of {count}, got {indices.min()} to {indices.max()}")
    return indices


def _array(array: np.ndarray, dtype: type, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    if isinstance(array, np.ndarray) and array.dtype == dtype and array.shape == shape and array.flags.c_contiguous:
        return array  # the common case, in half a microsecond
    result: np.ndarray = np.ascontiguousarray(array, dtype=dtype)
    given = result.shape
    if len(given) != len(shape) or any(n is not None and n != m for n, m in zip(shape, given, strict=True)):
        expected = ", ".join("*" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} must have shape ({expected}), got {given}")
    return result
