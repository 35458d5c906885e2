"""The vector from one wrist to the other, from the geometry of both hands' crops."""

from __future__ import annotations

import torch


def to_other_wrist(
    wrists: torch.Tensor, log_crop_width: torch.Tensor, rays: torch.Tensor, pairs: torch.Tensor
) -> torch.Tensor:
    """Vector from each hand's wrist to the other one's, (B, 2, 3), metres, in its own crop frame (``CropFrame``).

    Approximation: image and crops are taken for small parts of a sphere. It is exact in the middle of the image and
    within some millimetres elsewhere.

    Args:
        wrists: each wrist in its crop, (B, 2, 2), see CropFrame.pixels_in.
        log_crop_width: log of each crop's width in metres at the wrist, (B, 2).
        rays: (B, 2, RAY_FEATURES), see CropFrame.ray_features.
        pairs: (B, 2, PAIR_FEATURES), see CropFrame.pair_features.
    """
    spread = rays[..., 2].exp()
    centre, ratio, cos, sin = pairs[..., :2], pairs[..., 2:3].exp(), pairs[..., 3], pairs[..., 4]
    # The other hand's crop is mirrored against this one.
    x, y = -wrists.flip(1)[..., 0], wrists.flip(1)[..., 1]
    other = centre + ratio * torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)
    depth = log_crop_width.clamp(-4.0, 1.0).exp() / spread
    # The other's depth is along the ray through the middle of its own crop.
    slope = centre * spread[..., None]
    along = (1.0 + (other * spread[..., None] * slope).sum(-1)).clamp_min(0.3) / (1.0 + slope.square().sum(-1)).sqrt()
    return _point(other * spread[..., None], depth.flip(1) / along) - _point(wrists * spread[..., None], depth)


def _point(slope: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    return torch.cat([slope, torch.ones_like(slope[..., :1])], dim=-1) * depth[..., None]
