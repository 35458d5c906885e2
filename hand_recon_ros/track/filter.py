"""One-Euro filters on R3 and SO(3)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..geometry.rotations import rotation_matrices, rotation_vectors

_DERIVATIVE_CUTOFF = 1.0  # Hz, as in the One-Euro paper
TURNING_SHARE = 0.1
"""How much of the speed coefficient (1/m) counts for turning (1/rad): the lever of a hand, in metres."""
_RADIAL_CUTOFF = 5.0
"""Of the speed along the ray, Hz, by which the distance in the next image is predicted."""
_RADIAL_DELAY = 0.03
"""By how much that speed is behind, seconds."""
_MAX_ACCELERATION = 30.0
"""Of a wrist along its ray, m/s^2: a measured change of its speed beyond that is an error of the distance."""
_DISTANCE_NOISE = 0.005
"""Noise of the measured distance that is allowed beside it, metres."""
_MAX_STEP = 0.5
"""A longer pause (s) between two measurements starts the filters afresh."""


def _gain(cutoff: np.ndarray | np.floating | float, step: float) -> np.ndarray:
    """Smoothing factor of a first-order low-pass filter with this cutoff (Hz) for a time step (s)."""
    rate = 2.0 * math.pi * np.asarray(cutoff) * step
    return rate / (rate + 1.0)


@dataclasses.dataclass
class HandFilter:
    """One-Euro filter of one hand (Casiez, Roussel, Vogel, CHI 2012): the wrist in R3, each joint on SO(3).

    On SO(3) the low-pass step is geodesic: R <- R exp(gain log(R^T measured)).

    Attributes:
        wrist, rotations: the last result; None before the first.
        velocity, angular_velocity: of the wrist (3,), m/s, and of each joint (16, 3), rad/s.
        radial_speed: of the wrist along its ray, m/s, less smooth than ``velocity``.
        time: of the last measurement, seconds.
        jump: by how much the last measured distance differs from what is possible, metres.
    """

    wrist: np.ndarray | None = None
    rotations: np.ndarray | None = None
    velocity: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(3))
    angular_velocity: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((16, 3)))
    radial_speed: float = 0.0
    time: float = 0.0
    jump: float = 0.0
    _measured: tuple[np.ndarray, np.ndarray] | None = None

    def update(
        self,
        wrist: np.ndarray,
        rotations: np.ndarray,
        time: float,
        cutoff: float,
        speed: float,
        exact: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Filtered wrist position (3,) and joint rotations (16, 3, 3).

        Args:
            wrist, rotations: the measurement at ``time``, metres.
            time: seconds.
            cutoff: Hz, of a hand at rest; 0 switches the filter off, and the limit to the change of the distance.
            speed: by how much the cutoff grows per m/s of the wrist, and by ``TURNING_SHARE`` of it per rad/s of a
                joint.
            exact: whether the distance was measured by a depth image: it may then change by any amount.
        """
        step, before, self.jump = time - self.time, self._measured, 0.0
        if not 0.0 < step <= _MAX_STEP:
            before = None
        if before is None:
            self.radial_speed = 0.0
        elif cutoff > 0.0:
            wrist = self._without_jump(wrist, before[0], step, exact)
        self._measured, self.time = (wrist, rotations), time
        if self.wrist is None or self.rotations is None or before is None:
            self.velocity, self.angular_velocity = np.zeros(3), np.zeros((16, 3))
            self.wrist, self.rotations = wrist, rotations
            return wrist, rotations
        # Velocities come from what was measured, not from the filter's own lagging output.
        slow = _gain(_DERIVATIVE_CUTOFF, step)
        starts = np.stack([before[1], self.rotations])
        turned, remaining = rotation_vectors(np.swapaxes(starts, -1, -2) @ rotations)
        self.velocity = self.velocity + slow * ((wrist - before[0]) / step - self.velocity)
        self.angular_velocity = self.angular_velocity + slow * (turned / step - self.angular_velocity)
        if cutoff == 0.0:
            self.wrist, self.rotations = wrist, rotations
            return wrist, rotations
        gain = self._wrist_gain(wrist, cutoff, speed, step)
        turning = np.linalg.norm(self.angular_velocity, axis=-1)
        gains = _gain(cutoff + TURNING_SHARE * speed * turning, step)
        self.wrist = self.wrist + gain @ (wrist - self.wrist)
        self.rotations = self.rotations @ rotation_matrices(gains[:, None] * remaining)
        return self.wrist, self.rotations

    def _without_jump(self, wrist: np.ndarray, before: np.ndarray, step: float, exact: bool) -> np.ndarray:
        """The measured wrist, moved along its ray to where a hand can be after ``step`` (s).

        Where fingers are hidden the measured distance changes by up to 15 cm from one image to the next.
        """
        ray = wrist / max(float(np.linalg.norm(wrist)), 1e-9)
        change = float(ray @ (wrist - before))
        limit = _MAX_ACCELERATION * step * (step + _RADIAL_DELAY) + _DISTANCE_NOISE
        expected = self.radial_speed * step
        possible = change if exact else min(max(change, expected - limit), expected + limit)
        self.radial_speed += float(_gain(_RADIAL_CUTOFF, step)) * (possible / step - self.radial_speed)
        self.jump = abs(change - possible)
        return wrist - (change - possible) * ray

    def _wrist_gain(self, wrist: np.ndarray, cutoff: float, speed: float, step: float) -> np.ndarray:
        """Smoothing factors (3, 3) of the wrist: along its ray by the speed along it, across by the speed across.

        A camera measures the distance much worse than the rest: the noise of that must not pass because the hand
        moves across the image.
        """
        ray = wrist / max(float(np.linalg.norm(wrist)), 1e-9)
        along = float(ray @ self.velocity)
        across = float(np.linalg.norm(self.velocity - along * ray))
        gains = _gain(cutoff + speed * np.array([abs(along), across]), step)
        return gains[1] * np.eye(3) + (gains[0] - gains[1]) * np.outer(ray, ray)

    def shift(self, step: np.ndarray) -> None:
        """Move the filter and its last measurement by ``step`` (3,), metres: a correction, not a motion of the hand."""
        if self.wrist is not None:
            self.wrist = self.wrist + step
        if self._measured is not None:
            self._measured = self._measured[0] + step, self._measured[1]

    def predict(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Wrist and rotations at ``time`` (s) at constant velocity of the whole hand; the fingers keep their pose."""
        if self.wrist is None or self.rotations is None:
            raise ValueError("nothing to predict from: no measurement yet")
        step = time - self.time
        rotations = self.rotations.copy()
        rotations[0] = rotations[0] @ rotation_matrices(self.angular_velocity[0] * step)
        return self.wrist + self.velocity * step, rotations
