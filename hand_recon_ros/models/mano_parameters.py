"""What HaMeR and WiLoR predict of a hand: the parameters of MANO and of the crop's camera."""

from __future__ import annotations

from typing import NamedTuple

import torch

POSE_SIZE, BETAS_SIZE, CAMERA_SIZE = 96, 10, 3


class ManoParameters(NamedTuple):
    """Parameters of B right hands.

    Attributes:
        pose: 16 joint rotations (B, 96) as 6D (``rotations.matrix_from_6d``), in MANO's order, the first the
            orientation in the crop's camera; zero rotation is the flat hand.
        betas: (B, 10).
        camera: (B, 3), scale s and position tx, ty of the weak-perspective camera. A hand model at (tx, ty) metres
            fills the crop, which is 2 / s metres wide at its distance.
    """

    pose: torch.Tensor
    betas: torch.Tensor
    camera: torch.Tensor

    def plus(self, pose: torch.Tensor, betas: torch.Tensor, camera: torch.Tensor) -> ManoParameters:
        """The parameters with these added, of any shapes that broadcast."""
        return ManoParameters(self.pose + pose, self.betas + betas, self.camera + camera)
