"""Loss of the two-hand prior: L1 of x0, of both hands' keypoints and of the vector between the wrists."""

from __future__ import annotations

import dataclasses

import torch

from ..config import setting
from ..interact.pair_vector import HAND
from ..models.hand_kinematics import HandChain
from ..models.rotations import matrix_from_6d
from ..skeleton import NUM_JOINTS


@dataclasses.dataclass(frozen=True)
class PriorLossWeights:
    """Weight of each term. Lengths are in decimetres, so that terms have similar sizes."""

    vector: float = setting(1.0, "L1 of the normalised vectors")
    hands: float = setting(4.0, "L1 of each hand's keypoints from its wrist, dm")
    pair: float = setting(2.0, "L1 of both hands' keypoints from the midpoint of the wrists, dm")
    relative_translation: float = setting(2.0, "L1 of the vector between the wrists, dm")


def keypoints_of(x: torch.Tensor, chain: HandChain) -> tuple[torch.Tensor, torch.Tensor]:
    """Keypoints (B, 2, 21, 3), metres, of pairs (B, PAIR).

    Returns those relative to each hand's wrist, the left hand mirrored, and those relative to the midpoint of the
    wrists, in the camera's axes.
    """
    hands = x[:, : 2 * HAND].reshape(-1, HAND)
    rotations = matrix_from_6d(hands[:, : NUM_JOINTS * 6].unflatten(-1, (NUM_JOINTS, 6)))
    own = chain(rotations, hands[:, NUM_JOINTS * 6 :]).unflatten(0, (-1, 2))
    half = 0.5 * x[:, None, None, 2 * HAND :]
    mirror = x.new_tensor([-1.0, 1.0, 1.0])
    return own, torch.cat([own[:, :1] * mirror + half, own[:, 1:] - half], dim=1)


def prior_loss(
    predicted: torch.Tensor, truth: torch.Tensor, std: torch.Tensor, chain: HandChain, weights: PriorLossWeights
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss, and its terms (detached) by name, of predicted and true pairs (B, PAIR), both not normalised.

    ``std`` (PAIR,) normalises their difference.
    """
    own, both = keypoints_of(predicted, chain)
    true_own, true_both = keypoints_of(truth, chain)
    terms = {
        "vector": ((predicted - truth) / std).abs().mean(),
        "hands": (own - true_own).abs().mean() * 10.0,
        "pair": (both - true_both).abs().mean() * 10.0,
        "relative_translation": (predicted - truth)[:, 2 * HAND :].abs().mean() * 10.0,
    }
    total = torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()
    return total, {name: term.detach() for name, term in terms.items()}
