"""Tracks: the clock, the view, identities, and the state of a hand."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from evidence import CAMERA, hand, observe

from hand_recon_ros import Camera, Frame, HandState, Side
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.track.hand_track import TrackState
from hand_recon_ros.track.search import Search
from hand_recon_ros.track.tracks import Tracks, same_view

IMAGE = np.zeros((480, 640, 3), dtype=np.uint8)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def frame(stamp: float, camera: Camera = CAMERA) -> Frame:
    return Frame(IMAGE, camera, stamp)


def test_time_advances_with_the_stamps() -> None:
    tracks = Tracks()
    times = []
    for stamp in (5.0, 5.1, 5.3):
        tracks.advance(frame(stamp))
        times.append(tracks.time)
    np.testing.assert_allclose(np.diff(times), [0.1, 0.2])
    assert tracks.step == pytest.approx(0.2)


def test_stamps_that_stand_still_are_reported_once_and_arrival_times_count(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    tracks = Tracks(clock=clock)
    times = []
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            tracks.advance(frame(0.0))
            tracks.update([observe(hand(4)[3], Side.RIGHT)])
            tracks.hands[Side.RIGHT].state.measured(tracks.time)
            times.append(tracks.time)
            clock.now += 0.04
    np.testing.assert_allclose(np.diff(times), 0.04)
    assert tracks.hands[Side.RIGHT].track_id == 1
    assert len(caplog.records) == 1 and "arrival times are used" in caplog.text


def test_an_earlier_stamp_forgets_the_hands_and_goes_on_with_the_ids() -> None:
    tracks = Tracks()
    for stamp, expected in ((5.0, 1), (5.1, 1), (4.0, 2)):
        tracks.advance(frame(stamp))
        tracks.update([observe(hand(4)[3], Side.RIGHT)])
        tracks.hands[Side.RIGHT].state.measured(tracks.time)
        assert tracks.hands[Side.RIGHT].track_id == expected
        assert (tracks.search == Search()) == (stamp != 5.1)
        tracks.search.next_turn(["palms"], tracks.time)
        tracks.search.saw_operator(RotatedBox((320.0, 240.0), 600.0), False, tracks.time)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (dict(), True),
        (dict(scale=1.005), True),
        (dict(scale=1.05), False),
        (dict(shift=3.0), True),
        (dict(shift=30.0), False),
        (dict(size=(320, 240)), False),
        (dict(model="plumb_bob"), False),
    ],
)
def test_one_view_or_another(change: dict, same: bool) -> None:
    K = CAMERA.K.copy()
    K[0, 0] *= change.get("scale", 1.0)
    K[0, 2] += change.get("shift", 0.0)
    width, height = change.get("size", (640, 480))
    other = Camera(K, width, height, distortion_model=change.get("model", "none"))
    assert same_view(CAMERA, other) is same and same_view(other, CAMERA) is same


def test_tracked_then_predicted_then_lost() -> None:
    state = TrackState()
    assert state.unseen(0.0, 0.15) == HandState.LOST
    state.measured(1.0)
    assert state.state == HandState.TRACKED
    states = [state.unseen(1.0 + t, 0.15) for t in (0.05, 0.1, 0.149, 0.2)]
    assert states == [HandState.PREDICTED] * 3 + [HandState.LOST]
    assert state.unseen(1.1, 0.15) == HandState.LOST  # only a measurement brings it back
