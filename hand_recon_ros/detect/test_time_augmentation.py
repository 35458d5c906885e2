"""Test-time augmentation of one hand: the mean over several crops is steadier, their spread measures uncertainty."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from ..landmarks.landmarks import HandLandmarks
from ..landmarks.observation import RotatedBox
from ..types import Side
from .handedness import log_odds, probability
from .networks import HandNetworks

AUGMENTATIONS = ((0.0, 1.0, False), (0.0, 1.0, True), (math.radians(12), 1.08, False), (math.radians(-12), 1.08, True))
"""Rotation (rad), scale and mirroring of each crop relative to the box of the landmarks; first the box itself, then its
mirror image."""
_FOR_ENCODER = 2
"""The encoder takes the features of one of the first two."""


def averaged(
    networks: HandNetworks, image: np.ndarray, hands: Sequence[HandLandmarks], evidence: Sequence[Sequence[float]]
) -> list[tuple[HandLandmarks, np.ndarray, float]]:
    """The landmarks of each hand as the mean over several crops of it.

    Where the network classifies a crop as the other side its depth is reversed, too. Such crops count for the
    handedness and for the spread, but are left out of the mean.

    Args:
        networks: the networks.
        image: BGR.
        hands: the landmarks so far.
        evidence: of each hand, log odds of a right hand from earlier crops.

    Returns for each hand:
        the hand, with the features for the encoder of the crop in its box; the root mean square distance (21,) of each
        keypoint from its mean over the crops, pixels; and the mean log odds of a right hand, earlier crops included.
    """
    crops = augmented(networks, image, hands)
    return [_mean(*each) for each in zip(hands, crops, evidence, strict=True)]


def augmented(networks: HandNetworks, image: np.ndarray, hands: Sequence[HandLandmarks]) -> list[list[HandLandmarks]]:
    """The landmarks of each hand in the crops of AUGMENTATIONS, in their order; those of _FOR_ENCODER with features."""
    with_stems = _evaluated(networks, image, hands, AUGMENTATIONS[:_FOR_ENCODER], True)
    others = _evaluated(networks, image, hands, AUGMENTATIONS[_FOR_ENCODER:], False)
    return [[*first, *rest] for first, rest in zip(with_stems, others, strict=True)]


def _evaluated(
    networks: HandNetworks,
    image: np.ndarray,
    hands: Sequence[HandLandmarks],
    augmentations: Sequence[tuple[float, float, bool]],
    stems: bool,
) -> list[list[HandLandmarks]]:
    """The landmarks of each hand in the crops of these augmentations."""
    bases = [hand.next_roi for hand in hands]
    rois = [
        RotatedBox(base.center, base.size * scale, base.angle + turn)
        for base in bases
        for turn, scale, _ in augmentations
    ]
    mirrored = [mirror for _, _, mirror in augmentations] * len(hands)
    crops = networks.read(image, rois, mirrored, [hand.grey for hand in hands for _ in augmentations], stems)
    count = len(augmentations)
    return [crops[start : start + count] for start in range(0, len(crops), count)]


def _mean(
    hand: HandLandmarks, crops: Sequence[HandLandmarks], evidence: Sequence[float]
) -> tuple[HandLandmarks, np.ndarray, float]:
    """See :func:`averaged`, of one hand and its crops in the order of AUGMENTATIONS."""
    right = float(np.mean([*evidence, *(log_odds(crop.right) for crop in crops)]))
    agreeing = [crop for crop in crops if (crop.right > 0.5) == (right > 0)] or crops
    # The first two are of one box and of its mirror image; the encoder takes that of a right hand.
    plain = crops[int(right < 0)]
    keypoints = np.stack([crop.keypoints for crop in crops])
    spread = np.sqrt(((keypoints - keypoints.mean(axis=0)) ** 2).sum(axis=-1).mean(axis=0))
    merged = dataclasses.replace(
        hand,
        keypoints=np.mean([crop.keypoints for crop in agreeing], axis=0),
        screen_depth=np.mean([crop.screen_depth for crop in agreeing], axis=0),
        world=np.mean([crop.world for crop in agreeing], axis=0),
        presence=float(np.mean([crop.presence for crop in crops])),
        right=probability(right, Side.RIGHT),
        roi=crops[0].roi,
        stem=plain.stem,
        mirrored=plain.mirrored,
    )
    return merged, spread, right
