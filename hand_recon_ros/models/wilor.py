"""WiLoR: MANO's parameters from tokens of a ViT-H, refined by image features at the vertices of that first hand.

Potamias et al., "WiLoR: End-to-end 3D Hand Localization and Reconstruction in-the-wild" (CVPR 2025). Written from the
paper and from the layout of the published checkpoint, whose names the modules have.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from .mano_parameters import BETAS_SIZE, CAMERA_SIZE, POSE_SIZE, ManoParameters
from .rotations import matrix_from_6d
from .vit import GRID, VisionTransformer, VitConfig

MeshFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""MANO: rotations (B, 16, 3, 3) in MANO's order and betas (B, 10) of right hands -> vertices (B, V, 3), metres."""
_JOINTS, _SIX = 16, 6
_FRONT = _JOINTS + 2
"""Tokens in front of the image's: 16 of joints, one of the shape, one of the camera."""
_FOCAL = 5000.0
"""Focal length, pixels, of the camera in which the network was trained."""


@dataclasses.dataclass(frozen=True)
class WilorConfig:
    """Size of the network; the default is that of the published checkpoint."""

    vit: VitConfig = dataclasses.field(default_factory=VitConfig)


class WilorBackbone(VisionTransformer):
    """The transformer with tokens of MANO's mean parameters in front, from which it predicts the first hand."""

    init_hand_pose: torch.Tensor
    init_betas: torch.Tensor
    init_cam: torch.Tensor

    def __init__(self, config: VitConfig) -> None:
        super().__init__(config)
        self.register_buffer("init_cam", torch.zeros(1, CAMERA_SIZE))
        self.register_buffer("init_hand_pose", torch.zeros(1, POSE_SIZE))
        self.register_buffer("init_betas", torch.zeros(1, BETAS_SIZE))
        self.pose_emb = nn.Linear(_SIX, config.dim)
        self.shape_emb = nn.Linear(BETAS_SIZE, config.dim)
        self.cam_emb = nn.Linear(CAMERA_SIZE, config.dim)
        self.decpose = nn.Linear(config.dim, _SIX)
        self.decshape = nn.Linear(config.dim, BETAS_SIZE)
        self.deccam = nn.Linear(config.dim, CAMERA_SIZE)

    def forward(self, images: torch.Tensor) -> tuple[ManoParameters, torch.Tensor]:
        """The first hand, and feature maps (B, dim, 16, 12), of images (B, 3, 256, 192)."""
        mean = ManoParameters(self.init_hand_pose, self.init_betas, self.init_cam)
        front = torch.cat(
            [
                self.pose_emb(mean.pose.unflatten(1, (_JOINTS, _SIX))),
                self.shape_emb(mean.betas)[:, None],
                self.cam_emb(mean.camera)[:, None],
            ],
            dim=1,
        )
        tokens = self.tokens(images, front.expand(len(images), -1, -1))
        hand = mean.plus(
            self.decpose(tokens[:, :_JOINTS]).flatten(1),
            self.decshape(tokens[:, _JOINTS]),
            self.deccam(tokens[:, _JOINTS + 1]),
        )
        return hand, tokens[:, _FRONT:].mT.unflatten(-1, GRID)


def _doubled(channels: int, out: int) -> list[nn.Module]:
    """A transposed convolution that doubles height and width."""
    return [nn.ConvTranspose2d(channels, out, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]


class FeaturePyramid(nn.Module):
    """Feature maps (B, dim, 16, 12) at one, two and four times the resolution, the finest first."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(nn.Conv2d(dim, dim // 2, 1))
        self.deconv = nn.ModuleList(
            [
                nn.Sequential(*_doubled(dim // 2, dim // 4)),
                nn.Sequential(*_doubled(dim // 2, dim // 4), *_doubled(dim // 4, dim // 8)),
            ]
        )

    def forward(self, features: torch.Tensor) -> list[torch.Tensor]:
        coarse = self.first_conv(features)
        return [self.deconv[1](coarse), self.deconv[0](coarse), coarse]


class Refinement(nn.Module):
    """A correction of the hand from features where its vertices are, the largest of each channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.deconv = FeaturePyramid(dim)
        width = dim // 8 + dim // 4 + dim // 2
        self.dec_pose = nn.Linear(width, POSE_SIZE)
        self.dec_cam = nn.Linear(width, CAMERA_SIZE)
        self.dec_shape = nn.Linear(width, BETAS_SIZE)

    def forward(self, features: torch.Tensor, vertices: torch.Tensor, hand: ManoParameters) -> ManoParameters:
        """The refined hand.

        Args:
            features: (B, dim, 16, 12).
            vertices: of ``hand`` (B, V, 3), metres.
            hand: the first hand.
        """
        found = [
            features_at(level, projected(vertices, hand.camera, level.shape[2])) for level in self.deconv(features)
        ]
        values = torch.cat([level.amax(dim=2) for level in found], dim=1)
        return hand.plus(self.dec_pose(values), self.dec_shape(values), self.dec_cam(values))


def projected(vertices: torch.Tensor, camera: torch.Tensor, size: int) -> torch.Tensor:
    """Vertices (B, V, 3) in the crop (B, V, 2), normalised: the crop's middle is 0 and its edges about +-0.5.

    ``size`` is the height of the feature map: the focal length, and with it the distance, is in units of it.
    """
    scale, x, y = camera.unbind(1)
    distance = 2.0 * _FOCAL / (size * scale + 1e-9)
    points = vertices + torch.stack([x, y, distance], dim=1)[:, None]
    return points[..., :2] / points[..., 2:] * (_FOCAL / size)


def features_at(features: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Features (B, C, V) of a map (B, C, H, W) at points (B, V, 2).

    The points are normalised, and are taken for pixels all the same, as in the published network: so all are within a
    pixel of the map's first corner, and the weights were trained for the features there.
    """
    height, width = features.shape[2:]
    last = points.new_tensor([width - 1, height - 1])
    return functional.grid_sample(features, (points / last * 2.0 - 1.0)[:, None], align_corners=True)[:, :, 0]


class WilorNetwork(nn.Module):
    """From crops (B, 3, 256, 192) of right hands, normalised, to ManoParameters."""

    def __init__(self, config: WilorConfig | None = None) -> None:
        super().__init__()
        self.config = config or WilorConfig()
        self.backbone = WilorBackbone(self.config.vit)
        self.refine_net = Refinement(self.config.vit.dim)

    def forward(self, images: torch.Tensor, mesh: MeshFunction) -> ManoParameters:
        hand, features = self.backbone(images)
        rotations = matrix_from_6d(hand.pose.unflatten(1, (_JOINTS, _SIX)))
        return self.refine_net(features, mesh(rotations, hand.betas), hand)
