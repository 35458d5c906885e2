"""A z-buffer triangle rasteriser: triangle, barycentric coordinates and depth of every pixel.

``Camera.project`` projects the vertices, so lens distortion bends meshes as it bends keypoints; pixel centres lie at
integer coordinates. Edges are evaluated in integers of 1/256 sample with the top-left fill rule: neighbouring
triangles share no sample and leave no gap.
"""

from __future__ import annotations

import dataclasses

import numba as nb
import numpy as np

from ..camera import Camera

NEAR = 0.02
"""Nearest depth that is rendered, metres."""
_SUBPIXEL = 256.0
_GUARD = 16384.0
"""Largest usable coordinate, in samples; faces with corners beyond it are left out."""


@dataclasses.dataclass(frozen=True)
class Viewport:
    """A rectangle of the image, in whole pixels: columns left..left+width-1, rows top..top+height-1."""

    left: int
    top: int
    width: int
    height: int

    @property
    def rows(self) -> slice:
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.left + self.width)

    @classmethod
    def around(cls, pixels: np.ndarray, camera: Camera, margin: int = 2) -> Viewport:
        """The smallest viewport inside the image around ``pixels`` (N, 2); may be empty."""
        pixels = pixels[np.isfinite(pixels).all(axis=-1)]
        if len(pixels) == 0:
            return cls(0, 0, 0, 0)
        size = np.array([camera.width, camera.height])
        low = np.clip(np.floor(pixels.min(axis=0)) - margin, 0, size).astype(int)
        high = np.clip(np.ceil(pixels.max(axis=0)) + margin + 1, low, size).astype(int)
        return cls(int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1]))


@dataclasses.dataclass(frozen=True, eq=False)
class Raster:
    """The visible face of each sample of a viewport; with supersampling s there are s x s samples per pixel.

    Attributes:
        triangle: index of the visible face (H, W) int32, -1 where there is none.
        barycentric: weights of the face's second and third corner (H, W, 2) float32, perspective-correct.
        inverse_depth: 1 / depth (H, W) float32, 1/metres; 0 where there is no face.
    """

    triangle: np.ndarray
    barycentric: np.ndarray
    inverse_depth: np.ndarray

    @property
    def depth(self) -> np.ndarray:
        """Depth along the optical axis (H, W) float32, metres; infinite where there is nothing."""
        with np.errstate(divide="ignore"):
            return 1.0 / self.inverse_depth


def rasterize(
    vertices: np.ndarray,
    faces: np.ndarray,
    camera: Camera,
    viewport: Viewport | None = None,
    supersampling: int = 1,
    cull: bool = False,
    near: float = NEAR,
) -> Raster:
    """Rasterise triangles as a camera sees them.

    Args:
        vertices: (V, 3) metres, camera frame.
        faces: (F, 3) indices, counter-clockwise seen from outside.
        camera: projects the vertices, lens distortion included (edges between them stay straight).
        viewport: part of the image to render; all of it by default.
        supersampling: samples per pixel along each axis; sample k of pixel i lies at i + (k + 0.5) / s - 0.5.
        cull: leave out faces seen from behind (half the work for closed meshes).
        near: faces are clipped at this depth, metres.

    Raises ValueError where vertices or faces have another shape.
    """
    for name, array in (("vertices", vertices), ("faces", faces)):
        if array.ndim != 2 or array.shape[1] != 3:
            raise ValueError(f"expected {name} (N, 3), got shape {array.shape}")
    viewport = viewport or Viewport(0, 0, camera.width, camera.height)
    shape = (viewport.height * supersampling, viewport.width * supersampling)
    raster = Raster(
        np.full(shape, -1, dtype=np.int32), np.zeros((*shape, 2), dtype=np.float32), np.zeros(shape, dtype=np.float32)
    )
    vertices = np.ascontiguousarray(vertices, dtype=np.float64)
    faces = np.ascontiguousarray(faces, dtype=np.int32)
    if len(faces) == 0 or 0 in shape:
        return raster
    samples = to_samples(camera.project(vertices), viewport, supersampling)
    visible = _in_view(vertices, samples, camera)
    inverse_depth = 1.0 / np.maximum(vertices[:, 2], 1e-9)
    kind = np.empty(len(faces), dtype=np.uint8)
    _classify(vertices[:, 2], visible, faces, near, kind)
    outputs = (raster.triangle, raster.barycentric, raster.inverse_depth)
    _fill(samples, inverse_depth, faces, kind, cull, *outputs)
    for face in np.flatnonzero(kind == _CROSSING):
        corners, weights = _clip_near(vertices[faces[face]], near)
        clipped = to_samples(camera.project(corners), viewport, supersampling)
        if np.isfinite(clipped).all() and (np.abs(clipped) < _GUARD).all():
            _fill_polygon(clipped, 1.0 / corners[:, 2], weights, face, cull, *outputs)
    return raster


def to_samples(pixels: np.ndarray, viewport: Viewport, supersampling: int) -> np.ndarray:
    """Pixel coordinates (..., 2) in samples of a viewport."""
    return (pixels - (viewport.left, viewport.top) + 0.5) * supersampling - 0.5


def _in_view(vertices: np.ndarray, samples: np.ndarray, camera: Camera) -> np.ndarray:
    """Which vertices have usable coordinates: finite, within _GUARD, on the invertible part of the lens model."""
    visible = np.isfinite(samples).all(axis=-1) & (np.abs(np.nan_to_num(samples)) < _GUARD).all(axis=-1)
    if np.any(camera.D) and camera.distortion_model != "equidistant":
        # Polynomial lens models fold back outside the image: points far beyond its corners must not project into it.
        size = np.array([camera.width - 1.0, camera.height - 1.0])
        border = np.stack(np.meshgrid([0, 0.5, 1], [0, 0.5, 1]), axis=-1).reshape(-1, 2) * size
        limit = 1.25 * np.linalg.norm(camera.unproject(border)[:, :2], axis=-1).max()
        visible &= np.linalg.norm(vertices[:, :2], axis=-1) < limit * vertices[:, 2]
    return visible


_DRAW, _SKIP, _CROSSING = 0, 1, 2


@nb.njit(cache=True, nogil=True)
def _classify(depth, visible, faces, near, kind):  # type: ignore[no-untyped-def]
    """Write the ``kind`` (F,) uint8 of faces (F, 3) int32 from the depth (V,) and visibility (V,) of the vertices."""
    for f in range(faces.shape[0]):
        behind = 0
        usable = True
        for c in range(3):
            v = faces[f, c]
            if depth[v] < near:
                behind += 1
            elif not visible[v]:
                usable = False
        if behind == 3 or not usable:
            kind[f] = _SKIP
        elif behind == 0:
            kind[f] = _DRAW
        else:
            kind[f] = _CROSSING


def _clip_near(corners: np.ndarray, near: float) -> tuple[np.ndarray, np.ndarray]:
    """The part of a triangle in front of the plane z = near: its corners (3 or 4, 3) and their barycentric weights."""
    points, weights = [], []
    for i in range(3):
        a, b = corners[i], corners[(i + 1) % 3]
        wa, wb = np.eye(3)[i], np.eye(3)[(i + 1) % 3]
        if a[2] >= near:
            points.append(a)
            weights.append(wa)
        if (a[2] >= near) != (b[2] >= near):
            t = (near - a[2]) / (b[2] - a[2])
            points.append(a + t * (b - a))
            weights.append(wa + t * (wb - wa))
    return np.array(points), np.array(weights)


@nb.njit(cache=True, nogil=True, inline="always")
def _edge_bias(dx, dy):  # type: ignore[no-untyped-def]
    # Clockwise on screen (y down): top edges run right, left edges run up; only those own the samples on them.
    return 0 if dy < 0 or (dy == 0 and dx > 0) else -1


@nb.njit(cache=True, nogil=True)
def _fill_triangle(xa, ya, xb, yb, xc, yc, wa, wb, wc, weights, face, cull, triangle, barycentric, inverse):  # type: ignore[no-untyped-def]
    """Render one triangle: corners in samples, their inverse depths (wa, wb, wc), and their barycentric coordinates
    (3, 2) in the original face; the other arguments as in :func:`_fill`."""
    height, width = triangle.shape
    x0, y0 = np.int64(np.rint(xa * _SUBPIXEL)), np.int64(np.rint(ya * _SUBPIXEL))
    x1, y1 = np.int64(np.rint(xb * _SUBPIXEL)), np.int64(np.rint(yb * _SUBPIXEL))
    x2, y2 = np.int64(np.rint(xc * _SUBPIXEL)), np.int64(np.rint(yc * _SUBPIXEL))
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    if area == 0 or (cull and area > 0):
        return
    i1, i2 = 1, 2
    if area < 0:
        x1, y1, x2, y2, wb, wc, area = x2, y2, x1, y1, wc, wb, -area
        i1, i2 = 2, 1
    one = np.int64(_SUBPIXEL)
    left = max(np.int64(0), -((-min(x0, x1, x2)) // one))
    right = min(np.int64(width - 1), max(x0, x1, x2) // one)
    top = max(np.int64(0), -((-min(y0, y1, y2)) // one))
    bottom = min(np.int64(height - 1), max(y0, y1, y2) // one)
    if left > right or top > bottom:
        return
    b0, b1, b2 = _edge_bias(x2 - x1, y2 - y1), _edge_bias(x0 - x2, y0 - y2), _edge_bias(x1 - x0, y1 - y0)
    scale = 1.0 / area
    for y in range(top, bottom + 1):
        py = y * one
        for x in range(left, right + 1):
            px = x * one
            e0 = (x2 - x1) * (py - y1) - (y2 - y1) * (px - x1)
            e1 = (x0 - x2) * (py - y2) - (y0 - y2) * (px - x2)
            e2 = (x1 - x0) * (py - y0) - (y1 - y0) * (px - x0)
            if e0 + b0 < 0 or e1 + b1 < 0 or e2 + b2 < 0:
                continue
            w = (e0 * wa + e1 * wb + e2 * wc) * scale
            if w > inverse[y, x]:
                inverse[y, x] = w
                triangle[y, x] = face
                p0, p1, p2 = e0 * scale * wa / w, e1 * scale * wb / w, e2 * scale * wc / w
                barycentric[y, x, 0] = p0 * weights[0, 0] + p1 * weights[i1, 0] + p2 * weights[i2, 0]
                barycentric[y, x, 1] = p0 * weights[0, 1] + p1 * weights[i1, 1] + p2 * weights[i2, 1]


@nb.njit(cache=True, nogil=True)
def _fill(samples, inverse_depth, faces, kind, cull, triangle, barycentric, inverse):  # type: ignore[no-untyped-def]
    """Render faces (F, 3) int32 of vertices at ``samples`` (V, 2) float64 into the arrays of a Raster."""
    weights = np.zeros((3, 2))
    weights[1, 0] = weights[2, 1] = 1.0
    for f in range(faces.shape[0]):
        if kind[f] != _DRAW:
            continue
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        _fill_triangle(
            samples[a, 0], samples[a, 1], samples[b, 0], samples[b, 1], samples[c, 0], samples[c, 1],
            inverse_depth[a], inverse_depth[b], inverse_depth[c], weights, f, cull, triangle, barycentric, inverse,
        )  # fmt: skip


@nb.njit(cache=True, nogil=True)
def _fill_polygon(samples, inverse_depth, weights, face, cull, triangle, barycentric, inverse):  # type: ignore[no-untyped-def]
    """Render a clipped face as a fan of triangles: its corners (N, 2) and their barycentric weights (N, 3)."""
    corner_weights = np.zeros((3, 2))
    for i in range(1, samples.shape[0] - 1):
        for k, v in enumerate((0, i, i + 1)):
            corner_weights[k, 0], corner_weights[k, 1] = weights[v, 1], weights[v, 2]
        _fill_triangle(
            samples[0, 0], samples[0, 1], samples[i, 0], samples[i, 1], samples[i + 1, 0], samples[i + 1, 1],
            inverse_depth[0], inverse_depth[i], inverse_depth[i + 1],
            corner_weights, face, cull, triangle, barycentric, inverse,
        )  # fmt: skip


@nb.njit(cache=True, nogil=True)
def orthographic_depth(points, faces, nearest):  # type: ignore[no-untyped-def]
    """Depth map of an orthographic view, for shadows.

    Args:
        points: (V, 3) columns and rows in cells of the map and depth, smaller is nearer.
        faces: (F, 3) int32; those that run clockwise (columns right, rows up) face away and are left out.
        nearest: (H, W) float32, initially infinite, updated in place. A face covers the cells whose centres are in it.
    """
    height, width = nearest.shape
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        x0, y0, x1, y1 = points[a, 0], points[a, 1], points[b, 0], points[b, 1]
        x2, y2 = points[c, 0], points[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area < 1e-12:
            continue
        scale = 1.0 / area
        top, bottom = max(0, int(np.ceil(min(y0, y1, y2)))), min(height - 1, int(np.floor(max(y0, y1, y2))))
        left, right = max(0, int(np.ceil(min(x0, x1, x2)))), min(width - 1, int(np.floor(max(x0, x1, x2))))
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                l0 = ((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) * scale
                l1 = ((x0 - x2) * (y - y2) - (y0 - y2) * (x - x2)) * scale
                l2 = 1.0 - l0 - l1
                if l0 >= 0 and l1 >= 0 and l2 >= 0:
                    z = l0 * points[a, 2] + l1 * points[b, 2] + l2 * points[c, 2]
                    if z < nearest[y, x]:
                        nearest[y, x] = z
