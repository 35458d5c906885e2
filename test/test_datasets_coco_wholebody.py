"""COCO-WholeBody: files written here in its format are read with exact values, and damaged ones are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from hand_recon_ros import Side
from hand_recon_ros.datasets.pictures import AnnotationError, read_pictures

POINTS = [float(value) for k in range(21) for value in (10 + k, 20 + 0.5 * k, 0 if k == 3 else 0.1 * k + 0.05)]
NOTHING = [0.0] * 63
IMAGE = {"id": 397133, "file_name": "000000397133.jpg", "width": 64, "height": 48, "license": 4}
PERSON = {
    "id": 1,
    "image_id": 397133,
    "category_id": 1,
    "iscrowd": 0,
    "bbox": [0.0, 0.0, 40.0, 30.0],
    "lefthand_valid": True,
    "lefthand_box": [10.0, 20.0, 20.5, 10.0],
    "lefthand_kpts": POINTS,
    "righthand_valid": False,
    "righthand_box": [0.0] * 4,
    "righthand_kpts": NOTHING,
}


def picture(root: Path, name: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(root / name), np.full((48, 64, 3), 90, np.uint8))


def write(root: Path, annotations: Any, images: Any = (IMAGE,), name: str = "coco_wholebody_val_v1.0.json") -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps({"images": list(images), "annotations": annotations}), encoding="utf-8")
    return root


def test_a_hand(tmp_path: Path) -> None:
    picture(tmp_path, IMAGE["file_name"])
    (found,) = read_pictures(write(tmp_path, [PERSON]))
    assert (found.file, found.kind, found.tags, found.size) == (IMAGE["file_name"], "one hand", (), (64, 48))
    (hand,) = found.hands
    assert (hand.side, hand.person, hand.occluded) == (Side.LEFT, 0, False)
    assert hand.box.tolist() == [10.0, 20.0, 30.5, 30.0]
    assert hand.keypoints_2d is not None
    assert hand.keypoints_2d[20].tolist() == [30.0, 30.0] and np.isnan(hand.keypoints_2d[3]).all()
    assert np.isfinite(np.delete(hand.keypoints_2d, 3, axis=0)).all()
    frame = found.frame()
    assert frame.image.shape == (48, 64, 3) and not frame.camera.calibrated


def test_the_person_in_question_has_the_largest_box(tmp_path: Path) -> None:
    picture(tmp_path, IMAGE["file_name"])
    right = {"righthand_valid": True, "righthand_box": [1, 2, 3, 4], "righthand_kpts": NOTHING}
    larger = {**PERSON, **right, "bbox": [0, 0, 50, 40]}
    crowd = {**PERSON, "iscrowd": 1, "bbox": [0, 0, 64, 48], "lefthand_valid": None}
    (found,) = read_pictures(write(tmp_path, [PERSON, larger, crowd]))
    assert found.kind == "both hands"
    assert [(hand.side, hand.person) for hand in found.hands] == [(Side.LEFT, 0), (Side.RIGHT, 0), (Side.LEFT, 1)]
    assert found.hands[1].keypoints_2d is None and found.hands[1].box.tolist() == [1, 2, 4, 6]


def test_pictures_without_hands_of_the_person_in_question_are_left_out(tmp_path: Path) -> None:
    picture(tmp_path, IMAGE["file_name"])
    other, empty = {**IMAGE, "id": 2, "file_name": "b.jpg"}, {**IMAGE, "id": 3, "file_name": "c.jpg"}
    unlabelled = {**PERSON, "image_id": 2, "lefthand_valid": False, "bbox": [0, 0, 60, 40]}
    behind = {**PERSON, "image_id": 2}
    # Files of pictures that are left out need not be there.
    (found,) = read_pictures(write(tmp_path, [PERSON, unlabelled, behind], [empty, IMAGE, other]))
    assert found.file == IMAGE["file_name"]
    with pytest.raises(AnnotationError, match="in no picture is a hand of the largest person annotated"):
        read_pictures(write(tmp_path, [unlabelled], [other]))


@pytest.mark.parametrize(
    ("annotations", "folder"),
    [("", ""), ("", "images"), ("annotations/", "val2017"), ("annotations/", "images/train2017")],
)
def test_where_files_may_be(tmp_path: Path, annotations: str, folder: str) -> None:
    picture(tmp_path, str(Path(folder, IMAGE["file_name"])))
    name = f"{annotations}coco_wholebody_val_v1.0.json"
    write(tmp_path, [PERSON], name=name)
    for root in (tmp_path, tmp_path / name):
        assert read_pictures(root)[0].path == tmp_path / folder / IMAGE["file_name"]


def test_the_format_is_that_of_the_file_that_is_there(tmp_path: Path) -> None:
    picture(tmp_path, IMAGE["file_name"])
    write(tmp_path, [PERSON])
    own = {"file": IMAGE["file_name"], "kind": "own", "hands": []}
    (tmp_path / "annotations.json").write_text(json.dumps([own]), encoding="utf-8")
    assert read_pictures(tmp_path)[0].kind == "own"
    assert read_pictures(tmp_path / "coco_wholebody_val_v1.0.json")[0].kind == "one hand"
    (tmp_path / "annotations.json").unlink()
    assert read_pictures(tmp_path)[0].kind == "one hand"
    write(tmp_path, [PERSON], name="coco_wholebody_train_v1.0.json")
    with pytest.raises(
        AnnotationError, match="expected one file .*got coco_wholebody_train_v1.0.json, coco_wholebody_"
    ):
        read_pictures(tmp_path)


def test_a_hand_whose_box_has_no_extent_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture(tmp_path, IMAGE["file_name"])
    flat = {**PERSON, "righthand_valid": 1, "righthand_box": [5, 5, 0, 7]}
    (found,) = read_pictures(write(tmp_path, [flat]))
    assert [hand.side for hand in found.hands] == [Side.LEFT]
    assert "annotation 0: righthand_box has no extent" in caplog.text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"image_id": 5}, "annotation 1: image_id: expected the id of an image, got 5"),
        ({"image_id": []}, r"annotation 1: image_id: expected int, got \[\]"),
        ({"bbox": [1, 2, 3]}, "annotation 1: bbox: expected 4 numbers"),
        ({"lefthand_valid": "yes"}, "annotation 1: lefthand_valid: expected true or false, got 'yes'"),
        ({"righthand_valid": None}, "annotation 1: righthand_valid: expected true or false, got None"),
        ({"lefthand_box": [1, 2, 3, "x"]}, "annotation 1: lefthand_box: expected 4 numbers"),
        ({"lefthand_box": [1, 2, float("nan"), 4]}, "annotation 1: lefthand_box: expected 4 numbers"),
        ({"lefthand_kpts": POINTS[:-1]}, "annotation 1: lefthand_kpts: expected 63 numbers"),
        ({"lefthand_kpts": [POINTS]}, "annotation 1: lefthand_kpts: expected 63 numbers"),
        ({"lefthand_kpts": [*POINTS[:-1], 10**400]}, "annotation 1: lefthand_kpts: expected 63 numbers"),
        ({"lefthand_kpts": {"0": 1}}, "annotation 1: lefthand_kpts: expected 63 numbers"),
    ],
)
def test_people_that_cannot_be_used(tmp_path: Path, change: dict[str, Any], text: str) -> None:
    picture(tmp_path, IMAGE["file_name"])
    with pytest.raises(AnnotationError, match=text) as error:
        read_pictures(write(tmp_path, [PERSON, {**PERSON, **change}]))
    assert str(tmp_path / "coco_wholebody_val_v1.0.json") in str(error.value)


@pytest.mark.parametrize(
    ("images", "text"),
    [
        ([{**IMAGE, "file_name": "../../etc/passwd"}], "image 0: '../../etc/passwd' is not the name of a file below"),
        ([{**IMAGE, "file_name": "/etc/passwd"}], "image 0: '/etc/passwd' is not the name of a file below"),
        ([{**IMAGE, "file_name": 5}], "image 0: file_name: expected str, got 5"),
        ([{**IMAGE, "file_name": "b.jpg"}], "image 0: no file b.jpg in .* or in images, val2017"),
        ([{**IMAGE, "width": "64"}], "image 0: width: expected int"),
        ([IMAGE, IMAGE], "image 1: id: expected an id of its own, got 397133"),
        ([IMAGE, 5], "image 1: expected an object, got 5"),
    ],
)
def test_images_that_cannot_be_used(tmp_path: Path, images: list[Any], text: str) -> None:
    picture(tmp_path, IMAGE["file_name"])
    with pytest.raises(AnnotationError, match=text):
        read_pictures(write(tmp_path, [PERSON], images))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "not JSON"),
        ('{"images": [', "not JSON, or cut off"),
        ("[" * 100_000, "not JSON"),
        ("[]", r"expected an object, got \[\]"),
        ('{"images": {}}', "images: expected list"),
        ('{"images": []}', "annotations: expected list"),
    ],
)
def test_files_that_hold_no_people(tmp_path: Path, content: str, text: str) -> None:
    (tmp_path / "coco_wholebody_val_v1.0.json").write_text(content, encoding="utf-8")
    with pytest.raises(AnnotationError, match=rf"coco_wholebody_val_v1\.0\.json: {text}"):
        read_pictures(tmp_path)
