"""The named flexion and abduction angles of a hand: names, signs, zero, and the way back to a pose."""

from __future__ import annotations

import numpy as np
import pytest

from hand_recon_ros import Side
from hand_recon_ros.geometry.rotations import rotation_matrices
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.hand_model.named_angles import ANGLE_NAMES, angles_from_named, named_angles, named_limits
from hand_recon_ros.skeleton import FINGERS, KEYPOINT_NAMES, mirror_points, mirror_rotations, wrist_pose

ZERO, ORIGIN = np.zeros(10), np.zeros(3)
SIDES = pytest.mark.parametrize("side", list(Side))


def pose_of(side: Side, values: np.ndarray) -> np.ndarray:
    """Joint rotations of the 20 angles."""
    return load_hand_model().kinematics(side).rotations_of(angles_from_named(values))


def in_wrist(side: Side, values: np.ndarray) -> np.ndarray:
    """Keypoints (21, 3) in the wrist frame: x to the fingers, z out of the back of the hand."""
    keypoints = load_hand_model().kinematics(side).forward(pose_of(side, values), ZERO, ORIGIN)[0]
    frame = wrist_pose(keypoints, right=side == Side.RIGHT)
    return (keypoints - frame[:3, 3]) @ frame[:3, :3]


def only(name: str, degrees: float) -> np.ndarray:
    values = np.zeros(20)
    values[ANGLE_NAMES.index(name)] = np.radians(degrees)
    return values


def test_twenty_names_four_for_each_finger() -> None:
    assert len(set(ANGLE_NAMES)) == 20
    for finger, *names in zip(FINGERS, *(ANGLE_NAMES[i::4] for i in range(4)), strict=True):
        first, second, third = ("cmc", "mcp", "ip") if finger == "thumb" else ("mcp", "pip", "dip")
        assert names == [
            f"{finger}_{first}_flexion",
            f"{finger}_{first}_abduction",
            f"{finger}_{second}_flexion",
            f"{finger}_{third}_flexion",
        ]


@SIDES
def test_angles_to_a_pose_and_back(side: Side) -> None:
    kinematics = load_hand_model().kinematics(side)
    limits = named_limits(kinematics)
    assert limits.shape == (20, 2) and np.all(limits[:, 0] < 0) and np.all(limits[:, 1] > 0)
    values = np.random.default_rng(4).uniform(limits[:, 0], limits[:, 1], size=(100, 20))
    rotations = pose_of(side, values)
    # The orientation of the hand is none of them.
    rotations[:, 0] = rotation_matrices(np.random.default_rng(5).normal(size=(100, 3)))
    np.testing.assert_allclose(named_angles(kinematics, rotations), values, atol=1e-9)


@SIDES
def test_zero_is_the_flat_hand(side: Side) -> None:
    flat = np.tile(np.eye(3), (16, 1, 1))
    np.testing.assert_allclose(named_angles(load_hand_model().kinematics(side), flat), 0.0, atol=1e-12)
    fingers = in_wrist(side, np.zeros(20))[1:].reshape(5, 4, 3)
    bones = np.diff(fingers, axis=1)
    bones /= np.linalg.norm(bones, axis=-1, keepdims=True)
    np.testing.assert_allclose(np.sum(bones[:, 1:] * bones[:, :-1], axis=-1), 1.0, atol=1e-3)  # straight fingers


@SIDES
@pytest.mark.parametrize("finger", FINGERS[1:])
def test_signs_of_a_finger(side: Side, finger: str) -> None:
    flat = in_wrist(side, np.zeros(20))
    tip, knuckle = KEYPOINT_NAMES.index(f"{finger}_tip"), KEYPOINT_NAMES.index(f"{finger}_mcp")
    length = np.linalg.norm(flat[tip] - flat[knuckle])
    for joint in ("mcp", "pip", "dip"):
        bent = in_wrist(side, only(f"{finger}_{joint}_flexion", 40.0))
        assert bent[tip, 2] < flat[tip, 2] - 0.01, "flexion bends towards the palm"
        assert bent[tip, 0] < flat[tip, 0] - 0.003
    moved = in_wrist(side, only(f"{finger}_mcp_abduction", 20.0))
    # The wrist frame's y points to the thumb's side of a right hand, and away from it on a left one.
    radial = (moved - flat)[tip, 1] * (1 if side == Side.RIGHT else -1)
    assert radial == pytest.approx(length * np.sin(np.radians(20.0)), rel=0.15)
    assert abs(moved[tip, 2] - flat[tip, 2]) < 0.012


@SIDES
def test_signs_of_the_thumb(side: Side) -> None:
    flat = in_wrist(side, np.zeros(20))
    tip = KEYPOINT_NAMES.index("thumb_tip")
    to_thumb = 1 if side == Side.RIGHT else -1
    bent = in_wrist(side, only("thumb_cmc_flexion", 30.0))
    assert (bent - flat)[tip, 1] * to_thumb < -0.02, "flexion sweeps the thumb across the palm"
    lifted = in_wrist(side, only("thumb_cmc_abduction", 30.0))
    assert (lifted - flat)[tip, 2] < -0.03, "abduction lifts it out of the plane of the palm"


@SIDES
@pytest.mark.parametrize("joint", ["mcp", "ip"])
def test_flexion_brings_the_tip_of_the_thumb_nearer_to_its_base(side: Side, joint: str) -> None:
    base, tip = KEYPOINT_NAMES.index("thumb_cmc"), KEYPOINT_NAMES.index("thumb_tip")
    flat, bent = in_wrist(side, np.zeros(20)), in_wrist(side, only(f"thumb_{joint}_flexion", 50.0))
    assert np.linalg.norm(bent[tip] - bent[base]) < np.linalg.norm(flat[tip] - flat[base]) - 0.003
    to_thumb = 1 if side == Side.RIGHT else -1
    assert (bent - flat)[tip, 1] * to_thumb < -0.005, "towards the fingers"


def test_the_same_angles_make_mirrored_poses() -> None:
    model = load_hand_model()
    limits = named_limits(model.kinematics(Side.LEFT))
    values = np.random.default_rng(6).uniform(limits[:, 0], limits[:, 1])
    right, left = pose_of(Side.RIGHT, values), pose_of(Side.LEFT, values)
    np.testing.assert_allclose(left, mirror_rotations(right), atol=1e-9)
    left_keypoints = model.kinematics(Side.LEFT).forward(left, ZERO, ORIGIN)[0]
    right_keypoints = model.kinematics(Side.RIGHT).forward(right, ZERO, ORIGIN)[0]
    np.testing.assert_allclose(left_keypoints, mirror_points(right_keypoints), atol=1e-9)
    for side, pose in ((Side.LEFT, mirror_rotations(right)), (Side.RIGHT, mirror_rotations(left))):
        np.testing.assert_allclose(named_angles(model.kinematics(side), pose), values, atol=1e-9)


def test_another_number_of_angles_is_refused() -> None:
    with pytest.raises(ValueError, match=r"values must have shape .*20.*got \(16,\)"):
        angles_from_named(np.zeros(16))
