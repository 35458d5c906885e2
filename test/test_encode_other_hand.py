"""Hands of which only a box is known: what the encoder predicts there, and when that is accepted."""

import dataclasses

import numpy as np
import pytest
from evidence import CAMERA, observe
from test_track_encoder_schedule import APART, IMAGE, Oracle, hands

from hand_recon_ros import Side
from hand_recon_ros.encode.crop_frame import CropFrame
from hand_recon_ros.encode.other_hand import with_boxes, with_other_hand
from hand_recon_ros.landmarks.crops import alike
from hand_recon_ros.landmarks.hand_keypoints import hand_box
from hand_recon_ros.landmarks.observation import RotatedBox


@pytest.mark.parametrize("box", [None, RotatedBox((300.0, 200.0), 150.0, 0.3)])
def test_an_occluded_hand_is_located_by_the_encoder(box):
    keypoints = hands({Side.LEFT: -0.03, Side.RIGHT: 0.03})
    oracle = Oracle(keypoints)
    seen = observe(keypoints[Side.RIGHT], Side.RIGHT)
    if box is None:
        left, right = with_other_hand(oracle, IMAGE, seen, CAMERA, crops=2)
    else:
        left, right = with_boxes(oracle, IMAGE, [seen], {Side.LEFT: box}, CAMERA, crops=2)
    assert (left.side, right.side) == (Side.LEFT, Side.RIGHT)
    pixels = CAMERA.project(keypoints[Side.LEFT])
    np.testing.assert_allclose(left.keypoints_2d, pixels)
    # Landmarks of the hand in front do not count for the one behind it.
    assert not left.joint_scores.any() and left.score == oracle.presence
    (first, mirrored), (second, _) = oracle.boxes
    assert mirrored and alike(first, box or hand_box(pixels), 1e-6) and alike(second, hand_box(pixels), 1e-6)


@pytest.mark.parametrize(
    "oracle",
    [{"stddev": 0.3}, {"presence": 0.5}, {"shown": 0.2}],
    ids=["uncertain keypoints", "no hand", "not visible"],
)
def test_an_uncertain_prediction_is_no_hand(oracle):
    keypoints = hands({Side.LEFT: -0.03, Side.RIGHT: 0.03})
    (only,) = with_other_hand(
        Oracle(keypoints, **oracle), IMAGE, observe(keypoints[Side.RIGHT], Side.RIGHT), CAMERA
    )  # fmt: skip
    assert only.side == Side.RIGHT and only.prediction is not None


def test_an_occluded_hand_is_mirrored_as_the_other_one_is():
    keypoints = hands({Side.LEFT: -0.03, Side.RIGHT: 0.03})
    oracle = Oracle(keypoints)
    seen = dataclasses.replace(observe(keypoints[Side.RIGHT], Side.RIGHT), mirrored=True, side_score=0.8)
    left, _ = with_other_hand(oracle, IMAGE, seen, CAMERA)
    assert left.mirrored and left.shown_side == Side.RIGHT and left.side_score == 0.8
    assert [mirrored for _, mirrored in oracle.boxes] == [False]  # the crop shows a right hand


def test_the_same_hand_is_not_located_twice():
    keypoints = hands({Side.LEFT: -0.03, Side.RIGHT: 0.03})
    keypoints[Side.LEFT] = keypoints[Side.RIGHT]
    (only,) = with_other_hand(Oracle(keypoints), IMAGE, observe(keypoints[Side.RIGHT], Side.RIGHT), CAMERA)
    assert only.side == Side.RIGHT


class ByBox(Oracle):
    """Predicts the left hand by its box: in each given box so many metres to the left and with a certain deviation."""

    def __init__(self, keypoints, boxes, **fields):
        super().__init__(keypoints, **fields)
        self.by_box = boxes

    def __call__(self, image, observations, camera):
        result = super().__call__(image, observations, camera)
        for index, observation in enumerate(result):
            for box, shift, stddev in self.by_box if observation.side == Side.LEFT else []:
                if alike(observation.roi, box, 1e-6):
                    pixels = CAMERA.project(self.keypoints[Side.LEFT] - [shift, 0.0, 0.0])
                    changed = dict(keypoints_2d=pixels, stddev_2d=np.full(21, stddev * np.ptp(pixels, axis=0).max()))
                    prediction = dataclasses.replace(observation.prediction, **changed)
                    result[index] = dataclasses.replace(observation, prediction=prediction)
        return result


@pytest.mark.parametrize(
    ("in_box", "in_own", "shift"),
    [(0.05, 0.1, 0.02), (0.1, 0.05, 0.01), (0.05, 0.6, 0.02), (0.6, 0.05, 0.01), (0.6, 0.6, None)],
    ids=["detector surer", "encoder surer", "detector alone", "encoder alone", "neither"],
)
def test_of_the_boxes_of_detector_and_encoder_the_surer_prediction_counts(in_box, in_own, shift):
    keypoints = hands({Side.LEFT: -0.03, Side.RIGHT: 0.03})
    box = RotatedBox((300.0, 200.0), 150.0, 0.3)
    own = hand_box(CAMERA.project(keypoints[Side.LEFT]))
    # Also where the encoder itself is not sure that the other hand is visible.
    oracle = ByBox(keypoints, [(box, 0.02, in_box), (own, 0.01, in_own)], shown=0.2)
    seen = observe(keypoints[Side.RIGHT], Side.RIGHT)
    found = with_other_hand(oracle, IMAGE, seen, CAMERA, box=box)
    assert [observation.side for observation in found] == ([Side.RIGHT] if shift is None else list(Side))
    if shift is not None:
        expected = CAMERA.project(keypoints[Side.LEFT] - [shift, 0.0, 0.0])
        np.testing.assert_allclose(found[0].keypoints_2d, expected)
    assert {round(read.size, 6) for read, _ in oracle.boxes} == {150.0, round(own.size, 6)}


class OnItself(Oracle):
    """Predicts that the other hand is where this one is, and this one again, with certainty, in that box."""

    def __call__(self, image, observations, camera):
        pixels = CAMERA.project(self.keypoints[Side.RIGHT])
        own, stddev = hand_box(pixels), np.full(21, 0.03 * np.ptp(pixels, axis=0).max())
        result = []
        for seen in super().__call__(image, observations, camera):
            changed = {"other_box": own}
            if seen.side == Side.LEFT and alike(seen.roi, own, 1e-6):
                changed |= {"keypoints_2d": pixels + 1.0, "stddev_2d": stddev}
            result.append(dataclasses.replace(seen, prediction=dataclasses.replace(seen.prediction, **changed)))
        return result


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_prediction_on_the_hand_itself_counts_only_where_the_detector_sees_the_other_one_there(elsewhere):
    keypoints = hands({Side.LEFT: -0.1, Side.RIGHT: 0.1})
    pixels = {side: CAMERA.project(keypoints[side]) for side in Side}
    seen = observe(keypoints[Side.RIGHT], Side.RIGHT)
    box = hand_box(pixels[Side.LEFT if elsewhere else Side.RIGHT])
    found = with_other_hand(OnItself(keypoints, stddev=0.1), IMAGE, seen, CAMERA, box=box)
    assert [observation.side for observation in found] == list(Side)
    expected = pixels[Side.LEFT] if elsewhere else pixels[Side.RIGHT] + 1.0
    np.testing.assert_allclose(found[0].keypoints_2d, expected)


@pytest.mark.parametrize("certain", [False, True])
def test_a_hand_that_covers_the_other_point_by_point_needs_a_certain_detector(certain):
    keypoints = hands({Side.LEFT: -0.03, Side.RIGHT: 0.03})
    keypoints[Side.LEFT] = keypoints[Side.RIGHT] + [0.002, 0.0, 0.0]
    oracle = Oracle(keypoints)
    seen = observe(keypoints[Side.RIGHT], Side.RIGHT)
    box = hand_box(CAMERA.project(keypoints[Side.LEFT]))
    found = with_other_hand(oracle, IMAGE, seen, CAMERA, box=box if certain else None)
    assert len(found) == 1 + certain and found[-1].side == Side.RIGHT
    if certain:
        # The landmarks in its crop are those of the hand in front.
        assert not found[0].joint_scores.any()
        np.testing.assert_allclose(found[0].keypoints_2d, CAMERA.project(keypoints[Side.LEFT]))
    assert len(with_boxes(oracle, IMAGE, [seen], {Side.LEFT: box}, CAMERA, pair=certain)) == 1 + certain


@pytest.mark.parametrize(
    ("box", "settings", "limit"),
    [
        (None, {}, 0.12),
        (None, {"detected": True}, 0.12),
        (RotatedBox((60.0, 400.0), 150.0), {}, 0.12),
        (RotatedBox((60.0, 400.0), 150.0), {"detected": True}, 0.145),
        (None, {"pair": True}, 0.155),
        (None, {"detected": True, "pair": True}, 0.155),
    ],
    ids=["beside", "detected beside", "away", "detected away", "certain", "detected, certain"],
)
def test_the_surer_a_detector_is_of_a_hand_the_less_certain_may_its_keypoints_be(box, settings, limit):
    keypoints = hands({Side.LEFT: -0.02, Side.RIGHT: 0.02})
    seen = observe(keypoints[Side.RIGHT], Side.RIGHT)
    boxes = {Side.LEFT: box or hand_box(seen.keypoints_2d)}
    for stddev, count in ((limit - 0.005, 2), (limit + 0.005, 1)):
        assert len(with_boxes(Oracle(keypoints, stddev=stddev), IMAGE, [seen], boxes, CAMERA, **settings)) == count


@pytest.mark.parametrize(("fields", "calls"), [({"shown": 0.2}, 1), ({"stddev": 0.3}, 2)])
def test_a_hand_without_another_one_is_encoded_once_alone(fields, calls):
    keypoints = hands({Side.LEFT: -0.03, Side.RIGHT: 0.03})
    oracle = Oracle(keypoints, **fields)
    (only,) = with_other_hand(oracle, IMAGE, observe(keypoints[Side.RIGHT], Side.RIGHT), CAMERA)
    assert oracle.calls == [[Side.RIGHT], list(Side)][:calls]
    np.testing.assert_allclose(only.prediction.keypoints_2d, CAMERA.project(keypoints[Side.RIGHT]))


def test_landmarks_of_the_hand_itself_count():
    """Away from the other hand, in a box of a detector."""
    keypoints = hands(APART)
    oracle = Oracle({Side.LEFT: keypoints[Side.RIGHT], Side.RIGHT: keypoints[Side.RIGHT]})
    (left,) = with_boxes(oracle, IMAGE, [], {Side.LEFT: RotatedBox((300.0, 200.0), 150.0)}, CAMERA, detected=True)
    np.testing.assert_allclose(left.joint_scores, 0.99 * (1.0 - 0.98))


def test_a_box_without_a_hand_does_not_change_the_other_prediction():
    keypoints = hands(APART)
    oracle = Oracle(keypoints)
    seen = observe(keypoints[Side.RIGHT], Side.RIGHT)
    oracle.keypoints = {**keypoints, Side.LEFT: keypoints[Side.RIGHT]}  # both crops show the same hand
    (only,) = with_boxes(oracle, IMAGE, [seen], {Side.LEFT: RotatedBox((300.0, 200.0), 150.0)}, CAMERA)
    assert only.side == Side.RIGHT and oracle.calls[-1] == [Side.RIGHT]


@pytest.mark.parametrize("side", Side)
def test_a_box_as_features_and_back(side):
    frame = CropFrame(RotatedBox((310.0, 250.0), 180.0, 0.4), side, CAMERA)
    square = RotatedBox((350.0, 190.0), 150.0, -1.1)
    assert alike(frame.box_out(frame.pair_features(CropFrame(square, side.other, CAMERA))), square, 1e-9)
