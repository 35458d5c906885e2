"""Which hands of a single image are its left and right one. Networks are simulated."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from test_handedness import OPEN_HAND

from hand_recon_ros import Side
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.detect.handedness import log_odds
from hand_recon_ros.detect.image_decision import HIGH_PRESENCE, decided, is_complete
from hand_recon_ros.detect.image_hands import FoundHand, FoundHands, Prediction
from hand_recon_ros.detect.pair_detector import CERTAIN, RegionHand, alone
from hand_recon_ros.landmarks.crops import alike
from hand_recon_ros.landmarks.landmarks import UNSTEADY, HandLandmarks
from hand_recon_ros.landmarks.observation import RotatedBox

CONFIG = ReconstructorConfig(encoder="none")
IMAGE = np.zeros((480, 640, 3), np.uint8)
LEFT_PLACE, RIGHT_PLACE, THIRD_PLACE = (150.0, 300.0), (350.0, 300.0), (550.0, 300.0)
EMPTY = RotatedBox((0.0, 0.0), 50.0)
NOTHING = RegionHand(Side.LEFT, 0.01, EMPTY, 0.0), RegionHand(Side.RIGHT, 0.01, EMPTY, 0.0)


@dataclasses.dataclass
class Shown:
    """A hand as the networks see it: the pair detector with ``score``, its box ``off`` by a part of the box's size."""

    at: tuple[float, float] = RIGHT_PLACE
    right: float = 0.97
    presence: float = 0.95
    size: float = 100.0
    score: float = 0.99
    off: float = 0.0
    unsteady: float = 0.0

    @property
    def landmarks(self) -> HandLandmarks:
        points = OPEN_HAND * self.size + np.array(self.at)
        return HandLandmarks(points, np.zeros(21), np.zeros((21, 3)), self.presence, self.right, EMPTY)

    @property
    def box(self) -> RotatedBox:
        return self.landmarks.next_roi

    def found(self, *crops: float, **detectors: float) -> FoundHand:
        return FoundHand(self.landmarks, list(crops) or [log_odds(self.right)], detectors)


class Networks:
    """Sees in each crop the hand whose box is nearest; every other crop shifts it to one side by ``unsteady``.

    The pair detector sees the hands in ``together`` in regions that are not around one hand alone.
    """

    def __init__(self, *shown: Shown, pair: bool = True, together: tuple[RegionHand, RegionHand] | None = None) -> None:
        self.shown, self.pair = shown, pair or None
        self.together, self.pair_regions, self.scored = together or NOTHING, 0, 0

    def read(self, image, rois, mirrored=False, grey=False, stems=False):
        return [self._read(roi, 1 if i % 2 else -1) for i, roi in enumerate(rois)]

    def _read(self, roi, sign):
        seen = self._nearest(roi)
        hand = seen.landmarks
        return dataclasses.replace(hand, keypoints=hand.keypoints + [sign * seen.unsteady * seen.size, 0.0])

    def _nearest(self, region):
        return min(self.shown, key=lambda hand: math.dist(hand.box.center, region.center))

    def detect_pair(self, image, region):
        assert self.pair
        hand = self._nearest(region)
        (x, y), size = hand.box.center, hand.box.size
        if not alike(region, alone(hand.box), 0.01):
            self.pair_regions += 1
            assert math.dist(region.center, (x, y)) < region.size / 2
            return self.together
        self.scored += 1
        present = RegionHand(Side.RIGHT, hand.score, RotatedBox((x + hand.off * size, y), size), 0.0)
        return RegionHand(Side.LEFT, 0.01, EMPTY, 0.0), present


def result(*shown: Shown, pair: bool = True, config: ReconstructorConfig = CONFIG, together=None, **fields):
    """What is decided of hands with one earlier crop like the ones to come."""
    found = FoundHands([hand.found() for hand in shown], **fields)
    return decided(Networks(*shown, pair=pair, together=together), IMAGE, found, config)


def places(result) -> list[tuple[float, float] | None]:
    """Where the wrists of the left and the right hand are."""
    return [None if one is None else tuple(one.hand.keypoints[0]) for one in result.hands]


def is_kept(*args, **kwargs) -> bool:
    left, right = places(result(*args, **kwargs))
    assert left is None and right in (None, RIGHT_PLACE)
    return right is not None


@pytest.mark.parametrize(
    ("presence", "score", "off", "kept"),
    [
        (0.69, 0.99, 0.0, True),
        (0.69, 0.9, 0.0, False),
        (0.69, 0.99, 0.4, False),  # another place's score
        (0.5, 0.99, 0.0, False),
        (0.92, 0.5, 0.0, True),
        (0.85, 0.5, 0.0, False),
        (0.9, 0.01, 0.0, False),
        (0.9, 0.99, 0.4, False),
    ],
)
def test_the_pair_detector_confirms_a_hand_of_middling_presence_or_drops_it(presence, score, off, kept):
    assert is_kept(Shown(presence=presence, score=score, off=off)) == kept


@pytest.mark.parametrize(
    ("presence", "unsteady", "body", "scored"),
    [
        (0.95, 0.0, None, 0),
        (0.92, 0.0, None, 1),
        (0.92, 0.0, RIGHT_PLACE, 0),
        (0.95, 0.08, None, 1),
        (0.4, 0.0, None, 1),
    ],
)
def test_the_pair_detector_evaluates_only_hands_whose_result_it_can_change(presence, unsteady, body, scored):
    bodies = [] if body is None else [Prediction("body", Shown(at=body).box, 1.0, 0.9)]
    shown = Shown(presence=presence, unsteady=unsteady)
    networks = Networks(shown)
    decided(networks, IMAGE, FoundHands([shown.found()], of_persons=[bodies]), CONFIG)
    assert networks.scored == scored


@pytest.mark.parametrize(
    ("presence", "body", "kept"),
    [
        (0.77, None, True),
        (0.72, None, False),
        (0.62, RIGHT_PLACE, True),
        (0.57, RIGHT_PLACE, False),
        (0.72, LEFT_PLACE, False),
    ],
)
def test_without_a_pair_detector_presence_and_body_decide(presence, body, kept):
    bodies = [] if body is None else [Prediction("body", Shown(at=body).box, 1.0, 0.9)]
    assert is_kept(Shown(presence=presence), pair=False, of_persons=[bodies]) == kept


@pytest.mark.parametrize("pair", [False, True])
def test_nothing_makes_up_for_little_presence_or_crops_that_disagree(pair):
    bodies = [Prediction("body", Shown().box, 1.0, 0.9)]
    config = dataclasses.replace(CONFIG, min_presence=0.9)
    assert is_kept(Shown(presence=0.91), pair=pair, of_persons=[bodies], config=config)
    assert not is_kept(Shown(presence=0.89), pair=pair, of_persons=[bodies], config=config)
    unsure = CERTAIN - 0.01  # the pair detector
    assert is_kept(Shown(presence=0.99, score=unsure, unsteady=0.95 * UNSTEADY), pair=pair, of_persons=[bodies])
    assert not is_kept(Shown(presence=0.99, score=unsure, unsteady=1.05 * UNSTEADY), pair=pair, of_persons=[bodies])


@pytest.mark.parametrize(("score", "unsteady", "kept"), [(0.98, 0.11, True), (0.96, 0.11, False), (0.98, 0.13, False)])
def test_crops_may_disagree_more_where_the_pair_detector_is_certain(score, unsteady, kept):
    assert is_kept(Shown(presence=0.99, score=score, unsteady=unsteady)) == kept


def test_the_result_is_of_all_crops_and_detectors():
    shown = Shown(right=0.6, unsteady=0.03)
    found = FoundHands([shown.found(2.0, pair=0.3, body=-0.1)])
    left, right = decided(Networks(shown), IMAGE, found, CONFIG).hands
    assert left is None
    assert right.evidence == pytest.approx((2.0 + 4 * log_odds(0.6)) / 5 + 0.3 - 0.1)
    np.testing.assert_allclose(right.spread, 3.0)
    np.testing.assert_allclose(right.hand.keypoints, shown.landmarks.keypoints)


@pytest.mark.parametrize(
    ("left", "right", "complete"),
    [
        ((0.81, 0.19), (0.81, 0.81), True),
        ((0.81, 0.19), None, False),
        ((HIGH_PRESENCE - 0.01, 0.19), (0.99, 0.97), False),
        ((0.99, 0.03), (HIGH_PRESENCE - 0.01, 0.97), False),
        ((0.99, 0.21), (0.99, 0.97), False),
        ((0.99, 0.03), (0.99, 0.79), False),
        ((0.99, 0.95), (0.99, 0.97), False),
    ],
)
def test_two_hands_of_high_presence_and_certain_sides_are_complete(left, right, complete):
    hands = [
        Shown(at, presence=values[0], right=values[1]).found()
        for at, values in ((LEFT_PLACE, left), (RIGHT_PLACE, right))
        if values is not None
    ]
    assert is_complete(FoundHands(hands)) == is_complete(FoundHands(hands[::-1])) == complete
    assert not is_complete(FoundHands())


def at_wrists(*hands: Shown) -> list[Prediction]:
    """What a person's pose predicts of the hands at the visible wrists."""
    return [Prediction("body", hand.box, 0.9, 0.0) for hand in hands]


@pytest.mark.parametrize("both_wrists", [False, True])
def test_hands_at_neither_visible_wrist_count_less(both_wrists):
    wrist, elsewhere = Shown(RIGHT_PLACE, presence=0.82), Shown(THIRD_PLACE, presence=0.99)
    persons = [at_wrists(wrist, Shown(LEFT_PLACE))]
    expected = RIGHT_PLACE if both_wrists else THIRD_PLACE
    found = FoundHands([elsewhere.found(), wrist.found(body=0.0)], of_persons=persons, both_wrists=both_wrists)
    assert places(decided(Networks(wrist, elsewhere), IMAGE, found, CONFIG)) == [None, expected]
    # Without another hand they are not dropped.
    assert places(result(elsewhere, of_persons=persons, both_wrists=both_wrists)) == [None, THIRD_PLACE]


@pytest.mark.parametrize("operator", [0, 1])
def test_hands_of_another_person_are_left_out(operator):
    hands = Shown(RIGHT_PLACE, presence=0.82), Shown(THIRD_PLACE, presence=0.99)
    persons = [at_wrists(hands[operator]), at_wrists(hands[1 - operator])]
    assert places(result(*hands, of_persons=persons)) == [None, hands[operator].at]
    # Also where the operator has no hand in the image.
    assert places(result(hands[1 - operator], of_persons=[at_wrists(Shown(LEFT_PLACE)), persons[1]])) == [None, None]


@pytest.mark.parametrize("worse", Side)
def test_of_two_on_one_hand_the_worse_is_dropped_for_the_next(worse):
    better = Shown(RIGHT_PLACE, 0.03 if worse == Side.RIGHT else 0.97, presence=0.97)
    again = Shown((355.0, 300.0), 1 - better.right, presence=0.96)
    following = Shown(THIRD_PLACE, again.right, presence=0.95, size=70.0)
    expected = [THIRD_PLACE, RIGHT_PLACE] if worse == Side.LEFT else [RIGHT_PLACE, THIRD_PLACE]
    assert places(result(better, again, following)) == expected
    # Where they are two hands each is better than the next.
    again.at = LEFT_PLACE
    expected[worse] = LEFT_PLACE
    assert places(result(better, again, following)) == expected


@pytest.mark.parametrize("part", Side)
def test_a_part_of_a_hand_is_dropped_whatever_its_presence(part):
    sides = (0.03, 0.97)
    large = Shown((300.0, 400.0), sides[part.other], presence=0.9, size=300.0)
    tip = Shown((300.0, 135.0), sides[part], presence=0.99, size=40.0)
    kept: list = [None, None]
    kept[part.other] = large.at
    assert places(result(large, tip)) == kept
    tip.at = (550.0, 135.0)
    kept[part] = tip.at
    assert places(result(large, tip)) == kept


@pytest.mark.parametrize("second_look", [{"presence": 0.5}, {"right": 0.97}])
def test_a_hand_that_is_dropped_leaves_its_slot_to_the_next(second_look):
    # More crops show hardly a hand, or another right one.
    left, following = Shown(LEFT_PLACE, 0.1), Shown(THIRD_PLACE, 0.2, 0.9)
    found = FoundHands([left.found(), Shown().found(), following.found()])
    assert places(decided(Networks(left, Shown(), following), IMAGE, found, CONFIG)) == [LEFT_PLACE, RIGHT_PLACE]
    changed = Networks(dataclasses.replace(left, **second_look), Shown(), following)
    assert places(decided(changed, IMAGE, found, CONFIG)) == [THIRD_PLACE, RIGHT_PLACE]


def test_a_side_that_more_crops_change_moves_the_hand_to_its_other_slot():
    """Its first crop was taken for a left hand; the others are certain that it is a right one."""
    hand = Shown()
    decision = decided(Networks(hand), IMAGE, FoundHands([hand.found(-0.3)]), CONFIG)
    assert places(decision) == [None, RIGHT_PLACE]


def test_a_hand_at_the_wrist_counts_also_where_the_palm_detector_found_it():
    at_wrist, elsewhere = Shown(presence=0.82), Shown(THIRD_PLACE, presence=0.99)
    of_body = [Prediction("body", at_wrist.box, 0.9, 0.9)]
    assert places(result(at_wrist, elsewhere, of_persons=[of_body], both_wrists=True)) == [None, RIGHT_PLACE]
