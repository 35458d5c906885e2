"""The skin of a hand model, with derivatives: what a depth image shows of a posed hand."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..geometry.compiled import compiled, float_array, index_array
from ..geometry.hand_kinematics import NUM_PARAMETERS, Posed, Template, jacobian
from ..hand_model import HandModel
from ..skeleton import JOINT_KEYPOINTS, NUM_JOINTS, WRIST, mirror_points, mirror_rotations
from ..types import Side

_WRIST_BORDER = 0.008
"""Vertices nearer than this, metres, to the mesh's end at the wrist do not count: forearm and sleeve join there."""
_EDGE_ON = -0.3
"""Vertices whose normal points away from the camera by more than this, as a cosine, are not seen. Those at the outline
are: what is seen beside the outline belongs to them."""


@dataclasses.dataclass(frozen=True, eq=False)
class PosedSurface:
    """A posed skin as a right hand, in metres.

    Attributes:
        vertices: (V, 3).
        normals: unit, outwards (V, 3).
        seen: which vertices the camera can see and may be compared with a depth image (V,) bool.
    """

    vertices: np.ndarray
    normals: np.ndarray
    seen: np.ndarray


class HandSurface:
    """The mesh of one side, mirrored to a right hand, as the solver takes it."""

    def __init__(self, model: HandModel, side: Side) -> None:
        arrays = model.arrays(side) if side == Side.RIGHT else model.arrays(side).mirrored()
        kinematics = model.kinematics(side) if side == Side.RIGHT else model.kinematics(side).mirrored()
        self._model, self._side = model, side
        self.faces = np.ascontiguousarray(arrays.faces, dtype=np.int64)
        self._weights = np.ascontiguousarray(model.weights(side), dtype=np.float64)
        # A vertex moves with an angle by the weights of the joints at the angle's and beyond it.
        fingers = self._weights[:, 1:].reshape(-1, 5, 3)
        self._chain_weights = np.ascontiguousarray(fingers[:, :, ::-1].cumsum(axis=2)[:, :, ::-1].reshape(-1, 15))
        self._shapedirs = np.ascontiguousarray(arrays.shapedirs[..., :10], dtype=np.float64)
        self._joint_shapedirs = np.ascontiguousarray(kinematics.keypoint_shapedirs[JOINT_KEYPOINTS])
        template = arrays.template.astype(np.float64)
        end = template[arrays.wrist_loop]
        distance = np.linalg.norm(template[:, None] - end, axis=-1).min(axis=1)
        self._comparable = distance > _WRIST_BORDER

    def posed(self, rotations: np.ndarray, betas: np.ndarray, wrist: np.ndarray) -> PosedSurface:
        """The skin of a right hand with joint rotations (16, 3, 3), betas (10,) and its wrist at (3,), metres."""
        left = self._side == Side.LEFT
        true_rotations = mirror_rotations(rotations) if left else rotations
        rest = self._model.kinematics(self._side).rest_keypoints(betas)[WRIST]
        translation = (mirror_points(wrist) if left else wrist) - rest
        vertices = self._model.mesh(self._side, true_rotations, betas, translation).astype(np.float64)
        if left:
            vertices = mirror_points(vertices)
        vertices = np.ascontiguousarray(vertices)
        normals, seen = np.zeros_like(vertices), self._comparable.copy()
        _vertex_normals(vertices, self.faces, normals, seen)
        return PosedSurface(vertices, normals, seen)

    def rows(
        self, template: Template, posed: Posed, surface: PosedSurface, vertices: np.ndarray, normals: np.ndarray
    ) -> np.ndarray:
        """Derivatives (N, NUM_PARAMETERS) of ``vertices`` (N,) along ``normals`` (N, 3) by the solver's parameters.

        ``posed`` is the batch of one hand that ``surface`` was posed as. Pose correctives are taken for constant.
        """
        index = index_array(vertices, "vertices", len(surface.vertices), None)
        result = np.zeros((len(index), NUM_PARAMETERS))
        by_betas = np.ascontiguousarray(jacobian(template, posed)[0, JOINT_KEYPOINTS][..., -10:])
        _surface_rows(
            surface.vertices, float_array(normals, "normals", len(index), 3), index, self._weights, self._chain_weights,
            self._shapedirs, self._joint_shapedirs, np.ascontiguousarray(posed.keypoints[0]), posed.orientations[0],
            posed.axes[0], by_betas, result,
        )  # fmt: skip
        return result


def nearest_vertices(points: np.ndarray, surface: PosedSurface, max_distance: float) -> np.ndarray:
    """The seen vertex nearest to each of ``points`` (N, 3), as indices (N,); -1 where none is within ``max_distance``,
    metres."""
    points = float_array(points, "points", None, 3)
    result = np.full(len(points), -1, dtype=np.int64)
    seen = np.flatnonzero(surface.seen)
    _nearest(points, np.ascontiguousarray(surface.vertices[seen]), seen, float(max_distance), result)
    return result


@compiled
def _vertex_normals(vertices, faces, normals, seen):  # type: ignore[no-untyped-def]
    """Write the unit normals (V, 3) of a mesh, the sums of its faces' normals by area, and clear ``seen`` (V,) bool
    where they point away from the camera."""
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            value = (vertices[b, j] - vertices[a, j]) * (vertices[c, k] - vertices[a, k]) - (
                vertices[b, k] - vertices[a, k]
            ) * (vertices[c, j] - vertices[a, j])
            normals[a, i] += value
            normals[b, i] += value
            normals[c, i] += value
    for v in range(normals.shape[0]):
        size = np.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2)
        towards, square = 0.0, 0.0
        for i in range(3):
            normals[v, i] /= max(size, 1e-12)
            towards -= normals[v, i] * vertices[v, i]
            square += vertices[v, i] ** 2
        if towards <= _EDGE_ON * np.sqrt(square):
            seen[v] = False


@compiled
def _nearest(points, vertices, numbers, max_distance, result):  # type: ignore[no-untyped-def]
    for n in range(points.shape[0]):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        best = max_distance * max_distance
        for v in range(vertices.shape[0]):
            dx, dy, dz = vertices[v, 0] - x, vertices[v, 1] - y, vertices[v, 2] - z
            square = dx * dx + dy * dy + dz * dz
            if square < best:
                best = square
                result[n] = numbers[v]


@compiled
def _surface_rows(  # type: ignore[no-untyped-def]
    vertices, normals, index, weights, chain_weights, shapedirs, joint_shapedirs, keypoints, orientations, axes,
    by_betas, rows,
):  # fmt: skip
    for n in range(index.shape[0]):
        v, normal, row = index[n], normals[n], rows[n]
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            # Turning the hand by e moves a vertex by e x lever, along the normal by e . (lever x normal).
            row[i] = (vertices[v, j] - keypoints[0, j]) * normal[k] - (vertices[v, k] - keypoints[0, k]) * normal[j]
            row[3 + i] = normal[i]
        for joint in range(15):
            weight = chain_weights[v, joint]
            if weight < 1e-3:
                continue
            start = keypoints[4 * (joint // 3) + joint % 3 + 1]
            x, y, z = vertices[v, 0] - start[0], vertices[v, 1] - start[1], vertices[v, 2] - start[2]
            cx, cy, cz = y * normal[2] - z * normal[1], z * normal[0] - x * normal[2], x * normal[1] - y * normal[0]
            for angle in range(3):
                along = axes[joint, 0, angle] * cx + axes[joint, 1, angle] * cy + axes[joint, 2, angle] * cz
                row[6 + 3 * joint + angle] = weight * along
        for joint in range(NUM_JOINTS):
            weight = weights[v, joint]
            if weight < 1e-3:
                continue
            for s in range(10):
                value = 0.0
                for i in range(3):
                    moved = by_betas[joint, i, s]
                    for k in range(3):
                        moved += orientations[joint, i, k] * (shapedirs[v, k, s] - joint_shapedirs[joint, k, s])
                    value += normal[i] * moved
                row[51 + s] += weight * value
