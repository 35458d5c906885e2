"""Pairs made of two photographs: where the pasted hand is, what it looks like, and what stays as it was."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from hand_recon_ros import Side
from hand_recon_ros.datasets.pair_crops import HandPicture
from hand_recon_ros.landmarks.hand_keypoints import hand_box
from hand_recon_ros.skeleton import INDEX_MCP, MIDDLE_MCP, PINKY_MCP, TIPS, WRIST
from hand_recon_ros.training.pasted_hands import with_second_hand

# An upright right hand around its wrist: five fingers of four keypoints, fanned out, the thumb on the left.
ANGLES = 0.35 * (np.arange(5) - 2)
RIGHT = np.array([[0, 0], *[[r * math.sin(a), -r * math.cos(a)] for a in ANGLES for r in (34, 46, 58, 70)]])
LARGE, SMALL = (480, 400), (240, 200)
SIDES = pytest.mark.parametrize(("side", "source"), [(side, source) for side in Side for source in Side])


def picture(side, size, colour=(0, 0, 0)):
    """A hand in the middle of a picture of one colour, or of noise without a colour."""
    width, height = size
    keypoints = np.full((2, 21, 2), np.nan)
    keypoints[side] = RIGHT * (1 if side == Side.RIGHT else -1, 1) + (width / 2 + 0.25, height / 2 + 30.5)
    image = np.empty((height, width, 3), np.uint8)
    image[:] = colour if colour is not None else np.random.default_rng(width).integers(0, 256, image.shape)
    return HandPicture(image, keypoints, np.ones(2, dtype=bool))


def pasted(first, second, seed):
    return with_second_hand(first, second, np.random.default_rng(seed))


def length(points):
    return math.dist(points[WRIST], points[MIDDLE_MCP])


@SIDES
def test_the_keypoints_are_where_their_pixels_are(side, source):
    """With a light at one keypoint of the pasted hand, and black elsewhere."""
    first, second = picture(side, LARGE), picture(source, SMALL)
    for keypoint, (x, y) in enumerate(second.keypoints[source]):
        second.image[:] = 0
        cv2.circle(second.image, (round(x * 16), round(y * 16)), 3 * 16, (255, 255, 255), -1, cv2.LINE_AA, shift=4)
        result = pasted(first, second, 8)
        light = result.image.sum(axis=-1)
        found = [np.average(positions, weights=light) for positions in np.indices(light.shape)[::-1]]
        np.testing.assert_allclose(found, result.keypoints[side.other, keypoint], atol=0.3)


def chirality(points):
    a, b = points[INDEX_MCP] - points[WRIST], points[PINKY_MCP] - points[WRIST]
    return np.sign(a[0] * b[1] - a[1] * b[0])


@SIDES
def test_the_second_hand_is_of_the_other_side_and_of_the_same_shape(side, source):
    first, second = picture(side, LARGE), picture(source, SMALL)
    result = pasted(first, second, 3)
    np.testing.assert_array_equal(result.keypoints[side], first.keypoints[side])
    points, original = result.keypoints[side.other], second.keypoints[source]
    assert chirality(points) == -chirality(first.keypoints[side])
    factor = length(points) / length(original)
    distances = [np.linalg.norm(hand[:, None] - hand, axis=-1) for hand in (points, original)]
    np.testing.assert_allclose(distances[0], factor * distances[1], atol=1e-9)
    assert result.known.all() and result.sided.all() and np.isnan(result.boxes).all()
    assert result.foreground is None and result.skin is None


def test_the_second_hand_is_near_the_first_and_of_similar_size():
    first, second = picture(Side.LEFT, SMALL), picture(Side.RIGHT, SMALL)
    second.keypoints[Side.RIGHT] *= 0.5
    own = hand_box(first.keypoints[Side.LEFT])
    boxes = [hand_box(pasted(first, second, seed).keypoints[Side.RIGHT]) for seed in range(100)]
    distances = np.array([math.dist(box.center, own.center) for box in boxes]) / own.size
    assert 0.1 <= distances.min() < 0.2 and 1.0 < distances.max() <= 1.1
    sizes = np.array([box.size for box in boxes]) / own.size
    assert np.median(sizes) == pytest.approx(1.0, abs=0.1) and sizes.min() > 0.5 and sizes.max() < 2.0
    # In every direction from the first, and turned by up to 0.8 radians.
    directions = {tuple(np.sign(np.array(box.center) - own.center)) for box in boxes}
    assert directions == {(x, y) for x in (-1, 1) for y in (-1, 1)}
    turns = np.array([box.angle for box in boxes]) - hand_box(second.keypoints[Side.RIGHT]).angle
    assert -0.8 <= turns.min() < -0.6 and 0.6 < turns.max() <= 0.8


@pytest.mark.parametrize("seed", range(5))
def test_only_the_outline_of_the_hand_is_pasted(seed):
    first, second = picture(Side.LEFT, LARGE, None), picture(Side.RIGHT, SMALL, None)
    result = pasted(first, second, seed)
    points = result.keypoints[Side.RIGHT]
    changed = (result.image != first.image).any(axis=-1)
    hull = np.ones(changed.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.rint(points).astype(np.int32)), 0)
    away = cv2.distanceTransform(hull, cv2.DIST_L2, 5)
    assert not changed[away > 1.2 * length(points) + 5].any()  # the wrist is a part of the outline
    # Between the tips of neighbouring fingers one sees the first picture.
    for between in (points[TIPS][1:] + points[TIPS][:-1]) / 2:
        x, y = np.rint(between).astype(int)
        assert not changed[y - 1 : y + 2, x - 1 : x + 2].any()
    for x, y in np.rint(points).astype(int):
        assert changed[y, x]


def test_the_colour_becomes_similar_to_that_of_the_first_hand():
    dark, bright = picture(Side.LEFT, LARGE, (40, 40, 40)), picture(Side.RIGHT, SMALL, (200, 100, 40))
    for seed in range(20):
        result = pasted(dark, bright, seed)
        x, y = np.rint(result.keypoints[Side.RIGHT, [WRIST, MIDDLE_MCP]].mean(axis=0)).astype(int)
        blue, green, red = result.image[y, x].astype(int)
        assert 40 <= blue < 145 and 40 <= green < 85 and abs(red - 40) <= 1


def test_a_pair_is_a_function_of_the_generator_and_leaves_its_pictures_as_they_are():
    pictures = picture(Side.LEFT, LARGE, None), picture(Side.LEFT, SMALL, None)
    before = [(one.image.copy(), one.keypoints.copy()) for one in pictures]
    result, again, other = (pasted(*pictures, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(result.image, again.image)
    np.testing.assert_array_equal(result.keypoints, again.keypoints)
    assert (result.image != other.image).any() and (result.keypoints != other.keypoints).any()
    for one, (image, keypoints) in zip(pictures, before, strict=True):
        np.testing.assert_array_equal(one.image, image)
        np.testing.assert_array_equal(one.keypoints, keypoints)
