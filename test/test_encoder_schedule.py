"""The encoder in a stream: when it looks, what is carried on in between, and hands that only it sees."""

import dataclasses

import numpy as np
import pytest
from evidence import CAMERA, hand, observe

from hand_recon_ros import Side
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.encode.crop_frame import CropFrame
from hand_recon_ros.encode.other_hand import with_other_hand
from hand_recon_ros.landmarks.crops import alike, tracking_box
from hand_recon_ros.landmarks.landmarks import HandLandmarks
from hand_recon_ros.landmarks.observation import EncoderPrediction, RotatedBox
from hand_recon_ros.track.encoder_schedule import EncoderSchedule
from hand_recon_ros.types import Frame

IMAGE = np.zeros((CAMERA.height, CAMERA.width, 3), dtype=np.uint8)
FRAME = Frame(image=IMAGE, camera=CAMERA)
CONFIG = ReconstructorConfig(encoder_interval=3, detection_interval=4)
APART = {Side.LEFT: -0.12, Side.RIGHT: 0.12}


def hands(shifts):
    """Keypoints (21, 3) of both hands, moved sideways by so many metres from the middle of the image."""
    return {
        side: points - points.mean(axis=0) + [shifts[side], 0.0, 0.5]
        for side, points in ((side, hand(4 + side, side)[3]) for side in Side)
    }


class Oracle:
    """An encoder that knows where both hands are, and counts how often it is asked."""

    def __init__(self, keypoints, stddev=0.03, shown=0.9, presence=0.97):
        self.keypoints, self.stddev, self.shown, self.presence = keypoints, stddev, shown, presence
        self.asked, self.squares = [], []

    def __call__(self, image, observations, camera):
        self.asked.append([observation.side for observation in observations])
        return [dataclasses.replace(o, prediction=self.told(o.side)) for o in observations]

    def landmarks(self, image, square, mirrored):
        """What the landmark network sees of a hidden hand: the other one, in front of it."""
        self.squares.append((square, mirrored))
        front = observe(self.keypoints[Side.RIGHT], Side.RIGHT)
        return HandLandmarks(front.keypoints_2d, front.screen_depth, front.world, 0.99, 0.98, square)

    def told(self, side):
        keypoints = self.keypoints[side]
        pixels = CAMERA.project(keypoints)
        return EncoderPrediction(
            presence=self.presence, keypoints_2d=pixels,
            stddev_2d=np.full(21, self.stddev * np.ptp(pixels, axis=0).max()), joints=keypoints - keypoints[0],
            wrist=keypoints[0], wrist_stddev=0.02, to_other=None,
            other_square=tracking_box(CAMERA.project(self.keypoints[side.other])), other_shown=self.shown,
        )  # fmt: skip


def test_hands_that_are_apart_are_looked_at_now_and_then():
    keypoints = hands(APART)
    oracle = Oracle(keypoints)
    stream = EncoderSchedule(oracle)
    seen = [observe(keypoints[side], side) for side in Side]
    results = [stream(FRAME, seen, CONFIG) for _ in range(7)]
    assert oracle.asked == [[Side.LEFT, Side.RIGHT]] * 3  # in the images 0, 3 and 6
    assert all(observation.prediction is not None for result in results for observation in result)


def test_hands_that_meet_are_looked_at_in_every_image():
    keypoints = hands({Side.LEFT: -0.01, Side.RIGHT: 0.01})
    oracle = Oracle(keypoints)
    stream = EncoderSchedule(oracle)
    for _ in range(4):
        stream(FRAME, [observe(keypoints[side], side) for side in Side], CONFIG)
    assert len(oracle.asked) == 4


def test_a_hand_that_is_new_is_looked_at():
    keypoints = hands(APART)
    oracle = Oracle(keypoints, shown=0.0)
    stream = EncoderSchedule(oracle)
    right = observe(keypoints[Side.RIGHT], Side.RIGHT)
    stream(FRAME, [right], CONFIG)
    stream(FRAME, [observe(keypoints[Side.LEFT], Side.LEFT), right], CONFIG)
    stream(FRAME, [observe(keypoints[Side.LEFT], Side.LEFT), dataclasses.replace(right, track_id=9)], CONFIG)
    stream.reset()
    stream(FRAME, [right], CONFIG)
    assert len(oracle.asked) == 4


def test_the_encoders_word_moves_with_the_landmarks():
    keypoints = hands(APART)
    stream = EncoderSchedule(Oracle(keypoints))
    seen = [observe(keypoints[side], side) for side in Side]
    moved = [dataclasses.replace(o, keypoints_2d=o.keypoints_2d + [3.0, -2.0]) for o in seen]
    first, second = stream(FRAME, seen, CONFIG), stream(FRAME, moved, CONFIG)
    for before, after in zip(first, second, strict=True):
        np.testing.assert_allclose(after.prediction.keypoints_2d, before.prediction.keypoints_2d + [3.0, -2.0])
        np.testing.assert_array_equal(after.prediction.joints, before.prediction.joints)


@pytest.mark.parametrize("square", [None, RotatedBox((300.0, 200.0), 150.0, 0.3)])
def test_a_hidden_hand_is_found_by_the_encoder(square):
    keypoints = hands({Side.LEFT: -0.03, Side.RIGHT: 0.03})
    oracle = Oracle(keypoints)
    seen = observe(keypoints[Side.RIGHT], Side.RIGHT)
    left, right = with_other_hand(oracle, IMAGE, seen, CAMERA, square, looks=2)
    assert (left.side, right.side) == (Side.LEFT, Side.RIGHT)
    pixels = CAMERA.project(keypoints[Side.LEFT])
    np.testing.assert_allclose(left.keypoints_2d, pixels)
    # Landmarks of the hand in front say nothing of the one behind it.
    assert not left.joint_scores.any() and left.score == oracle.presence
    (first, mirrored), (second, _) = oracle.squares
    assert mirrored and alike(first, square or tracking_box(pixels), 1e-6) and alike(second, tracking_box(pixels), 1e-6)


@pytest.mark.parametrize(
    "oracle",
    [{"stddev": 0.3}, {"presence": 0.5}, {"shown": 0.2}],
    ids=["unsure of its keypoints", "no hand", "nothing to be seen"],
)
def test_what_the_encoder_is_not_sure_of_is_no_hand(oracle):
    keypoints = hands({Side.LEFT: -0.03, Side.RIGHT: 0.03})
    (only,) = with_other_hand(
        Oracle(keypoints, **oracle), IMAGE, observe(keypoints[Side.RIGHT], Side.RIGHT), CAMERA
    )  # fmt: skip
    assert only.side == Side.RIGHT and only.prediction is not None


def test_the_same_hand_is_not_found_twice():
    keypoints = hands({Side.LEFT: -0.03, Side.RIGHT: 0.03})
    keypoints[Side.LEFT] = keypoints[Side.RIGHT]
    (only,) = with_other_hand(Oracle(keypoints), IMAGE, observe(keypoints[Side.RIGHT], Side.RIGHT), CAMERA)
    assert only.side == Side.RIGHT


def test_a_hidden_hand_is_followed_where_it_was():
    keypoints = hands({Side.LEFT: -0.03, Side.RIGHT: 0.03})
    oracle = Oracle(keypoints)
    stream = EncoderSchedule(oracle)
    seen = observe(keypoints[Side.RIGHT], Side.RIGHT)
    found = [len(stream(FRAME, [seen], CONFIG)) for _ in range(5)]
    # Looked for as often as hands are detected; once it is found, in every image.
    assert found == [1, 1, 1, 2, 2]
    oracle.stddev = 0.3
    assert len(stream(FRAME, [seen], CONFIG)) == 1


@pytest.mark.parametrize("side", Side)
def test_a_square_is_told_as_features(side):
    frame = CropFrame(RotatedBox((310.0, 250.0), 180.0, 0.4), side, CAMERA)
    square = RotatedBox((350.0, 190.0), 150.0, -1.1)
    assert alike(frame.square_out(frame.pair_features(CropFrame(square, side.other, CAMERA))), square, 1e-9)
