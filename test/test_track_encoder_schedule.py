"""The encoder in a stream: in which images it runs, what serves in between, and hands that only it predicts."""

import dataclasses
import math

import numpy as np
import pytest
from evidence import CAMERA, hand, observe

from hand_recon_ros import HandState, Side
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.detect.pair_detector import BOTH, RegionHand, region_of
from hand_recon_ros.detect.palm import PalmDetection
from hand_recon_ros.encode.crop_frame import CropFrame
from hand_recon_ros.encode.other_hand import with_boxes, with_other_hand
from hand_recon_ros.landmarks.crops import alike, tracking_box
from hand_recon_ros.landmarks.landmarks import HandLandmarks
from hand_recon_ros.landmarks.observation import EncoderPrediction, RotatedBox
from hand_recon_ros.track.encoder_schedule import encode
from hand_recon_ros.track.locator import HandLocator, Located
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

    def landmarks(self, image, box, mirrored):
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
            other_box=tracking_box(CAMERA.project(self.keypoints[side.other])), other_visible=self.shown,
        )  # fmt: skip


class Stream:
    """The encoder in images that come at ``rate`` (Hz)."""

    def __init__(self, oracle, rate=30.0):
        self.oracle, self.tracks, self.rate, self.images = oracle, Tracks(), rate, 0

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


def test_hands_that_overlap_are_encoded_in_every_image():
    keypoints = hands({Side.LEFT: -0.01, Side.RIGHT: 0.01})
    oracle = Oracle(keypoints)
    stream = Stream(oracle)
    for _ in range(4):
        stream([observe(keypoints[side], side) for side in Side])
    assert len(oracle.calls) == 4


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
    assert mirrored and alike(first, box or tracking_box(pixels), 1e-6) and alike(second, tracking_box(pixels), 1e-6)


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
    own = tracking_box(CAMERA.project(keypoints[Side.LEFT]))
    # Also where the encoder itself is not sure that the other hand is visible.
    oracle = ByBox(keypoints, [(box, 0.02, in_box), (own, 0.01, in_own)], shown=0.2)
    seen = observe(keypoints[Side.RIGHT], Side.RIGHT)
    found = with_other_hand(oracle, IMAGE, seen, CAMERA, box=box)
    assert [observation.side for observation in found] == ([Side.RIGHT] if shift is None else list(Side))
    if shift is not None:
        expected = CAMERA.project(keypoints[Side.LEFT] - [shift, 0.0, 0.0])
        np.testing.assert_allclose(found[0].keypoints_2d, expected)
    assert {round(read.size, 6) for read, _ in oracle.boxes} == {150.0, round(own.size, 6)}


@pytest.mark.parametrize("certain", [False, True])
def test_a_hand_that_covers_the_other_point_by_point_needs_a_certain_detector(certain):
    keypoints = hands({Side.LEFT: -0.03, Side.RIGHT: 0.03})
    keypoints[Side.LEFT] = keypoints[Side.RIGHT] + [0.002, 0.0, 0.0]
    oracle = Oracle(keypoints)
    seen = observe(keypoints[Side.RIGHT], Side.RIGHT)
    box = tracking_box(CAMERA.project(keypoints[Side.LEFT]))
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
        (None, {}, 0.13),
        (None, {"detected": True}, 0.13),
        (RotatedBox((60.0, 400.0), 150.0), {}, 0.13),
        (RotatedBox((60.0, 400.0), 150.0), {"detected": True}, 0.2),
        (None, {"pair": True}, 0.25),
        (None, {"detected": True, "pair": True}, 0.25),
    ],
    ids=["beside", "detected beside", "away", "detected away", "certain", "detected, certain"],
)
def test_the_surer_a_detector_is_of_a_hand_the_less_certain_may_its_keypoints_be(box, settings, limit):
    keypoints = hands({Side.LEFT: -0.02, Side.RIGHT: 0.02})
    seen = observe(keypoints[Side.RIGHT], Side.RIGHT)
    boxes = {Side.LEFT: box or tracking_box(seen.keypoints_2d)}
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


class PretendedNetworks:
    """The landmark network sees the hands of ``seen``, each in boxes around it; the pair detector always sees both."""

    body, pair = None, True

    def __init__(self, keypoints):
        self.oracle, self.seen, self.score = Oracle(keypoints), list(Side), 0.9
        self.regions, self.palms = [], 0

    def box(self, side):
        return tracking_box(CAMERA.project(self.oracle.keypoints[side]))

    def detect_palms(self, image, threshold, view=None):
        self.palms += 1
        return [PalmDetection(0.9, np.zeros(4), self.box(side)) for side in self.seen]

    def read(self, image, rois, mirrored=False):
        return [self.read_one(roi) for roi in rois]

    def read_one(self, roi):
        distance, side = min((math.dist(roi.center, self.box(side).center), side) for side in self.seen)
        presence, right = 0.99 if distance < 0.3 * roi.size else 0.01, 0.97 if side == Side.RIGHT else 0.03
        pixels = CAMERA.project(self.oracle.keypoints[side])
        return HandLandmarks(pixels, np.zeros(21), np.zeros((21, 3)), presence, right, roi)

    def detect_pair(self, image, region):
        self.regions.append(region)
        left, right = (self.box(side) for side in Side)
        return RegionHand(Side.LEFT, self.score, left, -2.0), RegionHand(Side.RIGHT, 0.99, right, 2.0)


class CoveredHand(Stream):
    """Images in which hands are located and then encoded. In the fourth one the right hand comes to cover the left one
    point by point, or the left one turns away where it is (``beside``), so that its landmarks are not seen."""

    def __init__(self, rate=30.0, score=0.9, beside=False, apart=0.06):
        keypoints = hands({Side.LEFT: -apart / 2, Side.RIGHT: apart / 2})
        self.networks = PretendedNetworks(keypoints)
        super().__init__(self.networks.oracle, rate)
        self.locator = HandLocator(self.networks)
        assert [self.next_image()[0] for _ in range(3)] == [list(Side)] * 3
        self.last_left = self.networks.box(Side.LEFT)
        self.networks.seen, self.networks.score = [Side.RIGHT], score
        if not beside:
            keypoints[Side.LEFT] = keypoints[Side.RIGHT] + [0.002, 0.0, 0.0]

    def next_image(self):
        """The sides of the hands, and whether the pair detector is certain of both."""
        pair, self.networks.regions, self.networks.palms = [], [], 0

        def locate(frame):
            located = self.locator.locate(frame, self.tracks, ReconstructorConfig())
            pair.append(located.pair)
            return located

        return [observation.side for observation in self.image(locate)], pair[0]

    @property
    def is_evaluated(self):
        """Whether the last image had one evaluation of the pair detector, around the right hand and the left one's last
        box; a search step of this detector has a second one."""
        if len(self.networks.regions) != 1:
            return False
        own, last = self.networks.box(Side.RIGHT), (self.last_left, self.networks.box(Side.LEFT))
        return any(alike(self.networks.regions[0], region_of([own, other]), 1e-6) for other in last)


@pytest.mark.parametrize(("rate", "images"), [(15.0, 2), (30.0, 3), (60.0, 6)])
def test_a_covered_hand_is_kept_while_the_pair_detector_is_certain(rate, images):
    stream = CoveredHand(rate)
    track, evaluated = stream.tracks.hands[Side.LEFT].track_id, []
    for image in range(6 * images):
        assert stream.next_image() == (list(Side), True)
        if stream.is_evaluated:
            evaluated.append(image)
            assert stream.networks.palms == 0  # no other search step in this image
    assert evaluated == [turn * images for turn in range(6)]
    assert stream.tracks.hands[Side.LEFT].track_id == track
    observation = stream.tracks.hands[Side.LEFT].observation
    np.testing.assert_allclose(observation.keypoints_2d, CAMERA.project(stream.oracle.keypoints[Side.LEFT]))
    assert not observation.joint_scores.any()


def test_a_covered_hand_is_lost_where_the_pair_detector_is_not_certain():
    stream = CoveredHand(score=BOTH - 0.01)
    assert stream.next_image() == ([Side.RIGHT], False) and stream.is_evaluated
    for _ in range(7):
        assert stream.next_image() == ([Side.RIGHT], False) and not stream.is_evaluated  # there is no last box
    assert stream.tracks.hands[Side.LEFT].state.state == HandState.LOST


def test_a_covered_hand_is_lost_within_a_tenth_of_a_second_once_the_pair_detector_is_not_certain():
    stream = CoveredHand()
    assert [stream.next_image() for _ in range(4)] == [(list(Side), True)] * 4
    stream.networks.score = BOTH - 0.01
    assert [stream.next_image() for _ in range(2)] == [(list(Side), True)] * 2
    assert [stream.next_image() for _ in range(4)] == [([Side.RIGHT], False)] * 4


def test_without_a_pair_detector_a_covered_hand_is_lost():
    stream = CoveredHand()
    stream.networks.pair = None
    assert stream.next_image() == ([Side.RIGHT], False) and stream.networks.regions == []


@pytest.mark.parametrize(("apart", "evaluated"), [(0.06, True), (0.4, False)])
def test_a_hand_that_only_the_encoder_follows_is_evaluated_where_it_may_be_covered(apart, evaluated):
    stream = CoveredHand(score=BOTH - 0.01, beside=True, apart=apart)
    images = []
    for image in range(7):
        # The encoder does not need the pair detector for a hand that is elsewhere in the image.
        assert stream.next_image() == (list(Side), False)
        images += [image] * stream.is_evaluated
    assert images == ([0, 3, 6] if evaluated else [])


def test_hands_in_a_detectors_boxes_are_encoded_without_landmarks():
    keypoints = hands(APART)
    oracle = Oracle(keypoints, stddev=0.15)
    boxes = {side: tracking_box(CAMERA.project(keypoints[side])) for side in Side}
    stream = Stream(oracle)
    assert [observation.side for observation in stream([], boxes)] == list(Side)
    # They are followed for a while, and given up where no detector confirms them.
    found = [len(stream([])) for _ in range(30)]
    assert found[:10] == [2] * 10 and found[-5:] == [0] * 5
    oracle.stddev = 0.25
    assert Stream(oracle)([], boxes) == []


def test_a_box_without_a_hand_does_not_change_the_other_prediction():
    keypoints = hands(APART)
    oracle = Oracle(keypoints)
    seen = observe(keypoints[Side.RIGHT], Side.RIGHT)
    oracle.keypoints = {**keypoints, Side.LEFT: keypoints[Side.RIGHT]}  # both crops show the same hand
    (only,) = with_boxes(oracle, IMAGE, [seen], {Side.LEFT: RotatedBox((300.0, 200.0), 150.0)}, CAMERA)
    assert only.side == Side.RIGHT and oracle.calls[-1] == [Side.RIGHT]


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


@pytest.mark.parametrize("side", Side)
def test_a_box_as_features_and_back(side):
    frame = CropFrame(RotatedBox((310.0, 250.0), 180.0, 0.4), side, CAMERA)
    square = RotatedBox((350.0, 190.0), 150.0, -1.1)
    assert alike(frame.box_out(frame.pair_features(CropFrame(square, side.other, CAMERA))), square, 1e-9)
