"""A hand that the other one covers, in a stream: followed by the encoder while the pair detector is certain of two."""

import math

import numpy as np
import pytest
from evidence import CAMERA
from network_keypoints import network_keypoints
from test_track_encoder_schedule import Oracle, Stream, hands

from hand_recon_ros import HandState, Side
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.detect.pair_detector import BOTH, RegionHand, region_of
from hand_recon_ros.detect.palm import PalmDetection
from hand_recon_ros.landmarks.crops import alike
from hand_recon_ros.landmarks.hand_keypoints import hand_box
from hand_recon_ros.landmarks.landmarks import HandLandmarks
from hand_recon_ros.track.locator import HandLocator


class PretendedNetworks:
    """The landmark network sees the hands of ``seen``, each in boxes around it; the pair detector always sees both."""

    body, pair = None, True

    def __init__(self, keypoints):
        self.oracle, self.seen, self.score = Oracle(keypoints), list(Side), 0.9
        self.regions, self.palms = [], 0

    def box(self, side):
        return hand_box(CAMERA.project(self.oracle.keypoints[side]))

    def detect_palms(self, image, threshold, view=None):
        self.palms += 1
        return [PalmDetection(0.9, np.zeros(4), self.box(side)) for side in self.seen]

    def read(self, image, rois, mirrored=False, grey=False, stems=False):
        return [self.read_one(roi) for roi in rois]

    def read_one(self, roi):
        distance, side = min((math.dist(roi.center, self.box(side).center), side) for side in self.seen)
        presence, right = 0.99 if distance < 0.3 * roi.size else 0.01, 0.97 if side == Side.RIGHT else 0.03
        pixels = network_keypoints(CAMERA.project(self.oracle.keypoints[side]))
        return HandLandmarks(pixels, np.zeros(21), np.zeros((21, 3)), presence, right, roi)

    def detect_pair(self, image, region):
        self.regions.append(region)
        left, right = (self.box(side) for side in Side)
        return RegionHand(Side.LEFT, self.score, left, -2.0), RegionHand(Side.RIGHT, 0.99, right, 2.0)


class CoveredHand(Stream):
    """Images in which hands are located and then encoded. In the fourth one the right hand comes to cover the left one
    point by point, or the left one turns away where it is (``beside``), so that its landmarks are not seen."""

    def __init__(self, rate=30.0, score=0.9, beside=False, apart=0.06):
        keypoints = hands({Side.LEFT: -apart / 2, Side.RIGHT: apart / 2})
        self.networks = PretendedNetworks(keypoints)
        super().__init__(self.networks.oracle, rate)
        self.locator = HandLocator(self.networks)
        assert [self.next_image()[0] for _ in range(3)] == [list(Side)] * 3
        self.last_left = self.networks.box(Side.LEFT)
        self.networks.seen, self.networks.score = [Side.RIGHT], score
        if not beside:
            keypoints[Side.LEFT] = keypoints[Side.RIGHT] + [0.002, 0.0, 0.0]

    def next_image(self):
        """The sides of the hands, and whether the pair detector is certain of both."""
        pair, self.networks.regions, self.networks.palms = [], [], 0

        def locate(frame):
            located = self.locator.locate(frame, self.tracks, ReconstructorConfig())
            pair.append(located.pair)
            return located

        return [observation.side for observation in self.image(locate)], pair[0]

    @property
    def is_evaluated(self):
        """Whether the last image had one evaluation of the pair detector, around the right hand and the left one's last
        box; a search step of this detector has a second one."""
        if len(self.networks.regions) != 1:
            return False
        own, last = self.networks.box(Side.RIGHT), (self.last_left, self.networks.box(Side.LEFT))
        return any(alike(self.networks.regions[0], region_of([own, other]), 1e-6) for other in last)


@pytest.mark.parametrize(("rate", "images"), [(15.0, 2), (30.0, 3), (60.0, 6)])
def test_a_covered_hand_is_kept_while_the_pair_detector_is_certain(rate, images):
    stream = CoveredHand(rate)
    track, evaluated = stream.tracks.hands[Side.LEFT].track_id, []
    for image in range(6 * images):
        assert stream.next_image() == (list(Side), True)
        if stream.is_evaluated:
            evaluated.append(image)
            assert stream.networks.palms == 0  # no other search step in this image
    assert evaluated == [turn * images for turn in range(6)]
    assert stream.tracks.hands[Side.LEFT].track_id == track
    observation = stream.tracks.hands[Side.LEFT].observation
    np.testing.assert_allclose(observation.keypoints_2d, CAMERA.project(stream.oracle.keypoints[Side.LEFT]))
    assert not observation.joint_scores.any()


def test_a_covered_hand_is_lost_where_the_pair_detector_is_not_certain():
    stream = CoveredHand(score=BOTH - 0.01)
    assert stream.next_image() == ([Side.RIGHT], False) and stream.is_evaluated
    for _ in range(7):
        assert stream.next_image() == ([Side.RIGHT], False) and not stream.is_evaluated  # there is no last box
    assert stream.tracks.hands[Side.LEFT].state.state == HandState.LOST


def test_a_covered_hand_is_lost_within_a_tenth_of_a_second_once_the_pair_detector_is_not_certain():
    stream = CoveredHand()
    assert [stream.next_image() for _ in range(4)] == [(list(Side), True)] * 4
    stream.networks.score = BOTH - 0.01
    assert [stream.next_image() for _ in range(2)] == [(list(Side), True)] * 2
    assert [stream.next_image() for _ in range(4)] == [([Side.RIGHT], False)] * 4


def test_without_a_pair_detector_a_covered_hand_is_lost():
    stream = CoveredHand()
    stream.networks.pair = None
    assert stream.next_image() == ([Side.RIGHT], False) and stream.networks.regions == []


@pytest.mark.parametrize(("apart", "evaluated"), [(0.06, True), (0.4, False)])
def test_a_hand_that_only_the_encoder_follows_is_evaluated_where_it_may_be_covered(apart, evaluated):
    stream = CoveredHand(score=BOTH - 0.01, beside=True, apart=apart)
    images = []
    for image in range(7):
        # The encoder does not need the pair detector for a hand that is elsewhere in the image.
        assert stream.next_image() == (list(Side), False)
        images += [image] * stream.is_evaluated
    assert images == ([0, 3, 6] if evaluated else [])
