"""Several detectors together: turns in a stream, evidence of sides, hands without landmarks. Networks are simulated."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from streams import Stream
from test_track_locator import Shown, SimulatedNetworks, frame

from hand_recon_ros import Side
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.detect.body import BodyDetection, BodyHand, BodyPose
from hand_recon_ros.detect.image_search import search
from hand_recon_ros.detect.new_hands import detect_new_hands
from hand_recon_ros.detect.pair_detector import CERTAIN, RegionHand
from hand_recon_ros.landmarks.crops import tracking_box
from hand_recon_ros.landmarks.observation import RotatedBox

CONFIG = ReconstructorConfig(encoder="none")
LEFT_PLACE, RIGHT_PLACE, NEAR_RIGHT = (200, 300), (450, 300), (300, 300)
EMPTY = RotatedBox((320.0, 60.0), 90.0)


class SimulatedBody:
    """One person, whose visible hands are given."""

    def __init__(self) -> None:
        self.boxes: dict[Side, RotatedBox] = {}
        self.detections = 0

    def detect(self, image, threshold=0.5, view=None):
        self.detections += 1
        return [BodyDetection(0.9, RotatedBox((320.0, 240.0), 600.0))] if self.boxes else []

    def read(self, image, roi):
        return BodyPose(0.99, np.zeros((33, 2)), np.ones(33), roi)

    def hands(self, image, pose):
        return tuple(BodyHand(side, self.boxes[side], 1.0) if side in self.boxes else None for side in Side)


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
        return self.detections, self.body.detections, len(self.regions)


@pytest.fixture
def networks():
    return AllNetworks()


def box_of(hand: Shown) -> RotatedBox:
    return tracking_box(hand.keypoints)


def test_the_detectors_take_turns_one_in_an_image(networks):
    networks.shown = [Shown(LEFT_PLACE, 0.03)]
    stream, before, used = Stream(CONFIG, networks), (0, 0, 0), []
    for _ in range(14):
        stream.locate(frame())
        used.append(tuple(after > earlier for after, earlier in zip(networks.counts, before, strict=True)))
        before = networks.counts
    assert max(sum(kinds) for kinds in used) == 1
    # Each once in the first images, then at intervals.
    assert used[:3] == [(True, False, False), (False, True, False), (False, False, True)]
    assert used[3:7] == [(False, False, False)] * 4 and used[7] == (True, False, False)


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
        networks.body.boxes = {Side.LEFT: box_of(hand)}
    else:
        # In the region around the hand that is followed.
        networks.shown[1].at = NEAR_RIGHT
        networks.pairs = {Side.LEFT: (0.9, box_of(hand), 4.0)}
    stream = Stream(CONFIG, networks)
    for _ in range(3):
        left, right = stream.locate(frame())
    for pair in ((left, right), stream.search(frame())):
        assert pair[Side.LEFT] is not None and pair[Side.RIGHT] is not None
        np.testing.assert_allclose(pair[Side.LEFT].keypoints_2d, hand.keypoints)


def test_in_mirrored_images_the_detectors_sides_are_exchanged(networks):
    hand = Shown(LEFT_PLACE, 0.6, palm=0.0)
    networks.shown, networks.body.boxes = [hand], {Side.LEFT: box_of(hand)}
    stream = Stream(dataclasses.replace(CONFIG, mirrored_input=True), networks)
    for _ in range(2):
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
    networks.body.boxes = {Side.RIGHT: box_of(hand), Side.LEFT: EMPTY}
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
    networks.body.boxes = {side: box_of(hand) for side, hand in zip(Side, networks.shown, strict=True)}
    result = detect_new_hands(networks, frame().image, [], 1, CONFIG)
    assert len(result.hands) == 2 and not result.boxes
    assert networks.evaluations <= 4
