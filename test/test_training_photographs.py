"""Labelled photographs as training pictures, pairs made of them, and their parts without hands as backgrounds."""

from __future__ import annotations

import numpy as np
import pytest
from photographs import BOX, GREEN, KEYPOINTS, hand, labels

from hand_recon_ros import Side
from hand_recon_ros.config import ConfigError
from hand_recon_ros.training import photographs as photographs_module
from hand_recon_ros.training.photographs import Photographs


def rows_with_keypoints(picture):
    return np.flatnonzero(np.isfinite(picture.keypoints).all(axis=(1, 2))).tolist()


def test_a_photograph_with_its_hands(tmp_path):
    photographs = Photographs(labels(tmp_path, {"hands": [hand("left"), hand("right", 1.0, shift=100)]}), "train")
    assert len(photographs) == 1
    picture = photographs[0]
    assert picture.image.shape == (240, 320, 3) and picture.image.dtype == np.uint8
    np.testing.assert_allclose(picture.keypoints, [KEYPOINTS, KEYPOINTS + (100, 0)])
    assert picture.known.tolist() == picture.sided.tolist() == [True, True]
    assert np.isnan(picture.boxes).all()
    assert picture.foreground is None and picture.skin is None


def test_photographs_of_the_split_with_one_or_two_hands_are_used(tmp_path):
    path = labels(
        tmp_path,
        {"hands": [hand("left")]},
        {"hands": [hand("right", 1.0)]},
        {"hands": [hand("left")], "split": "val"},
        {"hands": []},
        {"hands": [], "unlabelled": [BOX]},
        {"hands": [hand("left"), hand("right", 1.0, shift=100), hand("left", shift=200)]},
        {"hands": [hand("left")], "missed": [BOX, BOX]},
        {"hands": [], "missed": [BOX]},
    )
    photographs = Photographs(path, "train")
    assert [rows_with_keypoints(photographs[number]) for number in range(len(photographs))] == [[0], [1], []]
    assert len(Photographs(path, "val")) == 1


@pytest.mark.parametrize(
    ("presence", "right", "side"),
    [(0.9, 0.95, Side.RIGHT), (0.9, 0.05, Side.LEFT), (0.9, 0.7, None), (0.9, 0.3, None), (0.7, 0.95, None)],
)
def test_a_probable_side_counts_where_the_hand_is_certain(tmp_path, presence, right, side):
    probable = hand(None, right, presence)
    picture = Photographs(labels(tmp_path, {"hands": [probable]}), "train")[0]
    (row,) = rows_with_keypoints(picture)
    np.testing.assert_allclose(picture.keypoints[row], KEYPOINTS)
    assert picture.known.all()
    assert picture.sided[row] == (side is not None)
    assert side is None or row == side


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("place", [0, 1])
def test_a_hand_of_unknown_side_is_in_the_row_that_the_other_leaves(tmp_path, side, place):
    hands = [hand(None, 0.5, shift=100)]
    hands.insert(place, hand(side.label, float(side)))
    picture = Photographs(labels(tmp_path, {"hands": hands}), "train")[0]
    np.testing.assert_allclose(picture.keypoints[side], KEYPOINTS)
    np.testing.assert_allclose(picture.keypoints[side.other], KEYPOINTS + (100, 0))
    assert picture.sided[side] and not picture.sided[side.other]
    assert picture.known.all()


@pytest.mark.parametrize("side", ["left", "right", None])
def test_two_hands_of_one_side_have_none(tmp_path, side):
    hands = [hand(side, 0.5), hand(side, 0.5, shift=100)]
    picture = Photographs(labels(tmp_path, {"hands": hands}), "train")[0]
    assert sorted(picture.keypoints[:, 0, 0]) == [40, 140]
    assert picture.sided.tolist() == [False, False]


@pytest.mark.parametrize("side", Side)
def test_a_hand_without_keypoints_has_its_annotated_box(tmp_path, side):
    path = labels(tmp_path, {"hands": [hand(side.label, float(side))], "missed": [BOX]}, {"hands": [], "missed": [BOX]})
    beside, alone = (Photographs(path, "train")[number] for number in range(2))
    np.testing.assert_allclose(beside.keypoints[side], KEYPOINTS)
    np.testing.assert_allclose(beside.boxes[side.other], BOX)
    assert np.isnan(beside.boxes[side]).all() and np.isnan(beside.keypoints[side.other]).all()
    assert beside.sided[side] and not beside.sided[side.other]
    (row,) = np.flatnonzero(np.isfinite(alone.boxes).all(axis=1))
    np.testing.assert_allclose(alone.boxes[row], BOX)
    assert np.isnan(alone.keypoints).all() and not alone.sided[row]
    assert beside.known.all() and alone.known.all()


@pytest.mark.parametrize("side", Side)
def test_a_hand_without_keypoints_can_have_a_side(tmp_path, side):
    other = [200, 100, 260, 180]
    path = labels(
        tmp_path,
        {"hands": [], "missed": [BOX], "missed_sides": [side.label]},
        {"hands": [], "missed": [BOX, other], "missed_sides": [None, side.label]},
        {"hands": [hand(None, 0.5)], "missed": [BOX], "missed_sides": [side.label]},
        {"hands": [], "missed": [BOX, other], "missed_sides": [side.label, side.label]},
    )
    alone, two, beside, same = (Photographs(path, "train")[number] for number in range(4))
    np.testing.assert_allclose(alone.boxes[side], BOX)
    assert alone.sided[side]
    np.testing.assert_allclose(two.boxes[[side, side.other]], [other, BOX])
    assert two.sided[side] and not two.sided[side.other]
    np.testing.assert_allclose(beside.boxes[side], BOX)
    np.testing.assert_allclose(beside.keypoints[side.other], KEYPOINTS)
    assert beside.sided[side] and not beside.sided[side.other]
    assert same.sided.tolist() == [False, False]


def test_beside_a_region_without_a_label_no_hand_is_known_to_be_absent(tmp_path):
    other = [200, 100, 260, 180]
    path = labels(
        tmp_path,
        {"hands": [hand("right", 1.0)], "unlabelled": [other]},
        {"hands": [], "missed": [BOX], "unlabelled": [BOX, other]},
    )
    one, boxed = (Photographs(path, "train")[number] for number in range(2))
    assert one.known.tolist() == boxed.known.tolist() == [False, False]
    assert rows_with_keypoints(one) == [Side.RIGHT] and one.sided[Side.RIGHT]
    assert np.isnan(one.boxes).all() and np.isfinite(boxed.boxes).sum() == 4


def test_large_photographs_are_reduced_with_their_keypoints(tmp_path):
    path = labels(tmp_path, {"hands": [hand("left")], "missed": [BOX]}, size=(1280, 480))
    picture = Photographs(path, "train")[0]
    assert picture.image.shape == (240, 640, 3)
    # Centres of pixels are at whole numbers.
    np.testing.assert_allclose(picture.keypoints[Side.LEFT], (KEYPOINTS + 0.5) / 2 - 0.5)
    np.testing.assert_allclose(picture.boxes[Side.RIGHT], (np.array(BOX) + 0.5) / 2 - 0.5)


SINGLE = (
    {"hands": [hand("left")]},
    {"hands": [hand("right", 1.0, shift=100)]},
    {"hands": [hand(None, 0.9)]},
)
OTHERS = (
    {"hands": [hand("left"), hand("right", 1.0, shift=100)]}, {"hands": [hand(None, 0.5)]},
    {"hands": [hand("left")], "missed": [BOX]}, {"hands": [], "missed": [BOX]},
    {"hands": [hand("left")], "unlabelled": [BOX]},
)  # fmt: skip


def test_half_of_the_photographs_of_one_hand_get_a_second_one(tmp_path):
    photographs = Photographs(labels(tmp_path, *SINGLE, *OTHERS), "train")
    for number in range(3):
        alone, pairs = photographs[number], 0
        (row,) = rows_with_keypoints(alone)
        for seed in range(100):
            picture = photographs.pair(number, np.random.default_rng(seed))
            np.testing.assert_array_equal(picture.keypoints[row], alone.keypoints[row])
            if rows_with_keypoints(picture) == [0, 1]:
                pairs += 1
            else:
                assert rows_with_keypoints(picture) == [row]
                np.testing.assert_array_equal(picture.image, alone.image)
        assert 35 < pairs < 65
        np.testing.assert_array_equal(photographs[number].image, alone.image)


def test_only_a_hand_that_is_certainly_the_only_one_is_pasted_or_gets_a_second_one(tmp_path, monkeypatch):
    pasted = []

    def recorded(picture, other, rng):
        pasted.append((picture.image.tobytes(), other.image.tobytes()))
        return picture

    monkeypatch.setattr(photographs_module, "with_second_hand", recorded)
    photographs = Photographs(labels(tmp_path, *SINGLE, *OTHERS), "train")
    for number in range(len(photographs)):
        photographs[number].image[0, 0] = number  # tells them apart
    single = {photographs[number].image.tobytes() for number in range(3)}
    for number in range(len(photographs)):
        for seed in range(20):
            photographs.pair(number, np.random.default_rng(seed))
    assert {first for first, _ in pasted} == {second for _, second in pasted} == single
    others = tmp_path / "others"
    others.mkdir()
    without = Photographs(labels(others, *OTHERS), "train")
    before = len(pasted)
    for seed in range(20):
        without.pair(seed % len(without), np.random.default_rng(seed))
    assert len(pasted) == before


def test_a_seventh_of_the_samples_shows_what_was_mistaken_for_a_hand(tmp_path):
    path = labels(
        tmp_path,
        {"hands": [hand("left")], "mistaken": [BOX]},
        {"hands": [], "mistaken": [[200, 100, 240, 140]]},
        {"hands": [hand("right", 1.0)]},
        # Not used: a hand may be there, or too many are.
        {"hands": [hand("left")], "unlabelled": [[0, 0, 319, 239]], "mistaken": [[1, 1, 9, 9]]},
        {
            "hands": [hand("left"), hand("right", 1.0), hand("left")],
            "mistaken": [[1, 1, 9, 9]],
        },
    )
    photographs, rng = Photographs(path, "train"), np.random.default_rng(0)
    samples = [photographs.sample(rng) for _ in range(600)]
    mistaken = [picture for picture in samples if picture.mistaken is not None]
    assert 60 < len(mistaken) < 120
    boxes = {tuple(picture.mistaken): rows_with_keypoints(picture) for picture in mistaken}
    assert boxes == {tuple(BOX): [Side.LEFT], (200, 100, 240, 140): []}
    assert all(picture.known.all() for picture in mistaken)
    assert Photographs(path, "train")[0].mistaken is None


def test_boxes_of_mistakes_are_reduced_with_the_photograph(tmp_path):
    path = labels(tmp_path, {"hands": [hand("left")], "mistaken": [BOX]}, size=(1280, 480))
    photographs, rng = Photographs(path, "train"), np.random.default_rng(0)
    boxes = [
        picture.mistaken for picture in (photographs.sample(rng) for _ in range(60)) if picture.mistaken is not None
    ]
    np.testing.assert_allclose(boxes[0], (np.array(BOX) + 0.5) / 2 - 0.5)


def test_backgrounds_show_no_hands(tmp_path):
    path = labels(
        tmp_path,
        {"hands": [hand("left", box=(150, 100, 210, 160))]},
        {"hands": []},
        {"hands": [hand(None, 0.5, box=(0, 0, 319, 239))]},
        {"hands": [hand("left", box=(0, 0, 5, 5))], "unlabelled": [BOX]},
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


@pytest.mark.parametrize(
    "content",
    [
        "[", '{"file": 1}', '[{"file": "a.png"}]', '[{"split": "train"}]', "[3]",
        '[{"split": "train", "complete": true, "hands": []}]',
    ],
)  # fmt: skip
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "labels.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="labels.json: not a file of labelled photographs"):
        Photographs(path, "train")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ConfigError, match="labels.json: not a file of labelled photographs: .*No such file"):
        Photographs(tmp_path / "labels.json", "train")
    path = labels(tmp_path, {"hands": [hand("left")]})
    with pytest.raises(ConfigError, match="no photograph of split 'test' with one or two hands"):
        Photographs(path, "test")
    (tmp_path / "0.png").unlink()
    with pytest.raises(ConfigError, match=r"0\.png: missing, or not an image"):
        Photographs(path, "train")[0]


def test_some_samples_are_photographs_without_hands(tmp_path):
    path = labels(tmp_path, {"hands": [hand("left")]}, {"hands": []}, {"hands": [], "unlabelled": [BOX]})
    photographs = Photographs(path, "train")
    samples = [photographs.sample(np.random.default_rng(seed)) for seed in range(200)]
    empty = [not np.isfinite(picture.keypoints).any() for picture in samples]
    assert 0.1 < np.mean(empty) < 0.3
    for picture in (samples[number] for number in np.flatnonzero(empty)):
        assert (picture.image == GREEN).all() and picture.known.all()
    only = Photographs(labels(tmp_path, {"hands": [hand("left")]}), "train")
    assert all(np.isfinite(only.sample(np.random.default_rng(seed)).keypoints).any() for seed in range(40))


def test_without_complete_photographs_the_background_is_grey(tmp_path):
    path = labels(tmp_path, {"hands": [hand("left")], "unlabelled": [BOX], "complete": False})
    assert (Photographs(path, "train").background(32, np.random.default_rng(0)) == 127).all()
