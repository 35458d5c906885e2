"""The part of a depth image around one hand, on a coarse grid, and the hand's mesh rendered on the same grid."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..geometry.compiled import compiled
from ..skeleton import mirror_points
from ..types import Camera

_CELLS = 28
"""Grid cells along the longer side of the box around a hand: about 300 of them lie on the hand."""
_MARGIN = 0.12
"""How far the grid reaches beyond the box around the keypoints, as a share of its longer side."""
_MIN_CELLS = 8
"""Smaller patches, at the edge of the image, tell nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class DepthPatch:
    """Every ``stride``-th pixel of a depth image around a hand, as the solver takes it: mirrored to a right hand.

    Attributes:
        origin: the pixel of the first cell (2,).
        stride: pixels from cell to cell.
        points: what is seen there (H, W, 3), metres; NaN where the depth is not known.
        camera: of the image.
    """

    origin: np.ndarray
    stride: int
    points: np.ndarray
    camera: Camera

    @property
    def depth(self) -> np.ndarray:
        """Along the optical axis (H, W), metres; NaN where it is not known."""
        return self.points[..., 2]

    def render(self, vertices: np.ndarray, faces: np.ndarray, mirrored: bool) -> np.ndarray:
        """Depth (H, W) of the nearest surface of a mesh in each cell, metres; infinite where there is none.

        Args:
            vertices: (V, 3), metres.
            faces: (F, 3) indices.
            mirrored: whether the vertices are mirrored, as the points may be.
        """
        seen = mirror_points(vertices) if mirrored else vertices
        cells = (self.camera.project(seen) - self.origin) / self.stride
        result = np.full(self.points.shape[:2], np.inf)
        _fill(np.ascontiguousarray(cells), np.ascontiguousarray(seen[:, 2]), faces, result)
        return result


def depth_patch(depth: np.ndarray, camera: Camera, pixels: np.ndarray, mirrored: bool) -> DepthPatch | None:
    """The depth around a hand; None where its box has too little of it.

    Args:
        depth: (H, W), metres along the optical axis, NaN where it is not known.
        camera: of the colour image, to which the depth image is registered.
        pixels: keypoints of the hand (21, 2).
        mirrored: whether the hand looks left, so that the solver takes its mirror image.
    """
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    extent = float((high - low).max())
    low, high = low - _MARGIN * extent, high + _MARGIN * extent
    stride = max(1, round(extent * (1.0 + 2.0 * _MARGIN) / _CELLS))
    size = np.array([depth.shape[1], depth.shape[0]])
    first = np.clip(np.ceil(low), 0, size).astype(int)
    last = np.clip(np.floor(high) + 1, 0, size).astype(int)
    part = depth[first[1] : last[1] : stride, first[0] : last[0] : stride].astype(np.float64)
    if min(part.shape) < _MIN_CELLS:
        return None
    rows, columns = np.indices(part.shape)
    grid = first + stride * np.stack([columns, rows], axis=-1)
    points = camera.unproject(grid.astype(np.float64)) * np.where(part > 0.0, part, np.nan)[..., None]
    points = np.where(np.isfinite(points).all(axis=-1, keepdims=True), points, np.nan)
    return DepthPatch(first, stride, mirror_points(points) if mirrored else points, camera)


def rendered_depth(vertices: np.ndarray, faces: np.ndarray, camera: Camera) -> np.ndarray:
    """The depth image (H, W) of a mesh alone, metres, infinite where it is not; arguments as in
    :meth:`DepthPatch.render`."""
    result = np.full((camera.height, camera.width), np.inf)
    _fill(np.ascontiguousarray(camera.project(vertices)), np.ascontiguousarray(vertices[:, 2]), faces, result)
    return result


@compiled
def _fill(cells, depth, faces, result):  # type: ignore[no-untyped-def]
    """Write the nearest depth of triangles (F, 3) at ``cells`` (V, 2) into the grid; those behind the camera are left
    out."""
    height, width = result.shape
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        xa, ya, xb, yb, xc, yc = cells[a, 0], cells[a, 1], cells[b, 0], cells[b, 1], cells[c, 0], cells[c, 1]
        area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        # Not a number where a corner has no projection.
        if not abs(area) > 1e-9 or not min(depth[a], depth[b], depth[c]) > 0.0:
            continue
        left, right = max(0, int(np.ceil(min(xa, xb, xc)))), min(width - 1, int(np.floor(max(xa, xb, xc))))
        top, bottom = max(0, int(np.ceil(min(ya, yb, yc)))), min(height - 1, int(np.floor(max(ya, yb, yc))))
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                wb = ((x - xa) * (yc - ya) - (xc - xa) * (y - ya)) / area
                wc = ((xb - xa) * (y - ya) - (x - xa) * (yb - ya)) / area
                if wb < 0.0 or wc < 0.0 or wb + wc > 1.0:
                    continue
                z = 1.0 / ((1.0 - wb - wc) / depth[a] + wb / depth[b] + wc / depth[c])
                if z < result[y, x]:
                    result[y, x] = z
