"""Registration: the pose, shape and place in which the embedded hand's skin lies on that of another hand model."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from ..geometry.alignment import best_rotations
from ..geometry.hand_kinematics import angles_towards
from ..geometry.rotations import rotation_matrices
from ..skeleton import KEYPOINT_PARENTS, PALM, WRIST
from ..types import Side
from .kinematics import template_of

if TYPE_CHECKING:
    from .model import HandModel

_SKIN_SIGMA = 0.0015
_INDEPENDENT = 400
"""Standard deviation of the distance between the two skins, metres, and how many of the distances count as independent:
neighbouring ones repeat each other."""
_SLIDING = 0.3
"""Weight of the distance along the skin, relative to that across it: so that the skin does not slide along itself."""
_MAX_DISTANCE = 0.02
"""Between points of the two skins that are compared, metres."""
_WRIST_BORDER = 0.02
"""Points this near to the end behind the wrist, metres, are not compared: there the models end differently."""
_ANGLE_SIGMA = np.radians([[25, 20, 15], [25, 8, 8], [25, 4, 4]] + [[25, 12, 4], [25, 3, 3], [25, 3, 3]] * 4)
"""Standard deviation of flexion, abduction and twist about those by the bones' directions (15, 3)."""
_SHAPE_PRECISION = 3.0
"""Of the betas, which are the population's standard deviations."""
_STEP = 1e-4
_CHANGE = 1e-3
"""The registration has ended when no parameter changes more than this in a step."""


@dataclasses.dataclass(frozen=True, eq=False)
class Registration:
    """The embedded hand on another model's skin.

    Attributes:
        keypoints: of the embedded hand (21, 3), metres, in the other model's frame.
        orientations: of its joints in that frame (16, 3, 3).
        betas: its shape (10,).
        distance: root mean square distance of the two skins, metres.
        beta_dirs: how its betas follow the other model's (10, 10), the last axis the other model's.
    """

    keypoints: np.ndarray
    orientations: np.ndarray
    betas: np.ndarray
    distance: float
    beta_dirs: np.ndarray


def registered(
    reference: HandModel, model: HandModel, side: Side, rotations: np.ndarray, iterations: int = 8
) -> Registration:
    """The reference hand on the skin of ``model`` in a pose, by least squares over its 61 parameters.

    Distances are from each point of one skin to the nearest of the other, both ways, across the skin (Chen & Medioni,
    "Object modelling by registration of multiple range images", 1992).

    Args:
        reference: the embedded hand.
        model: the other one.
        side: of both.
        rotations: pose of ``model`` (16, 3, 3).
        iterations: of Gauss-Newton at most.
    """
    origin, zero = np.zeros(3), np.zeros(10)
    target = model.mesh(side, rotations, zero, origin).astype(np.float64)
    target_dirs = np.stack([model.mesh(side, rotations, step, origin) - target for step in np.eye(10)], axis=-1)
    problem = _Problem(reference, side, target, model.faces(side), model.wrist_loop(side))
    keypoints = model.kinematics(side).forward(rotations, zero, origin)[0]
    parameters = problem.start(keypoints)
    middle, damping = parameters.copy(), 1e-3
    for _ in range(iterations):
        normal, gradient, _ = problem.linearised(parameters, middle, None)
        step = -np.linalg.solve(normal + damping * np.diag(np.diag(normal)), gradient)
        parameters = problem.moved(parameters, step)
        if np.abs(step).max() < _CHANGE:
            break
    normal, right, distance = problem.linearised(parameters, middle, target_dirs)
    response = np.linalg.solve(normal, right)
    found = problem.posed(parameters)
    return Registration(
        keypoints=found[0],
        orientations=found[1],
        betas=parameters[51:].copy(),
        distance=distance,
        beta_dirs=response[51:],
    )


class _Problem:
    """The least squares problem of one registration; parameters are those of geometry.hand_kinematics, but with a
    rotation vector about the start's orientation and the place of the hand model (61,)."""

    def __init__(
        self, reference: HandModel, side: Side, target: np.ndarray, target_faces: np.ndarray, loop: np.ndarray
    ) -> None:
        self._reference, self._side, self._target = reference, side, target
        self._kinematics = reference.kinematics(side)
        self._faces = reference.faces(side).astype(np.int64)
        self._target_normals = _normals(target, target_faces.astype(np.int64))
        end = target[loop] if len(loop) else target[:0]
        self._counted = _away(target, end)
        rest = reference.arrays(side).template.astype(np.float64)
        self._reference_counted = _away(rest, rest[reference.wrist_loop(side)])
        self._orientation = np.eye(3)

    def start(self, keypoints: np.ndarray) -> np.ndarray:
        """Parameters of the pose that the bones of the other model's keypoints (21, 3) have."""
        template = self._kinematics.keypoint_template
        self._orientation = best_rotations(template[PALM], keypoints[PALM])
        bones = keypoints[1:] - keypoints[KEYPOINT_PARENTS[1:]]
        bones /= np.linalg.norm(bones, axis=1, keepdims=True)
        chain, turn = self._kinematics, self._orientation
        if self._side == Side.LEFT:
            mirror = np.array([-1.0, 1.0, 1.0])
            chain, bones, turn = chain.mirrored(), bones * mirror, turn * np.outer(mirror, mirror)
        angles = angles_towards(template_of([chain]), turn[None], bones[None])[0]
        result = np.zeros(61)
        result[6:51] = angles.reshape(-1)
        moved = (template[PALM] - template[WRIST]) @ self._orientation.T + template[WRIST]
        result[3:6] = keypoints[PALM].mean(axis=0) - moved.mean(axis=0)
        return result

    def moved(self, parameters: np.ndarray, step: np.ndarray) -> np.ndarray:
        """The parameters after a step, inside of what a hand can be."""
        result = parameters + np.clip(step, -0.3, 0.3)
        result[51:] = np.clip(parameters[51:] + np.clip(step[51:], -1.0, 1.0), -4.0, 4.0)
        return result

    def _pose(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rotations (..., 16, 3, 3), betas and translation of the reference hand."""
        angles = np.concatenate([np.zeros((*parameters.shape[:-1], 3)), parameters[..., 6:51]], axis=-1)
        rotations = self._kinematics.rotations_of(angles.reshape(*parameters.shape[:-1], 16, 3))
        rotations[..., 0, :, :] = rotation_matrices(parameters[..., :3]) @ self._orientation
        return rotations, parameters[..., 51:], parameters[..., 3:6]

    def posed(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints (21, 3) and orientations of the joints (16, 3, 3) of the reference hand."""
        return self._kinematics.forward(*self._pose(parameters))

    def linearised(
        self, parameters: np.ndarray, middle: np.ndarray, target_dirs: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """The normal matrix (61, 61), the gradient (61,), and the root mean square distance; with ``target_dirs``
        (V, 3, 10) instead of the gradient the right sides (61, 10) by which the parameters follow the target's shape.
        """
        tried = np.concatenate([parameters[None], parameters + _STEP * np.eye(61)])
        meshes = self._reference.mesh(self._side, *self._pose(tried)).astype(np.float64)
        skin = meshes[0]
        derivatives = (meshes[1:] - skin) / _STEP
        normals = _normals(skin, self._faces)
        # Of both skins every second point: the half has as much to say as the whole.
        own, other = np.flatnonzero(self._reference_counted)[::2], np.flatnonzero(self._counted)[::2]
        to_target, to_skin = _matches(skin[own], normals[own], self._target[other], self._target_normals[other])
        source = np.concatenate([own[to_target >= 0], own[to_skin[to_skin >= 0]]])
        goal = np.concatenate([other[to_target[to_target >= 0]], other[to_skin >= 0]])
        if len(source) < 61:
            raise np.linalg.LinAlgError(f"only {len(source)} points of the two skins are near each other")
        across = (self._target_normals[goal] + normals[source]).astype(np.float32)
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        weight = np.sqrt(min(_INDEPENDENT / len(source), 1.0)) / _SKIN_SIGMA

        def weighted(vectors: np.ndarray) -> np.ndarray:
            """Vectors (..., N, 3) times their weights: in full across the skin, a small share along it."""
            vectors = vectors.astype(np.float32)
            share = (vectors * across).sum(axis=-1, keepdims=True) * across
            return (weight * (_SLIDING * vectors + (1.0 - _SLIDING) * share)).reshape(*vectors.shape[:-2], -1)

        difference = skin[source] - self._target[goal]
        rows = weighted(derivatives[:, source])
        normal = (rows @ rows.T).astype(np.float64)
        prior = np.zeros(61)
        prior[6:51] = 1.0 / _ANGLE_SIGMA.reshape(-1) ** 2
        prior[51:] = _SHAPE_PRECISION
        normal[np.diag_indices(61)] += prior
        distance = float(np.sqrt(np.mean(np.sum(across * difference, axis=1) ** 2)))
        if target_dirs is None:
            return normal, rows @ weighted(difference) + prior * (parameters - middle), distance
        return normal, rows @ weighted(np.moveaxis(target_dirs[goal], -1, 0)).T, distance


def _away(points: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Which points (V, 3) are not near the end of the wrist (N, 3)."""
    if not len(end):
        return np.ones(len(points), dtype=bool)
    return np.asarray(np.linalg.norm(points[:, None] - end, axis=-1).min(axis=1) > _WRIST_BORDER)


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3), weighted by the faces' areas."""
    corners = vertices[faces]
    areas = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    result = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(result, faces[:, corner], areas)
    return result / np.maximum(np.linalg.norm(result, axis=1, keepdims=True), 1e-12)


def _matches(
    points: np.ndarray, normals: np.ndarray, others: np.ndarray, other_normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each point the nearest of the others that faces the same way (N,), and the reverse (M,); -1 for none."""
    points, normals, others, other_normals = (
        each.astype(np.float32) for each in (points, normals, others, other_normals)
    )
    squares = np.sum(points**2, axis=1)[:, None] + np.sum(others**2, axis=1) - 2.0 * (points @ others.T)
    squares[normals @ other_normals.T < 0.5] = np.inf
    forward, back = squares.argmin(axis=1), squares.argmin(axis=0)
    near = _MAX_DISTANCE**2
    forward = np.where(squares[np.arange(len(points)), forward] < near, forward, -1)
    return forward, np.where(squares[back, np.arange(len(others))] < near, back, -1)
