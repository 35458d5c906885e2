"""Light: lamps with shadow maps, and a sky of soft light that every vertex sees as far as nothing is in its way."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numba as nb
import numpy as np

from ..skeleton import cross
from .rasterizer import orthographic_depth

_SKY_DIRECTIONS = 16
_SKY_CELL = 0.0035
_MAX_MAP = 640


def triple(values: Iterable[float]) -> tuple[float, float, float]:
    """Three numbers, a colour or a direction, as a plain tuple."""
    x, y, z = map(float, values)
    return x, y, z


@dataclasses.dataclass(frozen=True)
class Lamp:
    """A distant lamp.

    Attributes:
        direction: towards the lamp, camera frame; any length.
        colour: linear RGB intensity.
        softness: blur of its shadow's edge, metres.
    """

    direction: tuple[float, float, float]
    colour: tuple[float, float, float]
    softness: float = 0.004


@dataclasses.dataclass(frozen=True)
class Lighting:
    """All light of a scene.

    Attributes:
        lamps: up to three, each throws a shadow.
        sky: linear RGB from above; ground: from below; front: from behind the camera (a screen).
        up: direction of the sky, camera frame.
    """

    lamps: tuple[Lamp, ...]
    sky: tuple[float, float, float] = (0.5, 0.52, 0.56)
    ground: tuple[float, float, float] = (0.22, 0.19, 0.16)
    front: tuple[float, float, float] = (0.1, 0.1, 0.11)
    up: tuple[float, float, float] = (0.0, -1.0, 0.0)

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Lighting:
        """A random room: daylight or lamps from one to three sides."""
        count = int(rng.integers(1, 4))
        lamps = []
        for i in range(count):
            azimuth, height = rng.uniform(-np.pi, np.pi), rng.uniform(0.1, 1.3)
            # Most of the light falls on what the camera sees.
            toward = (np.cos(height) * np.sin(azimuth), -np.sin(height), -np.cos(height) * np.cos(azimuth) * 0.8 - 0.15)
            strength = (1.0 if i == 0 else rng.uniform(0.1, 0.5)) * rng.uniform(0.7, 1.5)
            warm = rng.uniform(-0.25, 0.35)
            colour = strength * np.exp(np.array([0.6, 0.0, -0.9]) * warm)
            lamps.append(Lamp(triple(toward), triple(colour), float(rng.uniform(0.002, 0.012))))
        ambient, tint = rng.uniform(0.25, 0.9), rng.normal(0, 0.08, 3)
        sky = ambient * np.exp(tint) * rng.uniform(0.7, 1.1)
        ground = ambient * np.exp(rng.normal(0, 0.12, 3)) * rng.uniform(0.25, 0.7)
        front = rng.uniform(0.0, 0.35) * np.exp(rng.normal(0, 0.1, 3))
        tilt = rng.normal(0, 0.25, 2)
        return cls(
            tuple(lamps),
            sky=triple(sky),
            ground=triple(ground),
            front=triple(front),
            up=(float(tilt[0]), -1.0, float(tilt[1])),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class ShadowMap:
    """Depths seen from a direction: ``transform`` (3, 4) takes metres to column, row and depth (metres)."""

    transform: np.ndarray
    nearest: np.ndarray


def shadow_map(vertices: np.ndarray, faces: np.ndarray, direction: np.ndarray, cell: float) -> ShadowMap:
    """The depth map of triangles seen from a far lamp.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3) int32.
        direction: towards the lamp, unit (3,).
        cell: size of a cell of the map, metres (larger where the map would have more than 640 cells a side).
    """
    helper = np.eye(3)[np.argmin(np.abs(direction))]
    right = cross(helper, direction)
    right /= np.linalg.norm(right)
    axes = np.stack([right, cross(direction, right), -direction])
    points = vertices @ axes.T
    low, high = _bounds(points)
    extent = high[:2] - low[:2]
    cell = max(cell, float(extent.max()) / (_MAX_MAP - 5))
    scale = np.array([1 / cell, 1 / cell, 1.0])
    shift = np.array([2.0, 2.0, 0.0]) - low * scale
    width, height = (np.ceil(extent / cell).astype(int) + 5).tolist()
    nearest = np.full((height, width), np.inf, dtype=np.float32)
    orthographic_depth(points * scale + shift, faces, nearest)
    return ShadowMap(np.column_stack([axes * scale[:, None], shift]), nearest)


@nb.njit(cache=True, nogil=True)
def _bounds(points):  # type: ignore[no-untyped-def]
    # NumPy's minimum over the rows of a long thin array takes ten times as long.
    low, high = points[0].copy(), points[0].copy()
    for i in range(points.shape[0]):
        for k in range(3):
            low[k], high[k] = min(low[k], points[i, k]), max(high[k], points[i, k])
    return low, high


def sky_irradiance(
    vertices: np.ndarray,
    normals: np.ndarray,
    faces: np.ndarray,
    lighting: Lighting,
    bounce: np.ndarray,
    count: int = _SKY_DIRECTIONS,
    cell: float = _SKY_CELL,
) -> np.ndarray:
    """Soft light arriving at each vertex (V, 3), linear, divided by pi.

    Args:
        vertices, normals: (V, 3).
        faces: what blocks the view, (F, 3) int32; a coarse mesh is enough.
        lighting: the sky.
        bounce: linear RGB (3,) of what blocks it: it gives back part of the light it takes.
        count: directions the sky is sampled in.
        cell: size of a cell of its shadow maps, metres.
    """
    directions = _fibonacci(count)
    up = np.array(lighting.up) / np.linalg.norm(lighting.up)
    height = directions @ up
    blend = (0.5 + 0.5 * height)[:, None]
    radiance = np.array(lighting.ground) * (1 - blend) + np.array(lighting.sky) * blend
    radiance += np.array(lighting.front) * np.clip(-directions[:, 2:], 0, 1) * 2
    for lamp in lighting.lamps:
        # A lamp also lights the walls around it.
        toward = np.array(lamp.direction) / np.linalg.norm(lamp.direction)
        radiance += 0.12 * np.array(lamp.colour) * np.clip(directions @ toward, 0, 1)[:, None]
    returned = 0.6 * bounce * radiance.mean(axis=0)
    total = np.zeros((len(vertices), 3))
    for direction, light in zip(directions, radiance, strict=True):
        shadow = shadow_map(vertices, faces, direction, cell)
        _gather(vertices, normals, direction, shadow.transform, shadow.nearest, light, returned, total)
    return total * (4.0 / count)


def _fibonacci(count: int) -> np.ndarray:
    """Evenly spread unit directions (count, 3)."""
    i = np.arange(count) + 0.5
    z = 1 - 2 * i / count
    angle = np.pi * (1 + np.sqrt(5)) * i
    radius = np.sqrt(1 - z * z)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), z])


@nb.njit(cache=True, nogil=True)
def _gather(vertices, normals, direction, transform, nearest, light, returned, total):  # type: ignore[no-untyped-def]
    for v in range(vertices.shape[0]):
        cosine = normals[v, 0] * direction[0] + normals[v, 1] * direction[1] + normals[v, 2] * direction[2]
        if cosine <= 0:
            continue
        # Off the surface, so that it does not shade itself.
        x = vertices[v, 0] + 0.002 * normals[v, 0]
        y = vertices[v, 1] + 0.002 * normals[v, 1]
        z = vertices[v, 2] + 0.002 * normals[v, 2]
        column = transform[0, 0] * x + transform[0, 1] * y + transform[0, 2] * z + transform[0, 3]
        row = transform[1, 0] * x + transform[1, 1] * y + transform[1, 2] * z + transform[1, 3]
        depth = transform[2, 0] * x + transform[2, 1] * y + transform[2, 2] * z + transform[2, 3]
        open_share = lit_share(nearest, column, row, depth - 0.0035, 0.7)
        for k in range(3):
            total[v, k] += cosine * (light[k] * open_share + returned[k] * (1.0 - open_share))


@nb.njit(cache=True, nogil=True)
def lit_share(nearest, column, row, depth, reach):  # type: ignore[no-untyped-def]
    """Share of five samples around (column, row) of a shadow map, ``reach`` cells apart, that see the lamp."""
    height, width = nearest.shape
    lit = 0.0
    for k in range(5):
        dx = reach if k == 1 else (-reach if k == 2 else 0.0)
        dy = reach if k == 3 else (-reach if k == 4 else 0.0)
        c, r = int(column + dx + 0.5), int(row + dy + 0.5)
        if c < 0 or r < 0 or c >= width or r >= height or nearest[r, c] > depth:
            lit += 0.2
    return lit
