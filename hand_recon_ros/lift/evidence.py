"""The evidence of each hand, as the solver takes it: mirrored to right hands, normalised, with its precision."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..detect.duplicates import box_overlap
from ..geometry.rotations import rotations_towards
from ..landmarks.observation import Observation
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
STDDEV_FACTOR_ALONE, STDDEV_FACTOR_OVERLAPPING = 1.4, 0.35
"""Factors on the standard deviations that the encoder predicts for a hand by itself and for hands that touch or overlap
in the image. The landmark network was trained on real hands seen alone, the encoder on rendered ones that occlude each
other: the first has more weight where a hand is alone, the second where two overlap. On photographs of single hands
with annotated fingertips (TI1K) these scatter alike with factors of 0.7 to 2, and more with landmarks alone. An encoder
of photographs has the second factor in both cases."""
WRIST_STDDEV_FACTOR = 0.5
"""Factor on the standard deviation of the wrist's distance that the encoder predicts. It predicts 12 % of the distance
in head-mounted clips and 9 % in others; its error in clips of ``val`` is half of that, and in photographs it agrees
with the distance by the landmarks within 3 to 8 %."""
_MARGIN = 0.05
"""By which the boxes of the keypoints are enlarged on each side, as a part of their size: hands side by side touch
where these boxes overlap."""
_FULL_OVERLAP = 0.25
"""Overlap of the enlarged boxes, as a share of the smaller, from which on the second factor holds."""
_WIDEST_ANGLE = np.deg2rad(85.0)
"""Rays farther than this from the optical axis, as fisheye lenses have them, are not used: at 90 degrees a point of the
plane z = 1, in which errors are measured, is infinitely far."""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """The evidence of B hands, mirrored to right hands; float64 and contiguous.

    Attributes:
        pixels, scores: keypoints in the image, not mirrored (B, 21, 2), and their confidence (B, 21).
        points: normalised image points (B, 21, 2).
        precision: their inverse standard deviations (B, 21).
        shape: keypoints relative to the wrist (B, 21, 3), metres.
        directions: unit bone directions (B, 20, 3).
        direction_precision: inverse standard deviations of them (B, 20), 1/rad.
        wrist: predicted position of the wrist (B, 3), metres.
        wrist_precision: inverse standard deviation of its distance (B,), 1/m; 0 without a prediction.
    """

    pixels: np.ndarray
    scores: np.ndarray
    points: np.ndarray
    precision: np.ndarray
    shape: np.ndarray
    directions: np.ndarray
    direction_precision: np.ndarray
    wrist: np.ndarray
    wrist_precision: np.ndarray

    def of(self, hand: int) -> Evidence:
        """The evidence of one hand, as a batch of its own."""
        parts = {field.name: getattr(self, field.name)[hand : hand + 1] for field in dataclasses.fields(self)}
        return Evidence(**parts)


def in_view(observations: Sequence[Observation], camera: Camera) -> list[Observation]:
    """The observations whose palms are in front of the camera: a fisheye lens also shows what is beside and behind it,
    where no hand can be lifted."""
    return [o for o in observations if _usable(camera.unproject(o.keypoints_2d[PALM])).all()]


def _usable(rays: np.ndarray) -> np.ndarray:
    """Which rays (..., 3) with z = 1 exist and are not too far from the optical axis (...)."""
    return np.asarray(np.linalg.norm(rays, axis=-1) < 1.0 / np.cos(_WIDEST_ANGLE))


def gather(observations: Sequence[Observation], camera: Camera) -> Evidence:
    """The evidence of several observations in images of ``camera``, each hand that looks left mirrored.

    Keypoints without a usable ray have no weight; those of the palms must have one, see :func:`in_view`. Keypoints and
    bones that the encoder predicts are fused with those of the landmark network: means, weighted by their precision.
    """
    pixels = np.stack([observation.keypoints_2d for observation in observations]).astype(np.float64)
    world = np.stack([observation.world for observation in observations]).astype(np.float64)
    screen = np.stack([observation.screen_depth for observation in observations]).astype(np.float64)
    scores = np.stack([observation.joint_scores for observation in observations]).astype(np.float64).clip(0.02, 1.0)
    centred_world = world - world.mean(axis=1, keepdims=True)
    extent = spread(pixels)
    size = spread(centred_world[..., :2])
    depth = screen * (SCREEN_DEPTH_GAIN * size / np.maximum(extent, 1e-6))[:, None]
    world = world - world[:, :1]
    world[..., 2] = WORLD_DEPTH_WEIGHT * world[..., 2] + (1.0 - WORLD_DEPTH_WEIGHT) * (depth - depth[:, :1])
    # The landmark network's axes are those of a hand in the middle of the image: rotate them to the palm's ray.
    palm_ray = camera.unproject(pixels)[:, PALM].mean(axis=1)
    world = world @ np.swapaxes(rotations_towards(palm_ray), -1, -2)
    directions = _directions(world)
    wrist, wrist_precision = np.zeros((len(observations), 3)), np.zeros(len(observations))
    overlap = min(box_overlap(pixels, _MARGIN) / _FULL_OVERLAP, 1.0) if len(pixels) == 2 else 0.0
    factor = STDDEV_FACTOR_ALONE + overlap * (STDDEV_FACTOR_OVERLAPPING - STDDEV_FACTOR_ALONE)
    for i, observation in enumerate(observations):
        predicted = observation.prediction
        if predicted is not None:
            corrected = STDDEV_FACTOR_OVERLAPPING if predicted.trained_on_photographs else factor
            score = np.minimum(PIXEL_SIGMA * 2.0 * extent[i] / (corrected * predicted.stddev_2d), 1.0)
            score = score * predicted.presence
            share = (score**2 / (score**2 + scores[i] ** 2))[:, None]
            pixels[i] += share * (predicted.keypoints_2d - pixels[i])
            world[i] += share * (predicted.joints - world[i])
            both_ends = 0.5 * (share[CHILDREN] + share[PARENTS])
            directions[i] += both_ends * (_directions(predicted.joints) - directions[i])
            scores[i] = np.minimum(np.hypot(score, scores[i]), 1.0)
            corrected = 1.0 if predicted.trained_on_photographs else WRIST_STDDEV_FACTOR
            wrist[i], wrist_precision[i] = predicted.wrist, 1.0 / (corrected * predicted.wrist_stddev)
    rays = camera.unproject(pixels)
    usable = _usable(rays)
    rays = np.where(usable[..., None], rays, palm_ray[:, None])
    scores = np.where(usable, scores, 0.0)
    for i, observation in enumerate(observations):
        if observation.shown_side == Side.LEFT:
            for values in (rays, world, directions, wrist):
                values[i] = mirror_points(values[i])
    points = rays[..., :2]
    scale = spread(points) * 2.0
    # The layout that the solver is compiled for, whatever the number of hands.
    return Evidence(
        pixels=pixels,
        scores=scores,
        points=np.ascontiguousarray(points),
        precision=scores / (PIXEL_SIGMA * np.maximum(scale, 1e-4))[:, None],
        shape=world,
        directions=np.ascontiguousarray(
            directions / np.maximum(np.linalg.norm(directions, axis=-1, keepdims=True), 1e-6)
        ),
        direction_precision=np.ascontiguousarray(np.minimum(scores[:, CHILDREN], scores[:, PARENTS]) / DIRECTION_SIGMA),
        wrist=wrist,
        wrist_precision=wrist_precision,
    )


def spread(points: np.ndarray) -> np.ndarray:
    """Root mean square distance (B,) of points (B, N, D) from their mean."""
    centred = points - points.mean(axis=1, keepdims=True)
    return np.sqrt(np.mean(np.sum(centred**2, axis=-1), axis=1))


def _directions(shape: np.ndarray) -> np.ndarray:
    """Unit vectors along the bones (..., 20, 3) of keypoints (..., 21, 3)."""
    bones = shape[..., CHILDREN, :] - shape[..., PARENTS, :]
    return bones / np.maximum(np.linalg.norm(bones, axis=-1, keepdims=True), 1e-6)
