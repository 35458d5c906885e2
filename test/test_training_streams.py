"""Data sets as training streams: what each supervises, the same samples for the same numbers, and recipes."""

from __future__ import annotations

import dataclasses
import json
import logging
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from photographs import hand, labels
from stream_folders import FRAMES, MODEL, SHARE, write_folders

from hand_recon_ros import Side
from hand_recon_ros.config import ConfigError
from hand_recon_ros.datasets.annotations import AnnotationError
from hand_recon_ros.datasets.crops import UNKNOWN_CLASS, Crops
from hand_recon_ros.datasets.partial_hands import FLAT_HAND
from hand_recon_ros.synthetic.sample_stream import SampleStream
from hand_recon_ros.training import crop_dataset
from hand_recon_ros.training.crop_dataset import CropDataset
from hand_recon_ros.training.encoder import EncoderTrainer, Recipe
from hand_recon_ros.training.photographs import Photographs
from hand_recon_ros.training.streams import open_streams, read_streams

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("interhand26m", "freihand", "hic", "pictures")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    return write_folders(tmp_path_factory.mktemp("streams"))


def recipe(folder: Path, streams: Any, **changes: Any) -> Path:
    training = {
        "out": str(folder / "run"), "steps": 4, "batch": 2, "workers": 0, "warm_up": 1, "validation": 2,
        "validate_every": 1000, "checkpoint_every": 2, "learning_rate": 1e-3, **changes,
    }  # fmt: skip
    path = folder / "recipe.yaml"
    encoder = {"width": 32, "layers": 1, "heads": 2}
    path.write_text(yaml.safe_dump({"encoder": encoder, "training": training, "streams": streams}))
    return path


def stream(folders: dict[str, dict[str, Any]], name: str, **changes: Any) -> Any:
    return open_streams(read_streams([folders[name] | changes]), MODEL)[0]


def supervised(arrays: dict[str, np.ndarray]) -> set[str]:
    """What the weights of a sample let it train, in the words of the documentation."""
    found = {
        "2D keypoints": arrays["keypoint_weights"].any(),
        "3D joints": arrays["joint_weights"].any(),
        "distance": arrays["located"].any(),
        "vector between the wrists": arrays["both"].any(),
        "rotations, betas": arrays["posed"].any(),
        "segmentation": ((arrays["segmentation"] != UNKNOWN_CLASS) & (arrays["has_crop"] > 0)[:, None, None]).any(),
        "alignment": arrays["has_maps"].any(),
    }
    return {label for label, known in found.items() if known}


def section() -> str:
    text = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
    return text.split("## As training streams", 1)[1].split("\n## ", 1)[0]


def documented() -> dict[str, set[str]]:
    """The labels of each stream by the table of docs/datasets.md."""
    lines = [line for line in section().splitlines() if line.startswith("|")]
    lines = lines[next(i for i, line in enumerate(lines) if "2D keypoints" in line) :]
    head, _, *rows = ([cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines)
    assert all(cell in ("yes", "no") for row in rows for cell in row[1:])
    return {row[0]: {label for label, cell in zip(head, row, strict=True) if cell == "yes"} for row in rows}


@pytest.mark.parametrize("name", NAMES)
def test_each_stream_has_the_labels_of_the_documentation(folders, name):
    source, found = stream(folders, name), set()
    if any(source.images.sample(index, np.random.default_rng(0))[1].any() for index in range(len(source))):
        found.add("absent hands")
    for seed in range(40):
        arrays = source.arrays(np.random.default_rng(seed), lambda *_: np.zeros((47, 28, 28), np.float32))
        for entry, values in arrays.items():
            assert np.isfinite(values).all(), entry
        found |= supervised(arrays)
    assert set(documented()) == set(NAMES)
    assert found == documented()[name]


def test_the_recipe_of_the_documentation_is_one(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(section().split("```yaml\n", 1)[1].split("```", 1)[0], encoding="utf-8")
    streams = Recipe.from_yaml(path).streams
    assert [entry.dataset for entry in streams] == list(NAMES)
    assert [entry.split for entry in streams] == ["train", "training", "test", ""]
    fields = {field.name for field in dataclasses.fields(streams[0])}
    assert fields == {cell for cell in re.findall(r"^\| `(\w+)` \|", section(), re.M) if cell not in NAMES}


def test_meshes_of_the_encoders_own_hand_train_its_pose(folders, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(folders["interhand26m"]["root"], root)
    path = root / "hand_model.json"
    assert not stream(folders, "interhand26m").arrays(np.random.default_rng(0))["posed"].any()
    path.write_text(path.read_text().replace('"mano"', f'"{MODEL.name}"'))
    own = stream({"interhand26m": folders["interhand26m"] | {"root": str(root)}}, "interhand26m")
    assert own.arrays(np.random.default_rng(0))["posed"].any()


def test_shares_mix_the_streams_with_photographs_and_renders(folders, tmp_path, monkeypatch):
    photographs = Photographs(labels(tmp_path, {"hands": [hand("left")]}), "train")
    streams = open_streams(read_streams([folders[name] for name in NAMES[1:3]]), MODEL)
    drawn: list[str] = []
    dataset = CropDataset("val", 0, MODEL, 0.5, None, "", 0, photographs, 0.25, None, streams)
    for each in streams:
        monkeypatch.setattr(each, "arrays", lambda *_, name=each.name: drawn.append(name) or {})
    crops = Crops((None, None), {"has_crop": np.ones(2)})
    monkeypatch.setattr(crop_dataset, "picture_crops", lambda *_: drawn.append("photograph") or crops)
    monkeypatch.setattr(crop_dataset, "sample_crops", lambda *_: drawn.append("render") or crops)
    monkeypatch.setattr(SampleStream, "__getitem__", lambda *_: None)
    for number in range(1000):
        dataset[number]
    shares = {name: drawn.count(name) / 1000 for name in set(drawn)}
    expected = {"photograph": 0.25, "freihand": SHARE, "hic": SHARE, "render": 0.75 - 2 * SHARE}
    assert shares == pytest.approx(expected, abs=0.05)


def test_a_number_is_always_the_same_sample_also_in_another_process(folders):
    streams = open_streams(read_streams([folders[name] | {"share": 0.24} for name in NAMES]), MODEL)
    dataset = CropDataset("val", 5, MODEL, 0.5, None, streams=streams)
    numbers = list(range(8))
    others = open_streams(read_streams([folders[name] | {"share": 0.24} for name in NAMES]), MODEL)
    again = CropDataset("val", 5, MODEL, 0.5, None, streams=others)
    copy = pickle.loads(pickle.dumps(again))  # as another process gets it
    for number in reversed(numbers):
        arrays = copy[number]
        assert set(arrays) == set(dataset[number])
        for name, values in dataset[number].items():
            np.testing.assert_array_equal(arrays[name], values, err_msg=name)


def test_damaged_images_are_named_and_replaced_by_the_same_ones(folders, tmp_path, caplog):
    root = tmp_path / "set"
    shutil.copytree(folders["freihand"]["root"], root)
    for path in sorted((root / "training" / "rgb").iterdir())[1::2]:
        path.write_bytes(path.read_bytes()[:300])
    with caplog.at_level(logging.WARNING):
        source = stream(folders, "freihand", root=str(root))
        first = [source.arrays(np.random.default_rng(seed)) for seed in range(20)]
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == len(set(warnings)) > 3 and all("another image is taken" in text for text in warnings)
    numbers = [int(text.removeprefix(str(root / "training" / "rgb")).split(".jpg")[0].strip("/")) for text in warnings]
    assert all(number % 2 for number in numbers)
    second = stream(folders, "freihand", root=str(root))
    for seed, arrays in enumerate(first):
        np.testing.assert_array_equal(arrays["crops"], second.arrays(np.random.default_rng(seed))["crops"])
    for path in (root / "training" / "rgb").iterdir():
        path.unlink()
    with pytest.raises(AnnotationError, match=r"freihand: no usable image among 50 .*\.jpg: no picture"):
        second.arrays(np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"streams: entry 1 \(freihand\): .*no usable image"):
        stream(folders, "freihand", root=str(root))


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_learns_from_each_stream(folders, tmp_path, name):
    path = recipe(tmp_path, [folders[name] | {"share": 0.99}], batch=3, warm_up=0, steps=100, learning_rate=2e-3)
    trainer = EncoderTrainer(Recipe.from_yaml(path))
    batch = next(iter(trainer.batches(1)))
    losses = []
    for _ in range(12):
        loss, terms = trainer.loss(batch)
        assert all(torch.isfinite(term) for term in terms.values())
        trainer.optimizer.zero_grad()
        loss.backward()
        trainer.optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0], losses


def test_a_run_on_streams_that_is_resumed_ends_like_one_that_was_not_stopped(folders, tmp_path):
    streams = [folders[name] | {"share": 0.24} for name in NAMES]
    streams[0] |= {"validation": "val"}
    streams[1] |= {"validation": "evaluation"}
    for name in "ab":
        (tmp_path / name).mkdir()
    straight = EncoderTrainer(Recipe.from_yaml(recipe(tmp_path / "a", streams)))
    figures = straight.run()
    EncoderTrainer(Recipe.from_yaml(recipe(tmp_path / "b", streams))).run(until=2)
    second = EncoderTrainer(Recipe.from_yaml(recipe(tmp_path / "b", streams)), resume=True)
    assert second.step == 2
    second.run()
    for name, value in straight.average.items():
        torch.testing.assert_close(second.average[name], value, atol=1e-6, rtol=1e-5, msg=name)
    assert straight.history[-1] == pytest.approx(second.history[-1], rel=1e-4)
    # Figures of the validation split beside those of the rendered one.
    assert {"mpjpe_mm", "interhand26m_mpjpe_mm", "interhand26m_pa_mpjpe_mm", "interhand26m_width_error"} <= set(figures)
    assert "freihand_mpjpe_mm" in figures and "freihand_to_other_mm" not in figures  # its images have one hand
    assert not any(name.startswith(("hic", "pictures")) for name in figures)
    assert figures["interhand26m_mpjpe_mm"] != figures["mpjpe_mm"] and all(np.isfinite(list(figures.values())))
    changed = [*streams[:3], streams[3] | {"share": 0.1}]
    with pytest.raises(ConfigError, match="was made with streams"):
        EncoderTrainer(Recipe.from_yaml(recipe(tmp_path / "b", changed)), resume=True)


@pytest.mark.parametrize(
    ("streams", "message"),
    [
        ({"freihand": 0.3}, "streams: expected a list of data sets, got dict"),
        (["freihand"], "streams: entry 1: expected fields such as dataset, root and share, got 'freihand'"),
        ([{"dataset": "frei", "root": "x", "share": 0.1}], "entry 1: dataset must be one of 'interhand26m'.*'frei'"),
        ([{"dataset": "hic", "share": 0.1}], "entry 1: root is missing"),
        ([{"root": "x", "share": 0.1}], "entry 1: dataset is missing"),
        ([{"dataset": "hic", "root": "x"}], "entry 1: share must be above 0"),
        ([{"dataset": "hic", "root": "x", "share": -0.1}], "entry 1: share must lie in"),
        ([{"dataset": "hic", "root": "x", "share": "all"}], "entry 1: share must be of type float, got 'all'"),
        ([{"dataset": "hic", "root": "x", "shar": 0.1}], "entry 1: unknown setting 'shar'; did you mean 'share'"),
        ([{"dataset": "hic", "root": "x", "share": 0.6}] * 2, "streams: the shares.*sum to 1.2, expected less than 1"),
        ([{"dataset": "hic", "root": "x", "share": 0.1, "split": "train"}], "split: expected one of test, got 'train'"),
        (
            [{"dataset": "pictures", "root": "x", "share": 0.1, "split": "val"}],
            "split: expected nothing: pictures has no splits, got 'val'",
        ),
        (
            [{"dataset": "interhand26m", "root": "x", "share": 0.1, "validation": "train"}],
            "validation: train is the split that is trained on",
        ),
        ([{"dataset": "hic", "root": "x", "share": 0.1, "subset": "single"}], "subset is of interhand26m, not of hic"),
        (
            [{"dataset": "freihand", "root": "x", "share": 0.1, "hand_model": "m.npz"}],
            "hand_model is of hic, not of freihand",
        ),
    ],
)
def test_fields_are_checked_by_name(tmp_path, streams, message):
    with pytest.raises(ConfigError, match=message):
        Recipe.from_yaml(recipe(tmp_path, streams))


def test_a_list_of_streams_is_not_overridden(tmp_path):
    with pytest.raises(ConfigError, match="streams is a list, which is changed in the file"):
        Recipe.from_yaml(recipe(tmp_path, []), **{"streams.share": 0.1})
    assert Recipe.from_yaml(recipe(tmp_path, [])).streams == ()


def test_the_share_of_photographs_counts(tmp_path):
    path = recipe(tmp_path, [{"dataset": "hic", "root": "x", "share": 0.8}], photographs="labels.json")
    with pytest.raises(ConfigError, match=r"with that of the photographs, sum to 1.05"):
        Recipe.from_yaml(path)
    assert Recipe.from_yaml(path, photograph_share=0.1).streams[0].split == "test"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("interhand26m", r"entry 1 \(interhand26m\): .*expected .*InterHand2.6M_train_data.json"),
        ("freihand", r"entry 1 \(freihand\): .*is not the folder of FreiHAND_pub_v2: expected .*training_K.json"),
        ("hic", r"entry 1 \(hic\): .*is not the folder of HIC.*expected .*HIC.json"),
        ("pictures", r"entry 1 \(pictures\): .*expected .*/annotations.json"),
    ],
)
def test_a_wrong_root_is_answered_by_the_data_set(tmp_path, name, message):
    entry = {"dataset": name, "root": str(tmp_path / "nowhere"), "share": 0.1}
    with pytest.raises(ConfigError, match=message):
        EncoderTrainer(Recipe.from_yaml(recipe(tmp_path, [entry])))


def test_a_validation_split_that_is_missing_is_named_at_the_start(folders, tmp_path):
    root = tmp_path / "set"
    shutil.copytree(folders["interhand26m"]["root"], root)
    shutil.rmtree(root / "annotations" / "val")
    entry = folders["interhand26m"] | {"root": str(root), "validation": "val"}
    with pytest.raises(ConfigError, match=r"entry 1 \(interhand26m\): .*InterHand2.6M_val_data.json"):
        EncoderTrainer(Recipe.from_yaml(recipe(tmp_path, [entry])))


def test_the_hand_model_of_hics_meshes_is_needed(folders, tmp_path):
    with pytest.raises(ConfigError, match=r"entry 1 \(hic\): hand_model: expected the file of its meshes' hand model"):
        stream(folders, "hic", hand_model="")
    with pytest.raises(ConfigError, match=r"entry 1 \(hic\): .*nothing.npz"):
        stream(folders, "hic", hand_model=str(tmp_path / "nothing.npz"))


def test_pictures_without_a_hand_of_known_side_are_refused(folders, tmp_path):
    root = tmp_path / "pictures"
    shutil.copytree(folders["pictures"]["root"], root)
    text = (root / "annotations.json").read_text()
    (root / "annotations.json").write_text(re.sub('"(left|right)"', '"unsure"', text))
    with pytest.raises(ConfigError, match="no picture has keypoints of a hand of known side"):
        stream(folders, "pictures", root=str(root))
    assert len(stream(folders, "pictures")) == FRAMES + 1


def test_each_person_of_a_coco_wholebody_picture_is_a_sample(tmp_path):
    """Two people with a hand of known side each; a third one without annotated hands."""
    cv2.imwrite(str(tmp_path / "a.png"), np.full((300, 400, 3), 90, np.uint8))
    hands = {"lefthand": FLAT_HAND + (120, 60), "righthand": FLAT_HAND + (250, 80)}
    people = []
    for number, (name, points) in enumerate(hands.items()):
        listed = np.concatenate([points, np.full((21, 1), 2.0)], axis=1)
        listed[8] = 0.0  # not annotated
        unknown = {"kpts": [0.0] * 63, "box": [0.0] * 4, "valid": False}
        known = {"kpts": listed.ravel().tolist(), "box": [100.0, 50.0, 90.0, 200.0], "valid": True}
        fields = {f"{hand_name}_{field}": value
                  for hand_name in hands
                  for field, value in (known if hand_name == name else unknown).items()}  # fmt: skip
        people.append({"image_id": 1, "bbox": [0, 0, 200 - 10 * number, 300], "iscrowd": 0, **fields})
    nobody = {f"{name}_{field}": value for name in hands for field, value in unknown.items()}
    people.append({"image_id": 1, "bbox": [0, 0, 50, 50], "iscrowd": 0, **nobody})
    content = {"images": [{"id": 1, "file_name": "a.png", "width": 400, "height": 300}], "annotations": people}
    (tmp_path / "coco_wholebody_train_v1.0.json").write_text(json.dumps(content))
    source = open_streams(read_streams([{"dataset": "pictures", "root": str(tmp_path), "share": 0.5}]), MODEL)[0]
    assert len(source) == 2
    for index, side in enumerate(Side):
        sample, absent = source.images.sample(index, np.random.default_rng(0))
        assert sample.present[side] and not sample.present[side.other] and not absent.any()
        known = np.setdiff1d(np.arange(21), [8])
        np.testing.assert_allclose(sample.keypoints_2d[side, known], list(hands.values())[index][known])
        assert np.isnan(sample.keypoints_2d[side, 8]).all() and np.isnan(sample.keypoints_2d[side.other]).all()
        assert np.isnan(sample.joints).all() and np.isnan(sample.rotations).all() and not sample.has_labels
        assert sample.camera.K[0, 0] == sample.camera.K[1, 1] > 150
    arrays = source.arrays(np.random.default_rng(1))
    assert arrays["present"].sum() == 1 and not arrays["other_valid"].any()
