"""What the encoder is trained to: L1 on parameters, joints and relative translation, and the tokens' alignment."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from ..config import setting
from ..encode.outputs import HandsOutput
from ..models.encoder import EncoderOutput


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """How much each term counts. Lengths are in decimetres, so that terms are of one size."""

    rotations: float = setting(0.5, "L1 of the entries of joint rotations")
    betas: float = setting(0.05, "L1 of betas, per standard deviation")
    joints: float = setting(3.0, "L1 of joints from the wrist, dm")
    keypoints_2d: float = setting(2.0, "L1 of keypoints in the crop, in thirds of the crop: about dm")
    votes: float = setting(2.0, "of the keypoints by the cells' votes alone, as places")
    depths: float = setting(1.0, "L1 of the keypoints' depths, dm")
    width: float = setting(1.0, "L1 of the log width of the crop")
    scales: float = setting(0.05, "Laplace likelihood of the errors of places and width under the scales told for them")
    to_other: float = setting(1.0, "L1 from one wrist to the other, dm")
    other_box: float = setting(0.5, "L1 of the other hand's square, middle in thirds of this one, and cross entropy")
    presence: float = setting(0.2, "cross entropy")
    segmentation: float = setting(0.2, "cross entropy")
    alignment: float = setting(0.5, "mean square of imagined against fused tokens, the latter's gradient stopped")
    teacher: float = setting(0.5, "of everything but the alignment, read from the priors' tokens")


def encoder_loss(
    output: EncoderOutput, truth: dict[str, torch.Tensor], weights: LossWeights
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss, and its terms (detached) by name."""
    terms = _hands_terms(output.hands, output.votes, truth)
    total = _weighted(terms, weights)
    if output.teacher is not None and output.teacher_votes is not None and weights.teacher > 0:
        teacher = _hands_terms(output.teacher, output.teacher_votes, truth)
        total = total + weights.teacher * _weighted(teacher, weights)
        terms["teacher_joints"] = teacher["joints"]
    if output.imagined is not None and output.fused is not None:
        shown = truth["has_crop"].flatten()[:, None, None]
        # Stopped: else both could agree on a constant.
        difference = (output.imagined - output.fused.detach()) ** 2 * shown
        terms["alignment"] = difference.mean() / shown.mean().clamp_min(1e-3)
        total = total + weights.alignment * terms["alignment"]
    return total, {name: term.detach() for name, term in terms.items()}


def _weighted(terms: dict[str, torch.Tensor], weights: LossWeights) -> torch.Tensor:
    return torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()


def _hands_terms(hands: HandsOutput, votes: torch.Tensor, truth: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    there = truth["present"]
    shown = truth["has_crop"]

    def mean(values: torch.Tensor, weight: torch.Tensor = there) -> torch.Tensor:
        values = values.flatten(2).mean(dim=2) if values.ndim > 2 else values
        return (values * weight).sum() / weight.sum().clamp_min(1.0)

    def over_places(values: torch.Tensor) -> torch.Tensor:
        return (values * truth["keypoint_weights"]).sum(-1) / truth["keypoint_weights"].sum(-1).clamp_min(1.0)

    place_error = (hands.keypoints_2d - truth["keypoints_2d"]).abs().mean(-1)
    width = (hands.log_crop_width - truth["log_crop_width"]).abs()
    # Likelihoods teach the scales only: their gradient on the errors themselves would grow as those shrink.
    scales = over_places(place_error.detach() / hands.keypoint_scales + hands.keypoint_scales.log())
    scales = scales + width.detach() / hands.log_crop_width_scale + hands.log_crop_width_scale.log()
    presence = nn.functional.binary_cross_entropy_with_logits(hands.presence, there, reduction="none")
    segmentation = nn.functional.cross_entropy(
        hands.segmentation.flatten(0, 1), truth["segmentation"].long().flatten(0, 1), reduction="none"
    ).reshape(*there.shape, -1)
    square = (hands.other_box - truth["other_box"]).abs()
    square = square * square.new_tensor([3.0, 3.0, 2.0, 1.0, 1.0])
    visible = nn.functional.binary_cross_entropy_with_logits(
        hands.other_visible, truth["other_visible"], reduction="none"
    )
    depth_error = (hands.depths - truth["joints"][..., 2]).abs() * truth["keypoint_weights"]
    return {
        "rotations": mean((hands.rotations - truth["rotations"]).abs()),
        "betas": mean((hands.betas - truth["betas"]).abs()),
        "joints": mean((hands.joints - truth["joints"]).abs()) * 10.0,
        "keypoints_2d": mean(over_places(place_error)) * 3.0,
        "votes": mean(over_places((votes - truth["keypoints_2d"]).abs().mean(-1))) * 3.0,
        "depths": mean(depth_error) * 10.0,
        "width": mean(width),
        "scales": mean(scales),
        "to_other": mean((hands.to_other - truth["to_other"]).abs(), truth["both"]) * 10.0,
        "other_box": mean(square, truth["other_visible"]) + mean(visible, truth["other_valid"]),
        "presence": mean(presence, shown),
        "segmentation": mean(segmentation, shown),
    }
