"""Conversion of MANO's official MANO_RIGHT.pkl and MANO_LEFT.pkl, and of copies that other tools have saved, to plain
.npz files, without running code in them: see :mod:`mano_pickle`."""

from __future__ import annotations

import io
import os
import pathlib
import zipfile
from typing import Any

import numpy as np

from ..types import Side
from .arrays import HandModelError
from .hand_files import checked_model, write_hands
from .mano_pickle import LARGEST_FILE, npy_array, plain_array, unpickled

_NEEDED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f", "hands_mean")
_PCA = ("hands_components", "hands_coeffs")
"""Not used here, kept for smplx where the file has them."""
_OWN = ("tip_vertices", "joint_frames", "wrist_loop")
"""Of files in MANO's layout that are not MANO's own."""
_SUFFIXES = (".pkl", ".npz", ".npy", ".safetensors", ".joblib", ".pickle")
_EXPECTED = "expected MANO_RIGHT.pkl, from mano.is.tue.mpg.de, or its folder"


def import_mano(path: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Convert MANO's files into .npz files that :func:`load_hand_model` and smplx.MANO(ext="npz") read.

    Read are pickles of every protocol, joblib's files, .npy files of a dictionary, and .npz and .safetensors files with
    MANO's names. Nothing is written unless every array of both hands is as a hand model needs it. The re-fit
    (:mod:`refit`) is written with them.

    Args:
        path: MANO_RIGHT.pkl, MANO_LEFT.pkl, or their folder. The other hand's file in the same folder is converted as
            well.
        out: folder for MANO_RIGHT.npz and MANO_LEFT.npz; None is the folder of the .pkl files.

    Returns:
        Path of MANO_RIGHT.npz, for ``load_hand_model``.

    Raises:
        HandModelError: a file is missing, is not MANO's, has unexpected contents, or is where the result would go.
    """
    path = pathlib.Path(os.path.expanduser(path))
    folder = path if path.is_dir() else path.parent
    sources = _sources(path, folder)
    target = folder if out is None else pathlib.Path(os.path.expanduser(out))
    for side, source in sources.items():
        if source.resolve() == (target / f"MANO_{side}.npz").resolve():
            raise HandModelError(f"{source}: the result would replace it: give another folder for it")
    hands = {side: _read(source, side) for side, source in sources.items()}
    if "LEFT" in hands:
        _fix_left_shape(hands["LEFT"], hands["RIGHT"])
    targets = {Side[side]: target / f"MANO_{side}.npz" for side in hands}
    arrays = {Side[side]: each for side, each in hands.items()}
    model = checked_model("mano", arrays, {Side[side]: source for side, source in sources.items()})
    write_hands(model, arrays, targets)
    return targets[Side.RIGHT]


def _sources(path: pathlib.Path, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The file of each hand, by RIGHT and LEFT."""
    if not path.exists():
        raise HandModelError(f"{path}: no such file; {_EXPECTED}")
    if not path.is_dir() and _side(path) is None:
        raise HandModelError(f"{path}: the name must say which hand it is, MANO_RIGHT.pkl or MANO_LEFT.pkl")
    sources = {} if path.is_dir() else {_side(path): path}
    # Pickles first: of a folder with converted files, the originals are converted again.
    for suffix in _SUFFIXES:
        for candidate in sorted(folder.glob(f"*{suffix}")):
            side = _side(candidate)
            if side and candidate.name.upper().startswith("MANO") and (path.is_dir() or path.suffix == suffix):
                sources.setdefault(side, candidate)
    if "RIGHT" not in sources:
        raise HandModelError(
            f"{folder}: no MANO_RIGHT.pkl; it is needed for the left hand too, whose shape directions are checked by it"
        )
    return {str(side): source for side, source in sources.items()}


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
    left_x, right_x = left["shapedirs"][:, 0], right["shapedirs"][:, 0]
    difference, mirrored = np.abs(left_x - right_x).sum(), np.abs(left_x + right_x).sum()
    if difference < 1.0 and difference < mirrored:
        left["shapedirs"][:, 0] *= -1.0


def _read(path: pathlib.Path, side: str) -> dict[str, np.ndarray]:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise HandModelError(f"it has more than {LARGEST_FILE >> 20} MB, which no hand model does")
        content = _content(path)
    except HandModelError as error:
        raise HandModelError(f"{path}: {error}") from None
    # A damaged file gives arguments of any kind to the code of pickle, zipfile and NumPy, which raise what they like.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        kind = "MANO pickle" if path.suffix in (".pkl", ".pickle") else f"{path.suffix} file"
        raise HandModelError(f"{path}: not a readable {kind} ({reason})") from error
    if not isinstance(content, dict):
        raise HandModelError(f"{path}: expected a dictionary as in MANO_RIGHT.pkl, got {type(content).__name__}")
    content = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in content.items()}
    for name in ("hands_mean", *_PCA):  # SMPL-H's names, which have both hands' in one file
        if name not in content and name + side[0].lower() in content:
            content[name] = content[name + side[0].lower()]
    missing = [name for name in _NEEDED if name not in content]
    if missing:
        raise HandModelError(f"{path}: no {', '.join(missing)} in it; expected MANO_RIGHT.pkl or MANO_LEFT.pkl")
    arrays = {}
    for name in (*_NEEDED, *_PCA, *_OWN):
        if name not in content:
            continue
        try:
            array = plain_array(content[name])
        except Exception as error:  # as above: parts of it are of any kind
            raise HandModelError(f"{path}: {name} cannot be read as an array ({error})") from error
        if array.dtype.kind not in "fiu":
            raise HandModelError(f"{path}: {name} holds {array.dtype}, expected numbers")
        arrays[name] = array.astype(np.float64 if array.dtype.kind == "f" else np.int64)
    if "parent_frames" in content:  # of an earlier import, which is made again
        arrays.pop("joint_frames", None)
    arrays["hands_mean"] = arrays["hands_mean"].reshape(-1)
    if "hands_components" in arrays:
        arrays["hands_componentsl"] = arrays["hands_components"]
    return arrays


def _content(path: pathlib.Path) -> Any:
    """What is in the file, arrays as :func:`plain_array` takes them."""
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return dict(load_file(path))
    if path.suffix != ".npz":
        return unpickled(path.read_bytes())
    content = {}
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > LARGEST_FILE:
            raise HandModelError(f"it holds more than {LARGEST_FILE >> 20} MB, which no hand model does")
        for member in members:
            content[member.filename.removesuffix(".npy")] = npy_array(archive.read(member))
    return content
