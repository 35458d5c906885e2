"""SOMA-X's pose correctives, a network of the joints' rotations, as MANO's: linear in the elements of the rotations."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from ..geometry.skinning import skinning_transforms
from ..skeleton import NUM_JOINTS
from ..types import Side
from .arrays import HandArrays, checked_arrays
from .frames import transfer_frames
from .kinematics import Kinematics
from .model import HandModel, load_embedded
from .order import TO_MANO
from .soma_errors import Pose, random_rotations
from .soma_import import SomaHand, soma_arrays

_RIDGE = 0.03


@dataclasses.dataclass(frozen=True)
class CorrectiveErrors:
    """How far SOMA's pose correctives move the vertices, metres, and how much of it is left.

    Attributes:
        poses: number of random poses, other ones than were fitted to.
        moved_mean, moved_largest: distances of SOMA's vertices with them to those without.
        left_mean, left_largest: distances of the converted hand's vertices, with those fitted, to SOMA's with them.
    """

    poses: int
    moved_mean: float
    moved_largest: float
    left_mean: float
    left_largest: float

    def summary(self) -> str:
        """The numbers in millimetres, in a line."""
        return (
            f"  SOMA's pose correctives move vertices by {1e3 * self.moved_mean:.2f} mm in the mean, at most "
            f"{1e3 * self.moved_largest:.2f} mm; fitted ones leave {1e3 * self.left_mean:.2f} mm, at most "
            f"{1e3 * self.left_largest:.2f} mm"
        )


def fitted_correctives(
    hand: SomaHand, pose: Pose, corrected: Pose, poses: int = 300, seed: int = 0
) -> tuple[np.ndarray, CorrectiveErrors]:
    """Pose correctives (V, 3, 135), metres, by least squares over random poses of the mean shape.

    Their constant part, what SOMA's add to the bind pose, is left out: MANO's layout has no place for it.

    Args:
        hand: of SOMA.
        pose: its vertices by linear blend skinning alone.
        corrected: its vertices with pose correctives.
        poses: number of poses for the fit; a third as many are measured.
        seed: of the poses.
    """
    rng, arrays = np.random.default_rng(seed), soma_arrays(hand)
    model, kinematics = _posing(hand.side, arrays)
    rotations = random_rotations(rng, kinematics, poses)
    features = (rotations[:, TO_MANO[1:]] - np.eye(3)).reshape(poses, -1)
    wanted = _unposed(hand, kinematics, model.weights(hand.side), rotations, pose, corrected)
    # With a constant beside the features, which the ridge does not hold down.
    features, wanted = features - features.mean(axis=0), wanted - wanted.mean(axis=0)
    normal = features.T @ features + _RIDGE * np.eye(features.shape[1])
    solved = np.linalg.solve(normal, features.T @ wanted.reshape(poses, -1))
    posedirs = solved.T.reshape(*hand.template.shape, -1).astype(np.float32)
    fitted, _ = _posing(hand.side, {**arrays, "posedirs": posedirs})
    others = random_rotations(rng, kinematics, max(poses // 3, 1))
    orientations, coefficients = _orientations(hand, kinematics, others)
    theirs = corrected(orientations, coefficients)
    wrist = kinematics.keypoint_template[0]
    ours = fitted.mesh(hand.side, others, np.zeros(10), -wrist).astype(np.float64)
    moved = np.linalg.norm(theirs - pose(orientations, coefficients), axis=-1)
    left = np.linalg.norm(ours - theirs, axis=-1)
    errors = CorrectiveErrors(
        len(others), float(moved.mean()), float(moved.max()), float(left.mean()), float(left.max())
    )
    return posedirs, errors


def _posing(side: Side, arrays: dict[str, np.ndarray]) -> tuple[HandModel, Kinematics]:
    """A model without a re-fit, and kinematics with joint frames by its bones."""
    frames = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    read: HandArrays = checked_arrays({**arrays, "joint_frames": frames}, Path("SOMA"))
    right, left = (read, read.mirrored()) if side is Side.RIGHT else (read.mirrored(), read)
    model, reference = HandModel("soma", right, left), load_embedded().kinematics(side)
    kinematics = model.kinematics(side)
    frames = transfer_frames(kinematics.keypoint_template, reference.keypoint_template, reference.joint_frames)
    return model, dataclasses.replace(kinematics, joint_frames=frames, parent_frames=frames)


def _orientations(hand: SomaHand, kinematics: Kinematics, rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SOMA's orientations of poses, and coefficients of zero."""
    turned = kinematics.forward(rotations, np.zeros(10), np.zeros(3))[1]
    return turned[:, hand.moved_by], np.zeros((len(rotations), len(hand.directions)))


def _unposed(
    hand: SomaHand, kinematics: Kinematics, weights: np.ndarray, rotations: np.ndarray, pose: Pose, corrected: Pose
) -> np.ndarray:
    """What the correctives of poses add to the vertices before skinning (poses, V, 3), metres."""
    orientations, coefficients = _orientations(hand, kinematics, rotations)
    moved = corrected(orientations, coefficients) - pose(orientations, coefficients)
    keypoints, turned = kinematics.forward(rotations, np.zeros(10), np.zeros(3))
    matrices, _ = skinning_transforms(weights.astype(np.float64), turned, keypoints, kinematics.keypoint_template)
    return np.asarray(np.linalg.solve(matrices, moved[..., None])[..., 0])
