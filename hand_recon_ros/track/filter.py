"""One-Euro filters on R3 and SO(3)."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..geometry.rotations import rotation_matrices, rotation_vectors

_DERIVATIVE_CUTOFF = 1.0  # Hz, as in the One-Euro paper
TURNING_SHARE = 0.1
"""How much of the speed coefficient (1/m) counts for turning (1/rad): the lever of a hand, in metres."""
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
    """

    wrist: np.ndarray | None = None
    rotations: np.ndarray | None = None
    velocity: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(3))
    angular_velocity: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((16, 3)))
    time: float = 0.0
    _measured: tuple[np.ndarray, np.ndarray] | None = None

    def update(
        self, wrist: np.ndarray, rotations: np.ndarray, time: float, cutoff: float, speed: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Filtered wrist position (3,) and joint rotations (16, 3, 3).

        Args:
            wrist, rotations: the measurement at ``time``, metres.
            time: seconds.
            cutoff: Hz, of a hand at rest; 0 switches the filter off.
            speed: by how much the cutoff grows per m/s of the wrist, and by ``TURNING_SHARE`` of it per rad/s of a
                joint.
        """
        step = time - self.time
        before, self._measured, self.time = self._measured, (wrist, rotations), time
        if self.wrist is None or self.rotations is None or before is None or not 0.0 < step <= _MAX_STEP:
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
        gain = _gain(cutoff + speed * np.linalg.norm(self.velocity), step)
        turning = np.linalg.norm(self.angular_velocity, axis=-1)
        gains = _gain(cutoff + TURNING_SHARE * speed * turning, step)
        self.wrist = self.wrist + gain * (wrist - self.wrist)
        self.rotations = self.rotations @ rotation_matrices(gains[:, None] * remaining)
        return self.wrist, self.rotations

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
