"""The start and the end of the processes of the nodes. Nothing here imports rclpy at module level."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..conversions.interrupts import setter
from .parameters import refused_arguments


@dataclasses.dataclass
class _Loading:
    """Whether the main thread is loading something, and whether a signal came meanwhile."""

    going_on: bool = False
    interrupted: bool = False


_loading = _Loading()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """While this lasts, on the main thread, SIGINT and SIGTERM raise KeyboardInterrupt: loading takes many seconds, and
    leaves nothing that has to be cleaned up."""
    _loading.going_on, _loading.interrupted = True, False
    try:
        yield
    except Exception:  # compiled code makes other exceptions of it
        if not _loading.interrupted:
            raise
    finally:
        _loading.going_on = False
    if _loading.interrupted:
        raise KeyboardInterrupt


def _interrupt(stop: Callable[[], None]) -> None:
    stop()
    if _loading.going_on and not _loading.interrupted:  # once: what follows is the clean-up
        _loading.interrupted = True
        raise KeyboardInterrupt


def start(arguments: Sequence[str] | None) -> threading.Event:
    """Initialise rclpy; returns an event that SIGINT and SIGTERM set, however often they come.

    rclpy's own handlers shut the context down at once: a node could publish nothing as it ends, and threads that
    publish would fail. Raises what rcl raises for arguments that it refuses.
    """
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    stop = threading.Event()
    set_stop = setter(stop)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: _interrupt(set_stop))
    rclpy.init(args=None if arguments is None else list(arguments), signal_handler_options=SignalHandlerOptions.NO)
    return stop


def run(name: str, make: Callable[[], Any], arguments: Sequence[str] | None) -> int:
    """Run a node on this thread until the process is interrupted.

    Args:
        name: of the node, for the log.
        make: makes the node, which has a method ``close``.
        arguments: of the command line; None: those of the process.

    Returns the exit status: 1 where the arguments cannot be used, which is logged. The process then ignores SIGINT and
    SIGTERM.
    """
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    node: Any = None
    interrupted = False
    try:
        stop = start(arguments)
        node = make()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
    except KeyboardInterrupt:
        interrupted = True
    except Exception as error:  # rcl has no public class for the arguments that it refuses
        if node is not None:
            raise
        return refused_arguments(name, error)
    finally:
        # At the end Python resets the handlers that it has: one more signal would end the process as if it had failed.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if node is not None:
            node.close()
        rclpy.try_shutdown()
    if interrupted:
        # Where it came while compiled code ran a Python string, the interpreter would end as if by the signal.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0
