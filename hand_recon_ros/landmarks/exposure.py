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

    The exponent of the gamma correction depends continuously on the image, so that a stream does not flicker.
    """
    step = max(1, min(image.shape[:2]) // _SAMPLES)
    bright = float(np.quantile(image[::step, ::step].max(axis=-1), _SHARE))
    if bright >= _BRIGHT:
        return image
    gamma = max(math.log(_BRIGHT / 255) / math.log(max(bright, 2.0) / 255), _LOWEST_GAMMA)
    table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table))
