"""Cameras of the training stream: devices, viewpoints, and the crops around the hands."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from ..camera import Camera

LARGEST_AREA, LONGEST_SIDE = 320 * 320, 576
"""Largest number of pixels of a crop, and of its longer side."""

_DEVICES = (
    # share, width, height, field of view across the width (degrees, from, to), head-mounted
    (0.35, 640, 480, 58.0, 80.0, False),
    (0.2, 1280, 720, 66.0, 80.0, False),
    (0.15, 640, 480, 64.0, 71.0, False),
    (0.12, 720, 1280, 40.0, 50.0, False),
    (0.18, 640, 480, 88.0, 110.0, True),
)
_DISTORTED = 0.2
"""Share of cameras whose images are not rectified."""


def sample_camera(rng: np.random.Generator) -> tuple[Camera, bool]:
    """A random camera, and whether it is head-mounted.

    Webcams, wide and narrow; an RGB-D camera's colour image (about 69 degrees); a phone held upright (65-75 degrees
    along its longer side); a head-mounted camera. Every fifth has lens distortion.
    """
    shares = np.array([device[0] for device in _DEVICES])
    _, width, height, low, high, head_mounted = _DEVICES[rng.choice(len(_DEVICES), p=shares / shares.sum())]
    focal = width / (2 * np.tan(np.radians(rng.uniform(low, high)) / 2))
    centre = np.array([(width - 1) / 2, (height - 1) / 2]) + rng.normal(0, 0.01, 2) * width
    K = np.array([[focal, 0, centre[0]], [0, focal * np.exp(rng.normal(0, 0.003)), centre[1]], [0, 0, 1.0]])
    camera = Camera(K=K, width=width, height=height)
    # A generator of its own: random numbers after the lens do not depend on it.
    lens_rng = rng.spawn(1)[0]
    if lens_rng.random() < _DISTORTED:
        camera = dataclasses.replace(camera, distortion_model="plumb_bob", D=_distortion(camera, lens_rng))
    return camera, bool(head_mounted or rng.random() < 0.12)


def _distortion(camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Plumb-bob coefficients (5,) of an ordinary lens: mostly barrel, seldom pincushion, slightly decentred.

    Pixels at the corners move by 12 % of their distance from the middle at most, so that the model does not fold back
    near the image.
    """
    corner = np.hypot(camera.width, camera.height) / (2 * camera.K[0, 0])
    moved = rng.uniform(-0.12, -0.02) if rng.random() < 0.75 else rng.uniform(0.01, 0.06)
    k1 = moved / corner**2
    k2 = -k1 * rng.uniform(0.0, 0.3) / corner**2
    return np.array([k1, k2, *rng.normal(0, 0.0008, 2), 0.0])


def sample_view(rng: np.random.Generator, head_mounted: bool) -> np.ndarray:
    """A random rotation (3, 3) from the person's frame (see :mod:`arrangements`) to the camera's."""
    if head_mounted:
        # From behind the person's eyes, looking forward and down.
        pitch, yaw, roll = rng.uniform(0, 65), rng.normal(0, 18), rng.normal(0, 10)
        turned = Rotation.from_euler("zxy", [roll, pitch, yaw], degrees=True).as_matrix()
        return turned @ np.diag([-1.0, 1.0, -1.0])
    kind = rng.random()
    if kind < 0.3:
        return Rotation.random(random_state=rng).as_matrix()
    angles = [rng.uniform(0, 360) if kind < 0.5 else rng.normal(0, 14), rng.normal(0, 28), rng.normal(0, 38)]
    return Rotation.from_euler("zxy", angles, degrees=True).as_matrix()


def sample_crop_camera(
    camera: Camera, keypoints: np.ndarray, rng: np.random.Generator, margins: tuple[float, float] = (0.04, 0.20)
) -> Camera:
    """The camera of a random crop around hands with ``keypoints`` (N, 21, 2), pixels of ``camera``.

    ``margins`` are the least and the most around them, relative to the larger hand's extent, which becomes 150 to 230
    pixels, less only where the crop would be too large.
    """
    padding = 0.10 * max(float(np.ptp(points, axis=0).max()) for points in keypoints)
    extent = max(float(np.ptp(points, axis=0).max()) for points in keypoints) + 2 * padding
    low, high = keypoints.min(axis=(0, 1)) - padding, keypoints.max(axis=(0, 1)) + padding
    margin = rng.uniform(*margins, 4) * extent
    low, high = low - margin[:2], high + margin[2:]
    size = high - low
    scale = rng.uniform(150, 230) / extent
    scale = min(scale, float(np.sqrt(LARGEST_AREA / size.prod())), LONGEST_SIDE / float(size.max()))
    width, height = np.maximum(np.floor(size * scale), 32).astype(int).tolist()
    return _crop_camera(camera, low, scale, width, height)


def sample_pair_camera(camera: Camera, keypoints: np.ndarray, size: int, rng: np.random.Generator) -> Camera:
    """The camera of a square picture of ``size`` pixels around hands with ``keypoints`` (N, 21, 2), pixels of
    ``camera``: 1.3 to 2 times as wide as all of them, and at least 2.2 times as wide as the larger hand, but not much
    wider than the frame."""
    extent = max(float(np.ptp(points, axis=0).max()) for points in keypoints)
    low, high = keypoints.min(axis=(0, 1)), keypoints.max(axis=(0, 1))
    side = max(float((high - low).max()) * rng.uniform(1.3, 2.0), extent * rng.uniform(2.2, 3.2))
    # Beyond the frame there is nothing to learn.
    side = max(min(side, 1.1 * max(camera.width, camera.height)), 1.2 * float((high - low).max()))
    corner = (low + high) / 2 + rng.uniform(-0.12, 0.12, 2) * side - side / 2
    scale = size / side
    return _crop_camera(camera, corner, scale, size, size)


def _crop_camera(camera: Camera, corner: np.ndarray, scale: float, width: int, height: int) -> Camera:
    """The camera of a part of an image from ``corner`` (2,) on, pixels, resized by ``scale``."""
    K = camera.K.copy()
    # Pixel centres are at integers: (x + 0.5) scales.
    K[:2, 2] = (K[:2, 2] + 0.5 - corner) * scale - 0.5
    K[0, 0] *= scale
    K[1, 1] *= scale
    K[0, 1] *= scale
    return dataclasses.replace(camera, K=K, width=width, height=height)
