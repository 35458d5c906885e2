"""Joint frames for a hand model whose file has none, taken over from the embedded hand."""

from __future__ import annotations

import numpy as np

from ..skeleton import JOINT_KEYPOINTS, MIDDLE_MCP, PALM


def transfer_frames(keypoints: np.ndarray, reference_keypoints: np.ndarray, reference_frames: np.ndarray) -> np.ndarray:
    """Frames (16, 3, 3) at the joints of ``keypoints`` (21, 3), from a hand of the same side whose frames are known.

    The palms are laid over each other (Kabsch 1976). Each bone then gets its own direction as x, and its dorsal
    direction from the reference, turned by the smallest rotation between the two bones.
    """
    a, b = reference_keypoints[PALM], keypoints[PALM]
    u, _, vt = np.linalg.svd((b - b.mean(0)).T @ (a - a.mean(0)))
    turn = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    ends = JOINT_KEYPOINTS + 1
    ends[0] = MIDDLE_MCP
    frames = np.empty((len(JOINT_KEYPOINTS), 3, 3))
    for joint, (start, end) in enumerate(zip(JOINT_KEYPOINTS, ends, strict=True)):
        x = keypoints[end] - keypoints[start]
        x = x / np.linalg.norm(x)
        old, z = turn @ reference_frames[joint][:, 0], turn @ reference_frames[joint][:, 2]
        axis, cosine = np.cross(old, x), float(old @ x)
        z = cosine * z + np.cross(axis, z) + axis * (axis @ z) / max(1.0 + cosine, 1e-6)
        z -= x * (x @ z)
        z /= np.linalg.norm(z)
        frames[joint] = np.stack([x, np.cross(z, x), z], axis=1)
    return frames
