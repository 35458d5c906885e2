"""Filters of a hand on R3 and SO(3): of second order, with a cutoff that grows with the speed."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..geometry.rotations import rotation_matrices, rotation_vectors

_TURNING_SHARE = 0.04
"""How much of the speed coefficient (1/m) counts for turning (1/rad): the lever of a finger, in metres."""
_RADIAL_SHARE = 0.15
"""How much of it counts along the ray, where a camera measures motion much worse than across it."""
_OFF_CUTOFF = 1.0
"""Of the velocity while the filter is off, Hz."""
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


def _low_pass(cutoff: float, step: float) -> float:
    """Smoothing factor of a first-order low-pass filter with this cutoff (Hz) for a time step (s)."""
    rate = 2.0 * math.pi * cutoff * step
    return rate / (rate + 1.0)


def _gains(cutoff: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Gains of value and velocity for a time step (s), of cutoffs (Hz); all 0: the filter is off."""
    if not np.any(cutoff):
        return np.ones_like(cutoff), np.full_like(cutoff, _low_pass(_OFF_CUTOFF, step))
    # The poles of a Butterworth filter; beyond a quarter turn of a step they would alternate.
    turn = np.minimum(math.sqrt(2.0) * math.pi * cutoff * step, math.pi / 2)
    radius = np.exp(-turn)
    return 1.0 - radius**2, 1.0 + radius**2 - 2.0 * radius * np.cos(turn)


@dataclasses.dataclass
class HandFilter:
    """Filter of one hand: the wrist in R3, each joint on SO(3).

    A g-h filter (Brookner, Tracking and Kalman Filtering Made Easy, 1998): each measurement corrects a value that was
    predicted at constant velocity, and the velocity, so steady motion is not delayed. The cutoff grows with the speed,
    as that of the One-Euro filter (Casiez, Roussel, Vogel, CHI 2012).

    Attributes:
        wrist, rotations: the last result; None before the first.
        velocity, angular_velocity: of the wrist (3,), m/s, and of each joint (16, 3), rad/s, in its own frame.
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
    _measured: np.ndarray | None = None

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
            speed: by how much the cutoff grows per m/s of the wrist across its ray, by a share of it along the ray and
                per rad/s of a joint.
            exact: whether the distance was measured by a depth image: it may then change by any amount.
        """
        step, before, self.jump = time - self.time, self._measured, 0.0
        if not 0.0 < step <= _MAX_STEP:
            before = None
        if before is None:
            self.radial_speed = 0.0
        elif cutoff > 0.0:
            wrist = self._without_jump(wrist, before, step, exact)
        self._measured, self.time = wrist, time
        if self.wrist is None or self.rotations is None or before is None:
            self.velocity, self.angular_velocity = np.zeros(3), np.zeros((16, 3))
            self.wrist, self.rotations = wrist, rotations
            return wrist, rotations
        if cutoff == 0.0:
            speed = 0.0
        place = self._corrected_wrist(wrist, self.wrist + step * self.velocity, cutoff, speed, step)
        turns = self._corrected_rotations(
            rotations, self.rotations @ rotation_matrices(step * self.angular_velocity), cutoff, speed, step
        )
        self.wrist, self.rotations = (place, turns) if cutoff > 0.0 else (wrist, rotations)
        return self.wrist, self.rotations

    def _corrected_wrist(
        self, measured: np.ndarray, predicted: np.ndarray, cutoff: float, speed: float, step: float
    ) -> np.ndarray:
        """Along the ray by the speed along it, across by the speed across: the noise of the distance must not pass
        because the hand moves across the image."""
        ray = measured / max(float(np.linalg.norm(measured)), 1e-9)
        along = float(ray @ self.velocity)
        across = float(np.linalg.norm(self.velocity - along * ray))
        value, rate = _gains(cutoff + speed * np.array([_RADIAL_SHARE * abs(along), across]), step)
        error = measured - predicted
        radial = (ray @ error) * ray
        parts = np.stack([radial, error - radial])
        self.velocity = self.velocity + rate @ parts / step
        return np.asarray(predicted + value @ parts)

    def _corrected_rotations(
        self, measured: np.ndarray, predicted: np.ndarray, cutoff: float, speed: float, step: float
    ) -> np.ndarray:
        """Each joint by its own speed."""
        turning = np.linalg.norm(self.angular_velocity, axis=-1, keepdims=True)
        value, rate = _gains(cutoff + _TURNING_SHARE * speed * turning, step)
        error = rotation_vectors(np.swapaxes(predicted, -1, -2) @ measured)
        self.angular_velocity = self.angular_velocity + rate * error / step
        return predicted @ rotation_matrices(value * error)

    def _without_jump(self, wrist: np.ndarray, before: np.ndarray, step: float, exact: bool) -> np.ndarray:
        """The measured wrist, moved along its ray to where a hand can be after ``step`` (s).

        Where fingers are hidden the measured distance changes by up to 15 cm from one image to the next.
        """
        ray = wrist / max(float(np.linalg.norm(wrist)), 1e-9)
        change = float(ray @ (wrist - before))
        limit = _MAX_ACCELERATION * step * (step + _RADIAL_DELAY) + _DISTANCE_NOISE
        expected = self.radial_speed * step
        possible = change if exact else min(max(change, expected - limit), expected + limit)
        self.radial_speed += _low_pass(_RADIAL_CUTOFF, step) * (possible / step - self.radial_speed)
        self.jump = abs(change - possible)
        return wrist - (change - possible) * ray

    def shift(self, step: np.ndarray) -> None:
        """Move the filter and its last measurement by ``step`` (3,), metres: a correction, not a motion of the hand."""
        if self.wrist is not None:
            self.wrist = self.wrist + step
        if self._measured is not None:
            self._measured = self._measured + step

    def predict(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Wrist and rotations at ``time`` (s) at constant velocity of the whole hand; the fingers keep their pose."""
        if self.wrist is None or self.rotations is None:
            raise ValueError("nothing to predict from: no measurement yet")
        step = time - self.time
        rotations = self.rotations.copy()
        rotations[0] = rotations[0] @ rotation_matrices(self.angular_velocity[0] * step)
        return self.wrist + self.velocity * step, rotations
