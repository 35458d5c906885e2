"""The surface that is rendered: a hand smoothed by subdivision, its forearm and a sleeve, as one mesh."""

from __future__ import annotations

import dataclasses
import functools

import numba as nb
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.transform import Rotation

from ..hand_model import HandModel
from ..skeleton import MIDDLE_MCP, WRIST, wrist_rotation
from ..types import Side
from .noise import fractal_noise, smoothstep

HAND, FOREARM, SLEEVE = 0, 1, 2
"""Kinds of faces."""
ARM_OWNER, OBJECT_OWNER, NO_OWNER = 2, 4, -1
"""Owner of a face or pixel: a hand's is its side, its arm's the side + ARM_OWNER, every object's OBJECT_OWNER."""

_RINGS = np.concatenate([np.arange(0.007, 0.06, 0.007), np.arange(0.06, 0.30, 0.017)])
"""Positions of the forearm's rings of vertices, metres along its axis from the end of the hand mesh."""
FOREARM_LENGTH = float(_RINGS[-1])
"""Metres from the end of the hand mesh to the end of the forearm."""
_BEND_LENGTH = 0.045
_SLEEVE_STEP = 0.011


@dataclasses.dataclass(frozen=True)
class Arm:
    """Forearm and sleeve of a hand.

    Attributes:
        bend: rotation of the forearm against the hand at the wrist, radians: flexion (positive where the hand is bent
            towards the palm) and deviation (positive where it is bent towards the thumb).
        girth: thickness of the forearm relative to the average.
        sleeve: where the sleeve begins, metres from the wrist; infinite for a bare arm.
        fold_seed: of the sleeve's folds.
    """

    bend: tuple[float, float] = (0.0, 0.0)
    girth: float = 1.0
    sleeve: float = float("inf")
    fold_seed: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Surface:
    """A mesh to be rendered.

    Attributes:
        vertices: (V, 3) metres.
        normals: (V, 3) unit, outwards.
        faces: (F, 3) int32; hand faces come first.
        kinds: (F,) uint8: HAND, FOREARM or SLEEVE.
    """

    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    kinds: np.ndarray


_BEND_LIMITS = np.radians([[-55.0, 55.0], [-28.0, 18.0]])


def wrist_bend(frames: np.ndarray, towards: np.ndarray, side: Side) -> np.ndarray:
    """Wrist flexion and deviation (N, 2), radians, of a forearm that points to the elbow as far as the limits allow.

    Args:
        frames: wrist frames (N, 3, 3).
        towards: from the wrist to the elbow (N, 3), any length, in the same frame as ``frames``.
        side: of the hand.
    """
    towards = np.einsum("nji,nj->ni", frames, towards)
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    back, lateral, dorsal = -towards[:, 0], towards[:, 1], towards[:, 2]
    flexion = np.arctan2(-dorsal, np.maximum(back, 0.2))
    deviation = np.arctan2(lateral * (1.0 if side == Side.RIGHT else -1.0), np.maximum(back, 0.2))
    soft = np.stack([flexion, deviation], axis=-1)
    # A smooth saturation at the limits.
    low, high = _BEND_LIMITS[:, 0], _BEND_LIMITS[:, 1]
    return np.where(soft > 0, high * np.tanh(soft / high), low * np.tanh(soft / low))


def elbow_direction(frame: np.ndarray, bend: tuple[float, float], side: Side) -> np.ndarray:
    """Unit direction (3,) from the wrist to the elbow of a forearm bent against a wrist frame (3, 3)."""
    turn = Rotation.from_rotvec([0.0, bend[0], -bend[1] if side == Side.RIGHT else bend[1]])
    return np.asarray(frame @ (turn.apply([1.0, 0.0, 0.0]) * (-1.0, -1.0, 1.0)))


class LimbTopology:
    """Connectivity of the rendered surface of one hand; :meth:`surface` computes its vertices.

    Attributes:
        base_faces: of the hand mesh without those that close the wrist (F, 3) int32.
        base_count: number of the hand mesh's vertices.
        edges: of the hand mesh (E, 2); vertex ``base_count`` + i is in the middle of edge i.
        ring: vertices around the end of the subdivided hand, in order.
    """

    def __init__(self, hand_model: HandModel, side: Side) -> None:
        self._side, self._rest = side, hand_model.kinematics(side).keypoint_template
        faces = hand_model.faces(side)
        loop = hand_model.wrist_loop(side)
        self.base_faces = np.ascontiguousarray(_without_wrist_cap(faces, loop), dtype=np.int32)
        self.base_count = hand_model.num_vertices
        self.edges, self._hand_faces = _subdivide(self.base_faces, self.base_count)
        middles = {tuple(edge): self.base_count + i for i, edge in enumerate(self.edges.tolist())}
        around = np.roll(loop, -1)
        self.ring = np.array(
            [v for a, b in zip(loop, around, strict=True) for v in (a, middles[min(a, b), max(a, b)])], dtype=np.int32
        )
        directed = {(int(f[i]), int(f[(i + 1) % 3])) for f in self.base_faces for i in range(3)}
        if (int(loop[0]), int(loop[1])) in directed:
            # Each edge of the loop belongs to a face of the hand in one direction and of the forearm in the other.
            self.ring = self.ring[::-1].copy()
        self._count = self.base_count + len(self.edges)

    def surface(self, vertices: np.ndarray, keypoints: np.ndarray, arm: Arm) -> Surface:
        """The rendered surface of a posed hand with ``vertices`` (V, 3), which it keeps, and ``keypoints`` (21, 3).

        Raises ValueError where the keypoints define no wrist frame.
        """
        base = np.ascontiguousarray(vertices, dtype=np.float64)
        normals = vertex_normals(base, self.base_faces)
        a, b = self.edges[:, 0], self.edges[:, 1]
        span = base[b] - base[a]
        lift = np.einsum("ij,ij->i", span, normals[a])[:, None] * normals[a]
        lift -= np.einsum("ij,ij->i", span, normals[b])[:, None] * normals[b]
        # The middle of a cubic curve perpendicular to the normals at both ends (PN triangles, Vlachos et al. 2001):
        # round fingers from a coarse mesh, without moving any of its vertices.
        hand = np.concatenate([base, (base[a] + base[b]) / 2 - lift / 8])
        parts, faces, kinds = [hand], [self._hand_faces], [np.full(len(self._hand_faces), HAND, dtype=np.uint8)]
        tube = _Tube(hand[self.ring], self._forearm_frame(keypoints), arm, self._side)
        rings = tube.rings(_RINGS)
        index = self._count + np.arange(rings.shape[0] * rings.shape[1]).reshape(rings.shape[:2])
        forearm_faces = tube_faces(np.concatenate([self.ring[None], index]))
        parts.append(rings.reshape(-1, 3))
        faces.append(forearm_faces)
        kinds.append(np.full(len(forearm_faces), FOREARM, dtype=np.uint8))
        if arm.sleeve < _RINGS[-1] - 3 * _SLEEVE_STEP:
            stations = np.arange(max(arm.sleeve, 0.01), _RINGS[-1], _SLEEVE_STEP)
            # A first, tighter ring bends the cloth inwards, so that the cuff has an edge.
            inner = np.full((1, len(self.ring)), 0.002)
            offsets = np.concatenate([inner, _folds(stations, arm, len(self.ring))])
            cloth = tube.rings(np.concatenate([stations[:1] + 0.004, stations]), offsets)
            start = self._count + rings.shape[0] * rings.shape[1]
            index = start + np.arange(cloth.shape[0] * cloth.shape[1]).reshape(cloth.shape[:2])
            sleeve_faces = tube_faces(index)
            parts.append(cloth.reshape(-1, 3))
            faces.append(sleeve_faces)
            kinds.append(np.full(len(sleeve_faces), SLEEVE, dtype=np.uint8))
        points, triangles = np.concatenate(parts), np.concatenate(faces)
        return Surface(points, vertex_normals(points, triangles), triangles, np.concatenate(kinds))

    def _forearm_frame(self, keypoints: np.ndarray) -> np.ndarray:
        """Axes of the straight forearm as columns: away from the hand, lateral, dorsal."""
        frame = wrist_rotation(keypoints, self._side == Side.RIGHT)
        if not np.isfinite(frame).all() or np.allclose(self._rest[WRIST], self._rest[MIDDLE_MCP]):
            raise ValueError("the hand's keypoints define no wrist frame: wrist, index and middle MCP are on one line")
        return np.stack([-frame[:, 0], -frame[:, 1], frame[:, 2]], axis=-1)


def _without_wrist_cap(faces: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """The faces without those that close the wrist: of the mesh's two parts on either side of the loop the smaller."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    owners = np.repeat(np.arange(len(faces)), 3)
    rim = {(min(a, b), max(a, b)) for a, b in zip(loop.tolist(), np.roll(loop, -1).tolist(), strict=True)}
    shared: dict[tuple[int, int], int] = {}
    pairs = []
    for edge, face in zip(map(tuple, edges.tolist()), owners.tolist(), strict=True):
        if edge in rim:
            continue
        if edge in shared:
            pairs.append((shared[edge], face))
        shared[edge] = face
    i, j = np.array(pairs).T
    graph = coo_matrix((np.ones(len(i)), (i, j)), shape=(len(faces), len(faces)))
    _, part = connected_components(graph, directed=False)
    return faces[part == np.bincount(part).argmax()]


@functools.lru_cache(maxsize=8)
def limb_topology(hand_model: HandModel, side: Side) -> LimbTopology:
    """The topology of a side of a hand model, computed once."""
    return LimbTopology(hand_model, side)


class _Tube:
    """A forearm as a swept cross-section that starts as the wrist loop and becomes an ellipse."""

    def __init__(self, ring: np.ndarray, frame: np.ndarray, arm: Arm, side: Side) -> None:
        self._frame, self._arm = frame, arm
        self._centre = ring.mean(axis=0)
        local = (ring - self._centre) @ frame
        self._axial, self._section = local[:, 0], local[:, 1:]
        self._angle = np.arctan2(self._section[:, 1], self._section[:, 0])
        self._width, self._height = np.ptp(self._section, axis=0) / 2
        sign = 1.0 if side == Side.RIGHT else -1.0
        self._turn = np.array([0.0, arm.bend[0], -sign * arm.bend[1]])

    def rings(self, stations: np.ndarray, offset: np.ndarray | None = None) -> np.ndarray:
        """Vertices (R, N, 3) of the cross-sections at ``stations`` (R,), metres along the axis.

        ``offset`` (R, N) is their distance from the skin, metres; 0 by default.
        """
        steps = stations[:, None] * (np.arange(8) + 0.5) / 8
        turned = Rotation.from_rotvec(smoothstep(steps.ravel() / _BEND_LENGTH)[:, None] * self._turn)
        centres = turned.apply([1.0, 0.0, 0.0]).reshape(len(stations), 8, 3).mean(axis=1) * stations[:, None]
        blend, grown = smoothstep(stations / 0.06)[:, None], smoothstep((stations - 0.03) / 0.2)
        half = np.stack([self._width * (1 + 0.55 * grown), self._height * (1 + 0.85 * grown)], axis=1)
        half *= 1 + blend * (self._arm.girth - 1)
        ellipse = half[:, None] * np.stack([np.cos(self._angle), np.sin(self._angle)], axis=-1)
        section = (1 - blend[..., None]) * self._section + blend[..., None] * ellipse
        if offset is not None:
            section *= 1 + (offset / np.linalg.norm(section, axis=-1))[..., None]
        local = np.concatenate([(self._axial * (1 - blend))[..., None], section], axis=-1)
        turn = Rotation.from_rotvec(smoothstep(stations / _BEND_LENGTH)[:, None] * self._turn).as_matrix()
        return self._centre + (centres[:, None] + local @ np.swapaxes(turn, 1, 2)) @ self._frame.T


def _folds(stations: np.ndarray, arm: Arm, count: int) -> np.ndarray:
    """Distance of the cloth from the skin around the arm (R, count), metres."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    s, angle = np.broadcast_arrays(stations[:, None], angle)
    # Folds run obliquely around the arm.
    points = np.stack([np.cos(angle), np.sin(angle), s / 0.035 + 0.6 * np.sin(angle)], axis=-1)
    waves = fractal_noise(points.reshape(-1, 3), 1.3, 3, arm.fold_seed).reshape(s.shape)
    loose = smoothstep((s - arm.sleeve) / 0.06)
    return 0.004 + 0.0025 * loose + (0.001 + 0.005 * loose) * waves


def tube_faces(rings: np.ndarray) -> np.ndarray:
    """Triangles between rings of vertex indices (R, N)."""
    a, b = rings[:-1], np.roll(rings[:-1], -1, axis=1)
    c, d = rings[1:], np.roll(rings[1:], -1, axis=1)
    faces = np.concatenate([np.stack([a, b, c], axis=-1), np.stack([b, d, c], axis=-1)], axis=1)
    return np.ascontiguousarray(faces.reshape(-1, 3), dtype=np.int32)


def _subdivide(faces: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Each triangle in four: the edges (E, 2) whose middles become vertices ``count`` + edge, and the new faces."""
    pairs = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges, inverse = np.unique(pairs, axis=0, return_inverse=True)
    ab, bc, ca = (count + inverse.reshape(-1, 3)).T
    a, b, c = faces.T
    children = np.stack([a, ab, ca, b, bc, ab, c, ca, bc, ab, bc, ca], axis=1).reshape(-1, 3)
    return edges, np.ascontiguousarray(children, dtype=np.int32)


@nb.njit(cache=True, nogil=True)
def vertex_normals(vertices, faces):  # type: ignore[no-untyped-def]
    """Unit normals (V, 3) of vertices (V, 3) float64: the mean of the adjacent faces (F, 3) int32, weighted by area."""
    normals = np.zeros_like(vertices)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for v in (a, b, c):
            normals[v, 0] += nx
            normals[v, 1] += ny
            normals[v, 2] += nz
    for v in range(vertices.shape[0]):
        length = np.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2)
        if length > 0:
            for k in range(3):
                normals[v, k] /= length
    return normals
