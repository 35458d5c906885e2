"""Conversion between MANO's joint order and pose vector and the package's own joints (``skeleton.JOINT_NAMES``).

MANO's fingers are in the order index, middle, little, ring, thumb. Outside of ``hand_model`` only the pose vector of a
message and the arrays of a model file use it.
"""

from __future__ import annotations

import numpy as np

from ..geometry.rotations import rotation_matrices, rotation_vectors
from ..skeleton import NUM_JOINTS

TO_MANO = np.array([0, 4, 5, 6, 7, 8, 9, 13, 14, 15, 10, 11, 12, 1, 2, 3])
"""``package_array[TO_MANO]`` is in MANO's order."""
FROM_MANO = np.argsort(TO_MANO)
"""``mano_array[FROM_MANO]`` is in the package's order."""


def to_mano_pose(rotations: np.ndarray) -> np.ndarray:
    """MANO's pose vector (..., 48): axis-angle of joint rotations (..., 16, 3, 3), zero for the flat hand.

    That is the pose of smplx.MANO(use_pca=False, flat_hand_mean=True): global_orient, then hand_pose.
    Raises ValueError for another shape.
    """
    rotations = np.asarray(rotations)
    if rotations.shape[-3:] != (NUM_JOINTS, 3, 3):
        raise ValueError(f"rotations must have shape (..., {NUM_JOINTS}, 3, 3), got {rotations.shape}")
    vectors = rotation_vectors(rotations[..., TO_MANO, :, :])
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
    return rotation_matrices(vectors)[..., FROM_MANO, :, :]
