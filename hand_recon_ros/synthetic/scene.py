"""A scene of up to two hands, and its image with ground truth."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from ..camera import Camera
from ..hand_model import HandModel
from ..types import Side
from .backgrounds import background
from .lighting import Lighting, sky_irradiance
from .photometric import CameraResponse, simulate_camera
from .rasterizer import Viewport, rasterize
from .shading import shade
from .skin import Appearance, bake_texture
from .surface import ARM_OWNER, FOREARM, HAND, NO_OWNER, SLEEVE, Arm, Surface, limb_topology


@dataclasses.dataclass(frozen=True, eq=False)
class HandPose:
    """A posed hand, in the parameters of the hand model.

    Attributes:
        side: of the hand.
        rotations: (16, 3, 3), order of skeleton.JOINT_NAMES; the first is the orientation.
        betas: (10,).
        translation: (3,) metres, camera frame.
        arm: forearm and sleeve.
    """

    side: Side
    rotations: np.ndarray
    betas: np.ndarray
    translation: np.ndarray
    arm: Arm = Arm()


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """Everything that determines an image.

    Attributes:
        hands: at most one of each side.
        camera: that takes the image.
        lighting: lamps and soft light.
        appearance: of the person.
        response: of the camera.
        background: kind and seed of :func:`backgrounds.background`, or a linear RGB image (H, W, 3).
        noise_seed: of the sensor noise.

    Raises ValueError for two hands of one side.
    """

    hands: tuple[HandPose, ...]
    camera: Camera
    lighting: Lighting
    appearance: Appearance = Appearance()
    response: CameraResponse = CameraResponse()
    background: tuple[str, int] | np.ndarray = ("room", 0)
    noise_seed: int = 0

    def __post_init__(self) -> None:
        sides = [hand.side for hand in self.hands]
        if len(set(sides)) != len(sides):
            raise ValueError(f"a scene holds at most one hand of each side, got {[side.label for side in sides]}")


@dataclasses.dataclass(frozen=True, eq=False)
class Rendering:
    """An image and its ground truth. Arrays with two slots are left, right; an absent hand is NaN or empty.

    Attributes:
        image: uint8 (H, W, 3) BGR.
        depth: of hands, forearms and sleeves along the optical axis (H, W) float32, metres; infinite elsewhere.
        visible: pixels where each hand is visible (2, H, W) bool, forearms excluded.
        amodal: pixels each hand would cover if it were alone, without its sleeve (2, H, W) bool.
        joints: keypoints (2, 21, 3), metres, camera frame.
        keypoints_2d: (2, 21, 2) pixels.
        keypoint_visible: whether a keypoint is in the image and only the skin above it is in front of it (2, 21) bool.
        vertices: (2, V, 3), metres.
    """

    image: np.ndarray
    depth: np.ndarray
    visible: np.ndarray
    amodal: np.ndarray
    joints: np.ndarray
    keypoints_2d: np.ndarray
    keypoint_visible: np.ndarray
    vertices: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Limb:
    """A posed hand and its rendered surface: vertices (V, 3) of the hand mesh, joints (21, 3); metres, camera frame."""

    pose: HandPose
    vertices: np.ndarray
    joints: np.ndarray
    surface: Surface


def render_scene(scene: Scene, hand_model: HandModel, supersampling: int = 2) -> Rendering:
    """Render a scene with its ground truth.

    Args:
        scene: to render.
        hand_model: of the scene's hands.
        supersampling: samples per pixel along each axis; the ground truth is sampled at pixel centres.

    Raises ValueError where the scene's background is not of its camera's size.
    """
    camera = scene.camera
    limbs = [pose_limb(pose, hand_model) for pose in scene.hands]
    linear = _background(scene)
    truth = _ground_truth(limbs, camera, hand_model)
    if limbs:
        surface = merge_surfaces([limb.surface for limb in limbs])
        viewport = _viewport(surface.vertices, camera)
        if viewport.width and viewport.height:
            linear = linear.copy()
            linear[viewport.rows, viewport.columns] = _shade(
                scene, limbs, surface, viewport, hand_model, supersampling, linear
            )
    image = simulate_camera(linear, scene.response, scene.noise_seed)
    return Rendering(image=image, **truth)


def pose_limb(pose: HandPose, hand_model: HandModel) -> Limb:
    """Mesh, keypoints and rendered surface of a pose."""
    vertices = hand_model.mesh(pose.side, pose.rotations, pose.betas, pose.translation)
    joints, _ = hand_model.kinematics(pose.side).forward(pose.rotations, pose.betas, pose.translation)
    surface = limb_topology(hand_model, pose.side).surface(vertices, joints, pose.arm)
    return Limb(pose, vertices, joints, surface)


def merge_surfaces(surfaces: Sequence[Surface]) -> Surface:
    """Several surfaces as one mesh."""
    starts = np.cumsum([0, *(len(surface.vertices) for surface in surfaces[:-1])])
    faces = [surface.faces + start for surface, start in zip(surfaces, starts, strict=True)]
    return Surface(
        np.concatenate([surface.vertices for surface in surfaces]),
        np.concatenate([surface.normals for surface in surfaces]),
        np.concatenate(faces).astype(np.int32),
        np.concatenate([surface.kinds for surface in surfaces]),
    )


def _background(scene: Scene) -> np.ndarray:
    if isinstance(scene.background, np.ndarray):
        expected = (scene.camera.height, scene.camera.width, 3)
        if scene.background.shape != expected:
            raise ValueError(f"background has shape {scene.background.shape}, expected {expected}")
        return np.ascontiguousarray(scene.background, dtype=np.float32)
    kind, seed = scene.background
    return background(kind, scene.camera.height, scene.camera.width, seed)


def _shade(
    scene: Scene,
    limbs: list[Limb],
    surface: Surface,
    viewport: Viewport,
    hand_model: HandModel,
    supersampling: int,
    linear: np.ndarray,
) -> np.ndarray:
    textures = [_texture(hand_model, limb.pose.side, limb.pose.arm.sleeve, scene.appearance) for limb in limbs]
    raster = rasterize(surface.vertices, surface.faces, scene.camera, viewport, supersampling)
    texture = np.concatenate(textures)
    bounce = texture[:, :, :3].mean(axis=(0, 1)).astype(np.float64)
    occluders = coarse_faces(limbs, hand_model)
    light = sky_irradiance(surface.vertices, surface.normals, occluders, scene.lighting, bounce)
    behind = np.ascontiguousarray(linear[viewport.rows, viewport.columns])
    return shade(raster, surface, texture, light, scene.lighting, behind, supersampling)


_texture = functools.lru_cache(maxsize=8)(bake_texture)


def coarse_faces(limbs: list[Limb], hand_model: HandModel) -> np.ndarray:
    """Faces that block soft light (F, 3): the hands without subdivision, and the outer of sleeve and forearm."""
    faces, start = [], 0
    for limb in limbs:
        coarse = limb_topology(hand_model, limb.pose.side).base_faces
        outer = SLEEVE if (limb.surface.kinds == SLEEVE).any() else FOREARM
        faces += [coarse + start, limb.surface.faces[limb.surface.kinds == outer] + start]
        start += len(limb.surface.vertices)
    return np.concatenate(faces).astype(np.int32)


DEPTHS_UNDER_SKIN = np.array([0.034, 0.028, 0.020, 0.014, 0.009, *(0.026, 0.015, 0.013, 0.009) * 4])
"""Largest depth of each keypoint under its own skin (21,), metres."""


def _ground_truth(limbs: list[Limb], camera: Camera, hand_model: HandModel) -> dict[str, np.ndarray]:
    """All attributes of the Rendering but its image."""
    shape = (camera.height, camera.width)
    amodal, visible = np.zeros((2, *shape), dtype=bool), np.zeros((2, *shape), dtype=bool)
    joints, keypoints = np.full((2, 21, 3), np.nan), np.full((2, 21, 2), np.nan)
    vertices = np.full((2, hand_model.num_vertices, 3), np.nan, dtype=np.float32)
    keypoint_visible = np.zeros((2, 21), dtype=bool)
    inverse = np.zeros(shape, dtype=np.float32)
    owner = np.full(shape, NO_OWNER, dtype=np.int8)
    for limb in limbs:
        side, surface = limb.pose.side, limb.surface
        joints[side], vertices[side] = limb.joints, limb.vertices
        keypoints[side] = camera.project(limb.joints)
        viewport = _viewport(surface.vertices, camera)
        part = viewport.rows, viewport.columns
        raster = rasterize(surface.vertices, surface.faces, camera, viewport)
        nearer = raster.inverse_depth > inverse[part]
        inverse[part][nearer] = raster.inverse_depth[nearer]
        hand_count = int((surface.kinds == HAND).sum())
        owner[part][nearer] = int(side) + ARM_OWNER * (raster.triangle[nearer] >= hand_count)
        alone = rasterize(surface.vertices, surface.faces[:hand_count], camera, viewport)
        amodal[side][part] = alone.triangle >= 0
    for limb in limbs:
        side = limb.pose.side
        visible[side] = owner == int(side)
        keypoint_visible[side] = _visible_keypoints(keypoints[side], joints[side, :, 2], inverse, owner, side)
    with np.errstate(divide="ignore"):
        depth = 1.0 / inverse
    return {
        "depth": depth,
        "visible": visible,
        "amodal": amodal,
        "joints": joints,
        "keypoints_2d": keypoints,
        "keypoint_visible": keypoint_visible,
        "vertices": vertices,
    }


def _viewport(vertices: np.ndarray, camera: Camera) -> Viewport:
    """The part of the image that vertices (V, 3) may project to."""
    if (vertices[:, 2] < 0.05).any():
        return Viewport(0, 0, camera.width, camera.height)
    return Viewport.around(camera.project(vertices), camera)


def _visible_keypoints(
    pixels: np.ndarray, depth: np.ndarray, inverse: np.ndarray, owner: np.ndarray, side: Side
) -> np.ndarray:
    """Which keypoints of a side (21,) have only the skin right above in front of them.

    ``pixels`` (21, 2) and ``depth`` (21,), metres, are the keypoints'; ``inverse`` and ``owner`` (H, W) the image's.
    """
    height, width = inverse.shape
    with np.errstate(invalid="ignore"):
        inside = np.all((pixels >= -0.5) & (pixels < (width - 0.5, height - 0.5)), axis=-1)
    columns, rows = np.where(inside[:, None], np.nan_to_num(np.rint(pixels)), 0).astype(int).T
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    own = np.isin(owner[rows, columns], (NO_OWNER, int(side), int(side) + ARM_OWNER))
    return inside & own & (inverse[rows, columns] * (depth - DEPTHS_UNDER_SKIN) < 1.0)
