"""Anchors, suppression, crops and the squares that palms and landmarks ask for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hand_recon_ros.detect import palm, ssd, views
from hand_recon_ros.landmarks import crops, landmarks
from hand_recon_ros.landmarks.observation import RotatedBox

BOXES = st.builds(
    RotatedBox,
    st.tuples(st.floats(-500, 1500), st.floats(-500, 1500)),
    st.floats(2, 3000),
    st.floats(-math.pi, math.pi),
)


def test_anchors():
    anchors = ssd.anchors(palm.ANCHOR_GRIDS)
    assert anchors.shape == (24 * 24 * 2 + 12 * 12 * 6, 2)
    np.testing.assert_allclose(anchors[:4], [[0.5 / 24, 0.5 / 24]] * 2 + [[1.5 / 24, 0.5 / 24]] * 2)
    np.testing.assert_allclose(anchors[24 * 2], [0.5 / 24, 1.5 / 24])
    np.testing.assert_allclose(anchors[1152 : 1152 + 7], [[0.5 / 12, 0.5 / 12]] * 6 + [[1.5 / 12, 0.5 / 12]])
    np.testing.assert_allclose(anchors[-1], [11.5 / 12, 11.5 / 12])
    with pytest.raises(ValueError):
        anchors[0] = 0


def test_decoding():
    anchors = ssd.anchors(palm.ANCHOR_GRIDS)
    raw, logits = np.zeros((2016, 18), np.float32), np.full((2016, 1), -10.0, np.float32)
    raw[700] = [19.2, -9.6, 48, 24] + [1.92 * i for i in range(14)]
    logits[700] = 2.0
    logits[5] = -2.0
    scores, values = ssd.decode(raw, logits, anchors, 0.5, 192)
    assert scores == pytest.approx([1 / (1 + math.exp(-2))])
    x, y = anchors[700]
    np.testing.assert_allclose(values[0, :4], [x + 0.1 - 0.125, y - 0.05 - 0.0625, x + 0.1 + 0.125, y - 0.05 + 0.0625])
    np.testing.assert_allclose(values[0, 4:], [[x, y][i % 2] + 0.01 * i for i in range(14)])
    scores, _ = ssd.decode(raw, logits, anchors, 0.1, 192)
    assert len(scores) == 2 and scores[0] > scores[1]
    assert len(ssd.decode(raw, logits, anchors, 0.0, 192)[0]) == 2016
    assert len(ssd.decode(raw, logits, anchors, 1.0, 192)[0]) == 0


def test_overlap():
    box = np.array([0.0, 0.0, 2.0, 2.0])
    others = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [2, 2, 3, 3], [0, 0, 0, 0]], dtype=float)
    np.testing.assert_allclose(ssd.box_iou(box, others), [1, 1 / 3, 0, 0])


def test_suppression_averages_what_overlaps_and_keeps_the_rest():
    scores = np.array([0.9, 0.6, 0.5])
    values = np.array([[0, 0, 2, 2, 10.0], [0.2, 0, 2.2, 2, 40.0], [5, 5, 6, 6, 7.0]])
    merged_scores, merged = ssd.weighted_nms(scores, values)
    np.testing.assert_allclose(merged_scores, [0.9, 0.5])
    np.testing.assert_allclose(merged[0], [0.08, 0, 2.08, 2, (0.9 * 10 + 0.6 * 40) / 1.5])
    np.testing.assert_allclose(merged[1], values[2])
    empty_scores, empty = ssd.weighted_nms(np.zeros(0), np.zeros((0, 18)))
    assert empty_scores.shape == (0,) and empty.shape == (0, 18)


@given(BOXES, st.floats(-2, 3), st.floats(-2, 3))
def test_a_square_maps_there_and_back(box, x, y):
    point = np.array([x, y])
    np.testing.assert_allclose(box.from_image(box.to_image(point)), point, atol=1e-6)


def test_squares_point_up_by_their_angle():
    box = RotatedBox((10.0, 20.0), 4.0, math.pi / 2)  # up is to the right
    np.testing.assert_allclose(box.to_image([0.5, 0.0]), [12, 20], atol=1e-12)
    np.testing.assert_allclose(box.corners(), [[12, 18], [12, 22], [8, 22], [8, 18]], atol=1e-12)


def test_the_square_of_a_palm():
    # Box 20 x 10 about (50, 50), fingers to the right: shifted by half the height, 2.6 times the longer side.
    roi = crops.palm_box(np.array([40, 45, 60, 55.0]), np.array([45.0, 50]), np.array([55.0, 50]))
    assert roi.angle == pytest.approx(math.pi / 2)
    assert roi.center == pytest.approx((55, 50))
    assert roi.size == pytest.approx(52)


def test_the_square_for_tracking():
    keypoints = np.zeros((21, 2))
    keypoints[:, 0] = np.linspace(-10, 10, 21)
    keypoints[[5, 9, 13], 0] = 0.0
    keypoints[0] = (0, 0)
    keypoints[[5, 9, 13], 1] = -30.0
    keypoints[17, 1] = -40.0
    keypoints[8, 1] = -500.0  # tips do not count
    roi = crops.tracking_box(keypoints)
    bounding = keypoints[crops.TRACK_POINTS]
    low, high = bounding.min(axis=0), bounding.max(axis=0)
    assert roi.angle == pytest.approx(0.0)
    assert roi.size == pytest.approx(2.0 * 40)
    assert roi.center == pytest.approx(((low[0] + high[0]) / 2, -20 - 0.1 * 40))


@given(st.integers(0, 2**32 - 1), st.floats(-math.pi, math.pi), st.floats(0.2, 5), st.floats(-300, 300))
@settings(max_examples=50)
def test_the_square_for_tracking_goes_with_the_hand(seed, angle, scale, shift):
    keypoints = np.random.default_rng(seed).normal(size=(21, 2)) * 30 + np.arange(21)[:, None]
    turn = RotatedBox((0, 0), 1, angle).axes
    before = crops.tracking_box(keypoints)
    after = crops.tracking_box(keypoints @ turn.T * scale + shift)
    assert after.size == pytest.approx(before.size * scale)
    np.testing.assert_allclose(
        after.center, turn @ np.array(before.center) * scale + shift, atol=1e-6 * (1 + abs(shift))
    )
    assert math.cos(after.angle - before.angle - angle) == pytest.approx(1)


def _dots(height: int, width: int, points: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    image = np.zeros((height, width))
    for px, py in points:
        image += np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 9.0**2))
    return np.repeat(np.clip(image * 255, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("size", [150.0, 224.0, 400.0, 900.0])
@pytest.mark.parametrize("angle", [0.0, 0.7, -2.5])
def test_crops_show_the_image_where_they_say(size, angle):
    point = np.array([311.0, 234.0])
    image = _dots(480, 640, point[None])
    box = RotatedBox((320.0, 240.0), size, angle)
    out = np.empty((224, 224, 3), np.uint8)
    assert crops.crop(image, box, out) is out
    weights = out[..., 0].astype(float) ** 2
    y, x = np.mgrid[:224, :224]
    centroid = np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()
    np.testing.assert_allclose(box.to_image(centroid / 224), point, atol=0.6)


def test_borders_are_repeated_or_black():
    image = np.full((40, 40, 3), 200, np.uint8)
    out = np.empty((64, 64, 3), np.uint8)
    box = RotatedBox((0.0, 0.0), 60.0)
    assert (crops.crop(image, box, out) == 200).all()
    black = crops.crop(image, box, out, repeat_border=False)
    assert (black[:30, :30] == 0).all() and (black[34:, 34:] == 200).all()


@pytest.mark.parametrize("shape", [(480, 640), (640, 480), (1, 1), (3, 5000), (192, 192), (50, 70)])
def test_letterbox(shape):
    image = np.full((*shape, 3), 77, np.uint8)
    out = np.empty((192, 192, 3), np.uint8)
    box = crops.letterbox(image, out)
    assert box.size == pytest.approx(max(shape))
    inside = (out == 77).all(axis=-1)
    assert inside.mean() == pytest.approx(max(min(shape) / max(shape), 1 / 192), abs=0.01)
    np.testing.assert_allclose(box.center, (shape[1] / 2, shape[0] / 2), atol=max(shape) / 192)


def test_letterbox_keeps_places():
    point = np.array([501.0, 133.0])
    out = np.empty((192, 192, 3), np.uint8)
    box = crops.letterbox(_dots(480, 640, point[None]), out)
    weights = out[..., 0].astype(float) ** 2
    y, x = np.mgrid[:192, :192]
    centroid = np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()
    np.testing.assert_allclose(box.to_image(centroid / 192), point, atol=2.0)


@pytest.mark.parametrize("shape", [(480, 640), (1000, 300), (1, 1), (7, 4000)])
def test_views_cover_the_image(shape):
    height, width = shape
    assert len(views.turned(width, height)) == 5
    assert all(box.size >= max(shape) for box in views.turned(width, height))
    rng = np.random.default_rng(0)
    tiles = views.tiles(width, height)
    assert len(tiles) <= 4
    for point in rng.uniform((0, 0), (width, height), (50, 2)):
        assert any(((box.from_image(point) >= 0) & (box.from_image(point) <= 1)).all() for box in tiles)
    cycle = [views.of_attempt(attempt, width, height) for attempt in range(2 * (5 + len(tiles)))]
    assert cycle[::2] == [None] * (5 + len(tiles)) and set(cycle[1::2]) == {*views.turned(width, height), *tiles}


def test_landmarks_are_turned_back_into_the_image():
    roi = RotatedBox((100.0, 50.0), 448.0, math.pi / 2)
    screen = np.tile([112.0, 56.0, -4.0], (21, 1))
    screen[0, 2] = 4.0
    world = np.tile([0.0, -0.1, 0.02], (21, 1))
    hand = landmarks.decode((screen.reshape(63), np.array([0.9]), np.array([0.8]), world.reshape(63)), roi, 224)
    np.testing.assert_allclose(hand.keypoints, np.tile([212.0, 50.0], (21, 1)), atol=1e-9)  # up in the crop is right
    np.testing.assert_allclose(hand.world, np.tile([0.1, 0.0, 0.02], (21, 1)), atol=1e-9)
    np.testing.assert_allclose(hand.screen_depth[1:], -8 * 2 / 0.4)
    assert hand.screen_depth[0] == 0 and hand.presence == 0.9 and hand.right == 0.8


def _hand(keypoints: np.ndarray, presence: float = 0.9) -> landmarks.HandLandmarks:
    box = RotatedBox((0.0, 0.0), 1.0)
    return landmarks.HandLandmarks(keypoints, np.zeros(21), np.zeros((21, 3)), presence, 0.9, box)


def test_joint_scores():
    keypoints = np.linspace((0.0, 0.0), (100.0, 50.0), 21)
    scores = landmarks.joint_scores(_hand(keypoints), 101, 101)
    np.testing.assert_allclose(scores, 0.9)
    shifted = landmarks.joint_scores(_hand(keypoints - [10.0, 0]), 101, 101)
    assert shifted[0] == pytest.approx(0.9 / math.e) and shifted[-1] == pytest.approx(0.9)
    unsteady = np.full(21, 0.015)
    unsteady[3] = 0.0
    scores = landmarks.joint_scores(_hand(keypoints), 101, 101, unsteady)
    assert scores[3] == pytest.approx(0.9) and scores[4] == pytest.approx(0.9 / math.sqrt(2))
