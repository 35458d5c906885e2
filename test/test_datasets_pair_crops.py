"""Training crops of the pair detector: regions, ground truth in them, replaced backgrounds and augmentation."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest

from hand_recon_ros import Side
from hand_recon_ros.datasets import pair_crops
from hand_recon_ros.datasets.image_augmentation import augmented
from hand_recon_ros.datasets.pair_crops import HandPicture, box_around, pair_crop, random_region
from hand_recon_ros.detect.pair_detector import decode, region_of
from hand_recon_ros.landmarks.crops import crop
from hand_recon_ros.landmarks.hand_keypoints import hand_box
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.skeleton import mirror_pixels

SIZE, LARGE = 160, 320
# An upright right hand around its wrist: five fingers of four keypoints, 18 pixels apart, the thumb on the left.
RIGHT = np.array([[0, 0], *[[18 * (f - 2), -30 - 18 * j] for f in range(5) for j in range(4)]], dtype=float)
LEFT = RIGHT * (-1, 1)
KNOWN = np.ones(2, dtype=bool)


def rotated(points, angle):
    cos, sin = math.cos(angle), math.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def picture(left=True, right=True, known=KNOWN, **masks):
    """400 x 300 pixels with a disc of its own colour at each keypoint."""
    image = np.full((300, 400, 3), 20, np.uint8)
    keypoints = np.full((2, 21, 2), np.nan)
    if left:
        keypoints[Side.LEFT] = rotated(LEFT, 0.4) + (110.25, 180.5)
    if right:
        keypoints[Side.RIGHT] = rotated(RIGHT, -0.2) + (270.5, 190.75)
    for (side, keypoint), (x, y) in zip(np.ndindex(2, 21), keypoints.reshape(-1, 2), strict=True):
        if math.isfinite(x):
            center = (round(x * 16), round(y * 16))
            cv2.circle(image, center, 7 * 16, colour(side, keypoint), -1, cv2.LINE_AA, shift=4)
    return HandPicture(image, keypoints, known, **masks)


def boxed(right=True):
    """The left hand has only an annotated box, 100 x 50 pixels."""
    return picture(left=False, right=right, boxes=np.array([[60.0, 90.0, 160.0, 140.0], [np.nan] * 4]))


def colour(side, keypoint):
    return (80 + 40 * (keypoint % 5), 80 + 40 * (keypoint // 5), 255 if side else 130)


def centers_of_discs(image, side):
    """Where the discs of a side are in a crop, pixels (21, 2)."""
    found = []
    for keypoint in range(21):
        similar = np.abs(image.astype(int) - colour(side, keypoint)).max(axis=-1) < 8
        _, _, statistics, centers = cv2.connectedComponentsWithStats(similar.astype(np.uint8))
        largest = 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()  # others are at the edges of discs of another colour
        found.append(centers[largest])
    return np.array(found)


class Scripted:
    """A generator whose ``random`` returns given numbers."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def random(self):
        return self.numbers.pop(0)

    def uniform(self, *arguments):
        return np.random.default_rng(0).uniform(*arguments)


PLAIN, MIRRORED = (0.9,), (0.1,)


@pytest.fixture
def no_augmentation(monkeypatch):
    monkeypatch.setattr(pair_crops, "augmented", lambda image, rng: image.copy())


def present_of(picture, region):
    return pair_crop(picture, region, SIZE, Scripted(*PLAIN)).present


def test_a_hand_has_the_box_and_the_points_of_its_keypoints_or_of_its_annotated_box():
    known = boxed()
    assert known.roi(Side.RIGHT) == hand_box(known.keypoints[Side.RIGHT])
    np.testing.assert_array_equal(known.points(Side.RIGHT), known.keypoints[Side.RIGHT])
    left = known.roi(Side.LEFT)
    assert left.center == (110, 115) and left.size == pytest.approx(142) and left.angle == 0
    points = known.points(Side.LEFT)
    np.testing.assert_allclose([points.min(axis=0), points.mean(axis=0), points.max(axis=0)],
                               [(70, 95), (110, 115), (150, 135)])  # fmt: skip
    assert boxed(right=False).roi(Side.RIGHT) is None


def test_sides_are_known_and_no_hand_has_only_a_box_unless_stated():
    known = picture()
    assert known.sided.all() and known.sided.dtype == bool and np.isnan(known.boxes).all()
    assert known.sided is not picture().sided and known.boxes is not picture().boxes


REGIONS = [RotatedBox((200.0, 150.0), 290.0), RotatedBox((195.0, 145.0), 330.0, 0.7), RotatedBox((190, 150), 300, -2.5)]


@pytest.mark.parametrize("region", REGIONS)
def test_targets_are_the_boxes_of_the_hands_in_the_crop(no_augmentation, region):
    known = picture()
    sample = pair_crop(known, region, LARGE, Scripted(*PLAIN))
    assert sample.image.shape == (LARGE, LARGE, 3) and sample.image.dtype == np.uint8
    assert {array.dtype for array in sample[1:]} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(sample.present, [1, 1])
    for side in Side:
        points = centers_of_discs(sample.image, side)
        np.testing.assert_allclose(sample.keypoints[side], region.from_image(known.keypoints[side]), atol=1e-6)
        np.testing.assert_allclose(sample.keypoints[side] * LARGE, points, atol=0.4)
        box = hand_box(points)
        np.testing.assert_allclose(sample.values[side, :2] * LARGE, box.center, atol=0.3)
        assert sample.values[side, 2] == pytest.approx(math.log(box.size / LARGE), abs=0.01)
        np.testing.assert_allclose(sample.values[side, 3:], (math.cos(box.angle), math.sin(box.angle)), atol=0.01)


@pytest.mark.parametrize("region", REGIONS)
def test_decoded_targets_are_the_tracking_boxes_in_the_picture(no_augmentation, region):
    known = picture()
    values = pair_crop(known, region, SIZE, Scripted(*PLAIN)).values
    for hand in decode(np.concatenate([[[9, -9], [9, 9]], values], axis=1), region):
        box = hand_box(known.keypoints[hand.side])
        np.testing.assert_allclose(hand.roi.center, box.center, atol=1e-3)
        assert hand.roi.size == pytest.approx(box.size, rel=1e-5)
        assert math.cos(hand.roi.angle - box.angle) == pytest.approx(1.0)


@pytest.mark.parametrize("region", REGIONS)
def test_the_mirrored_crop_has_the_other_side(no_augmentation, region):
    known = picture()
    plain = pair_crop(known, region, LARGE, Scripted(*PLAIN))
    mirrored = pair_crop(known, region, LARGE, Scripted(*MIRRORED))
    np.testing.assert_array_equal(mirrored.image, plain.image[:, ::-1])
    for side in Side:
        points = centers_of_discs(mirrored.image, side)
        np.testing.assert_allclose(mirrored.keypoints[side.other] * LARGE, points, atol=0.4)
        expected = mirror_pixels(plain.keypoints[side] * LARGE, LARGE)
        np.testing.assert_allclose(mirrored.keypoints[side.other] * LARGE, expected, atol=1e-3)
        np.testing.assert_allclose(mirrored.values[side.other, :2] * LARGE, hand_box(points).center, atol=0.3)
        np.testing.assert_allclose(mirrored.values[side.other, 2:4], plain.values[side, 2:4])
        np.testing.assert_allclose(mirrored.values[side.other, 4], -plain.values[side, 4])
    one = pair_crop(picture(right=False), region, LARGE, Scripted(*MIRRORED))
    np.testing.assert_array_equal(one.present, [0, 1])
    assert np.isnan(one.values[Side.LEFT]).all() and np.isfinite(one.values[Side.RIGHT]).all()
    assert np.isnan(one.keypoints[Side.LEFT]).all() and np.isfinite(one.keypoints[Side.RIGHT]).all()


@pytest.mark.parametrize(("mirror", "expected"), [(PLAIN, [1, 0]), (MIRRORED, [0, 1])])
def test_the_known_side_is_mirrored_with_the_hand(no_augmentation, mirror, expected):
    known = picture(sided=np.array([True, False]))
    sample = pair_crop(known, REGIONS[0], SIZE, Scripted(*mirror))
    np.testing.assert_array_equal(sample.sided, expected)


@pytest.mark.parametrize(("mirror", "side"), [(PLAIN, Side.LEFT), (MIRRORED, Side.RIGHT)])
def test_of_an_annotated_box_center_and_size_are_targets(no_augmentation, mirror, side):
    region = RotatedBox((190.0, 160.0), 300.0, 0.3)
    sample = pair_crop(boxed(), region, SIZE, Scripted(*mirror))
    np.testing.assert_array_equal(sample.present, [1, 1])
    center = region.from_image(np.array([110.0, 115.0])) * SIZE
    if mirror == MIRRORED:
        center = mirror_pixels(center, SIZE)
    np.testing.assert_allclose(sample.values[side, :2] * SIZE, center, atol=1e-3)
    assert sample.values[side, 2] == pytest.approx(math.log(142 / 300))
    assert np.isnan(sample.values[side, 3:]).all() and np.isnan(sample.keypoints[side]).all()
    assert np.isfinite(sample.values[side.other]).all() and np.isfinite(sample.keypoints[side.other]).all()


@pytest.mark.parametrize(
    ("edge", "present", "target"),
    [(160, 1, True), (115, 1, True), (95, math.nan, True), (75, math.nan, False), (65, 0, False)],
)
def test_presence_follows_from_the_share_of_an_annotated_box_inside(no_augmentation, edge, present, target):
    region = RotatedBox((edge - 100.0, 115.0), 200.0)
    sample = pair_crop(boxed(right=False), region, SIZE, Scripted(*PLAIN))
    np.testing.assert_array_equal(sample.present, [present, 0])
    assert np.isfinite(sample.values[Side.LEFT, :3]).all() == target


@pytest.mark.parametrize(
    ("inside", "present", "boxed"),
    [(21, 1, True), (13, 1, True), (12, math.nan, True), (9, math.nan, True), (8, math.nan, False),
     (4, math.nan, False), (3, 0, False), (1, 0, False)],
)  # fmt: skip
@pytest.mark.parametrize("cut_by", ["region", "picture"])
def test_presence_follows_from_the_share_of_keypoints_inside(no_augmentation, inside, present, boxed, cut_by):
    keypoints = np.full((2, 21, 2), np.nan)
    keypoints[Side.LEFT] = np.stack([10.0 * np.arange(21) + 5, np.full(21, 110.0)], axis=1)
    length = 10.0 * inside
    if cut_by == "region":
        image, region = np.zeros((220, 220, 3), np.uint8), RotatedBox((length / 2, 110.0), length)
    else:
        image, region = np.zeros((220, int(length), 3), np.uint8), RotatedBox((110.0, 110.0), 230.0)
    sample = pair_crop(HandPicture(image, keypoints, KNOWN), region, SIZE, Scripted(*PLAIN))
    np.testing.assert_array_equal(sample.present, [present, 0])
    for target in (sample.values, sample.keypoints):
        assert np.isfinite(target[Side.LEFT]).all() == boxed and np.isnan(target[Side.RIGHT]).all()


def test_a_side_that_may_be_present_does_not_count(no_augmentation):
    region = RotatedBox((200.0, 150.0), 290.0)
    np.testing.assert_array_equal(present_of(picture(right=False), region), [1, 0])
    np.testing.assert_array_equal(present_of(picture(right=False, known=~KNOWN), region), [1, math.nan])
    np.testing.assert_array_equal(present_of(picture(False, False, known=~KNOWN), region), [math.nan, math.nan])


def test_the_background_replaces_only_what_is_not_foreground(no_augmentation):
    foreground = np.zeros((300, 400), bool)
    foreground[100:200, 150:250] = True
    known = picture(foreground=foreground, skin=foreground)
    region = RotatedBox((200.0, 150.0), 160.0)
    background = np.full((SIZE, SIZE, 3), (250, 3, 3), np.uint8)
    plain = crop(known.image, region, np.empty((SIZE, SIZE, 3), np.uint8), repeat_border=False)
    sample = pair_crop(known, region, SIZE, Scripted(0.9, *PLAIN), background)
    inside = np.zeros((SIZE, SIZE), bool)
    inside[30:130, 30:130] = True
    near = cv2.dilate(inside.astype(np.uint8), np.ones((5, 5))) != cv2.erode(inside.astype(np.uint8), np.ones((5, 5)))
    np.testing.assert_array_equal(sample.image[inside & ~near], plain[inside & ~near])
    np.testing.assert_array_equal(sample.image[~inside & ~near], background[~inside & ~near])
    unmarked = pair_crop(picture(), region, SIZE, Scripted(*PLAIN), background)
    np.testing.assert_array_equal(unmarked.image, plain)


def test_gloves_colour_only_the_hands(no_augmentation):
    skin = np.zeros((300, 400), bool)
    skin[100:200, 150:250] = True
    known = picture(foreground=np.ones_like(skin), skin=skin)
    region = RotatedBox((200.0, 150.0), 160.0)
    plain = crop(known.image, region, np.empty((SIZE, SIZE, 3), np.uint8), repeat_border=False)
    dyed = pair_crop(known, region, SIZE, Scripted(0.1, 0.1, *PLAIN)).image
    changed = (dyed != plain).any(axis=-1)
    assert changed[32:128, 32:128].mean() > 0.9
    assert not changed[:28].any() and not changed[132:].any()


def test_a_crop_is_a_function_of_the_generator():
    known = picture(foreground=np.ones((300, 400), bool), skin=np.ones((300, 400), bool))
    first, again, other = (
        pair_crop(known, random_region(known, rng), 64, rng) for rng in map(np.random.default_rng, (3, 3, 4))
    )
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first.image != other.image).any()


def test_augmentation_keeps_shape_and_type():
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    before = image.copy()
    results = []
    for seed in range(80):
        result = augmented(image, np.random.default_rng(seed))
        assert result.shape == image.shape and result.dtype == np.uint8
        results.append(result)
        np.testing.assert_array_equal(augmented(image[:, ::-1][:, ::-1], np.random.default_rng(seed)), result)
    np.testing.assert_array_equal(image, before)
    assert len({result.tobytes() for result in results}) == len(results)


def inside(region, points):
    return float(((region.from_image(points) > 0) & (region.from_image(points) < 1)).all(axis=1).mean())


def test_random_regions_mostly_contain_the_hands():
    known = picture()
    shares = np.array(
        [[inside(random_region(known, rng), points) for points in known.keypoints]
         for rng in map(np.random.default_rng, range(500))]
    )  # fmt: skip
    assert (shares.max(axis=1) > 0.6).mean() > 0.9
    assert 0.45 < (shares.min(axis=1) > 0.6).mean() < 0.9  # both hands
    assert (shares.max(axis=1) < 0.15).mean() < 0.06  # neither
    # Each of the two is the only one as often as the other.
    only = [((shares[:, side] > 0.6) & (shares[:, 1 - side] < 0.15)).mean() for side in Side]
    assert min(only) > 0.03 and max(only) < 2 * min(only)


def regions_of(picture):
    return [random_region(picture, rng) for rng in map(np.random.default_rng, range(300))]


def test_random_regions_of_one_hand_and_of_none():
    one, none = picture(left=False), picture(left=False, right=False)
    regions = regions_of(one)
    assert np.mean([inside(region, one.keypoints[Side.RIGHT]) > 0.6 for region in regions]) > 0.85
    box = hand_box(one.keypoints[Side.RIGHT])
    sizes = np.array([region.size for region in regions]) / box.size
    assert sizes.min() < 0.8 and sizes.max() > 1.8  # tight and wide
    for rng in map(np.random.default_rng, range(50)):
        region = random_region(none, rng)
        assert 0 <= region.center[0] <= 400 and 0 <= region.center[1] <= 300 and 80 <= region.size <= 360


def test_random_regions_contain_a_hand_with_only_an_annotated_box():
    known = boxed(right=False)
    shares = [inside(region, known.points(Side.LEFT)) for region in regions_of(known)]
    assert np.mean(np.array(shares) > 0.6) > 0.85


def test_random_regions_are_around_what_was_mistaken_for_a_hand():
    shown = dataclasses.replace(picture(), mistaken=np.array([20.0, 30.0, 50.0, 60.0]))
    rng = np.random.default_rng(5)
    regions = [random_region(shown, rng) for _ in range(200)]
    around = [region for region in regions if inside(region, np.array([[35.0, 45.0]])) == 1]
    assert len(around) > 170
    sizes = np.array([region.size for region in around])
    assert np.median(sizes) < 100 and sizes.max() / sizes.min() > 3


def test_a_box_around_a_crop_is_the_one_whose_crop_it_is():
    square = np.array([60.0, 90.0, 130.0, 160.0])
    shown = picture(left=False, boxes=np.array([square, [np.nan] * 4]))
    np.testing.assert_allclose(box_around(shown.roi(Side.LEFT)), square)


def test_half_of_the_random_regions_are_not_larger_than_the_picture():
    sizes = np.array([region.size for region in regions_of(picture(left=False))])
    limited, larger = (sizes == 300).sum(), (sizes > 300).sum()  # the picture is 400 x 300
    assert limited > 20 and 0.7 < limited / larger < 1.4


def test_the_limit_leaves_room_for_the_hands():
    whole = picture(left=False)
    part = dataclasses.replace(whole, image=whole.image[:60, :80])
    extent = region_of([whole.roi(Side.RIGHT)], 1.0).size
    sizes = np.array([region.size for region in regions_of(part)])
    around = sizes[sizes > 80]  # those without hands are smaller
    assert extent > 80 and len(around) > 250
    assert around.min() == pytest.approx(0.9 * extent) and (around < 0.901 * extent).sum() > 100


def test_channels_are_exchanged_in_some_crops():
    blue = np.full((32, 32, 3), (200, 60, 20), np.uint8)
    strongest = [int(augmented(blue, np.random.default_rng(seed)).mean(axis=(0, 1)).argmax()) for seed in range(200)]
    assert set(strongest) == {0, 1, 2}
    assert strongest.count(0) > 150
