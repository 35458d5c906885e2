"""Dark images, brightened for the networks, which were trained on well exposed ones."""

from __future__ import annotations

import math

import cv2
import numpy as np

_BRIGHT = 130.0
"""Value (0..255) of an image's bright parts below which it counts as dark; they are mapped to this value."""
_SHARE = 0.95
"""Share of the pixels that are darker than an image's bright parts."""
_LOWEST_GAMMA = 0.3
_SAMPLES = 64


def brightened(image: np.ndarray) -> np.ndarray:
    """The image, or a brighter copy of it where all of it is dark, uint8 (H, W, 3).

    The exponent of the gamma correction is that of the image's bright parts, which change little from one image of a
    stream to the next.
    """
    step = max(1, min(image.shape[:2]) // _SAMPLES)
    blue, green, red = np.moveaxis(image[::step, ::step], -1, 0)
    values = np.maximum(np.maximum(blue, green), red).ravel()
    rank = int(_SHARE * (values.size - 1))
    bright = float(np.partition(values, rank)[rank])
    if bright >= _BRIGHT:
        return image
    gamma = max(math.log(_BRIGHT / 255) / math.log(max(bright, 2.0) / 255), _LOWEST_GAMMA)
    table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table))
