"""A hand in MANO's layout that differs from the embedded one as MANO does, for measuring without MANO's own files.

It is the embedded hand with another mean shape, its skin moved by a smooth field, other joint centres, another rest
pose, another basis of shapes, other fingertip vertices, a mean pose, and pose correctives fitted anew. Vertices keep
their numbers, so that its meshes can be compared with those of the embedded hand vertex by vertex.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..geometry.skinning import skinning_transforms
from ..hand_model import HandModel, load_hand_model
from ..hand_model.order import TO_MANO
from ..skeleton import JOINT_KEYPOINTS, JOINT_PARENTS
from ..types import Side
from .surface import vertex_normals

_MOVED = (0.003, 0.006)
"""How far joint centres are moved, metres."""
_SKIN_RMS = 0.001
"""Root mean square of the field that moves the skin along its normals, metres."""
_WAVELENGTH = 0.04
_TIP_DISTANCE = 0.004
"""From the embedded hand's fingertip vertices to the stand-in's, about, metres."""
_POSES = 400
_RIDGE = 0.3
_REST = np.radians(
    [[8, 8, 5], [6, 0, 0], [8, 0, 0], [6, 6, 0], [7, 0, 0], [4, 0, 0], [8, 1, 0], [6, 0, 0], [4, 0, 0]]
    + [[9, -5, 0], [7, 0, 0], [5, 0, 0], [7, -10, 0], [8, 0, 0], [5, 0, 0]]
)
"""Flexion, abduction and twist of the rest pose (15, 3), of the embedded hand."""


def mano_stand_in(seed: int = 0) -> dict[str, Any]:
    """The arrays of a right hand with MANO's names; the same for the same seed. Takes a second."""
    rng, model = np.random.default_rng(seed), load_hand_model()
    kinematics, arrays = model.kinematics(Side.RIGHT), model.arrays(Side.RIGHT)
    angles = np.zeros((16, 3))
    angles[1:] = _REST + rng.normal(0.0, np.radians(1.5), (15, 3)) * [1.0, 1.0, 0.3]
    rest_rotations, betas = kinematics.rotations_of(angles), rng.normal(0.0, 0.5, 10)
    skin, joints, rest_orientations = _posed(model, rest_rotations[None], betas)
    field = _smooth_field(rng, skin[0])
    template = skin[0] + vertex_normals(skin[0], arrays.faces) * field[:, None]
    shapedirs = np.stack([_posed(model, rest_rotations[None], betas + step)[0][0] - skin[0] for step in np.eye(10)], -1)
    mixture = np.linalg.qr(rng.normal(size=(10, 10)))[0]
    direction = rng.normal(size=(16, 3))
    direction *= rng.uniform(*_MOVED, 16)[:, None] / np.linalg.norm(direction, axis=1, keepdims=True)
    regressor = joint_regressor(template, joints[0] + direction)
    weights = model.weights(Side.RIGHT).astype(np.float64)
    posedirs = _posedirs(rng, model, betas, field, template, regressor @ template, weights, rest_orientations[0])
    return {
        "v_template": template,
        "shapedirs": shapedirs @ mixture,
        "posedirs": posedirs,
        "J_regressor": regressor[TO_MANO],
        "weights": weights[:, TO_MANO],
        "kintree_table": np.array([[2**32 - 1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14], range(16)], np.int64),
        "f": arrays.faces.astype(np.int64),
        "hands_mean": rng.normal(0.0, 0.15, 45),
        "hands_components": np.linalg.qr(rng.normal(size=(45, 45)))[0],
        "hands_coeffs": rng.normal(size=(20, 45)),
        "tip_vertices": _other_tips(template, arrays.tips),
        "wrist_loop": arrays.wrist_loop,
    }


def _posed(model: HandModel, rotations: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (B, V, 3), joints (B, 16, 3) and their orientations (B, 16, 3, 3) of the embedded hand in poses."""
    vertices = model.mesh(Side.RIGHT, rotations, betas, np.zeros(3)).astype(np.float64)
    keypoints, orientations = model.kinematics(Side.RIGHT).forward(rotations, betas, np.zeros(3))
    return vertices, keypoints[:, JOINT_KEYPOINTS], orientations


def _smooth_field(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """A random field (V,), metres, at points (V, 3)."""
    waves = rng.normal(size=(12, 3)) / _WAVELENGTH * 2.0
    values = np.sin(points @ waves.T + rng.uniform(0.0, 2.0 * np.pi, 12)).sum(axis=1)
    return np.asarray(_SKIN_RMS * values / np.sqrt(np.mean(values**2)))


def joint_regressor(vertices: np.ndarray, joints: np.ndarray, nearest: int = 40) -> np.ndarray:
    """Weights (J, V) of the ``nearest`` vertices of each joint (J, 3) that have the joint for their mean: the smallest
    ones, with the sum 1."""
    result = np.zeros((len(joints), len(vertices)))
    for row, joint in zip(result, joints, strict=True):
        near = np.argsort(np.linalg.norm(vertices - joint, axis=1))[:nearest]
        system = np.concatenate([vertices[near].T, np.ones((1, nearest))])
        row[near] = np.linalg.lstsq(system, np.append(joint, 1.0), rcond=None)[0]
    return result


def _posedirs(
    rng: np.random.Generator,
    model: HandModel,
    betas: np.ndarray,
    field: np.ndarray,
    template: np.ndarray,
    joints: np.ndarray,
    weights: np.ndarray,
    rest_orientations: np.ndarray,
) -> np.ndarray:
    """Pose correctives (V, 3, 135) with which the stand-in's skin is the embedded hand's in random poses."""
    kinematics, faces = model.kinematics(Side.RIGHT), model.faces(Side.RIGHT)
    limits = 0.85 * kinematics.limits[1:]
    angles = np.zeros((_POSES, 16, 3))
    angles[:, 1:] = rng.uniform(limits[..., 0], limits[..., 1], (_POSES, 15, 3))
    skin, _, orientations = _posed(model, kinematics.rotations_of(angles), betas)
    orientations = orientations @ np.swapaxes(rest_orientations, -1, -2)
    relative = _relative(orientations)
    keypoints = np.zeros((21, 3))
    keypoints[JOINT_KEYPOINTS] = joints
    posed = np.zeros((_POSES, 21, 3))
    posed[:, 0] = joints[0]
    for joint in range(1, 16):
        parent = JOINT_PARENTS[joint]
        before, here = JOINT_KEYPOINTS[parent], JOINT_KEYPOINTS[joint]
        posed[:, here] = posed[:, before] + orientations[:, parent] @ (keypoints[here] - keypoints[before])
    features = (relative[:, TO_MANO[1:]] - np.eye(3)).reshape(_POSES, 135)
    matrices, shifts = skinning_transforms(weights, orientations, posed, keypoints)
    wanted = np.empty((_POSES, *template.shape))
    for i in range(_POSES):
        target = skin[i] + vertex_normals(skin[i], faces) * field[:, None]
        wanted[i] = np.linalg.solve(matrices[i], (target - shifts[i])[..., None])[..., 0] - template
    normal = features.T @ features + _RIDGE * np.eye(135)
    return np.linalg.solve(normal, features.T @ wanted.reshape(_POSES, -1)).T.reshape(*template.shape, 135)


def _relative(orientations: np.ndarray) -> np.ndarray:
    """Rotations (..., 16, 3, 3) relative to the parents, of orientations."""
    result = np.swapaxes(orientations[..., np.maximum(JOINT_PARENTS, 0), :, :], -1, -2) @ orientations
    result[..., 0, :, :] = orientations[..., 0, :, :]
    return result


def _other_tips(vertices: np.ndarray, tips: np.ndarray) -> np.ndarray:
    """Of the vertices around each of ``tips`` (5,), the one whose distance is nearest to ``_TIP_DISTANCE``."""
    distances = np.linalg.norm(vertices[:, None] - vertices[tips], axis=-1)
    return np.asarray(np.argmin(np.abs(distances - _TIP_DISTANCE), axis=0))
