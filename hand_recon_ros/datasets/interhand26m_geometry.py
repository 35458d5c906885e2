"""Cameras, joints and hand parameters of InterHand2.6M v1.0, which its files have by capture, as arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .annotated import read_json
from .interhand26m_annotations import LARGEST_NUMBER, NUM_JOINTS, is_flags, read_flags
from .pictures import AnnotationError

_CAMERA_FIELDS = {"campos": (3,), "camrot": (3, 3), "focal": (2,), "princpt": (2,)}
_MANO_FIELDS = {"pose": 48, "shape": 10, "trans": 3}
_NUM_PARAMETERS = sum(_MANO_FIELDS.values())


@dataclasses.dataclass(frozen=True, eq=False)
class Cameras:
    """Cameras of all captures; a point's coordinates in a camera are ``rotations @ (world - positions)``.

    Attributes:
        rows: index into the arrays by capture and name.
        rotations: (C, 3, 3), world to camera.
        positions: of the optical centre in the world (C, 3), millimetres.
        focal, principal_point: (C, 2), pixels.
    """

    rows: dict[tuple[str, str], int]
    rotations: np.ndarray
    positions: np.ndarray
    focal: np.ndarray
    principal_point: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class FrameArrays:
    """What is annotated of each frame of each capture, in world coordinates.

    Attributes:
        rows: index into the array by capture and frame.
        values: joints in their order (F, 42, 3), millimetres; or parameters, left then right (F, 2, 61): 48 of the
            pose, 10 of the shape, translation in metres. NaN where there is none.
    """

    rows: dict[tuple[str, str], int]
    values: np.ndarray


def read_cameras(path: Path) -> Cameras:
    """The cameras in a camera file; those that lack a value are left out. Raises AnnotationError."""
    rows: dict[tuple[str, str], int] = {}
    arrays: dict[str, list[np.ndarray]] = {field: [] for field in _CAMERA_FIELDS}
    for capture, content in _items(read_json(path), str(path)):
        where = f"{path}: capture {capture}"
        by_field = {field: dict(_items(_object(content, where).get(field), f"{where}: {field}")) for field in arrays}
        for name in by_field["campos"]:
            if not all(name in values for values in by_field.values()):
                continue
            rows[capture, name] = len(rows)
            for field, shape in _CAMERA_FIELDS.items():
                arrays[field].append(_numbers(by_field[field][name], f"{where}: {field}: camera {name}", *shape))
            rotation = arrays["camrot"][-1]
            if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0.0:
                raise AnnotationError(f"{where}: camrot: camera {name}: expected a rotation, got {rotation.tolist()}")
    stacked = {field: np.array(arrays[field]).reshape(-1, *shape) for field, shape in _CAMERA_FIELDS.items()}
    return Cameras(rows, stacked["camrot"], stacked["campos"], stacked["focal"], stacked["princpt"])


def read_joints(path: Path) -> FrameArrays:
    """The joints in a joint_3d file, NaN where they are not annotated; raises AnnotationError."""

    def joints(frame: Any, where: str) -> np.ndarray:
        flags = read_flags(_object(frame, where).get("joint_valid"))
        if not is_flags(flags):
            raise AnnotationError(f"{where}: joint_valid: expected {NUM_JOINTS} of 0 or 1")
        valid = np.frombuffer(flags, dtype=np.bool_)
        return _numbers(frame.get("world_coord"), f"{where}: world_coord", NUM_JOINTS, 3, known=valid)

    return _frames(path, joints, (NUM_JOINTS, 3))


def read_parameters(path: Path) -> FrameArrays:
    """The parameters in a MANO_NeuralAnnot file; raises AnnotationError."""

    def parameters(frame: Any, where: str) -> np.ndarray:
        values = np.full((2, _NUM_PARAMETERS), np.nan)
        for slot, side in enumerate(("left", "right")):
            hand = None if frame is None else _object(frame, where).get(side)
            if hand is not None:
                fields = _object(hand, f"{where}: {side}")
                values[slot] = np.concatenate(
                    [
                        _numbers(fields.get(name), f"{where}: {side}: {name}", count)
                        for name, count in _MANO_FIELDS.items()
                    ]
                )
        return values

    return _frames(path, parameters, (2, _NUM_PARAMETERS))


def _frames(path: Path, read: Callable[[Any, str], np.ndarray], shape: tuple[int, ...]) -> FrameArrays:
    rows: dict[tuple[str, str], int] = {}
    values = []
    for capture, frames in _items(read_json(path), str(path)):
        for frame, content in _items(frames, f"{path}: capture {capture}"):
            rows[capture, frame] = len(rows)
            values.append(read(content, f"{path}: capture {capture}: frame {frame}"))
    return FrameArrays(rows, np.array(values).reshape(-1, *shape))


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise AnnotationError(f"{where}: expected an object, got {str(value):.80}")
    return value


def _items(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    return iter(_object(value, where).items())


def _numbers(value: Any, where: str, *shape: int, known: np.ndarray | None = None) -> np.ndarray:
    """Finite numbers of a shape; NaN in the rows that are not ``known``, whatever is there."""
    expected = f"{where}: expected {' x '.join(map(str, shape))} numbers below {LARGEST_NUMBER:g}"
    try:
        numbers = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise AnnotationError(f"{expected}, got {str(value):.80}") from error
    if numbers.squeeze().shape == shape:  # a vector may be a row or a column
        numbers = numbers.reshape(shape)
    if numbers.shape == shape and known is not None:
        numbers[~known] = np.nan
    relevant = numbers if known is None or numbers.shape != shape else numbers[known]
    if numbers.shape != shape or not (np.abs(relevant) < LARGEST_NUMBER).all():  # also where it is NaN
        raise AnnotationError(f"{expected}, got {str(value):.80}")
    return numbers
