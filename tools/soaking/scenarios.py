"""What is done to the node: each scenario runs for a time, and raises or records what it should not have done."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hand_recon_ros.config import Setting
from hand_recon_ros.ros.demo.processes import Process, dds_environment
from hand_recon_ros.ros.parameters import table

from .checks import log_faults
from .client import NoAnswer
from .soak import NAMESPACE, NODE, STEADY_RATE, TOOL, Camera, Outcome, Soak

LEASE = 20.0
"""After this time without a sign of life Fast DDS takes a participant for lost, seconds."""
_SILENCE = 7.0
"""After this time without images the last word has come, seconds."""


def steady(soak: Soak, seconds: float, outcome: Outcome) -> None:
    """Images without faults."""
    soak.play(seconds)
    outcome.what = f"{STEADY_RATE:g} images/s"


def publisher_killed(soak: Soak, seconds: float, outcome: Outcome) -> None:
    """The camera's process is killed, and another one starts."""
    end, kills = time.monotonic() + seconds, 0
    while time.monotonic() < end or not kills:
        with soak.camera(STEADY_RATE) as camera:
            soak.client.wait(camera.sent, "first image of the camera", 60.0)
            time.sleep(soak.rng.uniform(1.0, 3.0))
            camera.signal(signal.SIGKILL)
            kills += 1
            time.sleep(_SILENCE if kills == 1 else soak.rng.uniform(0.0, 2.0))
        if kills == 1:
            _check_lost(soak, outcome)
    outcome.what = f"{kills} times"


def _check_lost(soak: Soak, outcome: Outcome) -> None:
    """Both hands have to be LOST where no image came for a while."""
    if not soak.client.hands or any(soak.client.hands[-1].found):
        outcome.faults.append("without images the hands are not LOST")


def participant_lost(soak: Soak, seconds: float, outcome: Outcome) -> None:
    """The camera's process stands still until its DDS participant is taken for lost, and goes on."""
    with soak.camera(STEADY_RATE) as camera:
        soak.client.wait(camera.sent, "first image of the camera", 60.0)
        time.sleep(2.0)
        camera.signal(signal.SIGSTOP)
        try:
            time.sleep(max(LEASE + 5.0, seconds - 10.0))
            _check_lost(soak, outcome)
        finally:
            camera.signal(signal.SIGCONT)
        count = len(soak.client.hands)
        soak.client.wait(lambda: len(soak.client.hands) > count, "hands of the camera that is back", 30.0)
        time.sleep(2.0)
    outcome.what = f"silent for {max(LEASE + 5.0, seconds - 10.0):.0f} s"


def bad_input(soak: Soak, seconds: float, outcome: Outcome) -> None:
    """Every second image, or its camera_info, has a fault of :data:`faults.FAULTS`."""
    soak.play(seconds, rate=7.0, faults=1)
    kinds = {image.fault for image in soak.sent if image.fault}
    outcome.what = f"{len(kinds)} kinds of faults"


def parameters(soak: Soak, seconds: float, outcome: Outcome) -> None:
    """Parameters are set to random values, right and wrong ones, while images come."""
    entries, names = table(), list(table())
    accepted = refused = 0
    with soak.camera(STEADY_RATE):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            name = str(soak.rng.choice(names))
            entry, default = entries[name]
            right = entry.live and soak.rng.random() < 0.6
            value = _right(soak.rng, entry, default) if right else _wrong(soak.rng, entry, default)
            atomically = bool(soak.rng.integers(2))
            (result,) = soak.client.set_parameters({name: value}, atomically)
            if result.successful != right:
                why = f"refused: {result.reason}" if right else "accepted"
                outcome.faults.append(f"parameter {name} = {value!r} was {why}")
            elif right and soak.client.parameter(name) != value:
                outcome.faults.append(f"parameter {name} is {soak.client.parameter(name)!r} after {value!r} was set")
            elif not right and not result.reason:
                outcome.faults.append(f"parameter {name} = {value!r} was refused without a reason")
            accepted, refused = accepted + right, refused + (not right)
            time.sleep(soak.rng.uniform(0.0, 0.3))
        live = {name: default for name, (entry, default) in entries.items() if entry.live}
        for name, result in zip(live, soak.client.set_parameters(live), strict=True):
            if not result.successful:
                outcome.faults.append(f"parameter {name} cannot be set to its default: {result.reason}")
    outcome.what = f"{accepted} right values, {refused} wrong ones"


def _right(rng: np.random.Generator, entry: Setting, default: Any) -> Any:
    """A value that a live parameter has to take."""
    if isinstance(default, bool):
        return bool(rng.integers(2))
    if entry.choices:
        return str(rng.choice(entry.choices))
    if isinstance(default, str):  # the only one is tf_prefix
        return f"human_{rng.integers(100)}_"
    assert entry.low is not None and entry.high is not None
    if isinstance(default, int):
        return int(rng.integers(entry.low, entry.high + 1))
    value = float(rng.choice([entry.low, entry.high, rng.uniform(entry.low, entry.high)]))
    return 0.0 if entry.unit == "deg" and value < 1.0 else value


def _wrong(rng: np.random.Generator, entry: Setting, default: Any) -> Any:
    """A value that a parameter has to refuse; whatever it is, one that is not live does."""
    others: list[Any] = [[1.0, 2.0], ["a"], [True], [b"\1"]]
    if not isinstance(default, str):
        others += ["text", "", "nan"]
    if isinstance(default, float):
        others += [float("nan"), float("inf"), -1e300]
    if isinstance(default, bool):
        others += [1.5]
    if entry.choices or isinstance(default, int | float):
        others += [-(2**62), 2**62, -1.5] if not isinstance(default, bool) else [7]
    if isinstance(default, str):
        others += ["no such choice", "a b\n", "\u00e9"]
    return others[int(rng.integers(len(others)))]


_TRANSITIONS = {
    "configure": (1, "unconfigured", "inactive"),
    "cleanup": (2, "inactive", "unconfigured"),
    "activate": (3, "inactive", "active"),
    "deactivate": (4, "active", "inactive"),
}
"""Its id, from which state it is possible, and to which it leads."""


def lifecycle(soak: Soak, seconds: float, outcome: Outcome) -> None:
    """Transitions in random order, possible and impossible ones, pauses and resets, while images come."""
    from std_srvs.srv import SetBool, Trigger

    state, done, impossible = "active", 0, 0
    with soak.camera(STEADY_RATE):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            # Mostly towards the state in which images come.
            ahead = {"unconfigured": "configure", "inactive": "activate"}.get(state, "enable")
            others = [*_TRANSITIONS, "pause", "reset"]
            choice = str(soak.rng.choice(others)) if soak.rng.random() < 0.5 else ahead
            if choice in _TRANSITIONS:
                number, possible_from, to = _TRANSITIONS[choice]
                possible = state == possible_from
                if soak.client.change_state(number) != possible:
                    outcome.faults.append(f"{choice} from {state} has {'failed' if possible else 'been made'}")
                state = to if possible else state
                if soak.client.state() != state:
                    outcome.faults.append(f"{soak.client.state()} after {choice}, expected {state}")
                    state = soak.client.state()
                done, impossible = done + possible, impossible + (not possible)
            else:
                kind, name = (Trigger, "reset_tracking") if choice == "reset" else (SetBool, "set_enabled")
                request = kind.Request() if choice == "reset" else kind.Request(data=choice == "enable")
                if soak.client.call(kind, name, request).success != (state == "active"):
                    outcome.faults.append(f"{choice} of a node that is {state} has the wrong answer")
            time.sleep(soak.rng.uniform(0.0, 1.0 if state == "active" else 0.1))
        for choice in {"unconfigured": ["configure", "activate"], "inactive": ["activate"]}.get(state, []):
            soak.client.change_state(_TRANSITIONS[choice][0])
        soak.client.call(SetBool, "set_enabled", SetBool.Request(data=True))
    outcome.what = f"{done} transitions, {impossible} impossible ones"


def flood(soak: Soak, seconds: float, outcome: Outcome) -> None:
    """200 images a second, of half the size."""
    soak.play(seconds, rate=200.0, scale=0.5)
    walls = [image.wall for image in soak.sent]
    outcome.what = f"{1e9 * len(walls) / max(walls[-1] - walls[0], 1):.0f} images/s"


def stamps_jump(soak: Soak, seconds: float, outcome: Outcome) -> None:
    """The stamps of the images jump, are zero, and stand still."""
    soak.play(seconds, stamps="jumps")
    jumps = sum(abs(b.stamp - a.stamp) > 10**9 for a, b in zip(soak.sent, soak.sent[1:], strict=False))
    outcome.what = f"{jumps} jumps"


def clock_jumps(soak: Soak, seconds: float, outcome: Outcome) -> None:
    """Simulated time, whose clock jumps with the stamps of the images."""
    _set_simulated(soak, True)
    try:
        soak.play(seconds, stamps="simulated")
    finally:
        _set_simulated(soak, False)
    jumps = sum(abs(b.stamp - a.stamp) > 10**9 for a, b in zip(soak.sent, soak.sent[1:], strict=False))
    outcome.what = f"{jumps} jumps"


def _set_simulated(soak: Soak, value: bool) -> None:
    (result,) = soak.client.set_parameters({"use_sim_time": value})
    if not result.successful:
        raise NoAnswer(f"the node does not set use_sim_time: {result.reason}")


@contextlib.contextmanager
def _subscriber(kind: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that subscribes to much of what the node publishes, see :func:`subscribe`."""
    process = subprocess.Popen(
        [sys.executable, str(TOOL), "--subscribe", kind, "--namespace", NAMESPACE],
        env=dds_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()


def subscribe(kind: str, namespace: str) -> None:
    """Subscribe reliably, keeping all messages, and never read (``silent``), or read until the process is stopped."""
    import rclpy
    from hand_recon_ros.msg import TwoHandMeshes, TwoHands
    from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image
    from visualization_msgs.msg import MarkerArray

    rclpy.init()
    node = rclpy.create_node(f"subscriber_{os.getpid()}", namespace=namespace)
    qos = QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)
    for message, topic in (
        (TwoHands, "hands"),
        (TwoHandMeshes, "meshes"),
        (MarkerArray, "markers"),
        (Image, "debug_image"),
    ):
        node.create_subscription(message, f"hand_recon/{topic}", lambda _: None, qos, raw=True)
    print("subscribed", flush=True)
    while rclpy.ok():
        if kind == "silent":
            time.sleep(1.0)
        else:
            rclpy.spin_once(node, timeout_sec=0.2)


def silent_subscribers(soak: Soak, seconds: float, outcome: Outcome) -> None:
    """One subscriber never reads, another one stands still after a while; both are reliable, and are killed."""
    with _subscriber("silent"), _subscriber("reading") as other:
        with soak.camera(STEADY_RATE) as camera:
            soak.client.wait(camera.sent, "first image of the camera", 60.0)
            time.sleep(min(5.0, seconds / 3))
            other.send_signal(signal.SIGSTOP)
            time.sleep(seconds - min(5.0, seconds / 3))
    outcome.what = "~/hands, ~/meshes, ~/markers, ~/debug_image"


_ENDINGS = (
    (signal.SIGINT,), (signal.SIGTERM,), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT),
    (signal.SIGTERM, signal.SIGTERM),
)  # fmt: skip
_END_LIMIT = 60.0
"""Of an end while networks are loaded, which are loaded to the end, on a busy machine, seconds."""


def starts_and_stops(soak: Soak, seconds: float, outcome: Outcome) -> None:
    """Nodes beside the one under test are started, get images, and are ended by signals at random moments."""
    end, number, early = time.monotonic() + seconds, 0, 0
    namespace = f"{NAMESPACE}/other"
    with Camera(soak.folder, soak.clip, namespace, rate=STEADY_RATE, seed=0, always=1):
        while time.monotonic() < end or not number:
            number += 1
            with Process("other", NODE, {}, soak.folder, namespace, dds_environment()) as node:
                # Every second one is ended on its way to be active.
                if number % 2:
                    time.sleep(soak.rng.uniform(0.0, 6.0))
                else:
                    soak.client.wait(lambda text=node.text: "active: images" in text(), "start", 60.0)  # type: ignore[misc]
                    time.sleep(soak.rng.uniform(0.0, 2.0))
                early += "active: images" not in node.text()
                signals = _ENDINGS[int(soak.rng.integers(len(_ENDINGS)))]
                for each in signals:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(node.pid, each)
                    time.sleep(soak.rng.uniform(0.0, 0.2))
                _check_end(node, signals, outcome)
    outcome.what = f"{number} starts, {early} ended before they were active"


def _check_end(node: Process, signals: tuple[signal.Signals, ...], outcome: Outcome) -> None:
    name = "+".join(each.name for each in signals)
    end = time.monotonic() + _END_LIMIT
    while node.returncode is None and time.monotonic() < end:
        time.sleep(0.02)
    if node.returncode is None:
        outcome.faults.append(f"after {name} the node has not ended within {_END_LIMIT:.0f} s: {node.last_line()}")
    # Before the node's first line a signal ends it in the way of every Python program.
    elif "hand_recon]: " in node.text():
        if node.returncode:
            outcome.faults.append(f"after {name} the node {node.ending}: {node.last_line()}")
        outcome.faults += log_faults(node.text())


Run = Callable[[Soak, float, Outcome], None]

SCENARIOS: dict[str, tuple[Run, float]] = {
    "steady, before": (steady, 45.0),
    "publisher killed": (publisher_killed, 40.0),
    "participant lost": (participant_lost, 35.0),
    "bad input": (bad_input, 75.0),
    "parameters": (parameters, 60.0),
    "lifecycle": (lifecycle, 60.0),
    "flood": (flood, 45.0),
    "stamps jump": (stamps_jump, 45.0),
    "clock jumps": (clock_jumps, 45.0),
    "silent subscribers": (silent_subscribers, 45.0),
    "starts and stops": (starts_and_stops, 120.0),
    "steady, after": (steady, 75.0),
}
"""Each by its name, with its share of a round in seconds, in order."""

EXPECTED_ERRORS = {"lifecycle": "Unable to start transition"}
"""Patterns of log lines of level ERROR that a scenario has to cause."""
