"""Annotation files of InterHand2.6M with other contents: samples, or AnnotationError that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import damaged, fuzzed, limited_memory
from hypothesis import given
from hypothesis import strategies as st
from interhand26m import CONTENTS, contents, path_of, write
from test_fuzz_datasets import replaced

from hand_recon_ros import Side
from hand_recon_ros.datasets.interhand26m import InterHand26M
from hand_recon_ros.datasets.pictures import AnnotationError
from hand_recon_ros.hand_model import HandModel, load_hand_model

MODEL = HandModel("mano", load_hand_model().arrays(Side.RIGHT))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("fuzz"))


def check(root: Path, kind: str, content: bytes) -> None:
    """What the file of a kind holds is read, or refused with its name."""
    write(root)
    path_of(root, kind).write_bytes(content)
    with limited_memory():
        try:
            dataset = InterHand26M(root, "test", MODEL)
        except AnnotationError as error:
            assert path_of(root, kind).name in str(error)
            return
        for index in range(len(dataset)):
            try:
                sample = dataset[index]
            except AnnotationError as error:
                assert str(root) in str(error)
                continue
            assert sample.joints.shape == (2, 21, 3) and not np.isinf(sample.joints).any()
            for part in (sample.rotations, sample.betas, sample.translation, sample.vertices):
                assert part is not None and not np.isinf(part).any()


@pytest.mark.parametrize("kind", CONTENTS)
@fuzzed(40)
@given(data=st.data())
def test_other_contents(root: Path, kind: str, data: Any) -> None:
    check(root, kind, json.dumps(replaced(data.draw, CONTENTS[kind])).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("kind", CONTENTS)
@fuzzed(40)
@given(data=st.data())
def test_damaged_files(root: Path, kind: str, data: Any) -> None:
    whole = json.dumps(CONTENTS[kind]).encode()
    deep = st.sampled_from([b"[" * 100_000, b'{"3":' * 100_000, b"[" + b"9" * 10_000 + b"]"])
    check(root, kind, data.draw(damaged(whole) | st.binary(max_size=40) | deep))


def changed(kind: str, place: tuple[Any, ...], value: Any) -> Any:
    """The contents of a kind of file with one value replaced."""
    content = part = contents()[kind]
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    return content


FIRST, CAMERA, FRAME = ("annotations", 0), ("3", "camrot", "400262"), ("3", "12")

HOSTILE: dict[str, tuple[str, Any, str]] = {
    "a list": ("data", [], "expected an object with images and annotations"),
    "no images": ("data", {"annotations": []}, "images: expected a list"),
    "images as object": ("data", {"images": {}, "annotations": []}, "images: expected a list"),
    "image as number": ("data", {"images": [3], "annotations": []}, "images: entry 0: expected an object with id"),
    "image twice": (
        "data",
        {"images": CONTENTS["data"]["images"] * 2, "annotations": CONTENTS["data"]["annotations"]},
        "images: two of id 70",
    ),
    "no image of an annotation": (
        "data", changed("data", (*FIRST, "image_id"), 1), "annotations: entry 0: no image of id 1",
    ),
    "huge id": ("data", changed("data", (*FIRST, "id"), 10**300), "entry 0: id: expected a number from 0"),
    "true as id": ("data", changed("data", (*FIRST, "id"), True), "entry 0: id: expected a number from 0"),
    "gigapixels": (
        "data", changed("data", ("images", 1, "width"), 10**6), "entry 1: width: expected a number from 1 to 32768",
    ),
    "no size": ("data", changed("data", ("images", 1, "height"), None), "entry 1: height: expected a number"),
    "a path to elsewhere": (
        "data", changed("data", ("images", 1, "file_name"), "../../a.jpg"), "entry 1: file_name: expected a path in",
    ),
    "an absolute path": (
        "data", changed("data", ("images", 1, "file_name"), "/etc/passwd"), "entry 1: file_name: expected a path in",
    ),
    "a long path": (
        "data", changed("data", ("images", 1, "file_name"), "a" * 10**6), "entry 1: file_name: expected a path in",
    ),
    "half a character": ("data", changed("data", ("images", 1, "file_name"), "\ud800"), "entry 1: file_name"),
    "box of NaN": ("data", changed("data", (*FIRST, "bbox"), [float("nan")] * 4), "entry 0: bbox: expected x, y"),
    "box of text": ("data", changed("data", (*FIRST, "bbox"), ["1"] * 4), "entry 0: bbox: expected x, y"),
    "21 flags": ("data", changed("data", (*FIRST, "joint_valid"), [[1]] * 21), "joint_valid: expected 42 of 0 or 1"),
    "other flags": ("data", changed("data", (*FIRST, "joint_valid"), [[2]] * 42), "joint_valid: expected 42 of 0 or 1"),
    "three hands": (
        "data", changed("data", (*FIRST, "hand_type"), "three"), "hand_type: expected one of left, right, interacting",
    ),
    "list as hand type": ("data", changed("data", (*FIRST, "hand_type"), []), "hand_type: expected one of"),
    "camera as list": ("camera", {"3": []}, "capture 3: expected an object"),
    "no focal lengths": ("camera", changed("camera", ("3", "focal"), None), "capture 3: focal: expected an object"),
    "mirroring camera": (
        "camera", changed("camera", CAMERA, np.diag([-1.0, 1, 1]).tolist()), "camera 400262: expected a rotation",
    ),
    "camera that scales": ("camera", changed("camera", CAMERA, (2 * np.eye(3)).tolist()), "expected a rotation"),
    "camera of NaN": ("camera", changed("camera", CAMERA, [[float("nan")] * 3] * 3), "expected 3 x 3 numbers"),
    "negative focal length": (
        "camera", changed("camera", ("3", "focal", "400262"), [-1.0, 1.0]), "focal lengths must be positive",
    ),
    "joints without flags": ("joint_3d", {"3": {"12": {"world_coord": []}}}, "frame 12: joint_valid: expected 42"),
    "41 joints": ("joint_3d", changed("joint_3d", (*FRAME, "world_coord"), [[0] * 3] * 41), "expected 42 x 3 numbers"),
    "joint of NaN": (
        "joint_3d", changed("joint_3d", (*FRAME, "world_coord", 5), [float("nan")] * 3), "expected 42 x 3 numbers",
    ),
    "joint beyond everything": (
        "joint_3d", changed("joint_3d", (*FRAME, "world_coord", 5, 0), 1e300), "42 x 3 numbers below 1e.06",
    ),
    "joint as object": ("joint_3d", changed("joint_3d", (*FRAME, "world_coord", 5), {}), "expected 42 x 3 numbers"),
    "pose of 45": (
        "MANO_NeuralAnnot", changed("MANO_NeuralAnnot", (*FRAME, "left", "pose"), [0] * 45), "left: pose: expected 48",
    ),
    "infinite shape": (
        "MANO_NeuralAnnot", changed("MANO_NeuralAnnot", (*FRAME, "right", "shape", 3), float("inf")), "expected 10 num",
    ),
    "huge translation": (
        "MANO_NeuralAnnot", changed("MANO_NeuralAnnot", (*FRAME, "right", "trans", 0), 10**400), "expected 3 numbers",
    ),
    "hand as text": ("MANO_NeuralAnnot", changed("MANO_NeuralAnnot", (*FRAME, "right"), "x"), "expected an object"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_refused(root: Path, name: str) -> None:
    kind, content, text = HOSTILE[name]
    write(root)
    path_of(root, kind).write_text(json.dumps(content), encoding="utf-8")
    with limited_memory(), pytest.raises(AnnotationError, match=text) as error:
        InterHand26M(root, "test", MODEL)[0]
    assert str(path_of(root, kind)) in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize("kind", CONTENTS)
def test_files_that_are_cut_off(root: Path, kind: str) -> None:
    write(root)
    whole = path_of(root, kind).read_bytes()
    path_of(root, kind).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AnnotationError, match=f"{kind}.json: not JSON, or cut off"):
        InterHand26M(root, "test", MODEL)
