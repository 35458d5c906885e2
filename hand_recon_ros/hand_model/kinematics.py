"""Joints and fingertips of the hand in plain NumPy: MANO's kinematic chain without its mesh."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..geometry.hand_kinematics import Template
from ..geometry.joint_angles import angles_from_rotations, rotations_from_angles
from ..skeleton import JOINT_KEYPOINTS, NUM_JOINTS, NUM_KEYPOINTS, mirror_points
from ..types import Side


@dataclasses.dataclass(frozen=True, eq=False)
class Kinematics:
    """The chain of one hand. Fingertips move rigidly with the last bone.

    So do the fingertip vertices of the embedded hand. Those of MANO also have pose blend shapes, which the chain leaves
    out: there a posed fingertip vertex may lie a few millimetres from its keypoint.

    Attributes:
        side: which hand.
        keypoint_template: keypoints at rest with betas of zero (21, 3), metres.
        keypoint_shapedirs: what each beta does to them (21, 3, 10), metres per unit.
        joint_frames: anatomical frame of each joint at rest (16, 3, 3); columns x along the bone to the next keypoint
            (wrist: to the middle MCP), z dorsal (thumb: out of the nail's side), y = z cross x.
        limits: lowest and highest flexion, abduction and twist (16, 3, 2), radians.
    """

    side: Side
    keypoint_template: np.ndarray
    keypoint_shapedirs: np.ndarray
    joint_frames: np.ndarray
    limits: np.ndarray

    def rest_keypoints(self, betas: np.ndarray) -> np.ndarray:
        """Keypoints of the flat hand (..., 21, 3), metres, for betas (..., 10)."""
        betas = np.asarray(betas, dtype=np.float64)
        count = self.keypoint_shapedirs.shape[-1]
        if betas.shape[-1:] != (count,):
            raise ValueError(f"betas must have shape (..., {count}), got {betas.shape}")
        offsets = betas @ self.keypoint_shapedirs.reshape(-1, count).T
        return self.keypoint_template + offsets.reshape(*betas.shape[:-1], NUM_KEYPOINTS, 3)

    def forward(
        self, rotations: np.ndarray, betas: np.ndarray, translation: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pose the hand.

        Args:
            rotations: of the joints relative to their parents (..., 16, 3, 3), in the order of skeleton.JOINT_NAMES;
                the first is the hand's orientation, about the wrist joint at rest.
            betas: shape (..., 10).
            translation: MANO's ``transl`` (..., 3), metres.

        Returns:
            Keypoints (..., 21, 3), metres, and the joints' rotations in the same frame (..., 16, 3, 3).
        """
        rotations = np.asarray(rotations, dtype=np.float64)
        if rotations.shape[-3:] != (NUM_JOINTS, 3, 3):
            raise ValueError(f"rotations must have shape (..., {NUM_JOINTS}, 3, 3), got {rotations.shape}")
        rest = self.rest_keypoints(betas)
        batch = np.broadcast_shapes(rotations.shape[:-3], rest.shape[:-2])
        # All five fingers at once, joint by joint: five matrix products instead of fifteen.
        local = rotations[..., 1:, :, :].reshape(*rotations.shape[:-3], 5, 3, 3, 3)
        chain = np.empty((*rotations.shape[:-3], 5, 4, 3, 3))
        chain[..., 0, :, :] = rotations[..., :1, :, :]
        for level in range(3):
            np.matmul(chain[..., level, :, :], local[..., level, :, :], out=chain[..., level + 1, :, :])
        wrist = rest[..., :1, :]
        fingers = rest[..., 1:, :].reshape(*rest.shape[:-2], 5, 4, 3)
        bones = fingers.copy()
        bones[..., 1:, :] -= fingers[..., :-1, :]
        bones[..., 0, :] -= wrist
        steps = (chain @ bones[..., None])[..., 0]
        root = wrist + np.asarray(translation, dtype=np.float64)[..., None, :]
        batch = np.broadcast_shapes(batch, root.shape[:-2])
        keypoints = np.empty((*batch, NUM_KEYPOINTS, 3))
        keypoints[..., :1, :] = root
        keypoints[..., 1:, :] = steps.cumsum(axis=-2).reshape(*steps.shape[:-3], 20, 3) + root
        turned = np.empty((*batch, NUM_JOINTS, 3, 3))
        turned[..., 0, :, :] = rotations[..., 0, :, :]
        turned[..., 1:, :, :] = chain[..., 1:, :, :].reshape(*rotations.shape[:-3], 15, 3, 3)
        return keypoints, turned

    def angles_of(self, rotations: np.ndarray) -> np.ndarray:
        """Flexion, abduction and twist (..., 16, 3), radians, of joint rotations (..., 16, 3, 3).

        The wrist's are those of the hand's orientation in the frame it is given in.
        """
        return angles_from_rotations(rotations, self.joint_frames, self.side == Side.RIGHT)

    def rotations_of(self, angles: np.ndarray) -> np.ndarray:
        """Joint rotations (..., 16, 3, 3) of flexion, abduction and twist (..., 16, 3), radians."""
        return rotations_from_angles(angles, self.joint_frames, self.side == Side.RIGHT)

    def clamp_angles(self, angles: np.ndarray) -> np.ndarray:
        """The angles (..., 16, 3) brought inside the limits."""
        return np.clip(angles, self.limits[..., 0], self.limits[..., 1])

    def clamp_rotations(self, rotations: np.ndarray) -> np.ndarray:
        """The rotations (..., 16, 3, 3) with every joint's angles inside its limits; the wrist is left alone."""
        clamped = self.rotations_of(self.clamp_angles(self.angles_of(rotations)))
        clamped[..., 0, :, :] = rotations[..., 0, :, :]
        return clamped

    def mirrored(self) -> Kinematics:
        """The same hand seen in a mirror, the plane x = 0: the other side's chain."""
        return Kinematics(
            side=self.side.other,
            keypoint_template=mirror_points(self.keypoint_template),
            keypoint_shapedirs=np.swapaxes(mirror_points(np.swapaxes(self.keypoint_shapedirs, -1, -2)), -1, -2),
            joint_frames=mirror_frames(self.joint_frames),
            limits=self.limits,
        )

    @property
    def rest_joints(self) -> np.ndarray:
        """The 16 joints at rest (16, 3), metres."""
        return self.keypoint_template[JOINT_KEYPOINTS]


def mirror_frames(frames: np.ndarray) -> np.ndarray:
    """Joint frames (..., 3, 3) of the mirrored hand: x and z mirrored in the plane x = 0, y = z cross x."""
    mirrored = frames * np.array([-1.0, 1.0, 1.0])[:, None]
    mirrored[..., 1] *= -1.0
    return mirrored


def template_of(hands: list[Kinematics]) -> Template:
    """The rest geometry of several hands, given as kinematics in the space they are to be solved in."""
    fingers = np.arange(1, NUM_KEYPOINTS).reshape(5, 4)
    keypoints = np.stack([hand.keypoint_template for hand in hands]).astype(np.float64)
    shapedirs = np.stack([hand.keypoint_shapedirs for hand in hands]).astype(np.float64)
    before = np.concatenate([np.zeros((5, 1), dtype=int), fingers[:, :3]], axis=1)
    # One layout whatever the number of hands (an index array leaves another one): the loops are compiled for it.
    return Template(
        offsets=np.ascontiguousarray(keypoints[:, fingers] - keypoints[:, before]),
        offset_shapedirs=np.ascontiguousarray(shapedirs[:, fingers] - shapedirs[:, before]),
        wrist=keypoints[:, 0],
        wrist_shapedirs=shapedirs[:, 0],
        frames=np.stack([hand.joint_frames[1:].reshape(5, 3, 3, 3) for hand in hands]).astype(np.float64),
        limits=np.stack([hand.limits[1:].reshape(5, 3, 3, 2) for hand in hands]).astype(np.float64),
    )
