"""The hand skeleton: 21 keypoints, 16 joints, mirroring and the wrist frame.

Keypoints are in the OpenPose order: wrist 0, thumb 1-4, index 5-8, middle 9-12,
ring 13-16, little 17-20, each finger from base to tip. The 16 joints are those of them that a parametric hand can
rotate (all but the five tips), in the same order; MANO's own joint order is used inside ``hand_model`` only.
"""

from __future__ import annotations

import numpy as np

NUM_KEYPOINTS = 21
NUM_JOINTS = 16

FINGERS = ("thumb", "index", "middle", "ring", "pinky")

WRIST = 0
THUMB_CMC, THUMB_MCP, THUMB_IP, THUMB_TIP = 1, 2, 3, 4
INDEX_MCP, INDEX_PIP, INDEX_DIP, INDEX_TIP = 5, 6, 7, 8
MIDDLE_MCP, MIDDLE_PIP, MIDDLE_DIP, MIDDLE_TIP = 9, 10, 11, 12
RING_MCP, RING_PIP, RING_DIP, RING_TIP = 13, 14, 15, 16
PINKY_MCP, PINKY_PIP, PINKY_DIP, PINKY_TIP = 17, 18, 19, 20

KEYPOINT_NAMES = (
    "wrist",
    *(f"thumb_{part}" for part in ("cmc", "mcp", "ip", "tip")),
    *(f"{finger}_{part}" for finger in FINGERS[1:] for part in ("mcp", "pip", "dip", "tip")),
)
KEYPOINT_PARENTS = np.array([-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19])
BONES = tuple((int(parent), child) for child, parent in enumerate(KEYPOINT_PARENTS) if parent >= 0)
TIPS = np.array([THUMB_TIP, INDEX_TIP, MIDDLE_TIP, RING_TIP, PINKY_TIP])
MCPS = np.array([INDEX_MCP, MIDDLE_MCP, RING_MCP, PINKY_MCP])
PALM = np.array([WRIST, THUMB_CMC, INDEX_MCP, MIDDLE_MCP, RING_MCP, PINKY_MCP])

JOINT_KEYPOINTS = np.array([k for k in range(NUM_KEYPOINTS) if k not in TIPS])
"""Keypoint index of each of the 16 joints."""
JOINT_NAMES = tuple(KEYPOINT_NAMES[k] for k in JOINT_KEYPOINTS)
JOINT_PARENTS = np.array([-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14])
TIP_JOINTS = np.array([3, 6, 9, 12, 15])
"""The joint (index into the 16) each fingertip is attached to, thumb to little finger."""

_MIRROR = np.array([-1.0, 1.0, 1.0])


def mirror_points(points: np.ndarray) -> np.ndarray:
    """Mirror points or vectors (..., 3) in the plane x = 0: a right hand becomes a left hand."""
    return points * _MIRROR.astype(np.asarray(points).dtype)


def mirror_rotations(rotations: np.ndarray) -> np.ndarray:
    """Mirror rotation matrices (..., 3, 3) in the plane x = 0: S R S with S = diag(-1, 1, 1).

    In axis-angle form this is (a, b, c) -> (a, -b, -c).
    """
    return rotations * np.outer(_MIRROR, _MIRROR).astype(np.asarray(rotations).dtype)


def mirror_pixels(pixels: np.ndarray, width: int) -> np.ndarray:
    """Mirror pixel coordinates (..., 2) in an image of ``width`` pixels; the centre of pixel 0 is at 0."""
    mirrored = np.array(pixels, copy=True)
    mirrored[..., 0] = width - 1 - mirrored[..., 0]
    return mirrored


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product of vectors (..., 3); several times faster than NumPy's, which accepts any layout."""
    result = np.empty(np.broadcast_shapes(a.shape, b.shape))
    result[..., 0] = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    result[..., 1] = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    result[..., 2] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return result


def wrist_rotation(keypoints: np.ndarray, right: bool | np.ndarray) -> np.ndarray:
    """Orientation of the wrist frame, (..., 3, 3), from keypoints (..., 21, 3).

    Columns are the axes in the keypoints' frame: x from the wrist towards the middle MCP, z out of the back of the
    hand, y = z cross x. The plane is spanned by keypoints 0, 5 and 9, the same rule for both hands; ``right`` (bool,
    or an array broadcastable to ``...``) decides which side of that plane is the back. In dex-retargeting's operator
    frame the same point is p_op = (-z, y, x) for both hands.

    Raises ValueError where the three keypoints do not span a plane.
    """
    keypoints = np.asarray(keypoints, dtype=np.float64)
    x = keypoints[..., MIDDLE_MCP, :] - keypoints[..., WRIST, :]
    towards_index = keypoints[..., INDEX_MCP, :] - keypoints[..., WRIST, :]
    # Seen from the back of a right hand with the fingers up, the index finger is left of the middle finger.
    normal = cross(x, towards_index)
    normal = np.where(np.asarray(right)[..., None], normal, -normal)
    lengths = np.linalg.norm(x, axis=-1, keepdims=True), np.linalg.norm(normal, axis=-1, keepdims=True)
    if not all(np.all(length > 1e-12) for length in lengths):
        raise ValueError("the wrist, index MCP and middle MCP lie on one line: no wrist frame")
    x, z = x / lengths[0], normal / lengths[1]
    return np.stack([x, cross(z, x), z], axis=-1)


def wrist_pose(keypoints: np.ndarray, right: bool) -> np.ndarray:
    """Pose of the wrist frame as a homogeneous matrix (4, 4): see :func:`wrist_rotation`; the origin is keypoint 0."""
    pose = np.eye(4)
    pose[:3, :3] = wrist_rotation(keypoints, right)
    pose[:3, 3] = keypoints[WRIST]
    return pose
