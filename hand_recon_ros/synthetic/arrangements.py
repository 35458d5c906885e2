"""Arrangements of two hands relative to each other, in front of the person they belong to.

The person's frame: x to the person's left, y down, z from in front of the person towards it, so that it is a camera's
frame that faces the person. The origin lies between the hands.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from ..geometry.joint_angles import ABDUCTION
from ..hand_model import HandModel
from ..skeleton import INDEX_TIP, MCPS, PALM
from .gestures import sample_gesture
from .hand_placement import HandPlacer, perturb_frame, wrist_frame

ARRANGEMENTS = {
    "left only": 0.12,
    "right only": 0.12,
    "apart": 0.13,
    "side by side": 0.10,
    "crossing": 0.10,
    "behind": 0.11,
    "clasped": 0.06,
    "interlaced": 0.06,
    "palm to palm": 0.05,
    "fingertips": 0.05,
    "finger on palm": 0.05,
    "fist in hand": 0.05,
}
"""Arrangements and their shares."""
SINGLE = ("left only", "right only")
_SIGNS = np.array([1.0, -1.0])
"""The left hand is at positive x."""


@dataclasses.dataclass(frozen=True, eq=False)
class ArrangedHands:
    """Hands in the person's frame, left then right; an absent hand is NaN.

    Attributes:
        rotations: of the joints relative to their parents (2, 16, 3, 3); translation: (2, 3) metres.
        keypoints: (2, 21, 3) metres.
        elbows: directions from the wrists to the elbows (2, 3).
    """

    rotations: np.ndarray
    translation: np.ndarray
    keypoints: np.ndarray
    elbows: np.ndarray


def arrange_hands(name: str, rng: np.random.Generator, hand_model: HandModel, betas: np.ndarray) -> ArrangedHands:
    """Random hands in one arrangement.

    Args:
        name: of ARRANGEMENTS.
        rng: random number generator.
        hand_model: of the hands.
        betas: their shapes (2, 10).
    """
    hands = HandPlacer(hand_model, betas)
    elbows = _elbows(rng)
    if name in SINGLE:
        _free(hands, int(name == "right only"), rng, elbows, np.zeros(3))
    else:
        _PAIRS[name](hands, rng, elbows)
    present = [side for side in range(2) if np.isfinite(hands.translation[side]).all()]
    keypoints = np.full((2, 21, 3), np.nan)
    for side in present:
        keypoints[side] = hands.keypoints(side)
    middle = keypoints[present].reshape(-1, 3)
    middle = (middle.min(axis=0) + middle.max(axis=0)) / 2
    return ArrangedHands(hands.rotations, hands.translation - middle, keypoints - middle, elbows)


def _elbows(rng: np.random.Generator) -> np.ndarray:
    elbows = np.column_stack([_SIGNS * rng.uniform(0.1, 0.8), rng.uniform(0.3, 1.0, 2), rng.uniform(-0.1, 0.7, 2)])
    return elbows / np.linalg.norm(elbows, axis=1, keepdims=True)


def _free(hands: HandPlacer, side: int, rng: np.random.Generator, elbows: np.ndarray, palm: np.ndarray) -> None:
    """A hand at a random rotation about its forearm, bent at the wrist."""
    arm = Rotation.from_rotvec(rng.normal(0, np.radians(22), 3)).apply(-elbows[side])
    frame = wrist_frame(arm, rng.normal(0, 1, 3))
    bend = Rotation.from_euler("ZY", [rng.uniform(-20, 20), np.clip(rng.normal(0, 25), -60, 60)], degrees=True)
    hands.place(side, frame @ bend.as_matrix(), palm, sample_gesture(rng, hands.kinematics[side]))


def _gesture(hands: HandPlacer, side: int, rng: np.random.Generator, *names: str, freedom: float = 1.0) -> np.ndarray:
    return sample_gesture(rng, hands.kinematics[side], str(rng.choice(names)) if names else "", freedom)


def _gap(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.002, 0.015)) if rng.random() < 0.25 else 0.0


def _apart(hands: HandPlacer, rng: np.random.Generator, elbows: np.ndarray) -> None:
    half = rng.uniform(0.09, 0.22)
    for side in range(2):
        offset = rng.normal(0, 1, 3) * (0.02, 0.06, 0.05)
        _free(hands, side, rng, elbows, np.array([_SIGNS[side] * half, 0, 0]) + offset)
    hands.separate(0, np.array([1.0, 0.0, 0.0]))


def _side_by_side(hands: HandPlacer, rng: np.random.Generator, elbows: np.ndarray) -> None:
    half, turn = rng.uniform(0.04, 0.075), rng.choice([0.0, np.pi, rng.uniform(-np.pi, np.pi)])
    tilt = rng.uniform(-0.5, 0.5)
    for side in range(2):
        frame = wrist_frame(
            np.array([-_SIGNS[side] * tilt, -1.0, 0.0]), np.array([_SIGNS[side] * np.sin(turn), 0, np.cos(turn)])
        )
        palm = np.array([_SIGNS[side] * half, 0, 0]) + rng.normal(0, 0.012, 3)
        hands.place(side, perturb_frame(frame, rng, 12), palm, _gesture(hands, side, rng))
    hands.separate(0, np.array([1.0, 0.0, 0.0]))


def _crossing(hands: HandPlacer, rng: np.random.Generator, elbows: np.ndarray) -> None:
    across, front = rng.uniform(0.0, 0.07), rng.choice([-1.0, 1.0])
    gap = rng.uniform(0.02, 0.12)
    for side in range(2):
        fingers = np.array([-_SIGNS[side] * rng.uniform(0.3, 1.5), -1.0, rng.normal(0, 0.3)])
        frame = perturb_frame(wrist_frame(fingers, np.array([0, 0.2, rng.choice([-1.0, 1.0])])), rng, 14)
        palm = np.array([-_SIGNS[side] * across, 0, _SIGNS[side] * front * gap / 2]) + rng.normal(0, 0.01, 3)
        hands.place(side, frame, palm, _gesture(hands, side, rng))
    hands.separate(0, np.array([0.0, 0.0, front]))


def _behind(hands: HandPlacer, rng: np.random.Generator, elbows: np.ndarray) -> None:
    front, gap = rng.choice([-1.0, 1.0]), rng.uniform(0.03, 0.15)
    for side in range(2):
        offset = rng.normal(0, 1, 3) * (0.03, 0.03, 0.0) + (0, 0, _SIGNS[side] * front * gap / 2)
        _free(hands, side, rng, elbows, offset)
    hands.separate(0, np.array([0.0, 0.0, front]))


def _facing(hands: HandPlacer, rng: np.random.Generator, cross: float, names: tuple[str, ...], lean: float) -> None:
    """Palms towards each other, the fingers of each hand rotated by ``cross`` radians, in opposite directions."""
    turn = rng.uniform(-0.4, 0.4)
    for side in range(2):
        angle = turn + _SIGNS[side] * cross
        frame = wrist_frame(np.array([0.0, -np.cos(angle), np.sin(angle)]), np.array([_SIGNS[side], 0, 0]))
        palm = np.array([_SIGNS[side] * 0.02, 0, 0]) + rng.normal(0, 0.004, 3)
        hands.place(side, perturb_frame(frame, rng, lean), palm, _gesture(hands, side, rng, *names, freedom=0.5))


def _palm_to_palm(hands: HandPlacer, rng: np.random.Generator, elbows: np.ndarray) -> None:
    _facing(hands, rng, rng.normal(0, 0.1), ("flat", "flat", "open"), 3)
    hands.close_gap(0, np.array([1.0, 0.0, 0.0]), _gap(rng))


def _clasped(hands: HandPlacer, rng: np.random.Generator, elbows: np.ndarray) -> None:
    _facing(hands, rng, rng.choice([-1, 1]) * rng.uniform(0.45, 0.9), ("flat",), 4)
    hands.close_gap(0, np.array([1.0, 0.0, 0.0]), 0.0)
    for side in rng.permutation(2):
        hands.close_fingers(int(side), rng)


def _interlaced(hands: HandPlacer, rng: np.random.Generator, elbows: np.ndarray) -> None:
    lean = rng.uniform(0.5, 1.0)
    for side in range(2):
        fingers = np.array([-_SIGNS[side] * np.sin(lean), -np.cos(lean), rng.normal(0, 0.05)])
        frame = wrist_frame(fingers, np.array([_SIGNS[side] * np.cos(lean), -np.sin(lean), 0.0]))
        angles = _gesture(hands, side, rng, "open", freedom=0.2)
        angles[[4, 7, 10, 13], ABDUCTION] += np.radians([7.0, 1.0, -6.0, -12.0])
        hands.place(side, perturb_frame(frame, rng, 2), np.zeros(3), angles)
        # Spread fingers have gaps for the other hand's fingers near their ends: those meet in the middle.
        hands.translation[side] -= hands.keypoints(side)[[7, 11, 15, 19]].mean(axis=0)
        hands.translation[side, 0] -= _SIGNS[side] * rng.uniform(0.0, 0.008)
    pair = hands.meshes(0)
    shifts = np.linspace(-0.018, 0.018, 9)
    hands.translation[0, 2] += shifts[np.argmin([pair.depth(np.array([0.0, 0.0, shift])) for shift in shifts])]
    hands.separate(0, np.array([1.0, 0.0, 0.0]), 0.003)
    if rng.random() < 0.7:
        for side in range(2):
            hands.close_fingers(side, rng, 0.8)


def _fingertips(hands: HandPlacer, rng: np.random.Generator, elbows: np.ndarray) -> None:
    names = [("relaxed", "cupped"), ("point",), ("open", "relaxed"), ("pinch", "tripod")][rng.integers(4)]
    lean = rng.uniform(0.3, 1.4)
    for side in range(2):
        fingers = np.array([-_SIGNS[side] * np.sin(lean), -np.cos(lean), rng.normal(0, 0.15)])
        frame = wrist_frame(fingers, np.array([_SIGNS[side] * rng.uniform(0.1, 1), -0.5, rng.uniform(-1, 1)]))
        hands.place(side, perturb_frame(frame, rng, 4), np.zeros(3), _gesture(hands, side, rng, *names, freedom=0.6))
        hands.translation[side] -= hands.keypoints(side)[INDEX_TIP] + rng.normal(0, 0.008, 3)
    hands.close_gap(0, np.array([1.0, 0.0, 0.0]), _gap(rng), -0.06, 0.16)


def _finger_on_palm(hands: HandPlacer, rng: np.random.Generator, elbows: np.ndarray) -> None:
    moving = int(rng.integers(2))
    other = 1 - moving
    sign = _SIGNS[other]
    back = np.array([sign * rng.uniform(0.4, 1.0), rng.uniform(-0.3, 0.6), rng.uniform(-0.8, 0.8)])
    frame = perturb_frame(wrist_frame(np.array([-sign * 0.3, -1.0, rng.normal(0, 0.3)]), back), rng, 8)
    hands.place(other, frame, np.zeros(3), _gesture(hands, other, rng, "open", "flat", "relaxed"))
    normal = -frame[:, 2]
    pointing = perturb_frame(wrist_frame(-normal, np.array([sign * 0.2, -1.0, rng.uniform(-0.8, 0.8)])), rng, 16)
    hands.place(moving, pointing, np.zeros(3), _gesture(hands, moving, rng, "point", "pinch", "tripod", freedom=0.6))
    target = hands.keypoints(other)[PALM].mean(axis=0) + frame[:, :2] @ rng.normal(0, 0.018, 2)
    hands.translation[moving] += target - hands.keypoints(moving)[INDEX_TIP]
    hands.close_gap(moving, normal, _gap(rng), -0.02, 0.12)


def _fist_in_hand(hands: HandPlacer, rng: np.random.Generator, elbows: np.ndarray) -> None:
    moving = int(rng.integers(2))
    other = 1 - moving
    sign = _SIGNS[other]
    frame = perturb_frame(
        wrist_frame(np.array([-sign * 0.2, -1.0, rng.normal(0, 0.3)]), np.array([sign, 0, 0.2])), rng, 8
    )
    hands.place(other, frame, np.zeros(3), _gesture(hands, other, rng, "flat", "open", freedom=0.5))
    normal = -frame[:, 2]
    # Knuckles or bent fingers first.
    lead = rng.uniform(0.0, 1.2)
    side = np.array([0.0, -1.0, rng.uniform(-1, 1)])
    fist = wrist_frame(-normal * np.cos(lead) + 0.6 * side * np.sin(lead), side + 0.4 * normal)
    hands.place(moving, perturb_frame(fist, rng, 10), np.zeros(3), _gesture(hands, moving, rng, "fist", freedom=0.4))
    goal = hands.keypoints(other)[[0, *MCPS]].mean(axis=0) + 0.02 * frame[:, 0]
    hands.translation[moving] += goal - hands.keypoints(moving)[MCPS].mean(axis=0)
    hands.close_gap(moving, normal, _gap(rng), -0.03, 0.12)
    hands.close_fingers(other, rng)


_PAIRS = {
    "apart": _apart,
    "side by side": _side_by_side,
    "crossing": _crossing,
    "behind": _behind,
    "clasped": _clasped,
    "interlaced": _interlaced,
    "palm to palm": _palm_to_palm,
    "fingertips": _fingertips,
    "finger on palm": _finger_on_palm,
    "fist in hand": _fist_in_hand,
}
