"""Priors of foundation models, as maps over a hand's crop: keypoints, segmentation and depth.

Only training needs them: the encoder (:mod:`models.encoder`) learns to predict their features from the image.
Maps are GRID x GRID over the crop of a right hand (a left hand's is mirrored): keypoint heatmaps of this hand and of
the other one (42 channels), segmentation into this hand, the other one and the rest (3), and inverse depth with a mask
of where it is known (2).
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import cv2
import numpy as np

from ..encode.crop_frame import CropFrame
from ..types import Side

GRID = 28
KEYPOINTS, SEGMENTATION, DEPTH = slice(0, 42), slice(42, 45), slice(45, 47)
CHANNELS = 47
GROUPS = {"keypoints": KEYPOINTS, "segmentation": SEGMENTATION, "depth": DEPTH}

_HEAT_SIGMA = 1.0  # cells
_FINE = 4  # labels and depth are sampled on a grid that is finer by this factor, then averaged


class PriorProvider(Protocol):
    """Computes prior maps of a crop. One that needs the image only, and no ground truth, has ``from_image = True``."""

    def __call__(self, frame: CropFrame, other: CropFrame | None, scene: SceneTruth) -> np.ndarray:
        """Maps (CHANNELS, GRID, GRID) float32 for the crop ``frame``; ``other`` is the other hand's, if any."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class SceneTruth:
    """An image and its ground truth.

    Attributes:
        keypoints_2d: (2, 21, 2) pixels, left then right; NaN for an absent hand.
        labels: uint8 (H, W): 0 background, 1 left hand, 2 right hand, 3 anything else.
        depth: (H, W) metres, infinite for the background.
        image: uint8 (H, W, 3) BGR, for providers that evaluate it.
        has_labels, has_depth: whether labels and depth are known.
    """

    keypoints_2d: np.ndarray
    labels: np.ndarray
    depth: np.ndarray
    image: np.ndarray | None = None
    has_labels: bool = True
    has_depth: bool = True


def heatmaps(points: np.ndarray) -> np.ndarray:
    """Gaussians (N, GRID, GRID) of height 1 at points (N, 2) in units of the crop; zero for NaN."""
    cells = np.arange(GRID)
    # The centre of cell i is at (i + 0.5) / GRID - 0.5.
    x, y = ((points[:, axis, None] + 0.5) * GRID - 0.5 - cells for axis in range(2))
    rows, columns = (np.nan_to_num(np.exp(-0.5 * (d / _HEAT_SIGMA) ** 2)) for d in (y, x))
    return (rows[:, :, None] * columns[:, None, :]).astype(np.float32)


def exact_priors(frame: CropFrame, other: CropFrame | None, scene: SceneTruth) -> np.ndarray:
    """Maps (CHANNELS, GRID, GRID) float32 from ground truth, 0 where it is not known; see :class:`PriorProvider`."""
    maps = np.zeros((CHANNELS, GRID, GRID), dtype=np.float32)
    for start, side in ((0, frame.side), (21, frame.side.other)):
        maps[start : start + 21] = heatmaps(frame.pixels_in(scene.keypoints_2d[side]))
    if scene.has_labels:
        maps[SEGMENTATION] = _segmentation(frame, scene.labels)
    if scene.has_depth:
        maps[DEPTH] = _depth(frame, scene.depth)
    return maps


def segmentation_classes(frame: CropFrame, labels: np.ndarray, size: int = GRID * _FINE) -> np.ndarray:
    """Class of each pixel (size, size) uint8 of the crop: 0 the rest, 1 this hand, 2 the other hand."""
    values = frame.lookup(labels, size, outside=0)
    own, others = (2, 1) if frame.side == Side.RIGHT else (1, 2)
    return np.where(values == own, 1, np.where(values == others, 2, 0)).astype(np.uint8)


def _segmentation(frame: CropFrame, labels: np.ndarray) -> np.ndarray:
    classes = segmentation_classes(frame, labels)
    return np.stack([_average((classes == index).astype(np.float32)) for index in (1, 2, 0)])


def _depth(frame: CropFrame, depth: np.ndarray) -> np.ndarray:
    inverse = frame.lookup((1.0 / depth).astype(np.float32), GRID * _FINE, outside=0.0)
    normalised, known = normalised_depth(inverse, inverse > 0)
    return np.stack([_average(normalised), _average(known)])


def normalised_depth(inverse: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Inverse depth (S, S) where ``known``, with median 0 and mean deviation 1, and that mask: (2, S, S) float32."""
    if not known.any():
        return np.zeros((2, *inverse.shape), dtype=np.float32)
    values = inverse[known]
    middle = np.median(values)
    scale = max(float(np.abs(values - middle).mean()), 1e-3 * abs(float(middle)), 1e-9)
    normalised = np.where(known, np.clip((inverse - middle) / scale, -4.0, 4.0), 0.0)
    return np.stack([normalised, known]).astype(np.float32)


def _average(fine: np.ndarray) -> np.ndarray:
    return fine.reshape(GRID, _FINE, GRID, _FINE).mean(axis=(1, 3))


@dataclasses.dataclass
class CorruptedPriors:
    """Exact maps with errors like those of real models.

    Keypoints are noisy, missing and at times the other hand's; segmentation is blurred, has holes and at times confuses
    the hands; depth is blurred and known up to scale and shift only.

    Attributes:
        rng: random number generator of the errors.
        strength: 0 for none, 1 for those of measured models.
    """

    rng: np.random.Generator
    strength: float = 1.0

    def __call__(self, frame: CropFrame, other: CropFrame | None, scene: SceneTruth) -> np.ndarray:
        """See :class:`PriorProvider`."""
        rng, strength = self.rng, self.strength
        keypoints = scene.keypoints_2d.copy()
        extent = frame.box.size / 2
        keypoints += rng.normal(0.0, 0.02 * strength * extent, keypoints.shape)
        keypoints += rng.normal(0.0, 0.015 * strength * extent, (2, 1, 2))
        keypoints[rng.random(keypoints.shape[:2]) < 0.1 * strength] = np.nan
        if rng.random() < 0.08 * strength:
            keypoints[rng.integers(2)] = np.nan
        labels = scene.labels
        if rng.random() < 0.08 * strength:  # left and right confused
            keypoints = keypoints[::-1]
        if rng.random() < 0.05 * strength:
            labels = np.array([0, 2, 1, 3], dtype=np.uint8)[labels]
        maps = exact_priors(frame, other, dataclasses.replace(scene, keypoints_2d=keypoints, labels=labels))
        for group in (SEGMENTATION, DEPTH):
            sigma = float(rng.uniform(0.1, 1.2)) * strength + 1e-3
            for channel in range(group.start, group.stop):
                maps[channel] = cv2.GaussianBlur(maps[channel], (0, 0), sigma)
        gain, shift = np.exp(rng.normal(0.0, 0.2 * strength)), rng.normal(0.0, 0.2 * strength)
        maps[DEPTH.start] = np.clip(maps[DEPTH.start] * gain + shift * maps[DEPTH.start + 1], -4.0, 4.0)
        if rng.random() < 0.3 * strength:  # a hole
            x, y = rng.integers(0, GRID, 2)
            reach = int(rng.integers(2, 7))
            maps[42:, max(0, y - reach) : y + reach, max(0, x - reach) : x + reach] = 0.0
        return maps
