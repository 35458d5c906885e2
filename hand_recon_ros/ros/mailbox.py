"""A mailbox with one slot: the newest item wins, and what nobody took in time is counted."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Hands the newest item from the threads that :meth:`put` to the one that :meth:`take`-s.

    A computation that is slower than its source would otherwise work through an ever longer queue, and every result
    would be older than the one before.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._closed = False
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """How many items were replaced before somebody took them."""
        return self._dropped

    def put(self, item: T) -> None:
        """Store ``item`` in place of the one that still waits; after :meth:`close` it is discarded uncounted."""
        with self._changed:
            if self._closed:
                return
            if self._item is not None:
                self._dropped += 1
            self._item = item
            self._changed.notify()

    def take(self, timeout: float | None = None) -> T | None:
        """The waiting item, or the next one; None after ``timeout`` seconds and once the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed, timeout)
            item, self._item = self._item, None
            return None if self._closed else item

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def clear(self) -> None:
        """Discard what waits, uncounted."""
        with self._changed:
            self._item = None

    def open(self) -> None:
        """Accept items, again after :meth:`close`; the count goes on."""
        with self._changed:
            self._closed = False

    def close(self) -> None:
        """Discard what waits and wake up everybody who waits."""
        with self._changed:
            self._closed = True
            self._item = None
            self._changed.notify_all()
