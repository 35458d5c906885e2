"""Bodies and the hands of a person: decoding against hand-made tensors, geometry, and the networks on a photograph."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import pathlib

import cv2
import numpy as np
import pytest
from skimage import data

from hand_recon_ros import Side
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.detect import body, ssd
from hand_recon_ros.detect.body import BodyPose
from hand_recon_ros.detect.body_networks import BodyNetworks
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.runtime.model_files import ModelFileError

CROP = RotatedBox((400.0, 300.0), 512.0)
"""Of a pose: one pixel of the crop is two pixels of the image."""

# Points 15 to 20 of the cameraman (pixels), and x, y, size and angle of the boxes of his left and right hand, as the
# MediaPipe framework 0.10.21 gives them in static image mode; tools/compare_body_pose.py. In the whole photograph the
# heatmap of a finger is at the threshold of the refinement, so its upper edge is cut off.
FRAMEWORK_ROWS = slice(40, None)
FRAMEWORK_POINTS = [[281.5, 166.7], [246.2, 196.1], [292.2, 151.4], [272.3, 180.4], [292.1, 147.3], [261.9, 148.7]]
FRAMEWORK_BOXES = [[297.869, 130.219, 83.54, 0.393], [259.823, 126.555, 137.251, 0.43]]


@pytest.fixture(scope="module")
def networks() -> BodyNetworks:
    return BodyNetworks.load(ReconstructorConfig())


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    """A woman from the waist up, facing the camera; her hands are below the image."""
    return np.ascontiguousarray(data.astronaut()[..., ::-1])


@pytest.fixture(scope="module")
def cameraman() -> np.ndarray:
    """A man seen from his side, who holds a camera with both hands."""
    return cv2.cvtColor(data.camera(), cv2.COLOR_GRAY2BGR)


def pose_of(networks: BodyNetworks, image: np.ndarray) -> BodyPose:
    (detection,) = networks.detect(image)
    return networks.read(image, detection.roi)


def pose_tensors() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All 39 points at the middle of the crop, on no peak of their heatmaps."""
    raw = np.zeros((39, 5), np.float32)
    raw[:, :2] = 128.0
    return raw, np.array([0.9], np.float32), np.full((64, 64, 39), -20.0, np.float32)


def hand_pose(wrist, index, little, side=Side.RIGHT, visibility=0.9) -> BodyPose:
    points, visibilities = np.zeros((body.POINT_COUNT, 2)), np.zeros(body.POINT_COUNT)
    for pair, point in ((body.WRISTS, wrist), (body.INDEX_FINGERS, index), (body.LITTLE_FINGERS, little)):
        points[pair[side]] = point
    visibilities[body.WRISTS[side]] = visibility
    return BodyPose(1.0, points, visibilities, RotatedBox((0.0, 0.0), 10.0))


def test_anchors_are_those_of_the_graph_file():
    anchors = ssd.anchors(body.ANCHOR_GRIDS)
    assert anchors.shape == (2254, 2)
    np.testing.assert_allclose(anchors[2], [1.5 / 28, 0.5 / 28])
    np.testing.assert_allclose(anchors[28 * 28 * 2 + 14 * 2], [0.5 / 14, 1.5 / 14])
    np.testing.assert_allclose(anchors[[-7, -6]], [[5.5 / 7, 6.5 / 7], [6.5 / 7, 6.5 / 7]])


def test_detections_of_one_person_are_merged_and_map_to_the_image():
    raw, logits = np.zeros((2254, 12), np.float32), np.full((2254, 1), -10.0, np.float32)
    near, far = 28 * 14 * 2 + 28, 0
    center = ssd.anchors(body.ANCHOR_GRIDS)[near] * 224
    for index, anchor, logit in ((0, near, 2.0), (1, near + 1, 1.0), (2, far, 0.5)):
        raw[anchor, 2:4] = 45.0
        raw[anchor, 4:8] = [0.0, 22.4, 0.0, -44.8] if index < 2 else [5.0, 5.0, 5.0, 16.2]
        logits[anchor] = logit
    view = RotatedBox((320.0, 240.0), 448.0, math.pi / 2)  # up in the view is to the right in the image
    first, second = body.bodies_in(raw, logits, 0.5, view)
    assert first.score == pytest.approx(1 / (1 + math.exp(-2))) and second.score == pytest.approx(
        1 / (1 + math.exp(-0.5))
    )
    hip_x, hip_y = center[0], center[1] + 22.4
    np.testing.assert_allclose(first.roi.center, [320 - 2 * (hip_y - 112), 240 + 2 * (hip_x - 112)], atol=1e-3)
    assert first.roi.size == pytest.approx(2 * 1.25 * 2 * 67.2, rel=1e-5)
    assert first.roi.angle == pytest.approx(math.pi / 2, abs=1e-6)
    assert abs(second.roi.angle) == pytest.approx(math.pi / 2, abs=1e-6)  # head down in the view
    assert second.roi.size == pytest.approx(2 * 1.25 * 2 * 11.2, rel=1e-5)
    assert len(body.bodies_in(raw, logits, 0.7, view)) == 1


def test_a_pose_in_pixels_of_the_image():
    raw, presence, heatmaps = pose_tensors()
    raw[15] = [64.0, 192.0, 7.0, math.log(3), 0.0]
    raw[33, :2], raw[34, :2] = [128.0, 128.0], [228.0, 128.0]
    pose = body.pose_in((raw.reshape(-1), presence, heatmaps), dataclasses.replace(CROP, angle=math.pi))
    assert pose.presence == pytest.approx(0.9)
    assert pose.points.shape == (33, 2) and pose.visibility.shape == (33,)
    np.testing.assert_allclose(pose.points[15], [400 + 128, 300 - 128])
    assert pose.visibility[15] == pytest.approx(0.75) and pose.visibility[16] == pytest.approx(0.5)
    np.testing.assert_allclose(pose.next_roi.center, CROP.center)
    assert pose.next_roi.size == pytest.approx(2 * 1.25 * 200)
    assert pose.next_roi.angle == pytest.approx(-math.pi / 2)


def test_points_move_to_the_mean_of_the_heatmap_around_them():
    points = np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.01, 0.99], [1.2, 0.5]])
    heatmaps = np.full((64, 64, 5), -60.0)
    heatmaps[33, 30:32, 0] = 60.0
    heatmaps[33, 30, 1] = -0.1  # not confident
    heatmaps[33, 37, 2] = 60.0  # too far away
    heatmaps[60, 4, 3] = 60.0  # the region ends at the border
    heatmaps[33, 60, 4] = 60.0  # the point is outside the crop
    moved = body.refined(points, heatmaps)
    np.testing.assert_allclose(moved[0], [30.5 / 64, 33 / 64])
    np.testing.assert_allclose(moved[[1, 2, 4]], points[[1, 2, 4]])
    np.testing.assert_allclose(moved[3], [4 / 64, 60 / 64])


@pytest.mark.parametrize("side", Side)
def test_the_box_of_a_hand_from_the_points_of_the_pose(side):
    up = body.hand_from_pose(hand_pose([100, 200], [110, 140], [80, 140], side), side)
    assert up is not None and up.side == side and up.visibility == 0.9
    assert up.roi.angle == pytest.approx(0.0)
    assert up.roi.size == pytest.approx(2 * 2.7 * 60)
    np.testing.assert_allclose(up.roi.center, [100, 140 - 12])
    right = body.hand_from_pose(hand_pose([100, 200], [160, 210], [160, 180], side), side)
    assert right is not None and right.roi.angle == pytest.approx(math.pi / 2)
    assert body.hand_from_pose(hand_pose([100, 200], [110, 140], [80, 140], side), side.other) is None
    assert body.hand_from_pose(hand_pose([0, 0], [1, 1], [2, 1], side, visibility=0.09), side) is None


def test_the_corrected_box_of_a_hand():
    hand = body.BodyHand(Side.LEFT, RotatedBox((400.0, 300.0), 512.0, math.pi / 2), 0.8)
    fixed = body.corrected(hand, np.array([[[128.0, 128.0, 128.0, 178.0]]]))
    assert (fixed.side, fixed.visibility) == (Side.LEFT, 0.8)
    assert fixed.roi.size == pytest.approx(200.0) and fixed.roi.angle == pytest.approx(math.pi / 2)
    np.testing.assert_allclose(fixed.roi.center, [420.0, 300.0])
    one_point = body.corrected(hand, np.full(4, 128.0))
    assert one_point.roi.size >= 2 and np.isfinite(one_point.roi.angle)


@pytest.mark.parametrize("region", [(slice(448), slice(None)), (slice(None), slice(448))])
def test_the_letterbox_is_undone(networks, astronaut, region):
    part = astronaut[region]
    height, width = part.shape[:2]
    left, top = (512 - width) // 2, (512 - height) // 2
    padded = cv2.copyMakeBorder(part, top, top, left, left, cv2.BORDER_CONSTANT)
    (expected,) = networks.detect(padded)
    (detection,) = networks.detect(part)
    np.testing.assert_allclose(np.array(detection.roi.center) + [left, top], expected.roi.center, atol=0.1)
    assert detection.roi.size == pytest.approx(expected.roi.size, rel=1e-4)
    assert detection.roi.angle == pytest.approx(expected.roi.angle, abs=1e-4)


def test_a_mirrored_image_exchanges_the_sides(networks, astronaut):
    pose, mirrored = pose_of(networks, astronaut), pose_of(networks, np.ascontiguousarray(astronaut[:, ::-1]))
    assert pose.presence > 0.9 and mirrored.presence > 0.9
    shoulders, ears = [11, 12], [7, 8]
    for left, right in (shoulders, ears):
        assert pose.points[left, 0] > pose.points[right, 0] + 60
        for ours, theirs in ((left, right), (right, left)):
            expected = [511 - pose.points[theirs, 0], pose.points[theirs, 1]]
            np.testing.assert_allclose(mirrored.points[ours], expected, atol=0.02 * pose.next_roi.size)


def test_the_next_box_shows_the_same_person(networks, astronaut):
    pose = pose_of(networks, astronaut)
    again = networks.read(astronaut, pose.next_roi)
    assert again.presence > 0.9
    np.testing.assert_allclose(again.points[:13], pose.points[:13], atol=0.02 * pose.next_roi.size)


@pytest.mark.parametrize("shape", [(480, 640, 3), (37, 800, 3), (1, 1, 3)])
def test_no_person_in_an_empty_image(networks, shape):
    rng = np.random.default_rng(0)
    for image in (np.zeros(shape, np.uint8), np.full(shape, 200, np.uint8), rng.integers(0, 256, shape, np.uint8)):
        assert networks.detect(image) == []


def test_no_pose_where_there_is_no_person(networks, astronaut):
    roi = RotatedBox((256.0, 256.0), 512.0)
    assert networks.read(np.zeros_like(astronaut), roi).presence < 0.01
    assert networks.read(cv2.merge([cv2.resize(data.coins(), (512, 512))] * 3), roi).presence < 0.5


def test_hands_are_on_their_sides_and_only_where_wrists_are_visible(networks, cameraman):
    pose = pose_of(networks, cameraman)
    left, right = networks.hands(cameraman, pose)
    assert left is not None and left.side == Side.LEFT and right is not None and right.side == Side.RIGHT
    assert (left.visibility, right.visibility) == tuple(pose.visibility[list(body.WRISTS)])
    hidden = pose.visibility.copy()
    hidden[body.WRISTS[Side.LEFT]] = 0.05
    none, alone = networks.hands(cameraman, dataclasses.replace(pose, visibility=hidden))
    assert none is None and alone is not None and alone.side == Side.RIGHT
    np.testing.assert_allclose(alone.roi.center, right.roi.center, atol=0.1)
    hidden[:] = 0
    assert networks.hands(cameraman, dataclasses.replace(pose, visibility=hidden)) == (None, None)


def test_used_as_the_framework_uses_them_the_networks_give_the_same(networks, cameraman, source_root):
    path = source_root / "tools" / "compare_body_pose.py"
    spec = importlib.util.spec_from_file_location("compare_body_pose", path)
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    pose, hands = tool.replica(networks, cameraman[FRAMEWORK_ROWS])
    np.testing.assert_allclose(pose.points[15:21], FRAMEWORK_POINTS, atol=0.5)
    for side, expected in zip(Side, FRAMEWORK_BOXES, strict=True):
        hand = hands[side]
        assert hand.side == side
        np.testing.assert_allclose([*hand.roi.center, hand.roi.size], expected[:3], atol=2.0)
        assert hand.roi.angle == pytest.approx(expected[3], abs=0.03)


def test_missing_files_are_an_error_with_the_way_out(tmp_path: pathlib.Path):
    with pytest.raises(ModelFileError, match="pose_detection.*hand-recon models fetch --dest"):
        BodyNetworks.load(ReconstructorConfig(model_dir=str(tmp_path)))
