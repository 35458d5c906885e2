"""Camera models: metric points to pixels and pixels to viewing rays, with the lens distortion models of ROS."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial

DISTORTION_COEFFICIENTS = {"none": 0, "plumb_bob": 5, "rational_polynomial": 14, "equidistant": 4}
"""Supported distortion models (names of sensor_msgs/distortion_models) and how many coefficients each takes."""

_OTHER_NAMES = {"fisheye": "equidistant", "radtan": "plumb_bob"}
"""Names of the same models in OpenCV and in Kalibr."""
_NEAR = 1e-6
"""Smallest z of a point in front of the camera: metres of a point, cosine of the angle to the axis of a direction."""
_UNDISTORT_ITERATIONS = 20
_SAMPLES = 256
_SAMPLED_RADIUS = 8.0
"""Samples of a lens model, and the largest undistorted radius of one, from which Newton's method begins."""
_NO_COEFFICIENT = 1e-60
"""Coefficients of a lens model up to which, as the last ones, they are none."""
_SINGULAR = 1e-12
"""Determinant of the distortion's derivative at and below which Newton's method stays where it is: no lens has it."""
_LEAST_SLOPE = 0.1
"""Growth of the distorted with the undistorted radius below which the inverse is too uncertain to be of use."""


class CameraError(ValueError):
    """A camera description that cannot be used; the message names the wrong value and what was expected."""


@dataclasses.dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera with lens distortion, in the optical frame of REP 103 (x right, y down, z forward).

    The lens models are OpenCV's (calib3d and fisheye). Each holds up to the radius, or angle to the axis, at which its
    polynomial stops growing. Beyond, it would fold points back into the image: these have no pixel.

    Attributes:
        K: intrinsics (3, 3), pixels; the centre of the top left pixel is at (0, 0).
        width, height: image size in pixels.
        distortion_model: ``none``, ``plumb_bob``, ``rational_polynomial`` or ``equidistant``.
        D: distortion coefficients in OpenCV's order (k1 k2 p1 p2 k3 [k4 k5 k6 [s1 s2 s3 s4 [taux tauy]]], or
            k1 k2 k3 k4 for equidistant).
        calibrated: False where the intrinsics are a guess; estimates then report it.
        center: of projection (3,), in the frame of the points, metres: not zero for the second camera of a stereo pair,
            whose rectified images have the frame of the first one.

    Raises CameraError for impossible values (wrong shapes, NaN, a focal length that is not positive...).
    """

    K: np.ndarray
    width: int
    height: int
    distortion_model: str = "none"
    D: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    calibrated: bool = True
    center: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(3))

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
        model = _OTHER_NAMES.get(self.distortion_model, self.distortion_model)
        if model == "plumb_bob" and D.size > 5 and np.any(D[5:]):  # some drivers' name for the longer model
            model = "rational_polynomial"
        if model not in DISTORTION_COEFFICIENTS:
            known = ", ".join(sorted(DISTORTION_COEFFICIENTS))
            raise CameraError(f"unknown distortion model {self.distortion_model!r}, expected one of: {known}")
        if not np.isfinite(D).all():
            raise CameraError(f"D holds a value that is not finite: {D.tolist()}")
        needed = DISTORTION_COEFFICIENTS[model]
        if D.size > needed and np.any(D[needed:]):
            raise CameraError(f"{model} takes {needed} coefficients, got {D.size}: {D.tolist()}")
        if model == "rational_polynomial" and not np.any(D[8:]):
            needed = 8  # without thin prism and tilt
        D = np.pad(D[:needed], (0, max(0, needed - D.size)))
        center = np.array(self.center, dtype=np.float64)
        if center.shape != (3,) or not np.isfinite(center).all():
            raise CameraError(f"center must be three numbers, got {center.tolist()}")
        K.flags.writeable = D.flags.writeable = center.flags.writeable = False
        values = {
            "K": K,
            "D": D,
            "center": center,
            "width": int(self.width),
            "height": int(self.height),
            "distortion_model": model,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_fov(cls, width: int, height: int, fov_deg: float) -> Camera:
        """A guess: no distortion, square pixels, principal point in the middle, ``fov_deg`` degrees across the longer
        image side; not calibrated. Raises CameraError for an angle outside [1, 175]."""
        if not 1.0 <= fov_deg <= 175.0:
            raise CameraError(f"field of view must lie between 1 and 175 degrees, got {fov_deg:g}")
        focal = max(width, height) / (2.0 * math.tan(math.radians(fov_deg) / 2.0))
        K = np.array([[focal, 0.0, (width - 1) / 2.0], [0.0, focal, (height - 1) / 2.0], [0.0, 0.0, 1.0]])
        return cls(K=K, width=width, height=height, calibrated=False)

    @classmethod
    def from_camera_info(cls, info: Any, rectified: bool = False) -> Camera:
        """The camera of the image that belongs to a sensor_msgs/CameraInfo, with its ROI and binning.

        ``info`` needs only the message's fields. CameraInfo describes the full resolution; the image is the ROI (the
        whole sensor where its size is 0), then binned (0 means 1), as in image_geometry. A ``rectified`` image has the
        intrinsics of the projection matrix P and no distortion; its Tx and Ty say where the second camera of a stereo
        pair is in the frame of the first. Raises CameraError for values that cannot be used.
        """
        center = np.zeros(3)
        if rectified:
            P = np.array(info.p, dtype=np.float64).reshape(3, 4)
            K, D, model = P[:, :3].copy(), np.zeros(0), "none"
            if np.all(np.diag(K)[:2] > 0.0):  # else K is refused
                center[:2] = -P[:2, 3] / np.diag(K)[:2]
        else:
            K, D = np.array(info.k, dtype=np.float64).reshape(3, 3), np.array(info.d, dtype=np.float64)
            model = info.distortion_model or "none"
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
        return cls(K=K, width=int(size[0]), height=int(size[1]), distortion_model=model, D=D, center=center)

    @property
    def centred(self) -> Camera:
        """The same camera in a frame of its own, whose origin is its centre."""
        return dataclasses.replace(self, center=np.zeros(3)) if np.any(self.center) else self

    def matches(self, image: np.ndarray) -> bool:
        """Whether ``image`` (H, W, ...) has this camera's size."""
        return image.shape[:2] == (self.height, self.width)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (..., 2) of points (..., 3) in metres, in the frame in which ``center`` is.

        NaN for points that are not in front of the camera (z > 0, also with a fisheye lens) and for points beyond the
        range of the lens model.
        """
        points = np.asarray(points, dtype=np.float64) - self.center
        x = points[..., :2] / np.where(points[..., 2:] > _NEAR, points[..., 2:], np.nan)
        if not self._distorts:
            return self._to_pixels(x)
        in_range = np.linalg.norm(x, axis=-1, keepdims=True) <= self.fold_radius
        return self._to_pixels(self._distort(np.where(in_range, x, np.nan)))

    def unproject(self, pixels: np.ndarray) -> np.ndarray:
        """Viewing rays (..., 3) with z = 1 through pixels (..., 2), distortion removed.

        Of a fisheye lens NaN for pixels beyond the range of the model and for those that show what is 90 degrees or
        more from the axis, where no ray has z = 1: see :meth:`directions`. Pixels beyond the range of the other models
        get rays that go on in proportion from the last radius that can be inverted well.
        """
        pixels = np.asarray(pixels, dtype=np.float64)
        if self.distortion_model == "equidistant":
            directions = self.directions(pixels)
            theta_d = np.linalg.norm(self._to_normalised(pixels), axis=-1, keepdims=True)
            has_ray = (directions[..., 2:] > _NEAR) & (theta_d <= self._distorted_angle(np.array(self._last_angle)))
            return directions / np.where(has_ray, directions[..., 2:], np.nan)
        x = self._undistort(self._to_normalised(pixels))
        return np.concatenate([x, np.ones_like(x[..., :1])], axis=-1)

    def directions(self, pixels: np.ndarray) -> np.ndarray:
        """Unit vectors (..., 3) along the viewing rays through pixels (..., 2).

        Those of a fisheye lens reach beyond 90 degrees from the axis (z <= 0). Beyond the range of its model they stay
        at the last angle.
        """
        if self.distortion_model != "equidistant":
            rays = self.unproject(pixels)
            return rays / np.linalg.norm(rays, axis=-1, keepdims=True)
        x_d = self._to_normalised(np.asarray(pixels, dtype=np.float64))
        theta_d = np.linalg.norm(x_d, axis=-1, keepdims=True)
        theta = self._undistorted_angle(theta_d)
        return np.concatenate([x_d * _ratio(np.sin(theta), theta_d), np.cos(theta)], axis=-1)

    def undistort_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Where pixels (..., 2) would lie in the image of the same K without distortion; NaN as :meth:`unproject`."""
        return self._to_pixels(self.unproject(pixels)[..., :2])

    def _to_pixels(self, x: np.ndarray) -> np.ndarray:
        return x @ self.K[:2, :2].T + self.K[:2, 2]

    def _to_normalised(self, pixels: np.ndarray) -> np.ndarray:
        y = (pixels[..., 1] - self.K[1, 2]) / self.K[1, 1]
        x = (pixels[..., 0] - self.K[0, 2] - self.K[0, 1] * y) / self.K[0, 0]
        return np.stack([x, y], axis=-1)

    @property
    def _distorts(self) -> bool:
        return self.distortion_model == "equidistant" or bool(np.any(self.D))

    def _distort(self, x: np.ndarray) -> np.ndarray:
        """Normalised image coordinates (..., 2), pinhole to lens (the equations of OpenCV's calib3d and fisheye)."""
        r2 = np.sum(x * x, axis=-1, keepdims=True)
        if self.distortion_model == "equidistant":
            r = np.sqrt(r2)
            return x * _ratio(self._distorted_angle(np.arctan(r)), r)
        _, _, p1, p2 = self._coefficients[:4]
        tangential = 2 * x[..., :1] * x[..., 1:] * np.array([p1, p2]) + (r2 + 2 * x * x) * np.array([p2, p1])
        distorted = x * self._radial(r2) + tangential
        if self.D.size <= 8:
            return distorted
        s1, s2, s3, s4 = self._coefficients[8:12]
        distorted = distorted + r2 * np.array([s1, s3]) + r2 * r2 * np.array([s2, s4])
        tilted = distorted @ self._tilt[:, :2].T + self._tilt[:, 2]
        return tilted[..., :2] / tilted[..., 2:]

    @functools.cached_property
    def _tilt(self) -> np.ndarray:
        """Homography (3, 3) of a sensor that is tilted by taux and tauy (rad), as OpenCV's matTilt."""
        (cx, cy), (sx, sy) = np.cos(self._coefficients[12:]), np.sin(self._coefficients[12:])
        R = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]]) @ np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
        return np.array([[R[2, 2], 0, -R[0, 2]], [0, R[2, 2], -R[1, 2]], [0, 0, 1]]) @ R

    # Brown-Conrady: plumb_bob and rational_polynomial

    @functools.cached_property
    def _coefficients(self) -> np.ndarray:
        """k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4 taux tauy, as OpenCV orders them."""
        return np.pad(self.D, (0, 14 - self.D.size))

    def _radial(self, r2: np.ndarray) -> np.ndarray:
        """Distorted over undistorted radius, at squared undistorted radii."""
        k1, k2, _, _, k3, k4, k5, k6 = self._coefficients[:8]
        return (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))

    def _undistort(self, x_d: np.ndarray) -> np.ndarray:
        if not self._distorts:
            return x_d
        radius = np.linalg.norm(x_d, axis=-1, keepdims=True)
        inside = np.minimum(1.0, self._invertible_radius / np.maximum(radius, 1e-9))
        target = x_d * inside
        x = target * np.interp(radius * inside, *self._inverse_samples)
        for _ in range(_UNDISTORT_ITERATIONS):
            # Newton's method: the usual fixed-point iteration is slow, or diverges, towards the edge of wide lenses.
            error = self._distort(x) - target
            step = _newton_step(self._distortion_jacobian(x), error)
            x = x - step * np.minimum(1.0, 0.3 / np.maximum(np.linalg.norm(step, axis=-1, keepdims=True), 1e-9))
            if np.nanmax(np.abs(error), initial=0.0) < 1e-10:
                break
        return x / inside

    def _distortion_jacobian(self, x: np.ndarray, step: float = 1e-6) -> np.ndarray:
        columns = []
        for axis in range(2):
            delta = np.zeros(2)
            delta[axis] = step
            columns.append((self._distort(x + delta) - self._distort(x - delta)) / (2 * step))
        return np.stack(columns, axis=-1)

    @functools.cached_property
    def fold_radius(self) -> float:
        """Undistorted radius at which the lens model stops growing; infinite where it always grows."""
        if self.distortion_model == "equidistant":
            return math.tan(self._last_angle) if self._last_angle < math.pi / 2 else math.inf
        return min(self._radius_of_slope(0.0), self._pole)

    @functools.cached_property
    def _invertible_radius(self) -> float:
        """Distorted radius up to which pixels are undistorted; infinite where the distortion always grows enough."""
        r = self._radius_of_slope(_LEAST_SLOPE)
        return r * float(self._radial(np.array(r * r))) if r < self._pole else math.inf

    @functools.cached_property
    def _inverse_samples(self) -> tuple[np.ndarray, np.ndarray]:
        """Distorted radii (S,), and undistorted over distorted radius (S,): where Newton's method begins."""
        last = min(self._radius_of_slope(_LEAST_SLOPE), 0.99 * self._pole, _SAMPLED_RADIUS)
        r = np.linspace(0.0, last, _SAMPLES)
        radial = self._radial(r * r)
        return r * radial, 1.0 / radial

    def _radius_of_slope(self, slope: float) -> float:
        """Smallest radius at which the distorted radius r N(r^2) / M(r^2) grows by no more than ``slope``."""
        k1, k2, _, _, k3, k4, k5, k6 = self._coefficients[:8]
        s, n, m = Polynomial([0, 1]), Polynomial([1, k1, k2, k3]), Polynomial([1, k4, k5, k6])
        return math.sqrt(_smallest_root(n * m + 2 * s * (n.deriv() * m - n * m.deriv()) - slope * m * m))

    @functools.cached_property
    def _pole(self) -> float:
        """Radius at which the rational model's denominator is zero."""
        return math.sqrt(_smallest_root(Polynomial([1, *self._coefficients[5:8]])))

    # Equidistant: the fisheye model of Kannala and Brandt (2006)

    def _distorted_angle(self, theta: np.ndarray) -> np.ndarray:
        k1, k2, k3, k4 = self.D
        t2 = theta * theta
        return theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))

    def _undistorted_angle(self, theta_d: np.ndarray) -> np.ndarray:
        """The angles to the axis (rad) that the lens shows at radii ``theta_d``, at most the last one."""
        last = self._last_angle
        k1, k2, k3, k4 = self.D
        samples = np.linspace(0.0, last, _SAMPLES)
        theta = np.interp(theta_d, self._distorted_angle(samples), samples)  # where Newton's method begins
        for _ in range(_UNDISTORT_ITERATIONS):
            t2 = theta * theta
            slope = 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))
            theta = theta - (self._distorted_angle(theta) - theta_d) / np.maximum(slope, 1e-9)
            theta = np.clip(theta, 0.0, last)
        return theta

    @functools.cached_property
    def _last_angle(self) -> float:
        """The angle to the axis (rad) at which the fisheye polynomial stops growing, at most 180 degrees."""
        k1, k2, k3, k4 = self.D
        return min(math.sqrt(_smallest_root(Polynomial([1, 3 * k1, 5 * k2, 7 * k3, 9 * k4]))), math.pi)


def _ratio(value: np.ndarray, length: np.ndarray) -> np.ndarray:
    """``value / length``, 1 in the limit where both go to zero."""
    return np.where(length <= 1e-9, 1.0, value / np.maximum(length, 1e-9))


def _newton_step(jacobian: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Solutions (..., 2) of jacobian (..., 2, 2) @ step = error (..., 2); zero where there is none."""
    (a, b), (c, d) = np.moveaxis(jacobian, (-2, -1), (0, 1))
    determinant = a * d - b * c
    step = np.stack([d * error[..., 0] - b * error[..., 1], a * error[..., 1] - c * error[..., 0]], axis=-1)
    return step / np.where(np.abs(determinant) > _SINGULAR, determinant, np.inf)[..., None]


def _smallest_root(polynomial: Polynomial) -> float:
    """The smallest positive real root; infinite where there is none, and 0 where coefficients overflow."""
    polynomial = polynomial.trim(_NO_COEFFICIENT)
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite(polynomial.coef / polynomial.coef[-1]).all():  # what roots() divides
            return 0.0
    roots = polynomial.roots()
    real = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0.0)]
    return float(real.min(initial=math.inf))
