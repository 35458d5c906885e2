"""The time of images: their stamps, and arrival times where the stamps cannot be used."""

from __future__ import annotations

import numpy as np
import pytest

from hand_recon_ros.conversions.problems import Problems
from hand_recon_ros.conversions.stamps import ImageTime, StampClock

NOW = 1.8e9
PERIOD = 1 / 30


class Stream:
    """Images that arrive at 30 Hz, 10 ms before they are processed."""

    def __init__(self) -> None:
        self.logged: list[str] = []
        self.problems = Problems(self.logged.append, self.logged.append)
        self.clock = StampClock("/image", self.problems)
        self.arrival = NOW

    def image(self, stamp: float) -> ImageTime:
        self.arrival += PERIOD
        return self.clock.advance(stamp, self.arrival, self.arrival + 0.01)


@pytest.fixture
def stream() -> Stream:
    return Stream()


def test_stamps_are_the_time_where_they_advance(stream: Stream) -> None:
    stamps = [NOW + k * PERIOD for k in range(5)]
    times = [stream.image(stamp) for stamp in stamps]
    assert [t.time for t in times] == stamps
    assert all(t.continues and t.latency_known for t in times)
    assert stream.logged == []


@pytest.mark.parametrize("stamp", [0.0, 5.0, NOW])
def test_arrival_is_the_time_where_stamps_are_zero_or_do_not_advance(stream: Stream, stamp: float) -> None:
    times = [stream.image(stamp) for _ in range(20)]
    if stamp:  # the first one is known to be wrong with the second
        times = times[1:]
    np.testing.assert_allclose(np.diff([t.time for t in times]), PERIOD, atol=1e-6)
    assert all(t.continues and not t.latency_known for t in times)
    unusable = [text for text in stream.logged if "arrival times are used instead" in text]
    assert len(unusable) == 1 and unusable[0].startswith("/image: the stamp ")
    assert ("is zero" if stamp == 0.0 else "does not advance") in unusable[0]
    assert stream.problems.active() == unusable


def test_zero_stamps_have_the_time_of_arrival_itself(stream: Stream) -> None:
    assert [stream.image(0.0).time for _ in range(3)] == pytest.approx([NOW + k * PERIOD for k in (1, 2, 3)])


def test_a_repeated_stamp_in_a_good_stream_changes_little(stream: Stream) -> None:
    first, repeated, late, last = (stream.image(NOW + k * PERIOD) for k in (0, 0, 0.5, 2))
    assert repeated.time == pytest.approx(first.time + PERIOD)
    assert repeated.time < late.time < last.time == NOW + 2 * PERIOD
    assert all(t.continues for t in (repeated, late, last))
    assert (repeated.latency_known, late.latency_known) == (False, True)


@pytest.mark.parametrize(("offset", "continues"), [(-0.05, True), (-1e6, False)])
def test_stamps_take_over_from_arrival_times(stream: Stream, offset: float, continues: bool) -> None:
    zero = stream.image(0.0)
    stamped = [stream.image(NOW + offset + k * PERIOD) for k in range(1, 6)]
    assert stamped[0].continues == continues
    assert all(t.continues for t in stamped[1:])
    assert (stamped[0].time > zero.time) == continues
    assert np.all(np.diff([t.time for t in stamped]) > 0.0)
    assert stamped[-1].time == NOW + offset + 5 * PERIOD
    assert not [text for text in stream.logged if "jumps back" in text]


def test_stamps_that_jump_back_start_again(stream: Stream) -> None:
    times = [stream.image(NOW + stamp) for stamp in (5.0, 5.1, 1.0, 1.1)]
    assert [t.continues for t in times] == [True, True, False, True]
    assert [t.time for t in times[2:]] == [NOW + 1.0, NOW + 1.1]
    assert [text for text in stream.logged if "jumps back by 4.100 s" in text]


def test_stamps_of_a_recording_are_reported(stream: Stream) -> None:
    assert not stream.image(NOW - 1e8).latency_known
    assert stream.logged == [
        "/image: the stamp lies 100000000 s in the past: set use_sim_time for recordings, or synchronise the clocks of"
        " the camera and this machine (chrony, PTP)"
    ]


def test_simulated_time_that_has_not_started_is_reported(stream: Stream) -> None:
    time = stream.clock.advance(NOW, 0.0, 0.0)
    assert time.time == NOW and not time.latency_known
    (text,) = stream.logged
    assert "nothing has come on /clock" in text
