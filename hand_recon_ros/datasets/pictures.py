"""Folders of real pictures with annotated hands, in either of two formats: the project's own, which has
``annotations.json`` and the pictures that it lists, and COCO-WholeBody (:mod:`coco_wholebody`).

``annotations.json`` holds a list of pictures, objects with these fields (those marked ? may be left out):

- ``file``: path in the folder; ``width``?, ``height``?: its size, pixels.
- ``kind``: how the hands lie to each other, any word; ``tags``?: words about the picture.
- ``K``?: intrinsics (3, 3); without them a field of view of 60 degrees is assumed.
- ``hands``: list of objects: ``side``: ``left``, ``right`` (anatomical) or ``unsure``; ``box``: x0, y0, x1, y1, pixels;
  ``occluded``?: whether the hand is mostly hidden; ``person``?: whose hand, 0 for the person in question;
  ``keypoints_2d``?: 21 of [x, y] or null, pixels.

Other fields are ignored.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..image_files import is_file
from ..skeleton import NUM_KEYPOINTS
from ..types import Side
from .annotated import annotation_file, read_json
from .annotated_picture import FIELD_OF_VIEW, AnnotatedHand, AnnotatedPicture
from .annotations import AnnotationError, Entry, path_below
from .coco_wholebody import coco_wholebody_files, read_coco_wholebody

__all__ = ["FIELD_OF_VIEW", "FILE", "AnnotatedHand", "AnnotatedPicture", "AnnotationError", "read_pictures"]

FILE = "annotations.json"
_SIDES = {"left": Side.LEFT, "right": Side.RIGHT, "unsure": None}


def read_pictures(root: Path) -> list[AnnotatedPicture]:
    """The annotated pictures of a folder, whose files exist; raises AnnotationError.

    The format is that of the file that is there: annotations.json or coco_wholebody_*.json. ``root`` may also be a
    file of COCO-WholeBody, where a folder has several.
    """
    path = root / FILE
    if is_file(root) or (not is_file(path) and coco_wholebody_files(root)):
        return read_coco_wholebody(root)
    about = "a folder of annotated pictures (annotations.json, or coco_wholebody_*.json of COCO-WholeBody)"
    entries = read_json(annotation_file(root, FILE, about))
    if not isinstance(entries, list) or not entries:
        raise AnnotationError(f"{path}: expected a list of pictures")
    return [_picture(root, Entry(entry, f"{path}: entry {number}")) for number, entry in enumerate(entries)]


def _picture(root: Path, entry: Entry) -> AnnotatedPicture:
    file = entry.value("file", str)
    entry.name += f" ({file})"
    path = path_below(root, file, entry.name)
    if not is_file(path):
        raise AnnotationError(f"{entry.name}: no such file in {root}")
    tags = entry.value("tags", list, [])
    if not all(isinstance(tag, str) for tag in tags):
        raise entry.error("tags", "words")
    hands = enumerate(entry.value("hands", list))
    size = None
    if "width" in entry.content or "height" in entry.content:
        size = entry.value("width", int), entry.value("height", int)
    return AnnotatedPicture(
        path=path,
        file=file,
        kind=entry.value("kind", str),
        tags=tuple(tags),
        hands=tuple(_hand(Entry(hand, f"{entry.name}: hand {number}")) for number, hand in hands),
        K=entry.optional_numbers("K", 3, 3),
        size=size,
    )


def _hand(entry: Entry) -> AnnotatedHand:
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


def _keypoints(entry: Entry) -> np.ndarray | None:
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
