"""Forward kinematics and skinning against a plain recursion over the joints, and what their wrappers refuse."""

import numpy as np
import pytest
from evidence import MODEL, hand
from scipy.spatial.transform import Rotation

from hand_recon_ros import Side
from hand_recon_ros.geometry.hand_kinematics import (
    Pose,
    Template,
    angles_towards,
    forward,
    forward_kinematics,
)
from hand_recon_ros.geometry.skinning import skinned, skinning_transforms
from hand_recon_ros.hand_model.kinematics import template_of
from hand_recon_ros.skeleton import JOINT_KEYPOINTS, JOINT_PARENTS, KEYPOINT_PARENTS, TIP_JOINTS, TIPS


def recursion(rotations, rest, wrist):
    """Keypoints and orientations of one hand, joint by joint from its parent."""
    orientations, keypoints = [rotations[0]], np.empty((21, 3))
    keypoints[0] = wrist
    for joint in range(1, 16):
        parent, keypoint = JOINT_PARENTS[joint], JOINT_KEYPOINTS[joint]
        start = KEYPOINT_PARENTS[keypoint]
        keypoints[keypoint] = keypoints[start] + orientations[parent] @ (rest[keypoint] - rest[start])
        orientations.append(orientations[parent] @ rotations[joint])
    for joint, tip in zip(TIP_JOINTS, TIPS, strict=True):
        keypoints[tip] = keypoints[tip - 1] + orientations[joint] @ (rest[tip] - rest[tip - 1])
    return keypoints, np.stack(orientations)


def random_hands(*shape):
    rng, count = np.random.default_rng(7), int(np.prod(shape, dtype=int))
    rotations = Rotation.random(16 * count, random_state=7).as_matrix().reshape(*shape, 16, 3, 3)
    return rotations, rng.normal(size=(*shape, 21, 3)), rng.normal(size=(*shape, 3))


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3)])
def test_forward_kinematics_is_the_recursion(shape):
    rotations, rest, wrist = random_hands(*shape)
    keypoints, orientations = forward_kinematics(rotations, rest, wrist)
    for index in np.ndindex(shape):
        expected = recursion(rotations[index], rest[index], wrist[index])
        np.testing.assert_allclose(keypoints[index], expected[0], atol=1e-12)
        np.testing.assert_allclose(orientations[index], expected[1], atol=1e-12)


def test_leading_dimensions_broadcast_and_layouts_do_not_matter():
    rotations, rest, wrist = random_hands(4)
    keypoints, _ = forward_kinematics(rotations, rest[0], wrist[1])
    for i in range(4):
        np.testing.assert_allclose(keypoints[i], recursion(rotations[i], rest[0], wrist[1])[0], atol=1e-12)
    single = rotations.astype(np.float32)
    other = forward_kinematics(np.asfortranarray(single), rest[:, ::-1][:, ::-1], wrist.tolist())[0]
    np.testing.assert_allclose(other, forward_kinematics(single, rest, wrist)[0], atol=1e-12)


@pytest.mark.parametrize("changed", range(3))
def test_hands_of_another_shape_are_refused(changed):
    arguments = list(random_hands(2))
    arguments[changed] = arguments[changed][:, :-1]
    with pytest.raises(ValueError, match=r"expected rotations \(\.\.\., 16, 3, 3\), rest keypoints"):
        forward_kinematics(*arguments)


def test_joint_angles_give_the_same_hand_as_rotations():
    kinematics = [MODEL.kinematics(Side.RIGHT), MODEL.kinematics(Side.LEFT).mirrored()]
    hands = [hand(seed) for seed in (1, 2)]
    rotations, betas, keypoints = (np.stack([h[i] for h in hands]) for i in (0, 1, 3))
    angles = np.stack([chain.angles_of(r)[1:] for chain, r in zip(kinematics, rotations, strict=True)])
    posed = forward(template_of(kinematics), Pose(rotations[:, 0], keypoints[:, 0], angles, betas))
    np.testing.assert_allclose(posed.rotations, rotations, atol=1e-9)
    for i, chain in enumerate(kinematics):
        expected = recursion(rotations[i], chain.rest_keypoints(betas[i]), keypoints[i, 0])
        np.testing.assert_allclose(posed.keypoints[i], expected[0], atol=1e-9)
        np.testing.assert_allclose(posed.orientations[i], expected[1], atol=1e-9)


def test_bones_point_where_they_shall_as_far_as_the_limits_allow():
    template = template_of([MODEL.kinematics(Side.RIGHT)])
    rotations, betas, _, keypoints = hand(3)
    directions = keypoints[1:] - keypoints[KEYPOINT_PARENTS[1:]]
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    angles = angles_towards(template, rotations[None, 0], directions[None])
    posed = forward(template, Pose(rotations[None, 0], keypoints[None, 0], angles, betas[None]))
    np.testing.assert_allclose(posed.keypoints[0], keypoints, atol=1e-3)  # bones are not quite their frames' x axes
    angles = angles_towards(template, rotations[None, 0], -directions[None])
    assert (angles >= template.limits[..., 0]).all() and (angles <= template.limits[..., 1]).all()


def test_poses_that_do_not_fit_the_template_are_refused():
    template = template_of([MODEL.kinematics(Side.RIGHT)] * 2)
    fits = Pose(np.tile(np.eye(3), (2, 1, 1)), np.zeros((2, 3)), np.zeros((2, 15, 3)), np.zeros((2, 10)))
    forward(template, fits)
    for name, shape in (("angles", (2, 5, 3, 3)), ("betas", (1, 10)), ("wrist", (2, 4)), ("rotation", (3, 3))):
        pose = Pose(**{**vars(fits), name: np.zeros(shape)})
        with pytest.raises(ValueError, match=rf"{name} must have shape"):
            forward(template, pose)
    with pytest.raises(ValueError, match=r"limits must have shape \(2, 15, 3, 2\)"):
        Template(**{**vars(template), "limits": np.zeros((2, 5, 3, 3, 2))})


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_skinning_blends_the_joints_rigid_motions(shape):
    rotations, rest, wrist = random_hands(*shape)
    keypoints, orientations = forward_kinematics(rotations, rest, wrist)
    rng = np.random.default_rng(8)
    points, weights = rng.normal(size=(*shape, 9, 3)), rng.dirichlet(np.full(16, 0.2), size=(*shape, 9))
    weights[weights < 0.01] = 0.0
    joints, rest_joints = keypoints[..., JOINT_KEYPOINTS, :], rest[..., JOINT_KEYPOINTS, :]
    lever = points[..., :, None, :] - rest_joints[..., None, :, :]
    moved = np.einsum("...jac,...njc->...nja", orientations, lever) + joints[..., None, :, :]
    expected = np.einsum("...nj,...nja->...na", weights, moved)
    np.testing.assert_allclose(skinned(points, weights, orientations, keypoints, rest), expected, atol=1e-12)
    matrices, shifts = skinning_transforms(weights, orientations, keypoints, rest)
    np.testing.assert_allclose((matrices @ points[..., None])[..., 0] + shifts, expected, atol=1e-12)


def test_points_and_weights_that_do_not_fit_are_refused():
    rotations, rest, wrist = random_hands()
    keypoints, orientations = forward_kinematics(rotations, rest, wrist)
    with pytest.raises(ValueError, match=r"expected points \(\.\.\., N, 3\) for weights .*5, 16.*, got \(4, 3\)"):
        skinned(np.zeros((4, 3)), np.zeros((5, 16)), orientations, keypoints, rest)
    with pytest.raises(ValueError, match=r"expected weights \(\.\.\., N, 16\)"):
        skinned(np.zeros((5, 3)), np.zeros((5, 15)), orientations, keypoints, rest)
    with pytest.raises(ValueError, match=r"keypoints \(\.\.\., 21, 3\)"):
        skinned(np.zeros((5, 3)), np.zeros((5, 16)), orientations, keypoints[:16], rest)
