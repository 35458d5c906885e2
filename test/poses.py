"""Poses for tests."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation


def matrix(position: object = (0.0, 0.0, 0.5), turn: object = (0.0, 0.0, 0.0)) -> np.ndarray:
    """The pose (4, 4) at ``position``, metres, turned by the rotation vector ``turn``, radians."""
    result = np.eye(4)
    result[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
    result[:3, 3] = position
    return result
