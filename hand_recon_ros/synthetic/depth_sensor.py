"""What a stereo depth camera measures of an exactly rendered depth image: noise, holes and mixed pixels."""

from __future__ import annotations

import cv2
import numpy as np

from ..camera import Camera

SIGMA = 0.004
"""Standard deviation of the depth per square metre of it, 1/m: 1 mm at half a metre, 4 mm at one. That is a stereo
camera with a baseline of 50 mm and a focal length of 425 px that finds disparities to 0.08 px, such as a RealSense
D435."""
_BASELINE = 0.05
_GRAIN = 3
"""Pixels over which the noise is about the same: cameras compare windows, not pixels."""
_STEP = 1e-3
"""Unit of 16UC1 (REP 118), metres."""
_JUMP = 0.03
"""Relative change of depth that makes an edge."""
_EDGE_HOLES, _EDGE_MIXED = 0.7, 0.2
"""Shares of the pixels at an edge that have no depth, and one between foreground and background."""
_HOLES = 0.01
"""Share of the other pixels that have no depth, in spots."""
_BEHIND = 0.3
"""Distance, metres, of a wall behind the farthest surface that was rendered."""


def with_wall(depth: np.ndarray) -> np.ndarray:
    """A rendered depth image (H, W), metres, with a wall where it is infinite."""
    known = np.isfinite(depth)
    farthest = float(depth[known].max()) if known.any() else 1.0
    return np.where(known, depth, np.float32(farthest + _BEHIND))


def sensed_depth(depth: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """The depth image (H, W) of a stereo camera, float32, metres, NaN where it has none.

    Noise grows with the square of the distance. Edges have holes and mixed pixels; to the left of a near surface,
    where only one of the two imagers sees the background, there is no depth.

    Args:
        depth: exact (H, W), metres, finite.
        camera: of the image.
        rng: of the noise.
    """
    height, width = depth.shape
    coarse = rng.normal(size=(-(-height // _GRAIN) + 1, -(-width // _GRAIN) + 1)).astype(np.float32)
    grain = cv2.resize(coarse, None, fx=_GRAIN, fy=_GRAIN, interpolation=cv2.INTER_CUBIC)[:height, :width]
    noise = grain / float(grain.std())
    kernel = np.ones((3, 3), np.uint8)
    near, far = cv2.erode(depth, kernel), cv2.dilate(depth, kernel)
    edge = far > near * (1.0 + _JUMP)
    kind = rng.random(depth.shape)
    mixed = edge & (kind > 1.0 - _EDGE_MIXED)
    sensed = np.where(mixed, near + rng.random(depth.shape, dtype=np.float32) * (far - near), depth)
    sensed = sensed + SIGMA * sensed**2 * noise
    sensed = np.rint(sensed / _STEP) * _STEP
    spots = cv2.resize(rng.random(coarse.shape).astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
    hidden = (edge & (kind < _EDGE_HOLES)) | (spots < _HOLES) | _shadow(depth, camera)
    return np.where(hidden, np.nan, sensed).astype(np.float32)


def _shadow(depth: np.ndarray, camera: Camera) -> np.ndarray:
    """Where the second imager's view of a pixel is hidden by a nearer surface to the right of it (H, W) bool."""
    disparity = float(camera.K[0, 0]) * _BASELINE / depth
    reach = disparity - np.arange(depth.shape[1])
    # A pixel is hidden where another one to the right of it, shifted by its disparity, lands left of it.
    farthest = np.maximum.accumulate(reach[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(farthest > reach + 1.0)
