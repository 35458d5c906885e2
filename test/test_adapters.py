"""Hands for teleoperation software: dex-retargeting's operator frame, OpenXR's joints, vectors to the fingertips."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hand_recon_ros import Side
from hand_recon_ros.adapters import (
    JOINT_FROM_OPENXR,
    OPENXR_FROM_OPTICAL,
    OPENXR_JOINTS,
    OPENXR_KEYPOINTS,
    OPERATOR_FROM_WRIST,
    HandJoints,
    fingertip_vectors,
    named_poses,
    openxr_joints,
    operator_points,
)
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.skeleton import KEYPOINT_NAMES, TIPS, wrist_pose
from hand_recon_ros.types import HandEstimate, HandState

SIDES = pytest.mark.parametrize("side", list(Side))


def estimate(side: Side, seed: int, spread: float = 1.0) -> HandEstimate:
    """A random pose within the joint limits, of a random hand in front of the camera; ``spread`` 0 is the flat hand."""
    generator = np.random.default_rng(seed)
    kinematics = load_hand_model().kinematics(side)
    angles = spread * generator.uniform(kinematics.limits[..., 0], kinematics.limits[..., 1])
    rotations = kinematics.rotations_of(angles)
    rotations[0] = Rotation.random(random_state=seed).as_matrix()
    betas, translation = spread * generator.normal(size=10), generator.uniform(-0.3, 0.3, 3) + (0.0, 0.0, 0.8)
    joints = kinematics.forward(rotations, betas, translation)[0]
    return dataclasses.replace(
        HandEstimate.lost(side),
        state=HandState.TRACKED,
        joints=joints,
        wrist_pose=wrist_pose(joints, right=side == Side.RIGHT),
    )


def detector_points(joints: np.ndarray, side: Side) -> np.ndarray:
    """The operator frame by the rule that dex-retargeting applies to detections, written anew.

    x from the middle knuckle to the wrist, y the normal of the palm, z towards the index finger; then for a right hand
    (-y, z, -x), for a left one (y, -z, -x).
    """
    points = joints - joints[0]
    x = -points[9] / np.linalg.norm(points[9])
    z = points[5] - points[9]
    z = z - (z @ x) * x
    z /= np.linalg.norm(z)
    a, b, c = (points @ axis for axis in (x, np.cross(z, x), z))
    return np.stack([-b, c, -a] if side == Side.RIGHT else [b, -c, -a], axis=1)


@SIDES
@pytest.mark.parametrize("seed", range(20))
def test_operator_points_are_those_of_dex_retargetings_rule(side: Side, seed: int) -> None:
    hand = estimate(side, seed)
    points = operator_points(HandJoints.of_estimate(hand))
    np.testing.assert_allclose(points, detector_points(hand.joints, side), atol=1e-12)


@SIDES
def test_operator_points_and_back(side: Side) -> None:
    hand = estimate(side, 3)
    points = operator_points(HandJoints.of_estimate(hand))
    frame = hand.wrist_pose
    back = points @ OPERATOR_FROM_WRIST @ frame[:3, :3].T + frame[:3, 3]
    np.testing.assert_allclose(back, hand.joints, atol=1e-12)
    assert np.linalg.det(OPERATOR_FROM_WRIST) == 1.0


@SIDES
def test_operator_points_of_a_flat_hand(side: Side) -> None:
    points = operator_points(HandJoints.of_estimate(estimate(side, 4, spread=0.0)))
    np.testing.assert_allclose(points[0], 0.0, atol=1e-12)
    assert np.all(points[TIPS[1:], 2] > 0.1)  # fingers along z, metres
    # y runs to the thumb of a right hand and to the little finger of a left one.
    assert (points[4, 1] > 0) == (side == Side.RIGHT) and (points[20, 1] > 0) == (side == Side.LEFT)
    assert points[4, 0] > 0  # the thumb lies on the palm's side


@SIDES
def test_fingertip_vectors(side: Side) -> None:
    hand = HandJoints.of_estimate(estimate(side, 5))
    vectors = fingertip_vectors(hand)
    assert vectors.shape == (5, 3)
    np.testing.assert_allclose(vectors @ hand.rotations[0].T + hand.positions[0], hand.positions[TIPS], atol=1e-12)
    np.testing.assert_allclose(vectors @ OPERATOR_FROM_WRIST.T, operator_points(hand)[TIPS], atol=1e-12)
    np.testing.assert_allclose(
        np.linalg.norm(vectors, axis=1), np.linalg.norm(hand.positions[TIPS] - hand.positions[0], axis=1)
    )


def test_openxr_joints_have_the_specifications_order() -> None:
    assert len(OPENXR_JOINTS) == len(OPENXR_KEYPOINTS) == 26
    # XrHandJointEXT: palm 0, wrist 1, thumb 2-5, index 6-10, middle 11-15, ring 16-20, little 21-25.
    places = {"palm": 0, "wrist": 1, "thumb_tip": 5, "index_metacarpal": 6, "middle_metacarpal": 11, "little_tip": 25}
    assert {name: OPENXR_JOINTS.index(name) for name in places} == places
    measured = {name: KEYPOINT_NAMES[k] for name, k in zip(OPENXR_JOINTS, OPENXR_KEYPOINTS, strict=True) if k >= 0}
    assert list(measured.values()) == list(KEYPOINT_NAMES)  # each once, and in order
    assert measured["thumb_metacarpal"] == "thumb_cmc" and measured["thumb_distal"] == "thumb_ip"
    assert measured["index_proximal"] == "index_mcp" and measured["little_distal"] == "pinky_dip"
    missing = set(OPENXR_JOINTS) - set(measured)
    assert missing == {"palm", *(f"{finger}_metacarpal" for finger in ("index", "middle", "ring", "little"))}


@SIDES
@pytest.mark.parametrize("seed", range(10))
def test_openxr_joints_are_sound(side: Side, seed: int) -> None:
    hand = estimate(side, seed)
    found = openxr_joints(HandJoints.of_estimate(hand))
    assert found.positions.shape == (26, 3) and found.orientations.shape == (26, 4)
    assert found.valid.dtype == bool and found.valid.sum() == 21
    for values in (found.positions, found.orientations):
        assert np.isfinite(values[found.valid]).all() and np.isnan(values[~found.valid]).all()
    np.testing.assert_allclose(np.linalg.norm(found.orientations[found.valid], axis=1), 1.0, atol=1e-12)
    where = {name: found.positions[i] for i, name in enumerate(OPENXR_JOINTS)}
    turned = {
        name: Rotation.from_quat(found.orientations[i]).as_matrix()
        for i, name in enumerate(OPENXR_JOINTS)
        if found.valid[i]
    }
    for name in ("thumb", "index", "middle", "ring", "little"):
        parts = ("metacarpal", "proximal", "distal", "tip") if name == "thumb" else (
            "proximal", "intermediate", "distal", "tip")  # fmt: skip
        for start, end in zip(parts[:-1], parts[1:], strict=True):
            bone = where[f"{name}_{end}"] - where[f"{name}_{start}"]
            assert 0.008 < np.linalg.norm(bone) < 0.09  # metres
            np.testing.assert_allclose(-turned[f"{name}_{start}"][:, 2], bone / np.linalg.norm(bone), atol=1e-9)
        np.testing.assert_allclose(turned[f"{name}_tip"], turned[f"{name}_distal"], atol=1e-12)
    # In front of the camera is along -z, and up is y.
    np.testing.assert_allclose(where["wrist"], hand.joints[0] * [1.0, -1.0, -1.0], atol=1e-12)
    assert where["wrist"][2] < 0


@SIDES
def test_openxr_joints_of_a_flat_hand_have_the_back_of_the_hand_up(side: Side) -> None:
    hand = HandJoints.of_estimate(estimate(side, 6, spread=0.0))
    found = openxr_joints(hand)
    rotations = Rotation.from_quat(found.orientations[found.valid]).as_matrix()
    back = OPENXR_FROM_OPTICAL @ hand.rotations[0][:, 2]
    fingers = rotations[5:]  # without wrist and thumb
    assert np.all(fingers[:, :, 1] @ back > 0.9) and rotations[0][:, 1] @ back > 0.999
    # Seen from its back with the fingers up, x of a hand is to the right: away from the thumb on a right hand.
    thumb = found.positions[OPENXR_JOINTS.index("thumb_tip")] - found.positions[OPENXR_JOINTS.index("wrist")]
    assert (rotations[0][:, 0] @ thumb > 0) == (side == Side.LEFT)


@SIDES
def test_openxr_joints_and_back(side: Side) -> None:
    hand = HandJoints.of_estimate(estimate(side, 7))
    found = openxr_joints(hand)
    rotations = Rotation.from_quat(found.orientations[found.valid]).as_matrix()
    np.testing.assert_allclose(found.positions[found.valid] @ OPENXR_FROM_OPTICAL, hand.positions, atol=1e-12)
    np.testing.assert_allclose(OPENXR_FROM_OPTICAL.T @ rotations @ JOINT_FROM_OPENXR.T, hand.rotations, atol=1e-9)
    assert np.linalg.det(JOINT_FROM_OPENXR) == pytest.approx(1.0) == np.linalg.det(OPENXR_FROM_OPTICAL)


@SIDES
def test_a_message_gives_the_same_as_its_estimate(side: Side) -> None:
    pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
    from ros_support import HEIGHT, WIDTH, estimate_of, hand_model
    from std_msgs.msg import Header

    from hand_recon_ros.conversions.frames import hand_poses
    from hand_recon_ros.ros.messages import build_hands_message

    both = estimate_of()
    message = build_hands_message(both, hand_poses(both), Header(), hand_model(), (WIDTH, HEIGHT), 0)
    sent = HandJoints.of_message(message.right if side == Side.RIGHT else message.left)
    made = HandJoints.of_estimate(both.hand(side))
    assert sent.side == made.side == side
    np.testing.assert_allclose(sent.positions, made.positions, atol=1e-9)
    np.testing.assert_allclose(sent.rotations, made.rotations, atol=1e-9)
    np.testing.assert_allclose(operator_points(sent), operator_points(made), atol=1e-9)
    with pytest.raises(ValueError, match="LOST"):
        HandJoints.of_message(type(message.left)(side=int(side)))


def test_both_hands_in_one_array_and_back() -> None:
    hands = [HandJoints.of_estimate(estimate(side, 8)) for side in Side]
    poses = named_poses(*hands)
    assert len(poses.names) == 50 == len(set(poses.names)) and poses.valid.sum() == 42
    assert (poses.names[0], poses.names[25], poses.names[49]) == ("left_wrist", "right_wrist", "right_little_tip")
    assert {name for name, valid in zip(poses.names, poses.valid, strict=True) if not valid} == {
        f"{side}_{finger}_metacarpal" for side in ("left", "right") for finger in ("index", "middle", "ring", "little")
    }
    assert np.isfinite(poses.positions).all() and not poses.positions[~poses.valid].any()
    np.testing.assert_allclose(np.linalg.norm(poses.orientations, axis=1), 1.0, atol=1e-12)
    for side, hand in zip(Side, hands, strict=True):
        here = np.arange(50) // 25 == int(side)
        found = poses.positions[here & poses.valid] @ OPENXR_FROM_OPTICAL
        np.testing.assert_allclose(found, hand.positions, atol=1e-12)
        turned = Rotation.from_quat(poses.orientations[here & poses.valid]).as_matrix()
        np.testing.assert_allclose(OPENXR_FROM_OPTICAL.T @ turned @ JOINT_FROM_OPENXR.T, hand.rotations, atol=1e-9)
    alone = named_poses(None, hands[1])
    assert not alone.valid[:25].any() and alone.valid[25:].sum() == 21
    np.testing.assert_array_equal(alone.positions[25:], poses.positions[25:])
    np.testing.assert_array_equal(alone.orientations[:25], np.tile([0.0, 0.0, 0.0, 1.0], (25, 1)))
    with pytest.raises(ValueError, match="expected a left hand, got a right one"):
        named_poses(hands[1], None)


def test_a_lost_hand_and_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="the left hand is LOST"):
        HandJoints.of_estimate(HandEstimate.lost(Side.LEFT))
    with pytest.raises(ValueError, match=r"got \(21, 3\) and \(3, 3\)"):
        HandJoints(Side.LEFT, np.zeros((21, 3)), np.eye(3))
