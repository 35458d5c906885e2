"""Several detectors together: turns in a stream, evidence of sides, hands without landmarks. Networks are simulated."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from streams import Stream
from test_track_locator import Shown, SimulatedNetworks, frame

from hand_recon_ros import Side
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.detect.body import BodyDetection, BodyHand, BodyPose
from hand_recon_ros.detect.image_search import search
from hand_recon_ros.detect.new_hands import BODY_EVIDENCE, VISIBLE, detect_new_hands
from hand_recon_ros.detect.pair_detector import CERTAIN, RegionHand
from hand_recon_ros.landmarks.crops import tracking_box
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.track.locator import Located

CONFIG = ReconstructorConfig(encoder="none")
LEFT_PLACE, RIGHT_PLACE, NEAR_RIGHT = (200, 300), (450, 300), (300, 300)
EMPTY = RotatedBox((320.0, 60.0), 90.0)
BODY, FAR = RotatedBox((320.0, 240.0), 600.0), RotatedBox((100.0, 240.0), 300.0)
KINDS = ("palms", "body", "pair", "encoder")


@dataclasses.dataclass
class SeenPerson:
    """A person in front of the pretended camera, with the boxes of the visible hands."""

    box: RotatedBox
    hands: dict[Side, RotatedBox] = dataclasses.field(default_factory=dict)
    visibility: dict[Side, float] = dataclasses.field(default_factory=dict)


class SimulatedBody:
    """Sees the ``persons`` exactly; a pose is that of the person whose box is nearest to the one that is read."""

    def __init__(self) -> None:
        self.persons: list[SeenPerson] = []
        self.detections = 0
        self.read_boxes: list[RotatedBox] = []

    def detect(self, image, threshold=0.5, view=None):
        self.detections += 1
        return [BodyDetection(0.9, person.box) for person in self.persons]

    def read(self, image, roi):
        self.read_boxes.append(roi)
        distances = [math.dist(person.box.center, roi.center) for person in self.persons]
        if min(distances, default=math.inf) > 0.2 * roi.size:
            return BodyPose(0.1, np.zeros((33, 2)), np.ones(33), roi)
        person = self.persons[int(np.argmin(distances))]
        return BodyPose(0.99, np.zeros((33, 2)), np.ones(33), person.box)

    def hands(self, image, pose):
        (person,) = (person for person in self.persons if person.box == pose.next_roi)
        return tuple(
            BodyHand(side, person.hands[side], person.visibility.get(side, 1.0)) if side in person.hands else None
            for side in Side
        )


class AllNetworks(SimulatedNetworks):
    """With a body network and a pair detector: the latter predicts the hands in ``pairs`` inside a region."""

    pair = True

    def __init__(self) -> None:
        super().__init__()
        self.body = SimulatedBody()
        self.pairs: dict[Side, tuple[float, RotatedBox, float]] = {}
        self.regions: list[RotatedBox] = []

    def detect_pair(self, image, region):
        self.regions.append(region)
        return tuple(self._hand(side, region) for side in Side)

    def _hand(self, side, region):
        score, box, evidence = self.pairs.get(side, (0.01, EMPTY, 0.0))
        inside = np.abs(region.from_image(np.array(box.center)) - 0.5).max() < 0.5
        sign = 1 if side == Side.RIGHT else -1
        return RegionHand(side, score if inside else 0.01, box, sign * evidence)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Steps of each detector so far, those of the pair detector once or twice."""
        return self.detections, self.body.detections + len(self.body.read_boxes), len(self.regions)


@pytest.fixture
def networks():
    return AllNetworks()


def box_of(hand: Shown, scale: float = 1.0) -> RotatedBox:
    box = tracking_box(hand.keypoints)
    return dataclasses.replace(box, size=scale * box.size)


def one_person(**hands: RotatedBox) -> list[SeenPerson]:
    return [SeenPerson(BODY, {Side[side.upper()]: box for side, box in hands.items()})]


class LocatedStream(Stream):
    """Gives all that was located in each image, and the kinds of the search steps in it."""

    def __init__(self, config, networks, rate=30.0):
        super().__init__(config, networks, rate)
        self.images, self.rate = 0, rate

    def __call__(self) -> tuple[Located, list[str]]:
        before = self.networks.counts
        self.tracks.advance(dataclasses.replace(frame(), stamp=self.images / self.rate))
        self.images += 1
        located = self.locator.locate(frame(), self.tracks, self.config)
        kinds = [kind for kind, a, b in zip(KINDS, before, self.networks.counts, strict=False) if b > a]
        return located, kinds + ["encoder"] * located.encoder_searches

    def during(self, seconds: float) -> list[list[str]]:
        """The kinds of the search steps in each image of the next so many seconds."""
        return [self()[1] for _ in range(round(seconds * self.rate))]


@pytest.mark.parametrize("rate", [15.0, 30.0, 60.0])
@pytest.mark.parametrize("operator", ["largest", "nearest", "first"])
def test_the_detectors_and_the_encoder_take_turns_one_in_an_image(networks, operator, rate):
    networks.shown = [Shown(LEFT_PLACE, 0.03)]
    networks.body.persons = one_person(right=EMPTY)
    stream = LocatedStream(ReconstructorConfig(operator=operator), networks, rate)
    used = stream.during(3.0)
    assert max(len(kinds) for kinds in used) == 1
    # In the first image no hand is followed yet, from which the encoder could predict the other one.
    steps = [kinds[0] for kinds in used if kinds]
    assert steps == [KINDS[step % 4] for step in range(len(steps))]
    # In the first second as many as there are images, up to 30 Hz.
    first, frequent = round(rate), min(rate, 30.0)
    assert sum(len(kinds) for kinds in used[:first]) == frequent
    assert sum(len(kinds) for kinds in used[first:]) == pytest.approx(2.0 / 0.18, abs=2)


@pytest.mark.parametrize(
    ("hands", "encoder", "expected"), [(0, "small", False), (1, "small", True), (1, "none", False), (2, "small", False)]
)
def test_the_encoder_has_turns_only_with_one_followed_hand(networks, hands, encoder, expected):
    networks.shown = [Shown(LEFT_PLACE, 0.03), Shown(RIGHT_PLACE, 0.97)][:hands]
    used = [
        kind for kinds in LocatedStream(ReconstructorConfig(encoder=encoder), networks).during(2.0) for kind in kinds
    ]
    assert ("encoder" in used) == expected
    assert len(used) == 1 if hands == 2 else len(used) >= 30


def test_without_other_detectors_palms_and_the_encoder_alternate(networks):
    networks.shown, networks.body, networks.pair = [Shown(LEFT_PLACE, 0.03)], None, None
    stream, detections, searches = Stream(ReconstructorConfig(), networks), [], []
    for image in range(8):
        before = networks.detections
        stream.tracks.advance(dataclasses.replace(frame(), stamp=image / 30.0))
        searches.append(stream.locator.locate(frame(), stream.tracks, stream.config).encoder_searches)
        detections.append(networks.detections > before)
    assert detections == [True, False] * 4 and searches == [False, True] * 4


def test_two_followed_hands_need_no_detector(networks):
    networks.shown = [Shown(LEFT_PLACE, 0.03), Shown(RIGHT_PLACE, 0.97)]
    stream = Stream(CONFIG, networks)
    for _ in range(20):
        stream.locate(frame())
    assert networks.counts == (1, 0, 0)


@pytest.mark.parametrize("kind", ["body", "pair"])
def test_a_hand_without_a_palm_is_found_with_its_side(networks, kind):
    # The landmark network alone takes it for a right hand.
    hand = Shown(LEFT_PLACE, 0.7, palm=0.0)
    networks.shown = [hand, Shown(RIGHT_PLACE, 0.97)]
    if kind == "body":
        networks.body.persons = one_person(left=box_of(hand))
    else:
        # In the region around the hand that is followed.
        networks.shown[1].at = NEAR_RIGHT
        networks.pairs = {Side.LEFT: (0.9, box_of(hand), 4.0)}
    stream = Stream(CONFIG, networks)
    # After palms, the body's detection and pairs: a pose is read in the second turn of the body.
    for _ in range({"pair": 3, "body": 5}[kind]):
        assert stream.tracks.hands[Side.LEFT].image is None
        left, right = stream.locate(frame())
    for pair in ((left, right), stream.search(frame())):
        assert pair[Side.LEFT] is not None and pair[Side.RIGHT] is not None
        np.testing.assert_allclose(pair[Side.LEFT].keypoints_2d, hand.keypoints)


def test_in_mirrored_images_the_detectors_sides_are_exchanged(networks):
    hand = Shown(LEFT_PLACE, 0.6, palm=0.0)
    networks.shown, networks.body.persons = [hand], one_person(left=box_of(hand))
    stream = Stream(dataclasses.replace(CONFIG, mirrored_input=True), networks)
    for _ in range(5):
        left, right = stream.locate(frame())
    assert left is None and right is not None
    assert stream.search(frame())[Side.RIGHT] is not None


def test_certain_hands_without_landmarks_are_given_as_boxes(networks):
    gloves = {side: RotatedBox((x, 300.0), 220.0) for side, x in zip(Side, (200.0, 420.0), strict=True)}
    networks.pairs = {side: (CERTAIN + 0.05, box, 2.0) for side, box in gloves.items()}
    image = frame().image
    assert search(networks, image, CONFIG).boxes == gloves
    stream, boxes = Stream(CONFIG, networks), []
    for _ in range(4):
        stream.tracks.advance(dataclasses.replace(frame(), stamp=len(boxes) / 30.0))
        boxes.append(stream.locator.locate(frame(), stream.tracks, CONFIG).boxes)
    assert gloves in boxes and {} in boxes
    networks.pairs[Side.LEFT] = (CERTAIN - 0.05, gloves[Side.LEFT], 2.0)
    networks.pairs[Side.RIGHT] = (CERTAIN + 0.05, gloves[Side.RIGHT], 0.5)  # its side is not clear
    assert search(networks, image, CONFIG).boxes == {}


def test_a_single_image_evaluates_each_box_once(networks):
    hand = Shown(RIGHT_PLACE, 0.97)
    networks.shown = [hand]
    # Every detector proposes the hand, and a place without one.
    networks.body.persons = one_person(right=box_of(hand), left=EMPTY)
    networks.pairs = {Side.RIGHT: (0.95, box_of(hand), 3.0), Side.LEFT: (0.6, EMPTY, 3.0)}
    evaluated = []
    read = networks.read
    networks.read = lambda image, rois, mirrored=False: evaluated.extend(rois) or read(image, rois, mirrored)
    search(networks, frame().image, CONFIG)
    # In three rotations, because there is no hand in the first.
    angles = [roi.angle for roi in evaluated if np.allclose(roi.center, EMPTY.center)]
    assert len(angles) == len(set(angles)) == 3


def test_the_first_pass_of_new_hands_evaluates_only_boxes_of_free_slots(networks):
    networks.shown = [Shown(LEFT_PLACE, 0.03), Shown(RIGHT_PLACE, 0.97)]
    left, right = (box_of(hand) for hand in networks.shown)
    networks.body.persons = one_person(left=left, right=right)
    result = detect_new_hands(networks, frame().image, [], "body", 0, CONFIG, BODY)
    assert len(result.hands) == 2 and not result.boxes
    assert networks.evaluations <= 4


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


@pytest.mark.parametrize(
    ("detector", "scale", "found"),
    [("pair", 1.0, True), ("pair", 1.5, True), ("pair", 1.7, False), ("body", 1.5, False)],
)
def test_a_hand_of_the_pair_step_is_read_again_in_a_smaller_box(networks, detector, scale, found):
    hand = Shown(LEFT_PLACE, 0.03, palm=0.0)
    hand.largest_box = 1.1 * box_of(hand).size
    networks.shown = [hand]
    networks.pairs = {Side.LEFT: (0.9, box_of(hand, scale), 4.0)}
    networks.body.persons = one_person(left=box_of(hand, scale))
    read, boxes = networks.read, []
    networks.read = lambda image, rois, mirrored=False: boxes.extend(rois) or read(image, rois, mirrored)
    result = detect_new_hands(networks, frame().image, [], detector, 0, CONFIG, BODY)
    assert [tuple(seen.keypoints[0]) for seen, _ in result.hands] == [LEFT_PLACE] * found
    sizes = [box.size / box_of(hand).size for box in boxes]
    assert sizes[0] == pytest.approx(scale)
    # A hand that is found is not read in a smaller box.
    smaller = [size for size in sizes if size == pytest.approx(0.7 * scale)]
    assert len(smaller) == (detector == "pair" and scale > 1.1)


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
