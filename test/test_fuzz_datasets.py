"""Annotations of data sets with random contents: pictures, or AnnotationError."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fuzzing import contents, damaged, fuzzed, limited_memory
from hypothesis import given
from hypothesis import strategies as st

from hand_recon_ros.datasets.hand_boxes import read_hands_dataset, read_ti1k, read_yolo
from hand_recon_ros.datasets.pictures import AnnotationError, read_pictures

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
