"""Loss of the hand detector's maps."""

from __future__ import annotations

import torch
from torch.nn import functional

from ..detect.hand_detector import CHANNELS, GRID
from ..types import Side

_SPREAD = 0.06
"""Standard deviation of a heatmap's peak as a share of the box's size: after two refinements of a box whose centre is
this far off, the landmark network finds the hand."""
_LEAST_SPREAD = 0.7


def targets(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Target maps of a head for boxes (B, 2, 5), see ``detector_views.BOX``; NaN where there is no hand.

    Returns:
        heatmaps (B, 2, G, G) in 0..1, 1 in the one cell with the box's centre; and values (B, 2, CHANNELS - 1, G, G):
        the box relative to each cell.
    """
    boxes = boxes[..., None, None]
    x, y, size, cos, sin = boxes.unbind(2)
    cells = torch.arange(GRID, dtype=boxes.dtype, device=boxes.device) + 0.5
    dx, dy = x * GRID - cells, y * GRID - cells[:, None]
    spread = (_SPREAD * GRID * size).clamp(min=_LEAST_SPREAD)
    heatmaps = torch.exp(-(dx**2 + dy**2) / (2 * spread**2))
    heatmaps = torch.where((dx.abs() <= 0.5) & (dy.abs() <= 0.5), 1.0, heatmaps)
    values = torch.stack(torch.broadcast_tensors(dx, dy, size.log(), cos, sin), dim=2)
    return torch.nan_to_num(heatmaps), torch.nan_to_num(values)


def detector_loss(
    maps: torch.Tensor, boxes: torch.Tensor, valid: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Penalty-reduced focal loss of the heatmaps (arXiv 1904.07850) and L1 of the boxes near their centres.

    Args:
        maps: (B, 2 x CHANNELS, G, G).
        boxes: (B, 2, 5).
        valid: (B, 2) bool, false for sides without a label.

    Returns the loss, and its terms (detached) by name.
    """
    maps = maps.reshape(-1, len(Side), CHANNELS, GRID, GRID)
    heatmaps, values = targets(boxes)
    logits, weight = maps[:, :, 0], valid[..., None, None].float()
    log_positive, log_negative = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    # A centre on a cell's border is in two cells, hence not compared for equality with one.
    focal = -torch.where(
        heatmaps >= 1,
        log_negative.exp() ** 2 * log_positive,
        (1 - heatmaps) ** 4 * log_positive.exp() ** 2 * log_negative,
    )
    hands = (torch.isfinite(boxes[..., 0]) & valid).sum().clamp(min=1)
    weights = (weight * heatmaps * (heatmaps > 0.3))[:, :, None]
    errors = weights * (maps[:, :, 1:] - values).abs() / weights.sum().clamp(min=1e-6)
    offset, size, direction = (errors[:, :, part].sum() for part in (slice(0, 2), slice(2, 3), slice(3, 5)))
    heat = (focal * weight).sum() / hands
    terms = {"heat": heat, "offset": offset, "size": size, "direction": direction}
    return heat + 0.3 * offset + size + direction, {name: term.detach() for name, term in terms.items()}
