"""Crops of an image for the networks, and the boxes of crops from palms and from landmarks."""

from __future__ import annotations

import math

import cv2
import numpy as np

from .observation import RotatedBox

# Geometry of the crops the landmark network was trained on (MediaPipe Hands, Apache-2.0, hand landmark graph).
PALM_SCALE = 2.6
PALM_SHIFT = 0.5
TRACK_SCALE = 2.0
TRACK_SHIFT = 0.1
TRACK_POINTS = np.array([0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18])
"""Keypoints that bound the tracking box: without the last two of each finger it is steady while fingers curl."""

_SHRINK_ABOVE = 2.0
"""Image pixels per crop pixel above which bilinear sampling skips pixels and the image is first averaged down."""


def palm_box(box: np.ndarray, wrist: np.ndarray, middle: np.ndarray) -> RotatedBox:
    """The box of the landmark network's crop, from a palm detection.

    Args:
        box: x0, y0, x1, y1 of the palm, pixels.
        wrist, middle: its wrist and middle-MCP points (2,), pixels; this direction is up in the crop.
    """
    direction = np.asarray(middle, dtype=np.float64) - np.asarray(wrist, dtype=np.float64)
    angle = math.atan2(direction[0], -direction[1])
    width, height = float(box[2] - box[0]), float(box[3] - box[1])
    shift = PALM_SHIFT * height
    center = (
        float(box[0] + box[2]) / 2 + shift * math.sin(angle),
        float(box[1] + box[3]) / 2 - shift * math.cos(angle),
    )
    return RotatedBox(center, PALM_SCALE * max(width, height), angle)


def tracking_box(keypoints: np.ndarray) -> RotatedBox:
    """The box of the crop in the next image, from keypoints (21, 2), pixels."""
    keypoints = np.asarray(keypoints, dtype=np.float64)
    knuckles = 0.25 * (keypoints[5] + keypoints[13]) + 0.5 * keypoints[9]
    direction = knuckles - keypoints[0]
    angle = math.atan2(direction[0], -direction[1])
    cos, sin = math.cos(angle), math.sin(angle)
    upright = keypoints[TRACK_POINTS] @ np.array([[cos, -sin], [sin, cos]])
    low, high = upright.min(axis=0), upright.max(axis=0)
    width, height = high - low
    x, y = (low + high) / 2
    y -= TRACK_SHIFT * height
    return RotatedBox((cos * x - sin * y, sin * x + cos * y), max(TRACK_SCALE * max(width, height), 2.0), angle)


def crop_matrix(box: RotatedBox, size: int) -> np.ndarray:
    """Affine map (2, 3) from pixels of a crop of ``size`` to pixels of the image."""
    matrix = np.empty((2, 3))
    matrix[:, :2] = box.axes * (box.size / size)
    matrix[:, 2] = np.asarray(box.center) - matrix[:, :2] @ np.array([size / 2, size / 2])
    return matrix


def crop(image: np.ndarray, box: RotatedBox, out: np.ndarray, repeat_border: bool = True) -> np.ndarray:
    """Fill ``out`` (n, n, 3) uint8 with a box of the image.

    Beyond the image its edge pixels are repeated, or all is black.
    """
    return warp(image, box, crop_matrix(box, out.shape[0]), out, repeat_border)


def warp(
    image: np.ndarray, box: RotatedBox, matrix: np.ndarray, out: np.ndarray, repeat_border: bool = True
) -> np.ndarray:
    """Fill ``out`` (n, n, 3) uint8 with a box of the image by an affine map (2, 3) from its pixels to the image's.

    Where the box is much larger than ``out`` the image is averaged down first.
    """
    size = out.shape[0]
    factor = box.size / size
    if factor > _SHRINK_ABOVE:
        image, matrix = _shrunk(image, box, matrix, factor)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    border = cv2.BORDER_REPLICATE if repeat_border else cv2.BORDER_CONSTANT
    cv2.warpAffine(image, matrix, (size, size), dst=out, flags=flags, borderMode=border)
    return out


def alike(a: RotatedBox, b: RotatedBox, tolerance: float) -> bool:
    """Whether two boxes differ by less than ``tolerance``: in units of their size, and of half a turn."""
    turn = abs((a.angle - b.angle + math.pi) % (2 * math.pi) - math.pi)
    apart = math.dist(a.center, b.center) / max(a.size, b.size)
    return turn < math.pi * tolerance and apart < tolerance and abs(math.log(a.size / b.size)) < 2 * tolerance


def _shrunk(image: np.ndarray, box: RotatedBox, matrix: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """The part of the image under the box averaged down by up to ``factor``, and the map into it."""
    height, width = image.shape[:2]
    margin = 2 * factor
    corners = box.corners()
    (x0, y0), (x1, y1) = np.floor(corners.min(axis=0) - margin), np.ceil(corners.max(axis=0) + margin)
    left, right = (int(min(max(x, 0), width)) for x in (x0, x1))
    top, bottom = (int(min(max(y, 0), height)) for y in (y0, y1))
    # A box beyond the image: a strip of the border is repeated.
    left, top = min(left, width - 1), min(top, height - 1)
    part = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    small = _averaged_down(part, factor)
    scale = np.array([small.shape[1] / part.shape[1], small.shape[0] / part.shape[0]])
    mapped = matrix * scale[:, None]
    # Centres of pixels are at whole numbers in both images, hence the half pixels.
    mapped[:, 2] = (matrix[:, 2] - np.array([left, top]) + 0.5) * scale - 0.5
    return small, mapped


def _averaged_down(image: np.ndarray, factor: float) -> np.ndarray:
    """The image halved as often as fits into ``factor``: six times faster than area sampling in one go."""
    while factor >= 2 and min(image.shape[:2]) >= 2:
        image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
        factor /= 2
    return image


def letterbox(image: np.ndarray, out: np.ndarray) -> RotatedBox:
    """Letterbox the whole image into ``out`` (n, n, 3), centred on black; returns the box that ``out`` covers."""
    size = out.shape[0]
    height, width = image.shape[:2]
    scale = max(height, width) / size
    inner_width, inner_height = max(round(width / scale), 1), max(round(height / scale), 1)
    x, y = (size - inner_width) // 2, (size - inner_height) // 2
    out[:] = 0
    small = _averaged_down(image, scale)
    out[y : y + inner_height, x : x + inner_width] = cv2.resize(small, (inner_width, inner_height))
    return RotatedBox(((size / 2 - x) * scale, (size / 2 - y) * scale), size * scale)
