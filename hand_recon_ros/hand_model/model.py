"""The hand model: a posed mesh and its chain for each side, from the embedded hand or a user's MANO."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import re

import numpy as np

from ..geometry.compiled import compiled
from ..geometry.hand_kinematics import forward_kinematics
from ..geometry.skinning import skinned
from ..skeleton import JOINT_KEYPOINTS, NUM_JOINTS, NUM_KEYPOINTS, TIPS, WRIST
from ..types import Side
from .arrays import MANO_VERTICES, HandArrays, read_arrays
from .frames import transfer_frames
from .kinematics import Kinematics
from .limits import joint_limits
from .order import FROM_MANO, TO_MANO, from_mano_pose, to_mano_pose
from .refit import FEWEST_VERTICES, HandRefit, fitted

EMBEDDED = pathlib.Path(__file__).resolve().parents[1] / "assets" / "hand" / "webxr_generic.npz"


class HandModel:
    """Both hands of one model, in MANO's arithmetic (Romero, Tzionas & Black, "Embodied Hands", 2017).

    ``name`` is "webxr_generic" for the embedded hand, "mano" for MANO. Posing needs neither torch nor smplx; the
    result is smplx's to the last bits of single precision.
    """

    def __init__(self, name: str, right: HandArrays, left: HandArrays | None = None) -> None:
        """``left`` of None mirrors the right hand."""
        self.name = name
        arrays = {Side.RIGHT: right, Side.LEFT: right.mirrored() if left is None else left}
        self._hands = {side: _Hand(side, arrays[side]) for side in Side}
        if right.joint_frames is None and len(right.template) >= FEWEST_VERTICES:
            refit = fitted(load_embedded(), self, Side.RIGHT)
            self._hands[Side.RIGHT].use(refit)
            if left is None:
                self._hands[Side.LEFT].use(None if refit is None else refit.mirrored())
        if left is not None and left.joint_frames is None and len(left.template) >= FEWEST_VERTICES:
            self._hands[Side.LEFT].use(fitted(load_embedded(), self, Side.LEFT))

    @property
    def num_vertices(self) -> int:
        return len(self._hands[Side.RIGHT].arrays.template)

    @property
    def shape_names(self) -> tuple[str, ...]:
        """Meanings of the 10 betas; empty where the file has none (MANO's are principal components)."""
        return self._hands[Side.RIGHT].arrays.shape_names

    def faces(self, side: Side) -> np.ndarray:
        """Triangles (F, 3), int32, counter-clockwise from outside; the mesh is closed at the wrist."""
        return self._hands[side].arrays.faces

    def wrist_loop(self, side: Side) -> np.ndarray:
        """Vertices around the wrist's end, in order, where a forearm begins."""
        return self._hands[side].arrays.wrist_loop

    def tip_vertices(self, side: Side) -> np.ndarray:
        """The vertices (5,) that are the fingertip keypoints, thumb to little finger."""
        return self._hands[side].arrays.tips

    def weights(self, side: Side) -> np.ndarray:
        """Skinning weights (V, 16), joints in the order of skeleton.JOINT_NAMES."""
        return self._hands[side].arrays.weights[:, FROM_MANO]

    def kinematics(self, side: Side) -> Kinematics:
        return self._hands[side].kinematics

    def refit(self, side: Side) -> HandRefit | None:
        """How a hand relates to the embedded one; None for the embedded hand itself, and where it is not known."""
        return self._hands[side].refit

    def mesh(self, side: Side, rotations: np.ndarray, betas: np.ndarray, translation: np.ndarray) -> np.ndarray:
        """Vertices (V, 3), or (B, V, 3) for a batch, float32, metres.

        Args:
            rotations: of the joints relative to their parents (16, 3, 3) or (B, 16, 3, 3), order of
                skeleton.JOINT_NAMES; the first is the hand's orientation, about the wrist joint at rest.
            betas: (10,) or (B, 10).
            translation: MANO's ``transl`` (3,) or (B, 3), metres.
        """
        rotations, betas = np.asarray(rotations, dtype=np.float64), np.asarray(betas, dtype=np.float64)
        translation = np.asarray(translation, dtype=np.float64)
        if rotations.shape[-3:] != (NUM_JOINTS, 3, 3) or rotations.ndim > 4:
            raise ValueError(f"rotations must have shape (16, 3, 3) or (B, 16, 3, 3), got {rotations.shape}")
        single = rotations.ndim == 3 and betas.ndim == 1 and translation.ndim == 1
        count = np.broadcast_shapes(rotations.shape[:-3], betas.shape[:-1], translation.shape[:-1])
        posed = self._hands[side].mesh(
            np.broadcast_to(rotations, (*(count or (1,)), NUM_JOINTS, 3, 3)),
            np.broadcast_to(betas, (*(count or (1,)), betas.shape[-1])),
            np.broadcast_to(translation, (*(count or (1,)), 3)),
        )
        return posed[0] if single else posed

    def mesh_keypoints(self, side: Side, vertices: np.ndarray) -> np.ndarray:
        """Keypoints (..., 21, 3) of meshes (..., V, 3), as data sets of MANO's meshes have them.

        They are the vertices' averages by the model's regressor, and the fingertip vertices. Of a bent hand the
        averages are not exactly the joints of its kinematic chain.
        """
        arrays = self._hands[side].arrays
        vertices = np.asarray(vertices, dtype=np.float64)
        keypoints = np.empty((*vertices.shape[:-2], NUM_KEYPOINTS, 3))
        keypoints[..., JOINT_KEYPOINTS, :] = (arrays.regressor @ vertices)[..., FROM_MANO, :]
        keypoints[..., TIPS, :] = vertices[..., arrays.tips, :]
        return keypoints

    def shaped(self, side: Side, rotations: np.ndarray, betas: np.ndarray) -> np.ndarray:
        """Vertices at rest (V, 3), float32, metres, with shape and pose correctives, before skinning.

        Arguments as those of :meth:`mesh`, of one hand.
        """
        rotations, betas = np.asarray(rotations, dtype=np.float64), np.asarray(betas, dtype=np.float64)
        return self._hands[side].shaped(rotations[None], betas[None])[0]

    def arrays(self, side: Side) -> HandArrays:
        """The arrays of one hand, as they are read from a file in MANO's layout."""
        return self._hands[side].arrays

    @staticmethod
    def to_mano_pose(rotations: np.ndarray) -> np.ndarray:
        """See :func:`hand_recon_ros.hand_model.to_mano_pose`."""
        return to_mano_pose(rotations)

    @staticmethod
    def from_mano_pose(pose: np.ndarray) -> np.ndarray:
        """See :func:`hand_recon_ros.hand_model.from_mano_pose`."""
        return from_mano_pose(pose)


class _Hand:
    """One side's arrays, laid out for posing."""

    def __init__(self, side: Side, arrays: HandArrays) -> None:
        self.side, self.arrays = side, arrays
        template, shapedirs = arrays.template.astype(np.float64), arrays.shapedirs.astype(np.float64)
        joints = (arrays.regressor @ template)[FROM_MANO]
        joint_dirs = np.einsum("jv,vak->jak", arrays.regressor, shapedirs)[FROM_MANO]
        keypoints, keypoint_dirs = np.empty((21, 3)), np.empty((21, 3, shapedirs.shape[2]))
        keypoints[JOINT_KEYPOINTS], keypoints[TIPS] = joints, template[arrays.tips]
        keypoint_dirs[JOINT_KEYPOINTS], keypoint_dirs[TIPS] = joint_dirs, shapedirs[arrays.tips]
        frames = arrays.joint_frames
        if frames is None:
            reference = load_embedded().kinematics(side)
            frames = transfer_frames(keypoints, reference.keypoint_template, reference.joint_frames)
        self.kinematics = Kinematics(side, keypoints, keypoint_dirs, frames, joint_limits(), frames)
        self.refit: HandRefit | None = None
        self.use(arrays.refit)
        self._template = arrays.template.reshape(-1)
        self._shapedirs = np.ascontiguousarray(arrays.shapedirs.reshape(-1, arrays.shapedirs.shape[2]).T)
        self._posedirs = np.ascontiguousarray(arrays.posedirs.reshape(-1, arrays.posedirs.shape[2]).T)
        self._weights = arrays.weights[:, FROM_MANO].astype(np.float64)

    def use(self, refit: HandRefit | None) -> None:
        """Take over the anatomical frames of a re-fit."""
        self.refit = refit
        if refit is not None:
            self.kinematics = dataclasses.replace(
                self.kinematics, joint_frames=refit.joint_frames, parent_frames=refit.parent_frames
            )

    def mesh(self, rotations: np.ndarray, betas: np.ndarray, translation: np.ndarray) -> np.ndarray:
        rest = self.kinematics.rest_keypoints(betas)
        keypoints, orientations = forward_kinematics(rotations, rest, rest[:, WRIST] + translation)
        return skinned(self.shaped(rotations, betas), self._weights, orientations, keypoints, rest).astype(np.float32)

    def shaped(self, rotations: np.ndarray, betas: np.ndarray) -> np.ndarray:
        features = (rotations[:, TO_MANO[1:]] - np.eye(3)).reshape(len(rotations), -1).astype(np.float32)
        shaped = self._template + betas.astype(np.float32) @ self._shapedirs
        _add_pose_correctives(np.ascontiguousarray(features), self._posedirs, shaped)
        return shaped.reshape(len(rotations), -1, 3)


@compiled
def _add_pose_correctives(features, posedirs, shaped):  # type: ignore[no-untyped-def]
    """Add ``features @ posedirs`` to ``shaped``: (B, 135), (135, M) and (B, M), float32 and contiguous.

    As fast as BLAS for one hand, and without its threads, which go on spinning on the cores that the networks need.
    """
    for b in range(features.shape[0]):
        for k in range(0, 135, 5):  # five at a time, for fewer passes over ``shaped``
            f0, f1, f2, f3, f4 = (
                features[b, k], features[b, k + 1], features[b, k + 2], features[b, k + 3], features[b, k + 4],
            )  # fmt: skip
            for m in range(posedirs.shape[1]):
                shaped[b, m] += (
                    f0 * posedirs[k, m] + f1 * posedirs[k + 1, m] + f2 * posedirs[k + 2, m]
                    + f3 * posedirs[k + 3, m] + f4 * posedirs[k + 4, m]
                )  # fmt: skip


@functools.cache
def load_embedded() -> HandModel:
    """The embedded hand, read once."""
    return HandModel("webxr_generic", read_arrays(EMBEDDED))


def load_hand_model(path: str | pathlib.Path = "") -> HandModel:
    """A hand model by path.

    Args:
        path: empty for the embedded hand; a .npz or .safetensors file in MANO's layout of either hand, or a folder
            with MANO_RIGHT.npz. Where the name has RIGHT (or LEFT) in it and the other hand lies beside it, both are
            used; otherwise the other hand is the mirror image.

    Raises:
        HandModelError: the file is missing or not a hand model.
    """
    if not str(path):
        return load_embedded()
    files = hand_model_files(path)
    first, *others = (read_arrays(file) for file in files)
    left: HandArrays | None
    if _is_left(files[0]):
        right, left = others[0] if others else first.mirrored(), first
    else:
        right, left = first, others[0] if others else None
    stem = files[0].stem
    name = re.sub(r"[_-]?(right|left)$", "", stem, flags=re.IGNORECASE) or stem  # the same for both files
    return HandModel("mano" if len(right.template) == MANO_VERTICES else name, right, left)


def hand_model_files(path: str | pathlib.Path) -> tuple[pathlib.Path, ...]:
    """The files that :func:`load_hand_model` reads: the first is of ``path``, a second one, if it is there, is of the
    other hand."""
    path = pathlib.Path(os.path.expanduser(path))
    if path.is_dir():
        path = path / "MANO_RIGHT.npz"
    old, new = ("LEFT", "RIGHT") if _is_left(path) else ("RIGHT", "LEFT")
    beside = path.with_name(path.name.replace(old, new).replace(old.lower(), new.lower()))
    return (path,) if beside == path or not beside.is_file() else (path, beside)


def _is_left(path: pathlib.Path) -> bool:
    return "LEFT" in path.name.upper()
