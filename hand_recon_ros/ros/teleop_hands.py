"""The hands that reach hand_teleop, in the frame in which the robot is commanded, and where the robot's tool is."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..conversions.estimates import pose_matrix
from ..conversions.frames import tf_name
from ..conversions.problems import Problems
from ..conversions.stamps import seconds
from ..teleop.teleoperation import EngageError, HandSample
from ..types import HandState
from .teleop_parameters import TeleopConfig
from .transforms import TransformError, Transforms

TOOL_MAX_AGE = 1.0
"""A transform of the robot's tool that is older than this does not say where the robot is, seconds."""
_CALIBRATION_HANDS = 15
_MOST_WAITING = 200


class TeleopHands:
    """TwoHands messages, each of which waits for its transform; in order.

    Args:
        target_frame: frame of the commands; empty: that of the messages.
        transforms: needed where ``target_frame`` is set.
        problems: what is wrong with the messages and transforms is reported here.

    Attributes:
        frame: of the commands; empty until it is known.
        pinch_distances: of the last TRACKED hands, metres.
        transform_failures: transforms that were not there in time.
    """

    def __init__(self, target_frame: str, transforms: Transforms | None, problems: Problems) -> None:
        self.frame = target_frame
        self.pinch_distances: collections.deque[float] = collections.deque(maxlen=_CALIBRATION_HANDS)
        self.transform_failures = 0
        self._transforms = transforms
        self._problems = problems
        self._waiting: collections.deque[tuple[float, Any]] = collections.deque(maxlen=_MOST_WAITING)
        self._stamp = 0.0

    def add(self, message: Any, arrival: float) -> None:
        """Take the next message; ``arrival`` by the clock of :meth:`take`, seconds."""
        self._problems.check(
            "guess",
            not message.calibrated,
            "the camera is not calibrated: the hand's metres are a guess, and with them the scale of the motion",
        )
        stamp = seconds(message.header.stamp)
        if stamp < self._stamp:
            self._waiting.clear()
            if self._transforms is not None:
                self._transforms.clear()
        self._stamp = stamp
        self._waiting.append((arrival, message))

    def take(self, now: float, settings: TeleopConfig) -> Iterator[HandSample | TransformError]:
        """The hands whose transform has come, and an error for each whose transform has not come in time."""
        while self._waiting:
            arrival, message = self._waiting[0]
            try:
                sample = self._sample(message, settings)
            except TransformError as error:
                if now - arrival <= settings.tf_wait:
                    return
                self._waiting.popleft()
                self.transform_failures += 1
                self._problems.report("tf", f"the hand cannot be transformed: {error}")
                yield error
                continue
            self._waiting.popleft()
            yield sample

    def tool_pose(self, now: float, settings: TeleopConfig) -> np.ndarray | None:
        """The pose (4, 4) of the robot's tool in the frame of the commands; None where ``tool_frame`` is not set.

        ``now``: the node's clock, seconds. Raises EngageError where the pose is not known.
        """
        if not settings.tool_frame or self._transforms is None:
            return None
        try:
            pose, stamp = self._transforms.newest(settings.target_frame, settings.tool_frame)
            if stamp and now - stamp > TOOL_MAX_AGE:
                raise TransformError(f"the transform of {settings.tool_frame!r} is {now - stamp:.1f} s old")
        except TransformError as error:
            self.transform_failures += 1
            text = f"it is not known where the robot is: {error}"
            self._problems.report("tool", text)
            raise EngageError(text) from error
        self._problems.solved("tool")
        return pose

    def _sample(self, message: Any, settings: TeleopConfig) -> HandSample:
        left_moves = settings.side == "left"
        hand, other = (message.left, message.right) if left_moves else (message.right, message.left)
        clutch = hand if settings.clutch_hand == "same" else other
        state, pose = HandState(hand.state), pose_matrix(hand.wrist)
        if state != HandState.LOST:
            pose = self._to_command_frame(message.header, settings) @ pose
            finite = bool(np.isfinite(pose).all())
            self._problems.check("hand", not finite, f"the {settings.side} hand has no pose: it counts as LOST")
            state = state if finite else HandState.LOST
        if state == HandState.TRACKED:
            self.pinch_distances.append(float(hand.pinch_distance))
        return HandSample(
            stamp=seconds(message.header.stamp),
            state=state,
            track_id=hand.track_id,
            pose=pose,
            pinch_distance=float(hand.pinch_distance),
            clutch_distance=None if clutch.state == HandState.LOST else float(clutch.pinch_distance),
        )

    def _to_command_frame(self, header: Any, settings: TeleopConfig) -> np.ndarray:
        if self._transforms is None:
            self.frame = tf_name(header.frame_id)
            return np.eye(4)
        transform = self._transforms.lookup(settings.target_frame, header.frame_id, header.stamp)
        self._problems.solved("tf")
        return transform
