"""The pair detector: decoding, the two evaluations of a region, and the evidence of handedness."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hand_recon_ros import Side
from hand_recon_ros.detect import pair_detector
from hand_recon_ros.detect.pair_detector import (
    BOTH,
    SIDE_WEIGHT,
    SIZE,
    VALUES,
    RegionHand,
    around,
    decode,
    detect_pair,
    in_region,
    pair_detector_file,
    region_of,
    same_box,
    second_hand,
    still_second,
)
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.runtime.model_files import ModelFileError

REGION = RotatedBox((320.0, 240.0), 200.0)
TIGHT = 1 / 1.6
"""Size of a hand relative to its crop."""


MIDDLE = (0.5, 0.5, 0.0, 1.0, 0.0)


def output(*slots):
    return np.array(slots, np.float32)


def hands(left=0.0, right=0.0):
    """Results of the two sides with given scores: boxes side by side."""
    return (
        RegionHand(Side.LEFT, left, RotatedBox((280.0, 240.0), 100.0), -1.0),
        RegionHand(Side.RIGHT, right, RotatedBox((380.0, 240.0), 100.0), 1.0),
    )


class Detector:
    """Results for one evaluation after the other; the regions are recorded."""

    def __init__(self, *results):
        self.results, self.regions = list(results), []

    def __call__(self, image, region):
        self.regions.append(region)
        return self.results[len(self.regions) - 1]


@pytest.mark.parametrize("exchanged", [False, True])
def test_an_output_is_decoded_in_an_upright_region(exchanged):
    slots = [(2.0, -3.0, 0.25, 0.4, math.log(0.5), 0.6, -0.8), (-1.0, 3.0, 1.1, 0.0, 0.0, -2.0, 0.0)]
    left, right = decode(output(*slots[:: -1 if exchanged else 1]), REGION)
    assert (left.side, right.side) == (Side.LEFT, Side.RIGHT)
    assert left.score == pytest.approx(1 / (1 + math.exp(-2.0)))
    assert right.score == pytest.approx(1 / (1 + math.exp(1.0)))
    np.testing.assert_allclose(left.roi.center, (320 - 50, 240 - 20), rtol=1e-6)
    np.testing.assert_allclose(right.roi.center, (320 + 120, 240 - 100), rtol=1e-6)  # beyond the region
    assert left.roi.size == pytest.approx(100.0) and right.roi.size == pytest.approx(200.0)
    assert left.roi.angle == pytest.approx(math.atan2(-0.8, 0.6))
    assert right.roi.angle == pytest.approx(math.pi)  # the length of (cosine, sine) does not matter
    assert left.evidence == pytest.approx(SIDE_WEIGHT * (-3.0 - right.score * 3.0))
    assert right.evidence == pytest.approx(SIDE_WEIGHT * (3.0 + left.score * 3.0))


def test_a_rotated_region_rotates_its_hands():
    region = RotatedBox((320.0, 240.0), 200.0, math.pi / 2)  # up in the region is to the right in the image
    values = output((0.0, -3.0, 0.5, 0.25, math.log(0.5), math.cos(0.3), math.sin(0.3)), (0.0, 3.0, *MIDDLE))
    left, _ = decode(values, region)
    np.testing.assert_allclose(left.roi.center, (320 + 50, 240), atol=1e-4)
    assert left.roi.size == pytest.approx(100.0)
    assert left.roi.angle == pytest.approx(math.pi / 2 + 0.3)


def test_the_present_hand_decides_the_sides():
    """Both look like right hands: the slot without a hand gets the other side and is no evidence."""
    for present in range(2):
        slots = [(-4.0, 4.0, 0.1, *MIDDLE[1:])] * 2
        slots[present] = (4.0, 1.0, *MIDDLE)
        left, right = decode(output(*slots), REGION)
        assert right.score > 0.9 and right.roi.center == REGION.center and left.score < 0.1
        assert right.evidence == pytest.approx(SIDE_WEIGHT, abs=0.1) and left.evidence == 0.0


def test_of_two_right_hands_the_less_certain_one_is_left():
    slots = (4.0, 3.0, *MIDDLE), (4.0, 1.0, 0.2, *MIDDLE[1:])
    for values in (output(*slots), output(*slots[::-1])):
        left, right = decode(values, REGION)
        assert right.roi.center == REGION.center and left.roi.center != REGION.center
        assert right.evidence == pytest.approx(2.0 * SIDE_WEIGHT, abs=0.05 * SIDE_WEIGHT * 2)
        assert left.evidence == pytest.approx(-2.0 * SIDE_WEIGHT, abs=0.05 * SIDE_WEIGHT * 2)


def test_the_order_of_the_slots_does_not_matter():
    rng = np.random.default_rng(0)
    for _ in range(500):
        values = np.concatenate([rng.normal(0, 2, (2, 2)), rng.normal(0, 0.5, (2, 5))], axis=1)
        assert decode(values, REGION) == decode(values[::-1], REGION)


def test_evidence_has_the_sign_of_the_side_or_none():
    rng = np.random.default_rng(1)
    for _ in range(500):
        left, right = decode(np.concatenate([rng.normal(0, 3, (2, 2)), np.ones((2, 5))], axis=1), REGION)
        assert left.evidence <= 0.0 <= right.evidence


@pytest.mark.parametrize(("logit", "log_size"), [(1e4, 50.0), (-1e4, -50.0)])
def test_extreme_outputs_stay_finite(logit, log_size):
    for hand in decode(output(*[(logit, logit, 0.5, 0.5, log_size, 0.0, 0.0)] * 2), REGION):
        assert 0.0 <= hand.score <= 1.0 and math.isfinite(hand.evidence)
        assert 0.0 < hand.roi.size < 1e5 and math.isfinite(hand.roi.angle)


def test_an_output_of_another_shape_is_an_error():
    with pytest.raises(ValueError):
        decode(np.zeros((2, VALUES + 1)), REGION)


def test_the_network_gets_the_crop_of_the_region():
    class Session:
        inputs = np.full((1, SIZE, SIZE, 3), 7, np.uint8)

        def run(self, count):
            assert count == 1
            return [(output((3.0, -3.0, *MIDDLE), (0.0, 3.0, *MIDDLE)),)]

    image = np.full((100, 200, 3), 90, np.uint8)
    session = Session()
    left, right = detect_pair(session, image, RotatedBox((0.0, 50.0), 100.0))
    assert left.score > 0.9 and right.score == 0.5 and left.roi.center == (0.0, 50.0)
    # The left half of the region is outside the image.
    assert (session.inputs[0, :, : SIZE // 2 - 1] == 0).all() and (session.inputs[0, 2:-2, SIZE // 2 + 1 :] == 90).all()


def test_the_second_evaluation_is_in_the_region_of_the_first_result():
    first, second = hands(0.9, 0.4), hands(0.8, 0.95)
    detector = Detector(first, second)
    assert in_region(detector, np.zeros((480, 640, 3), np.uint8), REGION) == second
    assert detector.regions == [REGION, region_of([hand.roi for hand in first])]


def test_a_hand_with_a_low_score_is_not_part_of_the_second_region():
    first = hands(0.9, 0.1)
    detector = Detector(first, hands())
    in_region(detector, np.zeros((480, 640, 3), np.uint8), REGION)
    assert detector.regions[1] == region_of([first[Side.LEFT].roi])


def test_low_scores_are_not_evaluated_again():
    first = hands(0.2, 0.25)
    detector = Detector(first)
    assert in_region(detector, np.zeros((480, 640, 3), np.uint8), REGION) == first
    assert detector.regions == [REGION]


LEFT_BOX, RIGHT_BOX = (hand.roi for hand in hands())
IMAGE = np.zeros((480, 640, 3), np.uint8)


@pytest.mark.parametrize(
    ("own", "scores", "second"),
    [
        (LEFT_BOX, (0.9, 0.95), Side.RIGHT),
        (RIGHT_BOX, (0.9, 0.95), Side.LEFT),
        (RIGHT_BOX, (BOTH, BOTH), Side.LEFT),
        (RIGHT_BOX, (BOTH - 0.01, 0.99), None),
        (RIGHT_BOX, (0.99, BOTH - 0.01), None),
        # Hands were detected, but none of them in its box.
        (RotatedBox((330.0, 240.0), 100.0), (0.99, 0.99), None),
        (RotatedBox((380.0, 240.0), 300.0), (0.99, 0.99), None),
        # Both can be in it: the nearer one is.
        (RotatedBox((325.0, 240.0), 150.0), (0.9, 0.9), Side.RIGHT),
        (RotatedBox((335.0, 240.0), 150.0), (0.9, 0.9), Side.LEFT),
    ],
)
def test_the_second_hand_is_the_other_one_of_two_certain_ones(own, scores, second):
    detected = hands(*scores)
    expected = None if second is None else detected[second]
    # The last result counts; the first one gives the region of the last.
    detector = Detector(hands(0.4, 0.4), detected)
    assert second_hand(detector, IMAGE, own) == expected
    assert detector.regions == [around(own), region_of([LEFT_BOX, RIGHT_BOX])]
    # In one evaluation, around the boxes of the image before.
    detector, last = Detector(detected), RotatedBox((300.0, 200.0), 120.0)
    assert still_second(detector, IMAGE, own, last) == expected
    assert detector.regions == [region_of([own, last])]


def test_no_second_hand_where_the_detector_sees_none():
    detector = Detector(hands(0.2, 0.2))
    assert second_hand(detector, IMAGE, LEFT_BOX) is None and len(detector.regions) == 1


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (RotatedBox((130.0, 100.0), 100.0), True),
        (RotatedBox((130.0, 100.0), 100.0, 3.0), True),
        (RotatedBox((140.0, 100.0), 100.0), False),
        (RotatedBox((140.0, 100.0), 200.0), True),  # relative to the larger one
        (RotatedBox((100.0, 100.0), 240.0), True),
        (RotatedBox((100.0, 100.0), 260.0), False),
        (RotatedBox((100.0, 100.0), 0.0), False),
    ],
)
def test_the_same_box(other, same):
    box = RotatedBox((100.0, 100.0), 100.0)
    assert same_box(box, other) == same_box(other, box) == same
    assert not same_box(box, RotatedBox((130.0, 100.0), 100.0), near=0.2)


def test_the_region_of_boxes_contains_their_hands():
    boxes = [RotatedBox((100.0, 100.0), 160.0), RotatedBox((300.0, 140.0), 80.0, math.pi / 2)]
    region = region_of(boxes, scale=1.0)  # hands at 50..150 and 275..325 across, 50..150 and 115..165 down
    np.testing.assert_allclose(region.center, ((50 + 325) / 2, (50 + 165) / 2))
    assert region.size == pytest.approx(325 - 50) and region.angle == 0.0
    assert region_of(boxes).size == pytest.approx(1.15 * (325 - 50))
    # A hand that is rotated by an eighth turn is wider.
    assert region_of([RotatedBox((0.0, 0.0), 160.0, math.pi / 4)], scale=1.0).size == pytest.approx(math.sqrt(2) * 100)


def test_the_region_around_one_hand_has_room_for_the_other():
    region = around(RotatedBox((100.0, 80.0), 160.0, 1.0))
    assert region.center == (100.0, 80.0) and region.angle == 0.0
    assert 2 * 160.0 * TIGHT < region.size < 4 * 160.0 * TIGHT


def test_missing_weights_are_named(tmp_path, monkeypatch):
    assert pair_detector_file().is_file()
    monkeypatch.setattr(pair_detector, "ASSETS", tmp_path)
    with pytest.raises(ModelFileError, match=r"pair_detector\.onnx is missing: .* install hand_recon_ros again"):
        pair_detector_file()
