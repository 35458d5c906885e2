"""Hands that the landmark network finds only without colours, as many in gloves. Networks are simulated."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import pytest
from evidence import CAMERA
from streams import Stream, detect_new_hands
from test_handedness import OPEN_HAND
from test_track_encoder_schedule import APART, Oracle, hands
from test_track_locator import Shown, frame

from hand_recon_ros import Side
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.detect.handedness import Candidate, log_odds
from hand_recon_ros.detect.image_search import search
from hand_recon_ros.detect.pair_detector import RegionHand
from hand_recon_ros.detect.test_time_augmentation import AUGMENTATIONS
from hand_recon_ros.encode.hand_encoder import HandEncoder
from hand_recon_ros.encode.other_hand import with_boxes
from hand_recon_ros.landmarks.crops import alike, tracking_box
from hand_recon_ros.landmarks.hand_keypoints import moved_to_hand_model
from hand_recon_ros.landmarks.landmarks import HandLandmarks
from hand_recon_ros.landmarks.observation import RotatedBox

CONFIG = ReconstructorConfig(encoder="none")
IMAGE = frame().image
LEFT_PLACE, RIGHT_PLACE, NEAR_LEFT = (180.0, 300.0), (460.0, 300.0), (300.0, 300.0)
EMPTY = RotatedBox((0.0, 0.0), 50.0)


class Crop(NamedTuple):
    """A crop that the landmark network evaluated."""

    roi: RotatedBox
    mirrored: bool
    grey: bool


@dataclasses.dataclass
class Hand(Shown):
    """A hand that the landmark network sees in crops in colour with another presence: hardly ever."""

    in_colour: float = 0.02

    @property
    def box(self) -> RotatedBox:
        return tracking_box(self.keypoints)

    @property
    def side(self) -> Side:
        return Side.RIGHT if self.right > 0.5 else Side.LEFT


def bare(at, right: float) -> Hand:
    return Hand(at, right, in_colour=0.99)


class GloveNetworks:
    """Sees ``hands``, each in boxes around it in its own direction, no palms, and records the crops.

    The boxes of the pair detector are ``scale`` times as large as those of the hands, and ``turned`` (rad).
    """

    body, pair = None, True

    def __init__(self, *hands: Hand, scale: float = 1.0, turned: float = 0.0) -> None:
        self.hands, self.scale, self.turned = hands, scale, turned
        self.crops: list[Crop] = []

    def detect_palms(self, image, threshold, view=None):
        return []

    def detect_pair(self, image, region):
        found = [RegionHand(side, 0.01, EMPTY, 0.0) for side in Side]
        for hand in self.hands:
            if np.abs(region.from_image(np.array(hand.box.center)) - 0.5).max() < 0.5:
                found[hand.side] = RegionHand(hand.side, 0.99, self.detected(hand), 2.0 if hand.side else -2.0)
        return tuple(found)

    def detected(self, hand: Hand) -> RotatedBox:
        return RotatedBox(hand.box.center, self.scale * hand.box.size, hand.box.angle + self.turned)

    def read(self, image, rois, mirrored=False, grey=False, stems=False):
        flags = [[each] * len(rois) if isinstance(each, bool) else each for each in (mirrored, grey)]
        return [self.read_one(Crop(*one)) for one in zip(rois, *flags, strict=True)]

    def read_one(self, one: Crop) -> HandLandmarks:
        self.crops.append(one)
        points, presence, right = one.roi.to_image(OPEN_HAND * 0.3 + 0.5), 0.01, 0.5
        for hand in self.hands:
            near = math.dist(hand.box.center, one.roi.center) < 0.25 * one.roi.size
            if near and abs(hand.box.angle - one.roi.angle) < 0.5:
                points, presence, right = hand.keypoints, hand.presence if one.grey else hand.in_colour, hand.right
        flags = dict(mirrored=one.mirrored, grey=one.grey)
        return HandLandmarks(points, np.zeros(21), np.zeros((21, 3)), presence, right, one.roi, **flags)

    def taken(self) -> list[Crop]:
        """The crops since this was last asked for."""
        crops, self.crops = self.crops, []
        return crops


@pytest.mark.parametrize("turned", [0.0, 0.8])
@pytest.mark.parametrize("side", Side)
def test_a_single_image_has_a_hand_that_is_seen_only_without_colours(side, turned):
    hand = Hand(RIGHT_PLACE, (0.03, 0.97)[side])
    networks = GloveNetworks(hand, turned=turned)
    result = search(networks, IMAGE, CONFIG)
    assert result.hands[side.other] is None
    np.testing.assert_allclose(result.hands[side].hand.keypoints, hand.keypoints)
    assert result.hands[side].hand.grey
    # Three rotations in either way, then two crops of the hand and those of the augmentation.
    crops = networks.taken()
    assert [one.grey for one in crops] == [False] * 3 + [True] * (3 + 2 + len(AUGMENTATIONS))
    assert [one.roi for one in crops[:3]] == [one.roi for one in crops[3:6]]
    assert alike(crops[0].roi, networks.detected(hand), 1e-6)
    assert [one.mirrored for one in crops[-len(AUGMENTATIONS) :]] == [False, True, False, True]
    assert crops[-len(AUGMENTATIONS)].roi == crops[-len(AUGMENTATIONS) + 1].roi


def test_a_single_image_has_no_hand_where_none_is_seen_without_colours_either():
    hand = Hand(RIGHT_PLACE, 0.97, presence=0.02)
    networks = GloveNetworks(hand)
    assert search(networks, IMAGE, CONFIG).hands == (None, None)
    there = [one.grey for one in networks.crops if np.allclose(one.roi.center, hand.box.center)]
    assert there == [False] * 3 + [True] * 3


@pytest.mark.parametrize("turned", [0.0, 0.8])
def test_a_single_image_needs_no_crops_without_colours_of_a_hand_that_is_seen_with_them(turned):
    networks = GloveNetworks(bare(LEFT_PLACE, 0.03), turned=turned)
    left, right = search(networks, IMAGE, CONFIG).hands
    assert right is None and not left.hand.grey
    assert not any(one.grey for one in networks.crops)


@pytest.mark.parametrize("followed", [False, True])
def test_in_a_stream_every_other_turn_in_each_view_finds_a_hand_without_colours(followed):
    known, glove = bare(LEFT_PLACE, 0.03), Hand(NEAR_LEFT, 0.97)
    networks = GloveNetworks(*[known] * followed, glove, scale=1.25)
    before = [(networks.read_one(Crop(known.box, False, False)), Candidate(log_odds(0.03), known.size, 0.99))]
    turns = []
    for turn in range(8):
        networks.taken()
        found = detect_new_hands(networks, IMAGE, before * followed, "pair", turn, CONFIG).hands
        first, second, *later = networks.taken()
        assert not first.grey and alike(first.roi, networks.detected(glove), 1e-6)
        if found:
            ((hand, _),) = found
            turns.append(turn)
            np.testing.assert_allclose(hand.keypoints, glove.keypoints)
            # In the same box, and once more in that of the landmarks.
            assert hand.grey and second == first._replace(grey=True)
            assert [one.grey for one in later] == [True] and alike(later[0].roi, glove.box, 1e-6)
        else:
            assert not second.grey and second.roi.size < 0.8 * first.roi.size and not later
    assert turns == [2, 3, 6, 7]


@pytest.mark.parametrize("glove", Side)
def test_in_a_stream_only_the_hand_that_is_not_seen_in_colour_is_evaluated_without(glove):
    seen = [bare(LEFT_PLACE, 0.03), bare(RIGHT_PLACE, 0.97)]
    seen[glove].in_colour = 0.02
    networks = GloveNetworks(*seen, scale=1.25)
    result = detect_new_hands(networks, IMAGE, [], "pair", 2, CONFIG)
    assert [hand.grey for hand, _ in result.hands] == [side == glove for side in Side] and not result.boxes
    of_hand = [[one.grey for one in networks.crops if one.roi.center == hand.box.center] for hand in seen]
    assert of_hand[glove] == [False, True, True] and of_hand[glove.other] == [False, False]


@pytest.mark.parametrize("encoder", ["none", "small"])
@pytest.mark.parametrize("glove", Side)
def test_a_hand_is_followed_without_colours_if_it_was_found_so(glove, encoder):
    seen = [bare(LEFT_PLACE, 0.03), bare(RIGHT_PLACE, 0.97)]
    seen[glove].in_colour = 0.02
    networks = GloveNetworks(*seen)
    stream = Stream(ReconstructorConfig(encoder=encoder, encoder_interval=0.0), networks)
    found = [stream.locate(frame()) for _ in range(15)]
    assert None in found[0] and None not in found[-1]
    networks.taken()
    # For the encoder left hands are mirrored.
    expected = [(side == Side.LEFT and encoder != "none", side == glove) for side in Side]
    # Hands that move faster or slower than expected are too far off in the first crop.
    for steps, again in (((0.0, 0.0), []), ((4.0, 4.0), []), ((4.0, 40.0), [Side.RIGHT]), ((40.0, 0.0), Side)):
        for hand, step in zip(seen, steps, strict=True):
            hand.at = (hand.at[0], hand.at[1] - step)
        pair = stream.locate(frame())
        crops = [(one.mirrored, one.grey) for one in networks.taken()]
        assert crops == expected + [expected[side] for side in again]
        for hand in seen:
            np.testing.assert_allclose(pair[hand.side].keypoints_2d, moved_to_hand_model(hand.keypoints))
            assert not pair[hand.side].detected


class GloveOracle(Oracle):
    """Landmarks have one presence in colour and another without; their features tell which. Keeps those it encodes."""

    def __init__(self, in_colour, without):
        front = hands(APART)[Side.RIGHT]
        super().__init__(dict.fromkeys(Side, front))
        self.presences, self.evaluated, self.encoded = {False: in_colour, True: without}, [], []

    def __call__(self, image, observations, camera):
        self.encoded += [observation.stem for observation in observations]
        return super().__call__(image, observations, camera)

    def landmarks(self, image, box, mirrored, grey=False):
        self.evaluated.append(Crop(box, mirrored, grey))
        hand = super().landmarks(image, box, mirrored)
        return dataclasses.replace(hand, presence=self.presences[grey], stem=np.array([float(grey)]), grey=grey)


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize(
    ("in_colour", "without", "used"),
    [(0.02, 0.9, 0.9), (0.49, 0.9, 0.9), (0.5, 0.9, 0.5), (0.9, 0.99, 0.9), (0.1, 0.3, 0.3), (0.3, 0.1, 0.3)],
)
def test_the_encoder_takes_the_features_without_colours_where_those_in_colour_show_no_hand(
    side, in_colour, without, used
):
    oracle, box = GloveOracle(in_colour, without), RotatedBox((300.0, 200.0), 150.0)
    (found,) = with_boxes(oracle, IMAGE, [], {side: box}, CAMERA, detected=True)
    assert [stem.tolist() for stem in oracle.encoded] == [[float(used == without)]]
    in_both = [Crop(box, side == Side.LEFT, grey) for grey in (False, True)]
    assert oracle.evaluated == (in_both if in_colour < 0.5 else in_both[:1])
    # The landmarks of the used crop count, if they show a hand.
    of_side = 0.98 if side == Side.RIGHT else 0.02
    np.testing.assert_allclose(found.joint_scores, used * of_side if used >= 0.5 else 0.0)


@pytest.mark.parametrize("grey", [False, True])
def test_the_encoder_evaluates_landmarks_without_colours_where_asked(grey):
    networks = GloveNetworks()
    assert HandEncoder(None, networks).landmarks(IMAGE, EMPTY, True, grey).grey == grey
    assert networks.crops == [Crop(EMPTY, True, grey)]
