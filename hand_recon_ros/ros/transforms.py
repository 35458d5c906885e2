"""Transforms between frames from /tf, by tf2, and poses of messages as matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion

from ..config import ConfigError
from ..conversions.estimates import pose_matrix
from ..conversions.frames import tf_name
from ..conversions.stamps import seconds
from ..geometry.rotations import quaternions


def build_pose(matrix: np.ndarray) -> Pose:
    """A matrix (4, 4) as a geometry_msgs/Pose."""
    (x, y, z), (a, b, c, d) = matrix[:3, 3].tolist(), quaternions(matrix[:3, :3]).tolist()
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=a, y=b, z=c, w=d))


class TransformError(Exception):
    """A transform that is not known; the message names the frames."""


def transforms_to(target_frame: str, node: Any, make: Callable[[Any], Transforms]) -> Transforms | None:
    """The transforms that a node with this ``target_frame`` needs; None where that is empty.

    Raises ConfigError where tf2_ros is not installed. ``make`` is :class:`Transforms`, or what replaces it in tests.
    """
    if not target_frame:
        return None
    try:
        return make(node)
    except ImportError as error:
        raise ConfigError(
            f"target_frame needs tf2_ros, which cannot be imported ({error}): install it, or leave target_frame empty,"
            " for the frame of the camera"
        ) from error


class Transforms:
    """What /tf and /tf_static say. Raises ImportError where tf2_ros is not installed.

    Args:
        node: whose executor receives the transforms. Nothing here waits for one.
    """

    def __init__(self, node: Any) -> None:
        import tf2_ros

        self._error = tf2_ros.TransformException
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node)

    def lookup(self, target: str, source: str, stamp: Any) -> np.ndarray:
        """The transform (4, 4) at ``stamp`` (builtin_interfaces/Time) that takes points from ``source`` to ``target``.

        Raises TransformError where it is not known for that time.
        """
        from rclpy.time import Time

        return self._lookup(target, source, Time.from_msg(stamp))[0]

    def newest(self, target: str, source: str) -> tuple[np.ndarray, float]:
        """The newest transform (4, 4), as :meth:`lookup`, and its time in seconds: 0 where all of it is static."""
        from rclpy.time import Time

        return self._lookup(target, source, Time())

    def _lookup(self, target: str, source: str, time: Any) -> tuple[np.ndarray, float]:
        try:
            found = self._buffer.lookup_transform(tf_name(target), tf_name(source), time)
        except self._error as error:
            raise TransformError(f"no transform from {source!r} to {target!r}: {error}") from error
        move, turn = found.transform.translation, found.transform.rotation
        return pose_matrix(Pose(position=Point(x=move.x, y=move.y, z=move.z), orientation=turn)), seconds(
            found.header.stamp
        )

    def clear(self) -> None:
        """Forget the transforms that are not static, for a clock that has jumped back."""
        self._buffer.clear()

    def close(self) -> None:
        """Receive no more transforms."""
        self._listener.unregister()
