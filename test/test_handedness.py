"""Left or right: evidence over time, slots, and duplicates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hand_recon_ros.detect import duplicates, handedness
from hand_recon_ros.detect.palm import PalmDetection
from hand_recon_ros.landmarks.landmarks import HandLandmarks
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.types import Side

FRAME = 1.0 / 30.0
EVIDENCE = st.floats(-20, 20)
CANDIDATES = st.lists(
    st.builds(handedness.Candidate, EVIDENCE, st.floats(1, 500), st.floats(0.5, 1), st.sampled_from([None, *Side])),
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


def certain(right: float, size: float = 100.0, slot: Side | None = None) -> handedness.Candidate:
    return handedness.Candidate(handedness.log_odds(right), size, 1.0, slot)


@pytest.mark.parametrize("rate", [15.0, 30.0, 60.0])
def test_handedness_settles_in_the_same_time_at_any_rate(rate):
    evidence, reached = handedness.log_odds(0.03), []
    for image in range(round(2.0 * rate)):
        evidence = handedness.updated(evidence, 0.9, 1.0 / rate)
        if handedness.probability(evidence, Side.RIGHT) > 0.9:
            reached.append((image + 1) / rate)
    assert reached[0] == pytest.approx(0.25, abs=0.09)
    assert evidence == pytest.approx(5.0 * handedness.log_odds(0.9), rel=0.05)


def test_evidence_gathers_and_fades():
    evidence = handedness.log_odds(0.9)
    assert handedness.probability(evidence, Side.RIGHT) == pytest.approx(0.9)
    assert handedness.probability(evidence, Side.LEFT) == pytest.approx(0.1)
    for _ in range(30):
        evidence = handedness.updated(evidence, 0.97, FRAME)
    assert handedness.probability(evidence, Side.RIGHT) > 0.999999
    one_mistake = handedness.updated(evidence, 0.01, FRAME)
    assert handedness.probability(one_mistake, Side.RIGHT) > 0.999
    for _ in range(12):
        evidence = handedness.updated(evidence, 0.03, FRAME)
    assert handedness.probability(evidence, Side.LEFT) > 0.99


@given(st.lists(st.floats(0, 1), max_size=60))
def test_evidence_is_bounded_and_symmetric(rights):
    evidence = mirrored = 0.0
    for right in rights:
        evidence, mirrored = handedness.updated(evidence, right, FRAME), handedness.updated(mirrored, 1 - right, FRAME)
    assert abs(evidence) <= 20
    assert mirrored == pytest.approx(-evidence, abs=1e-6)


@given(CANDIDATES)
def test_no_candidate_twice_and_nothing_implausible(candidates):
    left, right = handedness.assign(candidates)
    assert left is None or left != right
    for index, side in ((left, Side.LEFT), (right, Side.RIGHT)):
        if index is not None and candidates[index].slot != side:
            assert handedness.probability(candidates[index].evidence, side) >= handedness.PLAUSIBLE


@given(CANDIDATES)
def test_mirroring_exchanges_the_slots(candidates):
    def mirrored(c: handedness.Candidate) -> handedness.Candidate:
        return handedness.Candidate(-c.evidence, c.size, c.presence, None if c.slot is None else c.slot.other)

    left, right = handedness.assign(candidates)
    other_left, other_right = handedness.assign([mirrored(c) for c in candidates])
    # Compared by worth: of two assignments of the same worth either may be taken.
    assert _worth(candidates, other_right, other_left) == pytest.approx(_worth(candidates, left, right))


def _worth(candidates, left, right):
    largest = max((c.size for c in candidates), default=0.0)
    pairs = ((left, Side.LEFT), (right, Side.RIGHT))
    return sum(handedness.slot_value(candidates[index], side, largest) for index, side in pairs if index is not None)


def test_assignment():
    assert handedness.assign([]) == (None, None)
    assert handedness.assign([certain(0.9)]) == (None, 0)
    assert handedness.assign([certain(0.4)]) == (0, None)
    assert handedness.assign([certain(0.98), certain(0.03)]) == (1, 0)
    # Both look right: the less certain one is the left hand, where that is plausible ...
    assert handedness.assign([certain(0.8), certain(0.98)]) == (0, 1)
    # ... and dropped where it is not; then the larger one stays.
    assert handedness.assign([certain(0.97, 90), certain(0.97, 130)]) == (None, 1)
    # Hands of two people: the nearer pair.
    people = [certain(0.97, 60), certain(0.03, 60), certain(0.97, 120), certain(0.03, 110)]
    assert handedness.assign(people) == (3, 2)


def test_hands_stay_in_their_slots_until_exchanging_is_clearly_better():
    def pair(left_looks: float, right_looks: float):
        return [certain(left_looks, slot=Side.LEFT), certain(right_looks, slot=Side.RIGHT)]

    assert handedness.assign(pair(0.05, 0.95)) == (0, 1)
    assert handedness.assign(pair(0.6, 0.5)) == (0, 1)
    assert handedness.assign(pair(0.9, 0.15)) == (1, 0)


def test_a_followed_hand_is_not_displaced_by_a_newcomer_of_its_side():
    assert handedness.assign([certain(0.95, 100, Side.RIGHT), certain(0.95, 120)]) == (None, 0)


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
