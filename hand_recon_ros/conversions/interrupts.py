"""Events that handlers of signals set."""

from __future__ import annotations

import threading
from collections.abc import Callable


def setter(event: threading.Event) -> Callable[[], None]:
    """What sets an event in handlers of signals, also where one interrupts the other: an event that is set while it is
    being set on the same thread would wait for its own lock."""
    came: list[bool] = []

    def set_once() -> None:
        if not came:
            came.append(True)
            event.set()

    return set_once
