"""Placing two hands relative to each other: wrist frames, contact along a line, fingers closed on the other hand."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from ..hand_model import HandModel
from ..skeleton import PALM, wrist_rotation
from ..types import Side
from .contact_search import TOLERANCE, contact_distance, largest_free_share, separation_distance
from .overlap import ShiftedMeshes
from .vectors import perpendicular

_CURL = np.radians([60.0, 75.0, 40.0])
"""Flexion of MCP, PIP and DIP joint of a finger that closes fully."""


def wrist_frame(fingers: np.ndarray, back: np.ndarray) -> np.ndarray:
    """A wrist frame (3, 3) whose fingers point along ``fingers`` (3,) and whose back faces roughly ``back`` (3,)."""
    x = np.asarray(fingers, dtype=float) / np.linalg.norm(fingers)
    z = perpendicular(np.asarray(back, dtype=float), x)
    return np.stack([x, np.cross(z, x), z], axis=-1)


def perturb_frame(frame: np.ndarray, rng: np.random.Generator, degrees: float) -> np.ndarray:
    """The frame (3, 3) rotated by a random vector whose components have a standard deviation of ``degrees``."""
    return Rotation.from_rotvec(rng.normal(0, np.radians(degrees), 3)).as_matrix() @ frame


class HandPlacer:
    """Two hands while they are being arranged, indexed by side; NaN until they are placed.

    Attributes:
        kinematics: of both sides.
        rotations: of the joints relative to their parents (2, 16, 3, 3).
        translation: (2, 3) metres.
    """

    def __init__(self, hand_model: HandModel, betas: np.ndarray) -> None:
        """``betas`` (2, 10) are the hands' shapes."""
        self.kinematics = [hand_model.kinematics(side) for side in Side]
        self.rotations, self.translation = np.full((2, 16, 3, 3), np.nan), np.full((2, 3), np.nan)
        self._model, self._betas = hand_model, betas
        self._rest_frames = [
            wrist_rotation(hand.rest_keypoints(betas[hand.side]), hand.side == Side.RIGHT) for hand in self.kinematics
        ]

    def place(self, side: int, frame: np.ndarray, palm: np.ndarray, angles: np.ndarray) -> None:
        """Place a hand: its wrist frame (3, 3), the middle of its palm (3,), metres, and its joint angles (16, 3)."""
        kinematics = self.kinematics[side]
        rotations = kinematics.rotations_of(kinematics.clamp_angles(angles))
        rotations[0] = frame @ self._rest_frames[side].T
        self.rotations[side], self.translation[side] = rotations, 0.0
        self.translation[side] = palm - self.keypoints(side)[PALM].mean(axis=0)

    def keypoints(self, side: int) -> np.ndarray:
        """Keypoints (21, 3) of a hand, metres."""
        return self.kinematics[side].forward(self.rotations[side], self._betas[side], self.translation[side])[0]

    def meshes(self, moving: int) -> ShiftedMeshes:
        """Both meshes, of which that of side ``moving`` can be shifted."""
        return self._meshes(moving, self.rotations[moving])

    def _meshes(self, moving: int, rotations: np.ndarray) -> ShiftedMeshes:
        other = 1 - moving
        return ShiftedMeshes(
            self._mesh(other, self.rotations[other]), self._model.faces(Side(other)),
            self._mesh(moving, rotations), self._model.faces(Side(moving)),
        )  # fmt: skip

    def _mesh(self, side: int, rotations: np.ndarray) -> np.ndarray:
        return self._model.mesh(Side(side), rotations, self._betas[side], self.translation[side])

    def close_gap(self, moving: int, direction: np.ndarray, gap: float, near: float = -0.05, far: float = 0.14) -> None:
        """Move a hand along ``direction`` (3,), against it from ``far`` on, until it is ``gap`` metres from contact."""
        direction = direction / np.linalg.norm(direction)
        self.translation[moving] += (contact_distance(self.meshes(moving), direction, near, far) + gap) * direction

    def separate(self, moving: int, direction: np.ndarray, tolerance: float = TOLERANCE) -> None:
        """Move a hand along ``direction`` (3,) until it overlaps the other by ``tolerance`` metres at most."""
        direction = direction / np.linalg.norm(direction)
        self.translation[moving] += separation_distance(self.meshes(moving), direction, tolerance) * direction

    def close_fingers(self, side: int, rng: np.random.Generator, most: float = 1.0) -> None:
        """Curl the four fingers of a hand until they touch the other hand, ``most`` of a full curl at most."""
        kinematics = self.kinematics[side]
        start = kinematics.angles_of(self.rotations[side])
        curl = np.zeros((16, 3))
        curl[4:, 0] = np.tile(_CURL * rng.uniform(0.6, 1.0) * most, 4)
        # Contact that exists elsewhere before must not keep the fingers open.
        allowed = max(self.meshes(side).depth(np.zeros(3)), TOLERANCE) + 0.0005

        def curled(share: float) -> np.ndarray:
            rotations = kinematics.rotations_of(kinematics.clamp_angles(start + share * curl))
            rotations[0] = self.rotations[side, 0]
            return rotations

        def overlaps(share: float) -> bool:
            return self._meshes(side, curled(share)).depth(np.zeros(3)) > allowed

        self.rotations[side] = curled(largest_free_share(overlaps))
