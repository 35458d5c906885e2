"""Rendered pictures of the pair detector's training: their ground truth, and their cache."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from hand_recon_ros import Side
from hand_recon_ros.config import ConfigError
from hand_recon_ros.datasets.sample import BACKGROUND, LEFT_HAND, RIGHT_HAND
from hand_recon_ros.training.pair_pictures import SIZE, PictureCache, RenderedPictures

COUNT = 3


@pytest.fixture(scope="module")
def rendered():
    pictures = RenderedPictures("val", 0)
    return [pictures[number] for number in range(COUNT)]


@pytest.fixture
def render_from(rendered, monkeypatch):
    """Replaces the renderer by its results; the numbers of the pictures are recorded."""
    numbers = []

    def picture(self, number):
        numbers.append(number)
        return rendered[number]

    monkeypatch.setattr(RenderedPictures, "__getitem__", picture)
    return numbers


def test_keypoints_lie_on_the_hands_of_their_side(rendered):
    shares = []
    for arrays in rendered:
        assert arrays["images"].shape == (SIZE, SIZE, 3) and arrays["images"].dtype == np.uint8
        assert arrays["labels"].shape == (SIZE, SIZE) and arrays["keypoints"].dtype == np.float32
        for side, label in ((Side.LEFT, LEFT_HAND), (Side.RIGHT, RIGHT_HAND)):
            points = arrays["keypoints"][side]
            if not np.isfinite(points).all():
                assert not (arrays["labels"] == label).any()
                continue
            points = np.rint(points[((points > 0) & (points < SIZE - 1)).all(axis=1)]).astype(int)
            assert len(points) > 15
            labels = arrays["labels"][points[:, 1], points[:, 0]]
            assert (labels == BACKGROUND).mean() < 0.1
            shares.append((labels == label).mean())
    assert len(shares) > COUNT and np.mean(shares) > 0.6  # the other hand or an object may be in front


def test_a_number_is_always_the_same_picture(rendered):
    again = RenderedPictures("val", 0)[COUNT - 1]
    for name, values in rendered[-1].items():
        np.testing.assert_array_equal(again[name], values)


def test_cached_pictures(tmp_path, rendered, render_from):
    cache = PictureCache(tmp_path, "val", 0, COUNT)
    assert len(cache) == COUNT and not cache.done.any()
    assert cache.fill(workers=0) is cache and render_from == [0, 1, 2] and cache.done.all()
    for number, arrays in enumerate(rendered):
        picture = cache[number]
        np.testing.assert_array_equal(picture.image, arrays["images"])
        np.testing.assert_array_equal(picture.keypoints, arrays["keypoints"])
        np.testing.assert_array_equal(picture.foreground, arrays["labels"] != BACKGROUND)
        hands = (arrays["labels"] == LEFT_HAND) | (arrays["labels"] == RIGHT_HAND)
        np.testing.assert_array_equal(picture.skin, hands)
        assert hands.any() and (picture.foreground & ~hands).any() and picture.known.all()


def test_an_interrupted_cache_is_resumed(tmp_path, rendered, render_from, monkeypatch):
    def interrupted(self, number):
        if number == 1:
            raise KeyboardInterrupt
        return rendered[number]

    with monkeypatch.context() as patch:
        patch.setattr(RenderedPictures, "__getitem__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            PictureCache(tmp_path, "val", 0, COUNT).fill(workers=0)
    cache = PictureCache(tmp_path, "val", 0, COUNT)
    assert cache.done.tolist() == [True, False, False]
    cache.fill(workers=0)
    assert render_from == [1, 2]
    PictureCache(tmp_path, "val", 0, COUNT).fill(workers=0)
    assert render_from == [1, 2]
    for number, arrays in enumerate(rendered):
        np.testing.assert_array_equal(cache[number].image, arrays["images"])


def test_worker_processes_render_the_same_pictures(tmp_path, rendered):
    code = "import sys; from hand_recon_ros.training.pair_pictures import PictureCache as Cache; "
    code += f"Cache(sys.argv[1], 'val', 0, {COUNT}).fill(workers=1)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    cache = PictureCache(tmp_path, "val", 0, COUNT)
    assert cache.done.all()
    for number, arrays in enumerate(rendered):
        np.testing.assert_array_equal(cache[number].image, arrays["images"])


@pytest.mark.parametrize("change", [{"seed": 1}, {"count": 2}])
def test_a_cache_of_other_pictures_is_refused(tmp_path, change):
    settings = {"split": "val", "seed": 0, "count": COUNT}
    PictureCache(tmp_path, **settings)
    with pytest.raises(ConfigError, match="choose another cache, or remove it"):
        PictureCache(tmp_path, **{**settings, **change})
    PictureCache(tmp_path, **{**settings, **change, "split": "train"})  # a folder of its own
