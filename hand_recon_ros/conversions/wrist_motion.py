"""Uncertainty and velocity of the wrists, as filters and controllers of robots take them."""

from __future__ import annotations

import collections

import numpy as np

from ..geometry.rotations import rotation_vectors
from ..types import HandEstimate, HandState, Side

ACROSS = 0.016
"""Standard deviation of the wrist across its viewing ray, in each of the two directions, as a part of its distance."""
TURN = 0.17
"""Standard deviation of the wrist's orientation about each axis, radians. Both are root mean squares over the 1183
TRACKED hands of the clips of ``val``."""
_PREDICTED = 6.0
"""By how much the standard deviations of a PREDICTED hand are larger: few hands are, and some are far off."""
WINDOW = 0.1
"""The velocity is that of a line through the poses of so many seconds."""
_LONGEST_GAP = 0.25
"""A longer time (s) between two images begins another line."""


def wrist_covariance(seen: HandEstimate, shown: HandEstimate, center: np.ndarray) -> np.ndarray:
    """Covariance (6, 6) of the wrist's pose: x y z, m^2, and rotation about the axes x y z of its frame, rad^2.

    Along the viewing ray it is that of ``position_stddev``, across it and of the orientation that of ACROSS and TURN.

    Args:
        seen: a hand that is found, in the frame of the images.
        shown: the same hand in the frame of the result.
        center: of the camera (3,), in the frame of the images, metres.
    """
    wrist = np.asarray(seen.joints[0], dtype=np.float64) - center
    distance = float(np.linalg.norm(wrist))
    turn = shown.wrist_pose[:3, :3] @ seen.wrist_pose[:3, :3].T
    ray = turn @ wrist / distance
    along, across = seen.position_stddev**2, (ACROSS * distance) ** 2
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = across * np.eye(3) + (along - across) * np.outer(ray, ray)
    covariance[3:, 3:] = TURN**2 * np.eye(3)
    return covariance * (_PREDICTED**2 if seen.state == HandState.PREDICTED else 1.0)


class WristVelocities:
    """Velocities of both wrists, by lines through their poses of the last WINDOW seconds."""

    def __init__(self) -> None:
        self._poses: dict[Side, collections.deque[tuple[float, np.ndarray]]] = {}
        self._tracks: dict[Side, int] = {}

    def __call__(self, hand: HandEstimate, time: float) -> tuple[np.ndarray, np.ndarray] | None:
        """Linear (3,), m/s, and angular velocity (3,), rad/s, in the axes of the hand's frame; None where this is the
        first pose of a track, and for a hand that is LOST.

        Args:
            hand: of the next image.
            time: of it, seconds. Where it does not advance, the hand's poses begin anew.
        """
        if not hand.found:
            self._poses.pop(hand.side, None)
            return None
        poses = self._poses.setdefault(hand.side, collections.deque())
        step = time - poses[-1][0] if poses else 0.0
        if self._tracks.get(hand.side) != hand.track_id or not 0.0 < step <= _LONGEST_GAP:
            poses.clear()
        self._tracks[hand.side] = hand.track_id
        poses.append((time, np.array(hand.wrist_pose, dtype=np.float64)))
        while len(poses) > 2 and time - poses[0][0] > WINDOW + 1e-6:
            poses.popleft()
        if len(poses) < 2:
            return None
        times = np.array([each - time for each, _ in poses])  # of stamps the mean alone is inexact by a microsecond
        matrices = np.stack([pose for _, pose in poses])
        weights = times - times.mean()
        weights /= weights @ weights
        turns = rotation_vectors(matrices[:, :3, :3] @ matrices[0, :3, :3].T)
        return weights @ matrices[:, :3, 3], weights @ turns

    def clear(self) -> None:
        """The next hands begin anew."""
        self._poses.clear()
