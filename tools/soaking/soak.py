"""The node under test, its camera, and what a scenario needs of both."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hand_recon_ros.ros.demo.processes import Process, dds_environment
from hand_recon_ros.synthetic.clips import load_clip

from .camera import Sent, read_log
from .checks import Matcher, latencies, log_faults, percentile95, wrist_error
from .client import Client, Hands, NoAnswer
from .memory import MemoryLog

NODE = "hand_recon_ros.ros.node"
NAMESPACE = "/soak"
STEADY_RATE = 10.0
"""Images per second before and after faults: what a busy machine can process."""
TOOL = Path(__file__).resolve().parents[1] / "soak.py"


@dataclasses.dataclass
class Outcome:
    """What happened in a scenario.

    Attributes:
        name: of the scenario.
        seconds: it took, without what follows it.
        sent: images sent; received and so on are the node's counts of them.
        hands: messages of ~/hands that belong to an image.
        wrong: images that had to be refused.
        p95, after: 95th percentile of the latency during the scenario and after it, seconds.
        wrist: median error of the wrists after it, metres.
        slope, slope_error: of the memory, MB per minute.
        memory: at its end, MB.
        what: happened, in words.
        faults: limits that were not kept.
    """

    name: str
    seconds: float = 0.0
    sent: int = 0
    received: int = 0
    processed: int = 0
    dropped: int = 0
    refused: int = 0
    hands: int = 0
    wrong: int = 0
    p95: float = np.nan
    after: float = np.nan
    wrist: float = np.nan
    slope: float = np.nan
    slope_error: float = np.nan
    memory: float = np.nan
    what: str = ""
    faults: list[str] = dataclasses.field(default_factory=list)


class Camera:
    """A camera process, see :func:`camera.play`; ended when the ``with`` block is left.

    Args:
        folder: of its log.
        clip: folder of the clip.
        options: of the command line, such as ``rate``.
    """

    def __init__(self, folder: Path, clip: Path, namespace: str, **options: Any) -> None:
        self._log = folder / f"camera-{time.time_ns()}.jsonl"
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        self._process = subprocess.Popen(
            [sys.executable, str(TOOL), "--camera", str(clip), "--log", str(self._log), "--namespace", namespace,
             *arguments],
            env=dds_environment(), stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def sent(self) -> list[Sent]:
        """The images so far."""
        return read_log(self._log)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self) -> list[Sent]:
        """End it; returns all images, and deletes the log."""
        self._process.terminate()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        sent = self.sent()
        self._log.unlink(missing_ok=True)
        return sent


class Soak:
    """The node in a process of its own, and a client.

    Args:
        folder: of logs.
        clip: folder of a rendered clip.
        seed: of everything that is random.

    Attributes:
        client: of the node.
        node: its process.
        memory: of the process.
        rng: for the scenarios.
        sent: images since :meth:`begin`.
        pairs: those of them that gave hands, and the hands.
    """

    def __init__(self, folder: Path, clip: Path, seed: int) -> None:
        self.folder, self.clip = folder, clip
        self._truth = load_clip(clip).truth["joints"]
        self.rng = np.random.default_rng(seed)
        self.node = Process("hand_recon", NODE, {}, folder, NAMESPACE, dds_environment())
        self.client = Client(NAMESPACE)
        self.memory = MemoryLog(self.node.pid)
        self._matcher = Matcher()
        self._log_read = 0
        self.sent: list[Sent] = []
        self.pairs: list[tuple[Sent, Hands]] = []
        self._unmatched: list[Sent] = []
        self._counts: dict[str, int] = {}

    def __enter__(self) -> Soak:
        return self

    def __exit__(self, *_: object) -> None:
        self.memory.stop()
        self.client.close()
        self.node.stop()

    def wait_for_start(self) -> None:
        """Until the node is active. Raises NoAnswer."""

        def started() -> bool:
            if self.node.returncode is not None:
                raise NoAnswer(f"the node {self.node.ending}: {self.node.last_line()}")
            return self.client.values.get("state") == "active"

        self.client.wait(started, "active node", 120.0)

    @contextlib.contextmanager
    def camera(self, rate: float, **options: Any) -> Iterator[Camera]:
        """A camera; what it has sent is in :attr:`sent` after the ``with`` block."""
        camera = Camera(self.folder, self.clip, NAMESPACE, rate=rate, seed=int(self.rng.integers(2**31)), **options)
        try:
            yield camera
        finally:
            sent = camera.end()
            self.sent += sent
            self._unmatched += sent

    def play(self, seconds: float, rate: float = STEADY_RATE, **options: Any) -> None:
        """Play images for a time, counted from the first one. Raises NoAnswer where the node does not subscribe."""
        with self.camera(rate, **options) as camera:
            self.client.wait(camera.sent, "first image of the camera", 60.0)
            time.sleep(seconds)

    def begin(self) -> None:
        """Forget what was sent, received and counted so far."""
        self._counts = self.client.counts()
        self._collect()
        self.sent, self.pairs = [], []

    def finish(self, outcome: Outcome) -> None:
        """Fill in what was sent, received and counted since :meth:`begin`, and what is wrong with it."""
        counts = self.client.counts()
        self._collect()
        for name, value in counts.items():
            setattr(outcome, name, value - self._counts[name])
        outcome.sent, outcome.hands = len(self.sent), len(self.pairs)
        outcome.wrong = sum(bool(image.refused) for image in self.sent)
        stamps = [image.stamp for image in self.sent]
        unique = {stamp for stamp in stamps if stamp} if len(set(stamps)) == len(stamps) else set(_once(stamps))
        outcome.p95 = percentile95(latencies(pair for pair in self.pairs if pair[0].stamp in unique))
        outcome.faults += self._matcher.faults
        self._matcher.faults = []

    def _collect(self) -> None:
        """Match the hands that have come with the images that were sent."""
        hands = self.client.hands
        self.client.clear()
        self.pairs += self._matcher.match(self._unmatched, hands)
        self._unmatched = []

    def recover(self, seconds: float, outcome: Outcome, p95_limit: float) -> None:
        """Play images without faults, and check that the hands in them are found as ever and in time."""
        self.begin()
        self.play(seconds)
        after = Outcome("")
        self.finish(after)
        outcome.faults += after.faults
        late = [pair for pair in self.pairs if pair[0].wall > self.sent[0].wall + 1_000_000_000 * min(2.0, seconds / 2)]
        outcome.after, outcome.wrist = percentile95(latencies(late)), wrist_error(late, self._truth)
        tracked = np.mean([message.tracked for _, message in late]) if late else 0.0
        if tracked < 0.8:
            outcome.faults.append(f"afterwards {tracked:.0%} of the hands are tracked, expected 80 %")
        if not outcome.wrist < 0.06:
            outcome.faults.append(f"afterwards the wrists are wrong by {1e3 * outcome.wrist:.0f} mm, expected 60")
        if not outcome.after <= p95_limit:
            outcome.faults.append(
                f"afterwards the 95th percentile of latency is {1e3 * outcome.after:.0f} ms, expected at most"
                f" {1e3 * p95_limit:.0f}"
            )

    def check_process(self, outcome: Outcome, expected: str = "") -> None:
        """Whether the node runs and its log, since the last call, has nothing that it must not have."""
        if self.node.returncode is not None:
            outcome.faults.append(f"the node {self.node.ending}")
        text = self.node.text()
        outcome.faults += log_faults(text[self._log_read :], expected)
        self._log_read = len(text)
        if time.monotonic() - self.client.diagnosed > 15.0:
            raise NoAnswer("no diagnostics for 15 s")


def _once(values: list[int]) -> list[int]:
    """Those that occur once, without zero."""
    found, numbers = np.unique(np.array(values), return_counts=True)
    return [int(value) for value in found[(numbers == 1) & (found != 0)]]
