"""Joint angles, limits, MANO's pose vector, and the measures taken from keypoints."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hand_recon_ros import Side
from hand_recon_ros.geometry.joint_angles import angles_from_rotations, rotations_from_angles
from hand_recon_ros.geometry.rotations import rotation_matrices, rotation_vectors
from hand_recon_ros.hand_model import from_mano_pose, load_hand_model, to_mano_pose
from hand_recon_ros.hand_model.measures import grasp_closure, joint_orientations, pinch_distance
from hand_recon_ros.skeleton import (
    INDEX_TIP,
    JOINT_KEYPOINTS,
    JOINT_NAMES,
    THUMB_TIP,
    TIPS,
    mirror_points,
    mirror_rotations,
    wrist_rotation,
)

QUICK = settings(max_examples=60, deadline=None)
ZERO, ORIGIN = np.zeros(10), np.zeros(3)
angle_triples = hnp.arrays(np.float64, (4, 3), elements=st.floats(-1.5, 1.5))
vectors = hnp.arrays(np.float64, (16, 3), elements=st.floats(-1.7, 1.7))


def posed(side: Side, degrees: dict[str, tuple[float, float, float]]) -> np.ndarray:
    angles = np.zeros((16, 3))
    for name, value in degrees.items():
        angles[JOINT_NAMES.index(name)] = np.radians(value)
    return load_hand_model().kinematics(side).rotations_of(angles)


def keypoints_of(side: Side, rotations: np.ndarray) -> np.ndarray:
    return load_hand_model().kinematics(side).forward(rotations, ZERO, ORIGIN)[0]


FIST = {
    f"{finger}_{joint}": (bend, 0, 0)
    for finger in ("index", "middle", "ring", "pinky")
    for joint, bend in (("mcp", 85), ("pip", 105), ("dip", 65))
}


@QUICK
@given(angle_triples, st.booleans())
def test_angles_survive_the_round_trip(angles, right):
    frame = load_hand_model().kinematics(Side.RIGHT if right else Side.LEFT).joint_frames[5]
    rotations = rotations_from_angles(angles, frame, right)
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0, atol=1e-9)
    np.testing.assert_allclose(angles_from_rotations(rotations, frame, right), angles, atol=1e-7)


@QUICK
@given(vectors)
def test_every_rotation_is_found_again(turns):
    rotations = rotation_matrices(turns)
    for side in Side:
        kinematics = load_hand_model().kinematics(side)
        again = kinematics.rotations_of(kinematics.angles_of(rotations))
        np.testing.assert_allclose(again, rotations, atol=1e-9)


@pytest.mark.parametrize("abduction", [90.0, -90.0])
@pytest.mark.parametrize("flexion", [0.0, 40.0, -120.0])
def test_where_flexion_and_twist_are_the_same_axis(abduction, flexion):
    angles = np.radians([flexion, abduction, 25.0])
    rotation = rotations_from_angles(angles, np.eye(3))
    found = angles_from_rotations(rotation, np.eye(3))
    assert found[2] == 0.0 and found[1] == pytest.approx(np.radians(abduction))
    np.testing.assert_allclose(rotations_from_angles(found, np.eye(3)), rotation, atol=1e-9)


def test_the_three_angles_are_what_they_are_called():
    half = np.radians(90.0)
    x, y, z = np.eye(3)
    flexion, abduction, twist = (rotations_from_angles(half * np.eye(3)[i], np.eye(3)) for i in range(3))
    np.testing.assert_allclose(flexion @ x, -z, atol=1e-12)  # the bone goes to the palm
    np.testing.assert_allclose(abduction @ x, y, atol=1e-12)
    np.testing.assert_allclose(twist @ y, z, atol=1e-12)
    left = rotations_from_angles(half * np.eye(3), np.eye(3), right=False)
    np.testing.assert_allclose(left[0] @ x, -z, atol=1e-12)
    np.testing.assert_allclose(left[1] @ x, -y, atol=1e-12)


@QUICK
@given(angle_triples)
def test_the_same_angles_make_mirrored_poses(angles):
    right, left = (load_hand_model().kinematics(side) for side in (Side.RIGHT, Side.LEFT))
    full = np.tile(angles, (4, 1))
    np.testing.assert_allclose(left.rotations_of(full), mirror_rotations(right.rotations_of(full)), atol=1e-9)


def test_limits_hold_what_hands_do_and_not_what_they_do_not():
    limits = np.degrees(load_hand_model().kinematics(Side.RIGHT).limits)
    assert limits.shape == (16, 3, 2)
    assert np.all(limits[..., 0] < limits[..., 1]) and np.all(limits[1:, :, 0] <= 0) and np.all(limits[1:, :, 1] >= 0)
    by_name = dict(zip(JOINT_NAMES, limits, strict=True))
    for finger in ("index", "middle", "ring", "pinky"):
        assert by_name[f"{finger}_mcp"][0, 1] >= 90 and by_name[f"{finger}_pip"][0, 1] >= 105
        assert by_name[f"{finger}_pip"][0, 0] >= -15 and by_name[f"{finger}_dip"][0, 1] <= 95
        assert np.abs(by_name[f"{finger}_pip"][1:]).max() <= 10
    assert np.all(limits[0, [0, 2]] == [-180, 180])


def test_clamping_leaves_the_possible_alone_and_mends_the_rest():
    kinematics = load_hand_model().kinematics(Side.LEFT)
    possible = posed(Side.LEFT, FIST)
    np.testing.assert_allclose(kinematics.clamp_rotations(possible), possible, atol=1e-9)
    impossible = posed(Side.LEFT, {"index_pip": (-80, 0, 0), "ring_dip": (30, 40, 0)})
    angles = np.degrees(kinematics.angles_of(kinematics.clamp_rotations(impossible)))
    assert angles[JOINT_NAMES.index("index_pip"), 0] == pytest.approx(-8)
    np.testing.assert_allclose(angles[JOINT_NAMES.index("ring_dip")], [30, 5, 0], atol=1e-6)
    turned = np.tile(np.eye(3), (16, 1, 1))
    turned[0] = rotation_matrices(np.array([2.0, -1.0, 2.0]))
    np.testing.assert_allclose(kinematics.clamp_rotations(turned), turned, atol=1e-9)


@QUICK
@given(vectors)
def test_mano_s_pose_vector_and_back(turns):
    rotations = rotation_matrices(turns)
    pose = to_mano_pose(rotations)
    assert pose.shape == (48,)
    np.testing.assert_allclose(from_mano_pose(pose), rotations, atol=1e-9)
    np.testing.assert_allclose(pose[:3], turns[0], atol=1e-7)
    np.testing.assert_allclose(pose[3:6], turns[JOINT_NAMES.index("index_mcp")], atol=1e-7)
    np.testing.assert_allclose(pose[21:24], turns[JOINT_NAMES.index("pinky_mcp")], atol=1e-7)
    np.testing.assert_allclose(pose[39:42], turns[JOINT_NAMES.index("thumb_cmc")], atol=1e-7)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-7, 1e-4, 1.0, np.pi - 1e-9, np.pi])
def test_rotation_vectors_near_nothing_and_near_half_a_turn(angle):
    axis = np.array([0.6, -0.48, 0.64])
    found = rotation_vectors(rotation_matrices(angle * axis))
    assert np.linalg.norm(found) == pytest.approx(angle, abs=1e-9)
    sign = 1.0 if angle < np.pi - 1e-6 else np.sign(found @ axis)
    np.testing.assert_allclose(found, sign * angle * axis, atol=1e-7)


def test_pose_vectors_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"pose must have shape .*48.*got \(45,\)"):
        from_mano_pose(np.zeros(45))
    with pytest.raises(ValueError, match=r"rotations must have shape .*got \(3, 3\)"):
        to_mano_pose(np.eye(3))


@pytest.mark.parametrize("side", list(Side))
def test_grasp_and_pinch(side):
    flat = keypoints_of(side, posed(side, {}))
    assert grasp_closure(flat) == 0.0
    assert pinch_distance(flat) == pytest.approx(np.linalg.norm(flat[THUMB_TIP] - flat[INDEX_TIP]))
    assert grasp_closure(keypoints_of(side, posed(side, FIST))) == pytest.approx(1.0, abs=0.05)
    half = keypoints_of(side, posed(side, {name: tuple(np.array(bend) / 2) for name, bend in FIST.items()}))
    assert 0.4 < grasp_closure(half) < 0.55
    claw = {name: (-30 if name.endswith("mcp") else bend[0], 0, 0) for name, bend in FIST.items()}
    table = {name: (bend[0] if name.endswith("mcp") else 0, 0, 0) for name, bend in FIST.items()}
    claw_closure = grasp_closure(keypoints_of(side, posed(side, claw)))
    assert claw_closure == pytest.approx((105 + 65 - 30 - 20) / (255 - 20), abs=0.05)
    assert grasp_closure(keypoints_of(side, posed(side, table))) == pytest.approx((85 - 20) / (255 - 20), abs=0.05)
    turned = np.stack([flat, keypoints_of(side, posed(side, FIST))]) @ rotation_matrices(np.array([1.0, 2.0, 0.5])).T
    assert grasp_closure(turned).shape == (2,)
    np.testing.assert_allclose(grasp_closure(turned), [0.0, 1.0], atol=0.05)


@pytest.mark.parametrize("side", list(Side))
def test_orientations_from_keypoints_follow_the_joints(side):
    kinematics = load_hand_model().kinematics(side)
    rotations = posed(side, {**FIST, "index_mcp": (50, 12, 0), "thumb_cmc": (15, 10, 0), "thumb_ip": (40, 0, 0)})
    rotations[0] = rotation_matrices(np.array([0.3, -1.0, 2.0]))
    keypoints, turned = kinematics.forward(rotations, ZERO, np.array([0.1, 0.2, 0.5]))
    found = joint_orientations(keypoints, right=side == Side.RIGHT)
    np.testing.assert_allclose(np.linalg.det(found), 1.0, atol=1e-9)
    np.testing.assert_allclose(found[0], wrist_rotation(keypoints, side == Side.RIGHT), atol=1e-12)
    exact = turned @ kinematics.joint_frames
    for joint in range(1, 16):
        keypoint = JOINT_KEYPOINTS[joint]
        np.testing.assert_allclose(found[keypoint][:, 0], exact[joint][:, 0], atol=1e-5)
        assert np.degrees(np.arccos(np.clip(found[keypoint][:, 2] @ exact[joint][:, 2], -1, 1))) < 8, JOINT_NAMES[joint]
    np.testing.assert_array_equal(found[TIPS], found[TIPS - 1])


def test_orientations_of_a_batch_of_both_sides():
    right = keypoints_of(Side.RIGHT, posed(Side.RIGHT, FIST))
    both = np.stack([right, mirror_points(right)])
    found = joint_orientations(both, right=np.array([True, False]))
    np.testing.assert_allclose(found[0], joint_orientations(right, right=True), atol=1e-12)
    np.testing.assert_allclose(found[1][:, :, 0], mirror_points(found[0][:, :, 0]), atol=1e-9)
    np.testing.assert_allclose(found[1][:, :, 2], mirror_points(found[0][:, :, 2]), atol=1e-9)
    collapsed = np.array(both)
    collapsed[0, 4] = collapsed[0, 3]  # a bone of no length keeps its neighbour's direction
    assert np.all(np.isfinite(joint_orientations(collapsed, right=np.array([True, False]))))
