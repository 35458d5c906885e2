"""The 20 named flexion and abduction angles of a hand, as robots name the positions of joints.

Four for each finger: flexion and abduction of its first joint (CMC of the thumb, MCP of the others) and flexion of the
two joints after it. Zero is the flat hand, positive flexion bends towards the palm, positive abduction towards the
thumb's side (thumb: out of the plane of the palm), see ``geometry/joint_angles.py``; the same for both hands.
"""

from __future__ import annotations

import numpy as np

from ..geometry.joint_angles import ABDUCTION, FLEXION
from ..skeleton import FINGERS, JOINT_NAMES, NUM_JOINTS
from .kinematics import Kinematics

_FIRST_JOINTS = np.arange(1, NUM_JOINTS, 3)
_JOINTS = np.concatenate([[joint, joint, joint + 1, joint + 2] for joint in _FIRST_JOINTS])
_KINDS = np.tile([FLEXION, ABDUCTION, FLEXION, FLEXION], len(FINGERS))

ANGLE_NAMES = tuple(
    f"{JOINT_NAMES[joint]}_{'abduction' if kind == ABDUCTION else 'flexion'}"
    for joint, kind in zip(_JOINTS, _KINDS, strict=True)
)
"""``thumb_cmc_flexion``, ``thumb_cmc_abduction``, ``thumb_mcp_flexion``, ``thumb_ip_flexion``, ``index_mcp_flexion``
and so on, thumb to little finger."""


def named_angles(kinematics: Kinematics, rotations: np.ndarray) -> np.ndarray:
    """The angles ANGLE_NAMES (..., 20), radians, of joint rotations (..., 16, 3, 3) relative to their parents.

    The twist of the joints, and the abduction of the joints after a finger's first one, are left out.
    """
    return np.asarray(kinematics.angles_of(rotations)[..., _JOINTS, _KINDS])


def angles_from_named(values: np.ndarray) -> np.ndarray:
    """Flexion, abduction and twist (..., 16, 3) for :meth:`Kinematics.rotations_of`, of the angles (..., 20), radians.

    What ANGLE_NAMES leaves out is zero, the orientation of the hand too. Raises ValueError for another shape.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.shape[-1:] != (len(ANGLE_NAMES),):
        raise ValueError(f"values must have shape (..., {len(ANGLE_NAMES)}), got {values.shape}")
    angles = np.zeros((*values.shape[:-1], NUM_JOINTS, 3))
    angles[..., _JOINTS, _KINDS] = values
    return angles


def named_limits(kinematics: Kinematics) -> np.ndarray:
    """Lowest and highest value of the angles ANGLE_NAMES, (20, 2), radians."""
    return np.asarray(kinematics.limits[_JOINTS, _KINDS])
