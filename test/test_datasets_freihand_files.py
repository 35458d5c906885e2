"""Miniatures of FreiHAND give their samples back, and the file of predictions is the one that its evaluation takes."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from hand_recon_ros import Camera, Side
from hand_recon_ros.datasets.annotations import AnnotationError
from hand_recon_ros.datasets.freihand import FreiHand
from hand_recon_ros.datasets.freihand_files import (
    freihand_camera,
    read_freihand_predictions,
    write_freihand,
    write_freihand_predictions,
)
from hand_recon_ros.datasets.sample import RIGHT_HAND
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.synthetic.miniatures import freihand_samples


@pytest.fixture(scope="module")
def rendered() -> dict[str, list[Any]]:
    model = load_hand_model()
    return {
        "training": list(islice(freihand_samples("train", 5, model), 3)),
        "evaluation": list(islice(freihand_samples("test", 5, model), 2)),
    }


@pytest.fixture(scope="module")
def miniature(rendered: dict[str, list[Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("miniature") / "freihand"
    counts = write_freihand(root, rendered["training"], rendered["evaluation"], load_hand_model())
    assert counts == {"training": 3, "evaluation": 2}
    return root


@pytest.mark.parametrize("split", ["training", "evaluation"])
def test_a_miniature_gives_its_samples_back(rendered: dict[str, list[Any]], miniature: Path, split: str) -> None:
    model, right = load_hand_model(), Side.RIGHT
    data = FreiHand(miniature, split, model)
    assert len(data) == (12 if split == "training" else 2)
    for index, sample in enumerate(data[i] for i in range(len(data))):
        original = rendered[split][index % data.num_annotations]
        np.testing.assert_array_equal(sample.joints, original.joints)
        np.testing.assert_array_equal(sample.camera.K, original.camera.K)
        np.testing.assert_allclose(sample.keypoints_2d, original.keypoints_2d, atol=1e-9)
        np.testing.assert_allclose(sample.rotations, original.rotations, atol=1e-12)
        np.testing.assert_allclose(sample.translation, original.translation, atol=1e-12)
        np.testing.assert_array_equal(sample.betas, original.betas)
        mesh = model.mesh(right, original.rotations[right], original.betas[right], original.translation[right])
        assert sample.vertices is not None
        np.testing.assert_array_equal(sample.vertices[right], mesh)
        bone = original.joints[right, 9] - original.joints[right, 10]
        assert data.scale(index) == pytest.approx(np.linalg.norm(bone), abs=1e-15)
        assert sample.has_labels == (split == "training")
        if sample.has_labels:
            assert np.mean(sample.labels != np.where(original.labels == RIGHT_HAND, RIGHT_HAND, 0)) < 1e-3


def test_versions_of_a_miniature(rendered: dict[str, list[Any]], miniature: Path) -> None:
    data = FreiHand(miniature, "training")
    for number, original in enumerate(rendered["training"]):
        images = [data[version * 3 + number].image.astype(float) for version in range(4)]
        assert np.abs(images[1] - original.image).mean() < 5  # JPEG
        screen = cv2.erode((original.labels == 0).astype(np.uint8), np.ones((17, 17))) > 0  # whole blocks of the JPEG
        assert np.abs(images[0][screen] - [60, 160, 40]).max() < 12
        assert min(np.abs(images[a] - images[b]).mean() for a in range(4) for b in range(a)) > 1


def test_a_sample_of_another_size_is_cropped_to_its_hand(rendered: dict[str, list[Any]], tmp_path: Path) -> None:
    original = rendered["training"][0]
    camera = freihand_camera(original.joints[Side.RIGHT])
    np.testing.assert_allclose(camera.K, original.camera.K)
    larger = np.array([[200.0, 0, 160], [0, 200, 120], [0, 0, 1]])
    K_before = original.camera.K
    seen = Camera(K=larger, width=320, height=240)
    columns, rows = np.meshgrid(np.arange(320), np.arange(240))
    pixels = original.camera.project(seen.unproject(np.stack([columns, rows], -1))).astype(np.float32)
    x, y = np.moveaxis(pixels, -1, 0)
    moved = dataclasses.replace(
        original,
        camera=seen,
        image=cv2.remap(original.image, x, y, cv2.INTER_LINEAR),
        labels=cv2.remap(original.labels, x, y, cv2.INTER_NEAREST),
    )
    write_freihand(tmp_path, [moved], [original], load_hand_model())
    sample = FreiHand(tmp_path, "training", versions=("hom",))[0]
    np.testing.assert_allclose(sample.camera.K, K_before)
    np.testing.assert_array_equal(sample.joints, original.joints)
    both = (sample.labels == RIGHT_HAND) & (original.labels == RIGHT_HAND)
    either = (sample.labels == RIGHT_HAND) | (original.labels == RIGHT_HAND)
    assert both.sum() > 0.9 * either.sum()


def test_samples_that_are_no_right_hand(rendered: dict[str, list[Any]], tmp_path: Path) -> None:
    original = rendered["training"][0]
    for changes in ({"present": np.array([True, True])}, {"present": np.array([True, False])}, {"has_maps": False}):
        with pytest.raises(ValueError, match=f"{original.name}: expected a rendered sample with a right hand"):
            write_freihand(tmp_path, [dataclasses.replace(original, **changes)], [original], load_hand_model())
    with pytest.raises(ValueError, match="evaluation: expected at least one sample"):
        write_freihand(tmp_path, [original], [], load_hand_model())


def test_predictions_are_a_zip_of_two_lists(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    xyz, verts = rng.normal(size=(4, 21, 3)), rng.normal(size=(4, 778, 3)).astype(np.float32)
    write_freihand_predictions(tmp_path / "pred.zip", list(xyz), list(verts))
    with zipfile.ZipFile(tmp_path / "pred.zip") as archive:
        assert archive.namelist() == ["pred.json"]
        content = json.loads(archive.read("pred.json"))
        archive.extractall(tmp_path)
    assert len(content) == 2 and content[0] == xyz.tolist() and content[1] == verts.tolist()
    for name in ("pred.zip", "pred.json"):
        read_xyz, read_verts = read_freihand_predictions(tmp_path / name)
        np.testing.assert_array_equal(read_xyz, xyz)
        np.testing.assert_array_equal(read_verts, verts)


def test_predictions_that_the_evaluation_cannot_take(tmp_path: Path) -> None:
    xyz, verts = np.zeros((2, 21, 3)), np.zeros((2, 778, 3))
    with pytest.raises(ValueError, match="same images, got 2 and 1"):
        write_freihand_predictions(tmp_path / "a.zip", xyz, verts[:1])
    with pytest.raises(ValueError, match="verts 1: expected finite numbers"):
        write_freihand_predictions(tmp_path / "a.zip", xyz, [verts[0], verts[1] * np.nan])
    with pytest.raises(ValueError, match="xyz 0: expected finite numbers"):
        write_freihand_predictions(tmp_path / "a.zip", xyz[:, :20], verts)
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"[", b"[[], []]", b"[[[[1, 2, 3]]], [[[1, 2, 3]]]]", b"{}", b"[1, 2, 3]", b"[" * 100_000, b"\xff\xfe",
     b"PK\x03\x04cut off", json.dumps([[[[0, 0, float("nan")]] * 21], [[[0, 0, 0]] * 5]]).encode(),
     json.dumps([[[[0, 0, 0]] * 21] * 2, [[[0, 0, 0]] * 5]]).encode()],
    ids=["empty", "cut off", "none", "few keypoints", "object", "three", "nested", "no text", "cut zip", "nan",
         "counts"],
)  # fmt: skip
def test_files_that_are_no_predictions(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pred.json").write_bytes(content)
    with pytest.raises(AnnotationError, match=r"pred\.json"):
        read_freihand_predictions(tmp_path / "pred.json")


def test_archives_that_are_no_predictions(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"pred\.zip: No such file"):
        read_freihand_predictions(tmp_path / "pred.zip")
    with zipfile.ZipFile(tmp_path / "pred.zip", "w") as archive:
        archive.writestr("other.json", "[]")
    with pytest.raises(AnnotationError, match=r"pred\.zip: no pred\.json in it"):
        read_freihand_predictions(tmp_path / "pred.zip")
    with zipfile.ZipFile(tmp_path / "pred.zip", "w") as archive:
        archive.writestr("pred.json", "[]")
    data = bytearray((tmp_path / "pred.zip").read_bytes())
    size = data.index(b"PK\x01\x02") + 24  # uncompressed size, in the directory
    data[size : size + 4] = (0xF0000000).to_bytes(4, "little")
    (tmp_path / "pred.zip").write_bytes(data)
    with pytest.raises(AnnotationError, match=r"pred\.json is larger than any predictions"):
        read_freihand_predictions(tmp_path / "pred.zip")
