"""Real pictures with annotated hands: a folder with ``annotations.json`` and the pictures that it lists.

The file holds a list of pictures, objects with these fields (those marked ? may be left out):

- ``file``: path in the folder; ``width``?, ``height``?: its size, pixels.
- ``kind``: how the hands lie to each other, any word; ``tags``?: words about the picture.
- ``K``?: intrinsics (3, 3); without them a field of view of 60 degrees is assumed.
- ``hands``: list of objects: ``side``: ``left``, ``right`` (anatomical) or ``unsure``; ``box``: x0, y0, x1, y1, pixels;
  ``occluded``?: whether the hand is mostly hidden; ``person``?: whose hand, 0 for the person in question;
  ``keypoints_2d``?: 21 of [x, y] or null, pixels.

Other fields are ignored.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..image_files import is_file, read_image
from ..skeleton import NUM_KEYPOINTS
from ..types import Camera, CameraError, Frame, Side

FILE = "annotations.json"
FIELD_OF_VIEW = 60.0
"""Horizontal, of pictures without intrinsics, degrees."""
_SIDES = {"left": Side.LEFT, "right": Side.RIGHT, "unsure": None}


class AnnotationError(ValueError):
    """An annotation or picture that cannot be used; the message names the file, the entry and what was expected."""


@dataclasses.dataclass(frozen=True, eq=False)
class AnnotatedHand:
    """A hand in a picture.

    Attributes:
        side: anatomical; None where it cannot be seen.
        box: x0, y0, x1, y1 (4,), pixels.
        occluded: whether the hand is mostly hidden.
        person: whose hand it is, 0 for the person in question.
        keypoints_2d: (21, 2), pixels, NaN where not annotated; None where none is.
    """

    side: Side | None
    box: np.ndarray
    occluded: bool = False
    person: int = 0
    keypoints_2d: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class AnnotatedPicture:
    """A picture and its hands.

    Attributes:
        path: of the picture's file; ``file`` is the same as the annotations have it.
        kind: how the hands lie to each other. ``tags``: words about the picture.
        hands: in the order of the annotations.
        K: intrinsics (3, 3); None where they are unknown.
        size: width and height by the annotations, pixels; None where they do not state them.
    """

    path: Path
    file: str
    kind: str
    tags: tuple[str, ...]
    hands: tuple[AnnotatedHand, ...]
    K: np.ndarray | None = None
    size: tuple[int, int] | None = None

    def frame(self) -> Frame:
        """Read the picture; raises AnnotationError where it cannot be read or is not of the annotated size."""
        try:
            image = read_image(self.path)
        except OSError as error:
            raise AnnotationError(f"{self.path}: no picture that can be read ({error})") from error
        height, width = image.shape[:2]
        if self.size not in (None, (width, height)):
            raise AnnotationError(f"{self.path}: {width} x {height} pixels, but annotated as {self.size}")
        if self.K is None:
            return Frame(image, Camera.from_fov(width, height, FIELD_OF_VIEW))
        try:
            return Frame(image, Camera(K=self.K, width=width, height=height))
        except CameraError as error:
            raise AnnotationError(f"{self.path}: {error}") from error


def read_pictures(root: Path) -> list[AnnotatedPicture]:
    """The annotated pictures of a folder, whose files exist; raises AnnotationError."""
    path = root / FILE
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnnotationError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: not JSON ({error})") from error
    if not isinstance(entries, list) or not entries:
        raise AnnotationError(f"{path}: expected a list of pictures")
    return [_picture(root, _Entry(entry, f"{path}: entry {number}")) for number, entry in enumerate(entries)]


class _Entry:
    """A JSON object of the annotations; errors name it and the field."""

    def __init__(self, content: Any, name: str) -> None:
        self.content, self.name = content, name
        if not isinstance(content, dict):
            raise AnnotationError(f"{name}: expected an object, got {content!r}")

    def value(self, field: str, kind: type, default: Any = None) -> Any:
        """The field, which has to be there where there is no default."""
        value = self.content.get(field, default)
        if type(value) is not kind:
            raise self.error(field, kind.__name__)
        return value

    def optional_numbers(self, field: str, *shape: int) -> np.ndarray | None:
        """The field as finite numbers of a shape; None where it is missing or null."""
        if self.content.get(field) is None:
            return None
        return self.numbers(field, *shape)

    def numbers(self, field: str, *shape: int) -> np.ndarray:
        expected = f"{' x '.join(map(str, shape))} numbers"
        try:
            numbers = np.array(self.content.get(field), dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise self.error(field, expected) from error
        if numbers.shape != shape or not np.isfinite(numbers).all():
            raise self.error(field, expected)
        return numbers

    def error(self, field: str, expected: str) -> AnnotationError:
        return AnnotationError(f"{self.name}: {field}: expected {expected}, got {self.content.get(field)!r:.80}")


def _picture(root: Path, entry: _Entry) -> AnnotatedPicture:
    file = entry.value("file", str)
    entry.name += f" ({file})"
    if not is_file(root / file):
        raise AnnotationError(f"{entry.name}: no such file in {root}")
    tags = entry.value("tags", list, [])
    if not all(isinstance(tag, str) for tag in tags):
        raise entry.error("tags", "words")
    hands = enumerate(entry.value("hands", list))
    size = None
    if "width" in entry.content or "height" in entry.content:
        size = entry.value("width", int), entry.value("height", int)
    return AnnotatedPicture(
        path=root / file,
        file=file,
        kind=entry.value("kind", str),
        tags=tuple(tags),
        hands=tuple(_hand(_Entry(hand, f"{entry.name}: hand {number}")) for number, hand in hands),
        K=entry.optional_numbers("K", 3, 3),
        size=size,
    )


def _hand(entry: _Entry) -> AnnotatedHand:
    side, box = entry.value("side", str), entry.numbers("box", 4)
    if side not in _SIDES:
        raise entry.error("side", " or ".join(_SIDES))
    if not (box[:2] < box[2:]).all():
        raise entry.error("box", "x0 < x1 and y0 < y1")
    return AnnotatedHand(
        side=_SIDES[side],
        box=box,
        occluded=entry.value("occluded", bool, False),
        person=entry.value("person", int, 0),
        keypoints_2d=_keypoints(entry),
    )


def _keypoints(entry: _Entry) -> np.ndarray | None:
    points = entry.content.get("keypoints_2d")
    if not points:
        return None
    expected = f"{NUM_KEYPOINTS} of [x, y] or null"
    try:
        keypoints = np.array([[np.nan] * 2 if point is None else point[:2] for point in points], dtype=np.float64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise entry.error("keypoints_2d", expected) from error
    if keypoints.shape != (NUM_KEYPOINTS, 2):
        raise entry.error("keypoints_2d", expected)
    return keypoints if np.isfinite(keypoints).any() else None
