"""Threads: keeping linear algebra on small matrices out of the networks' way."""

from __future__ import annotations

import contextlib
import functools
from typing import Any


def single_threaded_blas() -> contextlib.AbstractContextManager[Any]:
    """A context in which NumPy's linear algebra uses one thread.

    Solving a few 61 x 61 systems gains nothing from more, but the helpers of a threaded BLAS go on spinning for a
    while after each call, on the very cores the next inference needs: on two cores that doubles a network's time.
    Entering and leaving takes microseconds.
    """
    return _controller().limit(limits=1, user_api="blas")


@functools.cache
def _controller() -> Any:
    import threadpoolctl

    return threadpoolctl.ThreadpoolController()
