"""The data files of InterHand2.6M v1.0, which list images and what is annotated in them, as arrays.

A split has up to 1.4 million images, at 5 per second: a file is read whole, and becomes arrays of less than 250 bytes
an image.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from ..skeleton import NUM_KEYPOINTS
from .annotated import annotation_file, read_json
from .pictures import AnnotationError

SPLITS = ("train", "val", "test")
HAND_TYPES = ("left", "right", "interacting")
KINDS = ("data", "camera", "joint_3d", "MANO_NeuralAnnot")
"""Last part of the files' names."""
NUM_JOINTS = 2 * NUM_KEYPOINTS
_RIGHT_JOINTS = np.array([20, *(4 * finger + joint for finger in range(5) for joint in (3, 2, 1, 0))])
JOINTS = np.stack([_RIGHT_JOINTS + NUM_KEYPOINTS, _RIGHT_JOINTS])
"""Which of their 42 joints is our keypoint (2, 21), left then right. Theirs are right then left, each finger from tip
to base from the thumb on, the wrist last."""

_IMAGE_FIELDS = ("id", "file_name", "width", "height", "capture", "subject", "seq_name", "camera", "frame_idx")
_ANNOTATION_FIELDS = ("id", "image_id", "bbox", "joint_valid", "hand_type", "hand_type_valid")
_IMAGE, _ANNOTATION = operator.itemgetter(*_IMAGE_FIELDS), operator.itemgetter(*_ANNOTATION_FIELDS)
_LONGEST_NAME = 255
_LARGEST_SIZE = 1 << 15
LARGEST_NUMBER = 1e6
"""Of a coordinate in millimetres or pixels, and of a parameter."""


def annotation_path(root: Path, split: str, kind: str) -> Path:
    """Where the annotation file of a kind, of KINDS, lies in the data set's folder."""
    return root / "annotations" / split / f"InterHand2.6M_{split}_{kind}.json"


def existing_annotation(root: Path, split: str, kind: str) -> Path:
    """The path of an annotation file; raises AnnotationError where there is none."""
    name = str(annotation_path(root, split, kind).relative_to(root))
    return annotation_file(root, name, "the folder of InterHand2.6M v1.0, with images/ and annotations/")


@dataclasses.dataclass(frozen=True, eq=False)
class ImageAnnotations:
    """The annotations of N images, in the order of the data file.

    Attributes:
        ids, image_ids: (N,) int64.
        files: paths below ``images/SPLIT`` (N,), UTF-8 as bytes.
        sizes: width and height (N, 2) int32, pixels.
        captures, subjects, frames: numbers (N,) int64.
        sequences, cameras: indices (N,) int32 into ``sequence_names`` and ``camera_names``.
        boxes: x, y, width, height (N, 4), pixels.
        joint_valid: whether a joint is annotated and in the image (N, 42) bool, in their order.
        hand_types: indices (N,) int8 into HAND_TYPES.
        hand_type_valid: whether the hand type is certain (N,) bool.
    """

    ids: np.ndarray
    image_ids: np.ndarray
    files: np.ndarray
    sizes: np.ndarray
    captures: np.ndarray
    subjects: np.ndarray
    frames: np.ndarray
    sequences: np.ndarray
    cameras: np.ndarray
    boxes: np.ndarray
    joint_valid: np.ndarray
    hand_types: np.ndarray
    hand_type_valid: np.ndarray
    sequence_names: tuple[str, ...]
    camera_names: tuple[str, ...]

    def selected(self, chosen: np.ndarray) -> ImageAnnotations:
        """Those of the images that are ``chosen`` (N,) bool."""
        arrays = {
            field.name: value[chosen]
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), np.ndarray)
        }
        return dataclasses.replace(self, **arrays)


def read_image_annotations(path: Path) -> ImageAnnotations:
    """The annotations in a data file; raises AnnotationError."""
    content = read_json(path, _compact)
    if not isinstance(content, dict):
        raise AnnotationError(f"{path}: expected an object with images and annotations")
    images = _Columns(path, "images", content.pop("images", None), _IMAGE_FIELDS)
    annotations = _Columns(path, "annotations", content.pop("annotations", None), _ANNOTATION_FIELDS)
    image_ids, known_ids = annotations.whole_numbers("image_id"), images.whole_numbers("id")
    rows = _rows_of(image_ids, known_ids, path)
    sequences, sequence_names = images.names("seq_name")
    cameras, camera_names = images.names("camera")
    files = images.column("file_name", _is_path, "a path in the folder of images, of at most 255 characters")
    sizes = np.stack([images.whole_numbers(field, 1, _LARGEST_SIZE) for field in ("width", "height")], axis=1)
    boxes = annotations.column("bbox", _is_box, "x, y, width and height")
    flags = annotations.column("joint_valid", is_flags, f"{NUM_JOINTS} of 0 or 1")
    types = annotations.column("hand_type", HAND_TYPES.__contains__, f"one of {', '.join(HAND_TYPES)}")
    valid = annotations.column("hand_type_valid", (False, True).__contains__, "0 or 1")
    return ImageAnnotations(
        ids=annotations.whole_numbers("id"),
        image_ids=image_ids,
        files=np.array([file.encode() for file in files], dtype=np.bytes_)[rows],
        sizes=sizes[rows].astype(np.int32),
        captures=images.whole_numbers("capture")[rows],
        subjects=images.whole_numbers("subject")[rows],
        frames=images.whole_numbers("frame_idx")[rows],
        sequences=sequences[rows],
        cameras=cameras[rows],
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        joint_valid=np.frombuffer(b"".join(flags), dtype=np.bool_).reshape(-1, NUM_JOINTS),
        hand_types=np.array([HAND_TYPES.index(each) for each in types], dtype=np.int8),
        hand_type_valid=np.array(valid, dtype=np.bool_),
        sequence_names=sequence_names,
        camera_names=camera_names,
    )


def read_ids(path: Path) -> np.ndarray:
    """The annotation ids in a text file, one in a line (N,) int64; raises AnnotationError."""
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: cannot be read as text ({error})") from error
    for number, line in enumerate(lines):
        if not (line.isascii() and line.isdecimal() and len(line) < 18):
            raise AnnotationError(f"{path}: entry {number}: expected the id of an annotation, got {line!r:.80}")
    if not lines:
        raise AnnotationError(f"{path}: expected ids of annotations, one in a line")
    return np.array(lines, dtype=np.int64)


def read_flags(values: Any) -> bytes | None:
    """Flags, each in a list of its own or not, as bytes, 2 and above for what is no flag; None where it is no list."""
    if not isinstance(values, list):
        return None
    try:
        return bytes([flag for (flag,) in values])  # as published, and several times faster
    except (TypeError, ValueError):
        inner = (each[0] if isinstance(each, list) and len(each) == 1 else each for each in values)
        return bytes(0 if each == 0 else 1 if each == 1 else 2 for each in inner)


def is_flags(value: Any) -> TypeGuard[bytes]:
    """Whether this is what :func:`read_flags` makes of 42 flags."""
    return isinstance(value, bytes) and len(value) == NUM_JOINTS and max(value) <= 1


def _compact(entry: dict[str, Any]) -> Any:
    """The fields of an image or annotation as a tuple: as objects with their lists of flags they take gigabytes."""
    try:
        if "image_id" in entry:
            entry["joint_valid"] = read_flags(entry["joint_valid"])
            return _ANNOTATION(entry)
        return _IMAGE(entry) if "file_name" in entry else entry
    except KeyError:  # a field is missing, which is found where the entry's number is known
        return entry


def _is_box(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(each, int | float) and abs(each) < LARGEST_NUMBER for each in value)
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable()


def _is_path(value: Any) -> bool:
    return _is_name(value) and not value.startswith("/") and ".." not in value


class _Columns:
    """A list of images or annotations; errors name the file, the entry and the field."""

    def __init__(self, path: Path, name: str, rows: Any, fields: Sequence[str]) -> None:
        if not isinstance(rows, list):
            raise AnnotationError(f"{path}: {name}: expected a list")
        self._name, self._rows, self._fields = f"{path}: {name}", rows, fields
        for number, row in enumerate(rows):
            if not isinstance(row, tuple) or len(row) != len(fields):
                raise AnnotationError(f"{self._name}: entry {number}: expected an object with {', '.join(fields)}")

    def column(self, field: str, valid: Callable[[Any], bool], expected: str) -> list[Any]:
        index = self._fields.index(field)
        values = [row[index] for row in self._rows]
        for number, value in enumerate(values):
            if not valid(value):
                raise AnnotationError(
                    f"{self._name}: entry {number}: {field}: expected {expected}, got {str(value):.80}"
                )
        return values

    def whole_numbers(self, field: str, least: int = 0, largest: int = 2**53) -> np.ndarray:
        def valid(value: Any) -> bool:
            return type(value) is int and least <= value <= largest

        return np.array(self.column(field, valid, f"a number from {least} to {largest}"), dtype=np.int64)

    def names(self, field: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """Indices (N,) int32 into the names of a field, and these; numbers count as names."""
        codes: dict[str, int] = {}
        values = self.column(field, lambda value: _is_name(value) or type(value) is int, "a name")
        return np.array([codes.setdefault(str(v), len(codes)) for v in values], dtype=np.int32), tuple(codes)


def _rows_of(image_ids: np.ndarray, known: np.ndarray, path: Path) -> np.ndarray:
    """Which row of ``known`` (M,) each of ``image_ids`` (N,) is."""
    order = np.argsort(known)
    repeated = known[order][1:][np.diff(known[order]) == 0]
    if repeated.size:
        raise AnnotationError(f"{path}: images: two of id {repeated[0]}")
    places = np.searchsorted(known, image_ids, sorter=order)
    rows = order[np.minimum(places, len(order) - 1)] if len(order) else np.full(len(image_ids), -1)
    missing = np.flatnonzero(known[rows] != image_ids) if len(order) else np.arange(len(image_ids))
    if missing.size:
        raise AnnotationError(f"{path}: annotations: entry {missing[0]}: no image of id {image_ids[missing[0]]}")
    return rows
