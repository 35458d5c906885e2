"""Camera models: metric points to pixels and pixels to viewing rays, with the lens distortions ROS knows."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np

DISTORTION_COEFFICIENTS = {"none": 0, "plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
"""Supported distortion models (names of sensor_msgs/distortion_models) and how many coefficients each needs."""

_NEAR = 1e-6
_UNDISTORT_ITERATIONS = 20


class CameraError(ValueError):
    """The camera description cannot be used; the message says which value is wrong and what was expected."""


@dataclasses.dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera with lens distortion, in the optical frame of REP 103 (x right, y down, z forward).

    Attributes:
        K: intrinsics (3, 3), pixels; the centre of the top left pixel is at (0, 0).
        width, height: image size in pixels.
        distortion_model: ``none``, ``plumb_bob``, ``rational_polynomial`` or ``equidistant``.
        D: distortion coefficients in OpenCV's order (k1 k2 p1 p2 k3 [k4 k5 k6], or k1 k2 k3 k4 for equidistant).
        calibrated: False where the intrinsics are a guess, so that nothing metric downstream pretends otherwise.

    Raises CameraError for anything no camera can have (wrong shapes, NaN, focal length not positive...).
    """

    K: np.ndarray
    width: int
    height: int
    distortion_model: str = "none"
    D: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    calibrated: bool = True

    def __post_init__(self) -> None:
        K = np.array(self.K, dtype=np.float64)
        D = np.array(self.D, dtype=np.float64).reshape(-1)
        if K.shape != (3, 3):
            raise CameraError(f"K has shape {K.shape}, expected (3, 3)")
        if not np.isfinite(K).all():
            raise CameraError(f"K holds a value that is not finite: {K.tolist()}")
        if K[0, 0] <= 0 or K[1, 1] <= 0:
            raise CameraError(
                f"focal lengths must be positive, got fx={K[0, 0]:g}, fy={K[1, 1]:g} (an uncalibrated camera?)"
            )
        if not np.allclose(K[[1, 2, 2, 2], [0, 0, 1, 2]], [0, 0, 0, 1]):
            raise CameraError(f"K must be [[fx, s, cx], [0, fy, cy], [0, 0, 1]], got {K.tolist()}")
        if int(self.width) < 1 or int(self.height) < 1:
            raise CameraError(f"image size must be positive, got {self.width}x{self.height}")
        if self.distortion_model not in DISTORTION_COEFFICIENTS:
            known = ", ".join(sorted(DISTORTION_COEFFICIENTS))
            raise CameraError(f"unknown distortion model {self.distortion_model!r}, expected one of: {known}")
        if not np.isfinite(D).all():
            raise CameraError(f"D holds a value that is not finite: {D.tolist()}")
        needed = DISTORTION_COEFFICIENTS[self.distortion_model]
        if D.size > needed and np.any(D[needed:]):
            raise CameraError(f"{self.distortion_model} takes {needed} coefficients, got {D.size}: {D.tolist()}")
        D = np.pad(D[:needed], (0, max(0, needed - D.size)))
        K.flags.writeable = D.flags.writeable = False
        for name, value in (("K", K), ("D", D), ("width", int(self.width)), ("height", int(self.height))):
            object.__setattr__(self, name, value)

    @classmethod
    def from_fov(cls, width: int, height: int, fov_deg: float) -> Camera:
        """A guessed camera: square pixels, centred, ``fov_deg`` degrees across the longer image side."""
        if not 1.0 <= fov_deg <= 175.0:
            raise CameraError(f"field of view must lie between 1 and 175 degrees, got {fov_deg:g}")
        focal = max(width, height) / (2.0 * math.tan(math.radians(fov_deg) / 2.0))
        K = np.array([[focal, 0.0, (width - 1) / 2.0], [0.0, focal, (height - 1) / 2.0], [0.0, 0.0, 1.0]])
        return cls(K=K, width=width, height=height, calibrated=False)

    @classmethod
    def from_camera_info(cls, info: Any, rectified: bool = False) -> Camera:
        """The camera of the image that comes with a sensor_msgs/CameraInfo, its ROI and binning honoured.

        ``info`` needs the message's fields only; no ROS import is made here. CameraInfo describes the full
        resolution; the image holds the ROI (the whole sensor where its size is 0), then binned (0 means 1), as in
        image_geometry. For a ``rectified`` image the projection matrix P counts and there is no distortion.
        """
        if rectified:
            K, D, model = np.array(info.p, dtype=np.float64).reshape(3, 4)[:, :3], np.zeros(0), "none"
        else:
            K, D = np.array(info.k, dtype=np.float64).reshape(3, 3), np.array(info.d, dtype=np.float64)
            model = info.distortion_model or "none"
            if model == "plumb_bob" and D.size == 8:  # some drivers call the eight-coefficient model so
                model = "rational_polynomial"
            if D.size == 0 and model in DISTORTION_COEFFICIENTS:
                model = "none"
            if not info.distortion_model and np.any(D):
                known = ", ".join(name for name in DISTORTION_COEFFICIENTS if name != "none")
                raise CameraError(f"distortion_model is empty but D is {D.tolist()}: expected one of {known}")
            if not info.distortion_model:
                D = np.zeros(0)
        binning = np.array([int(info.binning_x) or 1, int(info.binning_y) or 1])
        roi = info.roi
        size = np.array([int(roi.width) or int(info.width), int(roi.height) or int(info.height)]) // binning
        K[:2, 2] -= roi.x_offset, roi.y_offset
        K[:2] /= binning[:, None]
        return cls(K=K, width=int(size[0]), height=int(size[1]), distortion_model=model, D=D)

    def matches(self, image: np.ndarray) -> bool:
        """Whether ``image`` (H, W, ...) has this camera's size."""
        return image.shape[:2] == (self.height, self.width)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of points (..., 3) in metres, camera frame; NaN for points not in front of the camera."""
        points = np.asarray(points, dtype=np.float64)
        depth = np.where(points[..., 2:] > _NEAR, points[..., 2:], np.nan)
        return self._to_pixels(self._distort(points[..., :2] / depth))

    def unproject(self, pixels: np.ndarray) -> np.ndarray:
        """Viewing rays (..., 3) with z = 1 through pixels (..., 2), distortion removed."""
        x = self._undistort(self._to_normalised(np.asarray(pixels, dtype=np.float64)))
        return np.concatenate([x, np.ones_like(x[..., :1])], axis=-1)

    def undistort_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Where pixels (..., 2) would lie in the image of the same K without distortion."""
        return self._to_pixels(self.unproject(pixels)[..., :2])

    def _to_pixels(self, x: np.ndarray) -> np.ndarray:
        return x @ self.K[:2, :2].T + self.K[:2, 2]

    def _to_normalised(self, pixels: np.ndarray) -> np.ndarray:
        y = (pixels[..., 1] - self.K[1, 2]) / self.K[1, 1]
        x = (pixels[..., 0] - self.K[0, 2] - self.K[0, 1] * y) / self.K[0, 0]
        return np.stack([x, y], axis=-1)

    def _distort(self, x: np.ndarray) -> np.ndarray:
        """Normalised image coordinates (..., 2), pinhole to lens (the equations of OpenCV's calib3d and fisheye)."""
        if not np.any(self.D) and self.distortion_model != "equidistant":
            return x
        r2 = np.sum(x * x, axis=-1, keepdims=True)
        if self.distortion_model == "equidistant":
            r = np.sqrt(r2)
            theta = np.arctan(r)
            t2 = theta * theta
            k1, k2, k3, k4 = self.D
            theta_d = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
            return x * np.where(r > 1e-9, theta_d / np.maximum(r, 1e-9), 1.0)
        radial, tangential = self._brown_conrady(x, r2)
        return x * radial + tangential

    def _brown_conrady(self, x: np.ndarray, r2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        k1, k2, p1, p2, k3, k4, k5, k6 = np.pad(self.D, (0, 8 - self.D.size))
        radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        xy = x[..., :1] * x[..., 1:]
        tangential = 2 * xy * np.array([p1, p2]) + (r2 + 2 * x * x) * np.array([p2, p1])
        return radial, tangential

    def _undistort(self, x_d: np.ndarray) -> np.ndarray:
        if not np.any(self.D) and self.distortion_model != "equidistant":
            return x_d
        if self.distortion_model == "equidistant":
            return self._undistort_equidistant(x_d)
        # Beyond a radius the polynomials turn back: pixels out there have no ray of their own. They are taken as if on
        # the last good circle and moved out in proportion.
        limit = self._last_good_radius
        radius = np.linalg.norm(x_d, axis=-1, keepdims=True)
        inside = np.minimum(1.0, limit / np.maximum(radius, 1e-9))
        target = x_d * inside
        x = target
        for _ in range(_UNDISTORT_ITERATIONS):
            # Newton's method: the usual fixed-point iteration is slow, or diverges, towards the edge of wide lenses.
            error = self._distort(x) - target
            step = np.linalg.solve(self._distortion_jacobian(x), error[..., None])[..., 0]
            x = x - step * np.minimum(1.0, 0.3 / np.maximum(np.linalg.norm(step, axis=-1, keepdims=True), 1e-9))
            if np.nanmax(np.abs(error), initial=0.0) < 1e-10:
                break
        return x / inside

    @functools.cached_property
    def _last_good_radius(self) -> float:
        """Distorted radius up to which the radial distortion grows, less a margin; infinite where it always does."""
        r = np.linspace(0.0, 4.0, 4001)[1:]
        radial, _ = self._brown_conrady(np.stack([r, np.zeros_like(r)], axis=-1), (r * r)[:, None])
        distorted = r * radial[:, 0]
        # A slope of a tenth: closer to the fold the inverse is no longer a number one could trust.
        flat = np.flatnonzero(np.diff(distorted) < 0.1 * np.diff(r))
        return float(distorted[flat[0]]) if flat.size else math.inf

    def _distortion_jacobian(self, x: np.ndarray, step: float = 1e-6) -> np.ndarray:
        columns = []
        for axis in range(2):
            delta = np.zeros(2)
            delta[axis] = step
            columns.append((self._distort(x + delta) - self._distort(x - delta)) / (2 * step))
        return np.stack(columns, axis=-1)

    def _undistort_equidistant(self, x_d: np.ndarray) -> np.ndarray:
        theta_d = np.linalg.norm(x_d, axis=-1, keepdims=True)
        k1, k2, k3, k4 = self.D
        theta = np.minimum(theta_d, math.pi / 2)
        for _ in range(_UNDISTORT_ITERATIONS):
            t2 = theta * theta
            value = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4)))) - theta_d
            slope = 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))
            theta = np.clip(theta - value / np.where(np.abs(slope) > 1e-9, slope, 1e-9), 0.0, math.pi / 2 - 1e-6)
        return x_d * np.where(theta_d > 1e-9, np.tan(theta) / np.maximum(theta_d, 1e-9), 1.0)
