"""What the two-hand prior is trained to: L1 of x0, of both hands' keypoints and of the vector between the wrists."""

from __future__ import annotations

import dataclasses

import torch

from ..config import setting
from ..interact.pair_vector import HAND
from ..models.hand_kinematics import HandChain, matrix_from_6d
from ..skeleton import NUM_JOINTS


@dataclasses.dataclass(frozen=True)
class PriorLossWeights:
    """How much each term counts. Lengths are in decimetres, so that terms are of one size."""

    numbers: float = setting(1.0, "L1 of the normalised vectors")
    hands: float = setting(4.0, "L1 of each hand's keypoints from its wrist, dm")
    across: float = setting(2.0, "L1 of both hands' keypoints from the point halfway between the wrists, dm")
    relation: float = setting(2.0, "L1 of the vector between the wrists, dm")


def keypoints_of(x: torch.Tensor, chain: HandChain) -> tuple[torch.Tensor, torch.Tensor]:
    """Keypoints (B, 2, 21, 3), metres, of pairs (B, PAIR): from each hand's wrist, the left hand in the mirror, and in
    the camera's orientation from the point halfway between the wrists."""
    hands = x[:, : 2 * HAND].reshape(-1, HAND)
    rotations = matrix_from_6d(hands[:, : NUM_JOINTS * 6].unflatten(-1, (NUM_JOINTS, 6)))
    own = chain(rotations, hands[:, NUM_JOINTS * 6 :]).unflatten(0, (-1, 2))
    half = 0.5 * x[:, None, None, 2 * HAND :]
    mirror = x.new_tensor([-1.0, 1.0, 1.0])
    return own, torch.cat([own[:, :1] * mirror + half, own[:, 1:] - half], dim=1)


def prior_loss(
    told: torch.Tensor, truth: torch.Tensor, std: torch.Tensor, chain: HandChain, weights: PriorLossWeights
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss, and its terms (detached) by name, of what was told for pairs (B, PAIR), both in plain numbers."""
    own, both = keypoints_of(told, chain)
    true_own, true_both = keypoints_of(truth, chain)
    terms = {
        "numbers": ((told - truth) / std).abs().mean(),
        "hands": (own - true_own).abs().mean() * 10.0,
        "across": (both - true_both).abs().mean() * 10.0,
        "relation": (told - truth)[:, 2 * HAND :].abs().mean() * 10.0,
    }
    total = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
    return total, {name: term.detach() for name, term in terms.items()}
