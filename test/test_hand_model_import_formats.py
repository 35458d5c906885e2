"""Copies of MANO that people's tools have saved: every kind that is read gives the arrays of the original."""

from __future__ import annotations

import collections
import gzip
import io
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from mano_files import joblib_file, small_mano, write
from safetensors.numpy import save

from hand_recon_ros import Side
from hand_recon_ros.hand_model import import_mano, load_hand_model
from hand_recon_ros.hand_model.arrays import HandModelError

HAND = small_mano()
NUMBERS = {name: value for name, value in HAND.items() if isinstance(value, np.ndarray)}


def check(path: Path, out: Path, rtol: float = 1e-12) -> dict[str, np.ndarray]:
    """Import the file and compare every array; the arrays are returned."""
    with np.load(import_mano(path, out), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    for name, value in NUMBERS.items():
        np.testing.assert_allclose(arrays[name], value, rtol=rtol, atol=1e-9 if rtol > 1e-8 else 0, err_msg=name)
    return arrays


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "lil", "dok", "dia"])
@pytest.mark.parametrize("name", ["matrix", "array"])
def test_every_protocol_and_sparse_kind(tmp_path: Path, protocol: int, kind: str, name: str) -> None:
    sparse = getattr(scipy.sparse, f"{kind}_{name}")(HAND["J_regressor"])
    content = pickle.dumps({**HAND, "J_regressor": sparse}, protocol=protocol)
    check(write(tmp_path, content), tmp_path / "out")


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "lil", "dia"])
@pytest.mark.parametrize("private", ["", "_"])
def test_old_and_new_module_paths(tmp_path: Path, kind: str, private: str) -> None:
    """The same pickle with scipy.sparse.csc or scipy.sparse._csc, numpy.core or numpy._core in it."""
    sparse = getattr(scipy.sparse, f"{kind}_matrix")(HAND["J_regressor"])
    content = pickle.dumps({**HAND, "J_regressor": sparse}, protocol=2)
    assert f"scipy.sparse._{kind}\n".encode() in content and b"numpy._core.multiarray\n" in content
    content = content.replace(f"scipy.sparse._{kind}\n".encode(), f"scipy.sparse.{private}{kind}\n".encode())
    if not private:
        content = content.replace(b"numpy._core", b"numpy.core")
    check(write(tmp_path, content), tmp_path / "out")


def test_a_dok_matrix_of_old_scipy_is_a_dict(tmp_path: Path) -> None:
    """Its elements are set one by one, and it has no ``_dict``."""
    items = {(int(i), int(j)): float(HAND["J_regressor"][i, j]) for i, j in np.argwhere(HAND["J_regressor"])}
    before = pickle.dumps({name: value for name, value in HAND.items() if name != "J_regressor"}, protocol=2)
    stored = pickle.dumps(items, protocol=2)[2:-1]
    assert stored.startswith(b"}q\x00(") and stored.endswith(b"u")
    state = pickle.dumps({"_shape": (16, 12), "dtype": np.dtype("f8")}, protocol=2)[2:-1]
    matrix = b"cscipy.sparse.dok\ndok_matrix\n)\x81" + stored[3:] + state + b"b"
    content = before[:-1] + b"X\x0b\x00\x00\x00J_regressor" + matrix + b"s."
    check(write(tmp_path, content), tmp_path / "out")


def test_elements_that_are_stored_twice_are_summed(tmp_path: Path) -> None:
    dense = HAND["J_regressor"]
    rows, columns = np.nonzero(dense)
    halves = np.tile(dense[rows, columns] / 2, 2)
    twice = scipy.sparse.coo_matrix((halves, (np.tile(rows, 2), np.tile(columns, 2))), dense.shape)
    check(write(tmp_path, pickle.dumps({**HAND, "J_regressor": twice})), tmp_path / "out")


def object_file(content: Any) -> bytes:
    """The .npy file of ``np.save`` of a dictionary."""
    buffer = io.BytesIO()
    np.save(buffer, content, allow_pickle=True)
    return buffer.getvalue()


def archive(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("MANO_RIGHT.npy", object_file(HAND)),
        ("MANO_RIGHT.npz", archive(NUMBERS)),
        ("MANO_RIGHT.npz", archive({**HAND, "J_regressor": scipy.sparse.csc_matrix(HAND["J_regressor"])})),
        ("MANO_RIGHT.npz", archive({name: np.asfortranarray(value) for name, value in NUMBERS.items()})),
        ("MANO_RIGHT.safetensors", save(NUMBERS)),
        ("MANO_RIGHT.joblib", joblib_file(NUMBERS)),
        ("MANO_RIGHT.pkl", joblib_file(NUMBERS, padded=False)),
        ("MANO_RIGHT.joblib", zlib.compress(joblib_file(NUMBERS))),
        ("MANO_RIGHT.pkl", gzip.compress(pickle.dumps(HAND))),
        ("MANO_RIGHT.pkl", pickle.dumps(collections.OrderedDict(HAND), protocol=2)),
        ("MANO_RIGHT.pkl", pickle.dumps({**HAND, "J_regressor": np.asmatrix(HAND["J_regressor"])})),
        ("MANO_RIGHT.pkl", pickle.dumps({name.encode(): value for name, value in HAND.items()}, protocol=1)),
        ("MANO_RIGHT.pkl", pickle.dumps({**HAND, "vert_sym_idxs": np.arange(3), "J": None, "notes": ["a", {"b": 1}]})),
        ("MANO_RIGHT.pkl", pickle.dumps({k: v.astype(v.dtype.newbyteorder(">")) for k, v in NUMBERS.items()})),
    ],
    ids=[
        "npy of a dict", "npz", "npz with a matrix in it", "npz in Fortran's order", "safetensors", "joblib",
        "joblib before 1.2", "joblib compressed", "gzip", "ordered dict", "regressor as np.matrix", "keys of bytes",
        "more keys", "big-endian numbers",
    ],
)  # fmt: skip
def test_files_that_were_saved_again(tmp_path: Path, name: str, content: bytes) -> None:
    check(write(tmp_path, content, name), tmp_path / "out")


def test_single_precision_and_integers(tmp_path: Path) -> None:
    single = {
        name: value.astype(np.float32 if value.dtype.kind == "f" else np.int16) for name, value in NUMBERS.items()
    }
    single["kintree_table"] = NUMBERS["kintree_table"].astype(np.int32)  # the root's parent is -1
    path = write(tmp_path, pickle.dumps(single))
    with np.load(import_mano(path, tmp_path / "out")) as stored:
        for name, value in NUMBERS.items():
            if name == "kintree_table":  # of which the root's parent is -1 now
                value = value.astype(np.int32)
            np.testing.assert_allclose(stored[name], value, rtol=1e-6, atol=1e-9, err_msg=name)
            assert stored[name].dtype == (np.float64 if value.dtype.kind == "f" else np.int64)
    assert load_hand_model(tmp_path / "out").num_vertices == 12


def test_mean_and_components_by_the_names_of_a_model_of_both_hands(tmp_path: Path) -> None:
    own = {name: value for name, value in HAND.items() if not name.startswith("hands_")}
    for letter, factor in (("r", 1.0), ("l", -1.0)):
        for name in ("hands_mean", "hands_components", "hands_coeffs"):
            own[name + letter] = factor * HAND[name]
    write(tmp_path, pickle.dumps(own), "MANO_RIGHT.pkl")
    write(tmp_path, pickle.dumps(own), "MANO_LEFT.pkl")
    right = check(tmp_path / "MANO_RIGHT.pkl", tmp_path / "out")
    np.testing.assert_array_equal(right["hands_mean"], HAND["hands_mean"])
    with np.load(tmp_path / "out" / "MANO_LEFT.npz") as left:
        np.testing.assert_array_equal(left["hands_mean"], -HAND["hands_mean"])


def test_the_principal_components_are_not_needed(tmp_path: Path) -> None:
    own = {name: value for name, value in HAND.items() if name not in ("hands_components", "hands_coeffs")}
    with np.load(import_mano(write(tmp_path, pickle.dumps(own)), tmp_path / "out")) as stored:
        assert "hands_components" not in stored.files and "hands_mean" in stored.files


def test_chumpy_as_published_and_nested(tmp_path: Path) -> None:
    """Objects of chumpy without the package: a selection of a value, and a value of a value."""

    def chumpy(module: str, name: str, state: dict[str, Any], *inside: tuple[str, bytes]) -> bytes:
        plain = pickle.dumps(state, protocol=2)[2:-1]
        parts = b"".join(b"X" + len(key).to_bytes(4, "little") + key.encode() + value + b"s" for key, value in inside)
        return f"c{module}\n{name}\n".encode() + b")\x81" + plain + parts + b"b"

    shapes = HAND["shapedirs"]
    whole = chumpy("chumpy.ch", "Ch", {"x": np.append(shapes.ravel(), 9.0), "_dirty_vars": set(), "_itr": None})
    chosen = chumpy(
        "chumpy.reordering", "Select", {"idxs": np.arange(shapes.size), "preferred_shape": shapes.shape}, ("a", whole)
    )
    nested = chumpy("chumpy.ch", "Ch", {}, ("x", chumpy("chumpy.ch", "Ch", {"x": HAND["posedirs"]})))
    rest = {name: value for name, value in HAND.items() if name not in ("shapedirs", "posedirs")}
    content = pickle.dumps(rest, protocol=2)[:-1]
    for name, value in (("shapedirs", chosen), ("posedirs", nested)):
        content += b"X" + len(name).to_bytes(4, "little") + name.encode() + value + b"s"
    check(write(tmp_path, content + b"."), tmp_path / "out")


def test_the_left_hands_shape_is_mended_whatever_the_files_are(tmp_path: Path) -> None:
    """The released left hand has the right one's x components: recognised by comparison, so both files are needed."""
    write(tmp_path, archive(NUMBERS), "MANO_RIGHT.npz")
    write(tmp_path, archive(NUMBERS), "MANO_LEFT.npz")
    import_mano(tmp_path, tmp_path / "out")
    with np.load(tmp_path / "out" / "MANO_LEFT.npz") as stored:
        np.testing.assert_array_equal(stored["shapedirs"][:, 0], -HAND["shapedirs"][:, 0])
        np.testing.assert_array_equal(stored["shapedirs"][:, 1:], HAND["shapedirs"][:, 1:])
    # Once more: it is right now, and stays so.
    import_mano(tmp_path / "out", tmp_path / "again")
    with np.load(tmp_path / "again" / "MANO_LEFT.npz") as stored:
        np.testing.assert_array_equal(stored["shapedirs"][:, 0], -HAND["shapedirs"][:, 0])
    both = load_hand_model(tmp_path / "out")
    np.testing.assert_allclose(
        both.arrays(Side.LEFT).shapedirs[:, 0], -both.arrays(Side.RIGHT).shapedirs[:, 0], atol=1e-9
    )
    (tmp_path / "alone").mkdir()
    with pytest.raises(HandModelError, match="needed for the left hand"):
        import_mano(write(tmp_path / "alone", archive(NUMBERS), "MANO_LEFT.npz"), tmp_path / "again")


def test_a_result_never_replaces_what_it_is_made_of(tmp_path: Path) -> None:
    path = write(tmp_path, archive(NUMBERS), "MANO_RIGHT.npz")
    before = path.read_bytes()
    with pytest.raises(HandModelError, match=r"MANO_RIGHT\.npz: the result would replace it"):
        import_mano(path)
    assert path.read_bytes() == before
