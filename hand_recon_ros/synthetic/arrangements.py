"""How two hands lie to each other, in front of the person they belong to.

The person's frame: x to the person's left, y down, z from in front of the person towards it, so that it is a camera's
frame that faces the person. The origin lies between the hands.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from ..geometry.joint_angles import ABDUCTION
from ..hand_model import HandModel
from ..skeleton import INDEX_TIP, MCPS, PALM, wrist_rotation
from ..types import Side
from .contact_search import TOLERANCE, MeshPair, largest_free_share
from .gestures import sample_gesture

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
_CURL = np.radians([[60.0, 75.0, 40.0]])


@dataclasses.dataclass(frozen=True, eq=False)
class Placed:
    """Hands in the person's frame, left and right; what is not there is NaN.

    Attributes:
        rotations: (2, 16, 3, 3); translation: (2, 3) metres.
        keypoints: (2, 21, 3) metres.
        elbows: directions from the wrists to the elbows (2, 3).
    """

    rotations: np.ndarray
    translation: np.ndarray
    keypoints: np.ndarray
    elbows: np.ndarray


def frame_of(fingers: np.ndarray, back: np.ndarray) -> np.ndarray:
    """A wrist frame (3, 3), the fingers towards ``fingers`` (3,), the back of the hand about towards ``back`` (3,)."""
    x = np.asarray(fingers, dtype=float) / np.linalg.norm(fingers)
    z = np.asarray(back, dtype=float) - (np.asarray(back) @ x) * x
    z /= np.linalg.norm(z)
    return np.stack([x, np.cross(z, x), z], axis=-1)


def leaned(frame: np.ndarray, rng: np.random.Generator, degrees: float) -> np.ndarray:
    """The frame (3, 3) turned a little at random."""
    return Rotation.from_rotvec(rng.normal(0, np.radians(degrees), 3)).as_matrix() @ frame


class _Hands:
    """Both hands while they are being arranged."""

    def __init__(self, hand_model: HandModel, betas: np.ndarray) -> None:
        self.model, self.betas = hand_model, betas
        self.kinematics = [hand_model.kinematics(side) for side in Side]
        self.rest = [k.rest_keypoints(betas[k.side]) for k in self.kinematics]
        self.turn = [wrist_rotation(rest, side == Side.RIGHT) for rest, side in zip(self.rest, Side, strict=True)]
        self.rotations, self.translation = np.full((2, 16, 3, 3), np.nan), np.full((2, 3), np.nan)

    def place(self, side: int, frame: np.ndarray, palm: np.ndarray, angles: np.ndarray) -> None:
        kinematics = self.kinematics[side]
        rotations = kinematics.rotations_of(kinematics.clamp_angles(angles))
        rotations[0] = frame @ self.turn[side].T
        self.rotations[side], self.translation[side] = rotations, 0.0
        self.translation[side] = palm - self.keypoints(side)[PALM].mean(axis=0)

    def keypoints(self, side: int) -> np.ndarray:
        return self.kinematics[side].forward(self.rotations[side], self.betas[side], self.translation[side])[0]

    def mesh(self, side: int) -> np.ndarray:
        return self.model.mesh(Side(side), self.rotations[side], self.betas[side], self.translation[side])

    def pair(self, moving: int) -> MeshPair:
        still = 1 - moving
        faces = [self.model.faces(side) for side in Side]
        return MeshPair(self.mesh(still), faces[still], self.mesh(moving), faces[moving])

    def touch(self, moving: int, direction: np.ndarray, gap: float, near: float = -0.05, far: float = 0.14) -> None:
        """Move a hand along ``direction`` until it touches the other, or nearly."""
        direction = direction / np.linalg.norm(direction)
        self.translation[moving] += (self.pair(moving).contact_distance(direction, near, far) + gap) * direction

    def separate(self, moving: int, direction: np.ndarray, tolerance: float = TOLERANCE) -> None:
        direction = direction / np.linalg.norm(direction)
        self.translation[moving] += self.pair(moving).separation_distance(direction, tolerance) * direction

    def close(self, side: int, rng: np.random.Generator, most: float = 1.0) -> None:
        """Curl the four fingers of a hand until they meet the other hand."""
        kinematics, still = self.kinematics[side], self.mesh(1 - side)
        faces = [self.model.faces(s) for s in Side]
        start = kinematics.angles_of(self.rotations[side])
        curl = np.zeros((16, 3))
        curl[4:, 0] = np.tile(_CURL[0] * rng.uniform(0.6, 1.0) * most, 4)
        orientation = self.rotations[side, 0].copy()
        # What already touches elsewhere must not keep the fingers open.
        allowed = max(self.pair(side).depth(np.zeros(3)), TOLERANCE) + 0.0005

        def bent(share: float) -> np.ndarray:
            rotations = kinematics.rotations_of(kinematics.clamp_angles(start + share * curl))
            rotations[0] = orientation
            return rotations

        def overlaps(share: float) -> bool:
            mesh = self.model.mesh(Side(side), bent(share), self.betas[side], self.translation[side])
            return MeshPair(still, faces[1 - side], mesh, faces[side]).depth(np.zeros(3)) > allowed

        self.rotations[side] = bent(largest_free_share(overlaps))


def arranged(name: str, rng: np.random.Generator, hand_model: HandModel, betas: np.ndarray) -> Placed:
    """Hands in one of ARRANGEMENTS.

    Args:
        name: which.
        rng: where chance comes from.
        hand_model: of the hands; betas (2, 10) their shapes.
    """
    hands = _Hands(hand_model, betas)
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
    return Placed(hands.rotations, hands.translation - middle, keypoints - middle, elbows)


def _elbows(rng: np.random.Generator) -> np.ndarray:
    elbows = np.column_stack([_SIGNS * rng.uniform(0.1, 0.8), rng.uniform(0.3, 1.0, 2), rng.uniform(-0.1, 0.7, 2)])
    return elbows / np.linalg.norm(elbows, axis=1, keepdims=True)


def _free(hands: _Hands, side: int, rng: np.random.Generator, elbows: np.ndarray, palm: np.ndarray) -> None:
    """A hand turned about its forearm anyhow, and bent at the wrist."""
    arm = Rotation.from_rotvec(rng.normal(0, np.radians(22), 3)).apply(-elbows[side])
    helper = rng.normal(0, 1, 3)
    frame = frame_of(arm, helper)
    bend = Rotation.from_euler("ZY", [rng.uniform(-20, 20), np.clip(rng.normal(0, 25), -60, 60)], degrees=True)
    hands.place(side, frame @ bend.as_matrix(), palm, sample_gesture(rng, hands.kinematics[side]))


def _gesture(hands: _Hands, side: int, rng: np.random.Generator, *names: str, freedom: float = 1.0) -> np.ndarray:
    return sample_gesture(rng, hands.kinematics[side], str(rng.choice(names)) if names else "", freedom)


def _gap(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.002, 0.015)) if rng.random() < 0.25 else 0.0


def _apart(hands: _Hands, rng: np.random.Generator, elbows: np.ndarray) -> None:
    half = rng.uniform(0.09, 0.22)
    for side in range(2):
        offset = rng.normal(0, 1, 3) * (0.02, 0.06, 0.05)
        _free(hands, side, rng, elbows, np.array([_SIGNS[side] * half, 0, 0]) + offset)
    hands.separate(0, np.array([1.0, 0.0, 0.0]))


def _side_by_side(hands: _Hands, rng: np.random.Generator, elbows: np.ndarray) -> None:
    half, turn = rng.uniform(0.04, 0.075), rng.choice([0.0, np.pi, rng.uniform(-np.pi, np.pi)])
    tilt = rng.uniform(-0.5, 0.5)
    for side in range(2):
        frame = frame_of(
            np.array([-_SIGNS[side] * tilt, -1.0, 0.0]), np.array([_SIGNS[side] * np.sin(turn), 0, np.cos(turn)])
        )
        palm = np.array([_SIGNS[side] * half, 0, 0]) + rng.normal(0, 0.012, 3)
        hands.place(side, leaned(frame, rng, 12), palm, _gesture(hands, side, rng))
    hands.separate(0, np.array([1.0, 0.0, 0.0]))


def _crossing(hands: _Hands, rng: np.random.Generator, elbows: np.ndarray) -> None:
    across, front = rng.uniform(0.0, 0.07), rng.choice([-1.0, 1.0])
    gap = rng.uniform(0.02, 0.12)
    for side in range(2):
        fingers = np.array([-_SIGNS[side] * rng.uniform(0.3, 1.5), -1.0, rng.normal(0, 0.3)])
        frame = leaned(frame_of(fingers, np.array([0, 0.2, rng.choice([-1.0, 1.0])])), rng, 14)
        palm = np.array([-_SIGNS[side] * across, 0, _SIGNS[side] * front * gap / 2]) + rng.normal(0, 0.01, 3)
        hands.place(side, frame, palm, _gesture(hands, side, rng))
    hands.separate(0, np.array([0.0, 0.0, front]))


def _behind(hands: _Hands, rng: np.random.Generator, elbows: np.ndarray) -> None:
    front, gap = rng.choice([-1.0, 1.0]), rng.uniform(0.03, 0.15)
    for side in range(2):
        offset = rng.normal(0, 1, 3) * (0.03, 0.03, 0.0) + (0, 0, _SIGNS[side] * front * gap / 2)
        _free(hands, side, rng, elbows, offset)
    hands.separate(0, np.array([0.0, 0.0, front]))


def _facing(hands: _Hands, rng: np.random.Generator, cross: float, names: tuple[str, ...], lean: float = 5.0) -> None:
    """Palms towards each other, the fingers turned against each other by ``cross`` radians to either side."""
    turn = rng.uniform(-0.4, 0.4)
    for side in range(2):
        angle = turn + _SIGNS[side] * cross
        frame = frame_of(np.array([0.0, -np.cos(angle), np.sin(angle)]), np.array([_SIGNS[side], 0, 0]))
        palm = np.array([_SIGNS[side] * 0.02, 0, 0]) + rng.normal(0, 0.004, 3)
        hands.place(side, leaned(frame, rng, lean), palm, _gesture(hands, side, rng, *names, freedom=0.5))


def _palm_to_palm(hands: _Hands, rng: np.random.Generator, elbows: np.ndarray) -> None:
    _facing(hands, rng, rng.normal(0, 0.1), ("flat", "flat", "open"), 3)
    hands.touch(0, np.array([1.0, 0.0, 0.0]), _gap(rng))


def _clasped(hands: _Hands, rng: np.random.Generator, elbows: np.ndarray) -> None:
    _facing(hands, rng, rng.choice([-1, 1]) * rng.uniform(0.45, 0.9), ("flat",), 4)
    hands.touch(0, np.array([1.0, 0.0, 0.0]), 0.0)
    for side in rng.permutation(2):
        hands.close(int(side), rng)


def _interlaced(hands: _Hands, rng: np.random.Generator, elbows: np.ndarray) -> None:
    lean = rng.uniform(0.5, 1.0)
    for side in range(2):
        fingers = np.array([-_SIGNS[side] * np.sin(lean), -np.cos(lean), rng.normal(0, 0.05)])
        frame = frame_of(fingers, np.array([_SIGNS[side] * np.cos(lean), -np.sin(lean), 0.0]))
        angles = _gesture(hands, side, rng, "open", freedom=0.2)
        angles[[4, 7, 10, 13], ABDUCTION] += np.radians([7.0, 1.0, -6.0, -12.0])
        hands.place(side, leaned(frame, rng, 2), np.zeros(3), angles)
        # Spread fingers leave room for the other hand's towards their ends: there they meet, in the middle.
        hands.translation[side] -= hands.keypoints(side)[[7, 11, 15, 19]].mean(axis=0)
        hands.translation[side, 0] -= _SIGNS[side] * rng.uniform(0.0, 0.008)
    pair = hands.pair(0)
    shifts = np.linspace(-0.018, 0.018, 9)
    hands.translation[0, 2] += shifts[np.argmin([pair.depth(np.array([0.0, 0.0, shift])) for shift in shifts])]
    hands.separate(0, np.array([1.0, 0.0, 0.0]), 0.003)
    if rng.random() < 0.7:
        for side in range(2):
            hands.close(side, rng, 0.8)


def _fingertips(hands: _Hands, rng: np.random.Generator, elbows: np.ndarray) -> None:
    names = [("relaxed", "cupped"), ("point",), ("open", "relaxed"), ("pinch", "tripod")][rng.integers(4)]
    lean = rng.uniform(0.3, 1.4)
    for side in range(2):
        fingers = np.array([-_SIGNS[side] * np.sin(lean), -np.cos(lean), rng.normal(0, 0.15)])
        frame = frame_of(fingers, np.array([_SIGNS[side] * rng.uniform(0.1, 1), -0.5, rng.uniform(-1, 1)]))
        hands.place(side, leaned(frame, rng, 4), np.zeros(3), _gesture(hands, side, rng, *names, freedom=0.6))
        hands.translation[side] -= hands.keypoints(side)[INDEX_TIP] + rng.normal(0, 0.008, 3)
    hands.touch(0, np.array([1.0, 0.0, 0.0]), _gap(rng), -0.06, 0.16)


def _finger_on_palm(hands: _Hands, rng: np.random.Generator, elbows: np.ndarray) -> None:
    moving = int(rng.integers(2))
    still = 1 - moving
    sign = _SIGNS[still]
    back = np.array([sign * rng.uniform(0.4, 1.0), rng.uniform(-0.3, 0.6), rng.uniform(-0.8, 0.8)])
    frame = leaned(frame_of(np.array([-sign * 0.3, -1.0, rng.normal(0, 0.3)]), back), rng, 8)
    hands.place(still, frame, np.zeros(3), _gesture(hands, still, rng, "open", "flat", "relaxed"))
    normal = -frame[:, 2]
    pointing = leaned(frame_of(-normal, np.array([sign * 0.2, -1.0, rng.uniform(-0.8, 0.8)])), rng, 16)
    hands.place(moving, pointing, np.zeros(3), _gesture(hands, moving, rng, "point", "pinch", "tripod", freedom=0.6))
    target = hands.keypoints(still)[PALM].mean(axis=0) + frame[:, :2] @ rng.normal(0, 0.018, 2)
    hands.translation[moving] += target - hands.keypoints(moving)[INDEX_TIP]
    hands.touch(moving, normal, _gap(rng), -0.02, 0.12)


def _fist_in_hand(hands: _Hands, rng: np.random.Generator, elbows: np.ndarray) -> None:
    moving = int(rng.integers(2))
    still = 1 - moving
    sign = _SIGNS[still]
    frame = leaned(frame_of(np.array([-sign * 0.2, -1.0, rng.normal(0, 0.3)]), np.array([sign, 0, 0.2])), rng, 8)
    hands.place(still, frame, np.zeros(3), _gesture(hands, still, rng, "flat", "open", freedom=0.5))
    normal = -frame[:, 2]
    # Knuckles or bent fingers first.
    lead = rng.uniform(0.0, 1.2)
    side = np.array([0.0, -1.0, rng.uniform(-1, 1)])
    fist = frame_of(-normal * np.cos(lead) + 0.6 * side * np.sin(lead), side + 0.4 * normal)
    hands.place(moving, leaned(fist, rng, 10), np.zeros(3), _gesture(hands, moving, rng, "fist", freedom=0.4))
    goal = hands.keypoints(still)[[0, *MCPS]].mean(axis=0) + 0.02 * frame[:, 0]
    hands.translation[moving] += goal - hands.keypoints(moving)[MCPS].mean(axis=0)
    hands.touch(moving, normal, _gap(rng), -0.03, 0.12)
    hands.close(still, rng)


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
