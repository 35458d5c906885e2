"""Joint frames for a hand model whose file has none, transferred from the embedded hand."""

from __future__ import annotations

import numpy as np

from ..geometry.alignment import best_rotations
from ..geometry.rotations import smallest_rotations
from ..skeleton import JOINT_KEYPOINTS, MIDDLE_MCP, PALM


def transfer_frames(keypoints: np.ndarray, reference_keypoints: np.ndarray, reference_frames: np.ndarray) -> np.ndarray:
    """Frames (16, 3, 3) at the joints of ``keypoints`` (21, 3), from a reference hand of the same side.

    The palms are aligned (Kabsch 1976). The x axis of a frame is the bone's own direction; its dorsal direction is the
    reference's, rotated by the smallest rotation between the two bones.
    """
    aligned = best_rotations(reference_keypoints[PALM], keypoints[PALM]) @ reference_frames
    ends = JOINT_KEYPOINTS + 1
    ends[0] = MIDDLE_MCP
    x = keypoints[ends] - keypoints[JOINT_KEYPOINTS]
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    z = (smallest_rotations(aligned[..., 0], x) @ aligned[..., 2:])[..., 0]
    z -= x * np.sum(x * z, axis=-1, keepdims=True)
    z /= np.linalg.norm(z, axis=-1, keepdims=True)
    return np.stack([x, np.cross(z, x), z], axis=-1)
