"""Conversion of MANO's official MANO_RIGHT.pkl and MANO_LEFT.pkl to plain .npz files, without running code in them.

The official files are Python 2 pickles with chumpy and scipy objects. A pickle is a program; this unpickler allows
NumPy's arrays, replaces chumpy's and scipy's classes by empty holders, and refuses every other name, so that a
malicious file cannot run anything.
"""

from __future__ import annotations

import io
import os
import pathlib
import pickle
import pickletools
from typing import Any

import numpy as np

from .arrays import HandModelError

_ARRAYS = (
    "v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f",
    "hands_components", "hands_mean", "hands_coeffs",
)  # fmt: skip
_LARGEST = 2**24
"""Elements of an array, at most: MANO's have less than a million."""
_MODULE_ALIASES = {"numpy._core": "numpy.core", "__builtin__": "builtins", "copy_reg": "copyreg"}


def import_mano(path: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Convert MANO's .pkl files into .npz files that :func:`load_hand_model` and smplx.MANO(ext="npz") read.

    Args:
        path: MANO_RIGHT.pkl, MANO_LEFT.pkl, or their folder. The other hand's file in the same folder is converted as
            well.
        out: folder for MANO_RIGHT.npz and MANO_LEFT.npz; None is the folder of the .pkl files.

    Returns:
        Path of MANO_RIGHT.npz, for ``load_hand_model``.

    Raises:
        HandModelError: a file is missing, is not MANO's, or has unexpected contents.
    """
    path = pathlib.Path(os.path.expanduser(path))
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        raise HandModelError(f"{path}: no such file; expected MANO_RIGHT.pkl, from mano.is.tue.mpg.de, or its folder")
    if not path.is_dir() and _side(path) is None:
        raise HandModelError(f"{path}: the name must say which hand it is, MANO_RIGHT.pkl or MANO_LEFT.pkl")
    sources = {} if path.is_dir() else {_side(path): path}
    for candidate in sorted(folder.glob("*.pkl")):
        side = _side(candidate)
        if side and candidate.name.upper().startswith("MANO"):
            sources.setdefault(side, candidate)
    if "RIGHT" not in sources:
        raise HandModelError(
            f"{folder}: no MANO_RIGHT.pkl; it is needed for the left hand too, whose shape directions are checked by it"
        )
    hands = {side: _read(source) for side, source in sources.items()}
    if "LEFT" in hands:
        _fix_left_shape(hands["LEFT"], hands["RIGHT"])
    target = folder if out is None else pathlib.Path(os.path.expanduser(out))
    target.mkdir(parents=True, exist_ok=True)
    for side, arrays in hands.items():
        np.savez_compressed(target / f"MANO_{side}.npz", **arrays)  # type: ignore[arg-type]
    return target / "MANO_RIGHT.npz"


def _side(path: pathlib.Path) -> str | None:
    return next((side for side in ("RIGHT", "LEFT") if side in path.name.upper()), None)


def _fix_left_shape(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    """Negate the x components of the left hand's shape directions, in place, where they are the right hand's.

    The released MANO_LEFT.pkl has them unmirrored, so that its betas deform the hand sideways; later copies are
    correct. Raises HandModelError where the two cannot be compared.
    """
    shapes = left["shapedirs"].shape, right["shapedirs"].shape
    if shapes[0] != shapes[1] or len(shapes[0]) != 3:
        raise HandModelError(f"MANO_LEFT.pkl and MANO_RIGHT.pkl have shapedirs of shapes {shapes[0]} and {shapes[1]}")
    if np.abs(left["shapedirs"][:, 0] - right["shapedirs"][:, 0]).sum() < 1.0:
        left["shapedirs"][:, 0] *= -1.0


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        content = _unpickled(path.read_bytes())
    except HandModelError as error:
        raise HandModelError(f"{path}: {error}") from None
    # A damaged pickle gives arguments of any kind to the code of pickle and NumPy, which raise what they like.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise HandModelError(f"{path}: not a readable MANO pickle ({reason})") from error
    if not isinstance(content, dict):
        raise HandModelError(f"{path}: expected a dictionary as in MANO_RIGHT.pkl, got {type(content).__name__}")
    missing = [name for name in _ARRAYS if name not in content]
    if missing:
        raise HandModelError(f"{path}: no {', '.join(missing)} in it; expected MANO_RIGHT.pkl or MANO_LEFT.pkl")
    arrays = {}
    for name in _ARRAYS:
        try:
            array = _plain(content[name])
        except Exception as error:  # as above: parts of it are of any kind
            raise HandModelError(f"{path}: {name} cannot be read as an array ({error})") from error
        if array.dtype.kind not in "fiu":
            raise HandModelError(f"{path}: {name} holds {array.dtype}, expected numbers")
        arrays[name] = array.astype(np.float64 if array.dtype.kind == "f" else np.int64)
    arrays["hands_componentsl"] = arrays["hands_components"]
    return arrays


class _Holder:
    """Placeholder for an object of chumpy or scipy: has its saved state and no behaviour."""

    kind = ""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}

    def __new__(cls, *_: Any) -> _Holder:
        holder = super().__new__(cls)
        holder.state = {}
        return holder

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple):
            state = {key: value for part in state if isinstance(part, dict) for key, value in part.items()}
        if not isinstance(state, dict):
            raise HandModelError(f"a {self.kind} object with a state of type {type(state).__name__}")
        self.state = state


class _Value(_Holder):
    kind = "chumpy.ch.Ch"


class _Selection(_Holder):
    kind = "chumpy.reordering.Select"


class _Sparse(_Holder):
    kind = "scipy.sparse"


def _plain(value: Any) -> np.ndarray:
    """The array a stored value stands for; raises TypeError for anything that is none, ValueError for a huge one."""
    if isinstance(value, np.ndarray):
        if value.size > _LARGEST:
            raise ValueError(f"an array of shape {value.shape}")
        return value
    if isinstance(value, _Value):
        return _plain(value.state["x"])
    if isinstance(value, _Selection):
        chosen = _plain(value.state["a"]).reshape(-1)[np.asarray(_plain(value.state["idxs"]), dtype=np.int64)]
        shape = value.state.get("preferred_shape")
        return chosen if shape is None else chosen.reshape(tuple(int(n) for n in np.ravel(shape)))
    if isinstance(value, _Sparse):
        return _dense(value.kind, value.state)
    raise TypeError(f"a {type(value).__name__} instead of an array")


def _dense(kind: str, state: dict[str, Any]) -> np.ndarray:
    """A sparse matrix of scipy as an array; ``kind`` is one of _SPARSE."""
    shape = tuple(int(n) for n in state["_shape"])
    if len(shape) != 2 or min(shape) < 0 or shape[0] * shape[1] > _LARGEST:
        raise ValueError(f"a matrix of shape {shape}")
    data = state["data"]
    if kind == "coo":
        rows, columns = state["coords"] if "coords" in state else (state["row"], state["col"])
    elif kind == "lil":
        rows, columns = (
            np.repeat(np.arange(shape[0]), [len(row) for row in state["rows"]]),
            np.concatenate(state["rows"]),
        )
        data = np.concatenate(state["data"])
    else:
        starts, major = np.asarray(state["indptr"]), shape[kind == "csc"]
        if starts[-1] > len(data):
            raise ValueError(f"{starts[-1]} elements, of which there are {len(data)}")
        if len(starts) != major + 1:
            raise ValueError(f"{len(starts)} starts for {major} {'columns' if kind == 'csc' else 'rows'}")
        rows, columns = np.repeat(np.arange(major), np.diff(starts)), state["indices"]
        if kind == "csc":
            rows, columns = columns, rows
    dense = np.zeros(shape)
    np.add.at(dense, (np.asarray(rows, dtype=np.int64), np.asarray(columns, dtype=np.int64)), np.asarray(data))
    return dense


_SPARSE = {kind: type(f"_Sparse_{kind}", (_Sparse,), {"kind": kind}) for kind in ("csc", "csr", "coo", "lil")}


def _from_buffer(buffer: Any, dtype: np.dtype[Any], shape: tuple[int, ...], order: str = "C") -> np.ndarray:
    """numpy's _frombuffer, by which protocol 5 makes an array of bytes."""
    if order not in ("C", "F"):
        raise HandModelError(f"an array in the order {order!r}")
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order="F" if order == "F" else "C")


def _new_holder(kind: Any, *_: Any) -> _Holder:
    """copyreg._reconstructor for holders only: how Python 2 makes an object without calling its constructor."""
    if not (isinstance(kind, type) and issubclass(kind, _Holder)):
        raise HandModelError(f"it makes an object of {kind!r}, which a MANO file does not hold")
    return kind()


def _encode(text: str, encoding: str) -> bytes:
    """_codecs.encode for the one encoding in which Python 3 writes old bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise HandModelError(f"it encodes {type(text).__name__} as {encoding!r}, which a MANO file does not")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    # NumPy's own helpers have moved between versions; an array and a number know where theirs are.
    ("numpy.core.multiarray", "_reconstruct"): np.zeros(1).__reduce__()[0],
    ("numpy.core.multiarray", "scalar"): np.float64(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("chumpy.ch", "Ch"): _Value,
    ("chumpy.reordering", "Select"): _Selection,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    **{
        (f"scipy.sparse.{private}{kind}", f"{kind}_{name}"): holder
        for kind, holder in _SPARSE.items()
        for private in ("", "_")
        for name in ("matrix", "array")
    },
    ("builtins", "object"): object,
    ("builtins", "set"): set,
    ("copyreg", "_reconstructor"): _new_holder,
    ("_codecs", "encode"): _encode,
}


def _unpickled(data: bytes) -> Any:
    """What is in a pickle. Raises HandModelError, and whatever damaged ones make others raise."""
    for code, number, _ in pickletools.genops(data):
        # pickle has as much memory as the largest number in its memo: a few bytes could take gigabytes.
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(number or 0) <= len(data):
            raise HandModelError(f"not a readable MANO pickle (number {number} in the memo of {len(data)} bytes)")
    return _RestrictedUnpickler(data).load()


class _RestrictedUnpickler(pickle.Unpickler):
    """Knows the names in a MANO file and no others."""

    def __init__(self, data: bytes) -> None:
        # Not from the file: of that pickle would want as many bytes as a damaged length says.
        super().__init__(io.BytesIO(data), encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        for old, new in _MODULE_ALIASES.items():
            if module == old or module.startswith(old + "."):
                module = new + module[len(old) :]
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise HandModelError(
                f"it refers to {module}.{name}, which a MANO file does not; refused, since a pickle could run anything"
            ) from None
