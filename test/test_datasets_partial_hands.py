"""Boxes of hands of which some keypoints are not known."""

from __future__ import annotations

import numpy as np
import pytest

from hand_recon_ros import Side
from hand_recon_ros.datasets.partial_hands import FLAT_HAND, known_box
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.landmarks.crops import TRACK_POINTS
from hand_recon_ros.landmarks.hand_keypoints import hand_box
from hand_recon_ros.synthetic.sample_stream import SampleStream


def test_the_flat_hand_is_that_of_the_hand_model():
    rest = load_hand_model().kinematics(Side.RIGHT).rest_keypoints(np.zeros(10))
    np.testing.assert_allclose(FLAT_HAND, 1e3 * (rest - rest[0])[:, [2, 0]] * (1, -1), atol=0.6)


def test_a_flat_hand_has_the_same_box_from_five_keypoints():
    rng = np.random.default_rng(0)
    for _ in range(20):
        matrix = np.linalg.qr(rng.normal(size=(2, 2)))[0] @ np.diag(rng.uniform(0.5, 1.5, 2))
        keypoints = FLAT_HAND @ matrix + (200, 300)
        partial = np.full((21, 2), np.nan)
        known = [0, 4, 8, 12, 20]
        partial[known] = keypoints[known]
        box, expected = known_box(partial), hand_box(keypoints)
        assert box is not None
        np.testing.assert_allclose(box.center, expected.center)
        np.testing.assert_allclose((box.size, box.angle), (expected.size, expected.angle))


def test_known_keypoints_that_do_not_bound_the_box_do_not_count():
    keypoints = FLAT_HAND.copy()
    others = np.setdiff1d(np.arange(21), TRACK_POINTS)
    keypoints[others] = np.nan
    assert known_box(keypoints) == hand_box(FLAT_HAND)


@pytest.mark.parametrize("unknown", [[0], [5, 9, 13], [1, 2, 3, 4], [0, 5, 9, 13, 17]])
def test_boxes_of_rendered_hands_are_near_those_of_all_keypoints(unknown):
    stream = SampleStream("val", 0, load_hand_model())
    apart, sizes = [], []
    for number in range(30):
        sample = stream[number]
        for keypoints in sample.keypoints_2d[sample.present]:
            partial = keypoints.copy()
            partial[unknown] = np.nan
            box, whole = known_box(partial), hand_box(keypoints)
            assert box is not None
            apart.append(np.linalg.norm(np.subtract(box.center, whole.center)) / whole.size)
            sizes.append(box.size / whole.size)
    assert len(sizes) > 20
    assert np.median(apart) < 0.08 and 0.85 < np.median(sizes) < 1.15


def test_keypoints_on_a_line_or_too_few():
    finger = np.full((21, 2), np.nan)
    finger[[0, 5, 6, 7, 8]] = FLAT_HAND[[0, 5, 6, 7, 8]]
    box = known_box(finger)
    assert box is not None and 100 < box.size < 500 and np.abs(box.center - FLAT_HAND.mean(axis=0)).max() < 100
    finger[8] = np.nan
    assert known_box(finger) is None
    assert known_box(np.full((21, 2), np.nan)) is None
