"""The locator's decisions: when it detects, what it follows, what it keeps. The networks are simulated."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from streams import Stream
from test_handedness import OPEN_HAND

from hand_recon_ros import Camera, Frame, Side
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.detect.palm import PalmDetection
from hand_recon_ros.detect.test_time_augmentation import AUGMENTATIONS
from hand_recon_ros.landmarks.hand_keypoints import moved_to_hand_model
from hand_recon_ros.landmarks.landmarks import HandLandmarks
from hand_recon_ros.landmarks.observation import RotatedBox

SIZE = (640, 480)


@dataclasses.dataclass
class Shown:
    """A hand in front of the pretended camera; in boxes larger than ``largest_box`` the landmark network misses it."""

    at: tuple[float, float]
    right: float
    size: float = 100.0
    palm: float = 0.9
    presence: float = 0.99
    largest_box: float = math.inf

    @property
    def keypoints(self) -> np.ndarray:
        return OPEN_HAND * [self.size if self.right > 0.5 else -self.size, self.size] + np.array(self.at)


class SimulatedNetworks:
    """Sees the hands in ``shown`` exactly, each in any square that its palm lies well inside of."""

    body = pair = None

    def __init__(self) -> None:
        self.shown: list[Shown] = []
        self.detections = 0
        self.evaluations = 0

    def detect_palms(self, image, threshold, view=None):
        self.detections += 1
        palms = []
        for hand in sorted(self.shown, key=lambda hand: -hand.palm):
            if hand.palm >= threshold:
                center = hand.keypoints[[0, 5, 17]].mean(axis=0)
                half = 0.3 * hand.size
                roi = RotatedBox(tuple(center - [0, half]), 2.6 * 2 * half)
                palms.append(PalmDetection(hand.palm, np.concatenate([center - half, center + half]), roi))
        return palms

    def read(self, image, rois, mirrored=False, grey=False, stems=False):
        self.evaluations += len(rois)
        return [self._read(roi) for roi in rois]

    def _read(self, roi):
        def distance(hand):
            return float(np.linalg.norm(roi.from_image(hand.keypoints[9]) - 0.5))

        nearest = min((hand for hand in self.shown if hand.presence > 0.3), key=distance, default=None)
        if nearest is None or distance(nearest) > 0.4 or roi.size > nearest.largest_box:
            return HandLandmarks(roi.to_image(OPEN_HAND * 0.3 + 0.5), np.zeros(21), np.zeros((21, 3)), 0.01, 0.5, roi)
        return HandLandmarks(nearest.keypoints, np.zeros(21), np.zeros((21, 3)), nearest.presence, nearest.right, roi)


@pytest.fixture
def stage():
    networks = SimulatedNetworks()
    return networks, Stream(ReconstructorConfig(encoder="none"), networks)


def frame(width: int = SIZE[0], height: int = SIZE[1]) -> Frame:
    return Frame(np.zeros((height, width, 3), np.uint8), Camera.from_fov(width, height, 60.0))


def test_both_hands_are_found_and_followed_without_further_detection(stage):
    networks, stream = stage
    networks.shown = [Shown((200, 300), 0.03), Shown((450, 300), 0.97)]
    left, right = stream.locate(frame())
    assert (left.side, right.side) == (Side.LEFT, Side.RIGHT)
    assert left.detected and right.detected and networks.detections == 1
    for _ in range(19):
        for hand in networks.shown:
            hand.at = (hand.at[0] + 5, hand.at[1] - 2)
        left, right = stream.locate(frame())
        np.testing.assert_allclose(left.keypoints_2d, moved_to_hand_model(networks.shown[0].keypoints))
        np.testing.assert_allclose(right.keypoints_2d, moved_to_hand_model(networks.shown[1].keypoints))
        assert not left.detected and (stream.track_id(Side.LEFT), stream.track_id(Side.RIGHT)) == (1, 2)
    assert networks.detections == 1
    assert left.side_score > 0.999


def test_hands_are_detected_in_every_image_of_the_first_second_and_then_at_intervals(stage):
    networks, stream = stage
    networks.shown = [Shown((200, 300), 0.03)]
    counts = [0]
    for _ in range(60):
        stream.locate(frame())
        counts.append(networks.detections)
    steps = np.flatnonzero(np.diff(counts))
    assert counts[-1] == len(steps) and list(steps[:30]) == list(range(30))
    later = steps[steps > 30]  # the image at one second may count to either
    assert list(np.diff(later)) == [5] * 4 or list(np.diff(later)) == [5] * 5
    networks.shown.append(Shown((450, 300), 0.97))
    until = later[-1] + 5 - 60
    seen = [stream.locate(frame())[1] for _ in range(until + 1)]
    assert [observation is not None for observation in seen] == [False] * until + [True]


@pytest.mark.parametrize(("rate", "first"), [(15.0, 15), (30.0, 30), (60.0, 30)])
def test_detections_per_second_do_not_depend_on_the_frame_rate(rate, first):
    networks = SimulatedNetworks()
    networks.shown = [Shown((200, 300), 0.03)]
    stream = Stream(ReconstructorConfig(encoder="none"), networks, rate)
    for _ in range(round(rate)):
        stream.locate(frame())
    assert networks.detections == first
    for _ in range(round(2.0 * rate)):
        stream.locate(frame())
    assert networks.detections - first == pytest.approx(2.0 / 0.18, abs=2)


@pytest.mark.parametrize("rate", [15.0, 30.0, 60.0])
def test_after_a_loss_hands_are_searched_in_every_image_again(rate):
    networks = SimulatedNetworks()
    networks.shown = [Shown((200, 300), 0.03), Shown((450, 300), 0.97)]
    stream = Stream(ReconstructorConfig(encoder="none"), networks, rate)
    for _ in range(round(3.0 * rate)):
        stream.locate(frame())
    assert networks.detections == 1
    networks.shown.pop()
    for _ in range(round(rate)):
        stream.locate(frame())
    assert networks.detections == 1 + min(rate, 30.0)


def test_after_a_loss_hands_are_detected_in_the_same_image(stage):
    networks, stream = stage
    networks.shown = [Shown((200, 300), 0.03), Shown((450, 300), 0.97)]
    stream.locate(frame())
    networks.shown[1].at = (80, 150)  # out of its square
    left, right = stream.locate(frame())
    assert networks.detections == 2
    assert right is not None and right.detected and stream.track_id(Side.RIGHT) == 3
    assert not left.detected and stream.track_id(Side.LEFT) == 1
    networks.shown = []
    assert stream.locate(frame()) == (None, None)
    assert networks.detections == 3


def test_presence_below_the_setting_is_a_loss(stage):
    networks, stream = stage
    networks.shown = [Shown((200, 300), 0.03)]
    assert stream.locate(frame())[0] is not None
    networks.shown[0].presence = 0.4
    assert stream.locate(frame()) == (None, None)
    stream.config = dataclasses.replace(stream.config, min_presence=0.3)
    stream.reset()
    assert stream.locate(frame())[0].score == 0.4


def test_never_two_hands_of_one_side(stage):
    networks, stream = stage
    networks.shown = [Shown((200, 300), 0.97, size=90), Shown((450, 300), 0.97, size=120)]
    for _ in range(12):
        left, right = stream.locate(frame())
        assert left is None
        np.testing.assert_allclose(right.keypoints_2d, moved_to_hand_model(networks.shown[1].keypoints))
    assert stream.track_id(Side.RIGHT) == 1


def test_a_wrong_first_handedness_is_overcome(stage):
    networks, stream = stage
    networks.shown = [Shown((200, 300), 0.7), Shown((450, 300), 0.97)]
    left, right = stream.locate(frame())
    assert left is not None and right is not None
    assert left.side_score == pytest.approx(0.3)
    networks.shown[0].right = 0.05
    networks.shown[1].right = 0.95
    for _ in range(5):
        left, right = stream.locate(frame())
    assert left.side_score > 0.9


def test_a_lone_hand_changes_its_slot_when_its_side_becomes_clear(stage):
    networks, stream = stage
    networks.shown = [Shown((200, 300), 0.45)]
    assert stream.locate(frame())[0] is not None
    networks.shown[0].right = 0.95
    for _ in range(6):
        left, right = stream.locate(frame())
    assert left is None and right is not None


def test_mirrored_input_exchanges_sides_and_nothing_else(stage):
    networks, stream = stage
    networks.shown = [Shown((200, 300), 0.03), Shown((450, 300), 0.97)]
    plain = stream.locate(frame())
    plain_single = stream.search(frame())
    stream.config = dataclasses.replace(stream.config, mirrored_input=True)
    stream.reset()
    for expected, mirrored in ((plain, stream.locate(frame())), (plain_single, stream.search(frame()))):
        for side in Side:
            assert mirrored[side].side == side and mirrored[side].shown_side == side.other
            assert mirrored[side].mirrored and not expected[side].mirrored
            np.testing.assert_array_equal(mirrored[side].keypoints_2d, expected[side.other].keypoints_2d)
            assert mirrored[side].side_score == pytest.approx(expected[side.other].side_score)


def test_single_images_neither_use_nor_change_what_is_followed(stage):
    networks, stream = stage
    networks.shown = [Shown((200, 300), 0.03)]
    stream.locate(frame())
    networks.shown = [Shown((450, 300), 0.97)]
    left, right = stream.search(frame())
    assert left is None and right.side == Side.RIGHT
    networks.shown = [Shown((205, 300), 0.03)]
    left, _ = stream.locate(frame())
    assert stream.track_id(Side.LEFT) == 1 and not left.detected


def test_single_images_are_searched_further_only_while_a_hand_is_missing(stage):
    networks, stream = stage
    networks.shown = [Shown((200, 300), 0.03), Shown((450, 300), 0.97)]
    stream.search(frame())
    assert networks.detections == 1
    networks.shown.pop()
    stream.search(frame())
    assert networks.detections > 5


def test_faint_palms_count_in_single_images_where_the_landmarks_confirm_them(stage):
    networks, stream = stage
    networks.shown = [Shown((200, 300), 0.03, palm=0.2)]
    assert stream.locate(frame()) == (None, None)
    assert stream.search(frame())[0] is not None
    networks.shown[0].presence = 0.7
    assert stream.search(frame()) == (None, None)


def test_another_image_size_starts_anew_and_ids_are_not_used_again(stage):
    networks, stream = stage
    networks.shown = [Shown((200, 300), 0.03)]
    assert stream.locate(frame())[0] is not None and stream.track_id(Side.LEFT) == 1
    left, _ = stream.locate(frame(800, 600))
    assert left.detected and stream.track_id(Side.LEFT) == 2
    stream.reset()
    assert stream.locate(frame(800, 600))[0] is not None and stream.track_id(Side.LEFT) == 3


def test_where_tracks_overlap_each_keeps_its_own_hand_or_ends(stage):
    networks, stream = stage
    networks.shown = [Shown((150, 300), 0.03), Shown((400, 300), 0.97)]
    stream.locate(frame())
    for x in range(150, 400, 10):  # the left hand slides behind the right one
        networks.shown[0].at = (x, 300)
        if x > 330:
            networks.shown[0].presence = 0.1
        pair = stream.locate(frame())
        found = [observation for observation in pair if observation is not None]
        assert len({observation.side for observation in found}) == len(found)
    assert pair[0] is None and stream.track_id(Side.RIGHT) == 2


def test_a_part_of_a_followed_hand_is_no_other_hand(stage):
    """Such as a finger that is detected as a hand."""
    networks, stream = stage
    networks.shown = [Shown((300, 320), 0.97, size=160.0)]
    stream.locate(frame())
    networks.shown.append(Shown((310, 260), 0.03, size=50.0, presence=0.8))
    assert not any(stream.locate(frame())[Side.LEFT] is not None for _ in range(20))


def test_a_doubtful_larger_hand_does_not_hide_a_sure_one(stage):
    networks, stream = stage
    networks.shown = [Shown((300, 300), 0.03, size=100.0), Shown((320, 330), 0.97, size=270.0, presence=0.35)]
    assert any(stream.locate(frame())[Side.LEFT] is not None for _ in range(10))


def test_a_sure_hand_between_the_fingers_of_another_is_one(stage):
    networks, stream = stage
    networks.shown = [Shown((300, 320), 0.97, size=160.0)]
    stream.locate(frame())
    networks.shown.append(Shown((310, 260), 0.03, size=50.0, presence=0.99))
    assert any(stream.locate(frame())[Side.LEFT] is not None for _ in range(20))


def test_of_two_clear_hands_in_a_single_image_fewer_crops_are_evaluated(stage):
    """Two of each and those of the augmentation; where one hand is missing, three of the other."""
    networks, stream = stage
    networks.shown = [Shown((200, 300), 0.03), Shown((450, 300), 0.97)]
    for hands, crops in ((2, 2), (1, 3)):
        networks.evaluations, networks.shown = 0, networks.shown[:hands]
        assert len([one for one in stream.search(frame()) if one is not None]) == hands
        assert networks.evaluations == hands * (crops + len(AUGMENTATIONS))
