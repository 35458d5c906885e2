"""Test-time augmentation: the mean over several crops of each hand. The landmark network is simulated."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from test_handedness import OPEN_HAND

from hand_recon_ros.detect.handedness import log_odds
from hand_recon_ros.detect.test_time_augmentation import AUGMENTATIONS, averaged
from hand_recon_ros.landmarks.crops import tracking_box
from hand_recon_ros.landmarks.landmarks import HandLandmarks
from hand_recon_ros.landmarks.observation import RotatedBox

IMAGE = np.zeros((480, 640, 3), np.uint8)
LEFT = OPEN_HAND * 120.0 + [200.0, 240.0]
RIGHT = OPEN_HAND * 120.0 + [450.0, 240.0]


class Landmarks:
    """Sees the hand whose box is nearest, its keypoints displaced by another number of pixels in each crop."""

    def __init__(self) -> None:
        self.crops: list[tuple[RotatedBox, bool, bool]] = []

    def read(self, image, rois, mirrored, grey, stems=False):
        crops = list(zip(rois, mirrored, grey, strict=True))
        self.crops += crops
        return [self.read_one(*crop) for crop in crops]

    def read_one(self, roi, mirrored=False, grey=False):
        points, right = (LEFT, 0.1) if roi.center[0] < 320 else (RIGHT, 0.9)
        points = points + len(self.crops)
        return HandLandmarks(points, np.zeros(21), np.zeros((21, 3)), 0.9, right, roi, np.ones(4), mirrored, grey)


def moved(box: RotatedBox, share: float) -> RotatedBox:
    return dataclasses.replace(box, center=(box.center[0] + share * box.size, box.center[1]))


@pytest.fixture
def networks():
    return Landmarks()


def test_a_hand_is_the_mean_of_its_crops_in_the_box_of_its_landmarks(networks):
    hand = networks.read_one(moved(tracking_box(RIGHT), 0.1))
    ((merged, spread, right),) = averaged(networks, IMAGE, [hand], [[1.0]])
    assert [mirrored for _, mirrored, _ in networks.crops] == [mirrored for _, _, mirrored in AUGMENTATIONS]
    assert networks.crops[0][0] == networks.crops[1][0] == merged.roi == tracking_box(RIGHT)
    # The crops of a call are displaced alike: the first two by 2 pixels, the others by 4.
    np.testing.assert_allclose(merged.keypoints, RIGHT + 3)
    np.testing.assert_allclose(spread, np.sqrt(2))
    assert right == pytest.approx((1.0 + len(AUGMENTATIONS) * log_odds(0.9)) / (1 + len(AUGMENTATIONS)))


def test_hands_are_averaged_as_each_by_itself(networks):
    left = networks.read_one(tracking_box(LEFT))
    right = dataclasses.replace(networks.read_one(moved(tracking_box(RIGHT), 0.1)), grey=True)
    results = averaged(networks, IMAGE, [left, right], [[-1.0], []])
    assert [grey for _, _, grey in networks.crops] == ([False] * 2 + [True] * 2) * 2
    assert [one.roi for one, _, _ in results] == [tracking_box(LEFT), tracking_box(RIGHT)]
    assert results[0][2] < 0 < results[1][2]
    # The crop for the encoder shows a right hand: that of a left one is mirrored.
    assert [one.mirrored for one, _, _ in results] == [True, False]
    assert [one.grey for one, _, _ in results] == [False, True]


def test_no_hands_have_no_means(networks):
    assert averaged(networks, IMAGE, [], []) == []
