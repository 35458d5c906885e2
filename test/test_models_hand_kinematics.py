"""Rotations, forward kinematics and skinning in torch: the values of NumPy's, and gradients."""

import numpy as np
import pytest
import torch
from evidence import MODEL, hand
from scipy.spatial.transform import Rotation

from hand_recon_ros.geometry import hand_kinematics, joint_angles, rotations, skinning
from hand_recon_ros.models.hand_kinematics import HandChain, forward_kinematics, skinned
from hand_recon_ros.models.rotations import (
    matrix_from_6d,
    random_rotations,
    rotation_matrices,
    rotations_from_angles,
    skew,
    to_6d,
)

TYPES = [(torch.float32, 1e-5), (torch.float64, 1e-12)]


def arrays(seed=0, count=3):
    """Rotations, keypoints at rest, wrists, points and skinning weights of some hands."""
    rng = np.random.default_rng(seed)
    turns = Rotation.random(16 * count, random_state=seed).as_matrix().reshape(count, 16, 3, 3)
    weights = rng.dirichlet(np.full(16, 0.3), size=(count, 7))
    return turns, rng.normal(size=(count, 21, 3)), rng.normal(size=(count, 3)), rng.normal(size=(count, 7, 3)), weights


@pytest.mark.parametrize(("dtype", "tolerance"), TYPES)
def test_rotations_are_numpys(dtype, tolerance):
    rng = np.random.default_rng(1)
    vectors, numbers, angles = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 5, 6)), rng.normal(size=(2, 5, 3))
    frame = Rotation.random(random_state=2).as_matrix()
    pairs = (
        (rotation_matrices(torch.tensor(vectors, dtype=dtype)), rotations.rotation_matrices(vectors)),
        (matrix_from_6d(torch.tensor(numbers, dtype=dtype)), rotations.matrices_from_6d(numbers)),
        (to_6d(torch.tensor(rotations.rotation_matrices(vectors), dtype=dtype)),
         rotations.matrices_to_6d(rotations.rotation_matrices(vectors))),
        (rotations_from_angles(torch.tensor(angles, dtype=dtype), torch.tensor(frame, dtype=dtype)),
         joint_angles.rotations_from_angles(angles, frame)),
        ((skew(torch.tensor(vectors, dtype=dtype)) @ torch.tensor(angles, dtype=dtype)[..., None])[..., 0],
         np.cross(vectors, angles)),
    )  # fmt: skip
    for found, expected in pairs:
        assert found.dtype == dtype
        np.testing.assert_allclose(found.numpy(), expected, atol=10 * tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), TYPES)
@pytest.mark.parametrize("shape", [(6,), (2, 3)])
def test_kinematics_and_skinning_are_numpys(dtype, tolerance, shape):
    parts = [part.reshape(*shape, *part.shape[1:]) for part in arrays(count=6)]
    turns, rest, wrist, points, weights = parts
    tensors = [torch.tensor(part, dtype=dtype) for part in parts]
    expected = hand_kinematics.forward_kinematics(turns, rest, wrist)
    keypoints, orientations = forward_kinematics(*tensors[:3])
    np.testing.assert_allclose(keypoints.numpy(), expected[0], atol=10 * tolerance)
    np.testing.assert_allclose(orientations.numpy(), expected[1], atol=10 * tolerance)
    found = skinned(tensors[3], tensors[4], orientations, keypoints, tensors[1])
    np.testing.assert_allclose(
        found.numpy(), skinning.skinned(points, weights, expected[1], expected[0], rest), atol=30 * tolerance
    )


def test_the_chain_is_the_hand_models():
    turns, betas, _, keypoints = hand(4)
    found = HandChain(MODEL)(torch.tensor(turns[None]).float(), torch.tensor(betas[None]).float())[0]
    np.testing.assert_allclose(found.numpy(), keypoints - keypoints[0], atol=1e-6)


def test_gradients():
    turns, rest, wrist, points, weights = (torch.tensor(part[:1]) for part in arrays(3))
    vectors = torch.tensor(np.random.default_rng(4).normal(size=(3, 3)))
    vectors[0] = 0.0  # where Rodrigues' formula divides by zero
    assert torch.autograd.gradcheck(rotation_matrices, (vectors.requires_grad_(),))
    angles = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: rotations_from_angles(a, turns[0, 0]), (angles,))
    numbers = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(matrix_from_6d, (numbers,))

    def posed(turns, rest, wrist, points):
        keypoints, orientations = forward_kinematics(turns, rest, wrist)
        return keypoints, skinned(points, weights, orientations, keypoints, rest)

    inputs = tuple(value.clone().requires_grad_() for value in (turns, rest, wrist, points))
    assert torch.autograd.gradcheck(posed, inputs, fast_mode=True)


def test_random_rotations_are_uniform():
    found = random_rotations(4000, torch.Generator().manual_seed(0)).double().numpy()
    np.testing.assert_allclose(found @ np.swapaxes(found, -1, -2), np.tile(np.eye(3), (4000, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(found), 1.0, atol=1e-5)
    assert np.abs(found.mean(axis=0)).max() < 0.04
    # Of uniform rotations the angle has the density (1 - cos) / pi.
    assert Rotation.from_matrix(found).magnitude().mean() == pytest.approx(np.pi / 2 + 2 / np.pi, abs=0.03)
