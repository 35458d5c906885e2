"""What moves the target: relative motion within limits, the clutch's pinch, and the gripper.

Poses are homogeneous matrices (4, 4) in the frame in which the robot is commanded; times are in seconds.
"""

from __future__ import annotations

import numpy as np

from ..geometry.rotations import nearest_rotations, rotation_matrices, rotation_vectors
from .settings import TeleopSettings


def step_towards(pose: np.ndarray, goal: np.ndarray, length: float, angle: float) -> np.ndarray:
    """``pose`` moved towards ``goal`` (both (4, 4)) on a straight line and by the shortest rotation.

    It moves by at most ``length`` metres and ``angle`` radians, and never past the goal.
    """
    way = goal[:3, 3] - pose[:3, 3]
    turn = rotation_vectors(goal[:3, :3] @ pose[:3, :3].T)
    result = np.eye(4)
    result[:3, 3] = pose[:3, 3] + _at_most(way, length)
    result[:3, :3] = nearest_rotations(rotation_matrices(_at_most(turn, angle)) @ pose[:3, :3])
    return result


def _at_most(vector: np.ndarray, length: float) -> np.ndarray:
    norm = float(np.linalg.norm(vector))
    return vector if norm <= length else vector * (length / norm)


class PinchClutch:
    """Engaged while thumb and index finger pinch, with hysteresis.

    After a start or :meth:`reset` the fingers have to be seen apart before a pinch counts, so that a hand that is found
    again while it pinches does not move the robot at once.
    """

    def __init__(self) -> None:
        self.engaged = False
        self._armed = False

    def reset(self) -> None:
        """Release; the next pinch counts once the fingers were apart."""
        self.engaged = self._armed = False

    def update(self, distance: float, engage: float, release: float) -> bool:
        """Whether the clutch is engaged at this distance of the fingertips; ``engage`` < ``release``, metres."""
        if distance > release:
            self.engaged, self._armed = False, True
        elif distance < engage and self._armed:
            self.engaged = True
        return self.engaged


class Gripper:
    """The gripper's opening from the distance of thumb and index tip, linear, with hysteresis.

    Attributes:
        command: the last one, 0 open .. 1 closed; None before the first.
    """

    def __init__(self) -> None:
        self.command: float | None = None
        self._follows = True
        self._gap = 0.0

    def engage(self) -> None:
        """Hold the last command until the fingers have reached it, so that what the gripper holds is not dropped."""
        self._follows = self.command is None
        self._gap = 0.0

    def update(self, distance: float, open_distance: float, closed_distance: float, hysteresis: float) -> float:
        """The command for the fingertips' ``distance``, metres.

        It moves only where the fingers move by more than ``hysteresis``, a fraction of their range, and reaches 0 and 1
        at ``open_distance`` and ``closed_distance``.
        """
        closure = (open_distance - distance) / (open_distance - closed_distance)
        # The range is widened by the hysteresis at both ends, else the command would not reach them.
        closure = float(np.clip(closure * (1.0 + 2.0 * hysteresis) - hysteresis, -hysteresis, 1.0 + hysteresis))
        if self.command is None:
            self.command = min(max(closure, 0.0), 1.0)
        if not self._follows:
            gap = closure - self.command
            self._follows = abs(gap) <= max(hysteresis, 0.05) or gap * self._gap < 0.0  # reached, or passed
            self._gap = gap
        if self._follows:
            self.command = min(max(self.command, closure - hysteresis, 0.0), closure + hysteresis, 1.0)
        return self.command


class RelativeMotion:
    """The target follows the motion of the hand since the clutch was engaged, not its place.

    Attributes:
        pose: the target (4, 4), where it is relative to an arbitrary start until ``placed``.
        placed: whether the start was given.
    """

    def __init__(self) -> None:
        self.pose = np.eye(4)
        self.placed = False
        self._goal = np.eye(4)
        self._hand = np.eye(4)

    def place(self, pose: np.ndarray) -> None:
        """Set the target, at rest."""
        self.pose = self._goal = np.array(pose, dtype=np.float64)
        self.placed = True

    def engage(self, hand: np.ndarray) -> None:
        """Start to follow the hand, whose pose is ``hand``; the target stays where it is."""
        self._hand, self._goal = hand, self.pose

    def follow(self, hand: np.ndarray, scale: float) -> None:
        """Move the goal by the hand's motion since the last call: ``scale`` times its way, and its rotation.

        Both are in the command frame: a hand that moves to the right moves the target to the right, whatever the
        orientations of hand and robot are.
        """
        goal = np.eye(4)
        goal[:3, 3] = self._goal[:3, 3] + scale * (hand[:3, 3] - self._hand[:3, 3])
        goal[:3, :3] = nearest_rotations(hand[:3, :3] @ self._hand[:3, :3].T @ self._goal[:3, :3])
        self._hand, self._goal = hand, goal

    def advance(self, elapsed: float, settings: TeleopSettings) -> np.ndarray:
        """Move the target towards its goal within the limits; returns its twist (6,) over ``elapsed`` seconds."""
        before = self.pose
        self.pose = step_towards(
            before,
            self._goal,
            min(settings.max_linear_velocity * elapsed, settings.max_linear_step),
            min(settings.max_angular_velocity * elapsed, settings.max_angular_step),
        )
        turn = rotation_vectors(self.pose[:3, :3] @ before[:3, :3].T)
        return np.concatenate([self.pose[:3, 3] - before[:3, 3], turn]) / elapsed
