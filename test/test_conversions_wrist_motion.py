"""Covariance and velocity of a wrist."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hand_recon_ros.conversions.wrist_motion import ACROSS, TURN, WINDOW, WristVelocities, wrist_covariance
from hand_recon_ros.types import HandEstimate, HandState, Side

VELOCITY, SPIN = np.array([0.3, -0.2, 0.1]), np.array([0.5, -1.0, 2.0])
EPOCH = 1.8e9
"""A stamp of a robot's clock, seconds: of such ones doubles have 0.2 microseconds."""
START = Rotation.from_rotvec([0.4, 1.9, -0.7])


def hand(time: float = 0.0, side: Side = Side.RIGHT, track_id: int = 1, **values: object) -> HandEstimate:
    """A wrist that moves and turns at constant velocity."""
    pose = np.eye(4)
    pose[:3, :3] = (Rotation.from_rotvec(SPIN * time) * START).as_matrix()
    pose[:3, 3] = np.array([0.1, 0.05, 0.6]) + VELOCITY * time
    joints = np.tile(pose[:3, 3], (21, 1))
    return dataclasses.replace(
        HandEstimate.lost(side), state=HandState.TRACKED, track_id=track_id, wrist_pose=pose, joints=joints,
        position_stddev=0.03, **values,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize("turn", [np.eye(3), Rotation.from_rotvec([1.0, -0.5, 2.0]).as_matrix()])
def test_the_covariance_is_that_of_the_ray_in_the_frame_of_the_result(turn: np.ndarray) -> None:
    seen = hand()
    moved = np.eye(4)
    moved[:3, :3], moved[:3, 3] = turn, (1.0, 2.0, 3.0)
    shown = dataclasses.replace(seen, wrist_pose=moved @ seen.wrist_pose)
    covariance = wrist_covariance(seen, shown, np.zeros(3))
    distance = np.linalg.norm(seen.joints[0])
    ray = turn @ seen.joints[0] / distance
    np.testing.assert_allclose(covariance, covariance.T, atol=1e-15)
    np.testing.assert_allclose(covariance[:3, :3] @ ray, 0.03**2 * ray, atol=1e-12)
    variances = np.linalg.eigvalsh(covariance)
    expected = [(ACROSS * distance) ** 2] * 2 + [0.03**2] + [TURN**2] * 3
    np.testing.assert_allclose(variances, sorted(expected), rtol=1e-9)
    assert not covariance[:3, 3:].any()


def test_a_predicted_hand_is_less_certain() -> None:
    predicted = dataclasses.replace(hand(), state=HandState.PREDICTED)
    of_predicted = wrist_covariance(predicted, predicted, np.zeros(3))
    np.testing.assert_allclose(of_predicted, 36.0 * wrist_covariance(hand(), hand(), np.zeros(3)))


def test_the_ray_begins_at_the_centre_of_the_camera() -> None:
    center = np.array([0.12, 0.0, 0.0])
    covariance = wrist_covariance(hand(), hand(), center)
    ray = (hand().joints[0] - center) / np.linalg.norm(hand().joints[0] - center)
    np.testing.assert_allclose(covariance[:3, :3] @ ray, 0.03**2 * ray, atol=1e-12)


def test_a_constant_velocity_is_found_from_the_second_image_on() -> None:
    velocities = WristVelocities()
    assert velocities(hand(5.0), EPOCH) is None
    for number in range(1, 20):
        time = 5.0 + number / 30.0
        found = velocities(hand(time), EPOCH + time - 5.0)
        assert found is not None
        np.testing.assert_allclose(found[0], VELOCITY, atol=1e-5)
        np.testing.assert_allclose(found[1], SPIN, atol=1e-4)


def test_only_the_poses_of_the_window_count() -> None:
    velocities = WristVelocities()
    for number in range(30):
        velocities(hand(0.0), number / 30.0)  # at rest
    for number in range(1, 6):
        found = velocities(hand(number / 30.0), 29 / 30.0 + number / 30.0)
    assert found is not None
    np.testing.assert_allclose(found[0], VELOCITY, atol=1e-9)
    assert WINDOW < 5 / 30.0


@pytest.mark.parametrize(
    ("track_id", "time"), [(2, 0.1), (1, 0.05), (1, 0.0), (1, 0.5)], ids=["track", "stands", "back", "gap"]
)
def test_another_track_and_time_that_does_not_go_on_begin_anew(track_id: int, time: float) -> None:
    velocities = WristVelocities()
    assert velocities(hand(0.0), 0.0) is None
    assert velocities(hand(0.05), 0.05) is not None
    assert velocities(hand(3.0, track_id=track_id), time) is None
    found = velocities(hand(3.05, track_id=track_id), time + 0.05)
    assert found is not None
    np.testing.assert_allclose(found[0], VELOCITY, atol=1e-9)


def test_a_lost_hand_has_none_and_hands_do_not_mix() -> None:
    velocities = WristVelocities()
    velocities(hand(0.0), 0.0)
    velocities(hand(7.0, Side.LEFT), 0.0)
    assert velocities(HandEstimate.lost(Side.RIGHT), 0.05) is None
    found = velocities(hand(7.05, Side.LEFT), 0.05)
    assert found is not None
    np.testing.assert_allclose(found[0], VELOCITY, atol=1e-9)
    assert velocities(hand(0.1), 0.1) is None
    velocities.clear()
    assert velocities(hand(7.1, Side.LEFT), 0.1) is None
