"""Rings, watches and bracelets on a posed hand: a band is fitted to the skin at rest and follows it."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from ..hand_model import HandModel
from ..skeleton import THUMB_MCP, wrist_rotation
from ..types import Side
from .accessories import Accessory
from .identities import GRID
from .occluders import SceneObject, paint_texture
from .scene import Limb
from .skin import rest_surface, texel_weights
from .surface import FOREARM, Arm, Surface, limb_topology, tube_faces, vertex_normals
from .vectors import axes_along, perpendicular

_COLUMNS = 28
_PROFILE = ((-0.5, None), (-0.5, 0.75), (0.0, 1.0), (0.5, 0.75), (0.5, None))
"""Rows of a band's vertices: position across its width, and height in thicknesses; None is under the skin, which closes
the edges."""
_HEIGHT_UNDER_SKIN = -0.0006
_MAX_SHIFT, _SHIFT_STEP = 0.02, 0.001
"""Shifts of a band along the limb, metres, until the skin closes around the bone: fingers share skin at their base."""
_SEARCH_RADIUS = 0.05
"""Only skin within this distance of a band, metres, is intersected with its rays."""
_MAX_RADIUS_RATIO = 1.6
"""Skin closes around a bone where its largest radius is less than this multiple of the median radius."""


@dataclasses.dataclass(frozen=True, eq=False)
class BandFit:
    """Where the vertices of a band lie on the skin, R * C of them row by row.

    Attributes:
        corners: vertices of the limb's surface (R * C, 3): corners of the face under each vertex.
        weights: barycentric coordinates in that face (R * C, 3).
        heights: above the skin (R * C,), metres.
        points: on the skin of the hand at rest (R * C, 3), metres.
        band_faces: (F, 3) int32.
    """

    corners: np.ndarray
    weights: np.ndarray
    heights: np.ndarray
    points: np.ndarray
    band_faces: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class PosedBand:
    """A band on a posed limb; :meth:`surface` and :meth:`texture` as those of a SceneObject.

    Attributes:
        accessory: the band's.
        fit: where it lies on the skin.
        vertices: (R * C, 3) metres, camera frame.
    """

    accessory: Accessory
    fit: BandFit
    vertices: np.ndarray

    @property
    def owner(self) -> int:
        return self.accessory.owner

    def surface(self) -> Surface:
        faces = self.fit.band_faces
        kinds = np.full(len(faces), FOREARM, dtype=np.uint8)
        return Surface(self.vertices, vertex_normals(self.vertices, faces), faces, kinds)

    def texture(self, surface: Surface) -> np.ndarray:
        points = np.einsum("tk,fkc->ftc", texel_weights(GRID), self.fit.points[surface.faces])
        accessory = self.accessory
        return paint_texture(points, accessory.colour, accessory.gloss, accessory.pattern, accessory.seed)


def pose_accessory(accessory: Accessory, limb: Limb, hand_model: HandModel) -> list[PosedBand | SceneObject]:
    """The parts of an accessory on a posed limb: the band, then the stone or the watch's case, then its dial."""
    fit = fit_band(accessory, hand_model)
    skin = np.einsum("nk,nkc->nc", fit.weights, limb.surface.vertices[fit.corners])
    normals = np.einsum("nk,nkc->nc", fit.weights, limb.surface.normals[fit.corners])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    vertices = skin + fit.heights[:, None] * normals
    parts: list[PosedBand | SceneObject] = [PosedBand(accessory, fit, vertices)]
    if accessory.case is None:
        return parts
    # The first column runs along the back.
    before, middle, after = _COLUMNS * np.array([1, 2, 3])
    off = normals[middle]
    axes = axes_along(off, vertices[after] - vertices[before])
    half = np.array(accessory.case)
    centre = vertices[middle] + 0.4 * half[2] * off
    shape, material = (accessory.corners, 0.25), ((0.1, 200.0), accessory.seed, accessory.owner)
    parts.append(SceneObject(centre, axes, half, shape, accessory.case_colour, 0.9, *material))
    if accessory.dial is not None:
        face = half * (0.84, 0.84, 1.0)
        parts.append(SceneObject(centre + 0.0006 * off, axes, face, shape, accessory.dial, 0.6, *material))
    return parts


@functools.lru_cache(maxsize=256)
def fit_band(accessory: Accessory, hand_model: HandModel) -> BandFit:
    """Fit a band to the hand at rest: rays from the axis of the bone outwards are intersected with the skin.

    Raises ValueError where the skin closes around no part of the bone beyond ``accessory.at``.
    """
    surface = rest_surface(hand_model, accessory.side, Arm())
    middle, along, back = _band_axis(accessory, hand_model, surface)
    near = np.linalg.norm(surface.vertices[surface.faces[:, 0]] - middle, axis=1) < _SEARCH_RADIUS
    nearby = surface.faces[near]
    triangles = surface.vertices[nearby]
    angle = np.arange(_COLUMNS) * (2 * np.pi / _COLUMNS)
    # In this direction around the axis the faces of a tube point outwards.
    rays = np.cos(angle)[:, None] * back - np.sin(angle)[:, None] * np.cross(back, along)
    for shift in np.arange(0.0, _MAX_SHIFT, _SHIFT_STEP):
        edges = [middle + (shift + side * accessory.width) * along for side in (-0.5, 0.0, 0.5)]
        hits = [_intersect_rays(start, rays, triangles) for start in edges]
        if all(distance.max() < _MAX_RADIUS_RATIO * np.median(distance) for _, _, distance in hits):
            break
    else:
        raise ValueError(f"the hand's skin closes around no part of the bone for {accessory}")
    rows = [hits[int(1 + 2 * position)] for position, _ in _PROFILE]
    corners = nearby[np.concatenate([face for face, _, _ in rows])]
    weights = np.concatenate([weight for _, weight, _ in rows])
    heights = [_HEIGHT_UNDER_SKIN if height is None else height * accessory.thickness for _, height in _PROFILE]
    points = np.einsum("nk,nkc->nc", weights, surface.vertices[corners])
    faces = tube_faces(np.arange(len(points)).reshape(-1, _COLUMNS))
    return BandFit(corners, weights, np.repeat(heights, _COLUMNS), points, faces)


def _band_axis(
    accessory: Accessory, hand_model: HandModel, surface: Surface
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middle of a band, unit direction along the limb and unit direction to its back, (3,) each, at rest."""
    kinematics = hand_model.kinematics(accessory.side)
    rest = kinematics.keypoint_template
    if accessory.finger is None:
        ring = surface.vertices[limb_topology(hand_model, accessory.side).ring]
        end = surface.vertices[-len(ring) :].mean(axis=0)
        start, back = ring.mean(axis=0), wrist_rotation(rest, accessory.side == Side.RIGHT)[:, 2]
        along = (end - start) / np.linalg.norm(end - start)
        middle = start + accessory.at * along
    else:
        # The thumb's first keypoint is its CMC joint.
        first = THUMB_MCP if accessory.finger == 0 else 1 + 4 * accessory.finger
        bone = rest[first + 1] - rest[first]
        back = kinematics.joint_frames[2 if accessory.finger == 0 else 1 + 3 * accessory.finger][:, 2]
        middle, along = rest[first] + accessory.at * bone, bone / np.linalg.norm(bone)
    return middle, along, perpendicular(back, along)


def _intersect_rays(
    start: np.ndarray, rays: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First intersections of unit rays (N, 3) from ``start`` (3,) with triangles (F, 3, 3).

    Returns the triangles' indices (N,), barycentric coordinates (N, 3) and distances (N,), infinite where a ray
    intersects nothing.
    """
    # Moeller & Trumbore 1997.
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    offset = start - triangles[:, 0]
    turned = np.cross(offset, first)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1.0 / (rays @ np.cross(second, first).T)
        u, v = rays @ np.cross(second, offset).T * scale, rays @ turned.T * scale
        distance = np.einsum("fc,fc->f", second, turned) * scale
        distance = np.where((u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0), distance, np.inf)
    hit, row = distance.argmin(axis=1), np.arange(len(rays))
    u, v = u[row, hit], v[row, hit]
    return hit, np.stack([1 - u - v, u, v], axis=-1), distance[row, hit]
