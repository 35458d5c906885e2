"""Training samples of scenes: image, labels and depth from one pass of the rasteriser."""

from __future__ import annotations

import dataclasses

import numba as nb
import numpy as np

from ..calibration import scaled_camera
from ..camera import Camera
from ..datasets.sample import BACKGROUND, OTHER, Sample
from ..hand_model import HandModel
from ..types import Side
from .accessory_fitting import PosedBand, pose_accessory
from .identities import limb_texture, mean_colour
from .lighting import sky_irradiance
from .occluders import SceneObject
from .rasterizer import Raster, rasterize
from .scene import DEPTHS_UNDER_SKIN, Limb, coarse_faces, merge_surfaces, pose_limb
from .shading import shade
from .surface import ARM_OWNER, HAND, NO_OWNER, SLEEVE, Surface, limb_topology
from .training_scenes import TrainingScene, place_background

_SUPERSAMPLING = 2
_SKY_DIRECTIONS, _SKY_CELL, _LAMP_CELL = 8, 0.006, 0.0018


@dataclasses.dataclass(frozen=True, eq=False)
class _Mesh:
    """All rendered faces as one surface, limbs first; ``owners`` (F,) int8 are theirs (see :mod:`surface`)."""

    limbs: list[Limb]
    objects: list[tuple[SceneObject | PosedBand, Surface]]
    surface: Surface
    owners: np.ndarray


def render_crop(scene: TrainingScene, hand_model: HandModel) -> Sample:
    """The scene's crop as a sample."""
    return _render(scene, hand_model, scene.crop_camera, whole=False)


def render_frame(scene: TrainingScene, hand_model: HandModel, width: int = 320, height: int = 240) -> Sample:
    """The scene's whole frame at a reduced size as a sample, for hand detection.

    The image is at most ``width`` x ``height`` pixels with the frame's aspect ratio.
    """
    factor = min(width / scene.camera.width, height / scene.camera.height)
    size = round(scene.camera.width * factor), round(scene.camera.height * factor)
    return _render(scene, hand_model, scaled_camera(scene.camera, *size), whole=True)


def hidden_keypoints(scene: TrainingScene, hand_model: HandModel) -> np.ndarray:
    """:attr:`Sample.occluded` of the scene's crop (2, 21) bool, without rendering its image."""
    mesh = _mesh(scene, hand_model)
    owner, inverse = _ground_truth(_rasterize(mesh, scene.crop_camera), mesh.owners, scene, scene.crop_camera)
    return _keypoint_flags(scene, scene.crop_camera, owner, inverse)[1]


def _mesh(scene: TrainingScene, hand_model: HandModel) -> _Mesh:
    limbs = [pose_limb(pose, hand_model) for pose in scene.hands]
    accessories = [
        part
        for accessory in scene.accessories
        for limb in limbs
        if limb.pose.side == accessory.side
        for part in pose_accessory(accessory, limb, hand_model)
    ]
    objects = [(item, item.surface()) for item in (*scene.objects, *accessories)]
    owners = [
        np.where(limb.surface.kinds == HAND, int(limb.pose.side), int(limb.pose.side) + ARM_OWNER).astype(np.int8)
        for limb in limbs
    ]
    owners += [np.full(len(surface.faces), item.owner, dtype=np.int8) for item, surface in objects]
    surface = merge_surfaces([*(limb.surface for limb in limbs), *(surface for _, surface in objects)])
    return _Mesh(limbs, objects, surface, np.concatenate(owners))


def _rasterize(mesh: _Mesh, camera: Camera) -> Raster:
    """Front faces only, except cloth: the inside of a cuff is visible."""
    surface = mesh.surface
    visible = _front_faces(surface.vertices, surface.faces, surface.kinds == SLEEVE)
    raster = rasterize(surface.vertices, surface.faces[visible], camera, None, _SUPERSAMPLING)
    _relabel(raster.triangle, visible)
    return raster


@nb.njit(cache=True, nogil=True)
def _front_faces(vertices, faces, always):  # type: ignore[no-untyped-def]
    """Indices (K,) int32 of the faces (F, 3) int32 that are seen from the front, or ``always`` (F,) bool."""
    visible = np.empty(faces.shape[0], dtype=np.int32)
    count = 0
    for f in range(faces.shape[0]):
        a, b, c = vertices[faces[f, 0]], vertices[faces[f, 1]], vertices[faces[f, 2]]
        ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        volume = a[0] * (uy * vz - uz * vy) + a[1] * (uz * vx - ux * vz) + a[2] * (ux * vy - uy * vx)
        if volume < 0.0 or always[f]:
            visible[count] = f
            count += 1
    return visible[:count]


@nb.njit(cache=True, nogil=True)
def _relabel(triangle, visible):  # type: ignore[no-untyped-def]
    """Replace indices into ``visible`` (K,) int32 by its values, in place, in ``triangle`` (H, W) int32."""
    for y in range(triangle.shape[0]):
        for x in range(triangle.shape[1]):
            if triangle[y, x] >= 0:
                triangle[y, x] = visible[triangle[y, x]]


def _ground_truth(
    raster: Raster, owners: np.ndarray, scene: TrainingScene, camera: Camera
) -> tuple[np.ndarray, np.ndarray]:
    """Owner (H, W) int8 and inverse depth (H, W) float32 of every pixel; none outside the frame."""
    owner = np.empty((camera.height, camera.width), dtype=np.int8)
    inverse = np.empty(owner.shape, dtype=np.float32)
    _resolve(raster.triangle, raster.inverse_depth, owners, owner, inverse)
    outside = ~_inside_frame(scene, camera)
    owner[outside], inverse[outside] = NO_OWNER, 0.0
    return owner, inverse


@nb.njit(cache=True, nogil=True)
def _resolve(triangle, inverse_depth, owners, owner, inverse):  # type: ignore[no-untyped-def]
    """Write ``owner`` (H, W) int8 and ``inverse`` (H, W) float32 from ``triangle`` (2H, 2W) int32 and ``inverse_depth``
    (2H, 2W) float32: the owner of most of a pixel's four samples, the nearer of two that have the same number."""
    height, width = owner.shape
    for y in range(height):
        for x in range(width):
            best, best_count, best_depth = -1, 0, 0.0
            for k in range(4):
                f = triangle[2 * y + k // 2, 2 * x + k % 2]
                mine = owners[f] if f >= 0 else -1
                count, total = 0, 0.0
                for j in range(4):
                    g = triangle[2 * y + j // 2, 2 * x + j % 2]
                    if (owners[g] if g >= 0 else -1) == mine:
                        count += 1
                        total += inverse_depth[2 * y + j // 2, 2 * x + j % 2]
                if count > best_count or (count == best_count and total / count > best_depth):
                    best, best_count, best_depth = mine, count, total / count
            owner[y, x] = best
            inverse[y, x] = best_depth


def _inside_frame(scene: TrainingScene, camera: Camera) -> np.ndarray:
    """Which pixels (H, W) of a crop are inside the frame."""
    frame, K = scene.camera, camera.K
    columns = (np.arange(camera.width) - K[0, 2]) * (frame.K[0, 0] / K[0, 0]) + frame.K[0, 2]
    rows = (np.arange(camera.height) - K[1, 2]) * (frame.K[1, 1] / K[1, 1]) + frame.K[1, 2]
    within = (columns > -0.5) & (columns < frame.width - 0.5)
    return ((rows > -0.5) & (rows < frame.height - 0.5))[:, None] & within


def _keypoint_flags(
    scene: TrainingScene, camera: Camera, owner: np.ndarray, inverse: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Visible and occluded keypoints, (2, 21) bool each."""
    visible, occluded = np.zeros((2, 21), dtype=bool), np.zeros((2, 21), dtype=bool)
    height, width = owner.shape
    for hand in scene.hands:
        side, depth = int(hand.side), scene.joints[hand.side, :, 2]
        pixels, frame = camera.project(scene.joints[side]), scene.camera.project(scene.joints[side])
        inside = np.all((pixels >= -0.5) & (pixels < (width - 0.5, height - 0.5)), axis=1)
        inside &= np.all((frame > -0.5) & (frame < (scene.camera.width - 0.5, scene.camera.height - 0.5)), axis=1)
        columns, rows = np.where(inside[:, None], np.rint(pixels), 0).astype(int).T
        front, above = owner[rows, columns], inverse[rows, columns]
        foreign = ~np.isin(front, (NO_OWNER, side, side + ARM_OWNER))
        occluded[side] = inside & foreign & (above * depth > 1.0)
        visible[side] = inside & ~occluded[side] & (foreign | (above * (depth - DEPTHS_UNDER_SKIN) < 1.0))
    return visible, occluded


def _render(scene: TrainingScene, hand_model: HandModel, camera: Camera, whole: bool) -> Sample:
    mesh = _mesh(scene, hand_model)
    raster = _rasterize(mesh, camera)
    owner, inverse = _ground_truth(raster, mesh.owners, scene, camera)
    linear = _shade(scene, hand_model, mesh, raster, place_background(scene, camera, whole))
    image = (scene.augmentation.for_frame() if whole else scene.augmentation).apply(linear)
    image[~_inside_frame(scene, camera)] = 0
    visible, occluded = _keypoint_flags(scene, camera, owner, inverse)
    with np.errstate(divide="ignore"):
        depth = (1.0 / inverse).astype(np.float32)
    rotations, betas = np.full((2, 16, 3, 3), np.nan), np.full((2, 10), np.nan)
    translation, present = np.full((2, 3), np.nan), np.zeros(2, dtype=bool)
    for hand in scene.hands:
        rotations[hand.side], betas[hand.side] = hand.rotations, hand.betas
        translation[hand.side], present[hand.side] = hand.translation, True
    return Sample(
        image=image,
        camera=camera,
        frame_camera=scene.camera,
        present=present,
        rotations=rotations,
        betas=betas,
        translation=translation,
        joints=scene.joints,
        keypoints_2d=camera.project(scene.joints),
        keypoint_visible=visible,
        occluded=occluded,
        labels=_LABELS[owner],
        depth=depth,
        name=f"synthetic/{scene.split}/{scene.seed}/{scene.number}",
        arrangement=scene.arrangement,
        seed=scene.seed,
    )


# By owner; the last is for NO_OWNER.
_LABELS = np.array([1 + Side.LEFT, 1 + Side.RIGHT, OTHER, OTHER, OTHER, BACKGROUND], dtype=np.uint8)


def _shade(scene: TrainingScene, hand_model: HandModel, mesh: _Mesh, raster: Raster, behind: np.ndarray) -> np.ndarray:
    surface, number = mesh.surface, scene.person.number
    textures = [limb_texture(hand_model, limb.pose.side, number) for limb in mesh.limbs]
    textures += [item.texture(item_surface) for item, item_surface in mesh.objects]
    bounce = np.mean([mean_colour(hand_model, limb.pose.side, number) for limb in mesh.limbs], axis=0)
    # Soft light is computed at the vertices of the hand meshes, the arms and the objects, not between them.
    computed = np.zeros(len(surface.vertices), dtype=bool)
    ends, middles = [], []
    start = 0
    for limb in mesh.limbs:
        topology = limb_topology(hand_model, limb.pose.side)
        base, count = topology.base_count, topology.base_count + len(topology.edges)
        computed[start : start + base] = computed[start + topology.ring] = True
        middles.append(start + np.arange(base, count))
        ends.append(start + topology.edges)
        start += len(limb.surface.vertices)
        computed[start - len(limb.surface.vertices) + count :] = True
        computed[start:] = False
    computed[start:] = True
    index = np.cumsum(computed, dtype=np.int32) - 1
    objects = surface.faces[sum(len(limb.surface.faces) for limb in mesh.limbs) :]
    occluders = np.concatenate([coarse_faces(mesh.limbs, hand_model), objects])
    light = np.zeros((len(computed), 3))
    light[computed] = sky_irradiance(
        surface.vertices[computed],
        surface.normals[computed],
        index[occluders].astype(np.int32),
        scene.lighting,
        bounce,
        count=_SKY_DIRECTIONS,
        cell=_SKY_CELL,
    )
    # Soft light varies slowly: vertices in the middle of an edge have the mean of its ends.
    middle, end = np.concatenate(middles), np.concatenate(ends)
    light[middle] = (light[end[:, 0]] + light[end[:, 1]]) / 2
    texture = np.concatenate(textures)
    return shade(raster, surface, texture, light, scene.lighting, behind, _SUPERSAMPLING, _LAMP_CELL, 1)
