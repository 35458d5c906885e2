"""From the hands of images to commands for a robot: when the target follows the hand, and when it stops.

Poses are homogeneous matrices (4, 4) in the frame in which the robot is commanded; times are in seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from ..types import HandState
from .motion import Gripper, PinchClutch, RelativeMotion
from .settings import TeleopSettings


@dataclasses.dataclass(frozen=True, eq=False)
class HandSample:
    """The hand of one image.

    Attributes:
        stamp: of the image, seconds.
        state: of the hand that moves the robot.
        track_id: changes when the hand was lost and found again.
        pose: its wrist (4, 4); not used where it is LOST.
        pinch_distance: between its thumb and index tip, metres.
        clutch_distance: the same of the hand that has the clutch; None where that is LOST.
    """

    stamp: float
    state: HandState
    track_id: int
    pose: np.ndarray
    pinch_distance: float
    clutch_distance: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class Command:
    """What is sent to the robot.

    Attributes:
        twist: linear (3) and angular (3) velocity, m/s and rad/s; all zero: stop.
        pose: of the target (4, 4); None where it is not known or the robot is stopped.
        gripper: 0 open .. 1 closed; None where the gripper is left as it is.
    """

    twist: np.ndarray
    pose: np.ndarray | None = None
    gripper: float | None = None


class EngageError(Exception):
    """Why the clutch cannot be engaged, as a sentence."""


class Teleoperation:
    """From the hands of images to commands: clutch, motion and gripper, and when to stop.

    The clutch is engaged by a pinch, by :meth:`request`, or always while the hand is TRACKED. It is released, with one
    last command of zero twist, where the hand is LOST or another one, its stamps jump back or are older than the
    timeout, or it moves faster than a hand can. While the hand is PREDICTED the goal stays as it is.

    Args:
        find_start: called when the clutch engages; the pose (4, 4) from which the target starts, None to start from
            the last one; raises EngageError where it is not known.

    Attributes:
        motion: of the target.
        engaged: whether the target follows the hand.
        reason: why it does not at present.
        released_by: why it was released last.
    """

    def __init__(self, find_start: Callable[[], np.ndarray | None] = lambda: None) -> None:
        self.motion = RelativeMotion()
        self.engaged = False
        self.reason = "no hand has come yet"
        self.released_by = ""
        self._find_start = find_start
        self._clutch = PinchClutch()
        self._gripper = Gripper()
        self._permitted = True
        self._halt = False
        self._last: HandSample | None = None
        self._tracked: HandSample | None = None

    def place(self, pose: np.ndarray) -> None:
        """Set the pose (4, 4) at which the target is; raises EngageError while the clutch is engaged."""
        if self.engaged:
            raise EngageError("the clutch is engaged and the target would jump: release it first")
        self.motion.place(pose)

    def request(self, engage: bool, now: float, settings: TeleopSettings) -> None:
        """Engage or release the clutch ``service``; permit the other clutches to engage, or release and forbid them.

        Raises EngageError where the hand cannot be followed now.
        """
        if not engage:
            self._permitted = False
            self.stop("released by request")
            return
        self._permitted = True
        if settings.clutch == "service" and not self.engaged:
            sample = self._tracked
            if sample is None:
                raise EngageError(f"there is no hand to follow: {self.reason}")
            if sample is not self._last:
                raise EngageError("the hand is PREDICTED at present")
            if now - sample.stamp > settings.timeout:
                raise EngageError(f"the last hand is {now - sample.stamp:.2f} s old")
            self._engage(sample)

    def stop(self, reason: str) -> None:
        """Release the clutch; the next command is the last, zero."""
        self._release(reason)
        self._tracked = None
        self._clutch.reset()

    def _release(self, reason: str) -> None:
        self.reason = reason
        if self.engaged:
            self.engaged, self._halt, self.released_by = False, True, reason

    def add(self, sample: HandSample, now: float, settings: TeleopSettings) -> None:
        """Take the hand of the next image; ``now`` is the clock of the stamps."""
        last, age = self._last, now - sample.stamp
        if last is not None and sample.stamp == last.stamp:
            return
        self._last = sample
        if fault := self._fault(sample, last, age, settings):
            self.stop(fault)
            return
        if sample.state == HandState.PREDICTED:
            return
        if settings.clutch == "pinch":
            assert sample.clutch_distance is not None
            pinched = self._clutch.update(sample.clutch_distance, settings.pinch_engage, settings.pinch_release)
            if self.engaged and not pinched:
                self._release("the pinch has opened")
        if self.engaged:
            self.motion.follow(sample.pose, settings.scale)
        elif self._wanted(settings):
            try:
                self._engage(sample)
            except EngageError as error:
                self.reason = str(error)
        elif self._tracked is None:
            self.reason = "ready" if self._permitted else "released by request"
        self._tracked = sample

    def _wanted(self, settings: TeleopSettings) -> bool:
        if settings.clutch == "pinch":
            return self._permitted and self._clutch.engaged
        return self._permitted and settings.clutch == "always"

    def _fault(self, sample: HandSample, last: HandSample | None, age: float, settings: TeleopSettings) -> str:
        if last is not None and sample.stamp < last.stamp:
            return f"the stamps jump back by {last.stamp - sample.stamp:.3f} s"
        if abs(age) > settings.timeout:
            return f"the hand's stamp lies {abs(age):.2f} s in the {'past' if age > 0 else 'future'}"
        if sample.state == HandState.LOST:
            return "the hand is LOST"
        if settings.clutch == "pinch" and sample.clutch_distance is None:
            return "the hand with the clutch is LOST"
        before = self._tracked
        if before is None or sample.state == HandState.PREDICTED:
            return ""
        if sample.track_id != before.track_id:
            return "the hand was lost and found again"
        speed = float(np.linalg.norm(sample.pose[:3, 3] - before.pose[:3, 3])) / (sample.stamp - before.stamp)
        if speed > settings.max_hand_speed:
            return f"the hand jumps ({speed:.1f} m/s)"
        return ""

    def check_age(self, now: float, silence: float, settings: TeleopSettings) -> None:
        """Stop where the last hand is too old.

        Args:
            now: the clock of the stamps.
            silence: seconds since the last message, by a clock that never stops.
        """
        if self._last is None:
            return
        age = max(now - self._last.stamp, silence)
        if age > settings.timeout and self._tracked is not None:
            self.stop(f"the last hand is {age:.2f} s old")

    def _engage(self, sample: HandSample) -> None:
        start = self._find_start()
        if start is not None:
            self.motion.place(start)
        self.motion.engage(sample.pose)
        self._gripper.engage()
        self._tracked = sample
        self.engaged, self._halt, self.reason = True, False, ""

    def advance(self, elapsed: float, settings: TeleopSettings) -> Command | None:
        """The next command, ``elapsed`` seconds after the last call; None while there is nothing to say."""
        if not self.engaged:
            if not self._halt:
                return None
            self._halt = False
            return Command(np.zeros(6))
        twist = self.motion.advance(elapsed, settings)
        sample = self._tracked
        gripper = None
        if settings.gripper == "pinch" and sample is not None:
            gripper = self._gripper.update(
                sample.pinch_distance,
                settings.gripper_open_distance,
                settings.gripper_closed_distance,
                settings.gripper_hysteresis,
            )
        return Command(twist, self.motion.pose if self.motion.placed else None, gripper)
