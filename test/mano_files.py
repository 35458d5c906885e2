"""A small hand in MANO's layout, and files of it as tools save them, for the tests of the import."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

VERTICES = 12
_TREE = [2**32 - 1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14]


def small_mano() -> dict[str, Any]:
    """A prism in MANO's layout, open at one end; ``tip_vertices`` names its fingertips, as it has no 778 vertices."""
    rng = np.random.default_rng(3)
    ring = np.array([[0.0, 0.02, 0.0], [0.0, -0.01, 0.02], [0.0, -0.01, -0.02]])
    faces = [[9, 11, 10]]
    for low in range(0, VERTICES - 3, 3):
        for a in range(3):
            b, high = (a + 1) % 3, low + 3
            faces += [[low + a, high + a, low + b], [low + b, high + a, high + b]]
    regressor = np.zeros((16, VERTICES))
    for joint in range(16):
        regressor[joint, rng.choice(VERTICES, 3, replace=False)] = rng.random(3) + 0.1
    weights = rng.random((VERTICES, 16))
    return {
        "v_template": np.concatenate([ring + [0.03 * row, 0.0, 0.0] for row in range(VERTICES // 3)]),
        "shapedirs": rng.normal(size=(VERTICES, 3, 10)) * 1e-3,
        "posedirs": rng.normal(size=(VERTICES, 3, 135)) * 1e-4,
        "J_regressor": regressor / regressor.sum(axis=1, keepdims=True),
        "weights": weights / weights.sum(axis=1, keepdims=True),
        "kintree_table": np.array([_TREE, range(16)], np.uint32),
        "f": np.array(faces, np.uint32),
        "hands_mean": rng.normal(size=45) * 0.1,
        "hands_components": np.eye(45),
        "hands_coeffs": rng.normal(size=(3, 45)),
        "tip_vertices": np.array([9, 10, 11, 8, 7]),
        "bs_style": "lbs",
    }


def text(value: str) -> bytes:
    """A string in a pickle."""
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def joblib_file(arrays: dict[str, np.ndarray], padded: bool = True) -> bytes:
    """The file that ``joblib.dump`` writes of a dictionary: after each array's description its bytes, aligned to 16
    in files of version 1.2 and later."""
    result = b"\x80\x03}"
    for name, array in arrays.items():
        state = {
            "subclass": np.ndarray, "shape": array.shape, "order": "C", "dtype": array.dtype, "allow_mmap": True,
            **({"numpy_array_alignment_bytes": 16} if padded else {}),
        }  # fmt: skip
        # Of its own memo: the numbers of those before are overwritten.
        described = pickle.dumps(state, protocol=3)[2:-1]
        result += text(name) + b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81" + described + b"b"
        if padded:
            fill = 16 - (len(result) + 1) % 16
            result += bytes([fill]) + b"\xff" * fill
        result += np.ascontiguousarray(array).tobytes() + b"s"
    return result + b"."


def write(folder: Path, content: bytes, name: str = "MANO_RIGHT.pkl") -> Path:
    """A file in a folder."""
    path = folder / name
    path.write_bytes(content)
    return path
