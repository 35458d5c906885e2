"""Objects that hide hands or are held in them: superquadrics (Barr 1981), from boxes over cylinders to balls."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..skeleton import INDEX_MCP, MCPS, PINKY_MCP, THUMB_IP
from ..types import Side
from .identities import GRID
from .noise import fractal_noise
from .skin import texel_weights, to_linear
from .surface import ARM_OWNER, FOREARM, OBJECT_OWNER, SLEEVE, Surface, tube_faces, vertex_normals
from .vectors import axes_along

_FINGER_RADIUS = 0.008
"""Distance of a finger's bones from its skin, metres."""
_ROWS, _COLUMNS = 13, 24


@dataclasses.dataclass(frozen=True, eq=False)
class SceneObject:
    """A superquadric.

    Attributes:
        centre: (3,) metres, camera frame.
        axes: rotation (3, 3), columns are its axes.
        half: half sizes along its axes (3,), metres.
        roundness: exponents east-west and north-south: 1 is round, 0.15 has corners.
        colour: sRGB.
        gloss: 0 matte to 1 shiny.
        pattern: strength, and cells per metre, of the noise on its colour.
        seed: of the pattern.
        owner: code of what it belongs to (see :mod:`surface`): an object of its own, or an arm.
    """

    centre: np.ndarray
    axes: np.ndarray
    half: np.ndarray
    roundness: tuple[float, float]
    colour: tuple[float, float, float]
    gloss: float
    pattern: tuple[float, float]
    seed: int
    owner: int = OBJECT_OWNER

    def surface(self) -> Surface:
        """Its mesh; the kind of its faces, as of a sleeve or of skin, decides whether they have highlights."""
        v, u = np.linspace(-np.pi / 2, np.pi / 2, _ROWS), np.linspace(-np.pi, np.pi, _COLUMNS, endpoint=False)
        v, u = np.meshgrid(v, u, indexing="ij")
        around, along = self.roundness
        local = np.stack([
            _power(np.cos(v), along) * _power(np.cos(u), around),
            _power(np.cos(v), along) * _power(np.sin(u), around),
            _power(np.sin(v), along),
        ], axis=-1)  # fmt: skip
        vertices = self.centre + (local * self.half).reshape(-1, 3) @ self.axes.T
        faces = tube_faces(np.arange(_ROWS * _COLUMNS).reshape(_ROWS, _COLUMNS))
        kind = FOREARM if self.gloss > 0.15 else SLEEVE
        kinds = np.full(len(faces), kind, dtype=np.uint8)
        return Surface(vertices, vertex_normals(vertices, faces), faces, kinds)

    def texture(self, surface: Surface) -> np.ndarray:
        """The texture (F, T, 5) float32 of that mesh."""
        weights = texel_weights(GRID)
        local = (surface.vertices - self.centre) @ self.axes
        points = np.einsum("tk,fkc->ftc", weights, local[surface.faces])
        return paint_texture(points, self.colour, self.gloss, self.pattern, self.seed)


def paint_texture(
    points: np.ndarray, colour: tuple[float, float, float], gloss: float, pattern: tuple[float, float], seed: int
) -> np.ndarray:
    """A texture (F, T, 5) float32 at points (F, T, 3), metres, of a surface; other arguments as of a SceneObject."""
    flat = points.reshape(-1, 3)
    strength, cells = pattern
    noise = fractal_noise(flat, cells, 2, seed)
    if seed % 3 == 0:
        noise = np.sign(noise)
    albedo = to_linear(colour) * np.exp(strength * noise)[:, None]
    texture = np.column_stack([np.clip(albedo, 0.004, 0.95), np.full(len(flat), gloss), np.zeros(len(flat))])
    return texture.reshape(*points.shape[:2], 5).astype(np.float32)


def _power(x: np.ndarray, exponent: float) -> np.ndarray:
    return np.sign(x) * np.abs(x) ** exponent


def _random_material(rng: np.random.Generator) -> dict[str, object]:
    colour = np.clip(rng.uniform(15, 230) + rng.normal(0, 40, 3), 5, 250)
    return {
        "colour": tuple(map(float, colour)),
        "gloss": float(rng.uniform(0.0, 0.9)),
        "pattern": (float(rng.uniform(0.0, 0.8) ** 2), float(rng.uniform(15, 120))),
        "seed": int(rng.integers(2**31)),
    }


def held_object(rng: np.random.Generator, keypoints: np.ndarray) -> SceneObject | None:
    """A bar, stick, can or ball inside the fist of a hand with ``keypoints`` (21, 3); None if the fist is too tight."""
    axis = keypoints[INDEX_MCP] - keypoints[PINKY_MCP]
    length = np.linalg.norm(axis)
    axis /= length
    ring = keypoints[[*range(5, 21)]]
    # Palm, fingers and thumb enclose the object.
    centre = 0.5 * ring.reshape(4, 4, 3)[:, 1:].mean(axis=(0, 1)) + 0.5 * keypoints[[*MCPS, THUMB_IP]].mean(axis=0)
    bones = np.concatenate([np.linspace(keypoints[k], keypoints[k + 1], 4) for k in range(1, 20) if k % 4])
    palm = np.linspace(keypoints[0], keypoints[MCPS], 4).reshape(-1, 3)
    offset = np.concatenate([bones, palm]) - centre
    radial = offset - (offset @ axis)[:, None] * axis
    radius = float(np.linalg.norm(radial, axis=1).min()) - _FINGER_RADIUS
    if radius < 0.004:
        return None
    radius = min(radius, 0.045)
    axes = axes_along(axis, keypoints[0] - centre)
    reach = float(rng.uniform(0.5, 2.0)) * length if rng.random() < 0.8 else radius
    centre = centre + axis * rng.uniform(-0.4, 0.4) * max(reach - length / 2, 0.0)
    corners = 1.0 if rng.random() < 0.7 else float(rng.uniform(0.2, 0.8))
    ends = 1.0 if reach == radius else float(rng.uniform(0.12, 0.5))
    return SceneObject(centre, axes, np.array([radius, radius, reach]), (corners, ends), **_random_material(rng))  # type: ignore[arg-type]


def upper_arm(elbow: np.ndarray, shoulder: np.ndarray, colour: tuple[float, float, float], side: Side) -> SceneObject:
    """The upper arm of a side from ``elbow`` (3,), metres, in the direction ``shoulder`` (3,); ``colour`` is sRGB."""
    axis = shoulder / np.linalg.norm(shoulder)
    axes = axes_along(axis, np.eye(3)[np.argmin(np.abs(axis))])
    half, owner = np.array([0.052, 0.052, 0.17]), int(side) + ARM_OWNER
    return SceneObject(elbow + 0.125 * axis, axes, half, (1.0, 0.7), colour, 0.05, (0.25, 70.0), 1, owner)


def object_in_front(rng: np.random.Generator, keypoints: np.ndarray) -> SceneObject:
    """An object between the camera and a part of the hand with ``keypoints`` (21, 3), camera frame."""
    target = keypoints[rng.integers(21)] if rng.random() < 0.6 else keypoints.mean(axis=0)
    nearest = float(keypoints[:, 2].min())
    size = rng.uniform(0.012, 0.06) * np.exp(rng.normal(0, 0.3, 3))
    share = rng.uniform(0.6, 0.97) * max(nearest - 1.2 * float(size.max()), 0.05) / float(target[2])
    axes = np.linalg.qr(rng.normal(0, 1, (3, 3)))[0]
    axes[:, 0] *= np.linalg.det(axes)
    centre = target * share + rng.normal(0, 0.02, 3) * share
    # Objects near the lens cover more of the image.
    size = np.clip(size * share, 0.006, 0.07)
    if rng.random() < 0.25:
        size = size * (0.35, 0.35, 3.5)
    roundness = (float(rng.choice([0.15, 0.3, 1.0])), float(rng.choice([0.15, 0.5, 1.0])))
    return SceneObject(centre, axes, size, roundness, **_random_material(rng))  # type: ignore[arg-type]
