"""What is read off the encoder's tokens."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from ..datasets.crops import SEGMENTATION_SIZE
from ..encode.crop_frame import PAIR_FEATURES
from ..encode.outputs import HandsOutput
from .backbones import Reading, spread
from .hand_kinematics import HandChain, matrix_from_6d, palm_frame, to_6d

JOINTS_2D = 21
SEGMENTATION_CLASSES = 3
"""The rest, this hand, the other hand."""


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two layers, the inner one activated."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


def cells(grid: int) -> torch.Tensor:
    """The middles of the cells (1, grid * grid, 2), as CropFrame.pixels_in."""
    middles = (torch.arange(grid) + 0.5) / grid - 0.5
    rows, columns = torch.meshgrid(middles, middles, indexing="ij")
    return torch.stack([columns, rows], dim=-1).reshape(1, grid * grid, 2)


class OtherHand(nn.Module):
    """Where the other hand's square lies, if there is one: every cell says it, and how much its word counts."""

    def __init__(self, width: int, grid: int) -> None:
        super().__init__()
        self.layers = mlp(width, width, 2 + PAIR_FEATURES)
        self.register_buffer("cells", cells(grid), False)

    cells: torch.Tensor

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The square (N, PAIR_FEATURES) and the logit of its being there (N,), of tokens (N, grid * grid, width)."""
        votes = self.layers(tokens).float()
        square = torch.cat([self.cells + 0.3 * votes[..., 2:4], votes[..., 4:]], dim=-1)
        said = torch.cat([votes[..., 1:2], square], dim=-1)
        said = (votes[..., :1].softmax(dim=1) * said).sum(dim=1)
        return said[:, 1:], said[:, 0]


class HeadOutputs(NamedTuple):
    """What the heads say of N hands.

    Attributes:
        hands: everything of one hand; its ``to_other`` is not yet that, but what is to be added to the geometry.
        votes: keypoints in the crop (N, 21, 2) as the cells alone tell them, without the backbone's reading.
        trust: logit (N,) of the told depth of the other wrist counting for more than the geometry's.
    """

    hands: HandsOutput
    votes: torch.Tensor
    trust: torch.Tensor


class Heads(nn.Module):
    """What is read off the kept tokens: the first one gives the parameters, those of the image what lies where.

    Where the backbone has a reading of its own, orientation, places, depths and width are told as what to add to it.
    """

    def __init__(self, tokens: int, width: int, grid: int, pooled: int) -> None:
        """``tokens`` is how many numbers a kept token has, ``width`` how wide the layers are."""
        super().__init__()
        self.grid, self.fine = grid, SEGMENTATION_SIZE // grid
        self.trunk = nn.Sequential(nn.Linear(2 * tokens + pooled, 4 * width), nn.GELU(),
                                   nn.Linear(4 * width, 2 * width), nn.GELU())  # fmt: skip
        self.numbers = nn.Linear(2 * width, 96 + 10 + 2 + 3 + 1 + JOINTS_2D + 1)
        self.spatial = nn.Linear(tokens, JOINTS_2D * 5 + SEGMENTATION_CLASSES * self.fine**2)
        with torch.no_grad():
            self.numbers.weight *= 0.1
            self.numbers.bias.zero_()
            self.numbers.bias[6:96] = to_6d(torch.eye(3).expand(15, 3, 3)).flatten()
            self.numbers.bias[112:133] = 1.0  # at first a reading counts for more than the votes
            self.spatial.weight *= 0.3
        self.register_buffer("cells", cells(grid)[:, :, None], False)
        # Without a reading: fingers up, as crops are turned, palm to the camera.
        self.register_buffer("upright", torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 1.0]), False)

    cells: torch.Tensor
    upright: torch.Tensor

    def forward(self, kept: torch.Tensor, pooled: torch.Tensor, reading: Reading | None,
                found: tuple[torch.Tensor, torch.Tensor], chain: HandChain) -> HeadOutputs:  # fmt: skip
        """Of kept tokens (N, 1 + grid * grid, tokens), pooled features (N, P), the backbone's own reading, and what is
        said of the other hand's square."""
        count = kept.shape[0]
        summary = torch.cat([kept[:, 0], kept[:, 1:].mean(dim=1), pooled], dim=-1)
        numbers = self.numbers(self.trunk(summary)).float()
        spatial = self.spatial(kept[:, 1:]).float()
        joints = spatial[..., : 5 * JOINTS_2D].reshape(count, self.grid**2, JOINTS_2D, 5)
        # Each cell votes for where a joint lies and how far behind the wrist; the vote's weight is the heatmap.
        votes = (4.0 * joints[..., 0]).softmax(dim=1)[..., None]
        places = voted = (votes * (self.cells + joints[..., 1:3] * 0.2)).sum(dim=1)
        others = (votes * joints[..., 3:]).sum(dim=1)
        depths, log_width, start = others[..., 1] * 0.1, numbers[:, 106], self.upright
        with torch.autocast(kept.device.type, enabled=False):  # half precision would cost a millimetre
            if reading is None:
                log_width = log_width - 1.44  # crops are 0.24 m wide on average
            else:
                known = Reading(*(part.float() for part in reading))
                start = to_6d(palm_frame(known.joints) @ palm_frame(chain.template).T)
                # Votes learn by themselves: beside a reading, which is better at first, they would learn nothing.
                places = voted.detach().lerp(known.places, numbers[:, 112:133].sigmoid()[..., None])
                depths = depths + known.joints[..., 2]
                log_width = log_width + (spread(known.joints[..., :2]) / spread(known.places)).log()
            rotations = matrix_from_6d(torch.cat([numbers[:, :6] + start, numbers[:, 6:96]], dim=-1).reshape(-1, 16, 6))
            betas = numbers[:, 96:106]
            joints_3d = chain(rotations, betas)
        segmentation = spatial[..., 5 * JOINTS_2D :].reshape(
            count, self.grid, self.grid, SEGMENTATION_CLASSES, self.fine, self.fine
        )
        hands = HandsOutput(
            rotations=rotations,
            betas=betas,
            joints=joints_3d,
            keypoints_2d=places,
            keypoint_scales=nn.functional.softplus(others[..., 0] - 3.0) + 1e-3,
            depths=depths,
            log_crop_width=log_width,
            log_crop_width_scale=nn.functional.softplus(numbers[:, 107] - 2.0) + 1e-3,
            to_other=numbers[:, 108:111],
            other_box=found[0],
            other_visible=found[1],
            presence=numbers[:, 111],
            segmentation=segmentation.permute(0, 3, 1, 4, 2, 5).reshape(
                count, SEGMENTATION_CLASSES, SEGMENTATION_SIZE, SEGMENTATION_SIZE
            ),
        )
        return HeadOutputs(hands, voted, numbers[:, 133])
