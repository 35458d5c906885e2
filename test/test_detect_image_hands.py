"""The hands found so far in a single image: what is the same hand, its evidence, and whether a body predicts it."""

from __future__ import annotations

import numpy as np
import pytest
from test_handedness import OPEN_HAND, hand

from hand_recon_ros.detect.image_hands import FoundHand, FoundHands, Prediction
from hand_recon_ros.detect.new_hands import BODY_EVIDENCE
from hand_recon_ros.detect.pair_detector import LIKELY
from hand_recon_ros.landmarks.crops import tracking_box
from hand_recon_ros.landmarks.observation import RotatedBox

HAND, SAME, OTHER = OPEN_HAND * 100, OPEN_HAND * 100 + 5, OPEN_HAND * 100 + 200


@pytest.mark.parametrize("order", [1, -1])
def test_of_the_same_hand_the_one_of_higher_presence_stays_with_the_evidence_of_both(order):
    found = FoundHands()
    found.keep(hand(OTHER, 0.6), [-2.0])
    for points, presence, evidence in [(HAND, 0.7, [1.0]), (SAME, 0.9, [2.0, 3.0])][::order]:
        found.keep(hand(points, presence), evidence)
    other, merged = found.hands
    assert merged.hand.presence == 0.9 and sorted(merged.crops) == [1.0, 2.0, 3.0]
    np.testing.assert_array_equal(merged.hand.keypoints, SAME)
    np.testing.assert_array_equal(other.hand.keypoints, OTHER)
    assert other.crops == [-2.0]


def test_detectors_are_kept_where_a_hand_is_replaced():
    found = FoundHands([FoundHand(hand(HAND, 0.7), [1.0], {"body": 0.5})])
    found.keep(hand(SAME, 0.9), [2.0])
    assert found.hands[0].evidence == pytest.approx(1.5 + 0.5)


@pytest.mark.parametrize(
    ("crops", "detectors", "evidence"),
    [
        ([], {}, 0.0),
        ([1.0, -4.0], {}, -1.5),
        ([], {"pair": -0.4}, -0.4),
        ([2.0], {"pair": 0.3, "body": -0.5}, 1.8),
        ([2.0], {"pair": -0.6, "body": -0.8}, 2.0 - BODY_EVIDENCE),
        ([-2.0], {"pair": 3.0}, -2.0 + BODY_EVIDENCE),
    ],
)
def test_detectors_do_not_overrule_certain_landmarks(crops, detectors, evidence):
    assert FoundHand(hand(HAND), crops, detectors).evidence == pytest.approx(evidence)


@pytest.mark.parametrize(
    ("score", "shift", "predicted"),
    [(LIKELY, 0.0, True), (LIKELY - 0.01, 0.0, False), (1.0, 0.3, True), (1.0, 0.4, False)],
)
def test_a_body_predicts_a_hand_with_a_visible_wrist_at_its_box(score, shift, predicted):
    own = tracking_box(HAND)
    place = RotatedBox((own.center[0] + shift * own.size, own.center[1]), own.size)
    elsewhere = Prediction("body", tracking_box(OTHER), 1.0, 0.9)
    found = FoundHands(of_persons=[[elsewhere, Prediction("body", place, score, 0.9)]])
    assert found.is_of_body(hand(HAND)) is predicted
    assert not FoundHands(without_landmarks=[Prediction("pair", own, 1.0, 0.9)]).is_of_body(hand(HAND))


@pytest.mark.parametrize(
    ("persons", "both_wrists", "of_another"),
    [
        ([], False, False),
        ([], True, False),  # of no operator
        ([["other"]], False, False),  # the operator's other hand can be anywhere
        ([["other", "own"]], True, False),
        ([["other", "far"]], True, True),
        ([["other"], ["own"]], False, True),
        ([["own"], ["own"]], False, False),
        ([["other"], ["far"], ["own"]], False, True),
        ([["other"], ["far"]], False, False),
        ([[], ["own"]], False, True),
        ([[], ["far"]], False, False),
        ([["own"], ["far"]], True, False),
        ([["unlikely"], ["own"]], False, True),
        ([["other"], ["unlikely"]], False, False),
    ],
)
def test_a_hand_is_of_another_person_by_the_poses(persons, both_wrists, of_another):
    """``hand(HAND)``, with poses that predict this hand (own), another one (other), or a place without a hand (far)."""
    own = tracking_box(HAND)
    predictions = {
        "own": Prediction("body", own, LIKELY, 0.9),
        "unlikely": Prediction("body", own, LIKELY - 0.01, 0.9),
        "other": Prediction("body", tracking_box(OTHER), 1.0, -0.9),
        "far": Prediction("body", tracking_box(HAND + 600), 1.0, 0.9),
    }
    of_persons = [[predictions[name] for name in person] for person in persons]
    found = FoundHands(of_persons=of_persons, both_wrists=both_wrists)
    assert (found.is_of_another(hand(HAND)) or found.is_elsewhere(hand(HAND))) is of_another
    assert not found.is_elsewhere(hand(HAND)) or both_wrists
    assert not found.is_of_another(hand(HAND)) or len(persons) > 1
