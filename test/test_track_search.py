"""The search for missing hands: when a stream has a step, whose turn it is, and what is remembered of the operator."""

from __future__ import annotations

import numpy as np
import pytest

from hand_recon_ros.detect.new_hands import Proposal, Proposals
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.track.search import Search

BEGIN = 7.0
INTERVAL = 0.16
KINDS = ("palms", "body", "pair")
OPERATOR, MOVED = RotatedBox((320.0, 240.0), 600.0), RotatedBox((330.0, 250.0), 580.0)
SHORTLY = 0.001


def times(search: Search, rate: float, seconds: float, begin: float = BEGIN, interval: float = INTERVAL) -> np.ndarray:
    """Times (s) after ``begin`` of the images with a step, of those that come at ``rate`` (Hz) for so many seconds."""
    result = []
    for image in range(round(seconds * rate)):
        time = begin + image / rate
        if search.is_due(time, interval):
            search.next_turn(KINDS, time)
            result.append(time - begin)
    return np.array(result)


@pytest.mark.parametrize(
    ("rate", "often", "later"), [(15.0, 1 / 15, 3 / 15), (30.0, 1 / 30, 5 / 30), (60.0, 2 / 60, 10 / 60)]
)
def test_steps_are_frequent_in_the_first_second_and_then_at_intervals(rate, often, later):
    steps = times(Search(), rate, 3.0)
    first, after = steps[steps < 1.0 - SHORTLY], steps[steps > 1.0 - SHORTLY]
    np.testing.assert_allclose(first, often * np.arange(round(1.0 / often)), atol=1e-9)
    assert 0.0 < after[0] - first[-1] <= later + 1e-9
    np.testing.assert_allclose(np.diff(after), later, atol=1e-9)


def test_a_shorter_interval_than_that_of_the_first_second_counts_there_too():
    np.testing.assert_allclose(np.diff(times(Search(), 60.0, 2.0, interval=0.0)), 1 / 60, atol=1e-9)


@pytest.mark.parametrize("rate", [15.0, 30.0, 60.0])
def test_after_a_loss_steps_are_frequent_again(rate):
    search = Search()
    before = times(search, rate, 5.0)
    lost = BEGIN + 5.0
    search.restart(lost)
    after = times(search, rate, 5.0, lost)
    assert after[0] <= 0.03 + 1 / rate
    frequent = [int(((steps > SHORTLY) & (steps < 1.0 - SHORTLY)).sum()) for steps in (before, after)]
    assert frequent[0] == pytest.approx(frequent[1], abs=1) and frequent[0] >= 14


def test_after_a_loss_the_next_step_is_no_sooner_than_otherwise():
    search = Search()
    assert search.is_due(BEGIN, INTERVAL)
    search.next_turn(KINDS, BEGIN)
    for lost in (0.0, 0.02):
        search.restart(BEGIN + lost)
        assert not search.is_due(BEGIN + lost, INTERVAL)
    assert search.is_due(BEGIN + 0.03, INTERVAL)


def test_the_kinds_take_turns_and_each_counts_its_own():
    search = Search()
    turns = [search.next_turn(KINDS, BEGIN + 0.1 * step) for step in range(7)]
    assert turns == [(kind, turn) for turn in range(3) for kind in KINDS][:7]
    assert search.last == pytest.approx(BEGIN + 0.6)


def test_a_kind_that_joins_gets_its_turn_and_the_others_go_on_counting():
    search = Search()
    search.next_turn(KINDS, BEGIN)
    turns = [search.next_turn((*KINDS, "encoder"), BEGIN) for _ in range(8)]
    assert turns == [
        *(("body", 0), ("pair", 0), ("encoder", 0)),
        *(("palms", 1), ("body", 1), ("pair", 1), ("encoder", 1)),
        ("palms", 2),
    ]


def test_after_a_loss_the_turns_begin_anew():
    search = Search()
    for _ in range(4):
        search.next_turn(KINDS, BEGIN)
    search.restart(BEGIN + 1.0)
    assert [search.next_turn(KINDS, BEGIN + 1.0) for _ in range(4)] == [*((kind, 0) for kind in KINDS), ("palms", 1)]


@pytest.mark.parametrize("first", [False, True])
def test_the_box_of_the_operator_serves_for_a_second(first):
    search = Search()
    assert search.known_operator(BEGIN, first) is None
    search.saw_operator(OPERATOR, False, BEGIN)
    # The pose of a body that was just chosen is still to be read, however long the turns take.
    assert search.known_operator(BEGIN + 9.0, first) == OPERATOR
    search.saw_operator(MOVED, True, BEGIN + 0.9)
    assert search.known_operator(BEGIN + 1.9 - SHORTLY, first) == MOVED
    assert search.known_operator(BEGIN + 1.9 + SHORTLY, first) is None


def test_after_two_seconds_another_operator_can_be_chosen_except_with_first():
    search = Search()
    search.saw_operator(OPERATOR, False, BEGIN)
    for seen in (0.8, 1.6, 1.9):
        search.saw_operator(MOVED, True, BEGIN + seen)
    assert search.known_operator(BEGIN + 2.0 - SHORTLY, False) == MOVED
    assert search.known_operator(BEGIN + 2.0 + SHORTLY, False) is None
    assert search.known_operator(BEGIN + 2.0 + SHORTLY, True) == MOVED
    # Chosen anew, the operator stays for two seconds again.
    search.saw_operator(OPERATOR, False, BEGIN + 2.1)
    search.saw_operator(OPERATOR, True, BEGIN + 3.0)
    search.saw_operator(OPERATOR, True, BEGIN + 3.9)
    assert search.known_operator(BEGIN + 4.1 - SHORTLY, False) == OPERATOR
    assert search.known_operator(BEGIN + 4.1 + SHORTLY, False) is None


@pytest.mark.parametrize("first", [False, True])
def test_an_operator_that_is_not_seen_is_forgotten(first):
    search = Search()
    search.saw_operator(OPERATOR, False, BEGIN)
    search.saw_operator(None, True, BEGIN + 0.1)
    assert search.known_operator(BEGIN + 0.2, first) is None


def test_the_first_persons_place_is_kept_while_a_hand_is_followed_and_a_second_longer():
    search = Search()
    assert search.first_place(BEGIN, True) is None
    search.saw_operator(OPERATOR, False, BEGIN)
    search.saw_operator(None, True, BEGIN + 0.1)  # a failed reading does not change the place
    assert search.first_place(BEGIN + 60.0, True) == OPERATOR
    assert search.first_place(BEGIN + 1.0 - SHORTLY, False) == OPERATOR
    assert search.first_place(BEGIN + 1.0 + SHORTLY, False) is None


def test_a_loss_does_not_change_the_operator():
    search = Search()
    search.saw_operator(OPERATOR, False, BEGIN)
    search.restart(BEGIN + 0.5)
    assert search.known_operator(BEGIN + 0.6, False) == OPERATOR


WRISTS = RotatedBox((200.0, 300.0), 100.0), RotatedBox((500.0, 300.0), 50.0)


@pytest.mark.parametrize(
    ("center", "of_another"),
    [
        ((200.0, 300.0), False),
        ((10.0, 300.0), False),  # by the size of the wrist's box
        ((-10.0, 300.0), True),
        ((590.0, 300.0), False),
        ((610.0, 300.0), True),
        ((395.0, 300.0), False),
        ((401.0, 320.0), True),
    ],
)
def test_a_hand_far_from_both_wrists_is_another_persons(center, of_another):
    search, hand = Search(), RotatedBox(center, 80.0)
    search.saw_operator(OPERATOR, True, BEGIN, WRISTS)
    assert search.is_of_another(hand, BEGIN) is of_another
    # Not by one wrist, and not by those of long ago.
    assert search.is_of_another(hand, BEGIN + 1.0 - SHORTLY) is of_another
    assert not search.is_of_another(hand, BEGIN + 1.0 + SHORTLY)
    for wrist in WRISTS:
        search.saw_operator(OPERATOR, True, BEGIN + 0.1, (wrist,))
        assert not search.is_of_another(hand, BEGIN + 0.1)
    for operator, wrists in ((OPERATOR, ()), (None, ())):
        search.saw_operator(OPERATOR, True, BEGIN + 0.2, WRISTS)
        search.saw_operator(operator, True, BEGIN + 0.3, wrists)
        assert not search.is_of_another(hand, BEGIN + 0.3)
    assert not Search().is_of_another(hand, BEGIN)


@pytest.mark.parametrize(("rate", "images"), [(15.0, 2), (30.0, 3), (60.0, 6)])
def test_a_covered_hand_is_confirmed_every_tenth_of_a_second(rate, images):
    search, evaluated, certain = Search(), [], []
    answers = iter([True, True, False, True])
    for image in range(4 * images):
        time = BEGIN + image / rate
        if search.covered_is_due(time):
            search.confirmed(next(answers), time)
            evaluated.append(image)
        certain.append(search.is_certain_of_both(time))
    assert evaluated == [turn * images for turn in range(4)]
    # Each answer counts until the next one.
    assert certain == [answer for answer in (True, True, False, True) for _ in range(images)]
    last = BEGIN + 3 * images / rate
    assert search.is_certain_of_both(last + 0.1) and not search.is_certain_of_both(last + 0.1 + SHORTLY)
    assert not Search().is_certain_of_both(BEGIN)


@pytest.mark.parametrize(("later", "due"), [(1 / 60, True), (1 / 15, True), (0.15, True), (0.2, False)])
def test_proposals_are_due_for_a_short_time(later, due):
    search, proposals = Search(), Proposals("palms", 0, [Proposal(OPERATOR)])
    assert search.due_proposals(BEGIN) is None
    search.propose(proposals, BEGIN)
    assert search.due_proposals(BEGIN + later) is (proposals if due else None)


def test_a_loss_makes_proposals_void():
    """They were made beside a hand that may be the one that is lost."""
    search = Search()
    search.propose(Proposals("pair", 2, [Proposal(MOVED)]), BEGIN)
    search.restart(BEGIN + 0.03)
    assert search.due_proposals(BEGIN + 0.03) is None
