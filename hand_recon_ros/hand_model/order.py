"""MANO's joint order and pose vector against the package's own joints (``skeleton.JOINT_NAMES``).

MANO lists the fingers as index, middle, little, ring, thumb. Nothing outside ``hand_model`` sees that order, but the
pose vector of a message and the arrays of a model file.
"""

from __future__ import annotations

import numpy as np

from ..skeleton import NUM_JOINTS

MANO_FROM_HOUSE = np.array([0, 4, 5, 6, 7, 8, 9, 13, 14, 15, 10, 11, 12, 1, 2, 3])
"""``house_array[MANO_FROM_HOUSE]`` is in MANO's order."""
HOUSE_FROM_MANO = np.argsort(MANO_FROM_HOUSE)
"""``mano_array[HOUSE_FROM_MANO]`` is in the package's order."""


def to_mano_pose(rotations: np.ndarray) -> np.ndarray:
    """MANO's pose vector (..., 48): axis-angle of joint rotations (..., 16, 3, 3), zero for the flat hand.

    That is the pose of smplx.MANO(use_pca=False, flat_hand_mean=True): global_orient, then hand_pose.
    Raises ValueError for another shape.
    """
    rotations = np.asarray(rotations)
    if rotations.shape[-3:] != (NUM_JOINTS, 3, 3):
        raise ValueError(f"rotations must have shape (..., {NUM_JOINTS}, 3, 3), got {rotations.shape}")
    vectors = rotation_vectors(rotations[..., MANO_FROM_HOUSE, :, :])
    return vectors.reshape(*rotations.shape[:-3], 3 * NUM_JOINTS)


def from_mano_pose(pose: np.ndarray) -> np.ndarray:
    """Joint rotations (..., 16, 3, 3) of a MANO pose vector (..., 48) that is zero for the flat hand.

    A pose of smplx.MANO(flat_hand_mean=False) first needs the model file's ``hands_mean`` added to its last 45
    numbers. Raises ValueError for another shape.
    """
    pose = np.asarray(pose)
    if pose.shape[-1:] != (3 * NUM_JOINTS,):
        raise ValueError(f"pose must have shape (..., {3 * NUM_JOINTS}), got {pose.shape}")
    vectors = pose.reshape(*pose.shape[:-1], NUM_JOINTS, 3)
    return rotation_matrices(vectors)[..., HOUSE_FROM_MANO, :, :]


def rotation_matrices(vectors: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) of rotation vectors (..., 3), by Rodrigues' formula."""
    vectors = np.asarray(vectors, dtype=np.float64)
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    small = angle < 1e-4
    safe = np.where(small, 1.0, angle)
    first = np.where(small, 1.0 - angle**2 / 6.0, np.sin(safe) / safe)
    second = np.where(small, 0.5 - angle**2 / 24.0, (1.0 - np.cos(safe)) / safe**2)
    skew = np.zeros((*vectors.shape, 3))
    skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0] = np.moveaxis(vectors, -1, 0)
    skew -= np.swapaxes(skew, -1, -2)
    return np.eye(3) + first * skew + second * (skew @ skew)


def rotation_vectors(rotations: np.ndarray) -> np.ndarray:
    """Rotation vectors (..., 3), of length 0 to pi, of rotation matrices (..., 3, 3).

    Goes through the unit quaternion with its largest component taken from the diagonal (Shepperd 1978), which stays
    exact at rotations near 0 and near pi, where the formula with the antisymmetric part alone does not.
    """
    r = np.asarray(rotations, dtype=np.float64)
    xx, yy, zz = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    wx, wy, wz = r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]
    xy, xz, yz = r[..., 0, 1] + r[..., 1, 0], r[..., 0, 2] + r[..., 2, 0], r[..., 1, 2] + r[..., 2, 1]
    rows = np.stack(
        [
            np.stack([1.0 + xx + yy + zz, wx, wy, wz], axis=-1),
            np.stack([wx, 1.0 + xx - yy - zz, xy, xz], axis=-1),
            np.stack([wy, xy, 1.0 - xx + yy - zz, yz], axis=-1),
            np.stack([wz, xz, yz, 1.0 - xx - yy + zz], axis=-1),
        ],
        axis=-2,
    )
    best = np.argmax(np.diagonal(rows, axis1=-2, axis2=-1), axis=-1)
    quaternion = np.take_along_axis(rows, best[..., None, None], axis=-2)[..., 0, :]
    quaternion = quaternion / np.linalg.norm(quaternion, axis=-1, keepdims=True)
    quaternion = np.where(quaternion[..., :1] < 0.0, -quaternion, quaternion)
    sine = np.linalg.norm(quaternion[..., 1:], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(sine, quaternion[..., :1])
    scale = np.where(sine > 1e-9, angle / np.where(sine > 1e-9, sine, 1.0), 2.0)
    return quaternion[..., 1:] * scale
