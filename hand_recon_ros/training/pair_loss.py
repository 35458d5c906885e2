"""Loss of the pair detector."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

_CENTER, _SIZE, _DIRECTION, _SIDE = 2.0, 1.0, 1.0, 1.0
_MOST = 3.0
"""Largest error of a centre that counts, in units of the box: with a larger one the hand was hardly visible."""


def pair_loss(
    output: torch.Tensor, values: torch.Tensor, present: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Set loss of two slots: each sample's hands are assigned to the slots that fit their presence and boxes better.

    The assignment does not depend on the predicted sides. With a fixed slot for each side, a network that does not
    distinguish the sides yet would predict the mean of both boxes in both slots.

    Args:
        output: (B, 2, VALUES) of the network.
        values: (B, 2, 5) ground truth of the boxes, left and right, see :class:`PairCrop`; NaN where there is none.
        present: (B, 2) 1, 0, or NaN where it does not count.

    Returns the loss, and its terms (detached) by name.
    """
    losses, terms = zip(
        *(_assigned(output.flip(1) if swapped else output, values, present) for swapped in (False, True)), strict=True
    )
    fit = torch.stack(losses).detach()
    swapped = (fit[1] < fit[0])[:, None]
    chosen = {
        name: torch.where(swapped, terms[1][name], terms[0][name]).sum() / terms[0]["count"][name].clamp(min=1)
        for name in ("presence", "center", "size", "direction", "side")
    }
    loss = (
        chosen["presence"] + _CENTER * chosen["center"] + _SIZE * chosen["size"]
        + _DIRECTION * chosen["direction"] + _SIDE * chosen["side"]
    )  # fmt: skip
    return loss, {name: term.detach() for name, term in chosen.items()}


def _assigned(output: torch.Tensor, values: torch.Tensor, present: torch.Tensor) -> tuple[torch.Tensor, dict[str, Any]]:
    """Fit (B,) of the first slot to the left hand and the second to the right one, and each term (B, 2) by name, with
    the numbers of hands that enter them as ``count``."""
    known, there = torch.isfinite(present), torch.nan_to_num(present) == 1.0
    boxes = torch.isfinite(values).all(dim=-1)
    true = torch.where(boxes[..., None], values, torch.zeros_like(values))
    sides = torch.tensor([0.0, 1.0], device=output.device).expand_as(present)
    presence = functional.binary_cross_entropy_with_logits(output[..., 0], torch.nan_to_num(present), reduction="none")
    side = functional.binary_cross_entropy_with_logits(output[..., 1], sides, reduction="none")
    # Offsets are relative to the hand's box, so that small hands count as much as large ones.
    center = ((output[..., 2:4] - true[..., :2]).abs() / true[..., 2:3].exp()).clamp(max=_MOST).sum(dim=-1)
    size = (output[..., 4] - true[..., 2]).abs()
    direction = (output[..., 5:] - true[..., 3:]).abs().sum(dim=-1)
    terms: dict[str, Any] = {
        "presence": presence * known, "center": center * boxes, "size": size * boxes, "direction": direction * boxes,
        "side": side * there,
    }  # fmt: skip
    terms["count"] = {
        "presence": known.sum(), "center": boxes.sum(), "size": boxes.sum(), "direction": boxes.sum(),
        "side": there.sum(),
    }  # fmt: skip
    fit = terms["presence"] + _CENTER * terms["center"] + _SIZE * terms["size"] + _DIRECTION * terms["direction"]
    return fit.sum(dim=1), terms
