"""Variations of rendered samples: what changes, and that the ground truth follows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hand_recon_ros.datasets import variations
from hand_recon_ros.datasets.crops import visible_part
from hand_recon_ros.datasets.sample import BACKGROUND, LEFT_HAND, OTHER, RIGHT_HAND
from hand_recon_ros.datasets.variations import varied
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.synthetic.sample_stream import SampleStream

SHARES = ("_OTHER_BACKGROUND", "_DYED", "_COVERED", "_AUGMENTED")
GREEN = (10, 200, 30)


@pytest.fixture(scope="module")
def sample():
    stream = SampleStream("val", 0, load_hand_model())
    return next(one for one in map(stream.__getitem__, range(20)) if one.present.all())


@pytest.fixture
def only(monkeypatch):
    """Sets the share of one variation to 1, and the others to 0."""

    def choose(name):
        for share in SHARES:
            monkeypatch.setattr(variations, share, float(share == name))

    return choose


def green(size, rng):
    return np.full((size, size, 3), GREEN, np.uint8)


def skin(sample):
    return np.isin(sample.labels, (LEFT_HAND, RIGHT_HAND))


def assert_same_truth(a, b, *, but=("image",)):
    for field in dataclasses.fields(a):
        if field.name not in but:
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name), err_msg=field.name)


def test_a_variation_is_a_function_of_its_random_numbers(sample):
    before = sample.image.copy()
    results = [varied(sample, np.random.default_rng(seed), green) for seed in (1, 1, 2, 3, 4)]
    np.testing.assert_array_equal(results[0].image, results[1].image)
    np.testing.assert_array_equal(sample.image, before)
    assert len({result.image.tobytes() for result in results}) > 2


def test_the_background_is_replaced_and_nothing_else(sample, only):
    only("_OTHER_BACKGROUND")
    result = varied(sample, np.random.default_rng(0), green)
    assert_same_truth(sample, result)
    behind = sample.labels == BACKGROUND
    inner = np.abs(result.image.astype(int) - GREEN).max(axis=-1) == 0
    assert inner[behind].mean() > 0.9 and inner[~behind].mean() < 0.01
    changed = (result.image != sample.image).any(axis=-1)
    assert changed[skin(sample)].mean() < 0.25  # at the outline
    np.testing.assert_array_equal(varied(sample, np.random.default_rng(0)).image, sample.image)


def test_hands_get_another_colour_and_nothing_else_does(sample, only):
    only("_DYED")
    result = varied(sample, np.random.default_rng(0), green)
    assert_same_truth(sample, result)
    difference = np.abs(result.image.astype(int) - sample.image).max(axis=-1)
    assert difference[skin(sample)].mean() > 15
    assert difference[~skin(sample)].mean() < 2


def test_what_an_object_covers_is_hidden(sample, only):
    only("_COVERED")
    hidden = 0
    for seed in range(12):
        result = varied(sample, np.random.default_rng(seed), green if seed % 2 else None)
        assert_same_truth(sample, result, but=("image", "labels", "depth", "keypoint_visible", "occluded"))
        covered = result.labels != sample.labels
        assert (result.labels[covered] == OTHER).all()
        hands = covered & skin(sample)
        assert (result.depth[hands] < sample.depth[hands]).all()
        np.testing.assert_array_equal(result.depth[~covered], sample.depth[~covered])
        now = result.occluded & ~sample.occluded
        for side, keypoint in np.argwhere(now):
            column, row = np.rint(sample.keypoints_2d[side, keypoint]).astype(int)
            assert result.labels[row, column] == OTHER
        assert not (result.keypoint_visible & result.occluded).any()
        assert (result.keypoint_visible <= sample.keypoint_visible).all()
        hidden += int(now.sum())
    assert hidden > 12


def test_the_black_beyond_the_frame_stays_there(sample, only):
    """Blur and a lower resolution do not mix it into the image."""
    only("_AUGMENTED")
    half = sample.camera.width // 2
    frame = dataclasses.replace(sample.camera, width=half)
    image = np.full_like(sample.image, 200)
    image[:, half:] = 0
    cut = dataclasses.replace(sample, image=image, frame_camera=frame)
    for seed in range(20):
        result = varied(cut, np.random.default_rng(seed))
        inside = visible_part(result)[0].astype(int)
        assert (result.image[:, half:] == 0).all()
        assert inside[:, -6:].mean() > 0.7 * inside[:, :-6].mean()


def test_images_need_not_be_square(sample, only):
    only("_AUGMENTED")
    height, width = sample.image.shape[:2]
    assert height != width
    for seed in range(6):
        result = varied(sample, np.random.default_rng(seed))
        assert_same_truth(sample, result)
        assert result.image.shape == sample.image.shape and result.image.dtype == np.uint8
