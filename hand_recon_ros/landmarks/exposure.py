"""Images made what the networks were trained on: dark ones brighter, those with light in one channel grey."""

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
_ONE_CHANNEL = 0.4
"""Where the bright parts of two channels are below this share of the third's, the picture is in that channel alone."""


def normalised(image: np.ndarray) -> np.ndarray:
    """The image for the networks, uint8 (H, W, 3): :func:`in_grey`, then :func:`brightened`."""
    return brightened(in_grey(image))


def in_grey(image: np.ndarray) -> np.ndarray:
    """The image, or a grey copy of its one channel where the others are dark: night vision, coloured light."""
    bright = np.array([_bright(channel) for channel in np.moveaxis(_sampled(image), -1, 0)])
    strongest = int(bright.argmax())
    if np.delete(bright, strongest).max() >= _ONE_CHANNEL * bright[strongest]:
        return image
    return np.repeat(image[..., strongest, None], 3, axis=-1)


def _sampled(image: np.ndarray) -> np.ndarray:
    step = max(1, min(image.shape[:2]) // _SAMPLES)
    return image[::step, ::step]


def _bright(values: np.ndarray) -> float:
    """The value of the bright parts of an image's values, of any shape."""
    values = values.ravel()
    rank = int(_SHARE * (values.size - 1))
    return float(np.partition(values, rank)[rank])


def brightened(image: np.ndarray) -> np.ndarray:
    """The image, or a brighter copy of it where all of it is dark, uint8 (H, W, 3).

    The exponent of the gamma correction is that of the image's bright parts, which change little from one image of a
    stream to the next.
    """
    blue, green, red = np.moveaxis(_sampled(image), -1, 0)
    bright = _bright(np.maximum(np.maximum(blue, green), red))
    if bright >= _BRIGHT:
        return image
    gamma = max(math.log(_BRIGHT / 255) / math.log(max(bright, 2.0) / 255), _LOWEST_GAMMA)
    table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table))
