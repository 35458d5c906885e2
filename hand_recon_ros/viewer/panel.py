"""Text beside the scene: states of the hands, latency over time, and what is wrong."""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence

import numpy as np
import viser
from viser import uplot

from ..types import HandEstimate, Side
from .frames import ViewedFrame

HISTORY = 300
"""How many frames the plot of the latency has."""
PLOT_INTERVAL = 0.25
"""Time between two pictures of the plot, seconds of the images' stamps."""


class Panel:
    """Draws into the panel of a viser server."""

    def __init__(self, gui: viser.GuiApi) -> None:
        self._problems = gui.add_markdown("", visible=False)
        self._states = gui.add_markdown("No hands yet.")
        self._processing = _Plot(gui, "processing (ms)", "#d97a1f")
        self._latency = _Plot(gui, "latency (ms)", "#2b7fd0")

    def show(self, frame: ViewedFrame) -> None:
        """Show the states of a frame's hands, and add its times to the plot."""
        estimate = frame.estimate
        processing = estimate.timings.get("total", math.nan)
        columns = [_rows(estimate.hand(side)) for side in Side]
        lines = ["| | left | right |", "|---|---|---|"]
        lines += [f"| {name} | {columns[0][name]} | {columns[1][name]} |" for name in columns[0]]
        facts = [
            f"stamp {estimate.stamp:.3f} s",
            f"processing {_ms(processing)}",
            f"latency {_ms(frame.latency)}",
            "camera calibrated" if estimate.calibrated else "**camera not calibrated**: its intrinsics are a guess",
        ]
        facts += [f"frame `{frame.frame_id}`"] if frame.frame_id else []
        self._states.content = "\n".join([*lines, "", ", ".join(facts)])
        self._processing.add(estimate.stamp, processing)
        self._latency.add(estimate.stamp, frame.latency)

    def say(self, texts: Sequence[str]) -> None:
        """Show what is wrong at present, a paragraph each."""
        self._problems.content = "\n\n".join(texts)
        self._problems.visible = bool(texts)


class _Plot:
    """A duration over time; not shown before there are two."""

    def __init__(self, gui: viser.GuiApi, name: str, colour: str) -> None:
        self._values: collections.deque[tuple[float, float]] = collections.deque(maxlen=HISTORY)
        self._plotted = -math.inf
        self._plot = gui.add_uplot(
            (np.zeros(0), np.zeros(0)),
            (uplot.Series(label="time (s)"), uplot.Series(label=name, stroke=colour, width=1.5)),
            scales={"x": uplot.Scale(time=False)},
            title=name,
            legend=uplot.Legend(show=False),
            height=140,
            visible=False,
        )

    def add(self, stamp: float, value: float) -> None:
        """Add a duration in seconds, where it is known, of the image with this stamp."""
        if self._values and stamp < self._values[-1][0]:  # the stream began again
            self._values.clear()
            self._plotted = -math.inf
        if not math.isfinite(value):
            return
        self._values.append((stamp, value))
        if len(self._values) > 1 and stamp - self._plotted >= PLOT_INTERVAL:
            self._plotted = stamp
            stamps, values = np.array(self._values).T
            self._plot.data = (stamps - stamps[0], values * 1000.0)
            self._plot.visible = True


def _rows(hand: HandEstimate) -> dict[str, str]:
    """What the table says of a hand, by the name of the row."""
    if not hand.found:
        return {"state": hand.state.name, "score": "", "distance": "", "scale": "", "std. dev.": ""}
    return {
        "state": hand.state.name,
        "score": f"{hand.score:.2f}",
        "distance": f"{np.linalg.norm(hand.wrist_pose[:3, 3]):.3f} m",
        "scale": hand.scale_source.name,
        "std. dev.": f"{hand.position_stddev * 1000.0:.0f} mm",
    }


def _ms(seconds: float) -> str:
    return f"{seconds * 1000.0:.0f} ms" if math.isfinite(seconds) else "unknown"
