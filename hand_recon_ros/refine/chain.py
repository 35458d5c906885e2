"""The hand as a kinematic chain in joint angles, with analytic derivatives, for a batch of hands.

The arrays are laid out by finger and level, so that one step handles all five fingers of all hands at once:
``(B, 5, 3, ...)`` for the three joints of each finger and ``(B, 5, 4, ...)`` for its four keypoints.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..hand_model import Kinematics, rotations_from_angles
from ..skeleton import NUM_KEYPOINTS

NUM_BETAS = 10
ROTATION = slice(0, 3)
TRANSLATION = slice(3, 6)
ANGLES = slice(6, 51)
BETAS = slice(51, 61)
NUM_PARAMETERS = 61
"""Global rotation (left increment, rad), wrist position (m), 5 x 3 x (flexion, abduction, twist) (rad), betas."""

_FINGER_KEYPOINTS = np.arange(1, NUM_KEYPOINTS).reshape(5, 4)
_LATER = np.arange(4)[None, :] > np.arange(3)[:, None]  # keypoint m moves with joint l of its finger when m > l


@dataclasses.dataclass(frozen=True)
class Template:
    """Rest geometry of B hands: bone offsets (B, 5, 4, 3) and their shape derivatives (B, 5, 4, 3, 10), the rest wrist
    and its derivative, anatomical joint frames (B, 5, 3, 3, 3) and angle limits (B, 5, 3, 3, 2)."""

    offsets: np.ndarray
    offset_shapedirs: np.ndarray
    wrist: np.ndarray
    wrist_shapedirs: np.ndarray
    frames: np.ndarray
    limits: np.ndarray

    @classmethod
    def stack(cls, hands: list[Kinematics]) -> Template:
        """The template of several hands, given as kinematics in the space they are to be solved in."""
        keypoints = np.stack([hand.keypoint_template for hand in hands]).astype(np.float64)
        shapedirs = np.stack([hand.keypoint_shapedirs for hand in hands]).astype(np.float64)
        before = np.concatenate([np.zeros((5, 1), dtype=int), _FINGER_KEYPOINTS[:, :3]], axis=1)
        return cls(
            offsets=keypoints[:, _FINGER_KEYPOINTS] - keypoints[:, before],
            offset_shapedirs=shapedirs[:, _FINGER_KEYPOINTS] - shapedirs[:, before],
            wrist=keypoints[:, 0],
            wrist_shapedirs=shapedirs[:, 0],
            frames=np.stack([hand.joint_frames[1:].reshape(5, 3, 3, 3) for hand in hands]).astype(np.float64),
            limits=np.stack([hand.limits[1:].reshape(5, 3, 3, 2) for hand in hands]).astype(np.float64),
        )


@dataclasses.dataclass
class Pose:
    """Parameters of B hands: global rotation (B, 3, 3), wrist position (B, 3), angles (B, 5, 3, 3), betas (B, 10)."""

    rotation: np.ndarray
    wrist: np.ndarray
    angles: np.ndarray
    betas: np.ndarray


@dataclasses.dataclass(frozen=True)
class Posed:
    """Forward kinematics of a :class:`Pose`: keypoints (B, 21, 3) and what their derivatives need."""

    keypoints: np.ndarray
    local: np.ndarray
    """Joint rotations relative to their parents, (B, 5, 3, 3, 3)."""
    axes: np.ndarray
    """Rotation axis of each angle in the camera frame, (B, 5, 3, 3 xyz, 3 angles)."""
    chain: np.ndarray
    """Orientation that carries each bone, (B, 5, 4, 3, 3)."""


def joint_axes(angles: np.ndarray, rotations: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Axes (..., 3, 3 angles) in the parent's frame that flexion, abduction and twist (..., 3) turn about."""
    flexion = angles[..., :1]
    abduction_axis = np.sin(flexion) * frames[..., 0] + np.cos(flexion) * frames[..., 2]
    twist_axis = (rotations @ frames[..., :1])[..., 0]
    return np.stack([frames[..., 1], abduction_axis, twist_axis], axis=-1)


def forward(template: Template, pose: Pose) -> Posed:
    """Keypoints of the posed hands in the camera frame, metres."""
    local = rotations_from_angles(pose.angles, template.frames)
    axes = joint_axes(pose.angles, local, template.frames)
    batch = pose.wrist.shape[0]
    chain = np.empty((batch, 5, 4, 3, 3))
    chain[:, :, 0] = pose.rotation[:, None]
    for level in range(3):
        np.matmul(chain[:, :, level], local[:, :, level], out=chain[:, :, level + 1])
    offsets = template.offsets + (template.offset_shapedirs @ pose.betas[:, None, None, :, None])[..., 0]
    keypoints = np.empty((batch, NUM_KEYPOINTS, 3))
    keypoints[:, 0] = pose.wrist
    fingers = np.cumsum((chain @ offsets[..., None])[..., 0], axis=2) + pose.wrist[:, None, None]
    keypoints[:, 1:] = fingers.reshape(batch, 20, 3)
    return Posed(keypoints=keypoints, local=local, axes=chain[:, :, :3] @ axes, chain=chain)


def jacobian(template: Template, posed: Posed) -> np.ndarray:
    """Derivatives of the keypoints with respect to the parameters, (B, 21, 3, NUM_PARAMETERS)."""
    batch = posed.keypoints.shape[0]
    result = np.zeros((batch, NUM_KEYPOINTS, 3, NUM_PARAMETERS))
    result[..., ROTATION] = minus_skew(posed.keypoints - posed.keypoints[:, :1])
    result[..., 0, 3] = result[..., 1, 4] = result[..., 2, 5] = 1.0
    fingers = posed.keypoints[:, 1:].reshape(batch, 5, 4, 3)
    levers = (fingers[:, :, None] - fingers[:, :, :3, None]) * _LATER[:, :, None]
    by_angle = minus_skew(levers) @ posed.axes[:, :, :, None]  # (B, 5, joint, keypoint, xyz, angle)
    by_shape = np.cumsum(posed.chain @ template.offset_shapedirs, axis=2)
    for finger in range(5):
        rows = slice(1 + 4 * finger, 5 + 4 * finger)
        block = by_angle[:, finger].transpose(0, 2, 3, 1, 4)
        result[:, rows, :, 6 + 9 * finger : 15 + 9 * finger] = block.reshape(batch, 4, 3, 9)
    result[:, 1:, :, BETAS] = by_shape.reshape(batch, 20, 3, NUM_BETAS)
    return result


def minus_skew(v: np.ndarray) -> np.ndarray:
    """The matrix M (..., 3, 3) with M e = e x v for every e."""
    m = np.zeros((*v.shape, 3))
    m[..., 0, 1], m[..., 0, 2] = v[..., 2], -v[..., 1]
    m[..., 1, 0], m[..., 1, 2] = -v[..., 2], v[..., 0]
    m[..., 2, 0], m[..., 2, 1] = v[..., 1], -v[..., 0]
    return m


def rotation_from_vector(vector: np.ndarray) -> np.ndarray:
    """Rodrigues' formula: rotation matrices (..., 3, 3) of rotation vectors (..., 3)."""
    angle2 = np.sum(vector * vector, axis=-1)[..., None, None]
    angle = np.sqrt(angle2)
    small = angle < 1e-6
    safe = np.where(small, 1.0, angle)
    a = np.where(small, 1.0 - angle2 / 6.0, np.sin(safe) / safe)
    b = np.where(small, 0.5 - angle2 / 24.0, (1.0 - np.cos(safe)) / (safe * safe))
    k = -minus_skew(vector)
    return np.eye(3) + a * k + b * (k @ k)
