"""Left or right: gathering evidence, assigning slots, telling hands apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hand_recon_ros.detect import duplicates
from hand_recon_ros.detect import handedness as sides
from hand_recon_ros.detect.palm import PalmDetection
from hand_recon_ros.landmarks.landmarks import HandLandmarks
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.track import tracker
from hand_recon_ros.types import Side

EVIDENCE = st.floats(-20, 20)
CANDIDATES = st.lists(
    st.builds(sides.Candidate, EVIDENCE, st.floats(1, 500), st.floats(0.5, 1), st.sampled_from([None, *Side])),
    max_size=5,
)
# An open right hand, palm to the camera, in units of its length.
OPEN_HAND = np.array(
    [
        *((0.0, 0.0), (-0.2, -0.1), (-0.35, -0.22), (-0.45, -0.35), (-0.52, -0.45)),
        *((-0.15, -0.5), (-0.18, -0.7), (-0.2, -0.82), (-0.21, -0.92)),
        *((0.0, -0.52), (0.0, -0.75), (0.0, -0.88), (0.0, -1.0)),
        *((0.12, -0.48), (0.15, -0.68), (0.17, -0.8), (0.18, -0.9)),
        *((0.23, -0.42), (0.29, -0.56), (0.33, -0.65), (0.36, -0.73)),
    ]
)


def hand(keypoints: np.ndarray, presence: float = 0.99, right: float = 0.9) -> HandLandmarks:
    return HandLandmarks(keypoints, np.zeros(21), np.zeros((21, 3)), presence, right, RotatedBox((0, 0), 1))


def certain(right: float, size: float = 100.0, slot: Side | None = None) -> sides.Candidate:
    return sides.Candidate(sides.log_odds(right), size, 1.0, slot)


def test_evidence_gathers_and_fades():
    evidence = sides.log_odds(0.9)
    assert sides.probability(evidence, Side.RIGHT) == pytest.approx(0.9)
    assert sides.probability(evidence, Side.LEFT) == pytest.approx(0.1)
    for _ in range(30):
        evidence = sides.updated(evidence, 0.97)
    assert sides.probability(evidence, Side.RIGHT) > 0.999999
    one_mistake = sides.updated(evidence, 0.01)
    assert sides.probability(one_mistake, Side.RIGHT) > 0.999
    for _ in range(12):
        evidence = sides.updated(evidence, 0.03)
    assert sides.probability(evidence, Side.LEFT) > 0.99


@given(st.lists(st.floats(0, 1), max_size=60))
def test_evidence_is_bounded_and_symmetric(rights):
    evidence = mirrored = 0.0
    for right in rights:
        evidence, mirrored = sides.updated(evidence, right), sides.updated(mirrored, 1 - right)
    assert abs(evidence) <= 20
    assert mirrored == pytest.approx(-evidence, abs=1e-6)


@given(CANDIDATES)
def test_no_candidate_twice_and_nothing_implausible(candidates):
    left, right = sides.assign(candidates)
    assert left is None or left != right
    for index, side in ((left, Side.LEFT), (right, Side.RIGHT)):
        if index is not None and candidates[index].slot != side:
            assert sides.probability(candidates[index].evidence, side) >= sides.PLAUSIBLE


@given(CANDIDATES)
def test_mirroring_exchanges_the_slots(candidates):
    def mirrored(c: sides.Candidate) -> sides.Candidate:
        return sides.Candidate(-c.evidence, c.size, c.presence, None if c.slot is None else c.slot.other)

    left, right = sides.assign(candidates)
    other_left, other_right = sides.assign([mirrored(c) for c in candidates])
    # Compared by worth: of two assignments of the same worth either may be taken.
    assert _worth(candidates, other_right, other_left) == pytest.approx(_worth(candidates, left, right))


def _worth(candidates, left, right):
    largest = max((c.size for c in candidates), default=0.0)
    pairs = ((left, Side.LEFT), (right, Side.RIGHT))
    return sum(sides._value(candidates[index], side, largest) for index, side in pairs if index is not None)


def test_assignment():
    assert sides.assign([]) == (None, None)
    assert sides.assign([certain(0.9)]) == (None, 0)
    assert sides.assign([certain(0.4)]) == (0, None)
    assert sides.assign([certain(0.98), certain(0.03)]) == (1, 0)
    # Both look right: the less certain one is the left hand, where that is plausible ...
    assert sides.assign([certain(0.8), certain(0.98)]) == (0, 1)
    # ... and dropped where it is not; then the larger one stays.
    assert sides.assign([certain(0.97, 90), certain(0.97, 130)]) == (None, 1)
    # Hands of two people: the nearer pair.
    people = [certain(0.97, 60), certain(0.03, 60), certain(0.97, 120), certain(0.03, 110)]
    assert sides.assign(people) == (3, 2)


def test_hands_stay_in_their_slots_until_exchanging_is_clearly_better():
    def pair(left_looks: float, right_looks: float):
        return [certain(left_looks, slot=Side.LEFT), certain(right_looks, slot=Side.RIGHT)]

    assert sides.assign(pair(0.05, 0.95)) == (0, 1)
    assert sides.assign(pair(0.6, 0.5)) == (0, 1)
    assert sides.assign(pair(0.9, 0.15)) == (1, 0)


def test_a_followed_hand_is_not_displaced_by_a_newcomer_of_its_side():
    assert sides.assign([certain(0.95, 100, Side.RIGHT), certain(0.95, 120)]) == (None, 0)


def test_the_same_hand_and_a_different_one():
    assert duplicates.same_hand(OPEN_HAND * 100, OPEN_HAND * 100 + 5)
    assert duplicates.same_hand(OPEN_HAND * 100, OPEN_HAND * 110 - 3)
    assert not duplicates.same_hand(OPEN_HAND * 100, OPEN_HAND * 100 + [60, 0])
    # The other hand laid over it, crosswise: same place, other points.
    crossed = (OPEN_HAND - [0, -0.45]) @ np.array([[0.0, 1.0], [-1.0, 0.0]]) * [-1, 1] + [0, -0.45]
    assert not duplicates.same_hand(OPEN_HAND * 100, crossed * 100)


def test_duplicates_keep_the_better_one():
    hands = [hand(OPEN_HAND * 100), hand(OPEN_HAND * 100 + 4), hand(OPEN_HAND * 100 + 300)]
    assert duplicates.distinct(hands, [0.6, 0.9, 0.5]) == [1, 2]
    assert duplicates.distinct(hands, [0.9, 0.6, 0.5]) == [0, 2]
    assert duplicates.distinct([], []) == []


def test_a_fingertip_is_part_of_a_hand_but_a_small_hand_beside_it_is_not():
    large = OPEN_HAND * 300
    assert duplicates.part_of(OPEN_HAND * 40 + large[12] + [0, 35], large)
    assert not duplicates.part_of(OPEN_HAND * 40 + [400, 0], large)
    assert not duplicates.part_of(large, large)


def test_a_palm_detection_of_a_known_hand():
    known = hand(OPEN_HAND * 100)
    box = np.array([-20.0, -52, 30, -2])
    assert duplicates.is_palm_of(PalmDetection(0.9, box, RotatedBox((0, -50), 130, 0.1)), known)
    assert not duplicates.is_palm_of(PalmDetection(0.9, box, RotatedBox((0, -50), 130, 2.0)), known)
    assert not duplicates.is_palm_of(PalmDetection(0.9, box + 60, RotatedBox((60, 0), 130, 0.1)), known)


def test_a_track_leads_its_square_by_its_motion():
    track = tracker.Track(1, hand(OPEN_HAND * 100), 2.0)
    still = track.predicted_roi()
    track.follow(hand(OPEN_HAND * 100 + [10, 0]), 0.9)
    np.testing.assert_allclose(track.motion, [10, 0])
    lead = np.array(track.predicted_roi().center) - np.array(track.hand.next_roi().center)
    np.testing.assert_allclose(lead, [10, 0], atol=1e-9)
    track.follow(hand(OPEN_HAND * 100 + [200, 0]), 0.9)
    lead = np.array(track.predicted_roi().center) - np.array(track.hand.next_roi().center)
    np.testing.assert_allclose(lead, [0.3 * track.hand.size, 0], atol=1e-6)
    assert track.predicted_roi().size == pytest.approx(still.size)


def test_jitter_is_measured_and_steady_motion_is_none():
    steady = tracker.Track(1, hand(OPEN_HAND * 100), 2.0)
    for step in range(1, 10):
        steady.follow(hand(OPEN_HAND * 100 + np.array([7.0, -3.0]) * step), 0.9)
    assert np.sqrt(steady.jitter).max() < 1e-9
    rng = np.random.default_rng(0)
    shaking = tracker.Track(1, hand(OPEN_HAND * 100), 2.0)
    sigma = np.zeros((21, 1))
    sigma[8] = 3.0
    for _ in range(200):
        shaking.follow(hand(OPEN_HAND * 100 + rng.normal(size=(21, 2)) * sigma), 0.9)
    unsteadiness = np.sqrt(shaking.jitter) * shaking.hand.size
    assert unsteadiness[8] == pytest.approx(3 * np.sqrt(2), rel=0.4)
    assert np.delete(unsteadiness, 8).max() < 0.5


def test_of_two_tracks_on_one_hand_the_one_it_fits_less_goes():
    left = tracker.Track(1, hand(OPEN_HAND * [-100, 100], right=0.05), -4.0, Side.LEFT)
    right = tracker.Track(2, hand(OPEN_HAND * 100 + [60, 0], right=0.95), 4.0, Side.RIGHT)
    seen = hand(OPEN_HAND * 100 + [58, 0])
    assert tracker.converged([(left, seen, 0.95), (right, seen, 0.95)]) == 0
    assert tracker.converged([(right, seen, 0.95), (left, seen, 0.95)]) == 1
    apart = hand(OPEN_HAND * [-100, 100])
    assert tracker.converged([(left, apart, 0.05), (right, seen, 0.95)]) is None
    assert tracker.converged([(left, seen, 0.05)]) is None
    assert tracker.converged([]) is None
