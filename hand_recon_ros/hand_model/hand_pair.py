"""A left and a right hand as one value: their parameters, and what follows from them with a hand model."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..skeleton import NUM_JOINTS, WRIST, mirror_points, mirror_rotations
from ..types import Side
from .model import HandModel

_POINT_SIGNS = np.stack([mirror_points(np.ones(3)), np.ones(3)])
_ROTATION_SIGNS = np.stack([mirror_rotations(np.ones((3, 3))), np.ones((3, 3))])[:, None]
"""Factors that mirror the left hand in the plane x = 0, element by element."""


@dataclasses.dataclass(frozen=True, eq=False)
class HandPair:
    """A left and a right hand, or a batch of such pairs; metres, in one frame. Raises ValueError for other shapes.

    Attributes:
        rotations: of the joints relative to their parents (..., 2, 16, 3, 3), in the order of skeleton.JOINT_NAMES; the
            first is the orientation.
        betas: (..., 2, 10).
        wrists: positions of the wrists (..., 2, 3).
    """

    rotations: np.ndarray
    betas: np.ndarray
    wrists: np.ndarray

    def __post_init__(self) -> None:
        rotations, betas, wrists = self.rotations.shape, self.betas.shape, self.wrists.shape
        batch = wrists[:-2]
        if (rotations, betas, wrists) != ((*batch, 2, NUM_JOINTS, 3, 3), (*batch, 2, 10), (*batch, 2, 3)):
            raise ValueError(
                "expected rotations (..., 2, 16, 3, 3), betas (..., 2, 10) and wrists (..., 2, 3) of a left and a "
                f"right hand, got {rotations}, {betas} and {wrists}"
            )

    @classmethod
    def placed(
        cls, hand_model: HandModel, rotations: np.ndarray, betas: np.ndarray, translations: np.ndarray
    ) -> HandPair:
        """The pair whose hands have the ``translations`` (..., 2, 3), metres, of :meth:`HandModel.mesh`."""
        return cls(rotations, betas, translations + _rest_wrists(hand_model, betas))

    @classmethod
    def from_right_hands(cls, rotations: np.ndarray, betas: np.ndarray, wrists: np.ndarray) -> HandPair:
        """The inverse of :meth:`as_right_hands`."""
        return cls(rotations * _ROTATION_SIGNS, betas.copy(), wrists * _POINT_SIGNS)

    def as_right_hands(self) -> tuple[np.ndarray, np.ndarray]:
        """Copies of rotations (..., 2, 16, 3, 3) and wrists (..., 2, 3), the left hand mirrored in the plane x = 0."""
        return self.rotations * _ROTATION_SIGNS, self.wrists * _POINT_SIGNS

    def __len__(self) -> int:
        """The number of pairs of a batch; raises TypeError for a single pair."""
        if self.wrists.ndim == 2:
            raise TypeError("a single pair of hands has no length")
        return len(self.wrists)

    def __getitem__(self, index: int | slice | np.ndarray) -> HandPair:
        """Some pairs of a batch."""
        return HandPair(self.rotations[index], self.betas[index], self.wrists[index])

    def translations(self, hand_model: HandModel) -> np.ndarray:
        """The hands' translations (..., 2, 3), metres, as :meth:`HandModel.mesh` takes them."""
        return np.asarray(self.wrists - _rest_wrists(hand_model, self.betas))

    def keypoints(self, hand_model: HandModel) -> np.ndarray:
        """Both hands' keypoints (..., 2, 21, 3), metres."""
        translations = self.translations(hand_model)
        hands = [
            hand_model.kinematics(side).forward(
                self.rotations[..., side, :, :, :], self.betas[..., side, :], translations[..., side, :]
            )[0]
            for side in Side
        ]
        return np.stack(hands, axis=-3)

    def meshes(self, hand_model: HandModel) -> tuple[np.ndarray, np.ndarray]:
        """The left and the right hand's vertices (V, 3), or (B, V, 3), metres, float32."""
        translations = self.translations(hand_model)
        left, right = (
            hand_model.mesh(
                side, self.rotations[..., side, :, :, :], self.betas[..., side, :], translations[..., side, :]
            )
            for side in Side
        )
        return left, right

    def mirrored(self) -> HandPair:
        """The mirror image in the plane x = 0: each hand becomes the other side's."""
        return HandPair(
            mirror_rotations(self.rotations)[..., ::-1, :, :, :].copy(),
            self.betas[..., ::-1, :].copy(),
            mirror_points(self.wrists)[..., ::-1, :].copy(),
        )

    def plausible(self, max_distance: float = 10.0, max_beta: float = 10.0) -> bool:
        """Whether hands can have these numbers: finite, rotations orthonormal, in front of the camera and within
        ``max_distance`` metres of it, betas of at most ``max_beta`` standard deviations."""
        # No comparison holds for NaN.
        product = self.rotations @ np.swapaxes(self.rotations, -1, -2)
        orthonormal = bool(np.abs(product - np.eye(3)).max() < 1e-2)
        near = bool((np.abs(self.wrists) < max_distance).all() and (self.wrists[..., 2] > 0.0).all())
        return orthonormal and near and bool((np.abs(self.betas) < max_beta).all())


def _rest_wrists(hand_model: HandModel, betas: np.ndarray) -> np.ndarray:
    """The wrists (..., 2, 3) of hands at rest, metres."""
    rest = [hand_model.kinematics(side).rest_keypoints(betas[..., side, :])[..., WRIST, :] for side in Side]
    return np.stack(rest, axis=-2)
