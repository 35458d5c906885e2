"""Photographs with annotated hand boxes, read from the formats they are published in into one index.

The readers raise AnnotationError, which names the file, for a label that is malformed or has no picture.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..image_files import is_file, read_image
from .pictures import AnnotationError

_VAL_SHARE = 0.1
_TI1K_RUN = 50
"""TI1K numbers the frames of its videos through without stating where a video begins: runs of this many are a group."""
_MARGIN = 0.01
"""Part of the picture's extent by which a box may reach beyond it (rounding of annotation tools); it is then cut."""

_THUMBNAIL = 16
_ALIKE = 0.95
"""Correlation of thumbnails from which on two pictures show nearly the same: the same picture has 1, neighbouring
frames of a video have 0.97 to 0.998."""
_SAME_PICTURE = 0.99


@dataclasses.dataclass(frozen=True, eq=False)
class BoxedPicture:
    """A picture and the boxes of its hands.

    Attributes:
        path: the image file.
        width, height: pixels.
        boxes: (N, 4) x0, y0, x1, y1, pixels.
        source: the set it comes from, as owner/repository.
        licence: SPDX identifier.
        group: the video, or the picture it is a version of; a split has all of a group or nothing of it.
        fingertips: (N, 2, 2) tips of thumb and index finger, pixels, where the set states them.
        all_boxed: whether every hand in the picture has a box.
    """

    path: Path
    width: int
    height: int
    boxes: np.ndarray
    source: str
    licence: str
    group: str
    fingertips: np.ndarray | None = None
    all_boxed: bool = True

    @property
    def split(self) -> str:
        """``val`` for about a tenth of the groups, by a hash of the group's name, and ``train`` for the others."""
        digest = hashlib.sha256(f"{self.source}/{self.group}".encode()).digest()
        return "val" if int.from_bytes(digest[:8], "big") < _VAL_SHARE * 2**64 else "train"


def read_ti1k(root: Path) -> list[BoxedPicture]:
    """Pictures of TI1K (github.com/MahmudulAlam/TI1K-Dataset, MIT): one hand each, box and two fingertips.

    ``root`` has ``annotation/label.txt``, lines of a name and 8 numbers in 0..1: x0 y0 x1 y1 of the box, x y of the
    thumb's tip and x y of the index finger's; and the pictures in ``train/`` and ``test/``.
    """
    label = root / "annotation" / "label.txt"
    pictures = []
    for number, line in enumerate(_lines(label), 1):
        name, *rest = line.split()
        where = f"{label}:{number}"
        values = _numbers(rest, 8, where)
        path = next((p for p in (root / "train" / name, root / "test" / name) if is_file(p)), root / "train" / name)
        width, height = _size(path, where)
        points = values.reshape(4, 2) * [width, height]
        digits = re.search(r"(\d+)$", path.stem)
        if digits is None:
            raise AnnotationError(f"{where}: {name} has no frame number")
        pictures.append(
            BoxedPicture(
                path,
                width,
                height,
                _checked(points[:2].reshape(1, 4), width, height, where),
                "MahmudulAlam/TI1K-Dataset",
                "MIT",
                f"run{(int(digits[1]) - 1) // _TI1K_RUN:02d}",
                points[None, 2:],
            )
        )
    return pictures


def read_hands_dataset(root: Path) -> list[BoxedPicture]:
    """Pictures of HandsDataset (github.com/SubhiH/HandsDataset, Apache-2.0): Pascal VOC, one XML file per picture.

    ``root`` has ``images/NAME.jpg`` with ``images/NAME.xml``. An XML file without its picture is an error, except for
    the one of which the set itself lacks the picture. Frames of a video share what precedes ``picNNNNN``.
    """
    pictures = []
    for label in sorted((root / "images").glob("*.xml")):
        path = label.with_suffix(".jpg")
        if label.name == "2_pic00125.xml" and not path.exists():
            continue
        try:
            annotation = ElementTree.parse(label).getroot()
        except ElementTree.ParseError as error:
            raise AnnotationError(f"{label}: {error}") from None
        width, height = _size(path, str(label))
        stated = tuple(annotation.findtext(f"size/{name}") for name in ("width", "height"))
        if stated != (str(width), str(height)):
            raise AnnotationError(f"{label}: states a size of {stated}, but {path.name} has {width} x {height}")
        rows = [
            [box.findtext(name) or "" for name in ("xmin", "ymin", "xmax", "ymax")]
            for box in annotation.iterfind("object/bndbox")
        ]
        boxes = np.array([_numbers(row, 4, str(label)) for row in rows]).reshape(-1, 4)
        group = re.sub(r"_?(pic)?\d+$", "", path.stem) or "unnamed"
        pictures.append(
            BoxedPicture(
                path,
                width,
                height,
                _checked(boxes, width, height, str(label)),
                "SubhiH/HandsDataset",
                "Apache-2.0",
                group,
            )
        )
    return pictures


def read_yolo(root: Path, source: str, licence: str, drop_empty: bool = False) -> list[BoxedPicture]:
    """Pictures of a set exported in the YOLOv8 format, of which every class is a hand; with ``drop_empty`` boxes
    without an extent are left out.

    ``root`` has ``SPLIT/images/NAME.jpg`` with ``SPLIT/labels/NAME.txt``, lines of a class and cx cy w h of a box in
    0..1, or of the corners of a polygon. Versions of one picture share what precedes ``.rf.`` in their names.
    """
    pictures = []
    for label in sorted(root.glob("*/labels/*.txt")):
        path = label.parent.parent / "images" / f"{label.stem}.jpg"
        width, height = _size(path, str(label))
        rows = []
        for number, line in enumerate(_lines(label), 1):
            fields = line.split()[1:]
            where = f"{label}:{number}"
            polygon = len(fields) >= 6 and len(fields) % 2 == 0
            values = _numbers(fields, len(fields) if polygon else 4, where).reshape(-1, 2)
            if polygon:
                rows.append(np.concatenate([values.min(axis=0), values.max(axis=0)]))
            else:
                rows.append(np.concatenate([values[0] - values[1] / 2, values[0] + values[1] / 2]))
        boxes = np.array(rows).reshape(-1, 4) * [width, height, width, height]
        if drop_empty:
            boxes = boxes[(boxes[:, 2:] - boxes[:, :2] > 2.0).all(axis=1)]
        boxes = _checked(boxes, width, height, str(label))
        pictures.append(BoxedPicture(path, width, height, boxes, source, licence, label.stem.split(".rf.")[0]))
    return pictures


def read_gloves(root: Path) -> list[BoxedPicture]:
    """Bare and gloved hands (github.com/Mayankkumar24/Biz-Tech-Analytics, CC BY 4.0), in the YOLOv8 format."""
    return read_yolo(root, "Mayankkumar24/Biz-Tech-Analytics", "CC-BY-4.0")


def read_glove_videos(root: Path) -> list[BoxedPicture]:
    """Frames of videos of two people with one or two gloves (github.com/nishantpravin/glove-detection, folder ``data``;
    universe.roboflow.com/sana-ali/gloves-annotated-dataset, public domain), in the YOLOv8 format.

    Of the versions of a frame there is one. All frames of a video are a group: what precedes the last number in the
    name.
    """
    pictures = read_yolo(root, "nishantpravin/glove-detection", "LicenseRef-public-domain", drop_empty=True)
    frames = {picture.group: picture for picture in pictures}
    return [dataclasses.replace(picture, group=re.sub(r"[-_]\d+_jpg$", "", frame)) for frame, picture in frames.items()]


def read_fabric_gloves(root: Path) -> list[BoxedPicture]:
    """Workers with fabric gloves (github.com/Shiro951216/fabric_glove_detection, folder ``data``, CC BY 4.0), in the
    YOLOv8 format. Boxes have the cuffs of the gloves with them."""
    return read_yolo(root, "Shiro951216/fabric_glove_detection", "CC-BY-4.0")


def read_glove_workers(root: Path) -> list[BoxedPicture]:
    """People at work, most with gloves (github.com/DipakBhad/Gloves-Detection;
    universe.roboflow.com/test-el83b/glove-absoo, MIT), in the YOLOv8 format."""
    return read_yolo(root, "DipakBhad/Gloves-Detection", "MIT", drop_empty=True)


def read_glove_views(root: Path) -> list[BoxedPicture]:
    """Bare and gloved hands, most as their owner sees them (github.com/Abhi20O1/Glove_Detection, folder ``Dataset``,
    MIT), in the YOLOv8 format."""
    return read_yolo(root, "Abhi20O1/Glove_Detection", "MIT", drop_empty=True)


def read_signs(root: Path) -> list[BoxedPicture]:
    """Signs of the Indian sign language by several people, most with two hands
    (github.com/yasu6297/ISL-detection-using-YOLO, CC BY 4.0).

    ``root`` has the set's ``train/images`` and ``valid/images``, or its other folders of pictures. The boxes of the set
    are those of signs, not of hands, and are not read.
    """
    source = "yasu6297/ISL-detection-using-YOLO"
    pictures = []
    for path in sorted(root.glob("**/*.jpg")):
        width, height = _size(path, path.parent.name)
        # Frames of a video and pictures of a series have the letter before their number in common.
        group = re.sub(r"(_mp4)?[-_]?\d+(--?\d*)?(_jpg)?$", "", path.stem.split(".rf.")[0])
        pictures.append(
            BoxedPicture(path, width, height, np.zeros((0, 4)), source, "CC-BY-4.0", group, all_boxed=False)
        )
    return pictures


def read_clothing(root: Path) -> list[BoxedPicture]:
    """Pictures of clothes without annotated hands (github.com/alexeygrigorev/clothing-dataset-small, CC0 1.0).

    ``root`` has ``SPLIT/CLASS/NAME.jpg``. Of some clothes a hand is in the picture.
    """
    pictures = []
    for path in sorted(root.glob("*/*/*.jpg")):
        width, height = _size(path, path.parent.name)
        source = "alexeygrigorev/clothing-dataset-small"
        pictures.append(BoxedPicture(path, width, height, np.zeros((0, 4)), source, "CC0-1.0", path.stem))
    return pictures


READERS: dict[str, Callable[[Path], list[BoxedPicture]]] = {
    "ti1k": read_ti1k,
    "subhi": read_hands_dataset,
    "biztech": read_gloves,
    "glove_videos": read_glove_videos,
    "fabric_gloves": read_fabric_gloves,
    "glove_workers": read_glove_workers,
    "glove_views": read_glove_views,
    "signs": read_signs,
    "clothing": read_clothing,
}
"""Readers by the name of a set's folder."""


def write_index(pictures: Iterable[BoxedPicture], index: Path) -> None:
    """Write one JSON list of {file, width, height, boxes, source, licence, split}; files relative to the index."""
    rows: list[dict[str, Any]] = []
    for picture in pictures:
        row = {
            "file": picture.path.resolve().relative_to(index.parent.resolve()).as_posix(),
            "width": picture.width,
            "height": picture.height,
            "boxes": picture.boxes.round(2).tolist(),
            "source": picture.source,
            "licence": picture.licence,
            "split": picture.split,
        }
        if picture.fingertips is not None:
            row["fingertips"] = picture.fingertips.round(2).tolist()
        rows.append(row)
    index.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def without_similar(pictures: Sequence[BoxedPicture], others: Iterable[Path]) -> list[BoxedPicture]:
    """The pictures that neither look like one of ``others`` (image files) nor are another version of one that does.

    Neighbouring frames of a video look alike; mirrored pictures count as alike, too.
    """
    held_out = np.stack([_thumbnail(path) for path in others])
    held_out = np.concatenate([held_out, held_out[:, :, ::-1]]).reshape(-1, _THUMBNAIL**2)
    highest = [float((held_out @ _thumbnail(picture.path).ravel()).max()) for picture in pictures]
    versions = {
        (picture.source, picture.group)
        for picture, value in zip(pictures, highest, strict=True)
        if value > _SAME_PICTURE and ".rf." in picture.path.name
    }
    return [
        picture
        for picture, value in zip(pictures, highest, strict=True)
        if value < _ALIKE and (picture.source, picture.group) not in versions
    ]


def _thumbnail(path: Path) -> np.ndarray:
    """A picture as _THUMBNAIL x _THUMBNAIL gray values of zero mean and unit norm, to compare pictures by."""
    try:
        image = read_image(path, cv2.IMREAD_GRAYSCALE)
    except OSError as error:
        raise AnnotationError(f"{path} cannot be read as a picture ({error})") from error
    small = cv2.resize(image, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float64)
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise AnnotationError(f"{path} is missing")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: cannot be read as text ({error})") from error
    return [line for line in text.splitlines() if line.strip()]


def _numbers(fields: list[str], count: int, where: str) -> np.ndarray:
    try:
        values = np.array([float(field) for field in fields])
    except ValueError:
        values = np.zeros(0)
    if len(values) != count or not np.isfinite(values).all():
        raise AnnotationError(f"{where}: expected {count} numbers, got {' '.join(fields)!r}")
    return values


def _size(path: Path, where: str) -> tuple[int, int]:
    try:
        image = read_image(path)
    except OSError as error:
        raise AnnotationError(f"{where}: its picture {path} is missing or cannot be read ({error})") from error
    return image.shape[1], image.shape[0]


def _checked(boxes: np.ndarray, width: int, height: int, where: str) -> np.ndarray:
    """Boxes (N, 4) within the picture; raises AnnotationError for one that is empty or reaches far beyond it."""
    extent = np.array([width, height, width, height])
    for box in boxes:
        inside = (box >= -_MARGIN * extent).all() and (box <= (1 + _MARGIN) * extent).all()
        if not inside or box[0] >= box[2] or box[1] >= box[3]:
            raise AnnotationError(f"{where}: box {box.round(1).tolist()} is empty or outside of {width} x {height}")
    return np.clip(boxes, 0, extent)
