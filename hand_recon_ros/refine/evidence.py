"""What was seen of each hand, in the form the solver wants it: as right hands, normalised, with its precision."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..hand_model import rotations_towards
from ..locate import Observation
from ..skeleton import KEYPOINT_PARENTS, PALM, mirror_points
from ..types import Camera, Side

CHILDREN = np.arange(1, 21)
PARENTS = KEYPOINT_PARENTS[1:]
"""The two ends of each bone, keypoint indices (20,)."""

WORLD_DEPTH_WEIGHT = 0.35
"""Share of the metric landmarks' own depth; the rest comes from the image landmarks' depth. The two err differently:
the first is too flat, the second too steep."""
SCREEN_DEPTH_GAIN = 0.7
PIXEL_SIGMA = 0.022
"""Standard deviation of a landmark in the image, in units of the hand's extent there."""
DIRECTION_SIGMA = 0.2
"""Standard deviation of a bone's direction (rad)."""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What was seen of B hands, mirrored to right hands: normalised image points (B, 21, 2) and their inverse standard
    deviations (B, 21), metric shape around the wrist (B, 21, 3), unit bone directions (B, 20, 3), weights (B, 20)."""

    points: np.ndarray
    precision: np.ndarray
    shape: np.ndarray
    directions: np.ndarray
    direction_precision: np.ndarray


def gather(observations: Sequence[Observation], camera: Camera) -> Evidence:
    """The evidence of several observations in images of ``camera``, each hand that looks left mirrored."""
    pixels = np.stack([observation.keypoints_2d for observation in observations]).astype(np.float64)
    world = np.stack([observation.world for observation in observations]).astype(np.float64)
    screen = np.stack([observation.screen_depth for observation in observations]).astype(np.float64)
    scores = np.stack([observation.joint_scores for observation in observations]).astype(np.float64)
    rays = camera.unproject(pixels)
    centred, centred_world = pixels - pixels.mean(axis=1, keepdims=True), world - world.mean(axis=1, keepdims=True)
    extent = np.sqrt(np.mean(np.sum(centred**2, axis=-1), axis=1))
    size = np.sqrt(np.mean(np.sum(centred_world[..., :2] ** 2, axis=-1), axis=1))
    depth = screen * (SCREEN_DEPTH_GAIN * size / np.maximum(extent, 1e-6))[:, None]
    world = world - world[:, :1]
    world[..., 2] = WORLD_DEPTH_WEIGHT * world[..., 2] + (1.0 - WORLD_DEPTH_WEIGHT) * (depth - depth[:, :1])
    # The landmark network sees each hand as if in the middle of an image: turn its axes to the ray through the palm.
    palm_ray = rays[:, PALM].mean(axis=1)
    world = world @ np.swapaxes(rotations_towards(palm_ray), -1, -2)
    for i, observation in enumerate(observations):
        if observation.shown_side == Side.LEFT:
            rays[i], world[i] = mirror_points(rays[i]), mirror_points(world[i])
    points = rays[..., :2]
    spread = points - points.mean(axis=1, keepdims=True)
    scale = np.sqrt(np.mean(np.sum(spread**2, axis=-1), axis=1)) * 2.0
    # One layout whatever the number of hands: the solver is compiled for it.
    bones = np.ascontiguousarray(world[:, CHILDREN] - world[:, PARENTS])
    lengths = np.maximum(np.linalg.norm(bones, axis=-1, keepdims=True), 1e-6)
    weights = np.clip(scores, 0.02, 1.0)
    certain = np.ascontiguousarray(np.minimum(weights[:, CHILDREN], weights[:, PARENTS]))
    return Evidence(
        points=np.ascontiguousarray(points),
        precision=weights / (PIXEL_SIGMA * np.maximum(scale, 1e-4))[:, None],
        shape=world,
        directions=bones / lengths,
        direction_precision=certain / DIRECTION_SIGMA,
    )
