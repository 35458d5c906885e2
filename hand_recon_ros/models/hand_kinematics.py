"""Forward kinematics and skinning of hands in torch, differentiable: as in :mod:`hand_recon_ros.geometry`."""

from __future__ import annotations

import torch
from torch import nn

from ..hand_model import HandModel
from ..skeleton import JOINT_KEYPOINTS
from ..types import Side


def forward_kinematics(
    rotations: torch.Tensor, rest_keypoints: torch.Tensor, wrist: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keypoints (..., 21, 3) and joint orientations (..., 16, 3, 3) in the frame of ``wrist``.

    Args:
        rotations: of the joints relative to their parents (..., 16, 3, 3); the first is the global one.
        rest_keypoints: of the hand at rest (..., 21, 3), metres.
        wrist: where the wrist is (..., 3), metres.
    """
    chain, points = _chain(rotations, rest_keypoints)
    wrist = wrist[..., None, :]
    orientations = torch.cat([rotations[..., :1, :, :], chain[..., 1:, :, :].flatten(-4, -3)], dim=-3)
    return torch.cat([wrist, points + wrist], dim=-2), orientations


def _chain(rotations: torch.Tensor, rest_keypoints: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The orientation of each bone (..., 5, 4, 3, 3), finger by finger, and the keypoints other than the wrist relative
    to it (..., 20, 3)."""
    # All five fingers at once, joint by joint.
    local = rotations[..., 1:, :, :].unflatten(-3, (5, 3))
    levels = [rotations[..., :1, :, :].expand_as(local[..., 0, :, :])]
    for level in range(3):
        levels.append(levels[-1] @ local[..., level, :, :])
    fingers = rest_keypoints[..., 1:, :].unflatten(-2, (5, 4))
    first = fingers[..., :1, :] - rest_keypoints[..., None, :1, :]
    bones = torch.cat([first, fingers[..., 1:, :] - fingers[..., :-1, :]], dim=-2)
    chain = torch.stack(levels, dim=-3)
    return chain, (chain @ bones[..., None])[..., 0].cumsum(dim=-2).flatten(-3, -2)


def skinned(
    points: torch.Tensor,
    weights: torch.Tensor,
    orientations: torch.Tensor,
    keypoints: torch.Tensor,
    rest_keypoints: torch.Tensor,
) -> torch.Tensor:
    """Positions (..., N, 3) of points that follow the joints, by linear blend skinning.

    Args:
        points: at rest (..., N, 3), metres, shape and pose correctives included.
        weights: skinning weights (..., N, 16).
        orientations: of the joints (..., 16, 3, 3), and
        keypoints: of the hand (..., 21, 3), metres, both as :func:`forward_kinematics` returns them.
        rest_keypoints: at rest (..., 21, 3), metres.
    """
    rest, joints = rest_keypoints[..., JOINT_KEYPOINTS, :], keypoints[..., JOINT_KEYPOINTS, :]
    shifts = joints - (orientations @ rest[..., None])[..., 0]
    transforms = torch.cat([orientations, shifts[..., None]], dim=-1).flatten(-2)
    blended = (weights @ transforms).unflatten(-1, (3, 4))
    return (blended[..., :3] @ points[..., None])[..., 0] + blended[..., 3]


def palm_frame(joints: torch.Tensor) -> torch.Tensor:
    """Axes (..., 3, 3) of the palm of keypoints (..., 21, 3), as columns: across it, along it, out of it."""
    along = nn.functional.normalize(joints[..., 9, :] - joints[..., 0, :], dim=-1, eps=1e-4)
    across = joints[..., 17, :] - joints[..., 5, :]
    across = across - (across * along).sum(-1, keepdim=True) * along
    across = nn.functional.normalize(across, dim=-1, eps=1e-4)
    return torch.stack([across, along, torch.linalg.cross(across, along)], dim=-1)


class HandChain(nn.Module):
    """Keypoints of a right hand from its joint rotations and betas."""

    template: torch.Tensor
    shapedirs: torch.Tensor

    def __init__(self, hand_model: HandModel) -> None:
        super().__init__()
        kinematics = hand_model.kinematics(Side.RIGHT)
        self.register_buffer("template", torch.tensor(kinematics.keypoint_template, dtype=torch.float32), False)
        self.register_buffer("shapedirs", torch.tensor(kinematics.keypoint_shapedirs, dtype=torch.float32), False)

    def forward(self, rotations: torch.Tensor, betas: torch.Tensor) -> torch.Tensor:
        """Keypoints (B, 21, 3), metres from the wrist, of rotations (B, 16, 3, 3) and betas (B, 10)."""
        rest = self.template + torch.einsum("kxs,bs->bkx", self.shapedirs, betas)
        return torch.cat([torch.zeros_like(rest[:, :1]), _chain(rotations, rest)[1]], dim=1)
