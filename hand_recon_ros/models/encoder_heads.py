"""Prediction heads of the encoder."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import torch
from torch import nn

from ..datasets.crops import SEGMENTATION_SIZE
from ..encode.crop_frame import PAIR_FEATURES
from ..encode.outputs import PosedHandOutputs
from .backbones import LandmarkPrediction, spread
from .hand_kinematics import HandChain, palm_frame
from .rotations import matrix_from_6d, to_6d

KEYPOINTS = 21
SEGMENTATION_CLASSES = 3
"""Background, this hand, the other hand."""

_REGRESSED = {
    "rotations": 16 * 6, "betas": 10, "log_crop_width": 1, "log_crop_width_scale": 1, "to_other": 3, "presence": 1,
    "landmark_weights": KEYPOINTS, "other_depth_weight": 1,
}  # fmt: skip
"""Sizes of what the regression layer outputs for a hand, in order."""


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingOutputs(PosedHandOutputs):
    """The outputs with those that only losses read; they are not exported.

    Attributes:
        depths: of the keypoints relative to the wrist (21,), metres, regressed per grid cell.
        segmentation: logits (SEGMENTATION_CLASSES, SEGMENTATION_SIZE, SEGMENTATION_SIZE).
        dense_keypoints_2d: (21, 2) in units of the crop, regressed per grid cell, without the backbone's landmarks.
    """

    depths: Any
    segmentation: Any
    dense_keypoints_2d: Any


class HeadOutputs(NamedTuple):
    """Outputs of the heads for N hands.

    Attributes:
        hands: (N, ...); ``to_other`` is a residual to the vector from the geometry of both crops.
        other_depth_weight: logit (N,) of the weight of the regressed depth of the other wrist against the geometry's.
    """

    hands: TrainingOutputs
    other_depth_weight: torch.Tensor


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two linear layers with a GELU between them."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


def cell_centres(grid: int) -> torch.Tensor:
    """Centres of the grid's cells (1, grid * grid, 2), in units of the crop as CropFrame.pixels_in."""
    centres = (torch.arange(grid) + 0.5) / grid - 0.5
    rows, columns = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([columns, rows], dim=-1).reshape(1, grid * grid, 2)


class OtherHand(nn.Module):
    """Box and visibility of the other hand: each grid cell predicts them, with the weight of its prediction."""

    def __init__(self, width: int, grid: int) -> None:
        super().__init__()
        self.layers = mlp(width, width, 2 + PAIR_FEATURES)
        self.register_buffer("centres", cell_centres(grid), False)

    centres: torch.Tensor

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The box (N, PAIR_FEATURES) and the logit of its visibility (N,), of tokens (N, grid * grid, width)."""
        cells = self.layers(tokens).float()
        box = torch.cat([self.centres + 0.3 * cells[..., 2:4], cells[..., 4:]], dim=-1)
        predicted = (cells[..., :1].softmax(dim=1) * torch.cat([cells[..., 1:2], box], dim=-1)).sum(dim=1)
        return predicted[:, 1:], predicted[:, 0]


class Heads(nn.Module):
    """Predictions from the tokens of a hand.

    The parameters are regressed from the summary token, dense predictions from the grid's tokens. Where the
    backbone predicts landmarks, orientation, 2D keypoints, depths and crop width are residuals to these.
    """

    def __init__(self, channels: int, width: int, grid: int, pooled: int) -> None:
        """``channels`` of a token, ``width`` of the hidden layers, ``grid`` of the tokens, ``pooled`` features."""
        super().__init__()
        self.grid, self.fine = grid, SEGMENTATION_SIZE // grid
        self.trunk = nn.Sequential(nn.Linear(2 * channels + pooled, 4 * width), nn.GELU(),
                                   nn.Linear(4 * width, 2 * width), nn.GELU())  # fmt: skip
        self.regression = nn.Linear(2 * width, sum(_REGRESSED.values()))
        self.dense = nn.Linear(channels, KEYPOINTS * 5 + SEGMENTATION_CLASSES * self.fine**2)
        with torch.no_grad():
            self.regression.weight *= 0.1
            bias = _split(self.regression.bias.zero_())
            bias["rotations"][6:] = to_6d(torch.eye(3).expand(15, 3, 3)).flatten()
            bias["landmark_weights"][:] = 1.0  # at first the landmarks are better than the dense keypoints
            self.dense.weight *= 0.3
        self.register_buffer("centres", cell_centres(grid)[:, :, None], False)
        # Orientation without landmarks: fingers up, as crops are turned, palm to the camera.
        self.register_buffer("upright", torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 1.0]), False)

    centres: torch.Tensor
    upright: torch.Tensor

    def forward(self, tokens: torch.Tensor, pooled: torch.Tensor, landmarks: LandmarkPrediction | None,
                other_hand: tuple[torch.Tensor, torch.Tensor], chain: HandChain) -> HeadOutputs:  # fmt: skip
        """Predict from tokens (N, 1 + grid * grid, channels), the summary token first.

        ``pooled`` are features (N, P), ``landmarks`` those of the backbone, ``other_hand`` outputs of OtherHand.
        """
        count = tokens.shape[0]
        summary = torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1), pooled], dim=-1)
        regressed = _split(self.regression(self.trunk(summary)).float())
        dense = self.dense(tokens[:, 1:]).float()
        # Each cell predicts an offset, the error of it and a depth for every keypoint; a heatmap weights the cells.
        cells = dense[..., : 5 * KEYPOINTS].reshape(count, self.grid**2, KEYPOINTS, 5)
        heatmaps = (4.0 * cells[..., 0]).softmax(dim=1)[..., None]
        keypoints_2d = dense_keypoints_2d = (heatmaps * (self.centres + cells[..., 1:3] * 0.2)).sum(dim=1)
        scales, depths = (heatmaps * cells[..., 3:]).sum(dim=1).unbind(-1)
        depths, log_crop_width, orientation = depths * 0.1, regressed["log_crop_width"][:, 0], self.upright
        with torch.autocast(tokens.device.type, enabled=False):  # half precision would cost a millimetre
            if landmarks is None:
                log_crop_width = log_crop_width - 1.44  # crops are 0.24 m wide on average
            else:
                known = LandmarkPrediction(*(part.float() for part in landmarks))
                orientation = to_6d(palm_frame(known.joints) @ palm_frame(chain.template).T)
                # Detached: beside the landmarks, which are better at first, the dense keypoints would learn nothing.
                weights = regressed["landmark_weights"].sigmoid()[..., None]
                keypoints_2d = dense_keypoints_2d.detach().lerp(known.keypoints_2d, weights)
                depths = depths + known.joints[..., 2]
                log_crop_width = log_crop_width + (spread(known.joints[..., :2]) / spread(known.keypoints_2d)).log()
            six = regressed["rotations"]
            six = torch.cat([six[:, :6] + orientation, six[:, 6:]], dim=-1)
            rotations = matrix_from_6d(six.reshape(-1, 16, 6))
            joints = chain(rotations, regressed["betas"])
        segmentation = dense[..., 5 * KEYPOINTS :].reshape(
            count, self.grid, self.grid, SEGMENTATION_CLASSES, self.fine, self.fine
        )
        hands = TrainingOutputs(
            joints=joints,
            keypoints_2d=keypoints_2d,
            keypoint_scales=nn.functional.softplus(scales - 3.0) + 1e-3,
            log_crop_width=log_crop_width,
            log_crop_width_scale=nn.functional.softplus(regressed["log_crop_width_scale"][:, 0] - 2.0) + 1e-3,
            to_other=regressed["to_other"],
            other_box=other_hand[0],
            other_visible=other_hand[1],
            presence=regressed["presence"][:, 0],
            rotations=rotations,
            betas=regressed["betas"],
            depths=depths,
            segmentation=segmentation.permute(0, 3, 1, 4, 2, 5).reshape(
                count, SEGMENTATION_CLASSES, SEGMENTATION_SIZE, SEGMENTATION_SIZE
            ),
            dense_keypoints_2d=dense_keypoints_2d,
        )
        return HeadOutputs(hands, regressed["other_depth_weight"][:, 0])


def _split(regressed: torch.Tensor) -> dict[str, torch.Tensor]:
    """The regression's outputs (..., sum of sizes) by name."""
    return dict(zip(_REGRESSED, regressed.split(list(_REGRESSED.values()), dim=-1), strict=True))
