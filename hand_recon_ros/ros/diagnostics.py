"""Counters of the images on their way through the node, and the status on /diagnostics made of them."""

from __future__ import annotations

import collections
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..types import HandState, TwoHandEstimate

STALL_AFTER = 2.0
"""The node does not work where images come and none is processed for this long, seconds."""


@dataclasses.dataclass(frozen=True)
class Report:
    """The images since the last report: rates per second, times in seconds, NaN where there is no value.

    ``unprocessed_for`` is how long images have come of which none was processed. The counts are totals.
    """

    received_rate: float
    processed_rate: float
    latency_p50: float
    latency_p95: float
    inference_p50: float
    unprocessed_for: float
    received: int
    processed: int
    refused: int
    states: tuple[HandState, HandState]
    calibrated: bool | None


class Counters:
    """Counts images on their way through the node.

    ``infos`` counts camera_info. Each counter is written by one thread, and read by the diagnostics timer. ``states``
    and ``calibrated`` are those of the last estimate.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._latencies: collections.deque[float] = collections.deque(maxlen=1000)
        self._inferences: collections.deque[float] = collections.deque(maxlen=1000)
        self._unprocessed_since: float | None = None
        self.received = 0
        self.infos = 0
        self.processed = 0
        self.refused = 0
        self.states = (HandState.LOST, HandState.LOST)
        self.calibrated: bool | None = None
        self._last = (clock(), 0, 0)

    def receive(self) -> None:
        """An image was received."""
        self.received += 1
        if self._unprocessed_since is None:
            self._unprocessed_since = self._clock()

    def add(self, estimate: TwoHandEstimate, latency: float) -> None:
        """An image was processed; ``latency`` in seconds, NaN where it is not known."""
        self._latencies.append(latency)
        self._inferences.append(estimate.timings.get("total", math.nan))
        self._unprocessed_since = None
        self.states = estimate.left.state, estimate.right.state
        self.calibrated = estimate.calibrated
        self.processed += 1

    def restart(self) -> None:
        """No image is expected to be processed: the node is paused or not active."""
        self._unprocessed_since = None

    def report(self) -> Report:
        """The figures since the last call."""
        now, received, processed = self._clock(), self.received, self.processed
        elapsed = max(now - self._last[0], 1e-6)
        rates = (received - self._last[1]) / elapsed, (processed - self._last[2]) / elapsed
        self._last = (now, received, processed)
        latency_p50, latency_p95 = _percentiles(_drain(self._latencies), 50, 95)
        since = self._unprocessed_since
        return Report(
            received_rate=rates[0],
            processed_rate=rates[1],
            latency_p50=latency_p50,
            latency_p95=latency_p95,
            inference_p50=_percentiles(_drain(self._inferences), 50)[0],
            unprocessed_for=0.0 if since is None else now - since,
            received=received,
            processed=processed,
            refused=self.refused,
            states=self.states,
            calibrated=self.calibrated,
        )


def _drain(values: collections.deque[float]) -> list[float]:
    return [values.popleft() for _ in range(len(values))]


def _percentiles(values: list[float], *percent: float) -> list[float]:
    """Of the values that are known; NaN where none is."""
    known = [value for value in values if not math.isnan(value)]
    return np.percentile(known, percent).tolist() if known else [math.nan] * len(percent)


def build_status(
    name: str,
    topic: str,
    lifecycle: str,
    report: Report,
    dropped: int,
    warnings: Sequence[str] = (),
    errors: Sequence[str] = (),
) -> Any:
    """The diagnostic_msgs/DiagnosticStatus of the node.

    Its level is ERROR while the node cannot work, WARN while something is wrong with its input, OK otherwise.

    Args:
        name: of the status.
        topic: full name of the images.
        lifecycle: state of the node; ``active`` where it should work.
        report: figures since the last status.
        dropped: images that were replaced by newer ones.
        warnings, errors: the problems at present.
    """
    from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

    problems = [*errors, *warnings]
    stalled = lifecycle == "active" and report.unprocessed_for >= STALL_AFTER
    if stalled and not problems:
        problems = [
            f"images come on {topic}, but none was processed for {report.unprocessed_for:.0f} s: restart the node"
        ]
    if errors or stalled:
        level, message = DiagnosticStatus.ERROR, "; ".join(problems)
    elif problems:
        level, message = DiagnosticStatus.WARN, "; ".join(problems)
    elif lifecycle != "active":
        level, message = DiagnosticStatus.OK, lifecycle
    elif report.received_rate == 0:
        level, message = DiagnosticStatus.WARN, f"no images on {topic}"
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
        hardware_id=topic,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def build_diagnostics(
    node: Any, topic: str, summary: str, values: Mapping[str, object], problems: Sequence[str]
) -> Any:
    """The diagnostic_msgs/DiagnosticArray of an rclpy node that is always active.

    Args:
        node: for its name and its clock.
        topic: full name of what it subscribes to.
        summary: what it does, where there is no problem.
        values: name -> value of its state.
        problems: at present; the level is WARN where there is one.
    """
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

    status = DiagnosticStatus(
        level=DiagnosticStatus.WARN if problems else DiagnosticStatus.OK,
        name=node.get_fully_qualified_name().lstrip("/"),
        message="; ".join(problems) or summary,
        hardware_id=topic,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
    message = DiagnosticArray(status=[status])
    message.header.stamp = node.get_clock().now().to_msg()
    return message


def _milliseconds(seconds: float) -> str:
    return "unknown" if math.isnan(seconds) else f"{seconds * 1000:.1f}"
