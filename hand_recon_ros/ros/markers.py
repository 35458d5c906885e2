"""Hands for RViz: a mesh, bones and keypoints per hand, deleted when the hand is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from ..overlay import HAND_COLOURS
from ..skeleton import BONES, NUM_KEYPOINTS
from ..types import HandEstimate, Side, TwoHandEstimate

MESH, BONE_LINES, KEYPOINTS = 0, 1, 2
"""Marker ids within the namespace of a hand, ``left`` or ``right``."""

LIFETIME = Duration(sec=3)
"""RViz removes the markers after this time where the node ended without a DELETE."""

_BONE_WIDTH = 0.003
_KEYPOINT_SIZE = 0.007


class _MovingPoints:
    """A marker whose points are moved in place.

    Each vertex of a mesh is in about six triangles. With one Point object per vertex, shared by its triangles, the list
    is made once, and 1360 objects are moved instead of 8000 constructed (0.5 ms instead of 5 for a hand).
    """

    def __init__(self, marker: Marker, indices: np.ndarray, count: int) -> None:
        self.marker = marker
        self._points = [Point() for _ in range(count)]
        marker.points = [self._points[index] for index in indices.reshape(-1).tolist()]

    def move(self, positions: np.ndarray) -> None:
        for point, (x, y, z) in zip(self._points, positions.tolist(), strict=True):
            point.x, point.y, point.z = x, y, z


class HandMarkers:
    """Builds the MarkerArray messages of ~/markers, and stores which hands they show."""

    def __init__(self) -> None:
        self._hands: dict[tuple[Side, int], list[_MovingPoints]] = {}
        self._shown: set[Side] = set()

    @property
    def shown(self) -> frozenset[Side]:
        """The hands with markers."""
        return frozenset(self._shown)

    def add(self, header: Any, estimate: TwoHandEstimate) -> MarkerArray:
        """ADD for each found hand, DELETE for each LOST hand that has markers."""
        message = self.delete(header, {side for side in self._shown if not estimate.hand(side).found})
        for hand in (estimate.left, estimate.right):
            if hand.found:
                message.markers += self._move(header, hand)
                self._shown.add(hand.side)
        return message

    def delete(self, header: Any, sides: set[Side] | frozenset[Side]) -> MarkerArray:
        """DELETE for those of ``sides`` that have markers."""
        lost = sorted(self._shown & set(sides))
        self._shown -= set(lost)
        return MarkerArray(
            markers=[
                Marker(header=header, ns=side.label, id=index, action=Marker.DELETE)
                for side in lost
                for index in (MESH, BONE_LINES, KEYPOINTS)
            ]
        )

    def _move(self, header: Any, hand: HandEstimate) -> list[Marker]:
        key = hand.side, len(hand.vertices)
        if key not in self._hands:
            self._hands[key] = _parts(hand)
        parts = self._hands[key]
        for part, positions in zip(parts, (hand.vertices, hand.joints, hand.joints), strict=True):
            part.marker.header = header
            part.move(np.asarray(positions, dtype=np.float64))
        # RViz refuses a list of no triangles: the hand may have no mesh.
        return [part.marker for part in parts if part.marker.points]


def _parts(hand: HandEstimate) -> list[_MovingPoints]:
    """The three markers of a hand, all points at the origin."""
    b, g, r = (value / 255.0 for value in HAND_COLOURS[hand.side])

    def marker(index: int, kind: int, scale: float, opacity: float) -> Marker:
        made = Marker(ns=hand.side.label, id=index, type=kind, action=Marker.ADD, lifetime=LIFETIME)
        made.pose.orientation.w = 1.0
        made.scale.x = made.scale.y = made.scale.z = scale
        made.color = ColorRGBA(r=r, g=g, b=b, a=opacity)
        return made

    bones = np.array(BONES)
    return [
        _MovingPoints(marker(MESH, Marker.TRIANGLE_LIST, 1.0, 0.7), np.asarray(hand.faces), len(hand.vertices)),
        _MovingPoints(marker(BONE_LINES, Marker.LINE_LIST, _BONE_WIDTH, 1.0), bones, NUM_KEYPOINTS),
        _MovingPoints(
            marker(KEYPOINTS, Marker.SPHERE_LIST, _KEYPOINT_SIZE, 1.0), np.arange(NUM_KEYPOINTS), NUM_KEYPOINTS
        ),
    ]
