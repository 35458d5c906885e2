"""Anatomical joint angles: flexion, abduction and twist of a joint in its own frame.

A joint's rotation relative to its parent, expressed in the joint's frame (x along the bone, z dorsal, y = z cross x),
is Ry(flexion) Rz(abduction) Rx(twist): flexion about the axis fixed in the parent, abduction about the floating axis,
twist about the bone, the order the International Society of Biomechanics recommends for finger joints (Wu et al.,
J. Biomechanics 38 (2005) 981-992). Positive flexion curls towards the palm. Positive abduction turns a finger
towards the thumb's side of the hand, and the thumb out of the palm's plane; positive twist turns the nail of the thumb
towards the back of the hand (pronation). The same holds for both hands: on a left hand, whose frames are right-handed
too, the rotations about z and x change sign, and the same angles make the mirrored pose.

The angles of a joint at rest are zero where its rest pose is the flat hand. Where it is not, ``parent_frames`` are the
joints' frames in the flat hand, in the coordinates of their parents at rest: a rotation is then parent_frame A
frame^T, with A of the angles.
"""

from __future__ import annotations

import math

import numpy as np

from .compiled import compiled, compiled_ufunc

FLEXION, ABDUCTION, TWIST = 0, 1, 2


def rotations_from_angles(
    angles: np.ndarray, frames: np.ndarray, right: bool = True, parent_frames: np.ndarray | None = None
) -> np.ndarray:
    """Rotations (..., 3, 3) relative to the parent joint.

    Args:
        angles: flexion, abduction and twist (..., 3), radians.
        frames: joint frames at rest, broadcastable to (..., 3, 3).
        right: whether the frames are those of a right hand.
        parent_frames: joint frames in the flat hand, as ``frames``; None: that is the rest pose.
    """
    angles, frames = np.asarray(angles, dtype=np.float64), np.asarray(frames, dtype=np.float64)
    if angles.shape[-1:] != (3,) or frames.shape[-2:] != (3, 3):
        raise ValueError(
            f"expected angles (..., 3) and frames (..., 3, 3), got shapes {angles.shape} and {frames.shape}"
        )
    parent_frames = frames if parent_frames is None else np.asarray(parent_frames, dtype=np.float64)
    return np.asarray(_rotation_from_angles(angles if right else angles * _LEFT_SIGNS, parent_frames, frames))


def angles_from_rotations(
    rotations: np.ndarray, frames: np.ndarray, right: bool = True, parent_frames: np.ndarray | None = None
) -> np.ndarray:
    """Flexion and twist in (-pi, pi], abduction in [-pi/2, pi/2]: the inverse of :func:`rotations_from_angles`.

    At an abduction of 90 degrees flexion and twist turn about the same axis: the twist is 0 there.
    """
    rotations = np.asarray(rotations, dtype=np.float64)
    local = np.swapaxes(frames if parent_frames is None else parent_frames, -1, -2) @ rotations @ frames
    cosine = np.hypot(local[..., 0, 0], local[..., 2, 0])
    gimbal_lock = cosine < 1e-7
    flexion = np.where(
        gimbal_lock,
        np.arctan2(local[..., 0, 2], local[..., 2, 2]),
        np.arctan2(-local[..., 2, 0], np.where(gimbal_lock, 1.0, local[..., 0, 0])),
    )
    abduction = np.arctan2(local[..., 1, 0], cosine)
    twist = np.where(gimbal_lock, 0.0, np.arctan2(-local[..., 1, 2], np.where(gimbal_lock, 1.0, local[..., 1, 1])))
    angles = np.stack([flexion, abduction, twist], axis=-1)
    return angles if right else angles * _LEFT_SIGNS


_LEFT_SIGNS = np.array([1.0, -1.0, -1.0])


@compiled
def multiply(a, b, out):  # type: ignore[no-untyped-def]
    """Write the product of two matrices (3, 3)."""
    for i in range(3):
        for j in range(3):
            out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + a[i, 2] * b[2, j]


@compiled
def joint_rotation(angles, parent_frame, frame, turned, rotation):  # type: ignore[no-untyped-def]
    """Write a joint's rotation relative to its parent (3, 3), and its frame after it, ``turned`` (3, 3).

    ``angles`` (3,) are flexion, abduction and twist on a right hand, ``frame`` (3, 3) is the joint's at rest,
    ``parent_frame`` (3, 3) in the flat hand.
    """
    cf, sf = math.cos(angles[0]), math.sin(angles[0])
    ca, sa = math.cos(angles[1]), math.sin(angles[1])
    ct, st = math.cos(angles[2]), math.sin(angles[2])
    rotation[0, 0], rotation[0, 1], rotation[0, 2] = cf * ca, sf * st - cf * sa * ct, sf * ct + cf * sa * st
    rotation[1, 0], rotation[1, 1], rotation[1, 2] = sa, ca * ct, -ca * st
    rotation[2, 0], rotation[2, 1], rotation[2, 2] = -sf * ca, cf * st + sf * sa * ct, cf * ct - sf * sa * st
    multiply(parent_frame, rotation, turned)
    for i in range(3):
        for j in range(3):
            rotation[i, j] = turned[i, 0] * frame[j, 0] + turned[i, 1] * frame[j, 1] + turned[i, 2] * frame[j, 2]


@compiled
def angle_axes(flexion, parent_frame, turned, axes):  # type: ignore[no-untyped-def]
    """Write the axes (3 xyz, 3 angles), in the parent's frame, that a joint's angles turn about.

    ``turned`` is from :func:`joint_rotation`.
    """
    cf, sf = math.cos(flexion), math.sin(flexion)
    for i in range(3):
        axes[i, 0] = parent_frame[i, 1]
        axes[i, 1] = sf * parent_frame[i, 0] + cf * parent_frame[i, 2]
        axes[i, 2] = turned[i, 0]


@compiled_ufunc("void(float64[:], float64[:, :], float64[:, :], float64[:, :])", "(n),(n,n),(n,n)->(n,n)")
def _rotation_from_angles(angles, parent_frame, frame, out):  # type: ignore[no-untyped-def]
    joint_rotation(angles, parent_frame, frame, np.empty((3, 3)), out)
