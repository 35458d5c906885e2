"""From one frame to the next: One-Euro filters on R3 and SO(3), and the life of a hand: TRACKED, PREDICTED, LOST."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..geometry.rotations import rotation_matrices, rotation_vectors
from ..types import HandState

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

    ``cutoff`` (Hz, 0 switches the filter off) holds at rest; it grows by ``speed`` per m/s of the wrist, and by
    ``TURNING_SHARE`` of that per rad/s of a joint. On SO(3) the low-pass step is geodesic:
    R <- R exp(gain log(R^T measured)).
    """

    cutoff: float
    speed: float
    wrist: np.ndarray | None = None
    rotations: np.ndarray | None = None
    velocity: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(3))
    angular_velocity: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((16, 3)))
    stamp: float = 0.0
    _measured: tuple[np.ndarray, np.ndarray] | None = None

    def update(self, wrist: np.ndarray, rotations: np.ndarray, stamp: float) -> tuple[np.ndarray, np.ndarray]:
        """Smoothed wrist position (3,) and joint rotations (16, 3, 3) after a measurement of both at ``stamp`` (s)."""
        step = stamp - self.stamp
        before, self._measured, self.stamp = self._measured, (wrist, rotations), stamp
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
        if self.cutoff == 0.0:
            self.wrist, self.rotations = wrist, rotations
            return wrist, rotations
        gain = _gain(self.cutoff + self.speed * np.linalg.norm(self.velocity), step)
        turning = np.linalg.norm(self.angular_velocity, axis=-1)
        gains = _gain(self.cutoff + TURNING_SHARE * self.speed * turning, step)
        self.wrist = self.wrist + gain * (wrist - self.wrist)
        self.rotations = self.rotations @ rotation_matrices(gains[:, None] * remaining)
        return self.wrist, self.rotations

    def predict(self, stamp: float) -> tuple[np.ndarray, np.ndarray]:
        """Wrist and rotations at ``stamp`` at constant velocity of the whole hand; the fingers keep their pose."""
        if self.wrist is None or self.rotations is None:
            raise ValueError("nothing to predict from: no measurement yet")
        step = stamp - self.stamp
        rotations = self.rotations.copy()
        rotations[0] = rotations[0] @ rotation_matrices(self.angular_velocity[0] * step)
        return self.wrist + self.velocity * step, rotations


@dataclasses.dataclass
class Life:
    """The state of one hand over time: measured it is TRACKED; unseen for at most ``max_prediction_time`` (s) it is
    PREDICTED, then LOST."""

    max_prediction_time: float
    state: HandState = HandState.LOST
    track_id: int = 0
    last_measured: float = -math.inf

    def measured(self, stamp: float) -> None:
        """Note a measurement."""
        self.state, self.last_measured = HandState.TRACKED, stamp

    def unseen(self, stamp: float) -> HandState:
        """Note a frame without this hand; its state from here on."""
        if self.state != HandState.LOST:
            # Where stamps do not advance nobody can say for how long the hand has been gone.
            within = 0.0 < stamp - self.last_measured <= self.max_prediction_time
            self.state = HandState.PREDICTED if within else HandState.LOST
        return self.state
