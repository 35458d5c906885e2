"""Rotations and joint angles against SciPy, with any number of leading dimensions."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hand_recon_ros.geometry.joint_angles import angles_from_rotations, rotations_from_angles
from hand_recon_ros.geometry.rotations import (
    matrices_from_6d,
    matrices_to_6d,
    nearest_rotations,
    quaternion_matrices,
    quaternions,
    rotation_matrices,
    rotation_vectors,
    rotations_towards,
    smallest_rotations,
)

SHAPES = [(), (1,), (5,), (2, 3), (0,)]
SMALL_AND_LARGE = [0.0, 1e-9, 1e-5, 1e-3, 1.0, 3.0, np.pi - 1e-7, np.pi]


def random(shape, seed=0):
    """SciPy's rotations of a batch, flat, and their matrices."""
    count = int(np.prod(shape, dtype=int))
    rotations = Rotation.random(max(count, 1), random_state=seed)
    return rotations, rotations.as_matrix()[:count].reshape(*shape, 3, 3)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_representation_is_scipys(shape):
    oracle, matrices = random(shape)
    count = int(np.prod(shape, dtype=int))
    vectors = oracle.as_rotvec()[:count].reshape(*shape, 3)
    np.testing.assert_allclose(rotation_matrices(vectors), matrices, atol=1e-12)
    np.testing.assert_allclose(rotation_vectors(matrices), vectors, atol=1e-9)
    expected = oracle.as_quat(canonical=True)[:count].reshape(*shape, 4)
    np.testing.assert_allclose(quaternions(matrices), expected, atol=1e-12)
    np.testing.assert_allclose(quaternion_matrices(-3.0 * expected), matrices, atol=1e-12)
    numbers = matrices_to_6d(matrices)
    np.testing.assert_array_equal(numbers[..., :3], matrices[..., 0])
    np.testing.assert_allclose(matrices_from_6d(numbers), matrices, atol=1e-12)


@pytest.mark.parametrize("angle", SMALL_AND_LARGE)
def test_small_and_large_angles_are_exact(angle):
    vectors = angle * Rotation.random(20, random_state=3).apply([1.0, 0.0, 0.0])
    matrices = rotation_matrices(vectors)
    np.testing.assert_allclose(matrices, Rotation.from_rotvec(vectors).as_matrix(), atol=1e-12)
    again = rotation_vectors(matrices)
    np.testing.assert_allclose(np.linalg.norm(again, axis=-1), angle, atol=1e-8)
    np.testing.assert_allclose(Rotation.from_rotvec(again).as_matrix(), matrices, atol=1e-8)


def test_six_numbers_need_not_be_orthonormal():
    numbers = np.random.default_rng(1).normal(size=(40, 6))
    found = matrices_from_6d(numbers)
    np.testing.assert_allclose(found @ np.swapaxes(found, -1, -2), np.tile(np.eye(3), (40, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(found), 1.0, atol=1e-12)
    # The first column keeps its direction, the second its half plane.
    np.testing.assert_allclose(np.cross(found[..., 0], numbers[:, :3]), 0.0, atol=1e-12)
    assert ((found[..., 1] * numbers[:, 3:]).sum(axis=-1) > 0.0).all()


def test_the_smallest_rotation_between_two_vectors():
    rng = np.random.default_rng(2)
    start, end = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in rng.normal(size=(2, 30, 3)))
    found = smallest_rotations(start, end)
    np.testing.assert_allclose((found @ start[..., None])[..., 0], end, atol=1e-12)
    angles = np.arccos(np.clip((start * end).sum(axis=-1), -1.0, 1.0))
    np.testing.assert_allclose(Rotation.from_matrix(found).magnitude(), angles, atol=1e-7)
    np.testing.assert_allclose(smallest_rotations(start[0], start[0]), np.eye(3), atol=1e-12)
    assert np.isfinite(smallest_rotations(start, -start)).all()
    np.testing.assert_allclose((rotations_towards(3.0 * end) @ [0.0, 0.0, 1.0]), end, atol=1e-12)


def test_the_nearest_rotation_is_scipys():
    matrices = random((10,))[1] + np.random.default_rng(3).normal(0.0, 0.05, (10, 3, 3))
    np.testing.assert_allclose(nearest_rotations(matrices), Rotation.from_matrix(matrices).as_matrix(), atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_joint_angles_are_scipys_euler_angles(shape):
    """Flexion about y, abduction about z, twist about x, each about the axis that the ones before have rotated."""
    oracle, matrices = random(shape)
    count = int(np.prod(shape, dtype=int))
    angles = oracle.as_euler("YZX")[:count].reshape(*shape, 3)
    np.testing.assert_allclose(rotations_from_angles(angles, np.eye(3)), matrices, atol=1e-12)
    np.testing.assert_allclose(angles_from_rotations(matrices, np.eye(3)), angles, atol=1e-9)
    frame = Rotation.random(random_state=9).as_matrix()
    np.testing.assert_allclose(rotations_from_angles(angles, frame), frame @ matrices @ frame.T, atol=1e-12)


@pytest.mark.parametrize("convert", [rotation_vectors, quaternions, matrices_to_6d, nearest_rotations])
def test_other_shapes_than_matrices_are_refused(convert):
    for shape in ((3,), (4, 3), (2, 3, 4)):
        with pytest.raises(ValueError, match=r"must have shape \(\.\.\., 3, 3\), got"):
            convert(np.zeros(shape))


def test_other_shapes_than_vectors_are_refused():
    with pytest.raises(ValueError, match=r"rotation vectors must have shape \(\.\.\., 3\), got \(5, 4\)"):
        rotation_matrices(np.zeros((5, 4)))
    with pytest.raises(ValueError, match=r"numbers must have shape \(\.\.\., 6\), got \(2, 3\)"):
        matrices_from_6d(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"expected angles \(\.\.\., 3\) and frames \(\.\.\., 3, 3\)"):
        rotations_from_angles(np.zeros(2), np.eye(3))
