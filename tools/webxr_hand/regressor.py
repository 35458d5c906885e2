"""The sparse joint regressor: rows that give each joint from nearby vertices, at rest and under every shape."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from .rig import PARENTS, Rig


def joint_regressor(rig: Rig, vertex_dirs: np.ndarray, joint_dirs: np.ndarray, neighbours: int = 96) -> np.ndarray:
    """Rows (16, V) that sum to 1, with ``row @ vertices == joint`` and close to the joints' shape displacements.

    The vertices around a joint that its own bone and its parent's move are the support. Non-negative least squares
    finds a convex combination; a least-norm correction on the same support then makes the rest pose exact.
    """
    regressor = np.zeros((16, len(rig.vertices)))
    for joint in range(16):
        parent = max(PARENTS[joint], 0)
        distance = np.linalg.norm(rig.vertices - rig.joints[joint], axis=1)
        reach = np.where(rig.weights[:, joint] + rig.weights[:, parent] > 0.5, distance, np.inf)
        support = np.sort(np.argsort(reach, kind="stable")[:neighbours])
        exact = np.concatenate([np.ones((1, neighbours)), (rig.vertices[support] - rig.joints[joint]).T / 0.01])
        goal = np.array([1.0, 0.0, 0.0, 0.0])
        soft = vertex_dirs[support].reshape(neighbours, -1).T / 0.001
        soft_goal = joint_dirs[joint].reshape(-1) / 0.001
        spread = 0.05 * np.eye(neighbours)
        row, _ = nnls(
            np.concatenate([100.0 * exact, soft, spread]),
            np.concatenate([100.0 * goal, soft_goal, np.zeros(neighbours)]),
        )
        used = row > 1e-4
        row = np.where(used, row, 0.0)
        row[used] += np.linalg.pinv(exact[:, used]) @ (goal - exact @ row)
        regressor[joint, support] = row
    return regressor
