"""HIC: files written here in its format are read with exact values, and damaged ones are named."""

from __future__ import annotations

import dataclasses
import io
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import trimesh
from mano_stand_in import mano_stand_in

from hand_recon_ros import Camera, Side
from hand_recon_ros.datasets.annotations import AnnotationError
from hand_recon_ros.datasets.hic import HIC_CAMERA, Hic
from hand_recon_ros.datasets.hic_files import write_hic
from hand_recon_ros.datasets.ply import read_vertices, write_mesh
from hand_recon_ros.datasets.sample import Sample
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.synthetic.miniatures import hic_samples

IMAGE = {"id": 7, "file_name": "01/1/rgb/000.png", "width": 640, "height": 480, "seq_name": "01"}
BOTH = {
    "id": 5,
    "image_id": 7,
    "bbox": [1, 2, 3, 4],
    "hand_type": "interacting",
    "right_mano_path": "fits/R/000.ply",
    "left_mano_path": "fits/L/000.ply",
}
FACES = np.array([[0, 1, 2]])
HEADER = (
    "ply\nformat ascii 1.0\ncomment by a test\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
)


def mesh(seed: int, count: int = 778) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.uniform(-0.1, 0.1, (count, 3)) + [0.0, 0.0, 0.6]).astype(np.float32)


def write(root: Path, annotations: Any, images: Any = (IMAGE,)) -> Path:
    (root / "01/1/rgb").mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(root / IMAGE["file_name"]), np.full((480, 640, 3), 77, np.uint8))
    for seed, name in enumerate("LR"):
        (root / "fits" / name).mkdir(parents=True, exist_ok=True)
        write_mesh(root / "fits" / name / "000.ply", mesh(seed), FACES)
    (root / "HIC.json").write_text(json.dumps({"images": list(images), "annotations": annotations}), encoding="utf-8")
    return root


def test_two_hands(tmp_path: Path) -> None:
    model = mano_stand_in()
    data = Hic(write(tmp_path, [BOTH]), model)
    sample = data[0]
    assert len(data) == 1 and (data.name, data.split) == ("hic", "test")
    assert sample.name == "hic/test/01/1/rgb/000.png" and sample.arrangement == "interacting"
    assert sample.image.shape == (480, 640, 3) and (sample.image == 77).all()
    assert sample.camera.K.tolist() == [[525, 0, 319.5], [0, 525, 239.5], [0, 0, 1]]
    assert sample.present.tolist() == [True, True] and not sample.has_maps and not sample.has_labels
    assert sample.vertices is not None
    for side in Side:
        vertices, arrays = mesh(int(side)).astype(np.float64), model.arrays(side)
        np.testing.assert_array_equal(sample.vertices[side], vertices)
        np.testing.assert_allclose(sample.joints[side, 0], arrays.regressor[0] @ vertices, atol=1e-15)  # wrist
        np.testing.assert_allclose(sample.joints[side, 9], arrays.regressor[4] @ vertices, atol=1e-15)  # middle MCP
        np.testing.assert_allclose(sample.joints[side, 1], arrays.regressor[13] @ vertices, atol=1e-15)  # thumb
        np.testing.assert_array_equal(sample.joints[side, [4, 8, 12, 16, 20]], vertices[arrays.tips])
    x, y, z = sample.joints[Side.LEFT, 0]
    np.testing.assert_allclose(sample.keypoints_2d[Side.LEFT, 0], [525 * x / z + 319.5, 525 * y / z + 239.5])
    assert np.isnan(sample.rotations).all() and np.isnan(sample.betas).all() and np.isnan(sample.translation).all()


@pytest.mark.parametrize(
    ("hand_type", "left", "right", "present"),
    [
        ("right", None, BOTH["right_mano_path"], [False, True]),
        ("left", BOTH["left_mano_path"], None, [True, False]),
        ("interacting", None, BOTH["right_mano_path"], [True, True]),  # there, but without a mesh
        ("interacting", None, None, [True, True]),
        ("left", BOTH["left_mano_path"], BOTH["right_mano_path"], [True, True]),
    ],
)
def test_hands_without_a_mesh(
    tmp_path: Path, hand_type: str, left: str | None, right: str | None, present: list[bool]
) -> None:
    entry = {**BOTH, "hand_type": hand_type, "left_mano_path": left, "right_mano_path": right}
    sample = Hic(write(tmp_path, [entry]), mano_stand_in())[0]
    assert sample.present.tolist() == present and sample.arrangement == hand_type
    for side, path in ((Side.LEFT, left), (Side.RIGHT, right)):
        assert np.isfinite(sample.joints[side]).all() == (path is not None)
        if sample.vertices is not None:
            assert np.isfinite(sample.vertices[side]).all() == (path is not None)
    assert (sample.vertices is None) == (left is None and right is None)


@pytest.mark.parametrize("model", [None, load_hand_model()], ids=["none", "of other vertices"])
def test_without_the_hand_model_there_are_vertices_only(tmp_path: Path, model: Any) -> None:
    sample = Hic(write(tmp_path, [BOTH]), model)[0]
    assert sample.vertices is not None and np.isfinite(sample.vertices).all()
    assert np.isnan(sample.joints).all() and np.isnan(sample.keypoints_2d).all()
    assert sample.present.all() and not sample.keypoint_visible.any()


def first_vertex(data: Hic, index: int) -> list[float]:
    vertices = data[index].vertices
    assert vertices is not None
    return vertices[:, 0].tolist()


def test_other_processes_read_the_same(tmp_path: Path) -> None:
    data = Hic(write(tmp_path, [BOTH, BOTH]), mano_stand_in())
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        there = list(pool.map(first_vertex, [data, data], range(2)))
    assert there == [[mesh(0)[0].tolist(), mesh(1)[0].tolist()]] * 2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"image_id": 8}, "annotation 1: image_id: expected the id of an image, got 8"),
        ({"image_id": "7"}, "annotation 1: image_id: expected int, got '7'"),
        ({"hand_type": "two"}, "annotation 1: hand_type: expected left or right or interacting, got 'two'"),
        ({"hand_type": None}, "annotation 1: hand_type: expected str, got None"),
        ({"left_mano_path": 3}, "annotation 1: left_mano_path: expected str, got 3"),
        ({"left_mano_path": "../../etc/passwd"}, "annotation 1: '../../etc/passwd' is not the name of a file below"),
        ({"right_mano_path": "/etc/passwd"}, "annotation 1: '/etc/passwd' is not the name of a file below"),
        ({"right_mano_path": ""}, "annotation 1: '' is not the name of a file below"),
        ({"right_mano_path": "a\0b"}, r"annotation 1: 'a\\x00b' is not the name of a file below"),
    ],
)
def test_annotations_that_cannot_be_used(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    with pytest.raises(AnnotationError, match=text) as error:
        Hic(write(tmp_path, [BOTH, {**BOTH, **change}]))
    assert str(tmp_path / "HIC.json") in str(error.value)


def test_a_hand_whose_mesh_is_not_stated(tmp_path: Path) -> None:
    entry = {key: value for key, value in BOTH.items() if key != "left_mano_path"}
    with pytest.raises(AnnotationError, match="left_mano_path: expected a file or null, got None"):
        Hic(write(tmp_path, [entry]))


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ({**IMAGE, "file_name": "../../etc/passwd"}, "'../../etc/passwd' is not the name of a file below"),
        ({**IMAGE, "file_name": None}, "image 0: file_name: expected str, got None"),
        ({"file_name": "a.png"}, "image 0: id: expected int, got None"),
        (3, "image 0: expected an object, got 3"),
    ],
)
def test_images_that_cannot_be_used(tmp_path: Path, image: Any, text: str) -> None:
    with pytest.raises(AnnotationError, match=text):
        Hic(write(tmp_path, [BOTH], [image]))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", r"HIC\.json: not JSON, or cut off"),
        ("[]", r"HIC\.json: expected an object"),
        ("{}", r"HIC\.json: images: expected list"),
        ('{"images": [], "annotations": []}', r"HIC\.json: no annotations"),
        ('{"images": [], "annotations": {}}', r"HIC\.json: annotations: expected list"),
    ],
)
def test_a_file_that_holds_no_annotations(tmp_path: Path, content: str, text: str) -> None:
    (tmp_path / "HIC.json").write_text(content, encoding="utf-8")
    with pytest.raises(AnnotationError, match=text):
        Hic(tmp_path)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=rf"{tmp_path} is not the folder of HIC.*: expected .*/HIC\.json"):
        Hic(tmp_path)


def test_a_mesh_of_another_number_of_vertices_than_the_hand_model(tmp_path: Path) -> None:
    write(tmp_path, [BOTH])
    for name in "LR":
        write_mesh(tmp_path / "fits" / name / "000.ply", mesh(1, 779), FACES)
    with pytest.raises(AnnotationError, match=r"fits/L/000\.ply: 779 vertices, expected 778, as mano has"):
        Hic(tmp_path, mano_stand_in())[0]


def test_files_that_cannot_be_read_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = Hic(write(tmp_path, [BOTH, {**BOTH, "right_mano_path": None}]))
    (tmp_path / "fits/R/000.ply").unlink()
    with pytest.raises(AnnotationError, match=r"fits/R/000\.ply: No such file"):
        data[0]
    assert [index for index, _ in data.readable()] == [1] and "fits/R/000.ply" in caplog.text
    write_mesh(tmp_path / "fits/R/000.ply", mesh(1, 777), FACES)
    with pytest.raises(AnnotationError, match=r"fits/L/000\.ply: another number of vertices than .*fits/R/000\.ply"):
        data[0]
    cv2.imwrite(str(tmp_path / IMAGE["file_name"]), np.zeros((240, 320, 3), np.uint8))
    with pytest.raises(AnnotationError, match=r"rgb/000\.png: 320 x 240 pixels, but annotated as 640 x 480"):
        data[1]


# Meshes


@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian"])
def test_meshes_by_another_library(tmp_path: Path, encoding: Any) -> None:
    vertices = mesh(3, 50)
    written = trimesh.Trimesh(vertices, np.arange(48).reshape(-1, 3), process=False).export(
        file_type="ply", encoding=encoding
    )
    (tmp_path / "a.ply").write_bytes(written if isinstance(written, bytes) else written.encode())
    np.testing.assert_allclose(read_vertices(tmp_path / "a.ply"), vertices, atol=0 if "bin" in encoding else 1e-7)


def test_another_library_reads_our_meshes(tmp_path: Path) -> None:
    model, vertices = load_hand_model(), mesh(4, 1160)
    write_mesh(tmp_path / "a.ply", vertices, model.faces(Side.LEFT))
    read = trimesh.load(io.BytesIO((tmp_path / "a.ply").read_bytes()), file_type="ply", process=False)
    np.testing.assert_array_equal(read.vertices, vertices)
    np.testing.assert_array_equal(read.faces, model.faces(Side.LEFT))


def test_other_properties_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    rows = np.zeros(2, dtype=[("r", "u1"), ("z", "<f8"), ("x", "<f4"), ("y", "<i2")])
    rows["z"], rows["x"], rows["y"] = [0.1, 0.2], [3.5, 4.5], [-5, 6]
    properties = "property uchar r\nproperty double z\nproperty float32 x\nproperty short y\n"
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex 2\n{properties}element face 0\nend_header\n"
    path.write_bytes(header.encode() + rows.tobytes())
    expected = [[3.5, -5.0, 0.1], [4.5, 6.0, 0.2]]
    assert read_vertices(path).tolist() == expected
    text = header.replace("binary_little_endian", "ascii") + "9 0.1 3.5 -5\n8 0.2 4.5 6\n"
    for end in ("\n", "\r\n"):
        path.write_bytes(text.replace("\n", end).encode())
        assert read_vertices(path).tolist() == expected


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "no header"),
        (b"solid stl", "no header"),
        (b"\xff" * 400, "no header"),
        (b"ply\nformat ascii 1.0\n" + b"comment a\n" * 5000 + b"end_header\n", "no header"),
        ("ply\nformat binary_big_endian 1.0\nelement vertex 2\nend_header\n", "expected format ascii or binary_little"),
        ("ply\nformat\nelement vertex 2\nend_header\n", "expected format"),
        ("ply\nformat ascii 1.0\nelement face 2\nend_header\n", "expected vertices as the first element"),
        ("ply\nformat ascii 1.0\nelement vertex -2\nend_header\n", "expected vertices as the first element"),
        ("ply\nformat ascii 1.0\nelement vertex 2e3\nend_header\n", "expected vertices as the first element"),
        ("ply\nformat ascii 1.0\nelement vertex " + "9" * 5000 + "\nend_header\n", "expected vertices as the first"),
        (HEADER.replace("vertex 2", "vertex 0") + "end_header\n", "0 vertices, expected 1 to"),
        (HEADER.replace("vertex 2", "vertex 999999999") + "end_header\n", "999999999 vertices, expected 1 to"),
        (HEADER.replace("property float z\n", "") + "end_header\n1 2\n3 4\n", "vertices without x, y or z"),
        (HEADER.replace("float z", "list uchar float z") + "end_header\n", "expected a property of the vertices"),
        (HEADER.replace("float z", "object z") + "end_header\n", "expected a property of the vertices"),
        (HEADER.replace("float z", "float x") + "end_header\n", "expected a property of the vertices"),
        (HEADER + "end_header\n1 2 3\n", "expected 2 lines of 3 numbers; cut off"),
        (HEADER + "end_header\n1 2 3\n4 5\n", "expected 2 lines of 3 numbers; cut off"),
        (HEADER + "end_header\n1 2 3\n4 5 a\n", "a vertex that is no row of numbers"),
        (HEADER + "end_header\n1 2 3\n4 5 nan\n", "a vertex is not finite"),
        (HEADER + "end_header\n1 2 3\n4 5 1e999\n", "a vertex is not finite"),
        (HEADER.replace("ascii", "binary_little_endian") + "end_header\n" + "\0" * 23, "cut off: expected 2 vertices"),
        (HEADER.replace("ascii", "binary_little_endian") + "end_header", "no header"),
    ],
)  # fmt: skip
def test_meshes_that_cannot_be_read(tmp_path: Path, content: bytes | str, text: str) -> None:
    (tmp_path / "a.ply").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(AnnotationError, match=rf"a\.ply: {text}"):
        read_vertices(tmp_path / "a.ply")


def test_a_file_larger_than_any_mesh(tmp_path: Path) -> None:
    with (tmp_path / "a.ply").open("wb") as file:
        file.truncate(1 << 40)  # no block of it is stored
    with pytest.raises(AnnotationError, match="larger than any mesh"):
        read_vertices(tmp_path / "a.ply")


# Miniatures


@pytest.fixture(scope="module")
def rendered() -> list[Sample]:
    samples = hic_samples("test", 4, load_hand_model())
    two = next(sample for sample in samples if sample.present.all())
    return [two, *islice((sample for sample in samples if not sample.present.all()), 2)]


def test_a_miniature_gives_its_samples_back(rendered: list[Sample], tmp_path: Path) -> None:
    model = load_hand_model()
    assert write_hic(tmp_path, rendered, model) == 3
    data = Hic(tmp_path, model)
    assert len(data) == 3 and json.loads((tmp_path / "hand_model.json").read_text())["hand_model"] == "webxr_generic"
    for index, original in enumerate(rendered):
        sample = data[index]
        np.testing.assert_array_equal(sample.image, original.image)
        np.testing.assert_array_equal(sample.present, original.present)
        assert sample.vertices is not None
        for side in Side:
            if not original.present[side]:
                assert np.isnan(sample.vertices[side]).all() and np.isnan(sample.joints[side]).all()
                continue
            pose = original.rotations[side], original.betas[side], original.translation[side]
            vertices = model.mesh(side, *pose)
            np.testing.assert_array_equal(sample.vertices[side], vertices)
            np.testing.assert_array_equal(sample.joints[side], model.mesh_keypoints(side, vertices))
            # The wrist and the fingertips are those of the chain; the averages of bent fingers are nearly.
            known = [0, 4, 8, 12, 16, 20]
            np.testing.assert_allclose(sample.joints[side, known], original.joints[side, known], atol=1e-4)
            assert np.linalg.norm(sample.joints[side] - original.joints[side], axis=1).max() < 0.01


def test_the_files_of_a_miniature(rendered: list[Sample], tmp_path: Path) -> None:
    write_hic(tmp_path, rendered, load_hand_model())
    content = json.loads((tmp_path / "HIC.json").read_text())
    image, annotation = content["images"][0], content["annotations"][0]
    assert image == {
        "id": 0, "file_name": "01/1/rgb/000.png", "width": 640, "height": 480, "seq_name": "01", "frame_idx": 0
    }  # fmt: skip
    assert annotation["hand_type"] == "interacting"
    assert annotation["left_mano_path"].endswith("IJCV___01___Model_Hand_L___ncomps45/000.ply")
    assert annotation["right_mano_path"].endswith("IJCV___01___Model_Hand_R___ncomps45/000.ply")
    points = HIC_CAMERA.project(rendered[0].joints).reshape(-1, 2)
    low, extent = points.min(axis=0), np.ptp(points, axis=0)
    np.testing.assert_allclose(annotation["bbox"], [*low, *extent])
    for single, sample in zip(content["annotations"][1:], rendered[1:], strict=True):
        side = Side.LEFT if sample.present[Side.LEFT] else Side.RIGHT
        assert single["hand_type"] == side.label and single[f"{side.other.label}_mano_path"] is None


def test_a_sample_by_another_camera_is_seen_by_hics(rendered: list[Sample], tmp_path: Path) -> None:
    half = np.array([[262.5, 0.0, 159.5], [0.0, 262.5, 119.5], [0.0, 0.0, 1.0]])
    smaller = Camera(K=half, width=320, height=240)
    image = np.zeros((240, 320, 3), np.uint8)
    image[100:140, 50:80] = 255
    write_hic(tmp_path, [dataclasses.replace(rendered[0], camera=smaller, image=image)], load_hand_model())
    seen = Hic(tmp_path)[0].image
    # Pixel x of the smaller image is at 2 x + 0.5 - 2 * 0.25 of HIC's: (x - 159.5) * 2 + 319.5 = 2 x + 0.5.
    assert (seen[204:276, 104:156] == 255).all() and not seen[:196].any() and not seen[:, :96].any()


def test_samples_without_a_hand(rendered: list[Sample], tmp_path: Path) -> None:
    empty = dataclasses.replace(rendered[0], present=np.zeros(2, dtype=bool))
    with pytest.raises(ValueError, match=f"{empty.name}: expected a sample with a hand"):
        write_hic(tmp_path, [empty], load_hand_model())
