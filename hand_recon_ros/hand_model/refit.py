"""The re-fit of another hand model: what is learnt of the embedded hand, carried over to it.

The encoder, the landmarks' lifting, the joints' limits and the two-hand prior know the embedded hand: where its joints
are, which pose its angles are zero in, what its betas are. The embedded hand is registered to the other model's skin in
several poses; where its joints lie then, and how they are turned, relates the two.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

import numpy as np

from ..geometry.rotations import nearest_rotations
from ..skeleton import JOINT_KEYPOINTS, JOINT_PARENTS, NUM_JOINTS, NUM_KEYPOINTS, mirror_points
from ..types import Side
from .kinematics import mirror_frames
from .skin_registration import registered

if TYPE_CHECKING:
    from .model import HandModel

_log = logging.getLogger(__name__)

FEWEST_VERTICES = 300
"""Skins of fewer vertices are too coarse to be compared."""
_LARGEST_DISTANCE = 0.003
"""Root mean square distance of the skins, metres, above which the other model is not taken for a hand like ours."""
_FLEXION = np.radians([0.0, 20.0, 45.0, 70.0])
"""Bend of all joints in the poses; the thumb's is 0.4 of it."""
_SPREAD = np.radians(8.0)
_PARENTS = np.maximum(JOINT_PARENTS, 0)
_JOINT_AT = np.array([0, *(1 + 3 * ((k - 1) // 4) + min((k - 1) % 4, 2) for k in range(1, NUM_KEYPOINTS))])
"""The joint that turns what lies behind each keypoint; that of a fingertip is the last one."""
_JOINT_BEFORE = np.where(np.isin(np.arange(NUM_KEYPOINTS), JOINT_KEYPOINTS), _PARENTS[_JOINT_AT], _JOINT_AT)
FILE_SHAPES = {
    "joint_frames": (16, 3, 3), "parent_frames": (16, 3, 3), "keypoint_offsets": (21, 3), "embedded_betas": (10,),
    "embedded_beta_dirs": (10, 10), "refit_errors": (2,),
}  # fmt: skip
"""Names and shapes of a re-fit's arrays in a hand model file."""


@dataclasses.dataclass(frozen=True, eq=False)
class HandRefit:
    """How one hand of another model relates to the embedded hand.

    Attributes:
        joint_frames: anatomical frames of the joints at rest (16, 3, 3), see ``Kinematics``.
        parent_frames: those of the flat hand (16, 3, 3), see ``Kinematics``.
        keypoint_offsets: from the model's keypoints at rest to where the embedded hand's are (21, 3), metres; see
            :func:`turned_offsets`.
        embedded_betas: the embedded hand's betas (10,) for betas of zero, and
        embedded_beta_dirs: per unit of each beta (10, 10), the last axis the model's.
        refit_errors: root mean square over the poses of what is left between the embedded hand's keypoints and the
            model's with their offsets, metres, and between the frames, radians (2,).
    """

    joint_frames: np.ndarray
    parent_frames: np.ndarray
    keypoint_offsets: np.ndarray
    embedded_betas: np.ndarray
    embedded_beta_dirs: np.ndarray
    refit_errors: np.ndarray

    def mirrored(self) -> HandRefit:
        """That of the mirror image in the plane x = 0."""
        return dataclasses.replace(
            self,
            joint_frames=mirror_frames(self.joint_frames),
            parent_frames=mirror_frames(self.parent_frames),
            keypoint_offsets=mirror_points(self.keypoint_offsets),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Its arrays by their names in a file."""
        return {name: getattr(self, name) for name in FILE_SHAPES}


def turned_offsets(offsets: np.ndarray, orientations: np.ndarray) -> np.ndarray:
    """Offsets (..., 21, 3) of a hand whose joints have ``orientations`` (..., 16, 3, 3).

    An offset follows the bones before and behind its keypoint by half.
    """
    halves = 0.5 * (orientations[..., _JOINT_BEFORE, :, :] + orientations[..., _JOINT_AT, :, :])
    return (halves @ offsets[..., None])[..., 0]


def fitted(reference: HandModel, model: HandModel, side: Side) -> HandRefit | None:
    """The re-fit of one hand; None, with a warning, where the model's skin is not like the embedded hand's.

    Deterministic; takes a few seconds. ``model`` has the joint frames of :mod:`frames`.
    """
    try:
        registrations = [registered(reference, model, side, pose) for pose in _poses(model, side)]
    except np.linalg.LinAlgError as error:
        _log.warning("%s: no re-fit of the %s hand: %s", model.name, side.label, error)
        return None
    distance = float(np.sqrt(np.mean([each.distance**2 for each in registrations])))
    if not distance < _LARGEST_DISTANCE:
        _log.warning(
            "%s: no re-fit of the %s hand: its skin is %.1f mm from the embedded hand's, expected at most %.1f mm",
            model.name, side.label, 1e3 * distance, 1e3 * _LARGEST_DISTANCE,
        )  # fmt: skip
        return None
    kinematics, ours = model.kinematics(side), reference.kinematics(side)
    posed = [kinematics.forward(pose, np.zeros(10), np.zeros(3)) for pose in _poses(model, side)]
    keypoints, orientations = (np.stack([each[i] for each in posed]) for i in range(2))
    # The embedded hand's frames, in the coordinates of the model's joints.
    frames = np.stack([each.orientations @ ours.joint_frames for each in registrations])
    local = np.swapaxes(orientations, -1, -2) @ frames
    joint_frames = nearest_rotations(local.mean(axis=0))
    cosines = (np.einsum("njab,jab->nj", local, joint_frames) - 1.0) / 2.0
    angles = np.arccos(np.clip(cosines, -1.0, 1.0))
    wanted = np.stack([each.keypoints for each in registrations]) - keypoints
    offsets = np.empty((NUM_KEYPOINTS, 3))
    for k in range(NUM_KEYPOINTS):
        system = 0.5 * (orientations[:, _JOINT_BEFORE[k]] + orientations[:, _JOINT_AT[k]])
        offsets[k] = np.linalg.lstsq(system.reshape(-1, 3), wanted[:, k].reshape(-1), rcond=None)[0]
    left_over = np.linalg.norm(turned_offsets(offsets, orientations) - wanted, axis=-1)
    zero = joint_frames[_PARENTS] @ np.swapaxes(ours.joint_frames[_PARENTS], -1, -2) @ ours.joint_frames
    zero[0] = joint_frames[0]
    return HandRefit(
        joint_frames=joint_frames,
        parent_frames=zero,
        keypoint_offsets=offsets,
        embedded_betas=np.mean([each.betas for each in registrations], axis=0),
        embedded_beta_dirs=np.mean([each.beta_dirs for each in registrations], axis=0),
        refit_errors=np.sqrt([np.mean(left_over**2), np.mean(angles**2)]),
    )


def _poses(model: HandModel, side: Side) -> np.ndarray:
    """The rest pose, and fingers bent more and more while they spread and close (4, 16, 3, 3)."""
    angles = np.zeros((len(_FLEXION), NUM_JOINTS, 3))
    angles[:, 1:, 0] = _FLEXION[:, None] * np.repeat([0.4, 1.0, 1.0, 1.0, 1.0], 3)
    angles[1::2, [4, 10, 13], 1] = _SPREAD * np.array([1.0, -0.5, -1.0])
    angles[2, 1, 1] = 2.0 * _SPREAD
    return model.kinematics(side).rotations_of(angles)
