"""Estimates delayed and smoothed by the images around them: exact on smooth motion, and steadier on a noisy one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from ros_support import CAMERA, estimate_of, hand_model
from scipy.spatial.transform import Rotation

from hand_recon_ros.interact.estimates import with_pose
from hand_recon_ros.track.fixed_lag import FixedLagSmoother
from hand_recon_ros.types import HandEstimate, HandState, Side, TwoHandEstimate

AXIS = np.array([0.3, -0.5, 0.8]) / np.linalg.norm([0.3, -0.5, 0.8])
DELAY = 0.1


def posed(hand: HandEstimate, time: float, noise: np.ndarray | None = None) -> HandEstimate:
    """A hand on a parabola, each joint turning about an axis with constant angular acceleration."""
    noise = np.zeros(6) if noise is None else noise
    wrist = hand.joints[0] + [0.1 * time + 0.5 * time**2, -0.2 * time, 0.3 * time**2] + noise[:3]
    turn = Rotation.from_rotvec(AXIS * (0.8 * time - 0.6 * time**2) + noise[3:]).as_matrix()
    return with_pose(hand, hand.rotations @ turn, hand.betas, wrist, hand_model(), CAMERA, False)


def at(time: float, noise: np.ndarray | None = None, **changes: object) -> TwoHandEstimate:
    """Both hands at a time; ``changes`` are of the right one."""
    still = estimate_of(stamp=time)
    left, right = (posed(still.hand(side), time, noise) for side in Side)
    return dataclasses.replace(still, left=left, right=dataclasses.replace(right, **changes))  # type: ignore[arg-type]


def smoothed(times: np.ndarray, make: Callable[[float], TwoHandEstimate] = at, delay: float = DELAY):
    """The results of a stream and of its end, by the number of the image."""
    smoother: FixedLagSmoother[int] = FixedLagSmoother(hand_model())
    results: list[tuple[int, TwoHandEstimate]] = []
    for number, time in enumerate(times):
        for result in smoother.add(number, make(time), CAMERA, delay):
            assert result[1].stamp + delay <= time + 1e-6
            results.append(result)
        assert len(results) == int(np.sum(times[: number + 1] + delay <= time + 1e-6))
    results += smoother.rest(delay)
    assert [number for number, _ in results] == list(range(len(times)))
    assert not list(smoother.rest(delay))
    return [estimate for _, estimate in results]


@pytest.mark.parametrize("rate", [30.0, 60.0, 90.0])
def test_a_smooth_motion_stays_as_it_is(rate):
    times = 5.0 + np.arange(40) / rate
    for time, estimate in zip(times, smoothed(times), strict=True):
        truth = at(time)
        for side in Side:
            hand, true = estimate.hand(side), truth.hand(side)
            assert hand.state == HandState.TRACKED and hand.track_id == true.track_id
            np.testing.assert_allclose(hand.joints, true.joints, atol=1e-9)
            np.testing.assert_allclose(hand.rotations, true.rotations, atol=1e-9)
            np.testing.assert_allclose(hand.vertices, true.vertices, atol=1e-6)
            np.testing.assert_allclose(hand.wrist_pose, true.wrist_pose, atol=1e-9)
            np.testing.assert_array_equal(hand.keypoints_2d, true.keypoints_2d)


def test_noise_is_reduced_and_nothing_lags():
    rng = np.random.default_rng(1)
    times = np.arange(300) / 30.0
    noise = {time: 0.004 * rng.normal(size=6) for time in times}
    slow = [at(0.1 * time, noise[time]) for time in times]
    estimates = smoothed(times, lambda time: dataclasses.replace(slow[round(time * 30)], stamp=time))
    for side in Side:
        truth = np.stack([at(0.1 * time).hand(side).joints for time in times])
        before = np.stack([estimate.hand(side).joints for estimate in slow])
        after = np.stack([estimate.hand(side).joints for estimate in estimates])
        jitter = [np.linalg.norm(np.diff(each, n=3, axis=0), axis=-1).mean() for each in (before, after)]
        error = [np.linalg.norm(each - truth, axis=-1).mean() for each in (before, after)]
        assert jitter[1] < 0.25 * jitter[0] and error[1] < 0.7 * error[0]
        assert np.abs((after - truth).mean(axis=0)).max() < 0.001


def test_a_hand_that_was_predicted_between_measured_poses_is_interpolated():
    times = np.arange(30) / 30.0
    far = {"state": HandState.PREDICTED, "since_measurement": 0.03}

    def make(time: float) -> TwoHandEstimate:
        lost = at(time)
        wrong = posed(lost.right, 0.0, np.full(6, 0.3))  # an extrapolation far off
        right = dataclasses.replace(wrong, **far) if 0.49 < time < 0.55 else lost.right
        return dataclasses.replace(lost, right=right)

    results = smoothed(times, make)
    for time, estimate in zip(times, results, strict=True):
        np.testing.assert_allclose(estimate.right.joints, at(time).right.joints, atol=1e-9)
        if 0.49 < time < 0.55:
            assert estimate.right.state == HandState.PREDICTED
            np.testing.assert_allclose(estimate.right.keypoints_2d, CAMERA.project(estimate.right.joints))


def test_an_extrapolated_hand_a_lost_one_and_another_track_stay_apart():
    times = np.arange(30) / 30.0

    def make(time: float) -> TwoHandEstimate:
        estimate = at(time)
        if time < 0.5:
            return estimate
        predicted = dataclasses.replace(estimate.left, state=HandState.PREDICTED, since_measurement=0.1)
        if time < 0.6:
            return dataclasses.replace(estimate, left=predicted, right=HandEstimate.lost(Side.RIGHT))
        other = posed(estimate.right, 0.0, np.full(6, 0.2))
        return dataclasses.replace(
            estimate, left=HandEstimate.lost(Side.LEFT), right=dataclasses.replace(other, track_id=77)
        )

    for time, estimate in zip(times, smoothed(times, make), strict=True):
        given = make(time)
        for side in Side:
            assert estimate.hand(side).state == given.hand(side).state
            if given.hand(side).found:
                np.testing.assert_allclose(estimate.hand(side).joints, given.hand(side).joints, atol=1e-9)


def test_hands_before_the_refinement_are_smoothed_as_well():
    times = np.arange(20) / 30.0

    def make(time: float) -> TwoHandEstimate:
        refined, noise = at(time), np.array([0.01, 0, 0, 0, 0, 0])
        if round(time * 30) % 2:
            return refined  # where the refinement changed nothing there is no other pair
        before = tuple(posed(refined.hand(side), 0.0, noise) for side in Side)
        return dataclasses.replace(refined, refined=True, unrefined=before)

    for number, estimate in enumerate(smoothed(times, make)):
        np.testing.assert_allclose(estimate.right.joints, at(times[number]).right.joints, atol=1e-9)
        assert (estimate.unrefined is None) == bool(number % 2) and estimate.refined != bool(number % 2)
        if estimate.unrefined is not None:
            given = make(times[number]).unrefined
            assert given is not None
            shift = estimate.unrefined[Side.RIGHT].joints - given[Side.RIGHT].joints
            assert 0.0005 < np.abs(shift).max() < 0.2


def test_without_a_delay_nothing_is_changed_and_with_a_shorter_one_waiting_images_follow_at_once():
    smoother: FixedLagSmoother[str] = FixedLagSmoother(hand_model())
    first = at(0.0)
    assert list(smoother.add("a", first, CAMERA, 0.0)) == [("a", first)]
    for number in range(1, 4):
        assert not list(smoother.add(str(number), at(number / 30.0), CAMERA, 0.5))
    assert [name for name, _ in smoother.add("b", at(4 / 30.0), CAMERA, 0.0)] == ["1", "2", "3", "b"]
    smoother.add("c", at(5 / 30.0), CAMERA, 0.5)
    smoother.clear()
    assert not list(smoother.rest(0.5))


@pytest.mark.parametrize("step", [0.0, -1.0])
def test_stamps_that_do_not_advance_begin_another_stream(step):
    smoother: FixedLagSmoother[int] = FixedLagSmoother(hand_model())
    given = []
    for number in range(8):
        estimate = at(5.0 + number * step)
        given += [(item, result.stamp) for item, result in smoother.add(number, estimate, CAMERA, 0.1)]
        assert [item for item, _ in given] == list(range(number))
    given += [(item, result.stamp) for item, result in smoother.rest(0.1)]
    assert given == [(number, 5.0 + number * step) for number in range(8)]
