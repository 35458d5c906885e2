"""Several looks at one hand: their mean is steadier than each, and their spread says which keypoints are sure."""

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

LOOKS = ((0.0, 1.0, False), (0.0, 1.0, True), (math.radians(12), 1.08, False), (math.radians(-12), 1.08, True))
"""Turn, scale and mirroring of each look against the square of the landmarks."""


def averaged(
    networks: HandNetworks, image: np.ndarray, hand: HandLandmarks, evidence: Sequence[float] = ()
) -> tuple[HandLandmarks, np.ndarray, float]:
    """A hand's landmarks as the mean of several looks at it.

    A look that takes the hand for one of the other side also sees its depth reversed. Such looks count for the side
    and for the spread, but are left out of the mean.

    Args:
        networks: the networks.
        image: BGR.
        hand: the hand as seen before.
        evidence: log odds of a right hand from earlier looks.

    Returns:
        the hand; the root mean square distance (21,) of each keypoint's looks from their mean, pixels; and the mean
        log odds of a right hand, earlier looks included.
    """
    base = hand.next_roi()
    looks = []
    for mirrored in (False, True):
        rois = [
            RotatedBox(base.center, base.size * scale, base.angle + turn)
            for turn, scale, of_mirror_image in LOOKS
            if of_mirror_image == mirrored
        ]
        looks += networks.read(image, rois, mirrored=mirrored)
    right = float(np.mean([*evidence, *(log_odds(look.right) for look in looks)]))
    agreeing = [look for look in looks if (look.right > 0.5) == (right > 0)] or looks
    keypoints = np.stack([look.keypoints for look in looks])
    spread = np.sqrt(((keypoints - keypoints.mean(axis=0)) ** 2).sum(axis=-1).mean(axis=0))
    merged = dataclasses.replace(
        hand,
        keypoints=np.mean([look.keypoints for look in agreeing], axis=0),
        screen_depth=np.mean([look.screen_depth for look in agreeing], axis=0),
        world=np.mean([look.world for look in agreeing], axis=0),
        presence=float(np.mean([look.presence for look in looks])),
        right=probability(right, Side.RIGHT),
        roi=base,
        stem=None,
    )
    return merged, spread, right
