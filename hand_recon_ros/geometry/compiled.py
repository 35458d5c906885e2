"""Compiled loops: numba, its results kept on disk where there is a place for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba as nb


def compiled(function: Callable[..., Any]) -> Any:
    """Decorator: ``function`` compiled at its first call.

    The machine code is kept beside the source, or else in the user's cache folder (or in ``NUMBA_CACHE_DIR``). Where
    none of them can be written to, as in some containers, it is compiled anew in every process.
    """
    try:
        return nb.njit(cache=True, nogil=True)(function)
    except RuntimeError:
        return nb.njit(nogil=True)(function)


def compiled_ufunc(signature: str, layout: str) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: ``function`` as a generalised NumPy ufunc, kept like :func:`compiled`.

    Args:
        signature: types of its arguments, such as ``void(float64[:], float64[:, :])``.
        layout: their core dimensions, such as ``(n)->(n,n)``.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return nb.guvectorize([signature], layout, cache=True)(function)
        except RuntimeError:
            return nb.guvectorize([signature], layout)(function)

    return decorate
