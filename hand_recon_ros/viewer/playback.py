"""The pace at which what was recorded is shown."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Playback:
    """Waits until an item is due: as long after the first as its stamp is after that of the first.

    Where an item comes late, those after it keep their distance from it and do not hurry.

    Args:
        stop: ends every wait.
        wait: waits some seconds, or less once ``stop`` is set.
        clock: seconds.
    """

    def __init__(
        self,
        stop: threading.Event,
        wait: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stop = stop
        self._wait, self._clock = wait or stop.wait, clock
        self._begin: float | None = None
        self._last = 0.0

    def wait(self, stamp: float) -> None:
        """Wait until the item with this stamp, seconds, is due; one from before the last is due at once."""
        if self._begin is None or stamp < self._last:
            self._begin = self._clock() - stamp
        self._last = stamp
        early = self._begin + stamp - self._clock()
        if early > 0.0:
            self._wait(early)
        else:
            self._begin -= early

    def hold(self, seconds: float) -> None:
        """Wait this long, as after a photo."""
        self._wait(seconds)
