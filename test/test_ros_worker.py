"""The worker thread by itself: when tracking starts again, bad hands, exceptions, hanging and ending."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")

from ros_support import K, ScriptedReconstructor, camera_info, estimate_of, image_message  # noqa: E402

from hand_recon_ros.conversions.problems import Problems  # noqa: E402
from hand_recon_ros.conversions.stream import InputFrame  # noqa: E402
from hand_recon_ros.ros.diagnostics import STALL_AFTER, Counters  # noqa: E402
from hand_recon_ros.ros.inputs import Inputs  # noqa: E402
from hand_recon_ros.ros.parameters import Parameters, snapshot  # noqa: E402
from hand_recon_ros.ros.worker import Worker  # noqa: E402
from hand_recon_ros.types import HandState, TwoHandEstimate  # noqa: E402

START = 1000.0


class RecordedOutputs:
    """Takes the place of the publishers."""

    alive = True

    def __init__(self) -> None:
        self.published: list[tuple[InputFrame, TwoHandEstimate]] = []
        self.lost: list[Any] = []
        self.error: Exception | None = None

    def publish(
        self, frame: InputFrame, estimate: TwoHandEstimate, dropped: int, config: Any
    ) -> tuple[TwoHandEstimate, float]:
        if self.error is not None:
            raise self.error
        self.published.append((frame, estimate))
        return estimate, 0.01

    def publish_lost(self, header: Any, dropped: int) -> None:
        self.lost.append(header)


class Bench:
    """A worker on a scripted reconstructor, with a clock that the test sets."""

    def __init__(self) -> None:
        self.now = START
        self.warnings: list[str] = []
        self.errors: list[str] = []
        self.problems = Problems(self.warnings.append, self.errors.append)
        self.counters = Counters()
        self.inputs = Inputs("/image", "/camera_info", "/depth", lambda: self.now, self.problems)
        self.outputs = RecordedOutputs()
        self.reconstructor = ScriptedReconstructor()
        self.parameters: Parameters = snapshot({})
        self.worker = Worker(
            self.reconstructor, self.inputs, self.outputs, lambda: self.parameters, self.problems, self.counters
        )
        self.inputs.open()
        self.inputs.add_camera_info(camera_info())

    def send(self, stamp: float | None = None, **fields: Any) -> None:
        message = image_message(**fields)
        nanoseconds = round((self.now if stamp is None else stamp) * 1e9)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(nanoseconds, 1_000_000_000)
        self.counters.receive()
        self.inputs.add_image(message)

    def process(self, stamp: float | None = None, **fields: Any) -> None:
        """Send an image 33 ms after the last one, and wait for its end."""
        self.now += 0.033
        done = self.counters.processed + self.counters.refused
        self.send(stamp, **fields)
        wait(lambda: self.counters.processed + self.counters.refused > done)

    @property
    def times(self) -> list[float]:
        """The stamps that the reconstructor got."""
        return [stamp for _, _, stamp in self.reconstructor.calls]


def wait(condition: Callable[[], Any], timeout: float = 10.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    made.worker.start()
    yield made
    made.worker.stop()


def test_a_focal_length_that_varies_does_not_reset_tracking(bench: Bench) -> None:
    factors = 1.0 + 0.002 * np.sin(np.arange(60))
    for factor in factors:
        bench.inputs.add_camera_info(camera_info(k=(K * [[factor], [factor], [1.0]]).reshape(-1)))
        bench.process()
    used = [camera.K[0, 0] for _, camera, _ in bench.reconstructor.calls]
    np.testing.assert_allclose(used, K[0, 0] * factors)
    assert bench.reconstructor.resets == 0
    assert bench.warnings == bench.errors == []


def test_another_frame_id_resets_tracking_once(bench: Bench) -> None:
    for frame_id in ("left", "left", "right", "right"):
        bench.process(frame_id=frame_id)
    assert bench.reconstructor.resets == 1


def test_stamps_of_zero_leave_the_arrival_times_to_tracking(bench: Bench) -> None:
    for _ in range(10):
        bench.process(stamp=0.0)
    np.testing.assert_allclose(bench.times, START + 0.033 * np.arange(1, 11), atol=1e-6)
    assert not any(frame.latency_known for frame, _ in bench.outputs.published)
    assert {frame.header.stamp.sec for frame, _ in bench.outputs.published} == {0}, "outputs have the image's stamp"
    (text,) = bench.warnings
    assert text.startswith("/image: the stamp is zero: arrival times are used instead")
    assert bench.reconstructor.resets == 0


def test_stamps_that_do_not_advance_leave_the_arrival_times_to_tracking(bench: Bench) -> None:
    for _ in range(10):
        bench.process(stamp=START)
    np.testing.assert_allclose(np.diff(bench.times)[1:], 0.033, atol=1e-6)
    assert [frame.latency_known for frame, _ in bench.outputs.published] == [True] + [False] * 9
    (text,) = bench.warnings
    assert "the stamp does not advance (1000.000 s again)" in text
    assert bench.reconstructor.resets == 0


def test_images_of_zero_stamp_are_as_old_as_their_arrival(bench: Bench) -> None:
    bench.parameters = snapshot({"max_image_age": 0.5})
    bench.process(stamp=0.0)
    assert (bench.counters.processed, bench.counters.refused) == (1, 0)
    bench.process(stamp=START - 10.0)
    assert (bench.counters.processed, bench.counters.refused) == (1, 1)


@pytest.mark.parametrize(
    ("broken", "words"),
    [(np.nan, "holds values that are not finite"), (0.0, "has no orientation")],
    ids=["NaN", "all keypoints in one place"],
)
def test_a_bad_hand_is_lost_and_the_other_one_stays(bench: Bench, broken: float, words: str) -> None:
    def one_bad(image: np.ndarray, camera: object, stamp: float) -> TwoHandEstimate:
        estimate = estimate_of(stamp=stamp)
        bad = dataclasses.replace(estimate.left, joints=np.full((21, 3), broken))
        return dataclasses.replace(estimate, left=bad)

    bench.reconstructor.estimate = one_bad
    for _ in range(3):
        bench.process()
    states = [(estimate.left.state, estimate.right.state) for _, estimate in bench.outputs.published]
    assert states == [(HandState.LOST, HandState.TRACKED)] * 3
    assert bench.reconstructor.resets == 0
    (text,) = bench.warnings
    assert text.startswith(f"the estimate of the left hand {words}") and "please report this" in text


def test_an_exception_of_the_reconstruction_resets_it_and_one_of_publishing_does_not(bench: Bench) -> None:
    bench.outputs.error = RuntimeError("cannot serialise")
    bench.process()
    assert bench.reconstructor.resets == 0
    bench.outputs.error = None

    def fails(*_: Any) -> TwoHandEstimate:
        raise RuntimeError("no such luck")

    works, bench.reconstructor.estimate = bench.reconstructor.estimate, fails
    bench.process()
    assert bench.reconstructor.resets == 1
    bench.reconstructor.estimate = works
    bench.process()
    assert (bench.counters.processed, bench.counters.refused) == (1, 2)
    # The same kind of exception at another place is another fault.
    assert [words in text for words, text in zip(("serialise", "luck"), bench.errors, strict=True)] == [True, True]
    assert bench.problems.active() == []


def test_what_is_left_for_after_an_image_is_done_once_it_is_published(bench: Bench) -> None:
    published: list[int] = []
    finish = bench.reconstructor.finish_image

    def finish_image(hurried: bool = False) -> None:
        published.append(len(bench.outputs.published))
        finish(hurried)

    bench.reconstructor.finish_image = finish_image  # type: ignore[method-assign]
    bench.process()
    wait(lambda: published == [1])
    # The second image waits while the first one is in work, and is the last.
    entered, goes_on = threading.Event(), threading.Event()
    works = bench.reconstructor.estimate

    def waits(*arguments: Any) -> TwoHandEstimate:
        entered.set()
        goes_on.wait(10.0)
        return works(*arguments)

    bench.reconstructor.estimate = waits
    bench.send(bench.now + 0.033)
    assert entered.wait(10.0)
    bench.send(bench.now + 0.066)
    goes_on.set()
    wait(lambda: published == [1, 2, 3])
    assert bench.reconstructor.finished == [False, True, False]


def test_an_exception_after_an_image_is_reported_and_resets_the_reconstruction(bench: Bench) -> None:
    def fails(hurried: bool = False) -> None:
        raise RuntimeError("no such luck")

    bench.reconstructor.finish_image = fails  # type: ignore[method-assign]
    for _ in range(3):
        bench.process()
    wait(lambda: bench.reconstructor.resets == 3)
    assert (bench.counters.processed, bench.counters.refused) == (3, 0)
    (text,) = bench.errors
    assert "no such luck" in text
    assert len(bench.problems.active()) == 1


class Hanging:
    """A reconstruction that takes until it is released."""

    def __init__(self, bench: Bench) -> None:
        self.released, self.entered = threading.Event(), threading.Event()
        self._works = bench.reconstructor.estimate
        bench.reconstructor.estimate = self

    def __call__(self, *arguments: Any) -> TwoHandEstimate:
        self.entered.set()
        self.released.wait(30.0)
        return self._works(*arguments)


@pytest.fixture
def hanging(bench: Bench) -> Iterator[Hanging]:
    hangs = Hanging(bench)
    yield hangs
    hangs.released.set()


def test_a_worker_that_hangs_is_reported(bench: Bench, hanging: Hanging) -> None:
    bench.send()
    assert hanging.entered.wait(5.0)
    bench.worker.check()
    assert bench.errors == []
    time.sleep(STALL_AFTER + 0.1)
    bench.worker.check()
    bench.worker.check()
    (text,) = bench.errors
    assert text.startswith("the image in work has taken 2 s so far") and "restart the node" in text
    assert bench.counters.report().unprocessed_for >= STALL_AFTER
    hanging.released.set()
    wait(lambda: bench.counters.processed == 1)
    bench.worker.check()
    assert bench.problems.active() == []
    assert bench.counters.report().unprocessed_for == 0.0


def test_nothing_waits_for_a_worker_that_hangs(bench: Bench, hanging: Hanging) -> None:
    bench.send()
    assert hanging.entered.wait(5.0)
    assert not bench.worker.reset_tracking(timeout=0.1)
    assert bench.reconstructor.resets == 0, "the reconstructor is used by one thread at a time"
    assert not bench.worker.stop(timeout=0.1)
    (text,) = bench.errors
    assert text.startswith("the worker has not ended within 0.1 s") and "restart" in text
    hanging.released.set()
    wait(lambda: not bench.worker.alive)
    assert bench.outputs.published == [], "what is done after the stop is not published"


def test_a_reset_that_had_to_wait_is_done_after_the_image(bench: Bench, hanging: Hanging) -> None:
    bench.send()
    assert hanging.entered.wait(5.0)
    assert not bench.worker.pause()
    hanging.released.set()
    wait(lambda: bench.reconstructor.resets == 1)
    assert bench.counters.states == (HandState.LOST, HandState.LOST)
    assert bench.worker.reset_tracking()
    assert bench.reconstructor.resets == 2


def test_a_worker_that_ends_is_reported_at_once(bench: Bench) -> None:
    def ends(*_: Any) -> TwoHandEstimate:
        raise SystemExit("out of luck")

    bench.reconstructor.estimate = ends
    bench.send()
    wait(lambda: bench.errors)
    (text,) = bench.errors
    assert text.startswith("the worker thread has ended (SystemExit: out of luck") and "activate the node" in text
    wait(lambda: not bench.worker.alive)
    bench.worker.check()
    assert len(bench.errors) == 1 and bench.problems.active(error=True) == [text]
    assert bench.worker.stop()
