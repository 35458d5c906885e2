"""Several detectors together: turns in a stream, evidence of sides, hands without landmarks. Networks are simulated."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from streams import Stream, detect_new_hands
from test_track_locator import Shown, SimulatedNetworks, frame

from hand_recon_ros import Side
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.detect.body import BodyDetection, BodyHand, BodyPose
from hand_recon_ros.detect.image_search import search
from hand_recon_ros.detect.pair_detector import CERTAIN, RegionHand
from hand_recon_ros.landmarks.crops import tracking_box
from hand_recon_ros.landmarks.hand_keypoints import moved_to_hand_model
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
        before, followed, evaluations = self.networks.counts, len(self.tracks.followed), self.networks.evaluations
        self.tracks.advance(dataclasses.replace(frame(), stamp=self.images / self.rate))
        self.images += 1
        located = self.locator.locate(frame(), self.tracks, self.config)
        kinds = [kind for kind, a, b in zip(KINDS, before, self.networks.counts, strict=False) if b > a]
        if followed and self.networks.evaluations > evaluations + followed:
            kinds.append("proposals")
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
    # The other hand's box by each pose that was read is evaluated in the next image.
    evaluated = [index for index, kind in enumerate(steps) if kind == "proposals"]
    assert {steps[index - 1] for index in evaluated} == {"body"}
    assert len(networks.body.read_boxes) - 1 <= len(evaluated) <= len(networks.body.read_boxes) and evaluated
    turns = [kind for kind in steps if kind != "proposals"]
    assert turns == [KINDS[step % 4] for step in range(len(turns))]
    # In the first second as many as there are images, up to 30 Hz.
    first = round(rate)
    if rate <= 30.0:
        assert sum(len(kinds) for kinds in used[:first]) == rate
    else:
        assert sum(kinds != ["proposals"] for kinds in used[:first] if kinds) == 30
    assert sum(kinds != ["proposals"] for kinds in used[first:] if kinds) == pytest.approx(2.0 / 0.18, abs=2)


@pytest.mark.parametrize(
    ("hands", "encoder", "expected"), [(0, "small", False), (1, "small", True), (1, "none", False), (2, "small", False)]
)
def test_the_encoder_has_turns_only_with_one_followed_hand(networks, hands, encoder, expected):
    networks.shown = [Shown(LEFT_PLACE, 0.03), Shown(RIGHT_PLACE, 0.97)][:hands]
    stream = LocatedStream(ReconstructorConfig(encoder=encoder), networks)
    used = [kind for kinds in stream.during(2.0) for kind in kinds]
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
    # After palms, the body's detection and pairs: a pose is read in the second turn of the body. The box is evaluated
    # in the image after.
    for _ in range({"pair": 3, "body": 5}[kind] + 1):
        assert stream.tracks.hands[Side.LEFT].image is None
        left, right = stream.locate(frame())
    for pair in ((left, right), stream.search(frame())):
        assert pair[Side.LEFT] is not None and pair[Side.RIGHT] is not None
        np.testing.assert_allclose(pair[Side.LEFT].keypoints_2d, moved_to_hand_model(hand.keypoints))


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
    read, evaluated = networks.read, {False: [], True: []}

    def recorded(image, rois, mirrored=False, grey=False, stems=False):
        for roi, colourless in zip(rois, [grey] * len(rois) if isinstance(grey, bool) else grey, strict=True):
            evaluated[colourless].append(roi)
        return read(image, rois, mirrored, grey, stems)

    networks.read = recorded
    search(networks, frame().image, CONFIG)
    # In three rotations, because there is no hand in the first, and in the same without colours.
    for rois in evaluated.values():
        angles = [roi.angle for roi in rois if np.allclose(roi.center, EMPTY.center)]
        assert len(angles) == len(set(angles)) == 3


def test_the_first_pass_of_new_hands_evaluates_only_boxes_of_free_slots(networks):
    networks.shown = [Shown(LEFT_PLACE, 0.03), Shown(RIGHT_PLACE, 0.97)]
    left, right = (box_of(hand) for hand in networks.shown)
    networks.body.persons = one_person(left=left, right=right)
    result = detect_new_hands(networks, frame().image, [], "body", 0, CONFIG, BODY)
    assert len(result.hands) == 2 and not result.boxes
    assert networks.evaluations <= 4


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
    networks.read = lambda image, rois, *flags, **more: boxes.extend(rois) or read(image, rois, *flags, **more)
    result = detect_new_hands(networks, frame().image, [], detector, 0, CONFIG, BODY)
    assert [tuple(seen.keypoints[0]) for seen, _ in result.hands] == [LEFT_PLACE] * found
    sizes = [box.size / box_of(hand).size for box in boxes]
    assert sizes[0] == pytest.approx(scale)
    # A hand that is found is not read in a smaller box.
    smaller = [size for size in sizes if size == pytest.approx(0.7 * scale)]
    assert len(smaller) == (detector == "pair" and scale > 1.1)


def test_a_box_that_was_proposed_beside_a_followed_hand_is_evaluated_once_in_the_next_image(networks):
    left, right = Shown(NEAR_RIGHT, 0.03), Shown(RIGHT_PLACE, 0.97, palm=0.0)
    networks.shown = [left, right]
    networks.pairs = {Side.RIGHT: (0.9, box_of(right), 4.0)}
    stream = LocatedStream(CONFIG, networks)
    assert [stream()[1], stream()[1]] == [["palms"], ["body"]]
    located, kinds = stream()
    assert kinds == ["pair"] and len(located.observations) == 1
    located, kinds = stream()
    assert kinds == ["proposals"] and len(located.observations) == 2
    assert stream.tracks.search.proposals is None
    assert stream.during(0.5) == [[]] * 15
