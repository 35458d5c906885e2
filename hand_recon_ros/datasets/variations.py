"""Variations of a rendered sample, so that it can be used several times in a training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import cv2
import numpy as np

from .crops import visible_part
from .image_augmentation import augmented, dyed
from .sample import BACKGROUND, LEFT_HAND, OTHER, RIGHT_HAND, Sample

Background = Callable[[int, np.random.Generator], np.ndarray]
"""A random square background of a size: uint8 (size, size, 3) BGR."""

_OTHER_BACKGROUND, _DYED, _COVERED, _AUGMENTED = 0.5, 0.15, 0.25, 0.6
"""Shares of samples with each variation."""
_NEARER = 0.9
"""Depth of an object in front, relative to the nearest hand's."""


def varied(sample: Sample, rng: np.random.Generator, background: Background | None = None) -> Sample:
    """The sample with another background, hands of another colour, an object in front, and changes of exposure, colour,
    sharpness and noise, each at random; its ground truth follows. ``background`` None leaves the background."""
    if background is not None and rng.random() < _OTHER_BACKGROUND:
        sample = dataclasses.replace(sample, image=_before(sample, background, rng))
    if rng.random() < _DYED:
        skin = np.isin(sample.labels, (LEFT_HAND, RIGHT_HAND)).astype(np.uint8) * 255
        sample = dataclasses.replace(sample, image=dyed(sample.image, cv2.GaussianBlur(skin, (3, 3), 0), rng))
    if rng.random() < _COVERED:
        sample = _covered(sample, rng, background)
    if rng.random() < _AUGMENTED:
        sample = dataclasses.replace(sample, image=_augmented(sample, rng))
    return sample


def _augmented(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """The image, changed inside the frame: the black beyond it must not get into it."""
    part, (left, top) = visible_part(sample)
    image = sample.image.copy()
    image[top : top + part.shape[0], left : left + part.shape[1]] = augmented(part, rng)
    return image


def _before(sample: Sample, background: Background, rng: np.random.Generator) -> np.ndarray:
    """The hands, arms and objects of a sample before another background."""
    height, width = sample.labels.shape
    behind = background(max(height, width), rng)[:height, :width]
    alpha = cv2.GaussianBlur((sample.labels != BACKGROUND).astype(np.float32), (3, 3), 0)[..., None]
    return np.asarray(np.rint(alpha * sample.image + (1 - alpha) * behind).astype(np.uint8))


def _covered(sample: Sample, rng: np.random.Generator, background: Background | None) -> Sample:
    """The sample with a plain or patterned object over a part of a hand."""
    height, width = sample.labels.shape
    keypoints = sample.keypoints_2d[sample.present].reshape(-1, 2)
    center = keypoints[int(rng.integers(len(keypoints)))] + rng.normal(0, 0.1, 2) * (width, height)
    extent = float(np.ptp(keypoints, axis=0).max())
    axes = np.exp(rng.uniform(math.log(0.04), math.log(0.3), 2)) * extent
    mask = np.zeros((height, width), np.uint8)
    turn = float(rng.uniform(0, 180))
    if rng.random() < 0.5:
        ellipse = tuple(np.rint(center).astype(int).tolist()), tuple(np.maximum(axes, 1).astype(int).tolist())
        cv2.ellipse(mask, *ellipse, turn, 0, 360, 1, -1)
    else:
        corners = cv2.boxPoints((tuple(center.tolist()), tuple((2 * axes).tolist()), turn))
        cv2.fillConvexPoly(mask, np.rint(corners).astype(np.int32), 1)
    if background is not None and rng.random() < 0.5:
        surface = background(max(height, width), rng)[:height, :width]
    else:
        surface = np.broadcast_to(rng.uniform(0, 255, 3), (height, width, 3))
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (3, 3), 0)[..., None]
    image = np.rint(alpha * surface + (1 - alpha) * sample.image).astype(np.uint8)
    inside = mask > 0
    columns, rows = np.rint(np.nan_to_num(sample.keypoints_2d, nan=-1.0)).astype(int).transpose(2, 0, 1)
    in_image = (columns >= 0) & (rows >= 0) & (columns < width) & (rows < height)
    hidden = in_image & inside[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
    nearest = float(np.nanmin(sample.joints[..., 2])) * _NEARER
    return dataclasses.replace(
        sample, image=image, labels=np.where(inside, OTHER, sample.labels).astype(np.uint8),
        depth=np.where(inside, np.minimum(sample.depth, nearest), sample.depth).astype(np.float32),
        keypoint_visible=sample.keypoint_visible & ~hidden, occluded=sample.occluded | hidden,
    )  # fmt: skip
