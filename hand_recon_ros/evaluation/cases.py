"""Cases: what an evaluation records of each image for its report, and overlays of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np

from ..overlay import draw_bones
from ..types import Side
from .figures import HandErrors

ESTIMATED, TRUE = (60, 230, 60), (255, 255, 255)
"""Colours of estimated and of true keypoints, BGR."""
_SIDE = 560
"""Longer side of an overlay, pixels."""
_MARGIN, _SMALLEST = 0.2, 64.0
"""Margin around the keypoints, as a share of their box, and the least side of that box, pixels."""


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """An image that was measured. It holds no pixels: the image is rendered or read again for its overlay.

    Attributes:
        number: in the split, from 0.
        name: of the image's source.
        arrangement: of the hands relative to each other.
        errors: of the hands that were measured.
        estimated, true: keypoints (2, 21, 2), left and right, pixels of the image; NaN where there is none.
        picture: returns the image, uint8 (H, W, 3) BGR.
        moment: equal for similar images, of which a report shows one; empty for an image that is like no other.
    """

    number: int
    name: str
    arrangement: str
    errors: dict[Side, HandErrors]
    estimated: np.ndarray
    true: np.ndarray
    picture: Callable[[], np.ndarray]
    moment: str = ""

    @property
    def error(self) -> float:
        """The larger of its hands' mean joint errors, mm; NaN where no hand was measured, infinite for one of NaN."""
        means = [float(np.nan_to_num(hand.joints_mm.mean(), nan=np.inf)) for hand in self.errors.values()]
        return max(means, default=float("nan"))

    @property
    def missed(self) -> list[Side]:
        """Hands in the image that were not measured."""
        return [side for side in Side if side not in self.errors and np.isfinite(self.true[side]).all()]

    def overlay(self) -> np.ndarray:
        """The image around the hands, uint8 (H, W, 3) BGR: estimated keypoints in green, true ones in white, and each
        side's letter at its true wrist."""
        picture, corner, scale = _enlarged(self.picture(), np.concatenate([*self.true, *self.estimated]))
        for pixels, colour in ((self.true, TRUE), (self.estimated, ESTIMATED)):
            for hand in pixels:
                draw_bones(picture, ((hand - corner) + 0.5) * scale - 0.5, (colour,) * 5)
        for side in Side:
            wrist = (self.true[side, 0] - corner) * scale
            if np.isfinite(wrist).all():
                position = np.clip(wrist, (2, 14), (picture.shape[1] - 14, picture.shape[0] - 2)).astype(int).tolist()
                for ink, width in (((0, 0, 0), 3), (TRUE, 1)):
                    cv2.putText(picture, side.name[0], position, cv2.FONT_HERSHEY_SIMPLEX, 0.5, ink, width, cv2.LINE_AA)
        return picture


def _enlarged(picture: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The part of an image around points (N, 2), resized, with its first pixel (2,) and the factor."""
    size = np.array([picture.shape[1], picture.shape[0]])
    known = np.clip(points[np.isfinite(points).all(axis=1)], 0, size - 1)
    low, high = (known.min(axis=0), known.max(axis=0)) if len(known) else (np.zeros(2), size - 1.0)
    reach = np.maximum((high - low) * (0.5 + _MARGIN), _SMALLEST / 2)
    first = np.clip(np.floor((low + high) / 2 - reach), 0, size - 1).astype(int)
    last = np.clip(np.ceil((low + high) / 2 + reach), first, size - 1).astype(int)
    part = picture[first[1] : last[1] + 1, first[0] : last[0] + 1]
    scale = _SIDE / max(part.shape[:2])
    shape = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
    return cv2.resize(part, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), first, scale


def distinct(cases: Iterable[Case]) -> list[Case]:
    """The first case of each moment."""
    return list({case.moment or case.name: case for case in reversed(list(cases))}.values())[::-1]


def worst_and_median(cases: Sequence[Case], worst: int = 12, median: int = 4) -> tuple[list[Case], list[Case]]:
    """The cases with the largest errors, worst first, and others near the median error, one of each moment."""
    ranked = sorted((case for case in cases if case.errors), key=lambda case: case.error, reverse=True)
    largest = distinct(ranked)[:worst]
    middle = float(np.median([case.error for case in ranked])) if ranked else 0.0
    others = sorted((case for case in ranked if case not in largest), key=lambda case: abs(case.error - middle))
    return largest, distinct(others)[:median]
