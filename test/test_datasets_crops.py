"""Training crops of photographs: their ground truth in 2D, and what is not known of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from hand_recon_ros import Side
from hand_recon_ros.datasets import crops as crops_module
from hand_recon_ros.datasets.crops import UNKNOWN_CLASS, picture_crops
from hand_recon_ros.datasets.pair_crops import HandPicture
from hand_recon_ros.datasets.sample import LEFT_HAND
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.models.encoder import EncoderConfig, FusionAlignmentEncoder
from hand_recon_ros.synthetic.sample_stream import SampleStream
from hand_recon_ros.training.losses import LossWeights, encoder_loss

RIGHT = np.array([[0, 0], *[[18 * (f - 2), -30 - 18 * j] for f in range(5) for j in range(4)]], dtype=float)
CENTERS = np.array([[110.0, 180.0], [290.0, 190.0]])


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    """Images without augmentation."""
    monkeypatch.setattr(crops_module, "augmented", lambda image, rng: image.copy())


def picture(*sides, **changes):
    """A dark photograph of hands as bright discs at their keypoints."""
    image = np.full((300, 400, 3), 20, np.uint8)
    keypoints = np.full((2, 21, 2), np.nan)
    for side in sides:
        keypoints[side] = RIGHT * (-1 if side == Side.LEFT else 1, 1) + CENTERS[side]
        for x, y in keypoints[side]:
            image[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4] = 250
    return dataclasses.replace(HandPicture(image, keypoints, np.ones(2, dtype=bool)), **changes)


def sampled(image, seeds=range(12)):
    return [picture_crops(image, np.random.default_rng(seed)) for seed in seeds]


def test_keypoints_are_where_the_crop_shows_them():
    valid = []
    for crops in sampled(picture(*Side)):
        arrays = crops.arrays
        assert arrays["present"].all() and arrays["has_crop"].all() and not arrays["posed"].any()
        for side in Side:
            seen = arrays["keypoint_weights"][side] > 0
            pixels = np.rint((arrays["keypoints_2d"][side] + 0.5) * 224 - 0.5).astype(int)
            seen &= ((pixels > 2) & (pixels < 221)).all(axis=1)
            assert seen.sum() > 12
            assert (arrays["crops"][side][pixels[seen, 1], pixels[seen, 0]] > 200).all()
        valid += arrays["other_valid"].tolist()  # not where the other hand is neither near nor far
        assert (arrays["segmentation"] == UNKNOWN_CLASS).all()
    assert np.mean(valid) > 0.5


@pytest.mark.parametrize("side", Side)
def test_a_hand_with_only_a_box_is_present_without_keypoints(side):
    boxes = np.full((2, 4), np.nan)
    boxes[side] = 60, 90, 160, 140
    for crops in sampled(picture(side.other, boxes=boxes)):
        arrays = crops.arrays
        assert arrays["present"].all() and not arrays["keypoint_weights"][side].any()
        assert arrays["keypoint_weights"][side.other].any()
        assert np.abs(np.subtract(crops.frames[side].box.center, (110, 115))).max() < 30
        # Where the other hand is, is not known exactly, and from there the first one is.
        assert not arrays["other_valid"][side.other] and arrays["other_valid"][side]


def test_a_hand_of_unknown_side_has_no_crop():
    for crops in sampled(picture(*Side, sided=np.array([True, False]))):
        assert crops.arrays["has_crop"].tolist() == [1.0, 0.0]
        assert crops.arrays["present"].tolist() == [1.0, 0.0]
        assert not crops.arrays["other_valid"].any()  # it may be another person's hand of the same side


def test_where_there_is_no_hand_it_is_absent_or_has_no_crop():
    shown = [crops.arrays for crops in sampled(picture(Side.RIGHT), range(40))]
    left = [arrays["has_crop"][Side.LEFT] for arrays in shown]
    assert 0 < sum(left) < 30
    assert not any(arrays["present"][Side.LEFT] for arrays in shown)
    assert all(arrays["other_valid"][Side.RIGHT] and not arrays["other_visible"][Side.RIGHT] for arrays in shown)
    unknown = picture(Side.RIGHT, known=np.array([False, True]))
    for arrays in (crops.arrays for crops in sampled(unknown)):
        assert arrays["has_crop"].tolist() == [0.0, 1.0] and not arrays["other_valid"][Side.RIGHT]


def test_what_was_mistaken_for_a_hand_is_shown_as_absent():
    for crops in sampled(picture(mistaken=np.array([200.0, 100.0, 260.0, 180.0]))):
        assert crops.arrays["has_crop"].any() and not crops.arrays["present"].any()
        centers = [frame.box.center for frame in crops.frames if frame is not None]
        assert min(np.abs(np.subtract(center, (230, 140))).max() for center in centers) < 40


@pytest.mark.parametrize("fusion", ["none", "aligned"])
def test_photographs_train_2d_outputs_and_presence_only(fusion):
    """The loss of a batch of photographs depends neither on their pose nor on priors, which they do not have."""
    model = FusionAlignmentEncoder(EncoderConfig(width=32, layers=1, heads=2, fusion=fusion), load_hand_model())
    photograph = picture_crops(picture(*Side), np.random.default_rng(0)).arrays
    batch = {name: torch.tensor(value[None]) for name, value in photograph.items()}
    others = batch["has_crop"].flip(1)
    output = model(model.stems_of(batch["crops"]), batch["rays"], batch["pairs"], others, batch["priors"].float())
    _, terms = encoder_loss(output, batch, LossWeights())
    trained = {name for name, value in terms.items() if value != 0}
    assert trained == {"keypoints_2d", "dense_keypoints_2d", "scales", "other_box", "presence"}
    for name in ("joints", "rotations", "log_crop_width", "to_other"):
        changed = batch | {name: batch[name] + 1.0}
        assert encoder_loss(output, changed, LossWeights())[0] == encoder_loss(output, batch, LossWeights())[0]


def test_rendered_samples_are_posed():
    sample = SampleStream("val", 0, load_hand_model())[0]
    arrays = crops_module.sample_crops(sample, np.random.default_rng(0), distractors=False).arrays
    np.testing.assert_array_equal(arrays["posed"], sample.present)
    assert (sample.labels == LEFT_HAND).any() == sample.present[Side.LEFT]
    assert arrays["segmentation"].max() < UNKNOWN_CLASS
