"""The hand's kinematic chain in torch, for losses on joints: as :mod:`hand_recon_ros.hand_model`, differentiable."""

from __future__ import annotations

import torch
from torch import nn

from ..hand_model import HandModel
from ..types import Side


def matrix_from_6d(numbers: torch.Tensor) -> torch.Tensor:
    """Rotation matrices (..., 3, 3) from (..., 6), the first two columns, made orthonormal by Gram and Schmidt.

    Zhou et al., "On the Continuity of Rotation Representations in Neural Networks", CVPR 2019; the first three numbers
    are the first column.
    """
    first = nn.functional.normalize(numbers[..., :3], dim=-1)
    second = numbers[..., 3:] - (first * numbers[..., 3:]).sum(-1, keepdim=True) * first
    second = nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


def to_6d(rotations: torch.Tensor) -> torch.Tensor:
    """The inverse of :func:`matrix_from_6d`: (..., 3, 3) -> (..., 6)."""
    return torch.cat([rotations[..., 0], rotations[..., 1]], dim=-1)


def skew(vectors: torch.Tensor) -> torch.Tensor:
    """Matrices (..., 3, 3) whose product with a vector is the cross product of ``vectors`` (..., 3) with it."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


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
        # All five fingers at once, joint by joint.
        local = rotations[:, 1:].unflatten(1, (5, 3))
        turned = [rotations[:, None, 0].expand(-1, 5, -1, -1)]
        for level in range(3):
            turned.append(turned[-1] @ local[:, :, level])
        fingers = rest[:, 1:].unflatten(1, (5, 4))
        before = torch.cat([rest[:, None, :1].expand(-1, 5, -1, -1), fingers[:, :, :-1]], dim=2)
        steps = (torch.stack(turned, dim=2) @ (fingers - before)[..., None])[..., 0]
        points = steps.cumsum(dim=2).flatten(1, 2)
        return torch.cat([rest[:, :1] - rest[:, :1], points], dim=1)
