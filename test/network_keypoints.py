"""The inverse of ``moved_to_hand_model``."""

from __future__ import annotations

import numpy as np

from hand_recon_ros.landmarks.hand_keypoints import moved_to_hand_model


def network_keypoints(keypoints: np.ndarray) -> np.ndarray:
    """Keypoints (21, D) of the hand model as the landmark network's."""
    return np.linalg.solve(moved_to_hand_model(np.eye(21)), keypoints)
