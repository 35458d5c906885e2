"""Anatomical joint angles: flexion, abduction and twist of a joint in its own frame.

A joint's rotation relative to its parent, expressed in the joint's frame (x along the bone, z dorsal, y = z cross x),
is Ry(flexion) Rz(abduction) Rx(twist): flexion about the axis fixed in the parent, abduction about the floating axis,
twist about the bone, the order the International Society of Biomechanics recommends for finger joints (Wu et al.,
J. Biomechanics 38 (2005) 981-992). Positive flexion curls towards the palm. Positive abduction turns a finger
towards the thumb's side of the hand, and the thumb out of the palm's plane; positive twist turns the nail of the thumb
towards the back of the hand (pronation). So it is for both hands: on a left hand, whose frames are as right-handed as
any, the rotations about z and x change sign, and the same angles make the mirrored pose.
"""

from __future__ import annotations

import numpy as np

FLEXION, ABDUCTION, TWIST = 0, 1, 2


def rotations_from_angles(angles: np.ndarray, frames: np.ndarray, right: bool = True) -> np.ndarray:
    """Rotations (..., 3, 3) relative to the parent joint.

    Args:
        angles: flexion, abduction and twist (..., 3), radians.
        frames: joint frames at rest, broadcastable to (..., 3, 3).
        right: whether the frames are those of a right hand.
    """
    angles = np.asarray(angles, dtype=np.float64)
    if not right:
        angles = angles * _LEFT_SIGNS
    cos, sin = np.cos(angles), np.sin(angles)
    cf, ca, ct = cos[..., 0], cos[..., 1], cos[..., 2]
    sf, sa, st = sin[..., 0], sin[..., 1], sin[..., 2]
    local = np.empty((*angles.shape, 3))
    local[..., 0, 0], local[..., 0, 1], local[..., 0, 2] = cf * ca, sf * st - cf * sa * ct, sf * ct + cf * sa * st
    local[..., 1, 0], local[..., 1, 1], local[..., 1, 2] = sa, ca * ct, -ca * st
    local[..., 2, 0], local[..., 2, 1], local[..., 2, 2] = -sf * ca, cf * st + sf * sa * ct, cf * ct - sf * sa * st
    return frames @ local @ np.swapaxes(frames, -1, -2)


def angles_from_rotations(rotations: np.ndarray, frames: np.ndarray, right: bool = True) -> np.ndarray:
    """Flexion and twist in (-pi, pi], abduction in [-pi/2, pi/2]: the inverse of :func:`rotations_from_angles`.

    At an abduction of 90 degrees flexion and twist turn about the same axis: the twist is then called 0.
    """
    rotations = np.asarray(rotations, dtype=np.float64)
    local = np.swapaxes(frames, -1, -2) @ rotations @ frames
    cosine = np.hypot(local[..., 0, 0], local[..., 2, 0])
    locked = cosine < 1e-7
    flexion = np.where(
        locked,
        np.arctan2(local[..., 0, 2], local[..., 2, 2]),
        np.arctan2(-local[..., 2, 0], np.where(locked, 1.0, local[..., 0, 0])),
    )
    abduction = np.arctan2(local[..., 1, 0], cosine)
    twist = np.where(locked, 0.0, np.arctan2(-local[..., 1, 2], np.where(locked, 1.0, local[..., 1, 1])))
    angles = np.stack([flexion, abduction, twist], axis=-1)
    return angles if right else angles * _LEFT_SIGNS


_LEFT_SIGNS = np.array([1.0, -1.0, -1.0])
