"""The normal equations of the lifting: J^T J and J^T r of the evidence of each hand.

A residual of one finger depends on the whole hand's rotation and position, that finger's nine angles and the ten betas:
on 25 of the 61 parameters. So the products are summed finger by finger and scattered into the full matrices at the end.
"""

from __future__ import annotations

import math

import numpy as np

from ..geometry.compiled import compiled, float_array
from ..geometry.hand_kinematics import NUM_PARAMETERS, Posed, Template, jacobian
from ..skeleton import INDEX_MCP, MIDDLE_MCP, PINKY_MCP
from .evidence import Evidence

HUBER = 2.0
MIN_DEPTH, MAX_DEPTH = 0.05, 5.0

# How far DIP joints and fingertips must stay on the palm's side of the plane through the palm's keypoints (m): the
# thickness of the palm's soft tissue plus, for the joint, half a finger. Fingertip keypoints lie on the skin.
_CLEARANCE_DIP, _CLEARANCE_TIP = 0.016, 0.009
_CLEARANCE_SIGMA = 0.002

_GLOBAL, _FINGER, _SHAPE = 6, 9, 10
_LOCAL = _GLOBAL + _FINGER + _SHAPE


def normal_equations(template: Template, evidence: Evidence, posed: Posed) -> tuple[np.ndarray, np.ndarray]:
    """J^T J (B, P, P) and J^T r (B, P) at ``posed`` of reprojection, bone directions and the palm's plane.

    Reprojection is weighted by each keypoint's precision, with Huber's loss as iteratively reweighted squares. The
    plane moves DIP joints and fingertips that lie over the palm out of it, and adds nothing where all are clear of it.
    Raises ValueError where the evidence is not that of the posed hands.
    """
    batch = posed.keypoints.shape[0]
    points = float_array(evidence.points, "points", batch, 21, 2)
    precision = float_array(evidence.precision, "precision", batch, 21)
    directions = float_array(evidence.directions, "directions", batch, 20, 3)
    direction_precision = float_array(evidence.direction_precision, "direction_precision", batch, 20)
    normal, gradient = np.zeros((batch, NUM_PARAMETERS, NUM_PARAMETERS)), np.zeros((batch, NUM_PARAMETERS))
    _accumulate(
        jacobian(template, posed), posed.keypoints, points, precision, directions, direction_precision, normal, gradient
    )
    return normal, gradient


@compiled
def _add(row, error, products, sums):  # type: ignore[no-untyped-def]
    for i in range(_LOCAL):
        value = row[i]
        if value != 0.0:
            sums[i] += value * error
            for j in range(_LOCAL):
                products[i, j] += value * row[j]


@compiled
def _parameter(i, finger):  # type: ignore[no-untyped-def]
    """The parameter that is number ``i`` of those a finger depends on."""
    if i < _GLOBAL:
        return i
    if i < _GLOBAL + _FINGER:
        return i + _FINGER * finger
    return i + NUM_PARAMETERS - _LOCAL


@compiled
def _accumulate(j, keypoints, points, precision, directions, direction_precision, normal, gradient):  # type: ignore[no-untyped-def]
    products, sums, row = np.empty((_LOCAL, _LOCAL)), np.empty(_LOCAL), np.empty(_LOCAL)
    here, before, plane = np.empty((3, _LOCAL)), np.empty((3, _LOCAL)), np.empty(9)
    for b in range(keypoints.shape[0]):
        _palm(keypoints[b], plane)
        for finger in range(5):
            for i in range(_LOCAL):
                sums[i] = 0.0
                for m in range(_LOCAL):
                    products[i, m] = 0.0
            for level in range(-1 if finger == 0 else 0, 4):
                # The wrist counts once, with the thumb.
                k = 4 * finger + level + 1 if level >= 0 else 0
                parent = k - 1 if level > 0 else 0
                for i in range(3):
                    for m in range(_LOCAL):
                        here[i, m] = j[b, k, i, _parameter(m, finger)]
                        before[i, m] = j[b, parent, i, _parameter(m, finger)]
                _reprojection(keypoints[b, k], points[b, k], precision[b, k], here, row, products, sums)
                if level < 0:
                    continue
                _bone(keypoints[b, parent], keypoints[b, k], directions[b, k - 1], direction_precision[b, k - 1],
                      before, here, row, products, sums)  # fmt: skip
                if finger > 0 and level >= 2:
                    clearance = _CLEARANCE_DIP if level == 2 else _CLEARANCE_TIP
                    _out_of_palm(keypoints[b, k], plane, clearance, here, row, products, sums)
            for i in range(_LOCAL):
                gradient[b, _parameter(i, finger)] += sums[i]
                for m in range(_LOCAL):
                    normal[b, _parameter(i, finger), _parameter(m, finger)] += products[i, m]


@compiled
def _reprojection(point, observed, precision, here, row, products, sums):  # type: ignore[no-untyped-def]
    depth = max(point[2], MIN_DEPTH)
    x, y = point[0] / depth, point[1] / depth
    error_x, error_y = (x - observed[0]) * precision, (y - observed[1]) * precision
    robust = math.sqrt(min(1.0, HUBER / max(math.hypot(error_x, error_y), 1e-9)))
    scale = precision * robust / depth
    for i in range(_LOCAL):
        row[i] = (here[0, i] - x * here[2, i]) * scale
    _add(row, error_x * robust, products, sums)
    for i in range(_LOCAL):
        row[i] = (here[1, i] - y * here[2, i]) * scale
    _add(row, error_y * robust, products, sums)


@compiled
def _bone(start, end, direction, weight, before, here, row, products, sums):  # type: ignore[no-untyped-def]
    length = math.sqrt((end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2 + (end[2] - start[2]) ** 2)
    for axis in range(3):
        for i in range(_LOCAL):
            row[i] = (here[axis, i] - before[axis, i]) * (weight / length)
        _add(row, ((end[axis] - start[axis]) / length - direction[axis]) * weight, products, sums)


@compiled
def _palm(keypoints, plane):  # type: ignore[no-untyped-def]
    """Write the palm's plane (9,): the wrist, the direction to the middle MCP over its squared length, and the unit
    normal out of the back of a right hand."""
    square = 0.0
    for i in range(3):
        plane[i], plane[3 + i] = keypoints[0, i], keypoints[MIDDLE_MCP, i] - keypoints[0, i]
        square += plane[3 + i] ** 2
    for i in range(3):
        m, n = (i + 1) % 3, (i + 2) % 3
        across_m = keypoints[INDEX_MCP, m] - keypoints[PINKY_MCP, m]
        across_n = keypoints[INDEX_MCP, n] - keypoints[PINKY_MCP, n]
        plane[6 + i] = plane[3 + m] * across_n - plane[3 + n] * across_m
    size = max(math.sqrt(plane[6] ** 2 + plane[7] ** 2 + plane[8] ** 2), 1e-9)
    for i in range(3):
        plane[3 + i] /= square
        plane[6 + i] /= size


@compiled
def _out_of_palm(point, plane, clearance, here, row, products, sums):  # type: ignore[no-untyped-def]
    height, along = clearance, 0.0
    for i in range(3):
        along += (point[i] - plane[i]) * plane[3 + i]
        height += (point[i] - plane[i]) * plane[6 + i]
    if height <= 0.0 or along <= 0.0 or along >= 1.0:
        return
    for i in range(_LOCAL):
        row[i] = 0.0
        if _GLOBAL <= i < _GLOBAL + _FINGER:  # the plane moves with the hand: only the finger's angles count
            row[i] = (plane[6] * here[0, i] + plane[7] * here[1, i] + plane[8] * here[2, i]) / _CLEARANCE_SIGMA
    _add(row, height / _CLEARANCE_SIGMA, products, sums)
