"""Light: lamps with shadow maps, and soft light from all directions with ambient occlusion at every vertex."""

from __future__ import annotations

import dataclasses

import numba as nb
import numpy as np

from ..skeleton import cross
from .rasterizer import orthographic_depth
from .vectors import triple

_SKY_DIRECTIONS = 16
_SKY_CELL = 0.0035
_MAX_MAP = 640


@dataclasses.dataclass(frozen=True)
class Lamp:
    """A distant lamp.

    Attributes:
        direction: towards the lamp, camera frame; any length.
        colour: linear RGB intensity.
        softness: blur of its shadows' edges, metres.
    """

    direction: tuple[float, float, float]
    colour: tuple[float, float, float]
    softness: float = 0.004


@dataclasses.dataclass(frozen=True)
class Lighting:
    """All light of a scene.

    Attributes:
        lamps: up to three, each casts shadows.
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
        """A random room with daylight or lamps from one to three sides."""
        count = int(rng.integers(1, 4))
        lamps = []
        for i in range(count):
            azimuth, height = rng.uniform(-np.pi, np.pi), rng.uniform(0.1, 1.3)
            # Most lamps are on the camera's side of the hands.
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
    """Depths (H, W) float32, metres, along a direction; ``transform`` (3, 4) maps metres to column, row and depth."""

    transform: np.ndarray
    nearest: np.ndarray


def shadow_map(vertices: np.ndarray, faces: np.ndarray, direction: np.ndarray, cell: float) -> ShadowMap:
    """The depth map of triangles for a distant lamp.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3) int32.
        direction: towards the lamp, unit (3,).
        cell: size of the map's cells, metres; larger where the map would have more than 640 cells per side.
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
    # Of points (N, 3): NumPy's minimum over the rows of a long thin array takes ten times as long.
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
    """Irradiance of each vertex (V, 3) by the soft light, linear RGB, divided by pi.

    Args:
        vertices, normals: (V, 3).
        faces: occluders (F, 3) int32; a coarse mesh is enough.
        lighting: of the scene.
        bounce: linear RGB (3,) albedo of the occluders, which reflect part of the light they block.
        count: number of sampled directions.
        cell: size of the shadow maps' cells, metres.
    """
    directions = _fibonacci(count)
    up = np.array(lighting.up) / np.linalg.norm(lighting.up)
    height = directions @ up
    blend = (0.5 + 0.5 * height)[:, None]
    radiance = np.array(lighting.ground) * (1 - blend) + np.array(lighting.sky) * blend
    radiance += np.array(lighting.front) * np.clip(-directions[:, 2:], 0, 1) * 2
    for lamp in lighting.lamps:
        # A lamp also illuminates the walls around it.
        toward = np.array(lamp.direction) / np.linalg.norm(lamp.direction)
        radiance += 0.12 * np.array(lamp.colour) * np.clip(directions @ toward, 0, 1)[:, None]
    reflected = 0.6 * bounce * radiance.mean(axis=0)
    total = np.zeros((len(vertices), 3))
    for direction, light in zip(directions, radiance, strict=True):
        shadow = shadow_map(vertices, faces, direction, cell)
        _gather(vertices, normals, direction, shadow.transform, shadow.nearest, light, reflected, total)
    return total * (4.0 / count)


def _fibonacci(count: int) -> np.ndarray:
    """Unit directions (count, 3), evenly distributed over the sphere (a Fibonacci lattice)."""
    i = np.arange(count) + 0.5
    z = 1 - 2 * i / count
    angle = np.pi * (1 + np.sqrt(5)) * i
    radius = np.sqrt(1 - z * z)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), z])


@nb.njit(cache=True, nogil=True)
def _gather(vertices, normals, direction, transform, nearest, light, reflected, total):  # type: ignore[no-untyped-def]
    """Add to ``total`` (V, 3) the irradiance from one direction (3,); ``light`` and ``reflected`` (3,) are its radiance
    and that of occluders, ``transform`` and ``nearest`` its shadow map. All float64 but ``nearest``."""
    for v in range(vertices.shape[0]):
        cosine = normals[v, 0] * direction[0] + normals[v, 1] * direction[1] + normals[v, 2] * direction[2]
        if cosine <= 0:
            continue
        # Off the surface, against self-shadowing.
        x = vertices[v, 0] + 0.002 * normals[v, 0]
        y = vertices[v, 1] + 0.002 * normals[v, 1]
        z = vertices[v, 2] + 0.002 * normals[v, 2]
        column = transform[0, 0] * x + transform[0, 1] * y + transform[0, 2] * z + transform[0, 3]
        row = transform[1, 0] * x + transform[1, 1] * y + transform[1, 2] * z + transform[1, 3]
        depth = transform[2, 0] * x + transform[2, 1] * y + transform[2, 2] * z + transform[2, 3]
        lit = lit_share(nearest, column, row, depth - 0.0035, 0.7)
        for k in range(3):
            total[v, k] += cosine * (light[k] * lit + reflected[k] * (1.0 - lit))


@nb.njit(cache=True, nogil=True)
def lit_share(nearest, column, row, depth, reach):  # type: ignore[no-untyped-def]
    """Share of five samples around (column, row) of a shadow map, ``reach`` cells apart, that are not in shadow."""
    height, width = nearest.shape
    lit = 0.0
    for k in range(5):
        dx = reach if k == 1 else (-reach if k == 2 else 0.0)
        dy = reach if k == 3 else (-reach if k == 4 else 0.0)
        c, r = int(column + dx + 0.5), int(row + dy + 0.5)
        if c < 0 or r < 0 or c >= width or r >= height or nearest[r, c] > depth:
            lit += 0.2
    return lit
