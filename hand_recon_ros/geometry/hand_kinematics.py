"""The hand as a kinematic chain in joint angles, with analytic derivatives, for a batch of hands.

The arrays are laid out by finger and level: ``(B, 5, 3, ...)`` for the three joints of each finger and
``(B, 5, 4, ...)`` for its four keypoints. The loops are compiled: in NumPy a frame of two hands spends
milliseconds on the overhead of hundreds of tiny operations.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..skeleton import NUM_KEYPOINTS
from .compiled import compiled

NUM_BETAS = 10
ROTATION = slice(0, 3)
TRANSLATION = slice(3, 6)
ANGLES = slice(6, 51)
BETAS = slice(51, 61)
NUM_PARAMETERS = 61
"""Global rotation (left increment, rad), wrist position (m), 5 x 3 x (flexion, abduction, twist) (rad), betas."""


@dataclasses.dataclass(frozen=True)
class Template:
    """Rest geometry of B hands: bone offsets (B, 5, 4, 3) and their shape derivatives (B, 5, 4, 3, 10), the rest wrist
    and its derivative, anatomical joint frames (B, 5, 3, 3, 3) and angle limits (B, 5, 3, 3, 2)."""

    offsets: np.ndarray
    offset_shapedirs: np.ndarray
    wrist: np.ndarray
    wrist_shapedirs: np.ndarray
    frames: np.ndarray
    limits: np.ndarray


@dataclasses.dataclass
class Pose:
    """Parameters of B hands: global rotation (B, 3, 3), wrist position (B, 3), angles (B, 5, 3, 3), betas (B, 10)."""

    rotation: np.ndarray
    wrist: np.ndarray
    angles: np.ndarray
    betas: np.ndarray


@dataclasses.dataclass(frozen=True)
class Posed:
    """Forward kinematics of a :class:`Pose`: keypoints (B, 21, 3) and what their derivatives need."""

    keypoints: np.ndarray
    local: np.ndarray
    """Joint rotations relative to their parents, (B, 5, 3, 3, 3)."""
    axes: np.ndarray
    """Rotation axis of each angle in the camera frame, (B, 5, 3, 3 xyz, 3 angles)."""
    chain: np.ndarray
    """Orientation that carries each bone, (B, 5, 4, 3, 3)."""


def forward(template: Template, pose: Pose) -> Posed:
    """Keypoints of the posed hands in the camera frame, metres."""
    batch = pose.wrist.shape[0]
    posed = Posed(
        keypoints=np.empty((batch, NUM_KEYPOINTS, 3)),
        local=np.empty((batch, 5, 3, 3, 3)),
        axes=np.empty((batch, 5, 3, 3, 3)),
        chain=np.empty((batch, 5, 4, 3, 3)),
    )
    _forward(
        template.offsets, template.offset_shapedirs, template.frames, pose.rotation, pose.wrist, pose.angles,
        pose.betas, posed.keypoints, posed.local, posed.axes, posed.chain,
    )  # fmt: skip
    return posed


def jacobian(template: Template, posed: Posed) -> np.ndarray:
    """Derivatives of the keypoints with respect to the parameters, (B, 21, 3, NUM_PARAMETERS)."""
    result = np.zeros((posed.keypoints.shape[0], NUM_KEYPOINTS, 3, NUM_PARAMETERS))
    _jacobian(template.offset_shapedirs, posed.keypoints, posed.axes, posed.chain, result)
    return result


def bend_fingers(template: Template, rotation: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Angles (B, 5, 3, 3) that turn each bone, joint by joint, as far as the limits allow towards its direction.

    Args:
        rotation: of the whole hands (B, 3, 3).
        directions: of the bones, unit vectors in the camera frame (B, 5, 4, 3). Those of the first, inside the palm,
            have no joint of their own.
    """
    angles = np.zeros(template.limits.shape[:-1])
    _bend_fingers(template.frames, template.limits, rotation, directions, angles)
    return angles


@compiled
def _multiply(a, b, out):  # type: ignore[no-untyped-def]
    for i in range(3):
        for j in range(3):
            out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + a[i, 2] * b[2, j]


@compiled
def _copy(matrix, out):  # type: ignore[no-untyped-def]
    for i in range(3):
        for j in range(3):
            out[i, j] = matrix[i, j]


@compiled
def _between(start, end):  # type: ignore[no-untyped-def]
    return end[0] - start[0], end[1] - start[1], end[2] - start[2]


@compiled
def turn_joint(flexion, abduction, twist, frame, local, axes, scratch):  # type: ignore[no-untyped-def]
    """One joint's rotation relative to its parent, and the axes in the parent's frame that its angles turn about.

    Args:
        flexion, abduction, twist: radians, see :mod:`hand_recon_ros.geometry.joint_angles`.
        frame: of the joint at rest (3, 3).
        local, axes: (3, 3), written; ``axes`` has one column per angle.
        scratch: (2, 3, 3), overwritten.
    """
    cf, sf = math.cos(flexion), math.sin(flexion)
    ca, sa = math.cos(abduction), math.sin(abduction)
    ct, st = math.cos(twist), math.sin(twist)
    turn, turned = scratch[0], scratch[1]
    turn[0, 0], turn[0, 1], turn[0, 2] = cf * ca, sf * st - cf * sa * ct, sf * ct + cf * sa * st
    turn[1, 0], turn[1, 1], turn[1, 2] = sa, ca * ct, -ca * st
    turn[2, 0], turn[2, 1], turn[2, 2] = -sf * ca, cf * st + sf * sa * ct, cf * ct - sf * sa * st
    _multiply(frame, turn, turned)
    for i in range(3):
        for j in range(3):
            local[i, j] = turned[i, 0] * frame[j, 0] + turned[i, 1] * frame[j, 1] + turned[i, 2] * frame[j, 2]
        axes[i, 0] = frame[i, 1]
        axes[i, 1] = sf * frame[i, 0] + cf * frame[i, 2]
        axes[i, 2] = turned[i, 0]


@compiled
def _forward(offsets, shapedirs, frames, rotation, wrist, angles, betas, keypoints, local, axes, chain):  # type: ignore[no-untyped-def]
    at_rest, scratch, bone = np.empty((3, 3)), np.empty((2, 3, 3)), np.empty(3)
    for b in range(wrist.shape[0]):
        for i in range(3):
            keypoints[b, 0, i] = wrist[b, i]
        for f in range(5):
            _copy(rotation[b], chain[b, f, 0])
            for level in range(4):
                for i in range(3):
                    bone[i] = offsets[b, f, level, i]
                    for s in range(NUM_BETAS):
                        bone[i] += shapedirs[b, f, level, i, s] * betas[b, s]
                start = 4 * f + level if level > 0 else 0
                carried = chain[b, f, level]
                for i in range(3):
                    moved = carried[i, 0] * bone[0] + carried[i, 1] * bone[1] + carried[i, 2] * bone[2]
                    keypoints[b, 4 * f + level + 1, i] = keypoints[b, start, i] + moved
                if level < 3:
                    bend = angles[b, f, level]
                    turn_joint(bend[0], bend[1], bend[2], frames[b, f, level], local[b, f, level], at_rest, scratch)
                    _multiply(carried, at_rest, axes[b, f, level])
                    _multiply(carried, local[b, f, level], chain[b, f, level + 1])


@compiled
def _jacobian(shapedirs, keypoints, axes, chain, result):  # type: ignore[no-untyped-def]
    for b in range(keypoints.shape[0]):
        for k in range(NUM_KEYPOINTS):
            rows = result[b, k]
            # Turning the whole hand by e moves a point by e x lever.
            x, y, z = _between(keypoints[b, 0], keypoints[b, k])
            rows[0, 1], rows[0, 2], rows[1, 0] = z, -y, -z
            rows[1, 2], rows[2, 0], rows[2, 1] = x, y, -x
            rows[0, 3] = rows[1, 4] = rows[2, 5] = 1.0
            if k == 0:
                continue
            f, level = (k - 1) // 4, (k - 1) % 4
            for joint in range(level):
                x, y, z = _between(keypoints[b, 4 * f + joint + 1], keypoints[b, k])
                for angle in range(3):
                    column = 6 + 9 * f + 3 * joint + angle
                    ex, ey, ez = axes[b, f, joint, 0, angle], axes[b, f, joint, 1, angle], axes[b, f, joint, 2, angle]
                    rows[0, column] = ey * z - ez * y
                    rows[1, column] = ez * x - ex * z
                    rows[2, column] = ex * y - ey * x
            for i in range(3):
                for s in range(NUM_BETAS):
                    value = result[b, k - 1, i, 51 + s] if level > 0 else 0.0
                    for j in range(3):
                        value += chain[b, f, level, i, j] * shapedirs[b, f, level, j, s]
                    rows[i, 51 + s] = value


@compiled
def _bend_fingers(frames, limits, rotation, directions, angles):  # type: ignore[no-untyped-def]
    local, axes, scratch = np.empty((3, 3)), np.empty((3, 3)), np.empty((2, 3, 3))
    carried, turned, aim = np.empty((3, 3)), np.empty((3, 3)), np.empty(3)
    for b in range(rotation.shape[0]):
        for f in range(5):
            _copy(rotation[b], carried)
            for level in range(3):
                _multiply(carried, frames[b, f, level], turned)
                for i in range(3):
                    aim[i] = 0.0
                    for j in range(3):
                        aim[i] += turned[j, i] * directions[b, f, level + 1, j]
                bend, limit = angles[b, f, level], limits[b, f, level]
                # A bone's direction says nothing of the twist about it.
                bend[0], bend[1] = math.atan2(-aim[2], aim[0]), math.asin(min(max(aim[1], -1.0), 1.0))
                for i in range(3):
                    bend[i] = min(max(bend[i], limit[i, 0]), limit[i, 1])
                turn_joint(bend[0], bend[1], bend[2], frames[b, f, level], local, axes, scratch)
                _multiply(carried, local, turned)
                _copy(turned, carried)
