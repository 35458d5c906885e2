"""From the stamps of images to the time that tracking and filters use."""

from __future__ import annotations

import dataclasses
from typing import Any

from .problems import Problems

FUTURE_TOLERANCE = 0.1
"""How far ahead of the node's clock a stamp may lie before it is reported, seconds."""
PAST_TOLERANCE = 10.0
"""How old an image may be before its stamp is reported as wrong, seconds: no camera and no network take this long."""
MIN_STEP = 0.001
"""By how much the time of tracking advances at least from image to image, seconds."""
MAX_OVERLAP = 1.0
"""Tracking starts again where stamps take over from arrival times and lie more than this behind them, seconds."""


def seconds(stamp: Any) -> float:
    """A builtin_interfaces/Time in seconds."""
    return float(stamp.sec + stamp.nanosec * 1e-9)


@dataclasses.dataclass(frozen=True)
class ImageTime:
    """When an image was taken.

    Attributes:
        time: for tracking and filters, seconds; it advances from image to image where ``continues``.
        continues: False where the image does not follow the last one in time: tracking starts again.
        latency_known: whether the node's clock minus the stamp is the image's age.
    """

    time: float
    continues: bool
    latency_known: bool


@dataclasses.dataclass(frozen=True)
class _Last:
    stamp: float
    arrival: float
    time: float


class StampClock:
    """The time of each image of a stream: its stamp, or its arrival where the stamp is zero or does not advance.

    Args:
        topic: name of the images in the log.
        problems: what is wrong with the stamps is reported here, in the group ``stamp``.
    """

    def __init__(self, topic: str, problems: Problems) -> None:
        self._topic = topic
        self._problems = problems
        self._last: _Last | None = None

    def restart(self) -> None:
        """The next image is the first of a stream."""
        self._last = None

    def usable(self, stamp: float) -> bool:
        """Whether ``stamp``, seconds, is the time of the next image: neither zero nor that of the last image."""
        return stamp > 0.0 and (self._last is None or stamp != self._last.stamp)

    def advance(self, stamp: float, arrival: float, now: float) -> ImageTime:
        """The time of the next image, and a report of what is wrong with its stamp.

        Args:
            stamp: of the image, seconds.
            arrival: the node's clock when the image was received, seconds.
            now: the node's clock, seconds; 0 is a simulated clock that has not started.
        """
        last, usable = self._last, self.usable(stamp)
        self._report(stamp, usable, now)
        if usable:
            time = stamp
            continues = last is None or stamp > max(last.stamp, last.time - MAX_OVERLAP)
        else:
            time = arrival if last is None else last.time + (arrival - last.arrival)
            continues = True
        if last is not None and continues:
            time = max(time, last.time + MIN_STEP)
        self._last = _Last(stamp, arrival, time)
        plausible = -FUTURE_TOLERANCE <= now - stamp <= PAST_TOLERANCE
        return ImageTime(time, continues, latency_known=usable and now > 0.0 and plausible)

    def _report(self, stamp: float, usable: bool, now: float) -> None:
        jump = stamp - self._last.stamp if usable and self._last is not None else 0.0
        age = now - stamp if usable else 0.0
        unusable = "is zero" if stamp <= 0.0 else f"does not advance ({stamp:.3f} s again)"

        def check(name: str, wrong: bool, text: str) -> None:
            self._problems.check(f"stamp.{name}", wrong, f"{self._topic}: {text}")

        check(
            "unusable",
            not usable,
            f"the stamp {unusable}: arrival times are used instead, and latency is unknown; set the stamp to the time"
            " of exposure in the driver",
        )
        check(
            "back",
            jump < 0.0,
            f"the stamp jumps back by {-jump:.3f} s (a recording that starts again, or two publishers on one topic?):"
            " tracking starts again",
        )
        check(
            "clock",
            usable and now <= 0.0,
            "use_sim_time is set and nothing has come on /clock: latency is unknown; play the recording with --clock",
        )
        check(
            "past",
            age > PAST_TOLERANCE,
            f"the stamp lies {age:.0f} s in the past: set use_sim_time for recordings, or synchronise the clocks of"
            " the camera and this machine (chrony, PTP)",
        )
        check(
            "future",
            now > 0.0 and age < -FUTURE_TOLERANCE,
            f"the stamp lies {-age:.2f} s in the future: the clocks of the camera and this machine differ, so latency"
            " is unknown; synchronise them (chrony, PTP), or set use_sim_time for recordings",
        )
