"""The encoder in a stream: in which images it runs, what serves in between, and hands that only it predicts."""

import dataclasses

import numpy as np
import pytest
from evidence import CAMERA, hand, observe

from hand_recon_ros import Side
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.landmarks.hand_keypoints import hand_box
from hand_recon_ros.landmarks.landmarks import HandLandmarks
from hand_recon_ros.landmarks.observation import EncoderPrediction
from hand_recon_ros.track.encoder_schedule import encode, encode_left
from hand_recon_ros.track.locator import Located
from hand_recon_ros.track.tracks import Tracks
from hand_recon_ros.types import Frame

IMAGE = np.zeros((CAMERA.height, CAMERA.width, 3), dtype=np.uint8)
CONFIG = ReconstructorConfig(encoder_interval=0.09, detection_interval=0.095)
APART = {Side.LEFT: -0.12, Side.RIGHT: 0.12}


def hands(shifts):
    """Keypoints (21, 3) of both hands, moved sideways by so many metres from the middle of the image."""
    return {
        side: points - points.mean(axis=0) + [shifts[side], 0.0, 0.5]
        for side, points in ((side, hand(4 + side, side)[3]) for side in Side)
    }


class Oracle:
    """An encoder that predicts both hands exactly, and counts its calls."""

    def __init__(self, keypoints, stddev=0.03, shown=0.9, presence=0.97):
        self.keypoints, self.stddev, self.shown, self.presence = keypoints, stddev, shown, presence
        self.calls, self.boxes = [], []

    def __call__(self, image, observations, camera):
        self.calls.append([observation.side for observation in observations])
        return [dataclasses.replace(o, prediction=self.predicted(o.side)) for o in observations]

    def landmarks(self, image, box, mirrored, grey=False):
        """The landmark network finds the hand in front, whatever the box."""
        self.boxes.append((box, mirrored))
        front = observe(self.keypoints[Side.RIGHT], Side.RIGHT)
        return HandLandmarks(front.keypoints_2d, front.screen_depth, front.world, 0.99, 0.98, box)

    def predicted(self, side):
        keypoints = self.keypoints[side]
        pixels = CAMERA.project(keypoints)
        return EncoderPrediction(
            presence=self.presence, keypoints_2d=pixels,
            stddev_2d=np.full(21, self.stddev * np.ptp(pixels, axis=0).max()), joints=keypoints - keypoints[0],
            wrist=keypoints[0], wrist_stddev=0.02, to_other=None,
            other_box=hand_box(CAMERA.project(self.keypoints[side.other])), other_visible=self.shown,
        )  # fmt: skip


class Stream:
    """The encoder in images that come at ``rate`` (Hz); ``hurried`` where images wait."""

    def __init__(self, oracle, rate=30.0, hurried=False):
        self.oracle, self.tracks, self.rate, self.images, self.hurried = oracle, Tracks(), rate, 0, hurried
        self.left = []

    def __call__(self, observations, boxes=None, **located):
        return self.image(lambda frame: Located(observations, boxes or {}, **located))

    def image(self, locate):
        """The observations of the next image, in which ``locate`` locates the hands."""
        frame = Frame(IMAGE, CAMERA, self.images / self.rate)
        self.images += 1
        self.tracks.advance(frame)
        result = encode(self.oracle, frame, self.tracks, locate(frame), CONFIG)
        self.tracks.update(result)
        for side, track in self.tracks.hands.items():
            if any(observation.side == side for observation in result):
                track.state.measured(self.tracks.time)
            else:
                track.state.unseen(self.tracks.time, 0.15)
        self.left.append(self.tracks.unencoded is not None)
        encode_left(self.oracle, self.tracks, self.hurried)
        return result


@pytest.mark.parametrize(("rate", "images"), [(15.0, 2), (30.0, 3), (60.0, 6)])
def test_hands_that_do_not_overlap_are_encoded_at_intervals(rate, images):
    keypoints = hands(APART)
    oracle = Oracle(keypoints)
    stream = Stream(oracle, rate)
    seen = [observe(keypoints[side], side) for side in Side]
    results = [stream(seen) for _ in range(2 * images + 1)]
    assert oracle.calls == [[Side.LEFT, Side.RIGHT]] * 3  # in the first image, 0.1 s later and 0.2 s later
    assert all(observation.prediction is not None for result in results for observation in result)


@pytest.mark.parametrize("rate", [30.0, 60.0])
def test_while_a_detector_searches_a_known_hand_is_encoded_half_as_often(rate):
    oracle = Oracle(hands(APART), shown=0.0)
    stream = Stream(oracle, rate)
    seen = [observe(hands(APART)[Side.LEFT], Side.LEFT)]
    encoded = []
    for image in range(round(rate)):
        before = len(oracle.calls)
        stream(seen, detected=image > 0)
        encoded += [image / rate] * (len(oracle.calls) - before)
    np.testing.assert_allclose(np.diff(encoded), 2 * CONFIG.encoder_interval, atol=1 / rate + 1e-6)


@pytest.mark.parametrize(("rate", "waits"), [(5.0, False), (30.0, True), (60.0, True)])
def test_the_search_leaves_an_image_to_the_encoder_except_at_low_rates(rate, waits):
    oracle = Oracle(hands(APART), shown=0.0)
    stream = Stream(oracle, rate)
    seen = [observe(hands(APART)[Side.LEFT], Side.LEFT)]
    searched, encoded = [], []

    def locate(frame):
        searched.append(not stream.tracks.encoding_is_first(CONFIG))
        encoded.append(len(oracle.calls))
        return Located(seen, {}, detected=searched[-1])

    for _ in range(round(rate)):
        stream.image(locate)
    encoded = np.diff([*encoded, len(oracle.calls)]) > 0
    both = np.array(searched) & encoded
    assert both[1:].any() != waits
    assert sum(searched) >= rate / 2


@pytest.mark.parametrize(("rate", "images"), [(15.0, 1), (30.0, 2), (60.0, 3)])
def test_hands_that_overlap_are_encoded_more_often(rate, images):
    keypoints = hands({Side.LEFT: -0.01, Side.RIGHT: 0.01})
    oracle = Oracle(keypoints)
    stream = Stream(oracle, rate)
    encoded = []
    for _ in range(2 * images + 1):
        result = stream([observe(keypoints[side], side) for side in Side])
        assert all(observation.prediction is not None for observation in result)
        encoded.append(stream.tracks.encoded)
    assert encoded == [True, *[False] * (images - 1), True, *[False] * (images - 1), True]
    assert len(oracle.calls) == 3
    assert stream.left == [False, *(rate > 15.0 and now for now in encoded[1:])]


def test_hands_that_are_encoded_after_an_image_have_the_predictions_in_the_next_one():
    keypoints = hands(APART)
    oracle = Oracle(keypoints)
    stream = Stream(oracle)
    seen = [observe(keypoints[side], side) for side in Side]
    stream(seen)
    before, oracle.stddev = oracle.predicted(Side.LEFT), 0.05
    for _ in range(3):
        np.testing.assert_array_equal(stream(seen)[0].prediction.stddev_2d, before.stddev_2d)
    assert stream.left == [False, False, False, True] and len(oracle.calls) == 2
    moved = [dataclasses.replace(o, keypoints_2d=o.keypoints_2d + [3.0, -2.0]) for o in seen]
    for side, now in zip(Side, stream(moved), strict=True):
        expected = oracle.predicted(side)
        np.testing.assert_allclose(now.prediction.keypoints_2d, expected.keypoints_2d + [3.0, -2.0])
        np.testing.assert_array_equal(now.prediction.stddev_2d, expected.stddev_2d)


@pytest.mark.parametrize("shift", [0.01, 0.12])
def test_while_images_wait_the_encoder_is_postponed_for_a_while(shift):
    keypoints = hands({Side.LEFT: -shift, Side.RIGHT: shift})
    oracle = Oracle(keypoints)
    stream, calls = Stream(oracle, hurried=True), []
    for _ in range(11):
        stream([observe(keypoints[side], side) for side in Side])
        calls.append(len(oracle.calls))
    assert calls == [1] * 5 + [2] * 5 + [3]  # every 0.167 s


def test_an_image_that_is_overwritten_after_its_estimate_is_encoded_as_it_was():
    keypoints, images = hands(APART), []

    class Recorded(Oracle):
        def __call__(self, image, observations, camera):
            images.append(image.copy())
            return super().__call__(image, observations, camera)

    oracle, tracks, buffer = Recorded(keypoints), Tracks(), IMAGE.copy()
    for number in range(4):
        buffer[:] = number
        frame = Frame(buffer, CAMERA, number / 30)
        tracks.advance(frame)
        seen = [observe(keypoints[side], side) for side in Side]
        tracks.update(encode(oracle, frame, tracks, Located(seen, {}), CONFIG))
        for track in tracks.hands.values():
            track.state.measured(tracks.time)
        buffer[:] = 255
        encode_left(oracle, tracks)
    assert [int(image.max()) for image in images] == [0, 3]


def test_a_new_hand_is_encoded():
    keypoints = hands(APART)
    oracle = Oracle(keypoints, shown=0.0)
    stream = Stream(oracle)
    right = observe(keypoints[Side.RIGHT], Side.RIGHT)
    stream([right])
    stream([observe(keypoints[Side.LEFT], Side.LEFT), right])
    stream([observe(keypoints[Side.LEFT], Side.LEFT), dataclasses.replace(right, detected=True)])
    stream.tracks.reset()
    stream([right])
    assert len(oracle.calls) == 4


def test_the_prediction_moves_with_the_landmarks():
    keypoints = hands(APART)
    stream = Stream(Oracle(keypoints))
    seen = [observe(keypoints[side], side) for side in Side]
    moved = [dataclasses.replace(o, keypoints_2d=o.keypoints_2d + [3.0, -2.0]) for o in seen]
    first, second = stream(seen), stream(moved)
    for before, after in zip(first, second, strict=True):
        np.testing.assert_allclose(after.prediction.keypoints_2d, before.prediction.keypoints_2d + [3.0, -2.0])
        np.testing.assert_array_equal(after.prediction.joints, before.prediction.joints)


def test_an_occluded_hand_is_followed_where_it_was():
    keypoints = hands({Side.LEFT: -0.03, Side.RIGHT: 0.03})
    oracle = Oracle(keypoints)
    stream = Stream(oracle)
    seen = observe(keypoints[Side.RIGHT], Side.RIGHT)
    # Searched when it is the encoder's turn; once located, in every image.
    found = [len(stream([seen], encoder_searches=image == 3)) for image in range(6)]
    assert found == [1, 1, 1, 2, 2, 2]
    oracle.stddev = 0.3
    assert len(stream([seen])) == 1


@pytest.mark.parametrize("count", [0, 2])
def test_the_encoder_searches_only_beside_one_hand(count):
    keypoints = hands(APART)
    oracle = Oracle(keypoints)
    seen = [observe(keypoints[side], side) for side in Side][:count]
    stream = Stream(oracle)
    for _ in range(3):
        assert len(stream(seen, encoder_searches=True)) == count
    assert oracle.boxes == [] and len(oracle.calls) == count // 2  # as without a search


def test_a_search_does_not_wait_for_the_encoders_interval():
    keypoints = hands({Side.LEFT: -0.03, Side.RIGHT: 0.03})
    oracle = Oracle(keypoints)
    stream = Stream(oracle, 60.0)
    seen = observe(keypoints[Side.RIGHT], Side.RIGHT)
    stream([seen])
    assert len(stream([seen])) == 1 and len(oracle.calls) == 1
    assert len(stream([seen], encoder_searches=True)) == 2


def test_hands_in_a_detectors_boxes_are_encoded_without_landmarks():
    keypoints = hands(APART)
    oracle = Oracle(keypoints, stddev=0.14)
    boxes = {side: hand_box(CAMERA.project(keypoints[side])) for side in Side}
    stream = Stream(oracle)
    assert [observation.side for observation in stream([], boxes)] == list(Side)
    # They are followed for a while, and given up where no detector confirms them.
    found = [len(stream([])) for _ in range(30)]
    assert found[:10] == [2] * 10 and found[-5:] == [0] * 5
    oracle.stddev = 0.25
    assert Stream(oracle)([], boxes) == []


@pytest.mark.parametrize("rate", [15.0, 30.0, 60.0])
def test_tracks_last_while_the_order_of_occlusion_changes(rate):
    """First the left hand is the one that only the encoder predicts, then the right one, then the left one again."""
    keypoints = hands({Side.LEFT: -0.03, Side.RIGHT: 0.03})
    stream = Stream(Oracle(keypoints), rate)
    seen = {side: observe(keypoints[side], side) for side in Side}
    stream(list(seen.values()))
    ids = {side: stream.tracks.hands[side].track_id for side in Side}
    filters = {side: stream.tracks.hands[side].filter for side in Side}
    for front in (Side.RIGHT, Side.LEFT, Side.RIGHT):
        for _ in range(3):
            assert len(stream([seen[front]])) == 2
            for side, track in stream.tracks.hands.items():
                assert track.track_id == ids[side] and track.filter is filters[side]
