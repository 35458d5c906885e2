"""The filter of a hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hand_recon_ros.config import SMOOTHING
from hand_recon_ros.geometry.rotations import rotation_matrices, rotation_vectors
from hand_recon_ros.track.filter import HandFilter

vectors = st.lists(st.floats(-4, 4), min_size=3, max_size=3).map(np.array)


@settings(max_examples=200, deadline=None)
@given(vectors)
def test_rotation_vectors_agree_with_scipy(vector):
    rotation = Rotation.from_rotvec(vector)
    np.testing.assert_allclose(rotation_matrices(vector), rotation.as_matrix(), atol=1e-12)
    back = rotation_vectors(rotation.as_matrix())
    assert np.linalg.norm(back) <= np.pi + 1e-9
    np.testing.assert_allclose(rotation_matrices(back), rotation.as_matrix(), atol=1e-6)


def test_rotation_vector_of_half_turns_and_none():
    axes = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0, -0.8], [0.48, 0.6, 0.64]])
    half = Rotation.from_rotvec(axes * np.pi).as_matrix()
    found = rotation_vectors(half)
    np.testing.assert_allclose(np.abs(np.sum(found * axes, axis=-1)), np.pi, atol=1e-6)
    np.testing.assert_array_equal(rotation_vectors(np.eye(3)), np.zeros(3))


def run(settings, wrists, rotations, rate=30.0, filter_=None):
    """Filtered poses; ``settings`` are cutoff (Hz) and speed coefficient."""
    filter_ = filter_ or HandFilter()
    measured = enumerate(zip(wrists, rotations, strict=True), start=1)
    return [filter_.update(wrist, rotation, image / rate, *settings) for image, (wrist, rotation) in measured]


def reach(seconds, start, duration):
    """How far a minimum-jerk reach is, 0..1 (Flash and Hogan, J. Neurosci. 1985)."""
    share = np.clip((seconds - start) / duration, 0.0, 1.0)
    return share**3 * (10 - 15 * share + 6 * share**2)


def resting(n, rng, noise=0.004):
    wrists = np.array([0.1, 0.0, 0.5]) + rng.normal(0, noise, (n, 3))
    turns = Rotation.from_rotvec(rng.normal(0, 0.05, (n * 16, 3))).as_matrix().reshape(n, 16, 3, 3)
    base = Rotation.random(16, random_state=0).as_matrix()
    return wrists, base @ turns, base


def test_a_resting_hand_becomes_steadier():
    wrists, rotations, base = resting(200, np.random.default_rng(0))
    result = run((1.0, 1.0), wrists, rotations)[50:]
    smooth_wrists = np.array([w for w, _ in result])
    assert smooth_wrists.std(axis=0).max() < 0.5 * wrists.std(axis=0).min()
    angles = np.linalg.norm(rotation_vectors(np.swapaxes(base, -1, -2) @ np.array([r for _, r in result])), axis=-1)
    before = np.linalg.norm(rotation_vectors(np.swapaxes(base, -1, -2) @ rotations[50:]), axis=-1)
    assert angles.mean() < 0.6 * before.mean()


def test_cutoff_zero_changes_nothing():
    wrists, rotations, _ = resting(20, np.random.default_rng(1))
    for (w, r), wrist, rotation in zip(run((0.0, 5.0), wrists, rotations), wrists, rotations, strict=True):
        np.testing.assert_array_equal(w, wrist)
        np.testing.assert_array_equal(r, rotation)


def test_a_fast_hand_is_followed_closely():
    n = 60
    wrists = np.array([0.0, 0.0, 0.5]) + np.linspace(0, 1.0, n)[:, None] * np.array([1.0, 0.0, 0.0])  # 0.5 m/s
    result = run((1.5, 40.0), wrists, np.tile(np.eye(3), (n, 16, 1, 1)))
    assert np.linalg.norm(result[-1][0] - wrists[-1]) < 0.006


@pytest.mark.parametrize("rate", [15.0, 30.0, 60.0])
def test_steady_motion_and_turning_are_not_delayed(rate):
    images = round(3.0 * rate)
    seconds = np.arange(1, images + 1)[:, None] / rate
    wrists = [0.0, 0.0, 0.5] + seconds * [0.1, 0.0, 0.05]
    turns = rotation_matrices(seconds * [0.0, 0.0, 0.5])[:, None] * np.ones((16, 1, 1))
    filter_ = HandFilter()
    wrist, rotations = run((1.0, 0.0), wrists, turns, rate, filter_)[-1]
    np.testing.assert_allclose(wrist, wrists[-1], atol=1e-4)
    assert np.linalg.norm(rotation_vectors(np.swapaxes(rotations, -1, -2) @ turns[-1]), axis=-1).max() < 1e-3
    np.testing.assert_allclose(filter_.velocity, [0.1, 0.0, 0.05], atol=1e-3)


@pytest.mark.parametrize("rate", [15.0, 30.0, 60.0])
@pytest.mark.parametrize("settings", [value for name, value in SMOOTHING.items() if name != "off"])
def test_a_hand_that_stops_overshoots_by_a_few_millimetres(settings, rate):
    seconds = np.arange(0.0, 2.0, 1.0 / rate)
    wrists = [0.0, 0.0, 0.5] + reach(seconds, 0.5, 0.4)[:, None] * [0.2, 0.0, 0.0]
    path = np.array([wrist for wrist, _ in run(settings, wrists, np.tile(np.eye(3), (len(seconds), 16, 1, 1)), rate)])
    assert path[:, 0].max() < 0.2 + 0.012
    np.testing.assert_allclose(path[-1], wrists[-1], atol=0.001)


def test_motion_across_the_image_lets_no_noise_of_the_depth_through():
    n, rng = 120, np.random.default_rng(3)
    wrists = np.array([-0.5, 0.0, 0.6]) + np.linspace(0, 1.0, n)[:, None] * np.array([1.0, 0.0, 0.0])  # 0.25 m/s
    rays = wrists / np.linalg.norm(wrists, axis=1, keepdims=True)
    noise = rng.normal(0, 0.008, n)
    result = run((1.0, 40.0), wrists + noise[:, None] * rays, np.tile(np.eye(3), (n, 16, 1, 1)))
    error = np.array([wrist for wrist, _ in result])[20:] - wrists[20:]
    along = (error * rays[20:]).sum(axis=1)
    assert np.diff(along).std() < 0.5 * np.diff(noise[20:]).std()
    assert np.linalg.norm(error - along[:, None] * rays[20:], axis=1).max() < 0.012


def test_a_jump_of_the_depth_is_limited_and_stated():
    rest = np.tile([0.1, 0.05, 0.5], (30, 1))
    rest[20] *= 1.3  # 15 cm farther in one image
    filtered = HandFilter()
    jumps, wrists = [], []
    for frame, wrist in enumerate(rest):
        wrists.append(filtered.update(wrist, np.tile(np.eye(3), (16, 1, 1)), frame / 30, 2.0, 40.0)[0])
        jumps.append(filtered.jump)
    assert np.linalg.norm(wrists[20] - rest[0]) < 0.07
    assert jumps[20] == pytest.approx(0.3 * np.linalg.norm(rest[0]) - 0.068, abs=0.001)
    assert not any(jumps[:20]) and np.linalg.norm(wrists[-1] - rest[0]) < 0.01


@pytest.mark.parametrize("duration", [0.3, 0.4, 0.8])
@pytest.mark.parametrize("rate", [15.0, 30.0, 60.0])
def test_a_quick_reach_to_the_camera_is_no_jump(rate, duration):
    """A minimum-jerk reach over 0.4 m, of up to 26 m/s^2."""
    filtered = HandFilter()
    for time in np.arange(0.0, 1.5, 1.0 / rate):
        wrist = np.array([0.05, 0.0, 0.8 - 0.4 * reach(time, 0.3, duration)])
        filtered.update(wrist, np.tile(np.eye(3), (16, 1, 1)), time, 1.0, 65.0)
        assert filtered.jump == 0.0
    assert filtered.wrist[2] == pytest.approx(0.4, abs=0.005)


def test_a_distance_that_a_depth_image_measures_may_change_at_once():
    filtered = HandFilter()
    turns = np.tile(np.eye(3), (16, 1, 1))
    for frame in range(10):
        filtered.update(np.array([0.0, 0.0, 0.5]), turns, frame / 30, 1.0, 65.0, exact=True)
    filtered.update(np.array([0.0, 0.0, 0.7]), turns, 10 / 30, 1.0, 65.0, exact=True)
    assert filtered.jump == 0.0


def test_results_stay_rotations():
    wrists, rotations, _ = resting(100, np.random.default_rng(2))
    for _, r in run((1.0, 1.0), wrists, rotations):
        np.testing.assert_allclose(r @ np.swapaxes(r, -1, -2), np.tile(np.eye(3), (16, 1, 1)), atol=1e-9)


def test_prediction_goes_on_at_constant_velocity():
    n, rate = 90, 30.0
    velocity, spin = np.array([0.3, -0.1, 0.2]), np.array([0.0, 0.0, 1.2])
    wrists = np.arange(n)[:, None] / rate * velocity + [0, 0, 0.5]
    rotations = np.tile(np.eye(3), (n, 16, 1, 1))
    rotations[:, 0] = rotation_matrices(np.arange(n)[:, None] / rate * spin)
    filter_ = HandFilter()
    run((0.0, 0.0), wrists, rotations, rate, filter_)
    wrist, turned = filter_.predict(n / rate + 0.1)
    np.testing.assert_allclose(wrist, wrists[-1] + 0.1 * velocity, atol=1e-4)
    expected = rotations[-1, 0] @ rotation_matrices(spin * 0.1)
    assert np.linalg.norm(rotation_vectors(turned[0].T @ expected)) < 1e-3
    np.testing.assert_array_equal(turned[1:], rotations[-1, 1:])


def test_a_long_pause_starts_afresh():
    filter_ = HandFilter()
    filter_.update(np.zeros(3), np.tile(np.eye(3), (16, 1, 1)), 0.0, 1.0, 0.0)
    wrist, _ = filter_.update(np.ones(3), np.tile(np.eye(3), (16, 1, 1)), 5.0, 1.0, 0.0)
    np.testing.assert_array_equal(wrist, np.ones(3))


def test_no_prediction_before_a_measurement():
    with pytest.raises(ValueError, match="no measurement yet"):
        HandFilter().predict(0.0)
