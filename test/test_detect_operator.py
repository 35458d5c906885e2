"""Whose hands a stream takes: the body's turns, the choice of the operator, strangers. Networks are simulated."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from streams import detect_new_hands
from test_detect_search import (
    BODY,
    CONFIG,
    EMPTY,
    FAR,
    LEFT_PLACE,
    RIGHT_PLACE,
    AllNetworks,
    LocatedStream,
    SeenPerson,
    box_of,
    one_person,
)
from test_track_locator import Shown, frame

from hand_recon_ros import Side
from hand_recon_ros.detect.new_hands import BODY_EVIDENCE, VISIBLE
from hand_recon_ros.landmarks.observation import RotatedBox


@pytest.fixture
def networks():
    return AllNetworks()


def test_the_body_step_detects_in_one_turn_and_reads_in_the_next(networks):
    hand = Shown(LEFT_PLACE, 0.03, palm=0.0)
    networks.shown = [hand]
    networks.body.persons = [SeenPerson(FAR), SeenPerson(BODY, {Side.LEFT: box_of(hand)})]
    first = detect_new_hands(networks, frame().image, [], "body", 0, CONFIG)
    assert first.operator == BODY and first.hands == []
    assert (networks.body.detections, networks.body.read_boxes, networks.evaluations) == (1, [], 0)
    # The person has moved since.
    networks.body.persons[1].box = RotatedBox((330.0, 250.0), 590.0)
    second = detect_new_hands(networks, frame().image, [], "body", 1, CONFIG, first.operator)
    assert second.operator == networks.body.persons[1].box
    assert (networks.body.detections, networks.body.read_boxes) == (1, [BODY])
    ((found, evidence),) = second.hands
    np.testing.assert_allclose(found.keypoints, hand.keypoints)
    assert evidence < -BODY_EVIDENCE
    # Nobody is there any more.
    networks.body.persons.pop()
    third = detect_new_hands(networks, frame().image, [], "body", 2, CONFIG, second.operator)
    assert third.operator is None and third.hands == []


@pytest.mark.parametrize("operator", ["largest", "nearest", "first"])
def test_an_image_without_persons_has_no_operator(networks, operator):
    config = dataclasses.replace(CONFIG, operator=operator)
    result = detect_new_hands(networks, frame().image, [], "body", 0, config)
    assert (result.operator, result.wrists) == (None, ()) and result.hands == [] and networks.body.read_boxes == []


def test_other_steps_tell_nothing_of_the_operator(networks):
    networks.body.persons = one_person()
    for detector in ("palms", "pair"):
        assert detect_new_hands(networks, frame().image, [], detector, 0, CONFIG, BODY).operator is None
    assert networks.body.detections == 0 and networks.body.read_boxes == []


def two_persons(networks) -> tuple[Shown, Shown]:
    """The larger body's hand, and the larger hand of the smaller body."""
    small, large = Shown(LEFT_PLACE, 0.03, size=60.0, palm=0.0), Shown(RIGHT_PLACE, 0.03, size=100.0, palm=0.0)
    networks.shown = [small, large]
    networks.body.persons = [
        SeenPerson(FAR, {Side.LEFT: box_of(large)}),
        SeenPerson(BODY, {Side.LEFT: box_of(small), Side.RIGHT: EMPTY}),
    ]
    return small, large


@pytest.mark.parametrize("operator", ["largest", "nearest", "first"])
def test_the_operator_of_two_persons(networks, operator):
    of_large_body, larger_hand = two_persons(networks)
    config = dataclasses.replace(CONFIG, operator=operator)
    result = detect_new_hands(networks, frame().image, [], "body", 0, config)
    if operator == "nearest":  # in one turn, because the hands of both are compared
        assert networks.body.read_boxes == [BODY, FAR]
    else:
        assert result.hands == [] and networks.body.read_boxes == []
        result = detect_new_hands(networks, frame().image, [], "body", 1, config, result.operator)
    expected = larger_hand if operator == "nearest" else of_large_body
    assert result.operator == (FAR if operator == "nearest" else BODY)
    ((hand, _),) = result.hands
    np.testing.assert_allclose(hand.keypoints, expected.keypoints)
    # Whose box is known, is read alone, whatever the operator.
    networks.body.read_boxes.clear()
    again = detect_new_hands(networks, frame().image, [], "body", 2, config, result.operator)
    assert again.operator == result.operator and networks.body.read_boxes == [result.operator]
    assert networks.body.detections == 1


def test_the_nearest_operator_is_one_of_the_three_largest_bodies(networks):
    hands = [Shown((100.0 + 150 * i, 300.0), 0.03, size=50.0 + 10 * i, palm=0.0) for i in range(4)]
    networks.shown = hands
    networks.body.persons = [
        SeenPerson(RotatedBox((100.0 + 150 * i, 240.0), 400.0 - 10 * i), {Side.LEFT: box_of(hand)})
        for i, hand in enumerate(hands)
    ]
    expected = networks.body.persons[2].box
    result = detect_new_hands(networks, frame().image, [], "body", 0, dataclasses.replace(CONFIG, operator="nearest"))
    assert result.operator == expected and len(networks.body.read_boxes) == 3
    ((hand, _),) = result.hands
    np.testing.assert_allclose(hand.keypoints, hands[2].keypoints)


@pytest.mark.parametrize(("operator", "changes"), [("largest", True), ("nearest", True), ("first", False)])
def test_another_operator_is_chosen_after_two_seconds_except_with_first(networks, operator, changes):
    networks.body.persons = [SeenPerson(BODY, {Side.LEFT: RotatedBox((320.0, 400.0), 90.0)}), SeenPerson(FAR)]
    stream = LocatedStream(dataclasses.replace(CONFIG, operator=operator), networks)
    stream.during(0.3)
    assert stream.tracks.search.operator == BODY
    # Another one comes nearer.
    nearer = RotatedBox(FAR.center, 900.0)
    networks.body.persons[1] = SeenPerson(nearer, {Side.LEFT: RotatedBox((100.0, 400.0), 200.0)})
    operators = []
    for _ in range(105):
        stream()
        operators.append(stream.tracks.search.operator)
    assert set(operators[:50]) == {BODY}
    assert operators[-1] == (nearer if changes else BODY)


def test_with_first_another_operator_is_chosen_once_the_first_one_is_lost(networks):
    networks.body.persons = [SeenPerson(BODY), SeenPerson(FAR)]
    stream = LocatedStream(dataclasses.replace(CONFIG, operator="first"), networks)
    stream.during(0.5)
    assert stream.tracks.search.operator == BODY
    networks.body.persons.pop(0)
    stream.during(1.0)
    assert stream.tracks.search.operator == FAR


@pytest.mark.parametrize("operator", ["largest", "nearest"])
def test_the_clearly_visible_wrists_are_those_of_the_operator(networks, operator):
    config = dataclasses.replace(CONFIG, operator=operator)
    left, right = RotatedBox((250.0, 400.0), 90.0), RotatedBox((400.0, 400.0), 95.0)
    networks.body.persons = [SeenPerson(FAR, {Side.LEFT: EMPTY}), *one_person(left=left, right=right)]
    first = detect_new_hands(networks, frame().image, [], "body", 0, config)
    assert first.wrists == (() if operator == "largest" else (left, right))  # detected only, or read
    assert detect_new_hands(networks, frame().image, [], "body", 1, config, BODY).wrists == (left, right)
    networks.body.persons[1].visibility[Side.LEFT] = VISIBLE - 0.01
    assert detect_new_hands(networks, frame().image, [], "body", 2, config, BODY).wrists == (right,)
    assert detect_new_hands(networks, frame().image, [], "palms", 2, config, BODY).wrists == ()


@pytest.mark.parametrize(
    ("at", "visibility", "found"),
    [((560, 130), VISIBLE, False), ((560, 130), VISIBLE - 0.01, True), ((300, 400), VISIBLE, True)],
    ids=["far from both", "far, one not clearly visible", "near one"],
)
def test_in_a_stream_a_new_hand_far_from_both_wrists_is_not_taken(networks, at, visibility, found):
    wrists = RotatedBox((200.0, 400.0), 60.0), RotatedBox((300.0, 400.0), 60.0)
    networks.body.persons = [SeenPerson(BODY, dict(zip(Side, wrists, strict=True)), {Side.LEFT: visibility})]
    stream = LocatedStream(CONFIG, networks)
    stream.during(0.2)
    assert len(stream.tracks.search.wrists) == (2 if visibility == VISIBLE else 1)
    networks.shown = [Shown(at, 0.97, size=60.0)]
    taken = [len(stream()[0].observations) for _ in range(60)]
    assert max(taken) == found
    # Once the person is gone, the other one's hand counts.
    networks.body.persons.clear()
    assert [len(stream()[0].observations) for _ in range(60)][-1] == 1
