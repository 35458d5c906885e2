"""What a made-up pair detector takes for hands, in photographs with and without hands there."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hand_recon_ros.datasets.pair_crops import box_around
from hand_recon_ros.detect.pair_detector import RegionHand
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.training.mistakes import mistaken_boxes
from hand_recon_ros.types import Side

IMAGE = np.zeros((480, 640, 3), np.uint8)
SHOE = RotatedBox((420.0, 300.0), 100.0, 0.3)
NOTHING = {"hands": [], "missed": [], "unlabelled": []}


class Detector:
    """Detects each thing at its score where it lies in the region, with ``alone`` in a region of its own size."""

    def __init__(self, *things: RotatedBox, score: float = 0.9, alone: float = 0.9) -> None:
        self.things, self.score, self.alone = things, score, alone

    def __call__(self, image: np.ndarray, region: RotatedBox) -> tuple[RegionHand, RegionHand]:
        inside = [thing for thing in self.things if np.abs(region.from_image(thing.center) - 0.5).max() < 0.5]
        scores = [self.alone if region.size < 2 * thing.size else self.score for thing in inside[:2]]
        nothing = RotatedBox(region.center, region.size)
        scored = [*zip(inside, scores, strict=False), (nothing, 0.0), (nothing, 0.0)]
        (left, a), (right, b) = scored[:2]
        return RegionHand(Side.LEFT, a, left, 0.0), RegionHand(Side.RIGHT, b, right, 0.0)


def hand(box: np.ndarray) -> dict[str, object]:
    keypoints = np.linspace(box[:2], box[2:], 21)
    return {"box": box.tolist(), "keypoints": keypoints.tolist()}


def test_what_is_detected_where_no_hand_is_is_a_mistake():
    (box,) = mistaken_boxes(Detector(SHOE), IMAGE, NOTHING)
    np.testing.assert_allclose(box, box_around(SHOE), atol=0.01)
    # Its centre and its size are those that the training takes for a hand's.
    assert math.dist(SHOE.center, ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)) < 0.01


@pytest.mark.parametrize("scores", [{"score": 0.4, "alone": 0.4}, {"score": 0.9, "alone": 0.4}])
def test_a_low_score_in_the_view_or_alone_is_none(scores):
    assert mistaken_boxes(Detector(SHOE, **scores), IMAGE, NOTHING) == []


@pytest.mark.parametrize("key", ["hands", "missed", "unlabelled"])
def test_labelled_hands_and_what_may_be_one_are_not_mistakes(key):
    box = box_around(SHOE) + 15.0
    known = NOTHING | {key: [hand(box) if key == "hands" else box.tolist()]}
    assert mistaken_boxes(Detector(SHOE), IMAGE, known) == []
    elsewhere = NOTHING | {key: [hand(box - 300.0) if key == "hands" else (box - 300.0).tolist()]}
    assert len(mistaken_boxes(Detector(SHOE), IMAGE, elsewhere)) == 1


def test_a_hand_that_leaves_its_annotated_box_is_no_mistake():
    """Some sets annotate the fingers alone: the keypoints count, too."""
    narrow = hand(box_around(SHOE)) | {"box": [0.0, 0.0, 9.0, 9.0]}
    assert mistaken_boxes(Detector(SHOE), IMAGE, NOTHING | {"hands": [narrow]}) == []


def test_each_thing_is_one_mistake_and_none_is_outside_of_the_image():
    outside = RotatedBox((660.0, 300.0), 60.0)
    other = RotatedBox((100.0, 120.0), 80.0)
    boxes = mistaken_boxes(Detector(SHOE, outside, other), IMAGE, NOTHING)
    assert len(boxes) == 2
