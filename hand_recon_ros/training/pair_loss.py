"""Loss of the pair detector."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from ..detect.pair_detector import VALUES
from ..models.pair_detector import KEYPOINTS

_WEIGHTS = {"presence": 1.0, "center": 2.0, "size": 1.0, "direction": 1.0, "side": 1.0, "keypoints": 2.0}
_MOST = 3.0
"""Largest error of a centre that counts, in units of the box: with a larger one the hand was hardly visible."""


def pair_loss(
    output: torch.Tensor,
    values: torch.Tensor,
    present: torch.Tensor,
    sided: torch.Tensor,
    keypoints: torch.Tensor,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Set loss of two slots: each sample's hands are assigned to the slots that fit their presence and boxes better.

    The assignment does not depend on the predicted sides. With a fixed slot for each side, a network that does not
    distinguish the sides yet would predict the mean of both boxes in both slots. Keypoints are predicted in training
    only: sides and directions follow from them, and they say more about a hand than one bit does.

    Args:
        output: (B, 2, VALUES + KEYPOINTS) of the network.
        values: (B, 2, 5) ground truth of the boxes, left and right, see :class:`PairCrop`; NaN where there is none.
        present: (B, 2) 1, 0, or NaN where it does not count.
        sided: (B, 2) 1 where the side counts, else 0.
        keypoints: (B, 2, 21, 2) in units of the crop; NaN where there are none.

    Returns the loss, and its terms (detached) by name.
    """
    truth = values, present, sided, keypoints
    losses, terms = zip(
        *(_assigned(output.flip(1) if swapped else output, *truth) for swapped in (False, True)), strict=True
    )
    fit = torch.stack(losses).detach()
    swapped = (fit[1] < fit[0])[:, None]
    chosen = {
        name: torch.where(swapped, terms[1][name], terms[0][name]).sum() / count.clamp(min=1)
        for name, count in terms[0]["count"].items()
    }
    loss = torch.stack([weight * chosen[name] for name, weight in _WEIGHTS.items()]).sum()
    return loss, {name: term.detach() for name, term in chosen.items()}


def _assigned(
    output: torch.Tensor, values: torch.Tensor, present: torch.Tensor, sided: torch.Tensor, keypoints: torch.Tensor
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Fit (B,) of the first slot to the left hand and the second to the right one, and each term (B, 2) by name, with
    the numbers of hands that enter them as ``count``."""
    known, there = torch.isfinite(present), (torch.nan_to_num(present) == 1.0) & (sided == 1.0)
    boxes, directions = torch.isfinite(values[..., 0]), torch.isfinite(values[..., 3])
    posed = torch.isfinite(keypoints[..., 0, 0])
    true, points = torch.nan_to_num(values), torch.nan_to_num(keypoints)
    sides = torch.tensor([0.0, 1.0], device=output.device).expand_as(present)
    presence = functional.binary_cross_entropy_with_logits(output[..., 0], torch.nan_to_num(present), reduction="none")
    side = functional.binary_cross_entropy_with_logits(output[..., 1], sides, reduction="none")
    # Offsets are relative to the hand's box, so that small hands count as much as large ones.
    extent = true[..., 2:3].exp()
    center = ((output[..., 2:4] - true[..., :2]).abs() / extent).clamp(max=_MOST).sum(dim=-1)
    size = (output[..., 4] - true[..., 2]).abs()
    direction = (output[..., 5:VALUES] - true[..., 3:]).abs().sum(dim=-1)
    offsets = (output[..., VALUES:].unflatten(-1, (KEYPOINTS // 2, 2)) - points).abs() / extent[..., None]
    pose = offsets.clamp(max=_MOST).sum(dim=-1).mean(dim=-1)
    masks = {
        "presence": known, "center": boxes, "size": boxes, "direction": directions, "side": there, "keypoints": posed,
    }  # fmt: skip
    errors = {
        "presence": presence, "center": center, "size": size, "direction": direction, "side": side, "keypoints": pose,
    }  # fmt: skip
    terms: dict[str, Any] = {name: errors[name] * mask for name, mask in masks.items()}
    terms["count"] = {name: mask.sum() for name, mask in masks.items()}
    fit = torch.stack([weight * terms[name] for name, weight in _WEIGHTS.items() if name != "side"])
    return fit.sum(dim=(0, 2)), terms
