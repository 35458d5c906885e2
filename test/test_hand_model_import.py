"""Reading MANO's pickles: the arrays come out right, and nothing in the file gets to run."""

import os
import pickle
import sys
import types

import numpy as np
import pytest

from hand_recon_ros import Side
from hand_recon_ros.hand_model import import_mano, load_hand_model
from hand_recon_ros.hand_model.arrays import HandModelError

VERTICES, COLUMNS, ROWS = 778, 21, 37
_TREE = [2**32 - 1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14]


def hand_arrays(left: bool) -> dict[str, np.ndarray]:
    """An open, hand-sized bag of MANO's vertex count, with joints placed somewhat like a hand's."""
    generator = np.random.default_rng(1)
    angle = 2 * np.pi * np.arange(COLUMNS) / COLUMNS
    ring = np.stack([np.zeros(COLUMNS), 0.02 * np.cos(angle), 0.04 * np.sin(angle)], axis=1)
    rows = [ring + [0.1 - 0.18 * row / (ROWS - 1), 0, 0] for row in range(ROWS)]
    template = np.concatenate([*rows, [[-0.085, 0, 0]]])
    faces = []
    for row in range(ROWS - 1):
        for a in range(COLUMNS):
            b = (a + 1) % COLUMNS
            faces += [[row * COLUMNS + a, (row + 1) * COLUMNS + a, row * COLUMNS + b]]
            faces += [[row * COLUMNS + b, (row + 1) * COLUMNS + a, (row + 1) * COLUMNS + b]]
    last = (ROWS - 1) * COLUMNS
    faces += [[last + a, VERTICES - 1, last + (a + 1) % COLUMNS] for a in range(COLUMNS)]
    faces = np.array(faces, np.uint32)
    regressor = np.zeros((16, VERTICES))
    regressor[np.arange(16)[:, None], generator.integers(0, VERTICES, (16, 5))] = 0.2
    regressor /= regressor.sum(axis=1, keepdims=True)
    weights = generator.random((VERTICES, 16))
    shapedirs = generator.normal(size=(VERTICES, 3, 10)) * 0.01
    if left:
        template = template * [-1, 1, 1]
        faces = faces[:, ::-1].copy()
    return {
        "v_template": template,
        "shapedirs": shapedirs,
        "posedirs": generator.normal(size=(VERTICES, 3, 135)) * 1e-3,
        "J_regressor": regressor,
        "weights": weights / weights.sum(axis=1, keepdims=True),
        "kintree_table": np.array([_TREE, range(16)], np.uint32),
        "f": faces,
        "hands_components": np.eye(45),
        "hands_mean": generator.normal(size=45) * 0.1,
        "hands_coeffs": generator.normal(size=(1554, 45)),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


@pytest.fixture
def pickled(monkeypatch):
    """Pickle a hand as MANO's authors did: protocol 2, chumpy and scipy objects inside; the packages are not needed."""
    modules = {name: types.ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")}
    sparse = {name: types.ModuleType(name) for name in ("scipy.sparse.csc",)}

    class Ch:
        pass

    class Select(Ch):
        pass

    class csc_matrix:  # noqa: N801
        pass

    for kind, module in ((Ch, "chumpy.ch"), (Select, "chumpy.reordering"), (csc_matrix, "scipy.sparse.csc")):
        kind.__module__, kind.__qualname__ = module, kind.__name__
        setattr({**modules, **sparse}[module], kind.__name__, kind)
    for name, module in {**modules, **sparse}.items():
        monkeypatch.setitem(sys.modules, name, module)

    def write(path, arrays):
        content = dict(arrays)
        shape = content["shapedirs"].shape
        whole = Ch()
        whole.__dict__.update(x=np.concatenate([content["shapedirs"].reshape(-1), [9.0]]), _dirty_vars=set())
        chosen = Select()
        chosen.__dict__.update(a=whole, idxs=np.arange(np.prod(shape)), preferred_shape=shape)
        content["shapedirs"] = chosen
        posedirs = Ch()
        posedirs.__dict__.update(x=content["posedirs"])
        content["posedirs"] = posedirs
        dense = content["J_regressor"]
        rows, columns = np.nonzero(dense.T)[1], np.nonzero(dense.T)[0]
        starts = np.searchsorted(columns, np.arange(VERTICES + 1)).astype(np.int32)
        matrix = csc_matrix()
        matrix.__dict__.update(
            _shape=dense.shape, data=dense[rows, columns], indices=rows.astype(np.int32), indptr=starts, maxprint=50
        )
        content["J_regressor"] = matrix
        path.write_bytes(pickle.dumps(content, protocol=2))

    return write


def test_right_and_left_become_plain_files(pickled, tmp_path):
    right, left = hand_arrays(left=False), hand_arrays(left=True)
    pickled(tmp_path / "MANO_RIGHT.pkl", right)
    pickled(tmp_path / "MANO_LEFT.pkl", left)
    result = import_mano(tmp_path / "MANO_RIGHT.pkl", out=tmp_path / "out")
    assert result == tmp_path / "out" / "MANO_RIGHT.npz"
    with np.load(result, allow_pickle=False) as stored:
        for name in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "hands_mean", "f"):
            np.testing.assert_allclose(stored[name], right[name], err_msg=name)
    with np.load(tmp_path / "out" / "MANO_LEFT.npz", allow_pickle=False) as stored:
        # The released left file has the right hand's x components: they are turned around.
        np.testing.assert_allclose(stored["shapedirs"][:, 0], -left["shapedirs"][:, 0])
        np.testing.assert_allclose(stored["shapedirs"][:, 1:], left["shapedirs"][:, 1:])


def test_a_left_hand_that_is_right_already_stays(pickled, tmp_path):
    left = hand_arrays(left=True)
    left["shapedirs"][:, 0] *= -1
    pickled(tmp_path / "MANO_RIGHT.pkl", hand_arrays(left=False))
    pickled(tmp_path / "MANO_LEFT.pkl", left)
    import_mano(tmp_path)
    with np.load(tmp_path / "MANO_LEFT.npz") as stored:
        np.testing.assert_allclose(stored["shapedirs"], left["shapedirs"])


def test_the_result_is_a_hand_model_named_mano(pickled, tmp_path):
    arrays = hand_arrays(left=False)
    pickled(tmp_path / "MANO_RIGHT.pkl", arrays)
    path = import_mano(tmp_path)
    model = load_hand_model(path)
    assert model.name == "mano" and model.num_vertices == VERTICES
    keypoints = model.kinematics(Side.RIGHT).keypoint_template
    np.testing.assert_allclose(keypoints[4], arrays["v_template"][744], atol=1e-6)
    np.testing.assert_allclose(keypoints[20], arrays["v_template"][671], atol=1e-6)
    np.testing.assert_allclose(keypoints[5], arrays["J_regressor"][1] @ arrays["v_template"], atol=1e-6)
    np.testing.assert_allclose(keypoints[17], arrays["J_regressor"][7] @ arrays["v_template"], atol=1e-6)
    # The wrist of MANO's mesh is open: closed without new vertices, all triangles facing outwards.
    faces = model.faces(Side.RIGHT)
    assert len(faces) == len(arrays["f"]) + COLUMNS - 2
    vertices = model.mesh(Side.RIGHT, np.tile(np.eye(3), (16, 1, 1)), np.zeros(10), np.zeros(3)).astype(np.float64)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    volume = np.einsum("fi,fi->", a, np.cross(b, c)) / 6
    assert volume == pytest.approx(np.pi * 0.02 * 0.04 * 0.18, rel=0.03)
    # Only a right file: the left hand is its mirror, mean pose included.
    assert load_hand_model(tmp_path).kinematics(Side.LEFT).keypoint_template[4, 0] == pytest.approx(-keypoints[4, 0])


class Attack:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [(os.system, ("touch HERE",), "system"), (eval, ("1+1",), "eval"), (getattr, ("", "join"), "getattr")],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_file_that_wants_to_run_something_is_refused(tmp_path, monkeypatch, function, arguments, name, protocol):
    monkeypatch.chdir(tmp_path)
    content = {"v_template": Attack(function, *arguments)}
    (tmp_path / "MANO_RIGHT.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(HandModelError, match=rf"MANO_RIGHT\.pkl: it refers to \w+\.{name}, .* refused"):
        import_mano(tmp_path / "MANO_RIGHT.pkl")
    assert sorted(os.listdir(tmp_path)) == ["MANO_RIGHT.pkl"]


def test_known_names_cannot_be_bent_to_other_uses(tmp_path):
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR.")
    with pytest.raises(HandModelError, match="does not hold"):
        import_mano(path)
    path.write_bytes(b"c_codecs\nencode\n(Vabc\nVrot13\ntR.")
    with pytest.raises(HandModelError, match="rot13"):
        import_mano(path)
    path.write_bytes(pickle.dumps({"posedirs": [1, 2]}, protocol=2))
    with pytest.raises(HandModelError, match=r"no v_template, shapedirs"):
        import_mano(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "not a readable"), (b"\x80\x02]q\x00.", "expected a dictionary"), (b"not a pickle", "not a readable")],
)
def test_broken_files(tmp_path, content, message):
    (tmp_path / "MANO_RIGHT.pkl").write_bytes(content)
    with pytest.raises(HandModelError, match=message):
        import_mano(tmp_path)


def test_what_is_not_there(pickled, tmp_path):
    with pytest.raises(HandModelError, match="no such file"):
        import_mano(tmp_path / "MANO_RIGHT.pkl")
    with pytest.raises(HandModelError, match=r"no MANO_RIGHT\.pkl"):
        import_mano(tmp_path)
    pickled(tmp_path / "MANO_LEFT.pkl", hand_arrays(left=True))
    with pytest.raises(HandModelError, match="needed for the left hand"):
        import_mano(tmp_path / "MANO_LEFT.pkl")
    (tmp_path / "hand.pkl").write_bytes(b"")
    with pytest.raises(HandModelError, match="must say which hand"):
        import_mano(tmp_path / "hand.pkl")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["csc", "csr", "coo", "lil"])
@pytest.mark.parametrize("name", ["matrix", "array"])
def test_a_hand_that_was_saved_again_is_read(tmp_path, protocol, kind, name):
    sparse = pytest.importorskip("scipy.sparse")
    right = hand_arrays(left=False)
    again = {**right, "J_regressor": getattr(sparse, f"{kind}_{name}")(right["J_regressor"])}
    again["posedirs"] = np.asfortranarray(right["posedirs"])
    (tmp_path / "MANO_RIGHT.pkl").write_bytes(pickle.dumps(again, protocol=protocol))
    with np.load(import_mano(tmp_path), allow_pickle=False) as stored:
        for key in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f"):
            np.testing.assert_allclose(stored[key], right[key], err_msg=key)
