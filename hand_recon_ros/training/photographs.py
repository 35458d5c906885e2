"""Labelled photographs for the training of detectors."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..config import ConfigError
from ..datasets.pair_crops import HandPicture
from ..landmarks.crops import crop
from ..landmarks.observation import RotatedBox
from ..types import Side

_LARGEST = 640
"""Longer side to which photographs are reduced, pixels."""
_PRESENT, _UNLIKELY = 0.8, 0.2


class Photographs:
    """Photographs of a split in which every hand is labelled with keypoints, and at least one with its side."""

    def __init__(self, path: str | os.PathLike[str], split: str) -> None:
        """``path`` is a file as ``tools/label_pictures.py`` writes it. Raises ConfigError where it cannot be read."""
        try:
            entries = json.loads(Path(path).read_text(encoding="utf-8"))
            self._complete = [entry for entry in entries if entry["split"] == split and entry["complete"]]
            self._with_sides = [entry for entry in self._complete if _distinct_sides(entry)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}: not a file of labelled photographs: {error}") from error
        if not self._with_sides:
            raise ConfigError(f"{path}: has no complete photograph of split {split!r} with a hand of known side")

    def __len__(self) -> int:
        return len(self._with_sides)

    def __getitem__(self, number: int) -> HandPicture:
        entry = self._with_sides[number]
        image, scale = _read(entry["file"])
        keypoints, known = np.full((2, 21, 2), np.nan), np.ones(2, dtype=bool)
        for hand in entry["hands"]:
            side = _side(hand)
            if side is None:
                known[:] = False
            else:
                keypoints[side] = (np.asarray(hand["keypoints"]) + 0.5) * scale - 0.5
        return HandPicture(image, keypoints, known)

    def background(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """A random part of a photograph without hands, uint8 (size, size, 3) BGR; grey where none was found."""
        out = np.full((size, size, 3), 127, np.uint8)
        for _ in range(8):
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


def _side(hand: dict[str, Any]) -> Side | None:
    """The side of a labelled hand, or the probable side of one that is certainly a hand; None where it is unknown."""
    if hand["side"] is not None:
        return Side[hand["side"].upper()]
    if hand["presence"] < _PRESENT or _UNLIKELY < hand["right"] < 1 - _UNLIKELY:
        return None
    return Side.RIGHT if hand["right"] > 0.5 else Side.LEFT


def _distinct_sides(entry: dict[str, Any]) -> bool:
    """Whether hands of known sides are labelled, at most one of each side; two people may show two of one side."""
    sides = [side for hand in entry["hands"] if (side := _side(hand)) is not None]
    return len(sides) == len(set(sides)) and bool(sides)


@functools.lru_cache(maxsize=4096)
def _read(file: str) -> tuple[np.ndarray, float]:
    """The photograph at its reduced size, uint8 (H, W, 3) BGR, and the factor on its size."""
    image = cv2.imread(file)
    if image is None:
        raise ConfigError(f"{file}: missing, or not an image")
    scale = min(1.0, _LARGEST / max(image.shape[:2]))
    if scale < 1.0:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return image, scale
