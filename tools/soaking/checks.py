"""What has to hold of the hands and the log, whatever happens to the node."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from .camera import Sent
from .client import Hands

CRASHED = re.compile(r"Traceback|please report this|Segmentation|Aborted|core dumped|terminate called|\[FATAL\]")
"""What no log may have: crashes, and exceptions that nobody expected."""


class Matcher:
    """Finds the image of each message of ~/hands: they have to come in the order of the images.

    Attributes:
        faults: what was wrong so far, in words.
    """

    def __init__(self) -> None:
        self._sent: list[Sent] = []
        self._next = 0
        self._last: Sent | None = None
        self.faults: list[str] = []

    def match(self, sent: Iterable[Sent], hands: Sequence[Hands]) -> list[tuple[Sent, Hands]]:
        """Pairs of images sent since the last call and hands received since then.

        The last word, that both hands are LOST, is in no pair: it has the stamp of the last image again, or that of one
        which was in work when the signal to stop came.
        """
        self._sent = [*self._sent[self._next :], *sent]
        self._next = 0
        pairs = []
        for message in hands:
            if message.is_last_word and self._last is not None and message.stamp == self._last.stamp:
                continue
            image = self._find(message)
            if image is None:
                continue
            self._last = image
            if image.frame_id != message.frame_id:
                self.faults.append(f"frame_id {message.frame_id!r} for an image with {image.frame_id!r}")
            if image.refused:
                self.faults.append(f"hands of an image that has to be refused ({image.fault})")
            if not message.is_last_word:
                pairs.append((image, message))
        return pairs

    def _find(self, message: Hands) -> Sent | None:
        for i in range(self._next, len(self._sent)):
            if self._sent[i].stamp == message.stamp:
                self._next = i + 1
                return self._sent[i]
        known = any(image.stamp == message.stamp for image in self._sent)
        what = "not in the order of the images" if known else "of no image that was sent"
        self.faults.append(f"hands with stamp {message.stamp}, {what}")
        return None


def latencies(pairs: Iterable[tuple[Sent, Hands]]) -> np.ndarray:
    """From the sending of each image to the arrival of its hands, seconds."""
    return np.array([1e-9 * (message.wall - image.wall) for image, message in pairs])


def percentile95(values: np.ndarray) -> float:
    """NaN where there are none."""
    return float(np.percentile(values, 95)) if len(values) else float("nan")


def wrist_error(pairs: Iterable[tuple[Sent, Hands]], truth: np.ndarray) -> float:
    """Median distance of the wrists of tracked hands to the truth, (N, 2, 21, 3), metres; NaN where there are none."""
    errors = [
        float(np.linalg.norm(message.wrists[side] - truth[image.frame, side, 0]))
        for image, message in pairs
        for side in (0, 1)
        if message.tracked[side]
    ]
    return float(np.median(errors)) if errors else float("nan")


def log_faults(text: str, expected: str = "") -> list[str]:
    """Lines of a node's log that it must not have; ``expected`` is the pattern of errors that a scenario causes."""
    found = []
    for line in text.splitlines():
        error = "[ERROR]" in line and not (expected and re.search(expected, line))
        if CRASHED.search(line) or error:
            found.append(f"log: {line.strip()[:300]}")
    return found
