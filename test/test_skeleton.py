"""Skeleton: orders, mirroring, the wrist frame."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hand_recon_ros import skeleton


def flat_hand(right=True):
    """A flat hand seen from its back with the fingers up, camera frame: the thumb of a right hand is on the left."""
    columns = dict(thumb=-0.04, index=-0.025, middle=0.0, ring=0.02, pinky=0.04)
    points = [np.zeros(3)]
    for finger in skeleton.FINGERS:
        points += [np.array([columns[finger], -0.08 - 0.03 * i, 0.0]) for i in range(4)]
    return np.array(points) * (1 if right else [-1, 1, 1]) + [0.1, 0.2, 0.5]


def test_names_and_indices_agree():
    assert len(skeleton.KEYPOINT_NAMES) == 21 and len(skeleton.JOINT_NAMES) == 16
    for index, name in enumerate(skeleton.KEYPOINT_NAMES):
        assert getattr(skeleton, name.upper()) == index
    assert skeleton.JOINT_NAMES[:4] == ("wrist", "thumb_cmc", "thumb_mcp", "thumb_ip")
    for joint, parent in enumerate(skeleton.JOINT_PARENTS[1:], start=1):
        assert skeleton.JOINT_KEYPOINTS[parent] == skeleton.KEYPOINT_PARENTS[skeleton.JOINT_KEYPOINTS[joint]]
    assert [skeleton.KEYPOINT_PARENTS[tip] for tip in skeleton.TIPS] == list(
        skeleton.JOINT_KEYPOINTS[skeleton.TIP_JOINTS]
    )


def test_mirroring_twice_is_identity():
    rng = np.random.default_rng(1)
    points, rotations = rng.normal(size=(5, 21, 3)), Rotation.random(7, random_state=1).as_matrix()
    np.testing.assert_array_equal(skeleton.mirror_points(skeleton.mirror_points(points)), points)
    np.testing.assert_array_equal(skeleton.mirror_rotations(skeleton.mirror_rotations(rotations)), rotations)
    pixels = rng.uniform(0, 640, (21, 2))
    np.testing.assert_allclose(skeleton.mirror_pixels(skeleton.mirror_pixels(pixels, 640), 640), pixels)
    assert skeleton.mirror_pixels(np.array([0.0, 5.0]), 640).tolist() == [639.0, 5.0]


def test_mirrored_rotation_turns_mirrored_points():
    rotation, points = Rotation.random(random_state=2), np.random.default_rng(2).normal(size=(10, 3))
    a = skeleton.mirror_points(rotation.apply(points))
    b = skeleton.mirror_points(points) @ skeleton.mirror_rotations(rotation.as_matrix()).T
    np.testing.assert_allclose(a, b, atol=1e-12)
    x, y, z = rotation.as_rotvec()
    np.testing.assert_allclose(
        Rotation.from_matrix(skeleton.mirror_rotations(rotation.as_matrix())).as_rotvec(), [x, -y, -z]
    )


@pytest.mark.parametrize("right", [True, False])
def test_wrist_frame_axes(right):
    pose = skeleton.wrist_pose(flat_hand(right), right)
    np.testing.assert_allclose(pose[:3, 0], [0, -1, 0], atol=1e-12)  # x: towards the fingers, up in the image
    np.testing.assert_allclose(pose[:3, 2], [0, 0, -1], atol=1e-12)  # z: out of the back, towards the camera
    np.testing.assert_allclose(pose[:3, 1], [-1, 0, 0], atol=1e-12)  # y = z cross x
    np.testing.assert_allclose(pose[:3, 3], [0.1, 0.2, 0.5])
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1.0)


def test_wrist_frame_follows_the_hand():
    rotation = Rotation.random(random_state=3).as_matrix()
    before = skeleton.wrist_rotation(flat_hand(), True)
    np.testing.assert_allclose(skeleton.wrist_rotation(flat_hand() @ rotation.T, True), rotation @ before, atol=1e-12)


@pytest.mark.parametrize("right", [True, False])
def test_operator_frame_of_dex_retargeting_is_one_constant_rotation(right):
    """p_op = (-z, y, x), against its own construction: an orthonormal basis with x from the middle MCP to the wrist and
    z towards the index finger, followed by one axis permutation a side."""
    rng = np.random.default_rng(4)
    keypoints = (flat_hand(right) + rng.normal(0, 0.003, (21, 3))) @ Rotation.random(random_state=4).as_matrix().T
    keypoints = keypoints - keypoints[0]
    palm = keypoints[[0, 5, 9]]
    normal = np.linalg.svd(palm - palm.mean(axis=0))[2][2]
    x = palm[0] - palm[2]
    x = x - (x @ normal) * normal
    x = x / np.linalg.norm(x)
    z = np.cross(x, normal)
    if z @ (palm[1] - palm[2]) < 0:
        normal, z = -normal, -z
    to_operator = np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]] if right else [[0, 0, -1], [1, 0, 0], [0, -1, 0]])
    expected = keypoints @ np.stack([x, normal, z], axis=1) @ to_operator
    local = keypoints @ skeleton.wrist_rotation(keypoints, right)
    np.testing.assert_allclose(np.stack([-local[:, 2], local[:, 1], local[:, 0]], axis=-1), expected, atol=1e-9)


def test_no_wrist_frame_on_a_line():
    with pytest.raises(ValueError, match="on one line"):
        skeleton.wrist_rotation(np.zeros((21, 3)), True)
