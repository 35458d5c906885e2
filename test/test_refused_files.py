"""Hostile and broken files of every kind through the commands: one message that names the file, and nothing runs."""

from __future__ import annotations

import json
import os
import pickle
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import interhand26m
import numpy as np
import pytest
import test_datasets_freihand as freihand_set
import test_datasets_hic as hic_set
import torch
from hand_checkpoints import official_state, small_network, write_checkpoint
from mano_files import small_mano

from hand_recon_ros import cli

Written = tuple[str, list[str]]
"""The name of the file that is refused, and the command line; written in the current folder."""
FAST = [f"--set={name}=none" for name in ("encoder", "body", "detector", "refiner")]


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


RUNS = Call(os.system, "touch ran")


def interhand(kind: str, change: Callable[[Any], Any] | bytes) -> Callable[[], Written]:
    def write() -> Written:
        files = interhand26m.contents()
        if not isinstance(change, bytes):
            files[kind] = change(files[kind])
        root = interhand26m.write(Path("set"), files)
        path = interhand26m.path_of(root, kind)
        if isinstance(change, bytes):
            path.write_bytes(change)
        (root / "aid_human_annot_test.txt").write_text("900\n901\n902\n903\n")
        # As a miniature of the embedded hand, so that the parameters are read.
        (root / "hand_model.json").write_text('{"hand_model": "webxr_generic"}')
        return path.name, ["evaluate", "--dataset", "interhand26m", "--root", "set", "--fail-on-damaged", *FAST]

    return write


def replaced(*place: Any, value: Any) -> Callable[[Any], Any]:
    def change(content: Any) -> Any:
        part = content
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = value
        return content

    return change


def human_list() -> Written:
    _, line = interhand("data", lambda content: content)()
    Path("set/aid_human_annot_test.txt").write_text("900\n__import__('os').system('touch ran')\n")
    return "aid_human_annot_test.txt", line


def marker() -> Written:
    _, line = interhand("data", lambda content: content)()
    Path("set/hand_model.json").write_text('{"hand_model": ["../../etc/passwd"]}')
    return "hand_model.json", line


def freihand(name: str, content: str) -> Callable[[], Written]:
    def write() -> Written:
        root = freihand_set.write_split(Path("set"), "evaluation")
        (root / name).write_text(content, encoding="utf-8")
        return name, ["evaluate", "--dataset", "freihand", "--root", "set", "--fail-on-damaged", *FAST]

    return write


def predictions(content: bytes, name: str = "pred.zip") -> Callable[[], Written]:
    def write() -> Written:
        freihand_set.write_split(Path("set"), "evaluation")
        Path(name).write_bytes(content)
        return name, ["evaluate", "--dataset", "freihand", "--root", "set", "--predictions", name]

    return write


def zip_that_lies() -> bytes:
    with zipfile.ZipFile("lies.zip", "w") as archive:
        archive.writestr("pred.json", "[]")
    data = bytearray(Path("lies.zip").read_bytes())
    Path("lies.zip").unlink()
    size = data.index(b"PK\x01\x02") + 24  # uncompressed size, in the directory
    data[size : size + 4] = (0xF0000000).to_bytes(4, "little")
    return bytes(data)


def hic(change: dict[str, Any], mesh: bytes = b"") -> Callable[[], Written]:
    def write() -> Written:
        root = hic_set.write(Path("set"), [{**hic_set.BOTH, **change}])
        (root / "hand_model.json").write_text('{"hand_model": "webxr_generic"}')
        if mesh:
            (root / "fits" / "L" / "000.ply").write_bytes(mesh)
        name = "000.ply" if mesh else "HIC.json"
        return name, ["evaluate", "--dataset", "hic", "--root", "set", "--fail-on-damaged", *FAST]

    return write


def pictures(name: str, content: Any) -> Callable[[], Written]:
    def write() -> Written:
        Path("set").mkdir()
        cv2.imwrite("set/a.jpg", np.full((48, 64, 3), 90, np.uint8))
        (Path("set") / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return name, ["evaluate", "--dataset", "pictures", "--root", "set"]

    return write


def coco(**changes: Any) -> dict[str, Any]:
    person = {"image_id": 1, "bbox": [0, 0, 40, 30], "iscrowd": 0}
    for side in ("left", "right"):
        person |= {f"{side}hand_valid": True, f"{side}hand_box": [1, 2, 30, 40], f"{side}hand_kpts": [1.0, 2.0, 1] * 21}
    images = [{"id": 1, "file_name": changes.pop("file_name", "a.jpg"), "width": 64, "height": 48}]
    return {"images": images, "annotations": [{**person, **changes}]}


def mano(content: bytes, name: str = "MANO_RIGHT.pkl") -> Callable[[], Written]:
    def write() -> Written:
        Path(name).write_bytes(content)
        return name, ["import-mano", name, "--out", "out"]

    return write


def npz(**arrays: Any) -> Callable[[], Written]:
    def write() -> Written:
        numbers = {name: value for name, value in small_mano().items() if isinstance(value, np.ndarray)}
        np.savez("MANO_RIGHT.npz", **{**numbers, **arrays})
        return "MANO_RIGHT.npz", ["import-mano", "MANO_RIGHT.npz", "--out", "out"]

    return write


def checkpoint(shorten: float = 1.0, **changes: Any) -> Callable[[], Written]:
    def write() -> Written:
        path = write_checkpoint(Path("hamer.ckpt"), official_state(small_network("hamer")), **changes)
        path.write_bytes(path.read_bytes()[: int(shorten * path.stat().st_size)])
        return path.name, ["import-checkpoint", path.name, "--out", "out.safetensors"]

    return write


def compressed_checkpoint() -> Written:
    with zipfile.ZipFile("hamer.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", bytes(10**7), zipfile.ZIP_DEFLATED)
    return "hamer.ckpt", ["import-checkpoint", "hamer.ckpt"]


def old_checkpoint() -> Written:
    torch.save({"state_dict": {"a": RUNS}}, "hamer.ckpt", _use_new_zipfile_serialization=False)
    return "hamer.ckpt", ["import-checkpoint", "hamer.ckpt"]


def setting(name: str, file: str, content: bytes) -> Callable[[], Written]:
    def write() -> Written:
        freihand_set.write_split(Path("set"), "evaluation")
        Path(file).write_bytes(content)
        return file, ["evaluate", "--dataset", "freihand", "--root", "set", *FAST, "--set", f"{name}={file}"]

    return write


CAMERA, FRAME = ("3", "camrot", "400262"), ("3", "12")
PLY = b"ply\nformat ascii 1.0\nelement vertex 999999999\nproperty float x\nproperty float y\nproperty float z\n"
NAN = json.dumps([[[[0, 0, float("nan")]] * 21], [[[0, 0, 0]] * 5]]).encode()

FILES: dict[str, tuple[Callable[[], Written], str]] = {
    "InterHand2.6M, data cut off": (interhand("data", b'{"images": [{"id": 7'), "not JSON, or cut off"),
    "InterHand2.6M, data as pickle": (interhand("data", pickle.dumps(RUNS)), "not JSON, or cut off"),
    "InterHand2.6M, image of elsewhere": (
        interhand("data", replaced("images", 0, "file_name", value="../a.jpg")), "expected a path in the folder",
    ),
    "InterHand2.6M, camera that mirrors": (
        interhand("camera", replaced(*CAMERA, value=np.diag([-1.0, 1, 1]).tolist())), "expected a rotation",
    ),
    "InterHand2.6M, joints nested": (interhand("joint_3d", b"[" * 100_000), "not JSON, or cut off"),
    "InterHand2.6M, parameters of 400 digits": (
        interhand("MANO_NeuralAnnot", replaced(*FRAME, "right", "trans", 0, value=10**400)), "expected 3 numbers",
    ),
    "InterHand2.6M, list of ids with code": (human_list, "expected the id of an annotation"),
    "miniature, marker": (marker, "hand_model: expected str"),
    "FreiHAND, keypoints cut off": (freihand("evaluation_xyz.json", "[[[1, 2, 3]], [[1"), "cut off"),
    "FreiHAND, keypoints as text": (freihand("evaluation_xyz.json", '["/etc/passwd"]'), "expected a list of arrays"),
    "FreiHAND, one camera for three": (freihand("evaluation_K.json", json.dumps([freihand_set.K])), "list of 1 pos"),
    "FreiHAND, scale of NaN": (freihand("evaluation_scale.json", "[1, 2, NaN]"), "positive numbers"),
    "FreiHAND, predictions of gigabytes": (lambda: predictions(zip_that_lies())(), "larger than any predictions"),
    "FreiHAND, predictions of NaN": (predictions(NAN, "pred.json"), "not finite"),
    "FreiHAND, predictions as pickle": (predictions(pickle.dumps(RUNS), "pred.json"), "expected a list of all key"),
    "HIC, mesh of elsewhere": (hic({"left_mano_path": "/etc/passwd"}), "not the name of a file below"),
    "HIC, third hand": (hic({"hand_type": "three"}), "hand_type: expected left or right"),
    "HIC, mesh of 10^9 vertices": (hic({}, PLY + b"end_header\n"), "999999999 vertices, expected 1 to"),
    "HIC, mesh cut off": (hic({}, PLY.replace(b"999999999", b"778") + b"end_header\n1 2 3\n"), "cut off"),
    "pictures, nested": (pictures("annotations.json", "[" * 100_000), "not JSON"),
    "pictures, file of elsewhere": (
        pictures("annotations.json", [{"file": "../a.jpg", "kind": "one", "hands": []}]), "not the name of a file",
    ),
    "COCO-WholeBody, box of text": (
        pictures("coco_wholebody_val_v1.0.json", coco(lefthand_box=["a"] * 4)), "lefthand_box: expected 4 numbers",
    ),
    "COCO-WholeBody, picture of elsewhere": (
        pictures("coco_wholebody_val_v1.0.json", coco(file_name="/etc/passwd")), "not the name of a file below",
    ),
    "MANO, pickle that calls": (mano(pickle.dumps({**small_mano(), "f": RUNS})), r"refers to \w+\.system"),
    "MANO, zeros compressed": (mano(zlib.compress(bytes(2**28 + 1), 9)), "unpacks to more than 256 MB"),
    "MANO, cut off": (mano(pickle.dumps(small_mano())[:900]), "not a readable MANO pickle"),
    "MANO, .npz that calls": (npz(weights=np.array([RUNS])), r"refers to \w+\.system"),
    "MANO, .npz of NaN": (npz(weights=np.full((12, 16), np.nan)), "not finite"),
    "MANO, .npy with code": (mano(b"\x93NUMPY\x01\x00\x0c\x00print('ran')", "MANO_RIGHT.npy"), "npy file"),
    "HaMeR, weights that call": (checkpoint(state_dict={"a": RUNS}), r"refers to \w+\.system"),
    "HaMeR, settings that call": (checkpoint(hyper_parameters={"cfg": RUNS}), r"refers to \w+\.system"),
    "HaMeR, cut off": (checkpoint(0.6), "may be incomplete"),
    "HaMeR, another network": (checkpoint(state_dict={"fc.bias": torch.zeros(1)}), "neither mano_head nor refine_net"),
    "HaMeR, compressed": (compressed_checkpoint, "is compressed"),
    "HaMeR, of an old torch": (old_checkpoint, "not a checkpoint of torch 1.6 or later"),
    "setting hand_model, cut off": (setting("hand_model", "hand.npz", b"PK\x03\x04cut off"), "not a plain .npz"),
    "setting hand_model, pickle": (setting("hand_model", "hand.npz", pickle.dumps(RUNS)), "not a plain .npz"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_what_a_command_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write, words = FILES[name]
    file, line = write()
    before = sorted(path for path in tmp_path.rglob("*"))
    assert cli.main(line) == 1
    out, text = capsys.readouterr()
    assert out == "" and text.startswith(f"hand-recon {line[0]}: ") and "Traceback" not in text and len(text) < 1000
    assert file in text and re.search(words, text)
    # Nothing ran, and nothing was written.
    assert sorted(path for path in tmp_path.rglob("*")) == before
