"""The memory of a process over time, and its growth."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from pathlib import Path

import numpy as np

_PERIOD = 0.5
_BLOCK = 5.0
"""Samples are averaged over this time, seconds: neighbours are not independent of each other."""


@dataclasses.dataclass(frozen=True)
class Growth:
    """Of memory over a time.

    Attributes:
        slope: MB per minute; NaN where the time is too short.
        error: its standard error.
        last: MB at the end.
    """

    slope: float
    error: float
    last: float

    @property
    def at_least(self) -> float:
        """What the slope surely is: two standard errors below it; NaN as the slope."""
        return self.slope - 2.0 * self.error


def growth(times: np.ndarray, values: np.ndarray) -> Growth:
    """Slope by least squares over the means of blocks of time, with its standard error from their residuals.

    Args:
        times: (N,), seconds.
        values: (N,), MB.
    """
    if not len(times):
        return Growth(np.nan, np.nan, np.nan)
    blocks = ((times - times[0]) / _BLOCK).astype(int)
    t, v = (np.array([array[blocks == block].mean() for block in np.unique(blocks)]) for array in (times, values))
    if len(t) < 4:
        return Growth(np.nan, np.nan, float(v[-1]))
    t = (t - t.mean()) / 60.0
    slope = float(t @ v / (t @ t))
    residuals = v - v.mean() - slope * t
    error = float(np.sqrt(residuals @ residuals / (len(t) - 2) / (t @ t)))
    return Growth(slope, error, float(v[-1]))


def resident(pid: int) -> float:
    """Resident memory of a process, MB. Raises OSError where it has ended."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class MemoryLog:
    """Samples the resident memory of a process in a thread, until :meth:`stop`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._samples: list[tuple[float, float]] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.wait(_PERIOD):
            try:
                self._samples.append((time.monotonic(), resident(self._pid)))
            except OSError:
                return

    def stop(self) -> None:
        """End the thread."""
        self._ending.set()
        self._thread.join()

    def growth(self, begin: float, end: float | None = None) -> Growth:
        """Between two readings of time.monotonic()."""
        samples = np.array(self._samples).reshape(-1, 2)
        chosen = samples[(samples[:, 0] >= begin) & (samples[:, 0] <= (np.inf if end is None else end))]
        return growth(chosen[:, 0], chosen[:, 1])
