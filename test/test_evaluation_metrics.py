"""Metrics against values computed by hand, and their properties."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hand_recon_ros.evaluation import metrics
from hand_recon_ros.evaluation.intervals import reduction_interval
from hand_recon_ros.geometry.alignment import procrustes


def hand(seed: int = 0, *batch: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.05, size=(*batch, 21, 3)) + [0.0, 0.0, 0.5]


def test_mpjpe_counts_the_root_itself():
    truth = hand()
    predicted = truth.copy()
    predicted[1:] += [0.003, 0.0, 0.004]  # 5 mm on 20 of the 21 keypoints
    assert metrics.mpjpe(predicted, truth) == pytest.approx(5.0 * 20 / 21)
    assert metrics.mpjpe(predicted, truth, root=None) == pytest.approx(5.0 * 20 / 21)
    assert metrics.mpjpe(predicted, truth, root=9) == pytest.approx(5.0 / 21)


def test_mpjpe_does_not_depend_on_the_position_but_wrist_error_does():
    truth = hand(1, 4)
    predicted = truth + [0.01, -0.02, 0.02]
    np.testing.assert_allclose(metrics.mpjpe(predicted, truth), 0.0, atol=1e-9)
    np.testing.assert_allclose(metrics.mpjpe(predicted, truth, root=None), 30.0)
    np.testing.assert_allclose(metrics.wrist_error(predicted, truth), 30.0)


def test_rescaling_removes_an_error_of_size():
    truth = hand(2)
    predicted = 1.25 * truth
    assert metrics.mpjpe(predicted, truth) > 5.0
    assert metrics.mpjpe(predicted, truth, rescale=True) == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(ValueError, match="root"):
        metrics.mpjpe(predicted, truth, root=None, rescale=True)


def test_procrustes_recovers_a_similarity():
    points = hand(3, 5)
    rotation = Rotation.random(5, random_state=4).as_matrix()
    factor, shift = np.array([0.5, 0.9, 1.0, 1.3, 2.0]), np.arange(15.0).reshape(5, 3)
    target = factor[:, None, None] * points @ np.swapaxes(rotation, -1, -2) + shift[:, None, :]
    found = procrustes(points, target)
    np.testing.assert_allclose(found[0], factor)
    np.testing.assert_allclose(found[1], rotation, atol=1e-9)
    np.testing.assert_allclose(found[2], shift, atol=1e-9)
    np.testing.assert_allclose(metrics.pa_mpjpe(points, target), 0.0, atol=1e-6)


def test_a_mirrored_hand_is_aligned_only_where_reflection_is_allowed():
    truth = hand(5)
    mirrored = truth * [-1.0, 1.0, 1.0]
    assert metrics.pa_mpjpe(mirrored, truth) > 10.0
    assert metrics.pa_mpjpe(mirrored, truth, reflection=True) == pytest.approx(0.0, abs=1e-6)


def test_pa_mpjpe_agrees_with_scipys_procrustes():
    # FreiHAND's official recipe: centre, divide by the Frobenius norm, orthogonal_procrustes, scale back.
    from scipy.linalg import orthogonal_procrustes

    predicted, truth = hand(6), hand(7)
    a, b = predicted - predicted.mean(0), truth - truth.mean(0)
    norm_a, norm_b = np.linalg.norm(a), np.linalg.norm(b)
    rotation, scale = orthogonal_procrustes(b / norm_b, a / norm_a)
    aligned = (a / norm_a) @ rotation.T * scale * norm_b + truth.mean(0)
    expected = np.linalg.norm(aligned - truth, axis=-1).mean() * 1000.0
    assert metrics.pa_mpjpe(predicted, truth, reflection=True) == pytest.approx(expected)


def test_procrustes_never_makes_it_worse_than_a_shift():
    predicted, truth = hand(8, 50), hand(9, 50)

    def rms(p: np.ndarray) -> np.ndarray:
        return np.sqrt(np.mean(np.sum((p - truth) ** 2, axis=-1), axis=-1))

    factor, rotation, shift = procrustes(predicted, truth)
    aligned = factor[:, None, None] * predicted @ np.swapaxes(rotation, -1, -2) + shift[:, None]
    centred = predicted - predicted.mean(1, keepdims=True) + truth.mean(1, keepdims=True)
    assert np.all(rms(aligned) <= rms(centred) + 1e-12)


def test_mrrpe_is_the_error_of_the_vector_between_the_wrists():
    true_left, true_right = hand(10, 3), hand(11, 3)
    both_moved = metrics.mrrpe(true_left + 0.1, true_right + 0.1, true_left, true_right)
    np.testing.assert_allclose(both_moved, 0.0, atol=1e-9)
    one_moved = metrics.mrrpe(true_left + [0.0, 0.006, 0.008], true_right, true_left, true_right)
    np.testing.assert_allclose(one_moved, 10.0)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(20, 3\) and \(21, 3\)"):
        metrics.mpjpe(np.zeros((20, 3)), np.zeros((21, 3)))


def test_the_interval_of_a_reduction():
    rng = np.random.default_rng(0)
    before = rng.uniform(50.0, 150.0, 200)
    low, high = reduction_interval(before, 0.8 * before)
    assert low == pytest.approx(0.2) and high == pytest.approx(0.2)
    low, high = reduction_interval(before, before * rng.uniform(0.6, 1.0, 200))
    assert 0.15 < low < 0.2 < high < 0.25
    low, high = reduction_interval(before, rng.permutation(before))
    assert low < 0.0 < high


def moving(stamps: np.ndarray) -> np.ndarray:
    """Keypoints (T, 21, 3) that swing in all directions."""
    phases = np.arange(63).reshape(21, 3)
    return hand() + 0.1 * np.sin(2.0 * stamps[:, None, None] + phases)


@pytest.mark.parametrize("delay", [-0.01, 0.0, 0.02])
def test_lag_is_the_delay_whatever_the_offset_and_the_gaps(delay):
    stamps = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.05, 120))
    predicted = moving(stamps - delay) + hand(3)
    predicted[40:50] = np.nan
    assert metrics.lag(predicted, moving(stamps), stamps) == pytest.approx(1000 * delay, abs=0.2)


def test_without_motion_or_without_hands_there_is_no_lag():
    still = np.tile(hand(), (10, 1, 1))
    assert np.isnan(metrics.lag(still, still, np.arange(10.0)))
    assert np.isnan(metrics.lag(np.full_like(still, np.nan), still, np.arange(10.0)))
