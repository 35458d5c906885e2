"""The crops of HaMeR and WiLoR, and what their weak-perspective cameras mean in the camera that took the image."""

from __future__ import annotations

import dataclasses
from typing import Self

import cv2
import numpy as np

from ..landmarks.crops import crop_matrix, warp
from ..landmarks.observation import RotatedBox
from ..types import Camera

RESCALE = 2.0
"""Size of the crop over that of the box around the hand, as in the public demonstrations of both networks."""
_ASPECT = 4.0 / 3.0
"""Height over width of the part of the crop that the networks see."""
_TRAINING_FOCAL, _TRAINING_SIZE = 5000.0, 256.0
"""Focal length and size of the crop, pixels, in which the networks' cameras are given."""


@dataclasses.dataclass(frozen=True)
class ManoCrop:
    """An upright square of the image that is shown to a network, mirrored for a hand that looks left.

    Attributes:
        center: (x, y), pixels.
        size: pixels.
        mirrored: whether it is.
    """

    center: tuple[float, float]
    size: float
    mirrored: bool

    @classmethod
    def around(cls, keypoints: np.ndarray, mirrored: bool) -> Self:
        """The crop of a hand with keypoints (21, 2), pixels."""
        low, high = np.min(keypoints, axis=0), np.max(keypoints, axis=0)
        width, height = high - low
        x, y = (low + high) / 2.0
        return cls((float(x), float(y)), max(RESCALE * float(max(height, _ASPECT * width)), 2.0), mirrored)

    def matrix(self, size: int) -> np.ndarray:
        """Affine map (2, 3) from pixels of the crop, ``size`` wide, to pixels of the image."""
        matrix = crop_matrix(RotatedBox(self.center, self.size), size)
        if self.mirrored:
            matrix[0] = -matrix[0, 0], -matrix[0, 1], 2.0 * self.center[0] - matrix[0, 2]
        return matrix

    def cut(self, image: np.ndarray, size: int) -> np.ndarray:
        """The crop uint8 (size, size, 3), RGB, of a BGR image; black beyond it."""
        out = np.empty((size, size, 3), dtype=np.uint8)
        shown = warp(image, RotatedBox(self.center, self.size), self.matrix(size), out, repeat_border=False)
        return cv2.cvtColor(shown, cv2.COLOR_BGR2RGB)

    def view(self, camera: Camera) -> tuple[np.ndarray, float]:
        """The ray (3,) through the middle of the crop, z = 1, mirrored as the crop, and the crop's width at z = 1.

        The width is that at the hand, the middle half of the crop, so that it is right for lenses with distortion.
        """
        x, y = self.center
        quarter = 0.25 * self.size
        points = np.array([[x, y], [x - quarter, y], [x + quarter, y], [x, y - quarter], [x, y + quarter]])
        ray, left, right, top, bottom = camera.unproject(points)
        width = float(np.linalg.norm(right - left) + np.linalg.norm(bottom - top))
        return ray * (-1.0 if self.mirrored else 1.0, 1.0, 1.0), width

    def translation(self, weak_camera: np.ndarray, camera: Camera) -> np.ndarray:
        """Position (3,), metres, of the hand model's origin in the camera frame, mirrored as the crop.

        Args:
            weak_camera: scale s and position tx, ty that a network predicts (3,).
            camera: that took the image, of focal length f and principal point (px, py). Without distortion and for a
                crop of size b at (x, y) the result is (tx + 2 (x - px) / (b s), ty + 2 (y - py) / (b s), 2 f / (b s)).
        """
        scale, x, y = (float(value) for value in weak_camera)
        ray, width = self.view(camera)
        return ray * (2.0 / (max(scale, 1e-6) * width)) + (x, y, 0.0)

    def pixels(self, points: np.ndarray, weak_camera: np.ndarray) -> np.ndarray:
        """Where a network sees points (N, 3), metres, of the hand model in the image (N, 2), pixels.

        It was trained with a camera of long focal length; the result is on the image's hand where its perspective is
        another.
        """
        scale, x, y = (float(value) for value in weak_camera)
        distance = 2.0 * _TRAINING_FOCAL / (_TRAINING_SIZE * max(scale, 1e-6))
        shifted = points + (x, y, distance)
        offset = shifted[:, :2] / shifted[:, 2:] * (_TRAINING_FOCAL / _TRAINING_SIZE) * self.size
        return offset * (-1.0 if self.mirrored else 1.0, 1.0) + self.center

    @property
    def as_box(self) -> RotatedBox:
        """The crop as a box of the image."""
        return RotatedBox(self.center, self.size)
