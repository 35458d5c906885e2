"""Training crops of the pair detector: regions of one or two hands, and their ground truth."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import cv2
import numpy as np

from ..detect.pair_detector import region_of
from ..landmarks.crops import crop
from ..landmarks.hand_keypoints import hand_box
from ..landmarks.observation import RotatedBox
from ..types import Side
from .image_augmentation import augmented, dyed

_PRESENT, _ABSENT = 0.6, 0.15
"""A hand counts as present with at least, and as absent with less than, these shares of its keypoints in the crop."""
_BOXED = 0.4
"""Lowest share of a hand's keypoints in the crop with which its box is a target."""
_AROUND_BOX = 1.42
"""Size of the landmark network's crop relative to the longer side of an annotated box: the median of 2800 hands."""
_BOTH = np.ones(2, dtype=bool)


@dataclasses.dataclass(frozen=True, eq=False)
class HandPicture:
    """A picture with known hands.

    Attributes:
        image: uint8 (H, W, 3) BGR.
        keypoints: (2, 21, 2) pixels, left and right; NaN for a hand that is absent or has only a box.
        known: (2,) bool, whether a hand without keypoints and box is certainly absent.
        foreground: (H, W) bool, hands, arms and objects; the rest may be replaced. None where nothing may.
        skin: (H, W) bool, the hands; None where ``foreground`` is.
        sided: (2,) bool, whether the side of a hand is known; a hand of unknown side is either of the two.
        boxes: (2, 4) x0, y0, x1, y1, pixels, of hands that have no keypoints; NaN for others.
        mistaken: (4,) x0, y0, x1, y1, pixels, of something that an earlier detector took for a hand; None without. The
            regions to train on are then around it.
    """

    image: np.ndarray
    keypoints: np.ndarray
    known: np.ndarray
    foreground: np.ndarray | None = None
    skin: np.ndarray | None = None
    sided: np.ndarray = dataclasses.field(default_factory=_BOTH.copy)
    boxes: np.ndarray = dataclasses.field(default_factory=lambda: np.full((2, 4), np.nan))
    mistaken: np.ndarray | None = None

    def has_keypoints(self, hand: int) -> bool:
        """Whether a hand's keypoints are known."""
        return bool(np.isfinite(self.keypoints[hand]).all())

    def roi(self, hand: int) -> RotatedBox | None:
        """The box of the landmark network's crop of a hand, upright where only a box is annotated; None without."""
        if self.has_keypoints(hand):
            return hand_box(self.keypoints[hand])
        return None if np.isnan(self.boxes[hand]).any() else upright(self.boxes[hand])

    def points(self, hand: int) -> np.ndarray:
        """Points (N, 2) all over a hand with a box, pixels: its keypoints, or a grid in its annotated box."""
        if self.has_keypoints(hand):
            return np.asarray(self.keypoints[hand])
        low, high = self.boxes[hand].reshape(2, 2)
        grid = np.stack(np.meshgrid(*[np.linspace(0.1, 0.9, 5)] * 2), axis=-1).reshape(-1, 2)
        return np.asarray(low + grid * (high - low))


class PairCrop(NamedTuple):
    """A training sample.

    Attributes:
        image: (S, S, 3) uint8 BGR.
        values: (2, 5) float32, left and right, in the order of detect.pair_detector.VALUES without the logits; NaN for
            a hand that is absent or mostly outside the crop, and for a direction that is not known.
        present: (2,) float32: 1, 0, or NaN where it does not enter the loss.
        sided: (2,) float32: 1 where the hand's side is known, else 0.
        keypoints: (2, 21, 2) float32, in units of the crop; NaN where they are not known or ``values`` are NaN.
    """

    image: np.ndarray
    values: np.ndarray
    present: np.ndarray
    sided: np.ndarray
    keypoints: np.ndarray


def random_region(picture: HandPicture, rng: np.random.Generator) -> RotatedBox:
    """A random square region like those of the search: around one hand or both, tight or wide, seldom without hands; or
    around what was mistaken for a hand."""
    if picture.mistaken is None:
        boxes = [box for box in map(picture.roi, range(2)) if box is not None]
    else:
        boxes = [upright(picture.mistaken)]
    height, width = picture.image.shape[:2]
    turn = float(rng.normal(0, 0.2) if rng.random() < 0.92 else rng.uniform(-math.pi, math.pi))
    if not boxes or rng.random() < 0.1:
        size = float(rng.uniform(0.2, 0.9)) * max(height, width)
        return RotatedBox((float(rng.uniform(0, width)), float(rng.uniform(0, height))), size, turn)
    if len(boxes) == 2 and rng.random() < 0.55:
        chosen, scale = boxes, float(rng.uniform(0.9, 1.6))
    else:
        chosen, scale = [boxes[int(rng.integers(len(boxes)))]], float(np.exp(rng.uniform(math.log(0.9), math.log(3.6))))
    hands = region_of(chosen, 1.0)
    extent, size = hands.size, scale * hands.size
    if rng.random() < 0.5:
        size = max(min(size, height, width), 0.9 * extent)  # with less of the black around the picture
    # The hands may be anywhere in the crop, and partly outside it.
    slack = max(0.5 * (size - extent), 0.0) + 0.12 * extent
    center = np.asarray(hands.center) + rng.uniform(-slack, slack, 2)
    return RotatedBox((float(center[0]), float(center[1])), size, turn)


def pair_crop(
    picture: HandPicture, region: RotatedBox, size: int, rng: np.random.Generator, background: np.ndarray | None = None
) -> PairCrop:
    """The crop of a region with augmentation, mirrored half of the time.

    Args:
        picture: the picture.
        region: from :func:`random_region`.
        size: of the crop, pixels.
        rng: of the augmentation.
        background: uint8 (size, size, 3) BGR that replaces what is not foreground.
    """
    image = crop(picture.image, region, np.empty((size, size, 3), np.uint8), repeat_border=False)
    if picture.foreground is not None and picture.skin is not None:
        masks = np.stack([picture.foreground, picture.skin, picture.skin], axis=-1).astype(np.uint8) * 255
        foreground, skin, _ = cv2.split(crop(masks, region, np.empty((size, size, 3), np.uint8), repeat_border=False))
        if rng.random() < 0.15:
            image = dyed(image, skin, rng)
        if background is not None:
            alpha = cv2.GaussianBlur(foreground, (3, 3), 0)[..., None].astype(np.float32) / 255.0
            image = np.rint(alpha * image + (1 - alpha) * background).astype(np.uint8)
    values, present = np.full((2, 5), np.nan, np.float32), np.zeros(2, np.float32)
    keypoints = np.full((2, 21, 2), np.nan, np.float32)
    frame = np.array([picture.image.shape[1], picture.image.shape[0]])
    for side in Side:
        box = picture.roi(side)
        if box is None:
            present[side] = 0.0 if picture.known[side] else np.nan
            continue
        points = picture.points(side)
        inside = region.from_image(points)
        within = ((inside > 0) & (inside < 1) & (points > 0) & (points < frame - 1)).all(axis=1).mean()
        present[side] = 1.0 if within >= _PRESENT else 0.0 if within < _ABSENT else np.nan
        if within >= _BOXED:
            x, y = region.from_image(np.asarray(box.center))
            values[side, :3] = x, y, math.log(box.size / region.size)
            if picture.has_keypoints(side):
                turn = box.angle - region.angle
                values[side, 3:], keypoints[side] = (math.cos(turn), math.sin(turn)), inside
    sided = picture.sided.astype(np.float32)
    if rng.random() < 0.5:
        # Pixel x is at x / size of the crop, and the mirrored one at (size - 1 - x) / size.
        image = image[:, ::-1]
        values = values[::-1] * (-1, 1, 1, 1, -1) + np.array([1 - 1 / size, 0, 0, 0, 0])
        keypoints = (keypoints[::-1] * (-1, 1) + np.array([1 - 1 / size, 0])).astype(np.float32)
        present, sided = present[::-1].copy(), sided[::-1].copy()
    return PairCrop(augmented(image, rng), values.astype(np.float32), present, sided, keypoints)


def box_around(roi: RotatedBox) -> np.ndarray:
    """The upright box (4,) x0, y0, x1, y1 of the hand in a crop of the landmark network, as people annotate them."""
    half = 0.5 * roi.size / _AROUND_BOX
    return np.concatenate([np.asarray(roi.center) - half, np.asarray(roi.center) + half])


def upright(box: np.ndarray) -> RotatedBox:
    """The box of the landmark network's crop of a hand in an annotated box (4,)."""
    x0, y0, x1, y1 = (float(value) for value in box)
    return RotatedBox(((x0 + x1) / 2, (y0 + y1) / 2), _AROUND_BOX * max(x1 - x0, y1 - y0))
