"""What the node says of itself: problems logged once each, counters, and the status on /diagnostics."""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..types import HandState

REARM_AFTER = 2.0
"""A problem is logged anew only after it was gone for this long, seconds; else every second bad image would be."""


class Problems:
    """Logs each problem once, until it has been gone for a while.

    Problems have keys like ``image.step``; the part before the dot is what :meth:`solved` names.
    """

    def __init__(
        self, log: Callable[[str], Any], clock: Callable[[], float] = time.monotonic, rearm_after: float = REARM_AFTER
    ) -> None:
        self._log = log
        self._clock = clock
        self._rearm_after = rearm_after
        self._texts: dict[str, str] = {}
        self._solved_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def report(self, key: str, text: str) -> None:
        """Log ``text`` unless ``key`` is known and was not gone for long enough."""
        with self._lock:
            gone = self._solved_at.pop(key, None)
            again = gone is not None and self._clock() - gone >= self._rearm_after
            known = key in self._texts and not again
            self._texts[key] = text
        if not known:
            self._log(text)

    def solved(self, *groups: str) -> None:
        """What the keys ``group`` or ``group.*`` stand for is fine now."""
        if not self._texts:
            return
        now = self._clock()
        with self._lock:
            for key in list(self._texts):
                if any(key == group or key.startswith(f"{group}.") for group in groups):
                    self._solved_at.setdefault(key, now)

    def active(self) -> list[str]:
        """The texts of the problems that are not solved."""
        with self._lock:
            return [text for key, text in self._texts.items() if key not in self._solved_at]


@dataclasses.dataclass(frozen=True)
class Report:
    """What happened since the last report; rates per second, times in seconds (NaN where there is nothing)."""

    received_rate: float
    processed_rate: float
    latency_p50: float
    latency_p95: float
    inference_p50: float
    received: int
    processed: int
    refused: int
    states: tuple[HandState, HandState]
    calibrated: bool | None


class Counters:
    """Counts images on their way through the node; one writer per counter, read by the diagnostics timer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._latencies: collections.deque[float] = collections.deque(maxlen=1000)
        self._inferences: collections.deque[float] = collections.deque(maxlen=1000)
        self.received = 0
        self.processed = 0
        self.refused = 0
        self.states = (HandState.LOST, HandState.LOST)
        self.calibrated: bool | None = None
        self._last = (clock(), 0, 0)

    def add(self, latency: float, inference: float) -> None:
        """One image was processed."""
        self.processed += 1
        self._latencies.append(latency)
        self._inferences.append(inference)

    def report(self) -> Report:
        """The figures since the last call."""
        now, received, processed = self._clock(), self.received, self.processed
        elapsed = max(now - self._last[0], 1e-6)
        rates = (received - self._last[1]) / elapsed, (processed - self._last[2]) / elapsed
        self._last = (now, received, processed)
        latencies, inferences = _drain(self._latencies), _drain(self._inferences)
        latency_p50, latency_p95 = _percentiles(latencies, 50, 95)
        return Report(
            received_rate=rates[0],
            processed_rate=rates[1],
            latency_p50=latency_p50,
            latency_p95=latency_p95,
            inference_p50=_percentiles(inferences, 50)[0],
            received=received,
            processed=processed,
            refused=self.refused,
            states=self.states,
            calibrated=self.calibrated,
        )


def _drain(values: collections.deque[float]) -> list[float]:
    return [values.popleft() for _ in range(len(values))]


def _percentiles(values: list[float], *percent: float) -> list[float]:
    return np.percentile(values, percent).tolist() if values else [float("nan")] * len(percent)


def status(name: str, hardware_id: str, lifecycle: str, report: Report, dropped: int, problems: Iterable[str]) -> Any:
    """The diagnostic_msgs/DiagnosticStatus of the node.

    ERROR while it should work and cannot, WARN while something is wrong with what it gets, OK otherwise.
    """
    from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

    problems = list(problems)
    if problems:
        level = DiagnosticStatus.ERROR if lifecycle == "unconfigured" else DiagnosticStatus.WARN
        message = "; ".join(problems)
    elif lifecycle != "active":
        level, message = DiagnosticStatus.OK, lifecycle
    elif report.received_rate == 0:
        level, message = DiagnosticStatus.WARN, f"no images on {hardware_id}"
    else:
        level, message = DiagnosticStatus.OK, f"{report.processed_rate:.1f} images/s"
    values = {
        "state": lifecycle,
        "images received per second": f"{report.received_rate:.1f}",
        "images processed per second": f"{report.processed_rate:.1f}",
        "images received": str(report.received),
        "images processed": str(report.processed),
        "images dropped": str(dropped),
        "images refused": str(report.refused),
        "latency p50 (ms)": _milliseconds(report.latency_p50),
        "latency p95 (ms)": _milliseconds(report.latency_p95),
        "inference p50 (ms)": _milliseconds(report.inference_p50),
        "left hand": report.states[0].name.lower(),
        "right hand": report.states[1].name.lower(),
        "calibrated": "unknown" if report.calibrated is None else str(report.calibrated).lower(),
    }
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def _milliseconds(seconds: float) -> str:
    return "" if np.isnan(seconds) else f"{seconds * 1000:.1f}"
