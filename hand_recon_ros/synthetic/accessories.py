"""Rings on fingers, watches and bracelets on wrists: bands that are fitted to the skin and move with it."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from ..hand_model import HandModel
from ..skeleton import FINGERS, THUMB_MCP, wrist_rotation
from ..types import Side
from .identities import GRID, Identity
from .occluders import SceneObject, painted
from .scene import Limb
from .skin import rest_surface, texel_weights
from .surface import FOREARM, Arm, Surface, limb_topology, tube_faces, vertex_normals

_COLUMNS = 28
_PROFILE = ((-0.5, None), (-0.5, 0.75), (0.0, 1.0), (0.5, 0.75), (0.5, None))
"""A band's rows: place across its width, and height in thicknesses; None lies under the skin, so that edges close."""
_SUNK = -0.0006
_FARTHEST, _STEP = 0.02, 0.001
"""How far along a limb a band moves, metres, until the skin closes around the bone: at their base fingers share it."""
_NEAR = 0.05
"""Metres from a band within which the skin it lies on is."""
_ROUND = 1.6
"""Largest radius of skin that closes around a bone, relative to the median."""
_ARM = 2

_METALS = ((212, 175, 85), (205, 152, 128), (192, 194, 198), (176, 176, 178), (78, 78, 84))
_LEATHERS = ((96, 60, 38), (34, 30, 28), (150, 104, 66), (58, 40, 34))
_DIALS = ((238, 238, 234), (18, 18, 22), (26, 38, 74), (12, 12, 12), (206, 196, 170))


@dataclasses.dataclass(frozen=True)
class Accessory:
    """A band around a finger or a forearm, and what is set on its back.

    Attributes:
        side: of the hand that wears it.
        finger: 0 thumb to 4 little finger, around the bone after its MCP; None for the forearm.
        at: middle of the band: share of that bone, or metres from the end of the hand mesh along the forearm; farther
            from the base where fingers still share their skin.
        width, thickness: metres.
        colour, gloss, pattern: of the band, as a SceneObject's.
        case: half sizes along the limb, across it and off it, metres, of the stone or the watch's case; None for none.
        corners: of the case, as a SceneObject's roundness: 1 is round.
        case_colour, dial: sRGB of the case and of the watch's face; a dial of None is no watch.
        seed: of all that is irregular.
    """

    side: Side
    finger: int | None
    at: float
    width: float
    thickness: float
    colour: tuple[float, float, float]
    gloss: float
    pattern: tuple[float, float] = (0.2, 300.0)
    case: tuple[float, float, float] | None = None
    corners: float = 1.0
    case_colour: tuple[float, float, float] = (192.0, 194.0, 198.0)
    dial: tuple[float, float, float] | None = None
    seed: int = 0

    @property
    def owner(self) -> int:
        """Code of what it belongs to, see windows: a ring to the hand as gloves do, a watch to the arm as cuffs do."""
        return int(self.side) + (_ARM if self.finger is None else 0)


@functools.lru_cache(maxsize=512)
def accessories_of(person: Identity) -> tuple[Accessory, ...]:
    """What a person wears, the same at every call: about every eighth hand something, none with gloves on."""
    # Chance of its own: what else is known of a person does not depend on it.
    rng = np.random.default_rng([743, person.number])
    if person.appearance.glove is not None:
        return ()
    worn: dict[tuple[Side, int | None], Accessory] = {}
    if rng.random() < 0.13:
        for _ in range(rng.choice([1, 2, 3], p=(0.55, 0.3, 0.15))):
            side, finger = Side(int(rng.integers(2))), int(rng.choice(len(FINGERS), p=(0.1, 0.17, 0.18, 0.45, 0.1)))
            worn.setdefault((side, finger), _ring(rng, side, finger))
    # Longer sleeves hide the wrist.
    if rng.random() < 0.15 and person.sleeve >= 0.05:
        side = Side.LEFT if rng.random() < 0.65 else Side.RIGHT
        worn[side, None] = (_watch if rng.random() < 0.7 else _bracelet)(rng, side)
    return tuple(worn.values())


def _colour(rng: np.random.Generator, colours: tuple[tuple[int, int, int], ...]) -> tuple[float, float, float]:
    """One of some colours, or about it."""
    red, green, blue = np.clip(np.array(colours[rng.integers(len(colours))]) + rng.normal(0, 9, 3), 5, 250).tolist()
    return red, green, blue


def _any_colour(rng: np.random.Generator) -> tuple[float, float, float]:
    red, green, blue = np.clip(rng.uniform(15, 235) + rng.normal(0, 45, 3), 5, 250).tolist()
    return red, green, blue


def _ring(rng: np.random.Generator, side: Side, finger: int) -> Accessory:
    metal = rng.random() < 0.9
    size = float(rng.uniform(0.0018, 0.0045))
    stone = (size, size * float(rng.uniform(0.8, 1.3)), float(rng.uniform(0.0012, 0.0026)))
    return Accessory(
        side,
        finger,
        at=float(rng.uniform(0.42, 0.6)),
        width=float(rng.uniform(0.002, 0.006)),
        thickness=float(rng.uniform(0.0011, 0.002)),
        colour=_colour(rng, _METALS) if metal else _any_colour(rng),
        gloss=float(rng.uniform(0.7, 1.0) if metal else rng.uniform(0.2, 0.9)),
        pattern=(0.35, 280.0),
        case=stone if rng.random() < 0.35 else None,
        corners=float(rng.choice([0.3, 1.0])),
        case_colour=_any_colour(rng),
        seed=int(rng.integers(2**31)),
    )


def _watch(rng: np.random.Generator, side: Side) -> Accessory:
    radius = float(rng.uniform(0.013, 0.021))
    square = rng.random() < 0.4
    length = radius * float(rng.uniform(1.0, 1.2)) if square else radius
    strap = rng.random()
    return Accessory(
        side,
        None,
        at=float(rng.uniform(0.018, 0.024)),
        width=radius * float(rng.uniform(0.8, 1.15)),
        thickness=float(rng.uniform(0.002, 0.0035)),
        colour=_colour(rng, _LEATHERS if strap < 0.4 else _METALS) if strap < 0.7 else _any_colour(rng),
        gloss=float(rng.uniform(0.6, 0.95) if 0.4 <= strap < 0.7 else rng.uniform(0.16, 0.4)),
        pattern=(float(rng.uniform(0.1, 0.5)), float(rng.uniform(150, 500))),
        case=(length, radius * (0.88 if square else 1.0), float(rng.uniform(0.003, 0.006))),
        corners=0.35 if square else 1.0,
        case_colour=_colour(rng, _METALS) if rng.random() < 0.75 else _any_colour(rng),
        dial=_colour(rng, _DIALS),
        seed=int(rng.integers(2**31)),
    )


def _bracelet(rng: np.random.Generator, side: Side) -> Accessory:
    width = float(rng.uniform(0.003, 0.016))
    metal = rng.random() < 0.4
    return Accessory(
        side,
        None,
        at=float(rng.uniform(0.012, 0.024)),
        width=width,
        thickness=float(rng.uniform(0.0015, 0.0035)),
        colour=_colour(rng, _METALS) if metal else _any_colour(rng),
        gloss=float(rng.uniform(0.6, 1.0) if metal else rng.uniform(0.16, 0.5)),
        pattern=(float(rng.uniform(0.1, 0.8)), float(rng.uniform(100, 400))),
        seed=int(rng.integers(2**31)),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Band:
    """A band on a posed limb: its :meth:`surface` and :meth:`texture` are used as a SceneObject's.

    Attributes:
        accessory: which.
        fit: where on the skin it lies.
        vertices: (R * C, 3) metres, camera frame.
    """

    accessory: Accessory
    fit: Fit
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
        worn = self.accessory
        return painted(points, worn.colour, worn.gloss, worn.pattern, worn.seed)


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """Where the vertices of a band lie on the skin, R * C of them row by row.

    Attributes:
        corners: vertices of the limb's surface (R * C, 3) whose face a vertex lies on.
        weights: its barycentric coordinates there (R * C, 3).
        heights: above the skin (R * C,), metres.
        points: on the skin of the hand at rest (R * C, 3), metres.
        band_faces: (F, 3) int32.
    """

    corners: np.ndarray
    weights: np.ndarray
    heights: np.ndarray
    points: np.ndarray
    band_faces: np.ndarray


def pieces(accessory: Accessory, limb: Limb, hand_model: HandModel) -> list[Band | SceneObject]:
    """An accessory on a posed limb as things to draw: the band, and the case with its dial or stone."""
    fit = fitted(accessory, hand_model)
    skin = np.einsum("nk,nkc->nc", fit.weights, limb.surface.vertices[fit.corners])
    normals = np.einsum("nk,nkc->nc", fit.weights, limb.surface.normals[fit.corners])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    vertices = skin + fit.heights[:, None] * normals
    drawn: list[Band | SceneObject] = [Band(accessory, fit, vertices)]
    if accessory.case is None:
        return drawn
    # The first column runs along the back.
    before, middle, after = _COLUMNS * np.array([1, 2, 3])
    off = normals[middle]
    along = vertices[after] - vertices[before]
    along -= (along @ off) * off
    along /= np.linalg.norm(along)
    axes = np.stack([along, np.cross(off, along), off], axis=-1)
    half = np.array(accessory.case)
    centre = vertices[middle] + 0.4 * half[2] * off
    shape, look = (accessory.corners, 0.25), ((0.1, 200.0), accessory.seed, accessory.owner)
    drawn.append(SceneObject(centre, axes, half, shape, accessory.case_colour, 0.9, *look))
    if accessory.dial is not None:
        face = half * (0.84, 0.84, 1.0)
        drawn.append(SceneObject(centre + 0.0006 * off, axes, face, shape, accessory.dial, 0.6, *look))
    return drawn


@functools.lru_cache(maxsize=256)
def fitted(accessory: Accessory, hand_model: HandModel) -> Fit:
    """Fit a band to the hand at rest: rays from the axis of the bone outwards meet the skin.

    Raises ValueError where the skin closes around no part of the bone beyond ``accessory.at``.
    """
    surface = rest_surface(hand_model, accessory.side, Arm())
    middle, along, back = _axis(accessory, hand_model, surface)
    near = np.linalg.norm(surface.vertices[surface.faces[:, 0]] - middle, axis=1) < _NEAR
    nearby = surface.faces[near]
    triangles = surface.vertices[nearby]
    angle = np.arange(_COLUMNS) * (2 * np.pi / _COLUMNS)
    # In this direction around, faces of a tube look outwards.
    rays = np.cos(angle)[:, None] * back - np.sin(angle)[:, None] * np.cross(back, along)
    for shift in np.arange(0.0, _FARTHEST, _STEP):
        edges = [middle + (shift + side * accessory.width) * along for side in (-0.5, 0.0, 0.5)]
        met = [_first_met(start, rays, triangles) for start in edges]
        if all(distance.max() < _ROUND * np.median(distance) for _, _, distance in met):
            break
    else:
        raise ValueError(f"the hand's skin closes around no part of the bone for {accessory}")
    rows = [met[int(1 + 2 * place)] for place, _ in _PROFILE]
    corners = nearby[np.concatenate([face for face, _, _ in rows])]
    weights = np.concatenate([weight for _, weight, _ in rows])
    heights = [_SUNK if height is None else height * accessory.thickness for _, height in _PROFILE]
    points = np.einsum("nk,nkc->nc", weights, surface.vertices[corners])
    faces = tube_faces(np.arange(len(points)).reshape(-1, _COLUMNS))
    return Fit(corners, weights, np.repeat(heights, _COLUMNS), points, faces)


def _axis(accessory: Accessory, hand_model: HandModel, surface: Surface) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
    back = back - (back @ along) * along
    return middle, along, back / np.linalg.norm(back)


def _first_met(start: np.ndarray, rays: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What unit rays (N, 3) from ``start`` (3,) meet first of triangles (F, 3, 3).

    Returns indices (N,), barycentric coordinates (N, 3) and distances (N,), infinite where a ray meets nothing.
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
    met, row = distance.argmin(axis=1), np.arange(len(rays))
    u, v = u[row, met], v[row, met]
    return met, np.stack([1 - u - v, u, v], axis=-1), distance[row, met]
