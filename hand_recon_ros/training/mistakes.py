"""What the pair detector takes for hands in labelled photographs: negative examples for its further training.

Shoes, heads, folds of cloth and tools are detected as hands at high scores by a detector that has seen few of them.
Parts of photographs chosen at random rarely show these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..datasets.pair_crops import box_around
from ..detect.duplicates import box_overlap
from ..detect.pair_detector import LIKELY, RegionHand, in_region, of_hand, same_box
from ..detect.views import tiles, whole
from ..landmarks.observation import RotatedBox
from .pseudo_labels import keypoint_box

_COVERED = 0.1
"""Largest part of a box, or of a labelled one, that the two may share."""


def mistaken_boxes(
    detect: Callable[[np.ndarray, RotatedBox], tuple[RegionHand, RegionHand]],
    image: np.ndarray,
    labels: Mapping[str, Any],
) -> list[list[float]]:
    """Boxes x0, y0, x1, y1, pixels, of what is detected as a hand where no hand is.

    The detector evaluates the whole image and overlapping parts of it, and each hand once more by itself, as the search
    does.

    Args:
        detect: the pair detector: an image and a region to two hands.
        image: uint8 (H, W, 3) BGR.
        labels: its entry as :meth:`hand_recon_ros.training.pseudo_labels.PictureLabels.as_json` gives it.
    """
    height, width = image.shape[:2]
    known = [hand["box"] for hand in labels["hands"]] + labels["missed"] + labels["unlabelled"]
    known += [keypoint_box(np.asarray(hand["keypoints"])) for hand in labels["hands"]]
    found: list[RegionHand] = []
    for view in (whole(width, height), *tiles(width, height)):
        for hand in in_region(detect, image, view):
            if hand.score < LIKELY:
                continue
            again = [one for one in of_hand(detect, image, hand.roi) if one.score >= LIKELY]
            best = max(again, key=lambda one: one.score, default=None)
            if best is not None and not any(same_box(best.roi, other.roi) for other in found):
                found.append(best)
    boxes = [box_around(hand.roi) for hand in found if _is_inside(hand.roi, width, height)]
    return [box.round(2).tolist() for box in boxes if not any(_overlap(box, other) for other in known)]


def _is_inside(roi: RotatedBox, width: int, height: int) -> bool:
    x, y = roi.center
    return 0 <= x < width and 0 <= y < height


def _overlap(box: np.ndarray, other: Sequence[float]) -> bool:
    return box_overlap(np.reshape([box, other], (2, 2, 2))) > _COVERED
