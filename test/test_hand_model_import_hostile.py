"""Hostile and broken hand model files: each is refused with what is wrong with it, and nothing in it runs."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from fuzzing import limited_memory
from mano_files import joblib_file, small_mano, text, write

from hand_recon_ros.hand_model import import_mano
from hand_recon_ros.hand_model.arrays import HandModelError

HAND = small_mano()
NUMBERS = {name: value for name, value in HAND.items() if isinstance(value, np.ndarray)}
START = pickle.dumps({name: value for name, value in HAND.items() if name != "J_regressor"}, protocol=2)[:-1]
"""A pickle of all but the joint regressor, its dictionary on the stack."""


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def having(**changes: Any) -> bytes:
    """The hand with other entries."""
    return pickle.dumps({**HAND, **changes}, protocol=4)


def calling(function: Any, *arguments: Any) -> bytes:
    return having(v_template=Call(function, *arguments))


def regressor(value: bytes) -> bytes:
    """The hand with these opcodes for its joint regressor."""
    return START + text("J_regressor") + value + b"s."


def built(name: str, state: Any) -> bytes:
    """The hand with an object by this name, given a state."""
    module, _, attribute = name.rpartition(".")
    stored = pickle.dumps(state, protocol=2)[2:-1]
    return regressor(f"c{module}\n{attribute}\n".encode() + stored + b"b")


def sparse(kind: str, **changes: Any) -> bytes:
    """The hand with a sparse regressor whose stored state has other parts."""
    matrix = getattr(scipy.sparse, f"{kind}_matrix")(HAND["J_regressor"])
    matrix.__dict__.update(changes)
    return having(J_regressor=matrix)


def built_dok(state: dict[str, Any]) -> bytes:
    """The hand with a dok_matrix of this state."""
    return regressor(b"cscipy.sparse._dok\ndok_matrix\n)\x81" + pickle.dumps(state, protocol=2)[2:-1] + b"b")


def large(shape: tuple[int, ...]) -> bytes:
    """The hand with an array of this shape in 8 bytes."""
    shown = pickle.dumps((1, shape, np.dtype("f8"), False, b"\0" * 8), protocol=2)[2:-1]
    return regressor(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R" + shown + b"b")


def turned(parents: list[int]) -> bytes:
    return having(kintree_table=np.array([parents, range(16)], np.int64))


def archive(**changes: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{**NUMBERS, **changes})
    return buffer.getvalue()


def swapped(name: str) -> np.ndarray:
    """An array whose bytes are in the other order than its type says."""
    return HAND[name].astype("<f8").byteswap()


def with_nan(name: str) -> np.ndarray:
    array = HAND[name].copy()
    array.flat[5] = np.nan
    return array


def cyclic() -> bytes:
    """A value of chumpy that is its own value."""
    return regressor(b"cchumpy.ch\nCh\n)\x81q\xf0}" + text("x") + b"h\xf0sb")


def billion() -> bytes:
    """A lil matrix whose rows are one list of a million elements, a million times."""
    row = b"]q\xf0(" + b"K\x01" * 20_000 + b"e0"
    rows = b"](" + b"h\xf0" * 20_000 + b"e"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01M\x20\x4e\x85"
        b"cnumpy\ndtype\nX\x02\x00\x00\x00O8\x85R\x89" + rows + b"tb"
    )
    shape = pickle.dumps((20_000, 800), protocol=2)[2:-1]
    state = b"}" + text("_shape") + shape + b"s" + text("rows") + array + b"s" + text("data") + array + b"s"
    return regressor(row + b"cscipy.sparse.lil\nlil_matrix\n)\x81" + state + b"b")


FILES: dict[str, tuple[bytes, str]] = {
    # What wants to run something, by the name of what it wants.
    "os.system": (calling(os.system, "touch ran"), r"refers to \w+\.system"),
    "builtins.eval": (calling(eval, "open('ran', 'w')"), r"refers to builtins\.eval"),
    "builtins.exec": (calling(exec, "open('ran', 'w')"), r"refers to builtins\.exec"),
    "subprocess.Popen": (calling(subprocess.Popen, ["touch", "ran"]), r"refers to subprocess\.Popen"),
    "getattr": (calling(getattr, "", "join"), r"refers to builtins\.getattr"),
    "nested": (having(v_template=[{"a": (Call(os.mkdir, "ran"),)}]), r"refers to \w+\.mkdir"),
    "in an extra key": (having(notes=Call(os.mkdir, "ran")), r"refers to \w+\.mkdir"),
    "in an array of objects": (having(v_template=np.array([Call(os.mkdir, "ran")])), r"refers to \w+\.mkdir"),
    "numpy.load": (regressor(b"cnumpy\nload\n" + text("x") + b"\x85R"), r"refers to numpy\.load"),
    "dotted name": (regressor(b"\x8c\x05numpy\x8c\x12ndarray.__init__.x\x93"), r"refers to numpy\.ndarray\.__init__"),
    "old class": (regressor(b"(" + text("touch ran") + b"ios\nsystem\n"), r"refers to os\.system"),
    "persistent id": (regressor(text("secret") + b"Q"), "outside of the file, 'secret'"),
    "extension": (regressor(b"\x82\x07"), "extension 7"),
    # What bends the names that are known to other uses.
    "state of a class": (built("numpy.ndarray", {"__array_priority__": 1}), "changes the state of StoredArray"),
    "state of a function": (built("_codecs.encode", (None, {"__defaults__": ("rot13",)})), "changes the state of"),
    "state of object": (built("builtins.object", {"a": 1}), "changes the state of object"),
    "another encoding": (regressor(b"c_codecs\nencode\n" + text("a") + text("rot13") + b"\x86R"), "'rot13'"),
    "reconstructed set": (
        regressor(b"ccopy_reg\n_reconstructor\nc__builtin__\nset\nc__builtin__\nobject\nN\x87R"), "makes an object of",
    ),
    "array with fields": (having(v_template=np.zeros(3, "f8,i4")), "array of type 'V12'"),
    # What wants memory.
    "shape of 10^18": (large((10**6, 10**6, 10**6)), r"J_regressor cannot be read .* shape"),
    "shape of many ones": (large((1,) * 9), "whose shape is none"),
    "negative shape": (large((-1, -8)), r"shape \(-1, -8\)"),
    "sparse of 10^12": (sparse("csr", _shape=(10**6, 10**6)), "a matrix of shape"),
    "memo": (b"\x80\x02Nr\xff\xff\xff\x0f.", "expected a dictionary"),
    "frame": (b"\x80\x04\x95\xff\xff\xff\xff\xff\x00\x00\x00N.", "expected a dictionary"),
    "bytes of 2^60": (b"\x80\x05\x96" + (2**60).to_bytes(8, "little") + b".", "not a readable MANO pickle"),
    "bytearray of 2^40": (regressor(b"cbuiltins\nbytearray\n\x8a\x06\0\0\0\0\0\x01\x85R"), "makes bytes of what is"),
    "lists of lists": (billion(), "more elements than a hand has"),
    "compressed zeros": (zlib.compress(bytes(2**28 + 1), 9), "unpacks to more than 256 MB"),
    "joblib of 2^40": (
        joblib_file(NUMBERS).replace(b"K\x0cK\x03\x86", b"\x8a\x06\0\0\0\0\0\x01K\x03\x86", 1),
        "not a readable MANO pickle",
    ),
    "its own value": (cyclic(), "J_regressor cannot be read"),
    # What is no hand.
    "wrong shape": (having(posedirs=np.zeros((12, 3, 134))), r"posedirs has shape \(12, 3, 134\), expected"),
    "flat template": (having(v_template=HAND["v_template"].ravel()), r"v_template has shape \(36,\)"),
    "NaN": (having(weights=with_nan("weights")), "weights holds numbers that are not finite"),
    "wrong byte order": (having(shapedirs=swapped("shapedirs")), "shapedirs holds numbers that are not finite, or"),
    "cyclic parents": (turned([2**32 - 1, 2, 1, *range(2, 15)]), "kintree_table has parents"),
    "parent of a joint that is not there": (turned([-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 16]), "parents"),
    "faces of other vertices": (having(f=HAND["f"] + 5), "f must hold numbers of 12 vertices"),
    "no faces": (having(f=np.zeros((0, 3), np.int64)), "f must"),
    "names for numbers": (having(weights=HAND["weights"].astype("U8")), "weights holds <U8"),
    "objects for numbers": (having(weights=HAND["weights"].astype(object)), "weights holds object"),
    "a list for an array": (having(weights=HAND["weights"].tolist()), "a list instead of an array"),
    "negative row": (sparse("csc", indices=np.full(48, -1, np.int32)), "rows that are not of the 16"),
    "negative column": (sparse("coo", coords=(np.zeros(48, int), np.full(48, -1))), "columns that are not of the 12"),
    "falling starts": (sparse("csr", indptr=np.array([0, 48] + [3] * 14 + [48])), "starts that are not of"),
    "too many starts": (sparse("csr", indptr=np.arange(40)), "40 starts for 16"),
    "broken block": (sparse("bsr", data=np.zeros((4, 5, 7))), "blocks of shape"),
    "diagonals without offsets": (sparse("dia", offsets=np.zeros(2)), "with 2 offsets"),
    "dok of names": (
        built_dok({"_shape": (16, 12), "_dict": {"a": 1.0}}), "J_regressor cannot be read .*without a row and a column",
    ),
    "text file": (b"MANO must not be redistributed\n", "not a readable MANO pickle"),
    "empty": (b"", "not a readable MANO pickle"),
    "bzip2": (b"BZh91AY&SY", "compressed with bzip2"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_hostile_or_broken_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    content, words = FILES[name]
    path = write(tmp_path, content)
    with limited_memory(), pytest.raises(HandModelError, match=rf"MANO_RIGHT\.pkl: .*{words}"):
        import_mano(path, tmp_path / "out")
    # Nothing ran, and nothing was written.
    assert sorted(os.listdir(tmp_path)) == ["MANO_RIGHT.pkl"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("MANO_RIGHT.npz", archive(weights=np.array([Call(os.mkdir, "ran")])), r"refers to \w+\.mkdir"),
        ("MANO_RIGHT.npz", archive(weights=np.zeros(2**26)), "more than 256 MB"),
        ("MANO_RIGHT.npz", archive()[:-40], r"not a readable \.npz file"),
        ("MANO_RIGHT.npz", archive(f=with_nan("weights")), "f holds|f must"),
        ("MANO_RIGHT.npy", b"\x93NUMPY\x01\x00\xff\xff{", "header has 65535 bytes"),
        ("MANO_RIGHT.npy", b"\x93NUMPY\x01\x00\x0b\x00print('ran')", "not a readable|does not describe"),
        ("MANO_RIGHT.safetensors", b"\xff" * 64, r"not a readable \.safetensors file"),
    ],
    ids=["npz that calls", "npz bomb", "npz cut off", "npz of NaN", "npy header", "npy code", "safetensors"],
)
def test_other_hostile_or_broken_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, content, name)
    with limited_memory(), pytest.raises(HandModelError, match=rf"{name}: .*({words})"):
        import_mano(path, tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == [name]


@pytest.mark.parametrize("tenth", range(10))
@pytest.mark.parametrize("kind", ["protocol 0", "protocol 2", "protocol 5", "joblib", "zlib", "npz"])
def test_files_that_are_cut_off(tmp_path: Path, kind: str, tenth: int) -> None:
    whole = {
        "joblib": joblib_file(NUMBERS),
        "zlib": zlib.compress(joblib_file(NUMBERS)),
        "npz": archive(),
    }.get(kind) or pickle.dumps(HAND, protocol=int(kind[-1]))  # fmt: skip
    name = "MANO_RIGHT.npz" if kind == "npz" else "MANO_RIGHT.pkl"
    path = write(tmp_path, whole[: len(whole) * tenth // 10], name)
    with limited_memory(), pytest.raises(HandModelError, match=f"{name}: "):
        import_mano(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_refused_left_hand_leaves_nothing_of_the_right_one(tmp_path: Path) -> None:
    write(tmp_path, pickle.dumps(HAND), "MANO_RIGHT.pkl")
    write(tmp_path, having(weights=with_nan("weights")), "MANO_LEFT.pkl")
    with pytest.raises(HandModelError, match=r"MANO_LEFT\.pkl: weights holds"):
        import_mano(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_refused_file_changes_nothing_for_the_next_one(tmp_path: Path) -> None:
    for content, _ in FILES.values():
        with pytest.raises(HandModelError):
            import_mano(write(tmp_path, content), tmp_path / "out")
    with np.load(import_mano(write(tmp_path, pickle.dumps(HAND)), tmp_path / "out")) as stored:
        for name, value in NUMBERS.items():
            np.testing.assert_array_equal(stored[name], value)
