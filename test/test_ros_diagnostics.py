"""The accounts of the node: problems logged once, counters, the mailbox, rates."""

from __future__ import annotations

import dataclasses
import threading
import time

import pytest
from ros_support import estimate_of

from hand_recon_ros.conversions.mailbox import Mailbox
from hand_recon_ros.conversions.problems import Problems
from hand_recon_ros.ros.diagnostics import Counters, build_status
from hand_recon_ros.types import TwoHandEstimate


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def estimate_taking(seconds: float) -> TwoHandEstimate:
    return dataclasses.replace(estimate_of(), timings={"total": seconds})


def test_a_problem_is_logged_once_until_it_was_solved_for_a_while() -> None:
    logged: list[str] = []
    clock = Clock()
    problems = Problems(logged.append, logged.append, clock, rearm_after=2.0)
    for _ in range(5):
        problems.report("input.step", "a")
    problems.report("input.data", "b")
    assert logged == ["a", "b"]
    assert problems.active() == ["a", "b"]

    problems.solved("input")
    assert problems.active() == []
    clock.now += 1.0
    problems.report("input.step", "a")  # every second image is bad: not logged again
    assert logged == ["a", "b"]
    assert problems.active() == ["a"]

    problems.solved("input")
    clock.now += 2.0
    problems.solved("input")  # the time counts from the first call
    problems.report("input.step", "a again")
    assert logged == ["a", "b", "a again"]


def test_only_the_named_problems_are_solved() -> None:
    problems = Problems(lambda text: None, lambda text: None)
    for key in ("input.step", "inputs", "stamp.back"):
        problems.report(key, key)
    problems.solved("input", "stamp.back")
    assert problems.active() == ["inputs"]


def test_counters_report_rates_and_percentiles_since_the_last_report() -> None:
    clock = Clock()
    counters = Counters(clock)
    for i in range(20):
        counters.receive()
        if i % 2:
            counters.add(estimate_taking(0.005), latency=0.010 + 0.001 * i)
    clock.now += 2.0
    report = counters.report()
    assert (report.received_rate, report.processed_rate) == (10.0, 5.0)
    assert report.latency_p50 == pytest.approx(0.020)
    assert report.inference_p50 == pytest.approx(0.005)
    clock.now += 1.0
    empty = counters.report()
    assert (empty.received_rate, empty.received, empty.processed) == (0.0, 20, 10)
    assert empty.latency_p50 != empty.latency_p50


def test_status_levels_and_values() -> None:
    pytest.importorskip("diagnostic_msgs")
    clock = Clock()
    counters = Counters(clock)
    for _ in range(30):
        counters.receive()
    counters.add(estimate_of(right=False), latency=0.012)
    clock.now += 1.0
    report = counters.report()

    message = build_status("n", "/image", "active", report, dropped=4)
    values = {pair.key: pair.value for pair in message.values}
    assert (message.level, message.hardware_id) == (b"\0", "/image")
    assert values["images received per second"] == "30.0"
    assert values["images dropped"] == "4"
    assert values["latency p50 (ms)"] == "12.0"
    assert (values["left hand"], values["right hand"], values["calibrated"]) == ("tracked", "lost", "true")

    assert build_status("n", "/image", "active", report, 0, warnings=["bad step"]).level == b"\1"
    assert build_status("n", "/image", "unconfigured", report, 0, errors=["no model"]).level == b"\2"
    assert build_status("n", "/image", "inactive", report, 0).message == "inactive"
    clock.now += 1.0
    silent = build_status("n", "/image", "active", counters.report(), 0)
    assert (silent.level, silent.message) == (b"\1", "no images on /image")


def test_the_newest_item_wins_and_the_others_are_counted() -> None:
    box: Mailbox[int] = Mailbox()
    for item in range(5):
        box.put(item)
    assert box.take() == 4
    assert box.dropped == 4
    assert box.take(timeout=0.01) is None
    box.put(5)
    box.clear()
    assert box.take(timeout=0.01) is None
    assert box.dropped == 4


def test_closing_wakes_whoever_waits_and_opening_starts_again() -> None:
    box: Mailbox[int] = Mailbox()
    got: list[int | None] = []
    thread = threading.Thread(target=lambda: got.append(box.take()))
    thread.start()
    time.sleep(0.02)
    box.close()
    thread.join(2.0)
    assert got == [None]
    box.put(1)
    box.open()
    assert box.take(timeout=0.0) is None
    box.put(2)
    assert box.take() == 2
    assert box.dropped == 0


def test_nothing_is_lost_between_threads() -> None:
    box: Mailbox[int] = Mailbox()
    taken: list[int] = []

    def take() -> None:
        while (item := box.take()) is not None:
            taken.append(item)

    thread = threading.Thread(target=take)
    thread.start()
    for item in range(1, 2001):
        box.put(item)
    while taken[-1:] != [2000]:
        time.sleep(0.001)
    box.close()
    thread.join(2.0)
    assert taken == sorted(taken)
    assert len(taken) + box.dropped == 2000


def test_a_rate_limit_keeps_the_mean_rate() -> None:
    pytest.importorskip("rclpy")
    pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
    from hand_recon_ros.ros.drawings import RateLimit

    clock = Clock()
    limit = RateLimit(clock)
    passed = 0
    for _ in range(300):  # 30 Hz for 10 s
        passed += limit.due(20.0)
        clock.now += 1 / 30
    assert 198 <= passed <= 202
    assert limit.due(1000.0)


def test_a_rate_limit_has_no_bursts_and_follows_its_rate() -> None:
    pytest.importorskip("rclpy")
    pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
    from hand_recon_ros.ros.drawings import RateLimit

    clock = Clock()
    limit = RateLimit(clock)
    assert [limit.due(0.1), limit.due(0.1)] == [True, False]
    clock.now += 100.0
    assert [limit.due(0.1), limit.due(0.1)] == [True, False], "nor after a pause"
    clock.now += 0.1
    assert [limit.due(0.1), limit.due(20.0)] == [False, True], "a new rate counts at once"
