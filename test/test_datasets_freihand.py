"""FreiHAND: files written here in its format are read with exact values, and damaged ones are named."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mano_stand_in import mano_stand_in
from scipy.spatial.transform import Rotation

from hand_recon_ros import Side
from hand_recon_ros.datasets.annotations import AnnotationError
from hand_recon_ros.datasets.freihand import SIZE, VERSIONS, FreiHand
from hand_recon_ros.datasets.freihand_parameters import numbers_from_parameters, parameters_from_numbers
from hand_recon_ros.datasets.sample import RIGHT_HAND
from hand_recon_ros.hand_model.model import load_embedded
from hand_recon_ros.hand_model.order import from_mano_pose

COUNT = 3
K = [[480.0, 0.0, 110.0], [0.0, 500.0, 114.0], [0.0, 0.0, 1.0]]
XYZ = np.column_stack([np.arange(21) * 0.002, np.full(21, -0.01), np.full(21, 0.5)])
PIXEL, SCALE = np.array([120.0, 90.0]), 800.0
GREYS = (40, 80, 120, 160)
"""Of the versions' images."""


def numbers(seed: int) -> np.ndarray:
    """A hand's 61 numbers."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0, 0.5, 48), rng.normal(0, 1, 10), PIXEL + seed, [SCALE + seed]])


def write(root: Path, name: str, content: Any) -> None:
    (root / name).write_text(json.dumps(content), encoding="utf-8")


def picture(path: Path, grey: int, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((size[1], size[0], 3), grey, np.uint8))


def write_split(root: Path, split: str, count: int = COUNT, labelled: bool = True) -> Path:
    for version, grey in enumerate(GREYS if split == "training" else GREYS[:1]):
        for number in range(count):
            picture(root / split / "rgb" / f"{version * count + number:08d}.jpg", grey + 5 * number)
    write(root, f"{split}_K.json", [K] * count)
    write(root, f"{split}_scale.json", [0.03 + 0.001 * number for number in range(count)])
    if labelled:
        write(root, f"{split}_xyz.json", [(XYZ + 0.001 * number).tolist() for number in range(count)])
        write(root, f"{split}_verts.json", [np.full((778, 3), 0.1 * number).tolist() for number in range(count)])
        write(root, f"{split}_mano.json", [[numbers(number).tolist()] for number in range(count)])
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_split(tmp_path, "training")


def test_the_annotation_of_an_image_is_its_number_modulo_the_annotations(root: Path) -> None:
    data = FreiHand(root, "training")
    assert len(data) == 4 * COUNT and data.num_annotations == COUNT
    for index in range(len(data)):
        version, number = divmod(index, COUNT)
        sample = data[index]
        assert sample.name == f"freihand/training/{index:08d}" and data.image_id(index) == index
        assert sample.image[100, 100] == pytest.approx(GREYS[version] + 5 * number, abs=1)
        np.testing.assert_array_equal(sample.joints[Side.RIGHT], XYZ + 0.001 * number)
        assert data.scale(index) == 0.03 + 0.001 * number


@pytest.mark.parametrize("chosen", [("hom",), ("auto", "gs"), VERSIONS[1:]])
def test_chosen_versions(root: Path, chosen: tuple[str, ...]) -> None:
    data = FreiHand(root, "training", versions=chosen)
    assert len(data) == COUNT * len(chosen)
    for index in range(len(data)):
        version = VERSIONS.index(chosen[index // COUNT])
        assert data.image_id(index) == version * COUNT + index % COUNT
        assert data[index].image[0, 0, 0] == pytest.approx(GREYS[version] + 5 * (index % COUNT), abs=1)


def test_a_sample(root: Path) -> None:
    sample = FreiHand(root, "training")[1]
    assert sample.present.tolist() == [False, True] and not sample.has_maps and not sample.has_labels
    assert sample.camera.K.tolist() == K and (sample.camera.width, sample.camera.height) == SIZE
    # By hand: x = 0.001 + 0.002 k, y = -0.009, z = 0.501.
    x, y = 480.0 * (0.001 + 0.002 * 20) / 0.501 + 110.0, 500.0 * -0.009 / 0.501 + 114.0
    np.testing.assert_allclose(sample.keypoints_2d[Side.RIGHT, 20], [x, y], rtol=1e-14)
    assert sample.keypoint_visible[Side.RIGHT].all() and not sample.keypoint_visible[Side.LEFT].any()
    assert sample.vertices is not None and sample.vertices.shape == (2, 778, 3)
    assert (sample.vertices[Side.RIGHT] == 0.1).all() and np.isnan(sample.vertices[Side.LEFT]).all()
    assert np.isnan(sample.joints[Side.LEFT]).all()
    assert np.isnan(sample.rotations).all() and np.isnan(sample.betas).all() and np.isnan(sample.translation).all()
    assert np.isinf(sample.depth).all() and not sample.labels.any()


def test_parameters_put_the_middle_mcp_on_the_roots_ray(root: Path) -> None:
    model = mano_stand_in()
    sample = FreiHand(root, "training", model)[2]
    given = numbers(2)
    pose = given[:48] + np.concatenate([np.zeros(3), model.arrays(Side.RIGHT).hands_mean])
    right = Side.RIGHT
    np.testing.assert_allclose(sample.rotations[right], from_mano_pose(pose), atol=1e-15)
    np.testing.assert_allclose(sample.rotations[right, 0], Rotation.from_rotvec(given[:3]).as_matrix(), atol=1e-14)
    np.testing.assert_array_equal(sample.betas[right], given[48:58])
    mesh = model.mesh(right, sample.rotations[right], sample.betas[right], sample.translation[right])
    # By hand, with one focal length of 490 pixels: ((122 - 110) / 802, (92 - 114) / 802, 490 / 802).
    root_joint = model.mesh_keypoints(right, mesh)[9]
    np.testing.assert_allclose(root_joint, [12.0 / 802, -22.0 / 802, 490.0 / 802], atol=1e-7)
    assert np.isnan(sample.rotations[Side.LEFT]).all() and np.isnan(sample.translation[Side.LEFT]).all()


def test_numbers_of_parameters_are_the_numbers_again() -> None:
    model, intrinsics = mano_stand_in(), np.array(K)
    for seed in range(5):
        given = numbers(seed)
        rotations, betas, translation = parameters_from_numbers(given, intrinsics, model)
        again = numbers_from_parameters(rotations, betas, translation, intrinsics, model)
        np.testing.assert_allclose(again[48:], given[48:], rtol=1e-12)
        np.testing.assert_allclose(model.from_mano_pose(again[:48]), model.from_mano_pose(given[:48]), atol=1e-12)


def test_numbers_without_the_outer_list_are_the_same(root: Path) -> None:
    before = FreiHand(root, "training", mano_stand_in())[0]
    write(root, "training_mano.json", [numbers(number).tolist() for number in range(COUNT)])
    after = FreiHand(root, "training", mano_stand_in())[0]
    np.testing.assert_array_equal(after.rotations, before.rotations)
    np.testing.assert_array_equal(after.translation, before.translation)


def test_parameters_are_not_those_of_another_model(root: Path) -> None:
    sample = FreiHand(root, "training", load_embedded())[0]
    assert np.isnan(sample.rotations).all() and np.isnan(sample.betas).all() and np.isnan(sample.translation).all()
    write(root, "hand_model.json", {"hand_model": "webxr_generic", "vertices": 1160})
    assert np.isnan(FreiHand(root, "training", mano_stand_in())[0].rotations).all()


def test_masks_are_labels_of_every_version_and_no_depth(root: Path) -> None:
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    mask[50:100, 60:90] = 255
    (root / "training" / "mask").mkdir()
    cv2.imwrite(str(root / "training" / "mask" / "00000001.jpg"), mask, [cv2.IMWRITE_JPEG_QUALITY, 100])
    data = FreiHand(root, "training")
    for version in range(4):
        sample = data[version * COUNT + 1]
        assert sample.has_labels and not sample.has_maps
        np.testing.assert_array_equal(sample.labels, np.where(mask > 0, RIGHT_HAND, 0))
        assert np.isinf(sample.depth).all() and not sample.occluded.any()
    assert not data[0].has_labels  # of which there is no mask


def test_the_evaluation_split_without_its_annotations(tmp_path: Path) -> None:
    data = FreiHand(write_split(tmp_path, "evaluation", 2, labelled=False), "evaluation", mano_stand_in())
    sample = data[1]
    assert len(data) == 2 and data.versions == ("gs",) and data.scale(1) == 0.031
    assert sample.present.tolist() == [False, True] and np.isnan(sample.joints).all() and sample.vertices is None
    assert np.isnan(sample.rotations).all() and sample.camera.K.tolist() == K
    assert not sample.keypoint_visible.any()


def test_the_evaluation_split_with_its_annotations(tmp_path: Path) -> None:
    data = FreiHand(write_split(tmp_path, "evaluation", 2), hand_model=mano_stand_in())
    sample = data[1]
    assert data.split == "evaluation" and len(data) == 2
    np.testing.assert_array_equal(sample.joints[Side.RIGHT], XYZ + 0.001)
    assert np.isfinite(sample.rotations[Side.RIGHT]).all() and sample.vertices is not None


def first_joint(data: FreiHand, index: int) -> list[float]:
    return data[index].joints[Side.RIGHT, 0].tolist()


def test_other_processes_read_the_same(root: Path) -> None:
    data = FreiHand(root, "training", mano_stand_in())
    here = [first_joint(data, index) for index in range(len(data))]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        there = list(pool.map(first_joint, [data] * len(data), range(len(data))))
    assert there == here


def test_damaged_images_are_left_out_or_raise(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "training" / "rgb" / "00000001.jpg").write_bytes(b"no picture")
    (root / "training" / "rgb" / "00000005.jpg").unlink()
    data = FreiHand(root, "training")
    assert [index for index, _ in data.readable()] == [0, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    assert "00000001.jpg" in caplog.text and "00000005.jpg" in caplog.text
    with pytest.raises(AnnotationError, match=r"00000001\.jpg"):
        list(data.readable(skip_damaged=False))


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("training_K.json", None, r"FreiHAND_pub_v2: expected .*training_K\.json"),
        ("training_xyz.json", None, r"expected .*training_xyz\.json"),
        ("training_xyz.json", "[[[1, 2, 3]], [[1", r"training_xyz\.json: .* cut off"),
        ("training_xyz.json", "[]", r"training_xyz\.json: .*empty"),
        ("training_xyz.json", "[[[0, 0, 0]]]", r"training_xyz\.json: 1 annotations, but 3 in training_K\.json"),
        ("training_xyz.json", '["../../etc/passwd"]', r"training_xyz\.json: expected a list of arrays.*byte 1"),
        ("training_scale.json", "[1, 2]", r"training_scale\.json: expected a list of 3 positive numbers"),
        ("training_scale.json", "[1, 2, NaN]", r"training_scale\.json: expected a list of 3 positive"),
        ("training_scale.json", "[1, 2, -3]", r"training_scale\.json: expected a list of 3 positive"),
        ("training_scale.json", '[1, 2, "a"]', r"training_scale\.json: expected a list of numbers"),
        ("training_scale.json", "{", r"training_scale\.json: not JSON, or cut off"),
        ("hand_model.json", '{"hand_model": 3}', r"hand_model\.json: hand_model: expected str, got 3"),
    ],
)
def test_files_that_cannot_be_used(root: Path, name: str, content: str | None, text: str) -> None:
    (root / name).unlink(missing_ok=True)
    if content is not None:
        (root / name).write_text(content, encoding="utf-8")
    with pytest.raises(AnnotationError, match=text):
        FreiHand(root, "training", mano_stand_in())


@pytest.mark.parametrize(
    ("name", "array", "text"),
    [
        ("K", [[0, 0, 0]] * 3, r"training_K\.json: array 1: focal lengths must be positive"),
        ("K", [[1, 2], [3, 4]], r"training_K\.json: array 1: expected 3 x 3 numbers, got 2 x 2"),
        ("xyz", [[1, 2, 3]] * 20, r"training_xyz\.json: array 1: expected 21 x 3 numbers, got 20 x 3"),
        ("xyz", [[1, 2, 3]] * 20 + [[1, 2]], r"training_xyz\.json: array 1: no numbers of one shape"),
        ("xyz", [[1, 2, float("nan")]] * 21, r"training_xyz\.json: array 1: holds a number that is not finite"),
        ("xyz", [[1, 2, 1e400]] * 21, r"training_xyz\.json: array 1: holds a number that is not finite"),
        ("verts", [[1, 2, 3]] * 777, r"training_verts\.json: array 1: expected 778 x 3 numbers, got 777 x 3"),
        ("mano", [[0.0] * 60], r"training_mano\.json: array 1: expected 1 x 61 or 61 numbers, got 1 x 60"),
        ("mano", [[0.0] * 61], r"training_mano\.json: array 1: the scale must be positive, got 0"),
        ("mano", [[1e308] * 61], r"training_mano\.json: array 1: the numbers are too large for a hand"),
    ],
)
def test_arrays_that_cannot_be_used(root: Path, name: str, array: Any, text: str) -> None:
    path = root / f"training_{name}.json"
    content = json.loads(path.read_text())
    content[1] = array
    path.write_text(json.dumps(content))
    data = FreiHand(root, "training", mano_stand_in())
    assert data[0].present[Side.RIGHT]
    with pytest.raises(AnnotationError, match=text):
        data[1]


def test_pictures_of_another_size(root: Path) -> None:
    picture(root / "training" / "rgb" / "00000000.jpg", 9, (100, 80))
    picture(root / "training" / "mask" / "00000001.jpg", 255, (100, 80))
    (root / "training" / "mask" / "00000002.jpg").write_bytes(b"no picture")
    data = FreiHand(root, "training")
    for index, text in ((0, r"rgb/00000000\.jpg: 100 x 80"), (1, r"mask/00000001\.jpg: 100 x 80"), (2, "00000002.jpg")):
        with pytest.raises(AnnotationError, match=text):
            data[index]


def test_splits_and_versions_that_there_are_not(root: Path) -> None:
    with pytest.raises(ValueError, match="unknown split 'val', expected one of: training, evaluation"):
        FreiHand(root, "val")
    with pytest.raises(ValueError, match="unknown versions .*expected some of: gs, hom, sample, auto"):
        FreiHand(root, "training", versions=("green",))
