"""Losses of the encoder: L1 of parameters, joints and relative translation, and the alignment of the tokens."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from ..config import setting
from ..datasets.crops import UNKNOWN_CLASS
from ..models.encoder import EncoderOutput
from ..models.encoder_heads import TrainingOutputs

_WEIGHTS = ("present", "posed", "located", "both", "has_crop", "other_visible", "other_valid")
"""Entries of the ground truth by which terms are weighted."""


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """Weight of each term. Lengths are in decimetres, so that terms have similar sizes."""

    rotations: float = setting(0.5, "L1 of the entries of joint rotations")
    betas: float = setting(0.05, "L1 of betas, per standard deviation")
    joints: float = setting(3.0, "L1 of joints from the wrist, dm")
    keypoints_2d: float = setting(2.0, "L1 of keypoints in the crop, in thirds of the crop: about dm")
    dense_keypoints_2d: float = setting(2.0, "of the keypoints regressed per grid cell, as keypoints_2d")
    depths: float = setting(1.0, "L1 of the keypoints' depths, dm")
    width: float = setting(1.0, "L1 of the log width of the crop")
    scales: float = setting(0.05, "negative log likelihood of the errors of keypoints and width, Laplace distributed")
    to_other: float = setting(1.0, "L1 of the vector from one wrist to the other, dm")
    other_box: float = setting(0.5, "L1 of the other hand's box, centre in thirds of the crop, and cross entropy")
    presence: float = setting(0.2, "cross entropy")
    segmentation: float = setting(0.2, "cross entropy")
    alignment: float = setting(
        0.5, "mean square difference of predicted and prior tokens, the latter's gradient stopped"
    )
    teacher: float = setting(0.5, "of everything but the alignment, predicted from the priors' tokens")


def encoder_loss(
    output: EncoderOutput, truth: dict[str, torch.Tensor], weights: LossWeights
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss, and its terms (detached) by name; ``truth`` is a batch of :func:`datasets.crops.sample_crops`."""
    terms = _terms(output.hands, truth)
    total = _weighted_sum(terms, weights)
    if output.teacher is not None and weights.teacher > 0:
        # Where there are no priors, as of photographs, the teacher sees nothing and the student has nothing to follow.
        teacher = _terms(output.teacher, truth | {name: truth[name] * truth["has_priors"] for name in _WEIGHTS})
        total = total + weights.teacher * _weighted_sum(teacher, weights)
        terms["teacher_joints"] = teacher["joints"]
    if output.predicted_tokens is not None and output.prior_tokens is not None:
        # Where some maps are not known, their tokens are those of maps with holes, which the image does not show.
        has_maps = truth["has_maps"].flatten()[:, None, None]
        # The gradient is stopped: otherwise both could collapse to a constant.
        difference = (output.predicted_tokens - output.prior_tokens.detach()) ** 2 * has_maps
        terms["alignment"] = difference.mean() / has_maps.mean().clamp_min(1e-3)
        total = total + weights.alignment * terms["alignment"]
    return total, {name: term.detach() for name, term in terms.items()}


def _weighted_sum(terms: dict[str, torch.Tensor], weights: LossWeights) -> torch.Tensor:
    return torch.stack([getattr(weights, name) * term for name, term in terms.items()]).sum()


def _terms(hands: TrainingOutputs, truth: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    present, has_crop, posed, located = truth["present"], truth["has_crop"], truth["posed"], truth["located"]
    keypoints, joints = truth["keypoint_weights"], truth["joint_weights"]
    marked, jointed = present * (keypoints.sum(-1) > 0), present * (joints.sum(-1) > 0)
    labelled = has_crop * (truth["segmentation"] != UNKNOWN_CLASS).any(dim=-1).any(dim=-1)

    def mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        values = values.flatten(2).mean(dim=2) if values.ndim > 2 else values
        return (values * weight).sum() / weight.sum().clamp_min(1.0)

    def over(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return (values * weights).sum(-1) / weights.sum(-1).clamp_min(1.0)

    error_2d = (hands.keypoints_2d - truth["keypoints_2d"]).abs().mean(-1)
    dense_error_2d = (hands.dense_keypoints_2d - truth["keypoints_2d"]).abs().mean(-1)
    width = (hands.log_crop_width - truth["log_crop_width"]).abs()
    # Detached: the likelihood's gradient on the errors would grow as they shrink, so it trains the scales only.
    scales = over(error_2d.detach() / hands.keypoint_scales + hands.keypoint_scales.log(), keypoints)
    width_scale = width.detach() / hands.log_crop_width_scale + hands.log_crop_width_scale.log()
    presence = nn.functional.binary_cross_entropy_with_logits(hands.presence, present, reduction="none")
    segmentation = nn.functional.cross_entropy(
        hands.segmentation.flatten(0, 1),
        truth["segmentation"].long().flatten(0, 1),
        reduction="none",
        ignore_index=UNKNOWN_CLASS,
    ).reshape(*present.shape, -1)
    box = (hands.other_box - truth["other_box"]).abs()
    box = box * box.new_tensor([3.0, 3.0, 2.0, 1.0, 1.0])
    visible = nn.functional.binary_cross_entropy_with_logits(
        hands.other_visible, truth["other_visible"], reduction="none"
    )
    joint_error = (hands.joints - truth["joints"]).abs().mean(-1)
    depth_error = (hands.depths - truth["joints"][..., 2]).abs() * keypoints
    return {
        "rotations": mean((hands.rotations - truth["rotations"]).abs(), posed),
        "betas": mean((hands.betas - truth["betas"]).abs(), posed),
        "joints": mean(over(joint_error, joints), jointed) * 10.0,
        "keypoints_2d": mean(over(error_2d, keypoints), marked) * 3.0,
        "dense_keypoints_2d": mean(over(dense_error_2d, keypoints), marked) * 3.0,
        "depths": mean(over(depth_error, joints), jointed) * 10.0,
        "width": mean(width, located),
        "scales": mean(scales, marked) + mean(width_scale, located),
        "to_other": mean((hands.to_other - truth["to_other"]).abs(), truth["both"]) * 10.0,
        "other_box": mean(box, truth["other_visible"]) + mean(visible, truth["other_valid"]),
        "presence": mean(presence, has_crop),
        "segmentation": mean(segmentation, labelled),
    }
