"""Joints and fingertips of a hand model: MANO's kinematic chain without its mesh."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..geometry.hand_kinematics import Template, forward_kinematics
from ..geometry.joint_angles import angles_from_rotations, rotations_from_angles
from ..skeleton import KEYPOINT_PARENTS, NUM_JOINTS, NUM_KEYPOINTS, mirror_points
from ..types import Side


@dataclasses.dataclass(frozen=True, eq=False)
class Kinematics:
    """The kinematic chain of one hand. Fingertips move rigidly with the last bone.

    So do the fingertip vertices of the embedded hand. Those of MANO also have pose blend shapes, which the chain does
    not have: a posed fingertip vertex may lie a few millimetres from its keypoint.

    Attributes:
        side: which hand.
        keypoint_template: keypoints at rest with betas of zero (21, 3), metres.
        keypoint_shapedirs: per unit of beta (21, 3, 10), metres.
        joint_frames: anatomical frame of each joint at rest (16, 3, 3); columns x along the bone to the next keypoint
            (wrist: to the middle MCP), z dorsal (thumb: out of the nail's side), y = z cross x.
        limits: lowest and highest flexion, abduction and twist (16, 3, 2), radians.
        parent_frames: the same frames in the flat hand, in the coordinates of the joints' parents at rest (16, 3, 3):
            where they differ, the model's rest pose is not the flat hand, and its angles at rest are not zero.
    """

    side: Side
    keypoint_template: np.ndarray
    keypoint_shapedirs: np.ndarray
    joint_frames: np.ndarray
    limits: np.ndarray
    parent_frames: np.ndarray

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
        if np.shape(rotations)[-3:] != (NUM_JOINTS, 3, 3):
            raise ValueError(f"rotations must have shape (..., {NUM_JOINTS}, 3, 3), got {np.shape(rotations)}")
        rest = self.rest_keypoints(betas)
        return forward_kinematics(rotations, rest, rest[..., 0, :] + translation)

    def angles_of(self, rotations: np.ndarray) -> np.ndarray:
        """Flexion, abduction and twist (..., 16, 3), radians, of joint rotations (..., 16, 3, 3).

        Those of the wrist are the angles of the hand's orientation.
        """
        return angles_from_rotations(rotations, self.joint_frames, self.side == Side.RIGHT, self.parent_frames)

    def rotations_of(self, angles: np.ndarray) -> np.ndarray:
        """Joint rotations (..., 16, 3, 3) of flexion, abduction and twist (..., 16, 3), radians."""
        return rotations_from_angles(angles, self.joint_frames, self.side == Side.RIGHT, self.parent_frames)

    def clamp_angles(self, angles: np.ndarray) -> np.ndarray:
        """The angles (..., 16, 3) clipped to the limits."""
        return np.clip(angles, self.limits[..., 0], self.limits[..., 1])

    def clamp_rotations(self, rotations: np.ndarray) -> np.ndarray:
        """The rotations (..., 16, 3, 3) with every joint's angles inside its limits; the wrist is not changed."""
        clamped = self.rotations_of(self.clamp_angles(self.angles_of(rotations)))
        clamped[..., 0, :, :] = rotations[..., 0, :, :]
        return clamped

    def mirrored(self) -> Kinematics:
        """The mirror image in the plane x = 0: the other side's chain."""
        return Kinematics(
            side=self.side.other,
            keypoint_template=mirror_points(self.keypoint_template),
            keypoint_shapedirs=np.swapaxes(mirror_points(np.swapaxes(self.keypoint_shapedirs, -1, -2)), -1, -2),
            joint_frames=mirror_frames(self.joint_frames),
            limits=self.limits,
            parent_frames=mirror_frames(self.parent_frames),
        )


def mirror_frames(frames: np.ndarray) -> np.ndarray:
    """Joint frames (..., 3, 3) of the mirrored hand: x and z mirrored in the plane x = 0, y = z cross x."""
    mirrored = frames * np.array([-1.0, 1.0, 1.0])[:, None]
    mirrored[..., 1] *= -1.0
    return mirrored


def template_of(hands: list[Kinematics]) -> Template:
    """The rest geometry of several hands, as a batch."""
    keypoints = np.stack([hand.keypoint_template for hand in hands])
    shapedirs = np.stack([hand.keypoint_shapedirs for hand in hands])
    parents = KEYPOINT_PARENTS[1:]
    return Template(
        bones=keypoints[:, 1:] - keypoints[:, parents],
        bone_shapedirs=shapedirs[:, 1:] - shapedirs[:, parents],
        wrist=keypoints[:, 0],
        wrist_shapedirs=shapedirs[:, 0],
        frames=np.stack([hand.joint_frames[1:] for hand in hands]),
        parent_frames=np.stack([hand.parent_frames[1:] for hand in hands]),
        limits=np.stack([hand.limits[1:] for hand in hands]),
    )
