"""Rotations in torch, differentiable: as :mod:`hand_recon_ros.geometry.rotations` and ``joint_angles``."""

from __future__ import annotations

import torch
from torch import nn


def skew(vectors: torch.Tensor) -> torch.Tensor:
    """Matrices (..., 3, 3) whose product with a vector is the cross product of ``vectors`` (..., 3) with it."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def rotation_matrices(vectors: torch.Tensor) -> torch.Tensor:
    """Rotation matrices (..., 3, 3) of rotation vectors (..., 3), radians; differentiable at 0 too."""
    return torch.linalg.matrix_exp(skew(vectors))


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


def rotations_from_angles(angles: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Rotations (..., 3, 3) of flexion, abduction and twist (..., 3), radians, about joint frames (..., 3, 3).

    Angles are those of a right hand; for a left one abduction and twist change sign, see
    :mod:`hand_recon_ros.geometry.joint_angles`.
    """
    (cf, ca, ct), (sf, sa, st) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    rows = [
        torch.stack([cf * ca, sf * st - cf * sa * ct, sf * ct + cf * sa * st], dim=-1),
        torch.stack([sa, ca * ct, -ca * st], dim=-1),
        torch.stack([-sf * ca, cf * st + sf * sa * ct, cf * ct - sf * sa * st], dim=-1),
    ]
    return frames @ torch.stack(rows, dim=-2) @ frames.mT


def random_rotations(count: int, generator: torch.Generator) -> torch.Tensor:
    """Rotations (N, 3, 3), uniform over all, on the CPU."""
    w, *xyz = nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=1).unbind(1)
    axis = torch.stack(xyz, dim=1)
    sine = axis.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return rotation_matrices(axis / sine * 2.0 * torch.atan2(sine, w[:, None]))
