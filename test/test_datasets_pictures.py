"""Annotated pictures: every field is read, and an error names the file, the entry and the field."""

import json

import cv2
import numpy as np
import pytest

from hand_recon_ros import Side
from hand_recon_ros.datasets.pictures import AnnotationError, read_pictures

HAND = {"side": "left", "box": [10, 20, 40, 60]}
ENTRY = {"file": "a.png", "kind": "one", "hands": [HAND]}


def folder(root, *entries):
    cv2.imwrite(str(root / "a.png"), np.full((48, 64, 3), 90, np.uint8))
    (root / "annotations.json").write_text(json.dumps(entries), encoding="utf-8")
    return root


def test_every_field_is_read(tmp_path):
    keypoints = [None] * 20 + [[3, 4, 1]]
    other = {"side": "unsure", "box": [0, 0, 5.5, 6], "occluded": True, "person": 1, "keypoints_2d": keypoints}
    K = [[50, 0, 32], [0, 50, 24], [0, 0, 1]]
    entry = {**ENTRY, "hands": [HAND, other], "tags": ["dark"], "K": K, "width": 64, "height": 48, "licence": "MIT"}
    (picture,) = read_pictures(folder(tmp_path, entry))
    assert (picture.file, picture.kind, picture.tags) == ("a.png", "one", ("dark",))
    left, unsure = picture.hands
    assert (left.side, left.occluded, left.person, left.keypoints_2d) == (Side.LEFT, False, 0, None)
    assert (unsure.side, unsure.occluded, unsure.person) == (None, True, 1)
    assert left.box.tolist() == [10, 20, 40, 60]
    assert unsure.keypoints_2d[20].tolist() == [3, 4] and np.isnan(unsure.keypoints_2d[:20]).all()
    frame = picture.frame()
    assert frame.image.shape == (48, 64, 3) and frame.camera.calibrated and frame.camera.K.tolist() == K


def test_without_intrinsics_the_field_of_view_is_60_degrees(tmp_path):
    camera = read_pictures(folder(tmp_path, ENTRY))[0].frame().camera
    assert not camera.calibrated and camera.K[0, 0] == pytest.approx(32 / np.tan(np.pi / 6))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"file": "b.png"}, r"entry 1 \(b.png\): no such file"),
        ({"file": 5}, "entry 1: file: expected str, got 5"),
        ({"file": "../../etc/passwd"}, "'../../etc/passwd' is not the name of a file below"),
        ({"file": "/etc/passwd"}, "'/etc/passwd' is not the name of a file below"),
        ({"kind": None}, r"entry 1 \(a.png\): kind: expected str, got None"),
        ({"hands": {}}, "hands: expected list"),
        ({"hands": [HAND, 3]}, "hand 1: expected an object, got 3"),
        ({"hands": [{**HAND, "side": "both"}]}, "hand 0: side: expected left or right or unsure, got 'both'"),
        ({"hands": [{"side": "left"}]}, "hand 0: box: expected 4 numbers, got None"),
        ({"hands": [{**HAND, "box": [1, 2, 3, "x"]}]}, "box: expected 4 numbers"),
        ({"hands": [{**HAND, "box": [1, 2, 3, None]}]}, "box: expected 4 numbers"),
        ({"hands": [{**HAND, "box": [40, 20, 10, 60]}]}, "box: expected x0 < x1 and y0 < y1"),
        ({"hands": [{**HAND, "occluded": "no"}]}, "occluded: expected bool"),
        ({"hands": [{**HAND, "keypoints_2d": [[1, 2]]}]}, "keypoints_2d: expected 21 of"),
        ({"hands": [{**HAND, "keypoints_2d": [[1]] * 21}]}, "keypoints_2d: expected 21 of"),
        ({"K": [1, 2, 3]}, "K: expected 3 x 3 numbers"),
        ({"tags": [1]}, "tags: expected words"),
        ({"width": "wide"}, "width: expected int"),
    ],
)
def test_a_malformed_entry_is_named(tmp_path, change, text):
    with pytest.raises(AnnotationError, match=text) as error:
        read_pictures(folder(tmp_path, ENTRY, {**ENTRY, **change}))
    assert str(tmp_path / "annotations.json") in str(error.value)


@pytest.mark.parametrize(
    ("content", "text"), [("[{", "not JSON"), ("{}", "expected a list"), ("[]", "expected a list")]
)
def test_a_file_that_holds_no_pictures(tmp_path, content, text):
    (tmp_path / "annotations.json").write_text(content, encoding="utf-8")
    with pytest.raises(AnnotationError, match=text):
        read_pictures(tmp_path)


def test_a_folder_without_annotations(tmp_path):
    with pytest.raises(
        AnnotationError, match=r"is not a folder of annotated pictures .*: expected .*/annotations\.json"
    ):
        read_pictures(tmp_path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"width": 640, "height": 480}, "64 x 48 pixels, but annotated as"),
        ({"K": [[0, 0, 0], [0, 50, 24], [0, 0, 1]]}, "focal lengths must be positive"),
    ],
)
def test_a_picture_that_does_not_fit_its_entry(tmp_path, change, text):
    (picture,) = read_pictures(folder(tmp_path, {**ENTRY, **change}))
    with pytest.raises(AnnotationError, match=rf"a\.png: .*{text}"):
        picture.frame()


def test_a_file_that_is_no_picture(tmp_path):
    root = folder(tmp_path, ENTRY)
    (root / "a.png").write_bytes(b"text")
    with pytest.raises(AnnotationError, match="no picture that can be read"):
        read_pictures(root)[0].frame()
