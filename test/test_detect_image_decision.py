"""Which hands of a single image are its left and right one, and which are boxes alone. Networks are simulated."""

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
from hand_recon_ros.detect.pair_detector import BOTH, CERTAIN, CLEAR_SIDE, RegionHand, alone
from hand_recon_ros.landmarks.crops import alike, tracking_box
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
        return self.landmarks.next_roi()

    def found(self, *crops: float, **detectors: float) -> FoundHand:
        return FoundHand(self.landmarks, list(crops) or [log_odds(self.right)], detectors)


class Networks:
    """Sees in each crop the hand whose box is nearest; every other crop shifts it to one side by ``unsteady``.

    The pair detector sees the hands in ``together`` in regions that are not around one hand alone.
    """

    def __init__(self, *shown: Shown, pair: bool = True, together: tuple[RegionHand, RegionHand] | None = None) -> None:
        self.shown, self.pair = shown, pair or None
        self.together, self.pair_regions = together or NOTHING, 0

    def read(self, image, rois, mirrored=False, grey=False):
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


def test_a_side_that_more_crops_change_moves_the_hand_to_its_other_slot():
    """Its first crop was taken for a left hand; the others are certain that it is a right one."""
    hand = Shown()
    decision = decided(Networks(hand), IMAGE, FoundHands([hand.found(-0.3)]), CONFIG)
    assert places(decision) == [None, RIGHT_PLACE]


@pytest.mark.parametrize("hand", [Shown(presence=0.6), Shown(presence=0.98, unsteady=0.5)])
def test_without_a_pair_detector_rejected_hands_are_no_boxes(hand):
    decision = result(hand, pair=False)
    assert decision.hands == (None, None) and decision.boxes == {}


def test_a_hand_at_the_wrist_counts_also_where_the_palm_detector_found_it():
    at_wrist, elsewhere = Shown(presence=0.82), Shown(THIRD_PLACE, presence=0.99)
    of_body = [Prediction("body", at_wrist.box, 0.9, 0.9)]
    assert places(result(at_wrist, elsewhere, of_persons=[of_body], both_wrists=True)) == [None, RIGHT_PLACE]


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
