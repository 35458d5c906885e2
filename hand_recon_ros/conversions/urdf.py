"""A hand as URDF, for robot_state_publisher and RViz: its joints are those of ~/joint_states."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import numpy as np

from ..geometry.rotations import smallest_rotations
from ..hand_model.kinematics import Kinematics
from ..hand_model.named_angles import ANGLE_NAMES, named_limits
from ..skeleton import (
    JOINT_KEYPOINTS,
    JOINT_NAMES,
    JOINT_PARENTS,
    KEYPOINT_NAMES,
    KEYPOINT_PARENTS,
    NUM_KEYPOINTS,
    TIPS,
    WRIST,
    wrist_rotation,
)
from ..types import Side

_RADIUS = 0.008
"""Of the drawn bones, metres."""
_COLOURS = {Side.LEFT: "0.25 0.55 0.85 1", Side.RIGHT: "0.90 0.50 0.15 1"}
_MAX_VELOCITY = 20.0
"""Of a joint, rad/s: URDF asks for a limit, nothing here depends on it."""


def hand_urdf(kinematics: Kinematics, betas: np.ndarray, prefix: str = "human_") -> str:
    """The URDF of a hand: 20 revolute joints named as in ~/joint_states, and fixed fingertips.

    The root link is the wrist frame (x to the middle MCP, z out of the back of the hand), which the node publishes on
    /tf. The link of each joint has x along its bone and z out of the back of the hand. The links are the keypoints that
    :meth:`Kinematics.forward` gives for the same angles and betas, with the angles that ANGLE_NAMES leaves out at zero.

    Args:
        kinematics: of the hand.
        betas: its shape (10,).
        prefix: of the names of the links, as the node's ``tf_prefix``.
    """
    rest = kinematics.rest_keypoints(betas)
    side = kinematics.side.label
    names = [f"{prefix}{side}_{name}" for name in KEYPOINT_NAMES]
    # Orientations of the links at rest, in the coordinates of the hand.
    frames = kinematics.joint_frames.copy()
    frames[0] = wrist_rotation(rest, kinematics.side == Side.RIGHT)
    robot = ElementTree.Element("robot", name=f"{prefix}{side}_hand")
    ElementTree.SubElement(ElementTree.SubElement(robot, "material", name=f"{side}_hand"), "color",
                           rgba=_COLOURS[kinematics.side])  # fmt: skip
    for keypoint in range(NUM_KEYPOINTS):
        link = ElementTree.SubElement(robot, "link", name=names[keypoint])
        if keypoint in TIPS:
            continue
        joint = int(np.flatnonzero(JOINT_KEYPOINTS == keypoint)[0])
        for child in np.flatnonzero(KEYPOINT_PARENTS == keypoint):
            _draw_bone(link, frames[joint].T @ (rest[child] - rest[keypoint]), f"{side}_hand")
    limits = named_limits(kinematics)
    for joint in range(1, len(JOINT_KEYPOINTS)):
        keypoint, parent = int(JOINT_KEYPOINTS[joint]), int(JOINT_PARENTS[joint])
        moved = frames[parent].T @ (rest[keypoint] - rest[JOINT_KEYPOINTS[parent]])
        turned = frames[parent].T @ kinematics.parent_frames[joint]
        angles = [name for name in ANGLE_NAMES if name.rpartition("_")[0] == JOINT_NAMES[joint]]
        parent_link = names[JOINT_KEYPOINTS[parent]]
        for name in angles:
            last = name == angles[-1]
            child_link = names[keypoint] if last else f"{names[keypoint]}_flexion"
            if not last:
                ElementTree.SubElement(robot, "link", name=child_link)
            # A left hand's frames are right-handed too, so its abduction turns the other way about z.
            axis = (0, 0, 1 if kinematics.side == Side.RIGHT else -1) if name.endswith("abduction") else (0, 1, 0)
            element = _joint(robot, f"{side}_{name}", "revolute", parent_link, child_link, moved, turned)
            ElementTree.SubElement(element, "axis", xyz=_text(axis))
            low, high = limits[ANGLE_NAMES.index(name)]
            ElementTree.SubElement(
                element, "limit", lower=f"{low:.6g}", upper=f"{high:.6g}", effort="0", velocity=f"{_MAX_VELOCITY:g}"
            )
            parent_link, moved, turned = child_link, np.zeros(3), np.eye(3)
    for tip in TIPS:
        parent = int(np.flatnonzero(JOINT_KEYPOINTS == KEYPOINT_PARENTS[tip])[0])
        moved = frames[parent].T @ (rest[tip] - rest[KEYPOINT_PARENTS[tip]])
        name = f"{side}_{KEYPOINT_NAMES[tip]}"
        _joint(robot, name, "fixed", names[KEYPOINT_PARENTS[tip]], names[tip], moved, np.eye(3))
    ElementTree.indent(robot)
    assert names[WRIST] == robot[1].get("name")
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(robot, encoding="unicode") + "\n"


def _joint(
    robot: ElementTree.Element, name: str, kind: str, parent: str, child: str, moved: np.ndarray, turned: np.ndarray
) -> ElementTree.Element:
    element = ElementTree.SubElement(robot, "joint", name=name, type=kind)
    ElementTree.SubElement(element, "parent", link=parent)
    ElementTree.SubElement(element, "child", link=child)
    ElementTree.SubElement(element, "origin", xyz=_text(moved), rpy=_text(roll_pitch_yaw(turned)))
    return element


def _draw_bone(link: ElementTree.Element, bone: np.ndarray, material: str) -> None:
    """A cylinder along ``bone`` (3,), metres, which begins at the link's origin."""
    length = float(np.linalg.norm(bone))
    visual = ElementTree.SubElement(link, "visual")
    turned = smallest_rotations(np.array([0.0, 0.0, 1.0]), bone / length)
    ElementTree.SubElement(visual, "origin", xyz=_text(bone / 2.0), rpy=_text(roll_pitch_yaw(turned)))
    geometry = ElementTree.SubElement(visual, "geometry")
    ElementTree.SubElement(geometry, "cylinder", radius=f"{_RADIUS:g}", length=f"{length:.6f}")
    ElementTree.SubElement(visual, "material", name=material)


def roll_pitch_yaw(rotation: np.ndarray) -> np.ndarray:
    """Roll, pitch and yaw (3,), radians, of a rotation (3, 3): Rz(yaw) Ry(pitch) Rx(roll), as in URDF."""
    cosine = math.hypot(rotation[0, 0], rotation[1, 0])
    pitch = math.atan2(-rotation[2, 0], cosine)
    if cosine < 1e-9:  # roll and yaw turn about the same axis
        return np.array([math.atan2(-rotation[1, 2], rotation[1, 1]), pitch, 0.0])
    roll, yaw = math.atan2(rotation[2, 1], rotation[2, 2]), math.atan2(rotation[1, 0], rotation[0, 0])
    return np.array([roll, pitch, yaw])


def _text(numbers: np.ndarray | tuple[int, ...]) -> str:
    return " ".join(f"{value:.9g}" for value in np.asarray(numbers, dtype=np.float64) + 0.0)
