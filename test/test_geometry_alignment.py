"""Rigid alignment against SciPy."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hand_recon_ros.geometry.alignment import best_rotations, procrustes


def noisy_pair(seed, count=6):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, 3))
    return points, points @ Rotation.random(random_state=seed).as_matrix().T + rng.normal(0.0, 0.1, (count, 3)) + 2.0


@pytest.mark.parametrize("seed", range(5))
def test_the_best_rotation_is_scipys(seed):
    points, target = noisy_pair(seed)
    expected, _ = Rotation.align_vectors(target - target.mean(axis=0), points - points.mean(axis=0))
    np.testing.assert_allclose(best_rotations(points, target), expected.as_matrix(), atol=1e-9)
    factor, rotation, shift = procrustes(points, target, scale=False)
    np.testing.assert_allclose(rotation, expected.as_matrix(), atol=1e-9)
    assert factor == 1.0
    np.testing.assert_allclose(rotation @ points.mean(axis=0) + shift, target.mean(axis=0), atol=1e-12)


def test_a_batch_is_aligned_pair_by_pair():
    pairs = [noisy_pair(seed) for seed in range(6)]
    points, target = (np.stack(part).reshape(2, 3, 6, 3) for part in zip(*pairs, strict=True))
    found = procrustes(points, target)
    assert [part.shape for part in found] == [(2, 3), (2, 3, 3, 3), (2, 3, 3)]
    for part, expected in zip(found, procrustes(*pairs[4]), strict=True):
        np.testing.assert_allclose(part[1, 1], expected, atol=1e-12)
    np.testing.assert_allclose(best_rotations(points, target)[1, 1], best_rotations(*pairs[4]), atol=1e-12)


def test_a_reflection_is_found_only_where_it_is_allowed():
    points, _ = noisy_pair(1)
    mirrored = points * [-1.0, 1.0, 1.0]
    for reflection, determinant in ((True, -1.0), (False, 1.0)):
        factor, rotation, shift = procrustes(points, mirrored, reflection=reflection)
        assert np.linalg.det(rotation) == pytest.approx(determinant)
        error = np.abs(factor * points @ rotation.T + shift - mirrored).max()
        assert (error < 1e-9) == reflection


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"two arrays .* of one shape, got \(5, 3\) and \(4, 3\)"):
        procrustes(np.zeros((5, 3)), np.zeros((4, 3)))
