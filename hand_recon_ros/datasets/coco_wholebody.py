"""Hands of COCO-WholeBody: COCO's people with boxes and keypoints of their hands.

Jin et al., "Whole-Body Human Pose Estimation in the Wild" (ECCV 2020). The file is COCO's, a list of images and one of
people; of a person this reader uses ``image_id``, ``bbox`` and ``iscrowd``, and of each hand, ``lefthand`` and
``righthand``: ``_valid``, whether it is annotated; ``_box``: x, y, width, height, pixels; ``_kpts``: 21 times x, y, v,
of which v is 0 where the keypoint is not annotated. The keypoints are in the order of this package.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from ..image_files import is_file
from ..skeleton import NUM_KEYPOINTS
from ..types import Side
from .annotated import read_json
from .annotated_picture import AnnotatedHand, AnnotatedPicture
from .annotations import AnnotationError, Entry, path_below

_PATTERN = "coco_wholebody_*.json"
_ANNOTATIONS = "annotations"
_FOLDERS = ("", "images", *(f"{above}{split}2017" for above in ("", "images/") for split in ("val", "train")))
"""Below the root: where the pictures may be."""
_log = logging.getLogger(__name__)


def coco_wholebody_files(root: Path) -> list[Path]:
    """The annotation files in a folder, or in ``annotations`` in it."""
    return sorted(path for folder in (root, root / _ANNOTATIONS) for path in folder.glob(_PATTERN) if is_file(path))


def read_coco_wholebody(root: Path) -> list[AnnotatedPicture]:
    """The pictures with an annotated hand of the person in question: the one with the largest box.

    The hands of other people have the numbers from 1 on, by the size of their boxes. ``kind`` is "both hands" or "one
    hand", by what is annotated of the person in question.

    Args:
        root: a folder with one annotation file, in it or in ``annotations``, or the annotation file. The pictures are
            in the folder, or in ``images``, ``val2017``, ``train2017``, ``images/val2017`` or ``images/train2017``.

    Raises AnnotationError for an entry that is malformed or a picture that is missing.
    """
    path = root if is_file(root) else _only_file(root)
    folder = path.parent.parent if path.parent.name == _ANNOTATIONS else path.parent
    content = Entry(read_json(path), str(path))
    images = _images(content)
    people: dict[int, list[Entry]] = {}
    for number, entry in enumerate(content.value("annotations", list)):
        person = Entry(entry, f"{path}: annotation {number}")
        image_id = person.value("image_id", int)
        if image_id not in images:
            raise person.error("image_id", "the id of an image")
        if person.content.get("iscrowd", 0) in (0, False):
            people.setdefault(image_id, []).append(person)
    pictures = [_picture(folder, image, people.get(image_id, [])) for image_id, image in images.items()]
    found = [picture for picture in pictures if picture is not None]
    if not found:
        raise AnnotationError(f"{path}: in no picture is a hand of the largest person annotated")
    return found


def _only_file(root: Path) -> Path:
    files = coco_wholebody_files(root)
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise AnnotationError(f"{root}: expected one file {_PATTERN} in it or in {_ANNOTATIONS}, got {names}; name one")
    return files[0]


def _images(content: Entry) -> dict[int, Entry]:
    images: dict[int, Entry] = {}
    for number, entry in enumerate(content.value("images", list)):
        image = Entry(entry, f"{content.name}: image {number}")
        image_id = image.value("id", int)
        if image_id in images:
            raise image.error("id", "an id of its own")
        images[image_id] = image
    return images


def _picture(folder: Path, image: Entry, people: list[Entry]) -> AnnotatedPicture | None:
    """The picture of an image, or None where no hand of the person in question is annotated."""
    boxes = [person.numbers("bbox", 4) for person in people]
    order = sorted(range(len(people)), key=lambda index: -float(boxes[index][2:].prod()))
    hands = [
        hand
        for number, index in enumerate(order)
        for side in Side
        if (hand := _hand(people[index], side, number)) is not None
    ]
    own = sum(hand.person == 0 for hand in hands)
    if not own:
        return None
    file = image.value("file_name", str)
    return AnnotatedPicture(
        path=_path(folder, file, image.name),
        file=file,
        kind="both hands" if own == 2 else "one hand",
        tags=(),
        hands=tuple(hands),
        size=(image.value("width", int), image.value("height", int)),
    )


def _path(folder: Path, file: str, where: str) -> Path:
    paths = [path_below(folder / name, file, where) for name in _FOLDERS]
    path = next((path for path in paths if is_file(path)), None)
    if path is None:
        raise AnnotationError(f"{where}: no file {file} in {folder} or in {', '.join(_FOLDERS[1:])} there")
    return path


def _hand(entry: Entry, side: Side, person: int) -> AnnotatedHand | None:
    """A hand of a person; None where it is not annotated."""
    name = f"{side.label}hand"
    if not _valid(entry, f"{name}_valid"):
        return None
    corner, size = entry.numbers(f"{name}_box", 4).reshape(2, 2)
    points = entry.numbers(f"{name}_kpts", 3 * NUM_KEYPOINTS).reshape(NUM_KEYPOINTS, 3)
    if not (size > 0).all():
        _log.warning("%s: %s_box has no extent; this hand is left out", entry.name, name)
        return None
    known = points[:, 2] > 0
    keypoints = np.where(known[:, None], points[:, :2], np.nan)
    return AnnotatedHand(
        side=side,
        box=np.concatenate([corner, corner + size]),
        person=person,
        keypoints_2d=keypoints if known.any() else None,
    )


def _valid(entry: Entry, field: str) -> bool:
    value: Any = entry.content.get(field)
    if value not in (True, False):  # also 0 and 1
        raise entry.error(field, "true or false")
    return bool(value)
