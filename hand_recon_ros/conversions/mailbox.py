"""A mailbox with one slot: a new item replaces the one that waits, and replaced items are counted."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Passes the newest item from the threads that :meth:`put` to the thread that calls :meth:`take`.

    With a queue instead, a computation slower than its source would have ever older input.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._closed = False
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """How many items were replaced before they were taken."""
        return self._dropped

    def put(self, item: T) -> None:
        """Store ``item`` in place of the one that waits; after :meth:`close` it is discarded without counting."""
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
    def waiting(self) -> bool:
        """Whether an item waits."""
        return self._item is not None

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def clear(self) -> None:
        """Discard the item that waits, without counting."""
        with self._changed:
            self._item = None

    def open(self) -> None:
        """Accept items again after :meth:`close`; the count continues."""
        with self._changed:
            self._closed = False

    def close(self) -> None:
        """Discard the item that waits, and wake up the threads in :meth:`take`."""
        with self._changed:
            self._closed = True
            self._item = None
            self._changed.notify_all()
