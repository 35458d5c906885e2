"""Annotations of data sets with random contents: pictures, or AnnotationError."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fuzzing import contents, damaged, fuzzed, limited_memory
from hypothesis import given
from hypothesis import strategies as st
from mano_stand_in import mano_stand_in

from hand_recon_ros.datasets.freihand import FreiHand
from hand_recon_ros.datasets.freihand_files import read_freihand_predictions
from hand_recon_ros.datasets.hand_boxes import read_hands_dataset, read_ti1k, read_yolo
from hand_recon_ros.datasets.hic import Hic
from hand_recon_ros.datasets.pictures import AnnotationError, read_pictures
from hand_recon_ros.datasets.ply import read_vertices, write_mesh

PICTURE = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
HAND = {"side": "left", "box": [10, 20, 40, 60], "occluded": False, "person": 0, "keypoints_2d": [[1.0, 2.0]] * 21}
K = [[50.0, 0.0, 32.0], [0.0, 50.0, 24.0], [0.0, 0.0, 1.0]]
ENTRY = {"file": "a.jpg", "kind": "one", "tags": ["dark"], "K": K, "width": 64, "height": 48, "hands": [HAND]}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    for file in ("a.jpg", "train/0001.jpg", "images/a_pic00001.jpg", "split/images/a.jpg"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(PICTURE)
    return folder


def write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))


def check_pictures(root: Path, content: bytes | str) -> None:
    write(root / "annotations.json", content)
    with limited_memory():
        try:
            pictures = read_pictures(root)
        except AnnotationError as error:
            assert "annotations.json" in str(error)
            return
        for picture in pictures:
            try:
                assert picture.frame().image.ndim == 3
            except AnnotationError as error:
                assert str(picture.path) in str(error)


def replaced(draw: Any, value: Any) -> Any:
    """``value`` with one part of it, somewhere, replaced by anything."""
    if not value or not isinstance(value, dict | list) or draw(st.integers(0, 3)) == 0:
        return draw(contents() | st.sampled_from(["b" * 300, "a.jpg/b", "..", "a\0b", [[1e400] * 3] * 3, 2**70]))
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = draw(st.sampled_from(keys))
    result = dict(value) if isinstance(value, dict) else list(value)
    result[key] = replaced(draw, value[key])
    return result


@fuzzed(60)
@given(data=st.data())
def test_pictures_with_other_fields(root: Path, data: Any) -> None:
    check_pictures(root, json.dumps(replaced(data.draw, [ENTRY])))


@fuzzed(100)
@given(data=st.data())
def test_damaged_annotations(root: Path, data: Any) -> None:
    whole = json.dumps([ENTRY]).encode()
    deep = st.sampled_from([b"[" * 100_000, b'{"a":' * 100_000, b"[" + b"9" * 10_000 + b"]"])
    check_pictures(root, data.draw(damaged(whole) | st.binary(max_size=40) | deep))


LABELS = {
    "ti1k": (read_ti1k, "annotation/label.txt", b"0001.jpg 0.1 0.2 0.6 0.9 0.3 0.3 0.4 0.5\n"),
    "hands_dataset": (
        read_hands_dataset,
        "images/a_pic00001.xml",
        b"<annotation><size><width>64</width><height>48</height></size><object><bndbox><xmin>5</xmin><ymin>6</ymin>"
        b"<xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>",
    ),
    "yolo": (
        lambda root: read_yolo(root, "source", "MIT"),
        "split/labels/a.txt",
        b"0 0.5 0.5 0.2 0.3\n1 0.1 0.1 0.5 0.1 0.5 0.6\n",
    ),
}


@pytest.mark.parametrize("name", LABELS)
@fuzzed(70)
@given(data=st.data())
def test_damaged_labels(root: Path, name: str, data: Any) -> None:
    read, file, whole = LABELS[name]
    write(root / file, whole)
    assert len(read(root)) == 1
    bomb = (
        b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">'
        + b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9))
        + b"]><a>&j;</a>"
    )
    lines = st.sampled_from([b"0 1e400 0.5 0.2 0.3", b"../0001.jpg" + b" 0.5" * 8, b"0001.jpg " + b"nan " * 8,
                             b"a" * 300 + b".jpg" + b" 0.5" * 8, b"0 " + b"0.5 " * 9999, b"a\0b" + b" 0.5" * 8,
                             ])  # fmt: skip
    write(root / file, data.draw(damaged(whole) | lines | st.just(bomb)))
    with limited_memory():
        try:
            pictures = read(root)
        except AnnotationError as error:
            assert Path(file).name in str(error)
            return
    for picture in pictures:
        assert picture.boxes.shape[1] == 4 and np.isfinite(picture.boxes).all()
        assert (picture.boxes >= 0).all() and (picture.boxes <= [64, 48, 64, 48]).all()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[" * 100_000, "not JSON"),
        (json.dumps([{**ENTRY, "file": "b" * 300}]), "no such file"),
        (json.dumps([{**ENTRY, "K": [[10**400] * 3] * 3}]), "K: expected 3 x 3 numbers"),
        (json.dumps([{**ENTRY, "hands": [{**HAND, "keypoints_2d": [{}] * 21}]}]), "keypoints_2d: expected 21"),
        (
            json.dumps([{**ENTRY, "hands": [{**HAND, "keypoints_2d": [[10**400, 1]] * 21}]}]),
            "keypoints_2d: expected 21",
        ),
    ],
    ids=["nested", "long name", "huge number", "object as point", "huge point"],
)
def test_annotations_that_raised_something_else(root: Path, content: str, words: str) -> None:
    write(root / "annotations.json", content)
    with pytest.raises(AnnotationError, match=words):
        read_pictures(root)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("yolo", b"0 0.5 0.5 0.2 0.3\xf0", "cannot be read as text"),
        ("ti1k", b"a\0b" + b" 0.5" * 8, "missing or cannot be read"),
        ("ti1k", b"a" * 300 + b".jpg" + b" 0.5" * 8, "missing or cannot be read"),
    ],
    ids=["not UTF-8", "zero byte", "long name"],
)
def test_labels_that_raised_something_else(root: Path, name: str, content: bytes, words: str) -> None:
    read, file, _ = LABELS[name]
    write(root / file, content)
    with pytest.raises(AnnotationError, match=words):
        read(root)


# Published data sets

COCO_PERSON = {
    "image_id": 1, "bbox": [0, 0, 40, 30], "iscrowd": 0,
    **{f"{side}hand_{name}": value for side in ("left", "right")
       for name, value in (("valid", True), ("box", [1, 2, 30, 40]), ("kpts", [1.0, 2.0, 0.5] * 21))},
}  # fmt: skip
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}], "annotations": [COCO_PERSON],
}  # fmt: skip
HIC = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "annotations": [{"image_id": 1, "hand_type": "left", "left_mano_path": "a.ply", "right_mano_path": None}],
}
FREIHAND = {
    "K": [K], "scale": [0.03], "xyz": [[[0.1, 0.2, 0.5]] * 21], "verts": [[[0.1, 0.2, 0.5]] * 778],
    "mano": [[[0.1] * 60 + [500.0]]],
}  # fmt: skip


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    (folder / "training" / "rgb").mkdir(parents=True)
    for name, size in (("a.jpg", (48, 64)), ("a.png", (480, 640)), ("training/rgb/00000000.jpg", (224, 224))):
        cv2.imwrite(str(folder / name), np.full((*size, 3), 90, np.uint8))
    write_mesh(folder / "a.ply", np.full((778, 3), 0.5, np.float32), np.array([[0, 1, 2]]))
    return folder


def check_coco(root: Path, content: bytes | str) -> None:
    path = root / "coco_wholebody_val_v1.0.json"
    write(path, content)
    with limited_memory():
        try:
            pictures = read_pictures(path)
        except AnnotationError as error:
            assert path.name in str(error)
            return
    for hand in (hand for picture in pictures for hand in picture.hands):
        assert np.isfinite(hand.box).all() and hand.side is not None


def check_hic(root: Path, content: bytes | str) -> None:
    write(root / "HIC.json", content)
    with limited_memory():
        try:
            data = Hic(root, mano_stand_in())
        except AnnotationError as error:
            assert "HIC.json" in str(error)
            return
        for index in range(len(data)):
            try:
                assert data[index].vertices is None or np.isfinite(data[index].joints).any()
            except AnnotationError as error:
                assert str(root) in str(error)


def check_freihand(root: Path, name: str, content: bytes | str) -> None:
    for other, value in FREIHAND.items():
        write(root / f"training_{other}.json", json.dumps(value))
    write(root / f"training_{name}.json", content)
    with limited_memory():
        try:
            data = FreiHand(root, "training", mano_stand_in(), versions=("gs",))
            sample = data[0]
        except AnnotationError as error:
            assert f"training_{name}.json" in str(error) or (name == "K" and "training_mano.json" in str(error))
            return
    assert np.isfinite(sample.joints[1]).all() and np.isfinite(sample.rotations[1]).all()


@fuzzed(60)
@given(data=st.data())
def test_people_with_other_fields(published: Path, data: Any) -> None:
    check_coco(published, json.dumps(replaced(data.draw, COCO)))


@fuzzed(60)
@given(data=st.data())
def test_damaged_people(published: Path, data: Any) -> None:
    check_coco(published, data.draw(damaged(json.dumps(COCO).encode()) | st.binary(max_size=40)))


@fuzzed(60)
@given(data=st.data())
def test_hic_with_other_fields(published: Path, data: Any) -> None:
    check_hic(published, json.dumps(replaced(data.draw, HIC)))


@fuzzed(60)
@given(data=st.data())
def test_damaged_hic(published: Path, data: Any) -> None:
    check_hic(published, data.draw(damaged(json.dumps(HIC).encode()) | st.binary(max_size=40)))


@pytest.mark.parametrize("name", FREIHAND)
@fuzzed(40)
@given(data=st.data())
def test_freihand_with_other_values(published: Path, name: str, data: Any) -> None:
    check_freihand(published, name, json.dumps(replaced(data.draw, FREIHAND[name])))


@pytest.mark.parametrize("name", FREIHAND)
@fuzzed(40)
@given(data=st.data())
def test_damaged_freihand(published: Path, name: str, data: Any) -> None:
    deep = st.sampled_from([b"[" * 100_000, b"[[" + b"9" * 10_000 + b"]]", b"[" + b"[" * 5000 + b"]" * 5000 + b"]"])
    check_freihand(published, name, data.draw(damaged(json.dumps(FREIHAND[name]).encode()) | deep))


@pytest.mark.parametrize("text_format", [True, False], ids=["ascii", "binary"])
@fuzzed(100)
@given(data=st.data())
def test_damaged_meshes(published: Path, text_format: bool, data: Any) -> None:
    path = published / "b.ply"
    write_mesh(path, np.full((20, 3), 0.5, np.float32), np.array([[0, 1, 2]]))
    whole = path.read_bytes()
    if text_format:
        header = whole[: whole.index(b"end_header\n") + 11].replace(b"binary_little_endian", b"ascii")
        whole = header + b"0.5 0.5 0.5\n" * 20 + b"3 0 1 2\n"
    write(path, data.draw(damaged(whole)))
    with limited_memory():
        try:
            vertices = read_vertices(path)
        except AnnotationError as error:
            assert "b.ply" in str(error)
            return
    assert vertices.ndim == 2 and vertices.shape[1] == 3 and np.isfinite(vertices).all()


@fuzzed(60)
@given(data=st.data())
def test_damaged_predictions(published: Path, data: Any) -> None:
    path = published / "pred.zip"
    lists = [[[[0.5, 0.5, 0.5]] * 21] * 2, [[[0.5, 0.5, 0.5]] * 30] * 2]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pred.json", json.dumps(lists))
    write(path, data.draw(damaged(path.read_bytes()) | damaged(json.dumps(lists).encode())))
    with limited_memory():
        try:
            xyz, verts = read_freihand_predictions(path)
        except AnnotationError as error:
            assert "pred.zip" in str(error)
            return
    assert len(xyz) == len(verts) and np.isfinite(xyz).all() and np.isfinite(verts).all()
