"""Teleoperation without ROS: relative motion, limits, clutch, gripper, and every reason to stop."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from poses import matrix
from scipy.spatial.transform import Rotation

from hand_recon_ros.config import ConfigError
from hand_recon_ros.teleop.motion import Gripper, PinchClutch, step_towards
from hand_recon_ros.teleop.settings import TeleopSettings
from hand_recon_ros.teleop.teleoperation import EngageError, HandSample, Teleoperation
from hand_recon_ros.types import HandState

FREE = TeleopSettings(
    clutch="always", max_linear_velocity=10.0, max_angular_velocity=20.0, max_linear_step=1.0, max_angular_step=3.0
)
"""Limits so wide that the target is where it should be after every step."""
PERIOD = 1 / 30


class Script:
    """A hand seen every ``PERIOD``, and the command after it."""

    def __init__(self, settings: TeleopSettings = FREE, **arguments: object) -> None:
        self.settings = settings
        self.teleop = Teleoperation(**arguments)
        self.now = 100.0

    def see(self, hand: np.ndarray | None = None, late: float = 0.0, **fields: object) -> object:
        self.now += PERIOD
        values = dict(
            stamp=self.now - late,
            state=HandState.TRACKED,
            track_id=1,
            pose=matrix() if hand is None else hand,
            pinch_distance=0.06,
            clutch_distance=0.06,
        )
        self.teleop.add(HandSample(**{**values, **fields}), self.now, self.settings)
        return self.teleop.advance(PERIOD, self.settings)

    def lose(self) -> object:
        return self.see(state=HandState.LOST, track_id=0, pose=np.full((4, 4), np.nan), clutch_distance=None)


def angle(rotation: np.ndarray) -> float:
    return float(np.linalg.norm(Rotation.from_matrix(rotation).as_rotvec()))


def test_the_target_follows_the_relative_motion() -> None:
    script = Script(dataclasses.replace(FREE, scale=0.5))
    start = matrix((0.4, -0.2, 0.9), (0.3, 2.0, -0.5))
    script.teleop.place(start)
    hand = matrix((0.1, 0.2, 0.7), (1.0, 0.2, 0.1))
    command = script.see(hand)
    np.testing.assert_allclose(command.pose, start, atol=1e-12)  # no jump to the hand
    np.testing.assert_allclose(command.twist, 0.0, atol=1e-12)
    turn = Rotation.from_rotvec([0.0, 0.3, 0.1]).as_matrix()
    moved = hand.copy()
    moved[:3, 3] += (0.04, -0.02, 0.06)
    moved[:3, :3] = turn @ hand[:3, :3]
    command = script.see(moved)
    np.testing.assert_allclose(command.pose[:3, 3], start[:3, 3] + (0.02, -0.01, 0.03), atol=1e-12)
    np.testing.assert_allclose(command.pose[:3, :3], turn @ start[:3, :3], atol=1e-12)
    np.testing.assert_allclose(command.twist[:3] * PERIOD, (0.02, -0.01, 0.03), atol=1e-12)
    np.testing.assert_allclose(command.twist[3:] * PERIOD, (0.0, 0.3, 0.1), atol=1e-12)
    np.testing.assert_allclose(script.see(hand).pose, start, atol=1e-12)  # and back
    script.settings = dataclasses.replace(script.settings, scale=2.0)  # a live change alone moves nothing
    np.testing.assert_allclose(script.see(hand).pose, start, atol=1e-12)


def test_engaging_again_does_not_jump() -> None:
    script = Script(dataclasses.replace(FREE, clutch="service"))
    script.teleop.place(matrix((0.3, 0.0, 0.3)))
    assert script.see() is None  # not engaged yet
    script.teleop.request(True, script.now, script.settings)
    script.see(matrix((0.05, 0.0, 0.5)))
    held = script.teleop.motion.pose
    np.testing.assert_allclose(held[:3, 3], (0.35, 0.0, 0.3))
    script.teleop.request(False, script.now, script.settings)
    stop = script.teleop.advance(PERIOD, script.settings)
    assert stop.pose is None and stop.gripper is None and not stop.twist.any()
    for x in (0.1, 0.15, 0.2):  # the hand goes elsewhere meanwhile
        assert script.see(matrix((x, 0.0, 0.5), (0.0, x, 0.0))) is None
    script.teleop.request(True, script.now, script.settings)
    np.testing.assert_allclose(script.see(matrix((0.2, 0.0, 0.5), (0.0, 0.2, 0.0))).pose, held, atol=1e-12)
    np.testing.assert_allclose(script.see(matrix((0.2, 0.01, 0.5), (0.0, 0.2, 0.0))).pose[1, 3], 0.01)


def test_without_a_start_there_is_a_twist_and_no_target() -> None:
    script = Script()
    script.see()
    command = script.see(matrix((0.01, 0.0, 0.5)))
    assert command.pose is None
    np.testing.assert_allclose(command.twist, [0.3, 0, 0, 0, 0, 0], atol=1e-12)


def test_the_start_is_found_at_every_engagement() -> None:
    poses = iter([matrix((1.0, 0.0, 0.0)), matrix((2.0, 0.0, 0.0))])
    script = Script(find_start=lambda: next(poses))
    assert script.see().pose[0, 3] == 1.0
    assert script.see(matrix((0.01, 0.0, 0.5))).pose[0, 3] == pytest.approx(1.01)
    script.lose()
    assert script.see().pose[0, 3] == 2.0


def test_without_the_robots_pose_the_clutch_does_not_engage() -> None:
    def unknown() -> None:
        raise EngageError("no transform of the tool")

    script = Script(find_start=unknown)
    assert script.see() is None and not script.teleop.engaged
    assert script.teleop.reason == "no transform of the tool"
    script.settings = dataclasses.replace(FREE, clutch="service")
    with pytest.raises(EngageError, match="no transform of the tool"):
        script.teleop.request(True, script.now, script.settings)


def test_a_start_cannot_be_set_while_the_target_moves() -> None:
    script = Script()
    script.see()
    with pytest.raises(EngageError, match="release it first"):
        script.teleop.place(np.eye(4))


def test_velocity_limits_hold_and_the_goal_is_reached() -> None:
    script = Script(TeleopSettings(clutch="always"))
    limits = script.settings
    script.teleop.place(np.eye(4))
    script.see(matrix())
    goal = matrix((0.06, 0.06, 0.5), (0.0, 0.0, 0.9))
    before = script.teleop.motion.pose
    for _ in range(30):
        command = script.see(goal)
        assert np.linalg.norm(command.twist[:3]) <= limits.max_linear_velocity + 1e-9
        assert np.linalg.norm(command.twist[3:]) <= limits.max_angular_velocity + 1e-9
        step = np.linalg.norm(command.pose[:3, 3] - before[:3, 3])
        assert step <= limits.max_linear_step + 1e-12
        assert angle(command.pose[:3, :3] @ before[:3, :3].T) <= limits.max_angular_step + 1e-9
        before = command.pose
    np.testing.assert_allclose(before[:3, 3], (0.06, 0.06, 0.0), atol=1e-9)
    assert angle(before[:3, :3]) == pytest.approx(0.9)


def test_a_late_output_is_no_large_step() -> None:
    script = Script(TeleopSettings(clutch="always"))
    script.teleop.place(np.eye(4))
    script.see(matrix())
    script.see(matrix((0.09, 0.0, 0.5)))
    before = script.teleop.motion.pose
    after = script.teleop.advance(2.0, script.settings).pose
    assert np.linalg.norm(after[:3, 3] - before[:3, 3]) == pytest.approx(script.settings.max_linear_step)


def test_steps_never_pass_the_goal() -> None:
    generator = np.random.default_rng(2)
    for _ in range(50):
        start = matrix(generator.normal(size=3), generator.normal(size=3))
        goal = matrix(generator.normal(size=3), generator.normal(size=3))
        np.testing.assert_allclose(step_towards(start, goal, 100.0, 4.0), goal, atol=1e-9)
        half = step_towards(start, goal, 0.1, 0.2)
        left = np.linalg.norm(goal[:3, 3] - half[:3, 3]), angle(goal[:3, :3] @ half[:3, :3].T)
        assert left[0] == pytest.approx(max(np.linalg.norm(goal[:3, 3] - start[:3, 3]) - 0.1, 0.0), abs=1e-9)
        assert left[1] == pytest.approx(max(angle(goal[:3, :3] @ start[:3, :3].T) - 0.2, 0.0), abs=1e-6)
        np.testing.assert_allclose(half[:3, :3] @ half[:3, :3].T, np.eye(3), atol=1e-12)


STOPS = {
    "LOST": lambda script: script.lose(),
    "lost and found": lambda script: script.see(track_id=2),
    "jump back": lambda script: script.see(late=0.05),
    "jumps": lambda script: script.see(matrix((0.3, 0.0, 0.5))),
}


@pytest.mark.parametrize("reason", ["LOST", "lost and found", "jump back", "jumps"])
def test_it_stops_once(reason: str) -> None:
    script = Script(dataclasses.replace(FREE, clutch="service"))
    script.see()
    script.teleop.request(True, script.now, script.settings)
    assert script.see(matrix((0.01, 0.0, 0.5))).twist[0] > 0
    command = STOPS[reason](script)
    assert not command.twist.any() and command.pose is None and command.gripper is None
    assert not script.teleop.engaged and reason in script.teleop.reason
    for _ in range(3):  # not by itself again, and nothing is published
        assert script.see() is None
    assert script.teleop.reason == "ready" and reason in script.teleop.released_by
    script.teleop.request(True, script.now, script.settings)
    assert script.see() is not None


@pytest.mark.parametrize(("offset", "words"), [(0.4, "past"), (-0.4, "future")])
def test_hands_with_old_or_future_stamps_do_not_move_the_target(offset: float, words: str) -> None:
    script = Script()
    for _ in range(3):
        assert script.see(late=offset) is None
    assert words in script.teleop.reason and "0.40 s" in script.teleop.reason
    script = Script()
    script.see(late=0.2)
    script.now += 1.0
    assert not script.see(late=offset + 0.1 if offset > 0 else offset).twist.any()


def test_it_stops_where_no_hand_comes() -> None:
    script = Script()
    script.see()
    script.teleop.check_age(script.now + 0.29, 0.29, script.settings)
    assert script.teleop.engaged
    script.teleop.check_age(script.now + 0.31, 0.31, script.settings)
    assert not script.teleop.engaged and "0.31 s old" in script.teleop.reason
    assert not script.teleop.advance(PERIOD, script.settings).twist.any()
    assert script.teleop.advance(PERIOD, script.settings) is None
    script = Script()
    script.see()
    script.teleop.check_age(script.now, 0.5, script.settings)  # a simulated clock that stands still
    assert not script.teleop.engaged


def test_a_predicted_hand_holds_the_goal() -> None:
    script = Script()
    script.teleop.place(np.eye(4))
    script.see()
    script.see(matrix((0.02, 0.0, 0.5)))
    for x in (0.04, 0.06):
        assert script.see(matrix((x, 0.0, 0.5)), state=HandState.PREDICTED).pose[0, 3] == pytest.approx(0.02)
    assert script.see(matrix((0.03, 0.0, 0.5))).pose[0, 3] == pytest.approx(0.03)
    assert Script().see(state=HandState.PREDICTED) is None  # and does not engage


def test_a_message_again_changes_nothing() -> None:
    script = Script()
    script.teleop.place(np.eye(4))
    script.see()
    stamp = script.now
    assert script.see(matrix((0.1, 0.0, 0.5)), stamp=stamp).pose[0, 3] == 0.0
    assert script.teleop.engaged


def test_a_request_without_a_hand_is_refused_with_the_reason() -> None:
    service = dataclasses.replace(FREE, clutch="service")
    script = Script(service)
    with pytest.raises(EngageError, match="no hand has come yet"):
        script.teleop.request(True, script.now, service)
    script.lose()
    with pytest.raises(EngageError, match="LOST"):
        script.teleop.request(True, script.now, service)
    script.see()
    with pytest.raises(EngageError, match="1.00 s old"):
        script.teleop.request(True, script.now + 1.0, service)
    script.see(state=HandState.PREDICTED)
    with pytest.raises(EngageError, match="PREDICTED"):
        script.teleop.request(True, script.now, service)
    assert script.see() is None  # a refused request does not engage later


def test_always_engages_again_unless_it_is_forbidden() -> None:
    script = Script()
    assert script.see() is not None
    script.lose()
    assert script.see() is not None
    script.teleop.request(False, script.now, script.settings)
    assert not script.see().twist.any() and script.see() is None
    assert script.teleop.reason == "released by request"
    script.teleop.request(True, script.now, script.settings)
    assert script.see().twist is not None and script.teleop.engaged


def test_the_pinch_has_hysteresis_and_has_to_open_first() -> None:
    clutch = PinchClutch()
    seen = [clutch.update(d, 0.025, 0.045) for d in (0.01, 0.03, 0.05, 0.03, 0.02, 0.04, 0.046, 0.03, 0.02)]
    assert seen == [False, False, False, False, True, True, False, False, True]
    clutch.reset()
    assert not clutch.update(0.02, 0.025, 0.045)


def test_a_pinch_moves_the_target_while_it_lasts() -> None:
    pinch = dataclasses.replace(FREE, clutch="pinch", gripper="off")
    script = Script(pinch)
    script.teleop.place(np.eye(4))
    assert script.see(clutch_distance=0.06) is None
    np.testing.assert_allclose(script.see(clutch_distance=0.01).pose, np.eye(4))
    assert script.see(matrix((0.02, 0.0, 0.5)), clutch_distance=0.03).pose[0, 3] == pytest.approx(0.02)
    assert not script.see(matrix((0.04, 0.0, 0.5)), clutch_distance=0.06).twist.any()
    assert script.teleop.motion.pose[0, 3] == pytest.approx(0.02)
    np.testing.assert_allclose(script.see(clutch_distance=0.01).pose[0, 3], 0.02)
    script.lose()
    assert script.see(clutch_distance=0.01) is None, "still pinched when it is found again"
    assert script.see(clutch_distance=0.06) is None and script.see(clutch_distance=0.01) is not None


def test_it_stops_where_the_hand_with_the_clutch_is_lost() -> None:
    script = Script(dataclasses.replace(FREE, clutch="pinch", clutch_hand="other"))
    script.see()
    assert script.see(clutch_distance=0.01) is not None
    assert not script.see(clutch_distance=None).twist.any()
    assert "with the clutch is LOST" in script.teleop.reason


def test_the_gripper_reaches_both_ends_and_does_not_tremble() -> None:
    gripper = Gripper()
    assert gripper.update(0.08, 0.08, 0.02, 0.05) == 0.0
    assert gripper.update(0.02, 0.08, 0.02, 0.05) == 1.0
    assert gripper.update(0.005, 0.08, 0.02, 0.05) == 1.0 and gripper.update(0.2, 0.08, 0.02, 0.05) == 0.0
    middle = gripper.update(0.05, 0.08, 0.02, 0.05)
    assert middle == pytest.approx(0.5, abs=0.06)
    noise = [gripper.update(0.05 + d, 0.08, 0.02, 0.05) for d in (-0.002, 0.001, -0.001, 0.002, -0.002, 0.0015)]
    assert len(set(noise)) == 1 and noise[0] == pytest.approx(middle, abs=0.04)
    closing = [gripper.update(d, 0.08, 0.02, 0.05) for d in np.linspace(0.05, 0.02, 20)]
    assert all(b >= a for a, b in itertools.pairwise(closing)) and closing[-1] == 1.0


def test_the_gripper_holds_what_it_has_until_the_fingers_are_there() -> None:
    script = Script()
    script.see()
    assert script.see(pinch_distance=0.02).gripper == 1.0
    script.lose()
    for distance in (0.08, 0.08, 0.06):
        assert script.see(pinch_distance=distance).gripper == 1.0
    assert script.see(pinch_distance=0.024).gripper == 1.0
    assert script.see(pinch_distance=0.08).gripper == 0.0
    gripper = Gripper()
    gripper.update(0.05, 0.08, 0.02, 0.05)
    gripper.engage()
    held = gripper.update(0.08, 0.08, 0.02, 0.05)
    assert held == gripper.command and held > 0.4
    assert gripper.update(0.02, 0.08, 0.02, 0.05) == 1.0  # passed between two images


def test_no_gripper_command_where_it_is_off() -> None:
    script = Script(dataclasses.replace(FREE, gripper="off"))
    assert script.see().gripper is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"pinch_engage": 0.05}, "pinch_release"),
        ({"gripper_open_distance": 0.03}, "gripper_closed_distance"),
        ({"clutch": "pinch"}, "clutch_hand to other"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TeleopSettings(**values)
