"""Hands followed in the image: motion, jitter, and two tracks on one hand."""

from __future__ import annotations

import numpy as np
import pytest
from test_handedness import OPEN_HAND, hand

from hand_recon_ros.track.image_track import ImageTrack, worse_duplicate

RATES = pytest.mark.parametrize("rate", [15.0, 30.0, 60.0])


@RATES
def test_the_search_box_moves_ahead_at_constant_velocity(rate):
    track, step = ImageTrack(hand(OPEN_HAND * 100), 2.0, time=0.0), 1.0 / rate
    size = track.predicted_roi(step).size
    track.follow(hand(OPEN_HAND * 100 + [300.0 * step, 0]), 0.9, step)
    np.testing.assert_allclose(track.velocity, [300.0, 0.0])
    lead = np.array(track.predicted_roi(2 * step).center) - np.array(track.hand.next_roi.center)
    np.testing.assert_allclose(lead, [300.0 * step, 0], atol=1e-9)
    # After a pause it goes on for longer, but not farther than a hand that turns back would allow.
    lead = np.array(track.predicted_roi(10.0).center) - np.array(track.hand.next_roi.center)
    np.testing.assert_allclose(lead, [0.3 * track.hand.size, 0], atol=1e-6)
    assert track.predicted_roi(2 * step).size == pytest.approx(size)


def test_steady_motion_is_no_jitter_whatever_the_intervals():
    track, time = ImageTrack(hand(OPEN_HAND * 100), 2.0, time=0.0), 0.0
    for step in (0.03, 0.04, 0.02, 0.033, 0.1, 0.033):
        time += step
        track.follow(hand(OPEN_HAND * 100 + np.array([210.0, -90.0]) * time), 0.9, time)
    assert np.sqrt(track.jitter).max() < 1e-9


@RATES
def test_jitter_is_the_deviation_of_each_keypoint(rate):
    rng = np.random.default_rng(0)
    shaking = ImageTrack(hand(OPEN_HAND * 100), 2.0, time=0.0)
    sigma = np.zeros((21, 1))
    sigma[8] = 3.0
    found = []
    for image in range(1, 600):
        shaking.follow(hand(OPEN_HAND * 100 + rng.normal(0, 1, (21, 2)) * sigma), 0.9, image / rate)
        if shaking.jitter is not None:
            found.append(np.sqrt(shaking.jitter) * shaking.hand.size)
    mean = np.mean(found, axis=0)
    assert mean[8] == pytest.approx(3 * np.sqrt(2), rel=0.25)
    assert np.delete(mean, 8).max() < 0.5


def test_of_two_tracks_on_one_hand_the_one_it_fits_less_ends():
    left = ImageTrack(hand(OPEN_HAND * [-100, 100], right=0.05), -4.0, time=0.0)
    right = ImageTrack(hand(OPEN_HAND * 100 + [60, 0], right=0.95), 4.0, time=0.0)
    seen = hand(OPEN_HAND * 100 + [58, 0])
    assert worse_duplicate([(left, seen, 0.95), (right, seen, 0.95)], 0.03) == 0
    assert worse_duplicate([(right, seen, 0.95), (left, seen, 0.95)], 0.03) == 1
    apart = hand(OPEN_HAND * [-100, 100])
    assert worse_duplicate([(left, apart, 0.05), (right, seen, 0.95)], 0.03) is None
    assert worse_duplicate([(left, seen, 0.05)], 0.03) is None
    # A finger that is followed as a hand, and a sure hand that is seen between the fingers of the other.
    for presence, worse in ((0.7, 0), (0.95, None)):
        finger = hand(OPEN_HAND * [-30, 30] + [58, -30], presence=presence, right=0.05)
        found = [(left, finger, 0.05), (right, seen, 0.95)]
        assert worse_duplicate(found, 0.03) == worse
        assert worse_duplicate(found[::-1], 0.03) == (None if worse is None else 1)
    assert worse_duplicate([], 0.03) is None
