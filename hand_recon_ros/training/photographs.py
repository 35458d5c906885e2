"""Labelled photographs for the training of detectors."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..config import ConfigError
from ..datasets.pair_crops import HandPicture
from ..image_files import read_image
from ..landmarks.crops import crop
from ..landmarks.observation import RotatedBox
from ..types import Side
from .pasted_hands import with_second_hand

_LARGEST = 640
"""Longer side to which photographs are reduced, pixels."""
_PRESENT, _UNLIKELY = 0.8, 0.2
_EMPTY_SHARE = 0.2
"""Share of photographs without hands, where there are any."""
_MISTAKEN_SHARE = 0.15
"""Share of regions around what an earlier detector took for a hand, where there are any."""


class Photographs:
    """Photographs of a split with one or two annotated hands, with keypoints and sides where the labels have them; and
    others without hands.

    Attributes:
        digest: sha256 of the file of labels.
    """

    def __init__(self, path: str | os.PathLike[str], split: str, may_be_empty: bool = False) -> None:
        """``path`` is a file of ``tools/label_pictures.py``, which ``tools/find_mistakes.py`` may have extended.

        Raises ConfigError if it cannot be read or, if not ``may_be_empty``, has no photograph with hands.
        """
        try:
            content = Path(path).read_bytes()
            self.digest = hashlib.sha256(content).hexdigest()
            entries = [entry for entry in json.loads(content) if entry["split"] == split]
            self._complete = [entry for entry in entries if entry["complete"]]
            self._with_hands = [
                entry for entry in entries if 1 <= len(entry["hands"]) + len(entry["missed_sides"]) <= 2
            ]
            self._single = [number for number, entry in enumerate(self._with_hands) if _is_single(entry)]
            self._empty = [entry for entry in self._complete if not entry["hands"]]
            few = [entry for entry in [*self._with_hands, *self._empty] if _is_known(entry)]
            self._mistaken = [(entry, box) for entry in few for box in entry.get("mistaken", [])]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}: not a file of labelled photographs: {error}") from error
        if not self._with_hands and not may_be_empty:
            raise ConfigError(f"{path}: has no photograph of split {split!r} with one or two hands")

    def __len__(self) -> int:
        return len(self._with_hands)

    def __getitem__(self, number: int) -> HandPicture:
        return _picture(self._with_hands[number])

    def sample(self, rng: np.random.Generator) -> HandPicture:
        """A random photograph with hands, without, or with something that was mistaken for one."""
        if self._mistaken and rng.random() < _MISTAKEN_SHARE:
            entry, box = self._mistaken[int(rng.integers(len(self._mistaken)))]
            return dataclasses.replace(_picture(entry), mistaken=_scaled(box, _read(entry["file"])[1]))
        if self._empty and rng.random() < _EMPTY_SHARE:
            return _picture(self._empty[int(rng.integers(len(self._empty)))])
        return self.pair(int(rng.integers(len(self))), rng)

    def pair(self, number: int, rng: np.random.Generator) -> HandPicture:
        """A photograph, in half of the cases with a hand of another one beside or over its hand, if it has one hand."""
        picture = self[number]
        if not self._single or not _is_single(self._with_hands[number]) or rng.random() < 0.5:
            return picture
        return with_second_hand(picture, self[self._single[int(rng.integers(len(self._single)))]], rng)

    def background(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """A random part of a photograph without hands, uint8 (size, size, 3) BGR; grey where none was found."""
        out = np.full((size, size, 3), 127, np.uint8)
        for _ in range(8 if self._complete else 0):
            entry = self._complete[int(rng.integers(len(self._complete)))]
            image, scale = _read(entry["file"])
            height, width = image.shape[:2]
            side = float(rng.uniform(0.25, 0.8)) * min(height, width)
            x, y = rng.uniform(side / 2, width - side / 2), rng.uniform(side / 2, height - side / 2)
            region = RotatedBox((x, y), side, float(rng.normal(0, 0.2)))
            low, high = region.corners().min(axis=0), region.corners().max(axis=0)
            boxes = np.array([hand["box"] for hand in entry["hands"]]).reshape(-1, 4) * scale
            if ((boxes[:, :2] > high) | (boxes[:, 2:] < low)).any(axis=1).all():
                return crop(image, region, out, repeat_border=True)
        return out


def _picture(entry: dict[str, Any]) -> HandPicture:
    """The photograph of an entry, with one or two hands or none."""
    image, scale = _read(entry["file"])
    keypoints, boxes = np.full((2, 21, 2), np.nan), np.full((2, 4), np.nan)
    sided = np.ones(2, dtype=bool)
    hands = entry["hands"]
    sides = [*map(_side, hands), *map(_named, entry["missed_sides"])]
    rows = _rows(sides)
    for hand, row in zip(hands, rows, strict=False):
        keypoints[row] = _scaled(hand["keypoints"], scale)
    for box, row in zip(entry["missed"], rows[len(hands) :], strict=False):
        boxes[row] = _scaled(box, scale)
    for side, row in zip(sides, rows, strict=True):
        sided[row] = side == row
    if len(rows) == 2 and sides[0] == sides[1]:
        sided[:] = False  # of two people, or one of the labels is wrong
    return HandPicture(image, keypoints, np.full(2, _is_known(entry)), sided=sided, boxes=boxes)


def _is_known(entry: dict[str, Any]) -> bool:
    """Whether every hand of a photograph has keypoints or a box."""
    return len(entry["missed"]) == len(entry["unlabelled"])


def _scaled(points: Any, scale: float) -> np.ndarray:
    """Pixel coordinates in a photograph of reduced size."""
    return (np.asarray(points) + 0.5) * scale - 0.5


def _side(hand: dict[str, Any]) -> Side | None:
    """The side of a labelled hand, or the probable side of one that is certainly a hand; None where it is unknown."""
    if hand["side"] is not None:
        return _named(hand["side"])
    if hand["presence"] < _PRESENT or _UNLIKELY < hand["right"] < 1 - _UNLIKELY:
        return None
    return Side.RIGHT if hand["right"] > 0.5 else Side.LEFT


def _named(name: str | None) -> Side | None:
    return None if name is None else Side[name.upper()]


def _rows(sides: list[Side | None]) -> list[int]:
    """Row of each of at most two hands: that of its side where it is known and free."""
    first = Side.RIGHT if sides[:1] == [Side.RIGHT] or sides[1:] == [Side.LEFT] else Side.LEFT
    return [int(first), int(first.other)][: len(sides)]


def _is_single(entry: dict[str, Any]) -> bool:
    """Whether a photograph has one hand, with keypoints and side, and certainly no other."""
    return len(entry["hands"]) == 1 and not entry["unlabelled"] and _side(entry["hands"][0]) is not None


@functools.lru_cache(maxsize=2048)
def _read(file: str) -> tuple[np.ndarray, float]:
    """The photograph at its reduced size, uint8 (H, W, 3) BGR, and the factor on its size."""
    try:
        image = read_image(file)
    except OSError as error:
        raise ConfigError(f"{file}: missing, or not an image ({error})") from error
    scale = min(1.0, _LARGEST / max(image.shape[:2]))
    if scale < 1.0:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return image, scale
