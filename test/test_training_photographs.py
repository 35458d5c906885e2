"""Labelled photographs as training pictures, and their parts without hands as backgrounds."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from hand_recon_ros import Side
from hand_recon_ros.config import ConfigError
from hand_recon_ros.training.photographs import Photographs

KEYPOINTS = np.stack([np.linspace(40, 80, 21), np.linspace(60, 20, 21)], axis=1)
GREEN = (20, 120, 30)
RED = (10, 10, 250)


def hand(side="left", right=0.0, presence=0.99, shift=0.0, box=(30, 10, 90, 70)):
    return {
        "side": side, "right": right, "presence": presence, "keypoints": (KEYPOINTS + (shift, 0)).tolist(), "box": box,
    }  # fmt: skip


def labels(folder, *entries, size=(320, 240)):
    """Green photographs with red hands."""
    rows = []
    for number, entry in enumerate(entries):
        image = np.full((size[1], size[0], 3), GREEN, np.uint8)
        for x0, y0, x1, y1 in (one["box"] for one in entry["hands"]):
            image[y0 : y1 + 1, x0 : x1 + 1] = RED
        file = str(folder / f"{number}.png")
        cv2.imwrite(file, image)
        rows.append({"split": "train", "complete": True, **entry, "file": file})
    path = folder / "labels.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def test_a_photograph_with_its_hands(tmp_path):
    photographs = Photographs(labels(tmp_path, {"hands": [hand("left"), hand("right", 1.0, shift=100)]}), "train")
    assert len(photographs) == 1
    picture = photographs[0]
    assert picture.image.shape == (240, 320, 3) and picture.image.dtype == np.uint8
    np.testing.assert_allclose(picture.keypoints, [KEYPOINTS, KEYPOINTS + (100, 0)])
    assert picture.known.tolist() == [True, True]
    assert picture.foreground is None and picture.skin is None


def test_only_complete_photographs_of_the_split_with_distinct_sides_are_used(tmp_path):
    path = labels(
        tmp_path,
        {"hands": [hand("left")]},
        {"hands": [hand("left")], "complete": False},
        {"hands": [hand("left")], "split": "val"},
        {"hands": [hand("left"), hand("left", shift=100)]},
        {"hands": []},
        {"hands": [hand(None, 0.5)]},
        {"hands": [hand("right", 1.0)]},
    )
    photographs = Photographs(path, "train")
    assert len(photographs) == 2
    present = [np.isfinite(photographs[number].keypoints).all(axis=(1, 2)).tolist() for number in range(2)]
    assert present == [[True, False], [False, True]]
    assert len(Photographs(path, "val")) == 1


@pytest.mark.parametrize(
    ("presence", "right", "side"),
    [(0.9, 0.95, Side.RIGHT), (0.9, 0.05, Side.LEFT), (0.9, 0.7, None), (0.9, 0.3, None), (0.7, 0.95, None)],
)
def test_a_probable_side_counts_where_the_hand_is_certain(tmp_path, presence, right, side):
    """A hand of unknown side may be of either one, so that a side without keypoints is not known to be absent."""
    other = hand(None, right, presence, shift=100)
    photographs = Photographs(labels(tmp_path, {"hands": [other]}, {"hands": [hand("left")]}), "train")
    assert len(photographs) == (1 if side is None else 2)
    if side is not None:
        picture = photographs[0]
        np.testing.assert_allclose(picture.keypoints[side], KEYPOINTS + (100, 0))
        assert np.isnan(picture.keypoints[side.other]).all() and picture.known.all()
    beside = Photographs(labels(tmp_path, {"hands": [hand("left"), hand(None, 0.5, shift=100)]}), "train")[0]
    assert beside.known.tolist() == [False, False]
    np.testing.assert_allclose(beside.keypoints[Side.LEFT], KEYPOINTS)


def test_large_photographs_are_reduced_with_their_keypoints(tmp_path):
    path = labels(tmp_path, {"hands": [hand("left")]}, size=(1280, 480))
    picture = Photographs(path, "train")[0]
    assert picture.image.shape == (240, 640, 3)
    # Centres of pixels are at whole numbers.
    np.testing.assert_allclose(picture.keypoints[Side.LEFT], (KEYPOINTS + 0.5) / 2 - 0.5)


def test_backgrounds_show_no_hands(tmp_path):
    path = labels(
        tmp_path,
        {"hands": [hand("left", box=(150, 100, 210, 160))]},
        {"hands": []},
        {"hands": [hand(None, 0.5, box=(0, 0, 319, 239))]},
        {"hands": [hand("left", box=(0, 0, 5, 5))], "complete": False},
    )
    photographs = Photographs(path, "train")
    grey = 0
    for seed in range(100):
        part = photographs.background(64, np.random.default_rng(seed))
        assert part.shape == (64, 64, 3) and part.dtype == np.uint8
        np.testing.assert_array_equal(part, photographs.background(64, np.random.default_rng(seed)))
        grey += (part == 127).all()
        assert (part == GREEN).all() or (part == 127).all()
    assert grey < 20


def test_without_free_parts_the_background_is_grey(tmp_path):
    path = labels(tmp_path, {"hands": [hand("left", box=(0, 0, 319, 239))]})
    assert (Photographs(path, "train").background(32, np.random.default_rng(0)) == 127).all()


@pytest.mark.parametrize("content", ["[", '{"file": 1}', '[{"file": "a.png"}]', '[{"split": "train"}]', "[3]"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "labels.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="labels.json: not a file of labelled photographs"):
        Photographs(path, "train")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match="labels.json: not a file of labelled photographs: .*No such file"):
        Photographs(tmp_path / "labels.json", "train")
    path = labels(tmp_path, {"hands": [hand("left")]})
    with pytest.raises(ConfigError, match="no complete photograph of split 'test'"):
        Photographs(path, "test")
    (tmp_path / "0.png").unlink()
    with pytest.raises(ConfigError, match=r"0\.png: missing, or not an image"):
        Photographs(path, "train")[0]
