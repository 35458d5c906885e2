"""FreiHAND's official file of predictions: ``pred.json``, [keypoints of all images, meshes of all], also in a zip."""

from __future__ import annotations

import json
import lzma
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ...skeleton import NUM_KEYPOINTS

MEMBER = "pred.json"
LARGEST = 2**30
"""Bytes of the JSON text, at most: that of the 3,960 images of the evaluation set has about 200 MB."""
_DIGITS = 7
"""Of a written coordinate in metres: a tenth of a micrometre."""


class PredictionsError(ValueError):
    """A file of predictions that cannot be used; the message names it, what is wrong and what was expected."""


def read_predictions(path: Path, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, 21, 3) and meshes (N, V, 3), metres in the camera frame, from a .zip or .json file.

    Nothing but pred.json is read from a zip, where a single other .json file stands for it. Raises PredictionsError
    where the file is missing, damaged or of another form, or has not ``count`` images.
    """
    try:
        text = _text(path)
        content = json.loads(text)
    except OSError as error:
        raise PredictionsError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, PredictionsError):
            raise
        raise PredictionsError(f"{path}: not JSON, or cut off ({error})") from error
    if not isinstance(content, list) or len(content) != 2:
        raise PredictionsError(f"{path}: expected a list of two lists, the keypoints and the meshes of all images")
    joints, vertices = (_points(path, part, name) for part, name in zip(content, ("keypoints", "meshes"), strict=True))
    if joints.shape[1] != NUM_KEYPOINTS:
        raise PredictionsError(f"{path}: expected {NUM_KEYPOINTS} keypoints of a hand, got {joints.shape[1]}")
    if len(joints) != len(vertices) or count not in (None, len(joints)):
        expected = "" if count is None else f", expected {count}"
        raise PredictionsError(f"{path}: keypoints of {len(joints)} images and meshes of {len(vertices)}{expected}")
    return joints, vertices


def write_predictions(path: Path, joints: np.ndarray, vertices: np.ndarray) -> None:
    """Write keypoints (N, 21, 3) and meshes (N, V, 3), metres, as the official code reads them, zipped.

    Raises ValueError where a number is not finite: the format has no hand that was not found.
    """
    if not (np.isfinite(joints).all() and np.isfinite(vertices).all()):
        raise ValueError("FreiHAND's file has a hand for every image: every number must be finite")
    content = [np.round(np.asarray(part, dtype=np.float64), _DIGITS).tolist() for part in (joints, vertices)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, json.dumps(content))


def _text(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return _limited(path, file)
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".json")]
            chosen = [name for name in names if name == MEMBER] or names
            if len(chosen) != 1:
                raise PredictionsError(
                    f"{path}: expected {MEMBER} in it, got {', '.join(archive.namelist()[:10]) or 'nothing'}"
                )
            with archive.open(chosen[0]) as file:
                return _limited(path, file)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, EOFError) as error:
        raise PredictionsError(f"{path}: a damaged zip, or an encrypted one ({error})") from error


def _limited(path: Path, file: Any) -> bytes:
    text = bytes(file.read(LARGEST + 1))
    if len(text) > LARGEST:
        raise PredictionsError(f"{path}: more than {LARGEST // 2**20} MiB of JSON, which no predictions have")
    return text


def _points(path: Path, part: Any, name: str) -> np.ndarray:
    try:
        points = np.array(part, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise PredictionsError(f"{path}: {name} are not arrays of numbers of one shape ({error})") from error
    if points.ndim != 3 or points.shape[2] != 3:
        raise PredictionsError(f"{path}: {name} must be images x points x 3 numbers, got {points.shape}")
    if not np.isfinite(points).all():
        raise PredictionsError(f"{path}: {name} have a number that is not finite")
    return points
