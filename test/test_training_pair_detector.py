"""Training the pair detector: its crops, a short run that learns, and a resumed run."""

from __future__ import annotations

import importlib.util
import json

import cv2
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_model
from torch.nn import functional
from torch.utils.data import default_collate

from hand_recon_ros.config import ConfigError
from hand_recon_ros.detect.pair_detector import SIZE, VALUES, region_of
from hand_recon_ros.landmarks.crops import tracking_box
from hand_recon_ros.models.efficientnet import PACKAGE
from hand_recon_ros.models.pair_detector import KEYPOINTS, PairDetector
from hand_recon_ros.runtime.sessions import open_session
from hand_recon_ros.training import pair_detector
from hand_recon_ros.training.pair_detector import PairCrops, PairDetectorTrainer, PairDetectorTraining
from hand_recon_ros.training.pair_pictures import PictureCache
from hand_recon_ros.training.photographs import Photographs

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE.replace("-", "_")) is None, reason=f"{PACKAGE} is not installed"
)
PICTURES, VALIDATION = 3, 4


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    PictureCache(folder, "train", 0, PICTURES).fill(workers=0)
    PictureCache(folder, "val", 0, VALIDATION).fill(workers=0)
    return folder


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A file of labelled photographs: grey noise with a left hand in the middle."""
    folder = tmp_path_factory.mktemp("photographs")
    cv2.imwrite(str(folder / "a.png"), np.random.default_rng(0).integers(100, 150, (240, 320, 3), dtype=np.uint8))
    keypoints = np.stack([np.linspace(150, 170, 21), np.linspace(150, 90, 21)], axis=1)
    hand = {
        "side": "left", "right": 0.0, "presence": 1.0, "keypoints": keypoints.tolist(), "box": [140, 80, 180, 160],
    }  # fmt: skip
    entry = {
        "file": str(folder / "a.png"), "split": "train", "complete": True, "hands": [hand], "missed": [],
        "missed_sides": [], "unlabelled": [],
    }  # fmt: skip
    (folder / "labels.json").write_text(json.dumps([entry]))
    return folder / "labels.json"


def recipe(folder, cache, **changes):
    training = {
        "out": str(folder / "run"), "cache": str(cache), "pictures": PICTURES, "validation": VALIDATION, "steps": 4,
        "batch": 2, "workers": 0, "warm_up": 2, "frozen": 14, "average": 0.9, **changes,
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"training": training}))
    return path


def trainer(folder, cache, resume=False, **changes):
    return PairDetectorTrainer(PairDetectorTraining.from_yaml(recipe(folder, cache, **changes)), resume)


def test_a_number_is_always_the_same_crop(cache, photographs):
    rendered = PictureCache(cache, "train", 0, PICTURES)
    crops = [PairCrops(rendered, Photographs(photographs, "train"), 0.5, 0) for _ in range(2)]
    images = set()
    for number in range(12):
        first, again = (one[number] for one in crops)
        assert first["image"].shape == (SIZE, SIZE, 3) and first["values"].shape == (2, 5)
        assert first["sided"].shape == (2,) and first["keypoints"].shape == (2, 21, 2)
        for name, values in first.items():
            np.testing.assert_array_equal(again[name], values)
        images.add(first["image"].tobytes())
    assert len(images) == 12
    assert (PairCrops(rendered, None, 0.5, 1)[0]["image"] != PairCrops(rendered, None, 0.5, 0)[0]["image"]).any()


@pytest.mark.parametrize(("share", "expected"), [(0.0, {"rendered"}), (1.0, {"photograph"})])
def test_the_share_of_photographs(cache, photographs, monkeypatch, share, expected):
    sources, crop = set(), pair_detector.pair_crop

    def recorded(picture, *arguments):
        sources.add("rendered" if picture.foreground is not None else "photograph")
        return crop(picture, *arguments)

    monkeypatch.setattr(pair_detector, "pair_crop", recorded)
    crops = PairCrops(PictureCache(cache, "train", 0, PICTURES), Photographs(photographs, "train"), share, 0)
    for number in range(8):
        crops[number]
    assert sources == expected


def test_some_photographs_of_one_hand_become_pairs(cache, photographs, monkeypatch):
    hands, crop = [], pair_detector.pair_crop

    def recorded(picture, *arguments):
        hands.append(int(np.isfinite(picture.keypoints).all(axis=(1, 2)).sum()))
        return crop(picture, *arguments)

    monkeypatch.setattr(pair_detector, "pair_crop", recorded)
    crops = PairCrops(PictureCache(cache, "train", 0, PICTURES), Photographs(photographs, "train"), 1.0, 0)
    for number in range(20):
        crops[number]
    assert hands.count(1) > 4 and hands.count(2) > 4 and len(hands) == hands.count(1) + hands.count(2)


@needs_weights
@pytest.mark.parametrize(
    ("left_out", "terms"),
    [
        ("values", {"center", "size", "direction"}),
        ("present", {"presence", "side"}),
        ("sided", {"side"}),
        ("keypoints", {"keypoints"}),
    ],
)
def test_each_part_of_the_ground_truth_has_its_terms(tmp_path, cache, left_out, terms):
    training = trainer(tmp_path, cache)
    crops = PairCrops(PictureCache(cache, "train", 0, PICTURES), None, 0.0, 0)
    batch = default_collate([crops[number] for number in range(4)])
    assert all(training.loss(batch)[1].values())
    batch[left_out] = torch.full_like(batch[left_out], float("nan"))
    assert {name for name, value in training.loss(batch)[1].items() if value == 0} == terms


@needs_weights
def test_frozen_blocks_are_not_trained(tmp_path, cache):
    training = trainer(tmp_path, cache, steps=1)
    before = {name: value.clone() for name, value in training.plain_model.state_dict().items()}
    training.run()
    after = training.plain_model.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    frozen = ("backbone.stem.", *(f"backbone.blocks.{number}." for number in range(14)))
    assert {name for name in before if name.startswith(frozen)} <= same
    assert not any(name.startswith(("head.", "backbone.blocks.15.")) and name.endswith("weight") for name in same)


@needs_weights
def test_a_resumed_run_ends_like_one_that_was_not_stopped(tmp_path, cache):
    folders = tmp_path / "straight", tmp_path / "stopped"
    for folder in folders:
        folder.mkdir()
    straight = trainer(folders[0], cache)
    straight.run()
    trainer(folders[1], cache).run(until=2)
    resumed = trainer(folders[1], cache, resume=True)
    assert resumed.step == 2
    resumed.run()
    assert straight.step == resumed.step == 4
    for name, value in straight.average.items():
        assert torch.equal(resumed.average[name], value), name
    assert straight.history[-1] == resumed.history[-1]
    with pytest.raises(ConfigError, match="was made with batch 2, not 3"):
        trainer(folders[1], cache, resume=True, batch=3)


@needs_weights
@pytest.mark.slow
def test_a_short_run_learns(tmp_path, cache):
    training = trainer(tmp_path, cache, steps=60, batch=6, learning_rate=3e-3)
    figures = training.run()
    assert set(figures) == {"step", "found", "located", "both", "false"}
    assert all(0 <= figures[name] <= 1 for name in ("found", "located", "both", "false"))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "log"))
    events.Reload()
    loss = [event.value for event in events.Scalars("train/loss")]
    assert np.mean(loss[-2:]) < 0.7 * loss[0], loss
    session = open_session(training.export(), threads=1)
    assert session.run(1)[0][0].shape == (2, VALUES)


class GroundTruth(torch.nn.Module):
    """Outputs the ground truth of the validation's pictures, one after the other, times ``change``, and keypoints."""

    def __init__(self, change):
        super().__init__()
        self.change, self.outputs = change, []

    def forward(self, images):
        return functional.pad(torch.tensor(self.outputs.pop(0) * self.change), (0, KEYPOINTS), value=5.0)[None]


@needs_weights
@pytest.mark.parametrize(
    ("change", "found", "located", "false"),
    [
        ((1, 1, 1, 1, 1, 1, 1), 1.0, 1.0, 0.0),
        ((1, -1, 1, 1, 1, 1, 1), 0.0, 1.0, 0.0),
        ((0, 1, 1, 1, 1, 1, 1), 1.0, 1.0, 1.0),
        ((1, 1, 1, 0, 1, 1, 1), 0.0, 0.0, 0.0),
    ],
    ids=["ground truth", "sides exchanged", "all present", "boxes elsewhere"],
)
def test_the_validation_counts_what_is_found(tmp_path, cache, monkeypatch, change, found, located, false):
    training = trainer(tmp_path, cache)
    network, pictures = GroundTruth(change), PictureCache(cache, "val", 0, VALIDATION)
    pairs = absent = 0
    for number in range(VALIDATION):
        output = np.full((2, VALUES), -9.0)
        picture = pictures[number]
        side = picture.image.shape[0]
        for hand, points in enumerate(picture.keypoints):
            if np.isfinite(points).all():
                box = tracking_box(points)
                direction = np.cos(box.angle), np.sin(box.angle)
                center = np.array(box.center) / side
                output[hand] = 9.0, 9.0 if hand else -9.0, *center, np.log(box.size / side), *direction
        pairs += (output[:, 0] > 0).all()
        absent += (output[:, 0] < 0).any()
        network.outputs.append(output)
    assert pairs and absent
    monkeypatch.setattr(PairDetectorTrainer, "plain_model", network)
    figures = training.figures()
    assert not network.outputs
    assert figures == {"found": found, "located": located, "both": found, "false": false}
    assert all(type(value) is float for value in figures.values())


@needs_weights
def test_photographs_of_the_validation_are_counted_too(tmp_path, cache, monkeypatch):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((240, 320, 3), 127, np.uint8))
    left = np.stack([np.linspace(50, 90, 21), np.linspace(150, 90, 21)], axis=1)
    right, box = left + (150, 0), [190, 80, 250, 160]
    rows = [
        {
            "file": str(tmp_path / "a.png"), "split": split, "complete": not boxes, "missed": boxes,
            "missed_sides": [None] * len(boxes), "unlabelled": boxes, "hands": [
                {"side": side, "right": float(side == "right"), "presence": 1.0, "keypoints": points.tolist(),
                 "box": [*points.min(axis=0), *points.max(axis=0)]}
            ],
        }
        for split, side, points, boxes in (
            ("train", "left", left, []), ("val", "left", left, [box]), ("val", "right", right, []),
        )
    ]  # fmt: skip
    (tmp_path / "labels.json").write_text(json.dumps(rows))
    training = trainer(tmp_path, cache, photographs=str(tmp_path / "labels.json"))
    photographs = Photographs(tmp_path / "labels.json", "val")
    network = GroundTruth((1,) * VALUES)
    network.outputs += [np.zeros((2, VALUES))] * VALIDATION  # for the rendered pictures
    for number, rights in ((0, (9.0, -9.0)), (1, (-9.0, 9.0))):
        picture = photographs[number]
        boxes = [roi for hand in range(2) if (roi := picture.roi(hand)) is not None]
        region = region_of(boxes, 1.6)
        output = np.zeros((2, VALUES))
        for slot, right_logit in enumerate(rights):
            roi = picture.roi(slot) or boxes[0]
            center = region.from_image(np.array(roi.center))
            angle = roi.angle if picture.has_keypoints(slot) else 2.0  # that of a box is not known
            output[slot] = 9.0, right_logit, *center, np.log(roi.size / region.size), np.cos(angle), np.sin(angle)
        network.outputs.append(output)
    monkeypatch.setattr(PairDetectorTrainer, "plain_model", network)
    figures = {name: value for name, value in training.figures().items() if name.startswith("photo_")}
    # The left hand has the wrong side, the box has none, and beside the right hand there is none.
    assert figures == {"photo_found": 2 / 3, "photo_located": 1.0, "photo_both": 0.0, "photo_false": 1.0}


def test_a_run_may_start_from_given_weights(tmp_path, cache):
    torch.manual_seed(5)
    model = PairDetector()
    save_model(model, str(tmp_path / "weights.safetensors"))
    training = trainer(tmp_path, cache, weights=str(tmp_path / "weights.safetensors"), frozen=0)
    assert all(parameter.requires_grad for parameter in training.plain_model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(training.plain_model.state_dict()[name], value), name


def test_recipes_are_checked(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("training: {stepps: 3}")
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        PairDetectorTraining.from_yaml(path)
    path.write_text("training: {photograph_share: 2}")
    with pytest.raises(ConfigError, match="photograph_share"):
        PairDetectorTraining.from_yaml(path)
    path.write_text("encoder: {}")
    with pytest.raises(ConfigError, match="expected the section 'training'"):
        PairDetectorTraining.from_yaml(path)


def test_the_shipped_recipe_is_complete(source_root):
    recipe = PairDetectorTraining.from_yaml(source_root / "config" / "train" / "detector.yaml")
    assert recipe.out == "out/train/detector" and recipe.cache.startswith(recipe.out) and recipe.weights == ""
