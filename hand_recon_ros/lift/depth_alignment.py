"""A depth image as evidence of one hand: its visible skin is fitted to what the depth image shows.

First the hand is moved along its viewing ray to where most of the depth under its rendered mesh agrees: a mode, which
neither the background nor an object in front of a part of the hand moves. Then the points of the depth image are
assigned to the nearest visible vertices, and their distances along the normals are residuals of the Gauss-Newton steps,
by Huber's loss (articulated ICP; Tagliasacchi et al., "Robust Articulated-ICP for Real-Time Hand Tracking", 2015).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..geometry.hand_kinematics import Pose, Posed, Template
from ..types import Camera
from .depth_patch import DepthPatch, depth_patch
from .hand_surface import HandSurface, PosedSurface, nearest_vertices

_WINDOW = 0.02
"""Width, metres, of the interval of distances in which the mode is searched: skin that the pose has wrong is inside."""
_MIN_GATE, _MAX_GATE, _GATE_STDDEVS = 0.06, 0.3, 4.0
"""The hand is searched along its ray within so many standard deviations of the distance by the image alone, and within
these limits, metres."""
_MIN_POINTS = 30
_MIN_SHARE = 0.3
"""Least number of depth values that agree, and least share of the cells of the rendered hand that have depth."""
_RING, _RING_DISTANCE, _MAX_RING_SHARE = 2, 0.006, 0.7
"""Where the depth changes by less than this distance, metres, over so many cells, across this share of the outline of
the rendered hand, it is that of a surface behind the hand, or no depth image at all."""
_REACH = 0.03
"""Points farther than this, metres, outside the box around the mesh are not looked at."""
_MAX_POINT_DISTANCE = 0.02
"""Points farther from the mesh than this, metres, are not the hand's."""
_HUBER = 0.004
SURFACE_SIGMA = 0.004
"""Standard deviation, metres, of the skin of a hand about the mesh of its estimate."""
SENSOR_SIGMA = 0.004
"""Standard deviation of a stereo camera's depth per square metre of it, 1/m: 4 mm at one metre."""
_EFFECTIVE_POINTS = 300.0
"""Neighbouring points have their errors in common: all of a hand count at most as much as so many independent ones."""


def distance_offset(patch: DepthPatch, own: np.ndarray, others: np.ndarray, position_stddev: float) -> float | None:
    """How much farther along the optical axis the depth image shows a hand than its mesh lies, metres; None where the
    depth does not show the hand.

    Args:
        patch: the depth around the hand.
        own: depth of its mesh, rendered on the patch (H, W), infinite where it is not.
        others: the same of the other hand; infinite everywhere where there is none.
        position_stddev: of the hand's distance by the image alone, metres.
    """
    gate = min(max(_GATE_STDDEVS * position_stddev, _MIN_GATE), _MAX_GATE)
    covered = np.isfinite(own)
    clear = covered & ~np.isfinite(others)
    if clear.sum() < _MIN_SHARE * covered.sum():
        clear = covered & (own < others)
    known = clear & np.isfinite(patch.depth)
    offsets = np.sort((patch.depth - own)[known])
    offsets = offsets[np.abs(offsets) <= gate]
    if len(offsets) == 0:
        return None
    ends = np.searchsorted(offsets, offsets + _WINDOW, side="right")
    start = int(np.argmax(ends - np.arange(len(offsets))))
    window = offsets[start : ends[start]]
    if len(window) < max(_MIN_POINTS, _MIN_SHARE * clear.sum()):
        return None
    offset = float(np.median(window))
    return None if _is_flat(patch, covered) else offset


def _is_flat(patch: DepthPatch, covered: np.ndarray) -> bool:
    """Whether the depth goes on across the outline of the rendered hand ``covered`` (H, W) as if there was no hand."""
    inside = np.where(covered, patch.depth, np.nan)
    beside = ~covered & np.isfinite(patch.depth)
    compared, continues = 0, 0
    for axis, step in ((0, _RING), (0, -_RING), (1, _RING), (1, -_RING)):
        change = np.abs(patch.depth - np.roll(inside, step, axis))[beside]
        change = change[np.isfinite(change)]
        compared += len(change)
        continues += int((change < _RING_DISTANCE).sum())
    return compared >= _MIN_POINTS and continues > _MAX_RING_SHARE * compared


@dataclasses.dataclass(eq=False)
class SurfaceTerm:
    """What the depth image adds to the normal equations of one hand.

    Attributes:
        surface: of the hand's model.
        points: of the depth image that may be the hand's (N, 3), metres, mirrored as the hand.
        sigma: standard deviation of each point (N,), metres.
        scale: factor on the wrist's position that moves the hand along its ray to where the depth shows it.
        expected: how many of the points must lie on the hand's skin.
        inliers: how many lay on it at the last step.
    """

    surface: HandSurface
    points: np.ndarray
    sigma: np.ndarray
    scale: float
    expected: float
    inliers: int = 0

    def add(self, template: Template, pose: Pose, posed: Posed, normal: np.ndarray, gradient: np.ndarray) -> None:
        """Add J^T J to ``normal`` (P, P) and J^T r to ``gradient`` (P,): the points' distances from the posed skin,
        together at most as much as ``_EFFECTIVE_POINTS`` independent ones."""
        skin, index, points, error = self._assigned(pose, posed)
        self.inliers = int((np.abs(error) < 2.0 * _HUBER).sum())
        normals, sigma = skin.normals[index], self.sigma[points]
        robust = np.minimum(1.0, _HUBER / np.maximum(np.abs(error), 1e-9))
        weight = robust / sigma**2 * min(1.0, _EFFECTIVE_POINTS / max(len(index), 1))
        rows = self.surface.rows(template, posed, skin, index, normals)
        weighted = rows * weight[:, None]
        normal += weighted.T @ rows
        gradient += weighted.T @ error

    @property
    def fits(self) -> bool:
        """Whether enough of the points lay on the posed skin at the last step."""
        return self.inliers >= self.expected

    def _assigned(self, pose: Pose, posed: Posed) -> tuple[PosedSurface, np.ndarray, np.ndarray, np.ndarray]:
        """The skin; the K vertices and the K points that belong together; and the distances (K,) along the normals."""
        skin = self.surface.posed(posed.rotations[0], pose.betas[0], pose.wrist[0])
        vertices = nearest_vertices(self.points, skin, _MAX_POINT_DISTANCE)
        used = np.flatnonzero(vertices >= 0)
        index = vertices[used]
        error = np.sum(skin.normals[index] * (skin.vertices[index] - self.points[used]), axis=1)
        return skin, index, used, error


def aligned_terms(
    surfaces: Sequence[HandSurface],
    pose: Pose,
    posed: Posed,
    pixels: np.ndarray,
    stddevs: Sequence[float],
    mirrored: Sequence[bool],
    depth: np.ndarray,
    camera: Camera,
) -> list[SurfaceTerm | None]:
    """What a depth image adds for each of B hands that were solved without it; None for those it does not show.

    Args:
        surfaces: of their models.
        pose, posed: the solution, as right hands.
        pixels: their keypoints in the image (B, 21, 2).
        stddevs: of each wrist along its ray, metres.
        mirrored: whether each was mirrored to a right hand.
        depth: (H, W), metres, NaN where it is not known; registered to the image of ``camera``.
        camera: of the image.
    """
    count = len(surfaces)
    patches = [depth_patch(depth, camera, pixels[i], mirrored[i]) for i in range(count)]
    skins = [surfaces[i].posed(posed.rotations[i], pose.betas[i], pose.wrist[i]).vertices for i in range(count)]

    def rendered(patch: DepthPatch, hand: int) -> np.ndarray:
        return patch.render(skins[hand], surfaces[hand].faces, mirrored[hand])

    def others(patch: DepthPatch, hand: int) -> np.ndarray:
        nothing = np.full(patch.depth.shape, np.inf)
        return nothing if count == 1 else rendered(patch, 1 - hand)

    offsets = [
        None if patch is None else distance_offset(patch, rendered(patch, i), others(patch, i), stddevs[i])
        for i, patch in enumerate(patches)
    ]
    scales = [1.0 if offset is None else 1.0 + offset / pose.wrist[i, 2] for i, offset in enumerate(offsets)]
    for i, scale in enumerate(scales):
        skins[i] = skins[i] + (scale - 1.0) * pose.wrist[i]
    terms: list[SurfaceTerm | None] = []
    for i, (patch, offset) in enumerate(zip(patches, offsets, strict=True)):
        if patch is None or offset is None:
            terms.append(None)
            continue
        own, other = rendered(patch, i), others(patch, i)
        with np.errstate(invalid="ignore"):
            # What lies nearer to the other hand's skin is the other hand's.
            foreign = np.isfinite(other) & ~(np.abs(patch.depth - own) < np.abs(patch.depth - other))
            near = np.all(
                (patch.points > skins[i].min(axis=0) - _REACH) & (patch.points < skins[i].max(axis=0) + _REACH), 2
            )
        points = np.ascontiguousarray(patch.points[near & ~foreign])
        sigma = np.hypot(SURFACE_SIGMA, SENSOR_SIGMA * points[:, 2] ** 2)
        expected = max(_MIN_POINTS, _MIN_SHARE * float((np.isfinite(own) & ~np.isfinite(other)).sum()))
        terms.append(SurfaceTerm(surfaces[i], points, sigma, scales[i], expected))
    return terms
