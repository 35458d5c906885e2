"""What is wrong at present: each problem is logged once, and listed until it is solved."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

REARM_AFTER = 2.0
"""A solved problem is logged again only after this time without it, seconds: else every second bad image would be."""


@dataclasses.dataclass
class _Problem:
    text: str
    error: bool
    solved_at: float | None = None


class Problems:
    """Logs each problem once, until it has been solved for a while; safe to use from several threads.

    A problem has a key such as ``input.step``; the part before the dot is its group.

    Attributes:
        rearm_after: seconds without a problem after which it is logged again.
    """

    def __init__(
        self,
        log_warning: Callable[[str], Any],
        log_error: Callable[[str], Any],
        clock: Callable[[], float] = time.monotonic,
        rearm_after: float = REARM_AFTER,
    ) -> None:
        self.rearm_after = rearm_after
        self._log_warning, self._log_error = log_warning, log_error
        self._clock = clock
        self._problems: dict[str, _Problem] = {}
        self._lock = threading.Lock()

    def report(self, key: str, text: str, error: bool = False) -> None:
        """List a problem, and log ``text`` unless it is listed or was solved less than ``rearm_after`` ago.

        An ``error`` stops the node from working; everything else is a warning.
        """
        with self._lock:
            before = self._problems.get(key)
            solved_at = before.solved_at if before else None
            self._problems[key] = _Problem(text, error)
            if before is not None and (solved_at is None or self._clock() - solved_at < self.rearm_after):
                return
        # The two calls need lines of their own: rclpy remembers the severity of each calling line.
        if error:
            self._log_error(text)
        else:
            self._log_warning(text)

    def check(self, key: str, wrong: bool, text: str, error: bool = False) -> None:
        """Report the problem where something is ``wrong``, else it is solved."""
        if wrong:
            self.report(key, text, error)
        else:
            self.solved(key)

    def solved(self, *groups: str) -> None:
        """The problems with the keys ``group`` and ``group.*`` are over."""
        if not self._problems:
            return
        now = self._clock()
        with self._lock:
            for key, problem in self._problems.items():
                if problem.solved_at is None and _belongs(key, groups):
                    problem.solved_at = now

    def forget(self, *groups: str) -> None:
        """The same, and the next problem with such a key is logged whenever it comes."""
        with self._lock:
            for key in [key for key in self._problems if _belongs(key, groups)]:
                del self._problems[key]

    def active(self, error: bool | None = None) -> list[str]:
        """The texts of the problems that are not solved; with ``error`` only errors or only warnings."""
        with self._lock:
            return [
                problem.text
                for problem in self._problems.values()
                if problem.solved_at is None and error in (None, problem.error)
            ]


def _belongs(key: str, groups: tuple[str, ...]) -> bool:
    return any(key == group or key.startswith(f"{group}.") for group in groups)
