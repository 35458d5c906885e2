"""The crop frame: a hand as a right hand, in the frame of a virtual camera that looks straight at its crop.

A left hand's crop is mirrored, so that the network is given right hands only. The crop frame is that of the (mirrored)
camera, rotated so that its optical axis goes through the middle of the crop and the crop's upward direction is up.
Orientation, shape, position in the crop and the crop's metric width do not depend, in this frame, on where in the image
the hand is, nor on the lens. The true intrinsics map them back to the metric camera frame.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import cv2
import numpy as np

from ..geometry.rotations import rotations_towards
from ..landmarks.crops import warp
from ..landmarks.observation import RotatedBox
from ..skeleton import mirror_points, mirror_rotations
from ..types import Camera, Side

RAY_FEATURES = 5
PAIR_FEATURES = 5


def crop_pixels(points: np.ndarray, size: int) -> np.ndarray:
    """Points (..., 2) in units of a crop, see :meth:`CropFrame.pixels_in`, in pixels of the crop, ``size`` wide."""
    return (points + 0.5) * size - 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class CropFrame:
    """Box and camera of a crop, and the side of its hand.

    Attributes:
        box: of the crop in the image.
        side: of the hand; the crop of a left hand is mirrored.
        camera: of the image.
    """

    box: RotatedBox
    side: Side
    camera: Camera

    @property
    def _mirrored(self) -> bool:
        return self.side == Side.LEFT

    @functools.cached_property
    def _edges(self) -> np.ndarray:
        """Unit directions (3, 3) through the middle of the crop and of its left and right edges."""
        return self.camera.directions(self.box.to_image(np.array([[0.5, 0.5], [0.0, 0.5], [1.0, 0.5]])))

    @functools.cached_property
    def rotation(self) -> np.ndarray:
        """Rotation (3, 3) from the camera frame, mirrored for a left hand, to the crop frame."""
        ray = mirror_points(self._edges[0]) if self._mirrored else self._edges[0]
        aligned = rotations_towards(ray[None])[0].T
        cos, sin = math.cos(self._angle), math.sin(self._angle)
        return np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]]) @ aligned

    @property
    def _angle(self) -> float:
        return -self.box.angle if self._mirrored else self.box.angle

    @functools.cached_property
    def spread(self) -> float:
        """Width of the crop at unit distance along its middle ray, metres per metre."""
        left, right = self._edges[1:]
        return float(2.0 * np.linalg.norm(left - right) / np.linalg.norm(left + right))

    def points_in(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of the camera frame in the crop frame, metres."""
        return (mirror_points(points) if self._mirrored else points) @ self.rotation.T

    def points_out(self, points: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`points_in`."""
        points = points @ self.rotation
        return mirror_points(points) if self._mirrored else points

    def rotations_in(self, rotations: np.ndarray) -> np.ndarray:
        """Joint rotations (16, 3, 3) of the hand as those of a right hand in the crop frame."""
        result = mirror_rotations(rotations) if self._mirrored else rotations.copy()
        result[0] = self.rotation @ result[0]
        return result

    def rotations_out(self, rotations: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`rotations_in`."""
        result = rotations.copy()
        result[0] = self.rotation.T @ result[0]
        return mirror_rotations(result) if self._mirrored else result

    def pixels_in(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of the image in units of the crop, (0, 0) in its middle, +-0.5 at its edges."""
        points = self.box.from_image(pixels) - 0.5
        return points * (-1.0, 1.0) if self._mirrored else points

    def pixels_out(self, points: np.ndarray) -> np.ndarray:
        """Inverse of :meth:`pixels_in`."""
        return self.box.to_image((points * (-1.0, 1.0) if self._mirrored else points) + 0.5)

    def position_out(self, point: np.ndarray, width: float) -> np.ndarray:
        """The point (3,) of the camera frame that projects to ``point`` (2,) of the crop, at the distance along the
        crop's middle ray at which the crop is ``width`` metres wide."""
        ray = self.points_in(self.camera.directions(self.pixels_out(point)))
        return self.points_out(ray / ray[2] * (width / self.spread))

    def width_at(self, point: np.ndarray) -> float:
        """Width of the crop, metres, at the distance of a point (3,) of the camera frame along the middle ray."""
        return float(self.points_in(point)[2]) * self.spread

    def matrix(self, size: int) -> np.ndarray:
        """Affine map (2, 3) from pixels of the crop, ``size`` wide, to pixels of the image, mirrored for a left hand.

        Pixel i of the crop has its centre at (i + 0.5) / size - 0.5 of :meth:`pixels_in`, so that both sides' crops are
        each other's mirror images exactly.
        """
        corner, right, below = self.pixels_out(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]) / size - 0.5 + 0.5 / size)
        return np.stack([right - corner, below - corner, corner], axis=-1)

    def cut(self, image: np.ndarray, size: int) -> np.ndarray:
        """The crop uint8 (size, size, 3), RGB, of a BGR image, its border repeated beyond it."""
        shown = warp(image, self.box, self.matrix(size), np.empty((size, size, 3), dtype=np.uint8))
        return cv2.cvtColor(shown, cv2.COLOR_BGR2RGB)

    def lookup(self, image: np.ndarray, size: int, outside: float) -> np.ndarray:
        """Nearest values (size, size) of an image (H, W) at the crop's pixels, ``outside`` beyond it."""
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(
            image, self.matrix(size), (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=outside
        )

    @property
    def ray_features(self) -> np.ndarray:
        """Where the crop is in the camera's view, input of the network (RAY_FEATURES,): the middle ray, log of the
        spread, the turn."""
        x, y = self._edges[0, :2] / max(self._edges[0, 2], 1e-6)
        return np.array(
            [-x if self._mirrored else x, y, math.log(self.spread), math.cos(self._angle), math.sin(self._angle)]
        )

    def pair_features(self, other: CropFrame) -> np.ndarray:
        """Where the other hand's crop is relative to this one (PAIR_FEATURES,): its middle in this crop (clipped
        when far), log of the sizes' ratio, and its turn."""
        centre = np.clip(self.pixels_in(np.asarray(other.box.center)), -3.0, 3.0)
        turn = other.box.angle - self.box.angle
        turn = -turn if self._mirrored else turn
        return np.array([*centre, math.log(other.box.size / self.box.size), math.cos(turn), math.sin(turn)])

    def box_out(self, features: np.ndarray) -> RotatedBox:
        """The box in the image of predicted :meth:`pair_features`, whose cosine and sine need not be normalised."""
        x, y, log_size, cos, sin = (float(value) for value in features)
        turn = math.atan2(-sin if self._mirrored else sin, cos)
        center = self.pixels_out(np.array([x, y]))
        size = self.box.size * math.exp(min(max(log_size, -2.0), 2.0))
        return RotatedBox((float(center[0]), float(center[1])), size, self.box.angle + turn)
