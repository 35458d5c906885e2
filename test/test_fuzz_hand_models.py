"""Hand model files with random contents: a hand model or HandModelError, and nothing in a pickle ever runs."""

from __future__ import annotations

import io
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import damaged, fuzzed, limited_memory
from hypothesis import given
from hypothesis import strategies as st
from mano_files import joblib_file
from safetensors.numpy import save

from hand_recon_ros.hand_model import import_mano, load_hand_model
from hand_recon_ros.hand_model.arrays import HandModelError

VERTICES = 12
_TREE = [2**32 - 1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14]


def small_hand() -> dict[str, np.ndarray]:
    """A prism in MANO's layout, open at one end."""
    rng = np.random.default_rng(0)
    ring = np.array([[0.0, 0.02, 0.0], [0.0, -0.01, 0.02], [0.0, -0.01, -0.02]])
    rows = [ring + [0.03 * row, 0.0, 0.0] for row in range(VERTICES // 3)]
    faces = [[9, 11, 10]]
    for row in range(len(rows) - 1):
        for a in range(3):
            b, low, high = (a + 1) % 3, 3 * row, 3 * row + 3
            faces += [[low + a, high + a, low + b], [low + b, high + a, high + b]]
    regressor = rng.random((16, VERTICES))
    weights = rng.random((VERTICES, 16))
    return {
        "v_template": np.concatenate(rows),
        "shapedirs": rng.normal(size=(VERTICES, 3, 10)) * 1e-3,
        "posedirs": rng.normal(size=(VERTICES, 3, 135)) * 1e-4,
        "J_regressor": regressor / regressor.sum(axis=1, keepdims=True),
        "weights": weights / weights.sum(axis=1, keepdims=True),
        "kintree_table": np.array([_TREE, range(16)], np.uint32),
        "f": np.array(faces, np.uint32),
        "hands_mean": np.zeros(45),
        "tip_vertices": np.array([9, 10, 11, 8, 7]),
    }


HAND = small_hand()
MANO = {**HAND, "hands_components": np.eye(45), "hands_coeffs": np.zeros((3, 45))}
PICKLES = [pickle.dumps(MANO, protocol=protocol) for protocol in (0, 2, 5)]
PICKLES += [joblib_file(MANO), zlib.compress(joblib_file(MANO))]


def npz(arrays: dict[str, Any], compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def check_model(path: Path) -> bool:
    """Whether the file is one, and its meshes can be computed."""
    with limited_memory():
        try:
            model = load_hand_model(path)
        except HandModelError as error:
            assert path.name in str(error)
            return False
    for right in (False, True):
        mesh = model.mesh(right, np.tile(np.eye(3), (16, 1, 1)), np.zeros(10), np.zeros(3))
        assert mesh.shape[1] == 3
    return True


def test_the_hand_itself_is_one(folder: Path) -> None:
    for name, data in (("whole.npz", npz(HAND)), ("whole.safetensors", save(HAND))):
        (folder / name).write_bytes(data)
        assert check_model(folder / name)


@pytest.mark.parametrize("kind", ["npz", "compressed", "safetensors"])
@fuzzed(60)
@given(data=st.data())
def test_damaged_files(folder: Path, kind: str, data: Any) -> None:
    whole = save(HAND) if kind == "safetensors" else npz(HAND, kind == "compressed")
    path = folder / f"damaged.{'safetensors' if kind == 'safetensors' else 'npz'}"
    path.write_bytes(data.draw(damaged(whole)))
    check_model(path)


@fuzzed(40)
@given(data=st.one_of(st.binary(max_size=100), st.just(b""), st.just(b"PK\x05\x06" + bytes(18))))
def test_files_that_are_something_else(folder: Path, data: bytes) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    for name, content in (("other.npz", data), ("array.npz", buffer.getvalue()), ("other.safetensors", data)):
        (folder / name).write_bytes(content)
        assert not check_model(folder / name)


def arrays_of_any_kind() -> st.SearchStrategy[np.ndarray]:
    shapes = st.lists(st.sampled_from([0, 1, 2, 3, 5, 10, 12, 16, 45, 135]), max_size=3).map(tuple)
    fill = st.sampled_from([0, 1, -1, 5, 11, 12, 1e9, np.nan, np.inf, "text", True])
    return st.builds(lambda shape, value: np.full(shape, value), shapes, fill)


@fuzzed(70)
@given(data=st.data())
def test_other_arrays(folder: Path, data: Any) -> None:
    names = [*HAND, "joint_frames", "wrist_loop", "shape_names"]
    arrays = dict(HAND)
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)):
        change = data.draw(st.sampled_from(["missing", "any", "turned", "element"]))
        before = HAND.get(name)
        if change == "any" or before is None:
            arrays[name] = data.draw(arrays_of_any_kind())
        elif change == "missing":
            del arrays[name]
        elif change == "turned":
            arrays[name] = before.T
        else:
            spoiled = before.astype(np.float64 if before.dtype.kind == "f" else np.int64).reshape(-1)
            spoiled[data.draw(st.integers(0, spoiled.size - 1))] = data.draw(st.sampled_from([-1, 0, 3, 12, 10**6]))
            arrays[name] = spoiled.reshape(before.shape)
    (folder / "arrays.npz").write_bytes(npz(arrays))
    check_model(folder / "arrays.npz")


def check_import(folder: Path, content: bytes) -> None:
    path = folder / "MANO_RIGHT.pkl"
    path.write_bytes(content)
    with limited_memory():
        try:
            import_mano(path, folder / "out")
        except HandModelError as error:
            assert "MANO_RIGHT.pkl" in str(error)
    assert not (folder / "ran").exists()


def test_the_pickles_themselves_are_read(folder: Path) -> None:
    for content in PICKLES:
        (folder / "MANO_RIGHT.pkl").write_bytes(content)
        with np.load(import_mano(folder / "MANO_RIGHT.pkl", folder / "out")) as stored:
            np.testing.assert_array_equal(stored["v_template"], HAND["v_template"])


@pytest.mark.parametrize("number", range(len(PICKLES)))
@fuzzed(70)
@given(data=st.data())
def test_damaged_pickles(folder: Path, number: int, data: Any) -> None:
    check_import(folder, data.draw(damaged(PICKLES[number])))


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


@st.composite
def programs(draw: Any, folder: Path) -> bytes:
    """Pickles that call what they name, with what is on the stack."""
    names = [
        "os\nsystem", "posix\nmkdir", "builtins\neval", "builtins\nexec", "builtins\n__import__", "builtins\ngetattr",
        "numpy\nndarray", "numpy\ndtype", "numpy.core.multiarray\n_reconstruct", "numpy.core.multiarray\nscalar",
        "copy_reg\n_reconstructor", "_codecs\nencode", "__builtin__\nobject", "__builtin__\nset", "chumpy.ch\nCh",
        "scipy.sparse.csc\ncsc_matrix", "numpy.core.numeric\n_frombuffer", "numpy\nload", "numpy.core\nmultiarray",
        "chumpy.reordering\nSelect", "joblib.numpy_pickle\nNumpyArrayWrapper", "scipy.sparse._dok\ndok_matrix",
        "scipy.sparse.lil\nlil_array", "builtins\nbytearray", "builtins\ndict", "collections\nOrderedDict",
        "numpy\nmatrix",
    ]  # fmt: skip
    ran = str(folder / "ran")
    leaves = [
        text(ran), text(f"mkdir {ran}"), text(f"__import__('os').mkdir({ran!r})"), text("latin1"), text("O"),
        text("f8"), text("__class__"), b"N", b"K\x05", b"J\xff\xff\xff\x7f", b"\x8a\x05\xff\xff\xff\xff\x7f", b")",
        b"}", b"]", b"C\x08abcdefgh", b"G@\x08\0\0\0\0\0\0", b"r\xff\xff\xff\x0f", b"r\xff\xff\xff\xff",
    ]  # fmt: skip
    combine = [b"\x85", b"\x86", b"\x87", b"R", b"b", b"\x81", b"(", b"t", b"d", b"s", b"0", b"2", b"h\0", b"q\0", b"o"]
    parts = [b"\x80\x04"]
    for _ in range(draw(st.integers(1, 15))):
        kind = draw(st.integers(0, 3))
        if kind == 0:
            parts.append(b"c" + draw(st.sampled_from(names)).encode() + b"\n")
        else:
            parts.append(draw(st.sampled_from(leaves if kind == 1 else combine)))
    return b"".join(parts) + b"."


@fuzzed(80)
@given(data=st.data())
def test_pickles_that_are_programs(folder: Path, data: Any) -> None:
    check_import(folder, data.draw(programs(folder)))


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("cut.npz", cut(npz(HAND)), "not a plain .npz"),
        ("empty.npz", b"", "not a plain .npz"),
        ("cut.safetensors", cut(save(HAND)), "not a .safetensors"),
        ("bomb.npz", npz({**HAND, "extra": np.zeros(2**26)}, True), "holds more than 256 MB"),
        ("scalar.npz", npz({**HAND, "v_template": np.float64(1.0)}), "v_template has shape"),
        ("tree.npz", npz({**HAND, "kintree_table": np.zeros(0)}), "kintree_table has shape"),
        ("text.npz", npz({**HAND, "hands_mean": np.full(45, "a")}), "hands_mean holds <U1"),
        ("huge.npz", npz({**HAND, "hands_mean": np.full(45, 1e300)}), "not finite, or huge"),
        ("no_faces.npz", npz({**HAND, "f": np.zeros((0, 0), np.int64)}), "f must be"),
        ("tips.npz", npz({**HAND, "tip_vertices": np.full(5, VERTICES)}), "tip_vertices must hold numbers"),
        ("tip.npz", npz({**HAND, "tip_vertices": np.zeros(4)}), "tip_vertices has shape"),
        ("rim.npz", npz({**HAND, "f": HAND["f"][[0, 1, 4]]}), "hole"),
        ("frames.npz", npz({**HAND, "joint_frames": np.full((16, 3, 3), np.nan)}), "joint_frames holds numbers"),
    ],
)  # fmt: skip
def test_files_that_raised_something_else(folder: Path, name: str, content: bytes, words: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(HandModelError, match=f"{name}: .*{words}"):
        load_hand_model(folder / name)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02Nr\xff\xff\xff\x0f.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\x00\x00\x00N.",
        b"\x80\x02cnumpy\nndarray\n\x8a\x06\xff\xff\xff\xff\xff\x7f\x85R.",
    ],
    ids=["memo", "frame", "array"],
)
def test_pickles_that_took_gigabytes(folder: Path, content: bytes) -> None:
    (folder / "MANO_RIGHT.pkl").write_bytes(content)
    with limited_memory(), pytest.raises(HandModelError, match="MANO_RIGHT.pkl: "):
        import_mano(folder / "MANO_RIGHT.pkl", folder / "out")


def test_hands_with_different_shapes_are_refused(folder: Path) -> None:
    left = {**MANO, "shapedirs": np.zeros((VERTICES, 3))}
    (folder / "MANO_RIGHT.pkl").write_bytes(PICKLES[0])
    (folder / "MANO_LEFT.pkl").write_bytes(pickle.dumps(left))
    with pytest.raises(HandModelError, match="shapedirs of shapes"):
        import_mano(folder / "MANO_RIGHT.pkl", folder / "out")
    (folder / "MANO_LEFT.pkl").unlink()
