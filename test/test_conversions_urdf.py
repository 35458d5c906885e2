"""The URDF of a hand: its own kinematics, read from the XML here, give the keypoints of the hand model."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from hand_recon_ros import cli
from hand_recon_ros.conversions.urdf import hand_urdf, roll_pitch_yaw
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.hand_model.named_angles import ANGLE_NAMES, angles_from_named, named_limits
from hand_recon_ros.lift.hand_calibration import HandShape, write_shapes
from hand_recon_ros.skeleton import KEYPOINT_NAMES, wrist_pose
from hand_recon_ros.types import Side

MODEL = load_hand_model()
SIDES = pytest.mark.parametrize("side", list(Side))


def link_poses(robot: ElementTree.Element, angles: dict[str, float]) -> dict[str, np.ndarray]:
    """Name -> pose (4, 4) of each link in the root's frame, by URDF's rules, for the angles of the joints."""
    joints = robot.findall("joint")
    children = {joint.find("child").get("link") for joint in joints}  # type: ignore[union-attr]
    (root,) = {link.get("name") for link in robot.findall("link")} - children
    poses = {str(root): np.eye(4)}
    while len(poses) < len(robot.findall("link")):
        for joint in joints:
            parent, child = (joint.find(end).get("link") for end in ("parent", "child"))  # type: ignore[union-attr]
            if parent not in poses or child in poses:
                continue
            origin = joint.find("origin")
            step = np.eye(4)
            step[:3, 3] = [float(text) for text in origin.get("xyz").split()]  # type: ignore[union-attr]
            rpy = [float(text) for text in origin.get("rpy").split()]  # type: ignore[union-attr]
            step[:3, :3] = Rotation.from_euler("xyz", rpy).as_matrix()  # about fixed axes
            if joint.get("type") == "revolute":
                axis = np.array([float(text) for text in joint.find("axis").get("xyz").split()])  # type: ignore[union-attr]
                step[:3, :3] = step[:3, :3] @ Rotation.from_rotvec(axis * angles[str(joint.get("name"))]).as_matrix()
            poses[str(child)] = poses[parent] @ step
    return poses


@SIDES
@pytest.mark.parametrize("seed", range(5))
def test_links_are_the_keypoints_of_the_hand_model(side: Side, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinematics = MODEL.kinematics(side)
    betas = rng.normal(size=10) * (seed > 0)
    limits = named_limits(kinematics)
    values = rng.uniform(limits[:, 0], limits[:, 1])
    robot = ElementTree.fromstring(hand_urdf(kinematics, betas, "me_"))
    poses = link_poses(robot, {f"{side.label}_{name}": v for name, v in zip(ANGLE_NAMES, values, strict=True)})
    rotations = kinematics.rotations_of(angles_from_named(values))
    keypoints, _ = kinematics.forward(rotations, betas, np.zeros(3))
    to_wrist = np.linalg.inv(wrist_pose(keypoints, side == Side.RIGHT))
    expected = keypoints @ to_wrist[:3, :3].T + to_wrist[:3, 3]
    found = np.array([poses[f"me_{side.label}_{name}"][:3, 3] for name in KEYPOINT_NAMES])
    np.testing.assert_allclose(found, expected, atol=1e-7)


@SIDES
def test_names_types_and_limits(side: Side) -> None:
    robot = ElementTree.fromstring(hand_urdf(MODEL.kinematics(side), np.zeros(10)))
    joints = {joint.get("name"): joint for joint in robot.findall("joint")}
    moving = [name for name, joint in joints.items() if joint.get("type") == "revolute"]
    assert sorted(map(str, moving)) == sorted(f"{side.label}_{name}" for name in ANGLE_NAMES)
    assert sum(joint.get("type") == "fixed" for joint in joints.values()) == 5
    links = [link.get("name") for link in robot.findall("link")]
    assert len(set(links)) == len(links) == 21 + 5  # and one between the two axes of each finger's first joint
    for name, (low, high) in zip(ANGLE_NAMES, named_limits(MODEL.kinematics(side)), strict=True):
        limit = joints[f"{side.label}_{name}"].find("limit")
        assert limit is not None and float(limit.get("lower", "")) == pytest.approx(low, abs=1e-5)
        assert float(limit.get("upper", "")) == pytest.approx(high, abs=1e-5)


@SIDES
def test_bones_are_drawn_from_joint_to_joint(side: Side) -> None:
    robot = ElementTree.fromstring(hand_urdf(MODEL.kinematics(side), np.zeros(10)))
    poses = link_poses(robot, dict.fromkeys((f"{side.label}_{name}" for name in ANGLE_NAMES), 0.0))
    ends = []
    for link in robot.findall("link"):
        for visual in link.findall("visual"):
            origin, cylinder = visual.find("origin"), visual.find("geometry/cylinder")
            assert origin is not None and cylinder is not None
            turn = Rotation.from_euler("xyz", [float(text) for text in origin.get("rpy", "").split()])
            half = turn.apply([0.0, 0.0, float(cylinder.get("length", "")) / 2.0])
            middle = np.array([float(text) for text in origin.get("xyz", "").split()])
            pose = poses[str(link.get("name"))]
            np.testing.assert_allclose(middle - half, 0.0, atol=1e-6)
            ends.append(pose[:3, :3] @ (middle + half) + pose[:3, 3])
    places = np.array([poses[f"human_{side.label}_{name}"][:3, 3] for name in KEYPOINT_NAMES[1:]])
    assert len(ends) == 20
    np.testing.assert_allclose(sorted(map(tuple, ends)), sorted(map(tuple, places)), atol=1e-5)


@pytest.mark.parametrize("angles", [(0.3, -0.4, 2.0), (0.0, np.pi / 2, 0.7), (0.1, -np.pi / 2, -0.2), (0.0, 0.0, 0.0)])
def test_roll_pitch_yaw(angles: tuple[float, float, float]) -> None:
    rotation = Rotation.from_euler("xyz", angles).as_matrix()
    again = Rotation.from_euler("xyz", roll_pitch_yaw(rotation)).as_matrix()
    np.testing.assert_allclose(again, rotation, atol=1e-9)


def test_the_command_writes_the_hand_of_a_calibration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    betas = np.linspace(-1.0, 1.0, 10)
    write_shapes(tmp_path / "me.yaml", MODEL, {Side.LEFT: HandShape(betas, np.eye(10), 0.19, 0.001)})
    arguments = ["urdf", "--hand-calibration", str(tmp_path / "me.yaml"), "--prefix", "me_"]
    out = ["--out", str(tmp_path / "left.urdf")]
    assert cli.main([*arguments, "--side", "left", *out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["side"] == "left"
    expected = hand_urdf(MODEL.kinematics(Side.LEFT), np.round(betas, 4), "me_")
    assert (tmp_path / "left.urdf").read_text() == expected
    for wrong, text in (
        ([*arguments, "--side", "left", *out], "left.urdf: exists; remove it or name another file"),
        ([*arguments, "--side", "right", "--out", str(tmp_path / "right.urdf")], "no right hand: calibrate it first"),
        (["urdf", "--side", "right", "--prefix", "a b", "--out", str(tmp_path / "x.urdf")], "--prefix"),
    ):
        assert cli.main(wrong) == 1
        error = capsys.readouterr().err
        assert text in error and error.count("\n") == 1
    assert (tmp_path / "left.urdf").read_text() == expected
