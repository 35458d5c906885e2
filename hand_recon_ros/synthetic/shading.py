"""Colour of rasterised surfaces: textured skin under lamps and soft light, resolved to linear pixels."""

from __future__ import annotations

import numba as nb
import numpy as np

from .lighting import Lighting, lit_share, shadow_map
from .rasterizer import Raster
from .skin import grid_of, texel_weights
from .surface import SLEEVE, Surface

_LAMP_CELL = 0.0009
_SHADOW_BIAS = 0.0025


def shade(
    raster: Raster,
    surface: Surface,
    texture: np.ndarray,
    irradiance: np.ndarray,
    lighting: Lighting,
    background: np.ndarray,
    supersampling: int,
    lamp_cell: float = _LAMP_CELL,
    patch_samples: int = 2,
) -> np.ndarray:
    """Linear image (h, w, 3) RGB, float32, of a viewport.

    Args:
        raster: of the viewport, with ``supersampling`` samples per pixel along each axis.
        surface: that was rasterised.
        texture: (F, T, 5), see :mod:`skin`.
        irradiance: soft light at the vertices (V, 3), see :func:`lighting.sky_irradiance`.
        lighting: lamps.
        background: linear RGB (h, w, 3) float32, visible where there is no surface.
        supersampling: of the raster.
        lamp_cell: size of the cells of the lamps' shadow maps, metres.
        patch_samples: number of shaded samples per pixel inside a smooth patch, 1 or 2.

    Raises ValueError where the arrays do not fit each other.
    """
    shapes = {
        "background": (background.shape, (*(side // supersampling for side in raster.triangle.shape), 3)),
        "texture": (texture.shape, (len(surface.faces), len(texel_weights(grid_of(texture))), 5)),
        "irradiance": (irradiance.shape, surface.vertices.shape),
    }
    for name, (shape, expected) in shapes.items():
        if shape != expected:
            raise ValueError(f"{name} has shape {shape}, expected {expected}")
    count = len(lighting.lamps)
    lamps = np.zeros((count, 7))
    transforms = np.zeros((max(count, 1), 3, 4))
    maps = [np.full((1, 1), np.inf, dtype=np.float32)] * 3
    for i, lamp in enumerate(lighting.lamps[:3]):
        direction = np.array(lamp.direction) / np.linalg.norm(lamp.direction)
        shadow = shadow_map(surface.vertices, surface.faces, direction, lamp_cell)
        transforms[i], maps[i] = shadow.transform, shadow.nearest
        # The last is the radius of the shadow filter in cells.
        lamps[i] = *direction, *lamp.colour, lamp.softness * np.linalg.norm(shadow.transform[0, :3])
    image = np.empty(background.shape, dtype=np.float32)
    _shade(
        raster.triangle,
        raster.barycentric,
        raster.inverse_depth,
        surface.vertices,
        surface.normals,
        surface.faces,
        surface.kinds == SLEEVE,
        texture,
        irradiance,
        lamps,
        transforms,
        maps[0],
        maps[1],
        maps[2],
        background,
        supersampling,
        grid_of(texture),
        patch_samples,
        image,
    )
    return image


@nb.njit(cache=True, nogil=True, inline="always")
def _texel(i, j, grid):  # type: ignore[no-untyped-def]
    return j * (grid + 1) - (j * (j - 1)) // 2 + i


@nb.njit(cache=True, nogil=True)
def _sample(texture, face, u, v, grid, value):  # type: ignore[no-untyped-def]
    """Interpolated texture at barycentrics (u, v) into value (5,); returns the slopes of the height along u and v."""
    x, y = min(max(u, 0.0), 1.0) * grid, min(max(v, 0.0), 1.0) * grid
    i, j = min(int(x), grid - 1), min(int(y), grid - 1)
    if i + j > grid - 1:
        i = max(grid - 1 - j, 0)
    fx, fy = x - i, y - j
    if fx + fy <= 1.0 or i + j >= grid - 1:
        a, b, c = _texel(i, j, grid), _texel(i + 1, j, grid), _texel(i, j + 1, grid)
        wb, wc = fx, fy
        slope_u = texture[face, b, 4] - texture[face, a, 4]
        slope_v = texture[face, c, 4] - texture[face, a, 4]
    else:
        a, b, c = _texel(i + 1, j + 1, grid), _texel(i, j + 1, grid), _texel(i + 1, j, grid)
        wb, wc = 1.0 - fx, 1.0 - fy
        slope_u = texture[face, a, 4] - texture[face, b, 4]
        slope_v = texture[face, a, 4] - texture[face, c, 4]
    wa = 1.0 - wb - wc
    for k in range(5):
        value[k] = wa * texture[face, a, k] + wb * texture[face, b, k] + wc * texture[face, c, k]
    return slope_u * grid, slope_v * grid


@nb.njit(cache=True, nogil=True, fastmath=True)
def _shade(  # type: ignore[no-untyped-def]
    triangle, barycentric, inverse_depth, vertices, normals, faces, is_cloth, texture, irradiance,
    lamps, transforms, map0, map1, map2, background, supersampling, grid, patch_samples, image,
):  # fmt: skip
    """Write ``image`` (h, w, 3) float32 from the arrays of :func:`shade`. ``is_cloth`` is (F,) bool, ``lamps`` (L, 7)
    float64 direction, colour and filter radius; ``transforms`` (L, 3, 4) and the maps are their shadow maps."""
    height, width = image.shape[:2]
    samples = supersampling * supersampling
    value, colour, total = np.empty(5), np.empty(3), np.empty(3)
    for y in range(height):
        for x in range(width):
            total[:] = 0.0
            covered = 0
            low, high = np.float32(np.inf), np.float32(0.0)
            for k in range(samples):
                r, c = y * supersampling + k // supersampling, x * supersampling + k % supersampling
                if triangle[r, c] >= 0:
                    covered += 1
                    low, high = min(low, inverse_depth[r, c]), max(high, inverse_depth[r, c])
            # Inside a smooth patch two samples across the diagonal are enough.
            smooth = covered == samples and high - low < 0.012 * high
            stride = (samples - 1 if patch_samples > 1 else samples) if smooth and samples > 2 else 1
            last, taken = -1, 0
            for k in range(0, samples, stride):
                r, c = y * supersampling + k // supersampling, x * supersampling + k % supersampling
                f = triangle[r, c]
                if f < 0:
                    continue
                taken += 1
                if f != last:
                    last = f
                    _sample_colour(
                        f, barycentric[r, c, 0], barycentric[r, c, 1], vertices, normals, faces, is_cloth[f], texture,
                        irradiance, lamps, transforms, map0, map1, map2, grid, value, colour,
                    )  # fmt: skip
                for k3 in range(3):
                    total[k3] += colour[k3]
            share = covered / samples
            for k3 in range(3):
                image[y, x, k3] = (1.0 - share) * background[y, x, k3]
                if taken > 0:
                    image[y, x, k3] += share * total[k3] / taken


@nb.njit(cache=True, nogil=True, fastmath=True)
def _sample_colour(  # type: ignore[no-untyped-def]
    f,
    u,
    v,
    vertices,
    normals,
    faces,
    cloth,
    texture,
    irradiance,
    lamps,
    transforms,
    map0,
    map1,
    map2,
    grid,
    value,
    colour,
):
    """Write the linear ``colour`` (3,) at barycentric coordinates (u, v) of face ``f``; ``value`` (5,) is scratch."""
    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
    w = 1.0 - u - v
    slope_u, slope_v = _sample(texture, f, u, v, grid, value)
    px = w * vertices[a, 0] + u * vertices[b, 0] + v * vertices[c, 0]
    py = w * vertices[a, 1] + u * vertices[b, 1] + v * vertices[c, 1]
    pz = w * vertices[a, 2] + u * vertices[b, 2] + v * vertices[c, 2]
    nx = w * normals[a, 0] + u * normals[b, 0] + v * normals[c, 0]
    ny = w * normals[a, 1] + u * normals[b, 1] + v * normals[c, 1]
    nz = w * normals[a, 2] + u * normals[b, 2] + v * normals[c, 2]
    # The gradient of the height in the posed face: through the dual basis of its edges.
    e1x, e1y, e1z = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
    e2x, e2y, e2z = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
    g11, g12 = e1x * e1x + e1y * e1y + e1z * e1z, e1x * e2x + e1y * e2y + e1z * e2z
    g22 = e2x * e2x + e2y * e2y + e2z * e2z
    determinant = g11 * g22 - g12 * g12
    if determinant > 1e-20:
        s = (slope_u * g22 - slope_v * g12) / determinant
        t = (slope_v * g11 - slope_u * g12) / determinant
        nx, ny, nz = nx - s * e1x - t * e2x, ny - s * e1y - t * e2y, nz - s * e1z - t * e2z
    scale = 1.0 / np.sqrt(nx * nx + ny * ny + nz * nz + 1e-20)
    nx, ny, nz = nx * scale, ny * scale, nz * scale
    scale = -1.0 / np.sqrt(px * px + py * py + pz * pz)
    vx, vy, vz = px * scale, py * scale, pz * scale
    facing = nx * vx + ny * vy + nz * vz
    inside = 1.0
    if cloth and facing < 0.0:
        # The inside of a cuff's far wall, where little light arrives.
        nx, ny, nz, facing, inside = -nx, -ny, -nz, -facing, 0.35
    rim = (1.0 - max(facing, 0.0)) ** 5
    gloss = value[3]
    power = np.exp(0.6931 * (2.5 + 5.0 * gloss))
    strength = (power + 8.0) / 8.0 * (0.35 + 0.65 * gloss) * (0.0 if cloth else 1.0)
    for k in range(3):
        soft = w * irradiance[a, k] + u * irradiance[b, k] + v * irradiance[c, k]
        soft *= inside
        colour[k] = value[k] * soft + (0.02 + 0.28 * rim) * (0.25 if cloth else 0.6) * soft * (0.3 + 0.7 * gloss)
    for i in range(lamps.shape[0]):
        lx, ly, lz = lamps[i, 0], lamps[i, 1], lamps[i, 2]
        cosine = nx * lx + ny * ly + nz * lz
        if cosine < -0.45:
            continue
        qx, qy, qz = px + 0.0015 * nx, py + 0.0015 * ny, pz + 0.0015 * nz
        column = transforms[i, 0, 0] * qx + transforms[i, 0, 1] * qy + transforms[i, 0, 2] * qz + transforms[i, 0, 3]
        row = transforms[i, 1, 0] * qx + transforms[i, 1, 1] * qy + transforms[i, 1, 2] * qz + transforms[i, 1, 3]
        depth = transforms[i, 2, 0] * qx + transforms[i, 2, 1] * qy + transforms[i, 2, 2] * qz + transforms[i, 2, 3]
        nearest = map0 if i == 0 else (map1 if i == 1 else map2)
        reach = lamps[i, 6]
        bias = _SHADOW_BIAS
        lit = lit_share(nearest, column, row, depth - bias, reach)
        if 0.0 < lit < 1.0:
            lit = 0.5 * lit + 0.5 * lit_share(
                nearest, column + 0.5 * reach, row + 0.5 * reach, depth - bias, 0.55 * reach
            )
        # Subsurface scattering, strongest in red: it softens the terminator and reddens the edges of shadows.
        for k in range(3):
            wrap = 0.0 if cloth else (0.32 if k == 0 else (0.12 if k == 1 else 0.07))
            diffuse = max((cosine + wrap) / (1.0 + wrap), 0.0) / (1.0 + wrap)
            through = inside * lit if cloth or k > 0 else lit * (1.5 - 0.5 * lit)
            colour[k] += value[k] * lamps[i, 3 + k] * diffuse * through
        if cosine > 0.0 and lit > 0.0 and strength > 0.0:
            hx, hy, hz = lx + vx, ly + vy, lz + vz
            half = np.sqrt(hx * hx + hy * hy + hz * hz + 1e-20)
            towards = max((nx * hx + ny * hy + nz * hz) / half, 0.0)
            fresnel = 0.03 + 0.97 * (1.0 - max((vx * hx + vy * hy + vz * hz) / half, 0.0)) ** 5
            highlight = strength * np.exp(power * np.log(towards + 1e-9)) * fresnel * cosine * lit
            for k in range(3):
                colour[k] += highlight * lamps[i, 3 + k]
