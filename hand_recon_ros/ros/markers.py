"""Hands for RViz: a mesh, bones and keypoints per hand, deleted when the hand is lost."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point
from rclpy.serialization import serialize_message
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from ..overlay import HAND_COLOURS
from ..skeleton import BONES, NUM_KEYPOINTS
from ..types import HandEstimate, Side, TwoHandEstimate

MESH, BONE_LINES, KEYPOINTS = 0, 1, 2
"""Marker ids within the namespace of a hand, ``left`` or ``right``."""

LIFETIME = Duration(sec=3)
"""RViz removes the markers after this time where the node ended without a DELETE."""

_MOST_STORED = 16
"""Serialized messages that are stored, by their hands and frame."""
_BONE_WIDTH = 0.003
_KEYPOINT_SIZE = 0.007


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """One marker of a hand.

    Attributes:
        marker: with everything but its points.
        indices: (N,) of the vertices or keypoints that are its points.
        of_mesh: whether these are vertices.
    """

    marker: Marker
    indices: np.ndarray
    of_mesh: bool

    def points(self, hand: HandEstimate) -> np.ndarray:
        """The marker's points (N, 3), metres."""
        positions = hand.vertices if self.of_mesh else hand.joints
        return np.asarray(positions, dtype=np.float64)[self.indices]


class _SerializedMarkers:
    """A message that shows some hands and deletes others, in serialized form; stamps and points are replaced in its
    bytes.

    rclpy converts each Point of a message by itself, 8000 of a mesh: for two hands 18 ms, instead of 1 ms.
    """

    def __init__(self, header: Any, lost: list[Side], hands: list[HandEstimate]) -> None:
        self._parts = [(hand.side, part) for hand in hands for part in _parts(hand) if part.indices.size]
        by_side = {hand.side: hand for hand in hands}
        message = _deletion(header, lost)
        for side, part in self._parts:
            part.marker.header = header
            part.marker.points = [Point(x=x, y=y, z=z) for x, y, z in part.points(by_side[side]).tolist()]
            message.markers.append(part.marker)
        self._bytes = bytearray(serialize_message(message))
        frame = header.frame_id.encode() + b"\0"
        start = _stamp(header) + struct.pack("=I", len(frame)) + frame
        self._stamps: list[int] = []
        """Where the stamp of each marker begins; :attr:`_points`: where the points of each part begin."""
        self._points: list[int] = []
        end = 0
        for index in range(len(message.markers)):
            self._stamps.append(self._bytes.index(start, end))
            end = self._stamps[-1] + len(start)
            if (number := index - len(message.markers) + len(self._parts)) >= 0:
                side, part = self._parts[number]
                points = part.points(by_side[side]).tobytes()
                self._points.append(self._bytes.index(points, end))
                end = self._points[-1] + len(points)

    def moved(self, header: Any, hands: list[HandEstimate]) -> bytes:
        """The message with the stamp of ``header`` and the points of these hands."""
        by_side, stamp = {hand.side: hand for hand in hands}, _stamp(header)
        for place in self._stamps:
            self._bytes[place : place + len(stamp)] = stamp
        for place, (side, part) in zip(self._points, self._parts, strict=True):
            points = part.points(by_side[side]).tobytes()
            self._bytes[place : place + len(points)] = points
        return bytes(self._bytes)


def _stamp(header: Any) -> bytes:
    return struct.pack("=iI", header.stamp.sec, header.stamp.nanosec)


def _deletion(header: Any, sides: list[Side]) -> MarkerArray:
    return MarkerArray(
        markers=[
            Marker(header=header, ns=side.label, id=index, action=Marker.DELETE)
            for side in sides
            for index in (MESH, BONE_LINES, KEYPOINTS)
        ]
    )


class HandMarkers:
    """Builds the MarkerArray messages of ~/markers, and stores which hands they show."""

    def __init__(self) -> None:
        self._serialized: dict[tuple[Any, ...], _SerializedMarkers] = {}
        self._shown: set[Side] = set()

    @property
    def shown(self) -> frozenset[Side]:
        """The hands with markers."""
        return frozenset(self._shown)

    def add(self, header: Any, estimate: TwoHandEstimate) -> bytes | None:
        """A serialized message: DELETE for each LOST hand that has markers, ADD for each found hand; None where there
        is neither."""
        hands = [hand for hand in (estimate.left, estimate.right) if hand.found]
        found = {hand.side for hand in hands}
        lost = sorted(self._shown - found)
        self._shown = found
        if not hands and not lost:
            return None
        key = (header.frame_id, *lost, *((hand.side, len(hand.vertices)) for hand in hands))
        if key not in self._serialized:
            if len(self._serialized) >= _MOST_STORED:
                self._serialized.clear()
            self._serialized[key] = _SerializedMarkers(header, lost, hands)
        return self._serialized[key].moved(header, hands)

    def delete(self, header: Any, sides: set[Side] | frozenset[Side]) -> MarkerArray | None:
        """DELETE for those of ``sides`` that have markers; None where no one has."""
        lost = sorted(self._shown & set(sides))
        self._shown -= set(lost)
        return _deletion(header, lost) if lost else None


def _parts(hand: HandEstimate) -> list[_Part]:
    """The three markers of a hand, without points; RViz refuses a list of no triangles, which a hand without a mesh
    has."""
    b, g, r = (value / 255.0 for value in HAND_COLOURS[hand.side])

    def marker(index: int, kind: int, scale: float, opacity: float) -> Marker:
        made = Marker(ns=hand.side.label, id=index, type=kind, action=Marker.ADD, lifetime=LIFETIME)
        made.pose.orientation.w = 1.0
        made.scale.x = made.scale.y = made.scale.z = scale
        made.color = ColorRGBA(r=r, g=g, b=b, a=opacity)
        return made

    return [
        _Part(marker(MESH, Marker.TRIANGLE_LIST, 1.0, 0.7), np.asarray(hand.faces).reshape(-1), True),
        _Part(marker(BONE_LINES, Marker.LINE_LIST, _BONE_WIDTH, 1.0), np.array(BONES).reshape(-1), False),
        _Part(marker(KEYPOINTS, Marker.SPHERE_LIST, _KEYPOINT_SIZE, 1.0), np.arange(NUM_KEYPOINTS), False),
    ]
