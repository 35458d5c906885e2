"""Masks of nails, creases, knuckles and tendons on the surface of the hand at rest."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

from ..hand_model.kinematics import Kinematics
from ..skeleton import MCPS, MIDDLE_MCP, PINKY_MCP, WRIST, wrist_rotation
from ..types import Side
from .noise import fractal_noise, smoothstep


@dataclasses.dataclass(frozen=True, eq=False)
class SkinFeatures:
    """Strength (N,), 0..1 unless stated otherwise, of each feature at points on the skin.

    Attributes:
        dorsal: 1 on the back of the hand and the fingers, 0 on the palmar side.
        crease: lines of the palm and of the finger joints.
        knuckle: skin over the joints, on the back.
        wrinkle: fine lines on the knuckles, -1..1.
        nail: nail plate; nail_edge: its rim; lunula: its pale base; free_edge: its white end.
        tip: pads of the fingers; mound: pads of the palm.
        tendon: ridges of the extensors on the back.
    """

    dorsal: np.ndarray
    crease: np.ndarray
    knuckle: np.ndarray
    wrinkle: np.ndarray
    nail: np.ndarray
    nail_edge: np.ndarray
    lunula: np.ndarray
    free_edge: np.ndarray
    tip: np.ndarray
    mound: np.ndarray
    tendon: np.ndarray


def skin_features(points: np.ndarray, normals: np.ndarray, kinematics: Kinematics) -> SkinFeatures:
    """Features at points (N, 3), metres, with unit normals (N, 3), on the surface of the hand at rest."""
    rest, right = kinematics.keypoint_template, kinematics.side == Side.RIGHT
    wrist = wrist_rotation(rest, right)
    zeros = np.zeros(len(points))
    masks = {field.name: zeros.copy() for field in dataclasses.fields(SkinFeatures)}
    bones = _nearest_bones(points, rest)
    masks["dorsal"] = smoothstep(normals @ wrist[:, 2], -0.35, 0.35)
    jitter = 0.0006 * fractal_noise(points, 180.0, 2, 5)
    for finger in range(5):
        on_finger = (bones[:, 0] == finger) & (bones[:, 1] > 0)
        chosen = np.flatnonzero(on_finger)
        if len(chosen):
            _add_finger(masks, chosen, points[chosen], normals[chosen], jitter[chosen], kinematics, finger)
    _add_palm(masks, points, normals, jitter, rest, wrist, bones, right)
    return SkinFeatures(**masks)


def _add_finger(
    masks: dict[str, np.ndarray],
    chosen: np.ndarray,
    points: np.ndarray,
    normals: np.ndarray,
    jitter: np.ndarray,
    kinematics: Kinematics,
    finger: int,
) -> None:
    rest, frames = kinematics.keypoint_template, kinematics.joint_frames
    first = 1 + 4 * finger
    joints = 1 + 3 * finger + np.arange(3)
    lengths = np.linalg.norm(np.diff(rest[first : first + 4], axis=0), axis=1)
    facing = normals @ frames[joints[2]][:, 2]
    dorsal, palmar = smoothstep(facing, -0.1, 0.45), smoothstep(-facing, -0.1, 0.45)
    # Palmar skin blends into the finger's slowly: the thumb's bones are rotated against the palm.
    reach = lengths[0] if finger == 0 else 0.6 * lengths[0]
    share = smoothstep((points - rest[first]) @ frames[joints[0]][:, 0] / reach)
    masks["dorsal"][chosen] += share * (smoothstep(facing, -0.35, 0.35) - masks["dorsal"][chosen])
    # Lines across the finger: (joint, offset from it in metres, width, strength).
    creases = [(1, -0.0012, 0.0005, 0.8), (1, 0.0012, 0.0005, 0.9), (2, 0.0, 0.0005, 0.9), (2, 0.0022, 0.0004, 0.4)]
    creases += [(0, 0.42 * lengths[0], 0.0006, 0.8), (0, 0.42 * lengths[0] + 0.003, 0.0005, 0.4)]
    if finger == 0:
        creases = [(2, -0.001, 0.0005, 0.9), (2, 0.0015, 0.0005, 0.6), (1, 0.0, 0.0006, 0.6), (1, 0.003, 0.0005, 0.4)]
    for joint, offset, width, strength in creases:
        u = (points - rest[first + joint]) @ frames[joints[joint]][:, 0] - offset + jitter
        masks["crease"][chosen] += strength * palmar * np.exp(-((u / width) ** 2))
    for joint, reach, strength in ((1, 0.007, 1.0), (2, 0.0045, 0.6)):
        u = (points - rest[first + joint]) @ frames[joints[joint]][:, 0]
        near = np.exp(-((u / reach) ** 2)) * dorsal * strength
        masks["knuckle"][chosen] += near
        masks["wrinkle"][chosen] += near * np.cos(2 * np.pi * (u + 1.6 * jitter) / 0.0017)
    _add_nail(masks, chosen, points, kinematics, finger, lengths[2])
    end = (points - rest[first + 3]) @ frames[joints[2]][:, 0]
    masks["tip"][chosen] = smoothstep(end, -0.6 * lengths[2], -0.1 * lengths[2]) * (0.35 + 0.65 * palmar)


def _add_nail(
    masks: dict[str, np.ndarray],
    chosen: np.ndarray,
    points: np.ndarray,
    kinematics: Kinematics,
    finger: int,
    length: float,
) -> None:
    frame = kinematics.joint_frames[3 + 3 * finger]
    local = (points - kinematics.keypoint_template[4 + 4 * finger]) @ frame
    angle = np.arctan2(local[:, 1], local[:, 2])
    # From the tip back over half of the last bone; two thirds of the finger's width.
    half = 0.27 * length + 0.0005
    u = (local[:, 0] + half + 0.0002) / half
    v = angle / np.radians(66.0 if finger else 62.0)
    radius = (np.abs(u) ** 3 + np.abs(v) ** 3.5) ** (1 / 3)
    radius = np.where(local[:, 2] > 0, radius, 9.0)
    soft = 0.08
    nail = 1 - smoothstep(radius, 1 - soft, 1 + soft)
    masks["nail"][chosen] = nail
    masks["nail_edge"][chosen] = np.exp(-(((radius - 1.04) / 0.07) ** 2))
    masks["lunula"][chosen] = nail * (1 - smoothstep(np.hypot((u + 1.0) / 0.55, v / 0.55), 0.85, 1.1))
    masks["free_edge"][chosen] = nail * smoothstep(u, 0.70, 0.82)


# Strength and course of the palm's main lines, from the wrist (0, 0): x in lengths wrist to middle MCP, y in palm
# widths towards the thumb. Proportions measured on ordinary palms.
_PALM_LINES = (
    (1.0, ((0.70, -0.80), (0.80, -0.45), (0.90, -0.10), (1.05, 0.18))),
    (0.9, ((0.84, 0.52), (0.76, 0.20), (0.63, -0.25), (0.50, -0.62))),
    (1.0, ((0.85, 0.52), (0.70, 0.22), (0.45, 0.06), (0.20, 0.08), (0.06, 0.16))),
    (0.4, ((0.15, -0.05), (0.45, -0.10), (0.75, -0.05), (0.92, -0.02))),
)


def _add_palm(
    masks: dict[str, np.ndarray],
    points: np.ndarray,
    normals: np.ndarray,
    jitter: np.ndarray,
    rest: np.ndarray,
    wrist: np.ndarray,
    bones: np.ndarray,
    right: bool,
) -> None:
    length = np.linalg.norm(rest[MIDDLE_MCP] - rest[WRIST])
    width = np.linalg.norm(rest[MCPS[0]] - rest[PINKY_MCP])
    local = (points - rest[WRIST]) @ wrist
    # The wrist frame's y points towards the thumb on a right hand and away from it on a left hand.
    flat = np.column_stack([local[:, 0], local[:, 1] * (1 if right else -1)])
    # The ball of the thumb belongs to the palm.
    inner = (bones[:, 1] == 0) | ((bones[:, 0] == 0) & (bones[:, 1] == 1))
    palmar = smoothstep(-(normals @ wrist[:, 2]), 0.1, 0.55) * inner
    for strength, course in _PALM_LINES:
        course = np.array(course) * (length, width)
        t = np.linspace(0, 1, 80)
        curve = CubicSpline(np.linspace(0, 1, len(course)), course)(t)
        distance, index = cKDTree(curve).query(flat + jitter[:, None])
        fade = np.sin(np.pi * np.clip(t[index], 0.02, 0.98)) ** 0.4
        masks["crease"] += strength * palmar * fade * np.exp(-((distance / 0.0009) ** 2))
    front = smoothstep(-(normals @ wrist[:, 2]), -0.2, 0.4)
    for offset, strength in ((0.004, 0.8), (-0.004, 0.5), (-0.013, 0.25)):
        u = local[:, 0] - offset - 2.5 * jitter + 0.12 * np.abs(local[:, 1])
        masks["crease"] += strength * front * np.exp(-((u / 0.0007) ** 2))
    # Pale skin ends at the wrist; the forearm is nearly as dark inside as outside.
    np.maximum(masks["dorsal"], 0.75 * (1 - smoothstep(local[:, 0], -0.035, -0.004)), out=masks["dorsal"])
    back = smoothstep(normals @ wrist[:, 2], 0.3, 0.7)
    for mcp in MCPS:
        bone = rest[mcp] - rest[WRIST]
        reach = np.linalg.norm(bone)
        axis = bone / reach
        t = (points - rest[WRIST]) @ axis
        side = np.cross(axis, wrist[:, 2])
        offset = (points - rest[WRIST]) @ (side / np.linalg.norm(side))
        knuckle = np.exp(-((t - reach) ** 2 + offset**2) / 0.0075**2) * back
        masks["knuckle"] += 0.9 * knuckle
        masks["wrinkle"] += 0.35 * knuckle * np.cos(2 * np.pi * (t + 2 * jitter) / 0.0022)
        ridge = (
            np.exp(-((offset / 0.0022) ** 2))
            * smoothstep(t / reach, 0.35, 0.6)
            * (1 - smoothstep(t / reach, 0.95, 1.05))
        )
        masks["tendon"] += ridge * back
    heel = np.array([[0.30, 0.30], [0.25, -0.42]]) * (length, width)
    ball = (flat[:, None] - heel) / (0.30 * length, 0.22 * width)
    pads = np.exp(-(ball**2).sum(axis=-1)).sum(axis=-1)
    heads = np.column_stack([(rest[MCPS] - rest[WRIST]) @ wrist[:, 0], (rest[MCPS] - rest[WRIST]) @ wrist[:, 1]])
    heads[:, 1] *= 1 if right else -1
    pads += np.exp(-((flat[:, None] - heads) ** 2).sum(axis=-1) / 0.009**2).sum(axis=-1)
    masks["mound"] = np.clip(pads, 0, 1) * palmar


def _nearest_bones(points: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """The nearest bone (N, 2) of each point: finger, and position in it, 0 metacarpal to 3 distal phalanx."""
    best, bones = np.full(len(points), np.inf), np.zeros((len(points), 2), dtype=int)
    for finger in range(5):
        chain = [WRIST, *range(1 + 4 * finger, 5 + 4 * finger)]
        for position in range(4):
            a, b = rest[chain[position]], rest[chain[position + 1]]
            t = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
            distance = np.linalg.norm(points - a - t[:, None] * (b - a), axis=1)
            nearer = distance < best
            best[nearer] = distance[nearer]
            bones[nearer] = finger, position
    return bones
