"""Pairs of hands between the hand model in use and the embedded one, which the two-hand prior was trained on."""

from __future__ import annotations

import numpy as np

from ..hand_model import HandModel, load_hand_model
from ..hand_model.hand_pair import HandPair
from ..hand_model.refit import HandRefit
from ..skeleton import JOINT_PARENTS, WRIST
from ..types import Side

_PARENTS = np.maximum(JOINT_PARENTS, 0)


class PriorHand:
    """Both hands of a model with re-fits, as the embedded hands in the same places: their bones are turned alike."""

    def __init__(self, refits: dict[Side, HandRefit]) -> None:
        ours = load_hand_model()
        self._refits = refits
        # From the embedded hand's coordinates of a joint to the model's (2, 16, 3, 3).
        self._turns = np.stack(
            [refits[side].joint_frames @ np.swapaxes(ours.kinematics(side).joint_frames, -1, -2) for side in Side]
        )

    @classmethod
    def of(cls, model: HandModel) -> PriorHand | None:
        """That of a model; None where it is the embedded hand, or is not related to it."""
        refits = {side: refit for side in Side if (refit := model.refit(side)) is not None}
        return cls(refits) if len(refits) == len(Side) else None

    def from_model(self, pair: HandPair) -> HandPair:
        """The embedded hands of a pair of the model's."""
        before = np.swapaxes(self._turns[:, _PARENTS], -1, -2).copy()
        before[:, 0] = np.eye(3)
        refits = [self._refits[side] for side in Side]
        betas = np.stack([r.embedded_betas + r.embedded_beta_dirs @ pair.betas[side] for side, r in enumerate(refits)])
        return HandPair(before @ pair.rotations @ self._turns, betas, pair.wrists + self._wrist_offsets(pair.rotations))

    def to_model(self, pair: HandPair, betas: np.ndarray) -> HandPair:
        """The inverse of :meth:`from_model`, but for the ``betas`` (2, 10), which are the model's."""
        before = self._turns[:, _PARENTS].copy()
        before[:, 0] = np.eye(3)
        rotations = before @ pair.rotations @ np.swapaxes(self._turns, -1, -2)
        return HandPair(rotations, betas, pair.wrists - self._wrist_offsets(rotations))

    def _wrist_offsets(self, rotations: np.ndarray) -> np.ndarray:
        """From the model's wrists to the embedded hand's (2, 3), of the model's rotations (2, 16, 3, 3)."""
        offsets = np.stack([self._refits[side].keypoint_offsets[WRIST] for side in Side])
        return np.asarray((rotations[:, 0] @ offsets[..., None])[..., 0])
