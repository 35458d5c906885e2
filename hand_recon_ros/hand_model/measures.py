"""Quantities computed from a hand's keypoints: pinch, grasp, and an orientation for every keypoint."""

from __future__ import annotations

import functools

import numpy as np

from ..geometry.rotations import smallest_rotations
from ..skeleton import (
    INDEX_MCP,
    INDEX_TIP,
    KEYPOINT_PARENTS,
    MIDDLE_MCP,
    NUM_KEYPOINTS,
    THUMB_TIP,
    TIPS,
    WRIST,
    cross,
    wrist_rotation,
)
from ..types import Side
from .model import load_embedded

_FINGER_KEYPOINTS = np.arange(5, NUM_KEYPOINTS).reshape(4, 4)
FIST_BEND = np.radians(255.0)
"""Sum of the MCP, PIP and DIP flexion of a finger in a full fist (about 85, 105 and 65 degrees)."""
OPEN_BEND = np.radians(20.0)
"""The largest such sum of an open hand: a relaxed straight finger, and the error of estimated joints."""


def pinch_distance(keypoints: np.ndarray) -> np.ndarray:
    """Distance from thumb tip to index tip, metres, of keypoints (..., 21, 3)."""
    return np.linalg.norm(keypoints[..., THUMB_TIP, :] - keypoints[..., INDEX_TIP, :], axis=-1)


def grasp_closure(keypoints: np.ndarray) -> np.ndarray:
    """Closure of the four fingers, 0 open to 1 fist, from keypoints (..., 21, 3) of either hand.

    The mean over the fingers of the summed flexion of MCP, PIP and DIP joint, scaled so that OPEN_BEND is 0 and
    FIST_BEND is 1. Hyperextension of a knuckle reduces the closure.
    """
    keypoints = np.asarray(keypoints, dtype=np.float64)
    bones = _unit(np.diff(keypoints[..., _FINGER_KEYPOINTS, :], axis=-2))
    along = _unit(keypoints[..., MIDDLE_MCP, :] - keypoints[..., WRIST, :])
    normal = _unit(cross(along, keypoints[..., INDEX_MCP, :] - keypoints[..., WRIST, :]))
    radial = cross(normal, along)
    # The normal is dorsal on a right hand and palmar on a left one. The fingers' curl decides, since they only curl
    # inwards; where they are straight, hyperextension counts as flexion.
    bends = cross(bones[..., :-1, :], bones[..., 1:, :]).sum(axis=(-3, -2))
    curl = np.sum(bends * radial, axis=-1)[..., None]
    below = -np.einsum("...fx,...x->...f", bones[..., 0, :], normal)
    below = np.where(np.abs(curl) > 0.5, below * np.sign(curl), np.abs(below))
    bend = np.arctan2(below, np.einsum("...fx,...x->...f", bones[..., 0, :], along))
    cosines = np.einsum("...bx,...bx->...b", bones[..., :-1, :], bones[..., 1:, :])
    bend = bend + np.arccos(np.clip(cosines, -1.0, 1.0)).sum(axis=-1)
    return np.clip((bend.mean(axis=-1) - OPEN_BEND) / (FIST_BEND - OPEN_BEND), 0.0, 1.0)


def joint_orientations(keypoints: np.ndarray, right: bool | np.ndarray) -> np.ndarray:
    """Orientation of every keypoint (..., 21, 3, 3) from keypoints (..., 21, 3) alone.

    Columns: x along the bone to the next keypoint of the finger (tips: their last bone; wrist: to the middle MCP),
    z out of the back of the finger (thumb: out of the nail's side), y = z cross x. The dorsal direction is propagated
    from the palm outwards by the smallest rotation from one bone to the next, as for joints that flex but do not twist.
    ``right``: whether each hand is a right one. Raises ValueError where wrist, index and middle MCP lie on one line.
    """
    keypoints = np.asarray(keypoints, dtype=np.float64)
    palm = wrist_rotation(keypoints, right)
    mirror = np.where(np.asarray(right)[..., None], 1.0, np.array([1.0, -1.0, 1.0]))
    result = np.empty((*keypoints.shape[:-1], 3, 3))
    result[..., WRIST, :, :] = palm
    # All five fingers at once, (..., 5, 3): the live node calls this for every image.
    rest = _rest_in_palm()
    bone = np.einsum("...ab,...fb->...fa", palm, rest[:, :, 0] * mirror[..., None, :])
    back = np.einsum("...ab,...fb->...fa", palm, rest[:, :, 2] * mirror[..., None, :])
    for part in range(1, 4):
        along = keypoints[..., part + 1 :: 4, :] - keypoints[..., part:-1:4, :]
        length = np.linalg.norm(along, axis=-1, keepdims=True)
        along = np.where(length > 1e-9, along / np.maximum(length, 1e-9), bone)
        back = (smallest_rotations(bone, along) @ back[..., None])[..., 0]
        z = _unit(back - along * np.sum(back * along, axis=-1, keepdims=True))
        result[..., part:-1:4, :, :] = np.stack([along, cross(z, along), z], axis=-1)
        bone, back = along, z
    result[..., TIPS, :, :] = result[..., KEYPOINT_PARENTS[TIPS], :, :]
    return result


@functools.cache
def _rest_in_palm() -> np.ndarray:
    """Frames (5, 3, 3) of the fingers' first joints in the wrist frame of a flat right hand, thumb to little finger."""
    frames = load_embedded().kinematics(Side.RIGHT).joint_frames
    return frames[0].T @ frames[1::3]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
