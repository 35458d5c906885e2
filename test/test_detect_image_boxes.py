"""Hands of a single image that are boxes alone: rejected by the landmark network, or covered by the other hand."""

from __future__ import annotations

import dataclasses

import pytest
from test_detect_image_decision import (
    CONFIG,
    IMAGE,
    LEFT_PLACE,
    RIGHT_PLACE,
    THIRD_PLACE,
    Networks,
    Shown,
    places,
    result,
)

from hand_recon_ros import Side
from hand_recon_ros.detect.image_decision import decided
from hand_recon_ros.detect.image_hands import FoundHands, Prediction
from hand_recon_ros.detect.pair_detector import BOTH, CERTAIN, CLEAR_SIDE, RegionHand
from hand_recon_ros.landmarks.crops import tracking_box
from hand_recon_ros.landmarks.observation import RotatedBox


def box(x: float, size: float = 100.0) -> RotatedBox:
    return RotatedBox((x, 200.0), size)


@pytest.mark.parametrize(
    ("predictions", "boxes"),
    [
        # Score, place and evidence of each; the place of the left and the right box.
        ([], {}),
        ([(CERTAIN, 100, CLEAR_SIDE)], {Side.RIGHT: 100}),
        ([(CERTAIN, 100, -CLEAR_SIDE)], {Side.LEFT: 100}),
        ([(0.99, 100, CLEAR_SIDE - 0.1)], {}),
        ([(0.99, 100, 0.1 - CLEAR_SIDE)], {}),
        ([(CERTAIN - 0.01, 100, 4.0)], {}),
        # Of two the sides are relative.
        ([(0.98, 100, 0.3), (0.98, 300, 0.2)], {Side.LEFT: 300, Side.RIGHT: 100}),
        ([(0.98, 100, -3.0), (0.98, 300, -2.0)], {Side.LEFT: 100, Side.RIGHT: 300}),
        ([(CERTAIN - 0.01, 100, -2.0), (0.98, 300, 0.2)], {}),
        # The two surest of three.
        ([(0.975, 100, -3.0), (0.98, 300, 0.2), (0.98, 500, 0.4)], {Side.LEFT: 300, Side.RIGHT: 500}),
        # Near each other: the surer one.
        ([(0.975, 100, -3.0), (0.98, 140, 2.0)], {Side.RIGHT: 140}),
        ([(0.975, 100, -3.0), (0.98, 140, 0.5)], {}),
        ([(0.975, 100, -3.0), (0.98, 150, 2.0)], {Side.LEFT: 100, Side.RIGHT: 150}),
    ],
)
def test_boxes_of_certain_hands_without_landmarks(predictions, boxes):
    glove = [Prediction("pair", box(x), score, evidence) for score, x, evidence in predictions]
    decision = result(without_landmarks=glove)
    assert decision.hands == (None, None)
    assert decision.boxes == {side: box(x) for side, x in boxes.items()}


def test_a_rejected_hand_is_a_box_where_the_pair_detector_is_certain():
    rejected = Shown(right=0.9, presence=0.5)
    assert result(rejected).hands == (None, None)
    boxes = result(rejected).boxes
    assert boxes == {Side.RIGHT: tracking_box(rejected.landmarks.keypoints)}
    assert result(Shown(right=0.9, presence=0.5, score=CERTAIN - 0.05)).boxes == {}
    assert result(Shown(right=0.55, presence=0.5)).boxes == {}  # its side is not clear
    # Once, with a prediction near it; else both.
    glove = Prediction("pair", Shown((360.0, 300.0)).box, 0.98, -2.0)
    assert result(rejected, without_landmarks=[glove]).boxes == boxes
    glove = Prediction("pair", Shown(LEFT_PLACE).box, 0.98, 0.5)
    assert result(rejected, without_landmarks=[glove]).boxes == {**boxes, Side.LEFT: glove.roi}


def test_two_rejected_hands_get_sides_by_landmarks_and_detectors():
    a, b = Shown(LEFT_PLACE, 0.7, 0.5), Shown(RIGHT_PLACE, 0.6, 0.5)
    assert result(a, b).boxes == {Side.LEFT: b.box, Side.RIGHT: a.box}
    found = FoundHands([a.found(pair=-0.9), b.found()])
    assert decided(Networks(a, b), IMAGE, found, CONFIG).boxes == {Side.LEFT: a.box, Side.RIGHT: b.box}


@pytest.mark.parametrize(
    ("place", "size", "score", "evidence", "taken"),
    [
        (THIRD_PLACE, 100.0, 0.98, -3.0, True),
        (THIRD_PLACE, 100.0, 0.98, 0.9, True),
        (THIRD_PLACE, 100.0, 0.98, 1.1, False),  # clearly of the side of the one that was found
        (THIRD_PLACE, 100.0, 0.96, -3.0, False),
        (RIGHT_PLACE, 100.0, 0.98, -3.0, False),  # that hand again
        (THIRD_PLACE, 55.0, 0.98, -3.0, True),
        (THIRD_PLACE, 45.0, 0.98, -3.0, False),  # too small for a hand of this person
        (LEFT_PLACE, 210.0, 0.98, -3.0, False),
    ],
)
def test_beside_a_hand_a_certain_box_is_that_of_the_other_one(place, size, score, evidence, taken):
    glove = Prediction("pair", Shown(place, size=size).box, score, evidence)
    decision = result(Shown(), without_landmarks=[glove])
    assert places(decision) == [None, RIGHT_PLACE] and not decision.pair
    assert decision.boxes == ({Side.LEFT: glove.roi} if taken else {})


def test_beside_a_hand_the_surest_box_counts():
    kept, rejected = Shown(), Shown(LEFT_PLACE, 0.03, 0.5)
    glove = Prediction("pair", Shown(THIRD_PLACE).box, 0.999, -3.0)
    assert result(kept, rejected).boxes == {Side.LEFT: rejected.box}
    assert result(kept, rejected, without_landmarks=[glove]).boxes == {Side.LEFT: glove.roi}
    assert len(result(rejected, without_landmarks=[glove]).boxes) == 2


@pytest.mark.parametrize("hand", [Shown(presence=0.6), Shown(presence=0.98, unsteady=0.5)])
def test_without_a_pair_detector_rejected_hands_are_no_boxes(hand):
    decision = result(hand, pair=False)
    assert decision.hands == (None, None) and decision.boxes == {}


def detected(own: Shown, other: Shown, side: Side = Side.RIGHT) -> tuple[RegionHand, RegionHand]:
    """Two hands, left and right, as the pair detector sees them together; ``side``: of the first one."""
    hands = [RegionHand(side, own.score, own.box, 0.0), RegionHand(side.other, other.score, other.box, 0.0)]
    return tuple(sorted(hands, key=lambda hand: hand.side))


BEHIND = Shown((365.0, 310.0), score=0.9)


@pytest.mark.parametrize("side", Side)
def test_the_pair_detector_adds_the_box_of_a_second_hand(side):
    one = Shown(right=0.97 if side == Side.RIGHT else 0.03)
    decision = result(one, together=detected(one, BEHIND, side))
    kept: list = [None, None]
    kept[side] = one.at
    assert places(decision) == kept
    assert decision.pair and decision.boxes == {side.other: BEHIND.box}


def test_the_second_hand_is_of_the_other_side_whatever_the_pair_detector_takes_it_for():
    one = Shown()
    decision = result(one, together=detected(one, BEHIND, Side.LEFT))
    assert decision.pair and decision.boxes == {Side.LEFT: BEHIND.box}


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (Shown(score=BOTH - 0.01), BEHIND),
        (Shown(), dataclasses.replace(BEHIND, score=BOTH - 0.01)),
        (Shown(THIRD_PLACE), Shown(LEFT_PLACE)),  # two certain hands, but not this one
    ],
    ids=["itself uncertain", "second uncertain", "not matched"],
)
def test_without_two_certain_hands_there_is_no_second_one(own, other):
    decision = result(Shown(), together=detected(own, other))
    assert places(decision) == [None, RIGHT_PLACE]
    assert not decision.pair and decision.boxes == {}
    # With certain ones there is.
    sure = detected(Shown(score=BOTH), dataclasses.replace(BEHIND, score=BOTH))
    assert result(Shown(), together=sure).pair


def test_without_a_pair_detector_there_is_no_second_hand():
    decision = result(Shown(), pair=False, together=detected(Shown(), BEHIND))
    assert places(decision) == [None, RIGHT_PLACE] and not decision.pair and decision.boxes == {}


@pytest.mark.parametrize(("shown", "count"), [((), 0), ((Shown(presence=0.5),), 0), ((Shown(),), 2)])
def test_only_beside_one_hand_a_second_one_is_searched(shown, count):
    networks = Networks(*shown, together=detected(Shown(), BEHIND))
    decided(networks, IMAGE, FoundHands([hand.found() for hand in shown]), CONFIG)
    assert networks.pair_regions == count


def test_beside_two_hands_none_is_searched():
    shown = Shown(LEFT_PLACE, 0.03), Shown()
    networks = Networks(*shown, together=detected(Shown(), BEHIND))
    decision = decided(networks, IMAGE, FoundHands([hand.found() for hand in shown]), CONFIG)
    assert places(decision) == [LEFT_PLACE, RIGHT_PLACE] and networks.pair_regions == 0
    assert not decision.pair and decision.boxes == {}
