"""Lifting: image landmarks and rough metric landmarks become a posed hand model in the metric camera frame.

A closed-form start from bone directions is followed by a few damped Gauss-Newton steps on the sum of squared,
normalised residuals: reprojection (by keypoint confidence, Huber), bone directions of the 3D landmarks, a Gaussian
pose prior in anatomical joint angles, a Gaussian shape prior, and a plane that keeps fingers out of the palm. Angles
are kept inside their anatomical limits throughout. All hands of a frame are solved as one batch. What looks like a
left hand is mirrored into a right one by its rays and points and solved as that; the result is mirrored where the hand
is a left one. In a mirrored image the two differ, so the result lies in the frame of the true, unmirrored camera.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..hand_model import HandModel, rotations_from_angles
from ..locate import Observation
from ..skeleton import (
    INDEX_MCP,
    MIDDLE_MCP,
    NUM_JOINTS,
    PALM,
    PINKY_MCP,
    WRIST,
    cross,
    mirror_points,
    mirror_rotations,
)
from ..types import Camera, Side
from .chain import (
    ANGLES,
    BETAS,
    NUM_BETAS,
    NUM_PARAMETERS,
    ROTATION,
    TRANSLATION,
    Pose,
    Posed,
    Template,
    forward,
    jacobian,
    rotation_from_vector,
)
from .evidence import CHILDREN, PARENTS, PIXEL_SIGMA, Evidence, gather

_DEG = np.pi / 180.0

HUBER = 2.0
DAMPING = 1e-3
MIN_DEPTH, MAX_DEPTH = 0.05, 5.0
_MAX_ROTATION_STEP, _MAX_BEND_STEP = 0.6, 0.9

# Gaussian pose prior in joint angles: mean and standard deviation of (flexion, abduction, twist) in degrees, for the
# three joints of the thumb (CMC, MCP, IP) and of a finger (MCP, PIP, DIP). Wide enough to leave the evidence in charge.
_PRIOR_MEAN = np.array([[[5, 0, 0], [10, 0, 0], [15, 0, 0]]] + [[[25, 0, 0], [30, 0, 0], [20, 0, 0]]] * 4) * _DEG
_PRIOR_SIGMA = np.array([[[25, 20, 15], [25, 8, 8], [30, 4, 4]]] + [[[40, 13, 5], [40, 3, 4], [30, 3, 3]]] * 4) * _DEG

# How far DIP joints and fingertips must stay on the palm's side of the plane through the palm's keypoints (m): the
# palm's flesh plus, for the joint, half a finger. Fingertip keypoints lie on the skin.
_OVER_PALM = np.array([7, 8, 11, 12, 15, 16, 19, 20])
_CLEARANCE = np.array([0.016, 0.009] * 4)
_CLEARANCE_SIGMA = 0.002


@dataclasses.dataclass(frozen=True)
class ShapePrior:
    """Gaussian belief about a hand's betas: mean (10,) and information, the inverse covariance (10, 10)."""

    mean: np.ndarray
    information: np.ndarray

    @classmethod
    def population(cls) -> ShapePrior:
        """Nothing known but that it is a human hand: betas are in units of the population's standard deviation."""
        return cls(np.zeros(NUM_BETAS), np.eye(NUM_BETAS))

    def updated(self, hand: LiftedHand, weight: float) -> ShapePrior:
        """The belief after ``hand`` was solved with this one, its evidence counted ``weight`` times.

        Only what the images said is added: the belief that went into the solution is taken out of it again. Frames of
        a video repeat each other's errors, so that each should count for less than one.
        """
        evidence = np.linalg.inv(hand.betas_covariance) - self.information
        information = self.information + weight * evidence
        shift = np.linalg.solve(information, weight * (evidence + self.information) @ (hand.betas - self.mean))
        return ShapePrior(self.mean + shift, information)


@dataclasses.dataclass(frozen=True)
class LiftedHand:
    """One solved hand.

    Parameters of the hand model of ``side``; keypoints (21, 3) in metres in the camera frame; joint angles (15, 3) in
    radians, as those of a right hand; the standard deviation of the wrist along its ray (m); the covariance of the
    betas (10, 10); and the root mean square reprojection error in units of the hand's image extent.
    """

    side: Side
    rotations: np.ndarray
    betas: np.ndarray
    translation: np.ndarray
    keypoints: np.ndarray
    angles: np.ndarray
    position_stddev: float
    betas_covariance: np.ndarray
    residual: float


class Lifter:
    """Solves for the hand model's parameters; holds the model's chains, nothing of any frame."""

    def __init__(self, model: HandModel, iterations: int = 4) -> None:
        right, left = model.kinematics(Side.RIGHT), model.kinematics(Side.LEFT)
        self._kinematics = {Side.RIGHT: right, Side.LEFT: left.mirrored()}
        self._templates: dict[tuple[Side, ...], Template] = {}
        self.iterations = iterations

    def __call__(
        self,
        observations: Sequence[Observation],
        camera: Camera,
        shapes: Sequence[ShapePrior] | None = None,
        iterations: int = 0,
    ) -> list[LiftedHand]:
        """Hands in the order of ``observations``.

        ``shapes`` holds what is already known of each hand's betas; ``iterations`` of 0 takes the lifter's own.
        """
        if not observations:
            return []
        shapes = shapes or [ShapePrior.population()] * len(observations)
        sides = tuple(observation.side for observation in observations)
        template = self._template(sides)
        evidence = gather(observations, camera)
        pose = _start(template, evidence, np.stack([shape.mean for shape in shapes]))
        posed, information = _solve(template, evidence, pose, shapes, iterations or self.iterations)
        covariance = np.linalg.inv(information)
        return [_finish(template, evidence, pose, posed, covariance, i, side) for i, side in enumerate(sides)]

    def _template(self, sides: tuple[Side, ...]) -> Template:
        if sides not in self._templates:
            self._templates[sides] = Template.stack([self._kinematics[side] for side in sides])
        return self._templates[sides]


def _start(template: Template, evidence: Evidence, betas: np.ndarray) -> Pose:
    """Closed form: the palm by Kabsch's method, each finger joint by its bone's direction, the position linearly."""
    batch = betas.shape[0]
    bases = template.offsets[:, :, 0] + (template.offset_shapedirs[:, :, 0] @ betas[:, None, :, None])[..., 0]
    palm = np.concatenate([np.zeros((batch, 1, 3)), bases], axis=1)  # of the flat hand, about its wrist
    rotation = _kabsch(palm, evidence.shape[:, PALM])
    angles = np.zeros((batch, 5, 3, 3))
    directions = evidence.directions.reshape(batch, 5, 4, 3)
    carried = np.repeat(rotation[:, None], 5, axis=1)
    for level in range(3):
        frames = template.frames[:, :, level]
        local = (np.swapaxes(carried @ frames, -1, -2) @ directions[:, :, level + 1, :, None])[..., 0]
        angles[:, :, level, 0] = np.arctan2(-local[..., 2], local[..., 0])
        angles[:, :, level, 1] = np.arcsin(np.clip(local[..., 1], -1.0, 1.0))
        angles[:, :, level] = _clamp(angles[:, :, level], template.limits[:, :, level])
        carried = carried @ rotations_from_angles(angles[:, :, level], frames)
    pose = Pose(rotation, np.zeros((batch, 3)), angles, betas.copy())
    pose.wrist = _position(forward(template, pose).keypoints, evidence)
    return pose


def _clamp(angles: np.ndarray, limits: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(angles, limits[..., 0]), limits[..., 1])


def _kabsch(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rotations (B, 3, 3) that best take points (B, N, 3) to others, without reflection (Kabsch 1976)."""
    a, b = source - source.mean(axis=1, keepdims=True), target - target.mean(axis=1, keepdims=True)
    u, _, vt = np.linalg.svd(np.swapaxes(b, 1, 2) @ a)
    u[:, :, 2] *= np.linalg.det(u @ vt)[:, None]
    return u @ vt


def _position(keypoints: np.ndarray, evidence: Evidence) -> np.ndarray:
    """The shift (B, 3) that makes the keypoints project onto the image points: linear least squares."""
    batch = keypoints.shape[0]
    system = np.zeros((batch, 21, 2, 3))
    system[..., 0, 0] = system[..., 1, 1] = 1.0
    system[..., 2] = -evidence.points
    right = evidence.points * keypoints[..., 2:] - keypoints[..., :2]
    system *= evidence.precision[..., None, None]
    right = right * evidence.precision[..., None]
    a, b = system.reshape(batch, 42, 3), right.reshape(batch, 42, 1)
    at = np.swapaxes(a, 1, 2)
    shift = np.linalg.solve(at @ a + 1e-9 * np.eye(3), at @ b)[..., 0]
    # Points that nearly fall together say nothing of the distance: keep it where a camera can see a hand.
    depth = np.clip(shift[:, 2], MIN_DEPTH, MAX_DEPTH)
    return np.where((shift[:, 2] == depth)[:, None], shift, depth[:, None] * _homogeneous(evidence.points[:, WRIST]))


def _homogeneous(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points, np.ones_like(points[..., :1])], axis=-1)


def _solve(
    template: Template, evidence: Evidence, pose: Pose, shapes: Sequence[ShapePrior], iterations: int
) -> tuple[Posed, np.ndarray]:
    """Gauss-Newton on ``pose`` in place; the keypoints at the solution and the information matrix (B, P, P) of the last
    step, taken one step before it."""
    batch = pose.wrist.shape[0]
    prior = np.zeros((batch, NUM_PARAMETERS))
    prior[:, ANGLES] = (1.0 / _PRIOR_SIGMA**2).reshape(45)
    shape_mean = np.stack([shape.mean for shape in shapes])
    shape_information = np.stack([shape.information for shape in shapes])
    diagonal = np.arange(NUM_PARAMETERS)
    posed = forward(template, pose)
    for _ in range(iterations):
        normal, gradient = _normal_equations(template, evidence, posed)
        gradient[:, ANGLES] += prior[:, ANGLES] * (pose.angles - _PRIOR_MEAN).reshape(batch, 45)
        gradient[:, BETAS] += (shape_information @ (pose.betas - shape_mean)[..., None])[..., 0]
        normal[:, diagonal, diagonal] += prior
        normal[:, BETAS, BETAS] += shape_information
        damped = normal.copy()
        damped[:, diagonal, diagonal] *= 1.0 + DAMPING
        _apply(template, pose, -np.linalg.solve(damped, gradient[..., None])[..., 0])
        posed = forward(template, pose)
    return posed, normal


def _normal_equations(template: Template, evidence: Evidence, posed: Posed) -> tuple[np.ndarray, np.ndarray]:
    """J^T J (B, P, P) and J^T r (B, P) of the evidence and of the palm's plane."""
    batch = posed.keypoints.shape[0]
    j = jacobian(template, posed)
    depth = np.maximum(posed.keypoints[..., 2:], MIN_DEPTH)
    projected = posed.keypoints[..., :2] / depth
    error = (projected - evidence.points) * evidence.precision[..., None]
    size = np.linalg.norm(error, axis=-1)
    robust = np.sqrt(np.minimum(1.0, HUBER / np.maximum(size, 1e-9)))  # Huber, as iteratively reweighted squares
    scale = (evidence.precision * robust)[..., None, None] / depth[..., None]
    image_rows = (j[:, :, :2] - projected[..., None] * j[:, :, 2:]) * scale
    image_error = error * robust[..., None]
    bones = posed.keypoints[:, CHILDREN] - posed.keypoints[:, PARENTS]
    weight = evidence.direction_precision[..., None]
    over_length = weight / np.linalg.norm(bones, axis=-1, keepdims=True)
    bone_rows = (j[:, CHILDREN] - j[:, PARENTS]) * over_length[..., None]
    bone_error = bones * over_length - evidence.directions * weight
    palm_rows, palm_error = _palm_plane(j, posed)
    rows = np.concatenate([image_rows.reshape(batch, 42, -1), bone_rows.reshape(batch, 60, -1), palm_rows], axis=1)
    errors = np.concatenate([image_error.reshape(batch, 42), bone_error.reshape(batch, 60), palm_error], axis=1)
    transposed = np.swapaxes(rows, 1, 2)
    return transposed @ rows, (transposed @ errors[..., None])[..., 0]


def _palm_plane(j: np.ndarray, posed: Posed) -> tuple[np.ndarray, np.ndarray]:
    """Rows that push DIP joints and fingertips over the palm out of it; none where all are clear of it."""
    points = posed.keypoints[:, _OVER_PALM] - posed.keypoints[:, :1]
    x = posed.keypoints[:, MIDDLE_MCP] - posed.keypoints[:, WRIST]
    across = posed.keypoints[:, INDEX_MCP] - posed.keypoints[:, PINKY_MCP]
    normal = cross(x, across)  # out of the back of a right hand
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    height = (points @ normal[..., None])[..., 0] + _CLEARANCE
    along = (points @ x[..., None])[..., 0] / np.sum(x * x, axis=-1, keepdims=True)
    inside = (height > 0) & (along > 0) & (along < 1)
    if not inside.any():
        return np.zeros((len(x), 0, NUM_PARAMETERS)), np.zeros((len(x), 0))
    rows = np.zeros((*inside.shape, NUM_PARAMETERS))  # the plane moves with the hand: only finger angles count
    rows[..., ANGLES] = (normal[:, None, None] @ j[:, _OVER_PALM, :, ANGLES])[:, :, 0]
    weight = inside / _CLEARANCE_SIGMA
    return rows * weight[..., None], height * weight


def _apply(template: Template, pose: Pose, step: np.ndarray) -> None:
    turn = step[:, ROTATION]
    size = np.linalg.norm(turn, axis=-1, keepdims=True)
    pose.rotation = (
        rotation_from_vector(turn * np.minimum(1.0, _MAX_ROTATION_STEP / np.maximum(size, 1e-9))) @ pose.rotation
    )
    wrist = pose.wrist + step[:, TRANSLATION]
    # A depth that leaves the possible range is a failed step: half way is as far as one step may go.
    wrist[:, 2] = np.clip(wrist[:, 2], 0.5 * pose.wrist[:, 2], 2.0 * pose.wrist[:, 2])
    pose.wrist = wrist
    bend = np.clip(step[:, ANGLES], -_MAX_BEND_STEP, _MAX_BEND_STEP).reshape(-1, 5, 3, 3)
    pose.angles = _clamp(pose.angles + bend, template.limits)
    pose.betas = np.clip(pose.betas + step[:, BETAS], -3.0, 3.0)


def _finish(
    template: Template, evidence: Evidence, pose: Pose, posed: Posed, covariances: np.ndarray, i: int, side: Side
) -> LiftedHand:
    rotations = np.empty((NUM_JOINTS, 3, 3))
    rotations[0], rotations[1:] = pose.rotation[i], posed.local[i].reshape(15, 3, 3)
    translation = pose.wrist[i] - template.wrist[i] - template.wrist_shapedirs[i] @ pose.betas[i]
    keypoints = posed.keypoints[i]
    covariance = covariances[i]
    ray = pose.wrist[i] / np.linalg.norm(pose.wrist[i])
    error = keypoints[:, :2] / np.maximum(keypoints[:, 2:], MIN_DEPTH) - evidence.points[i]
    residual = np.sqrt(np.mean(np.sum((error * evidence.precision[i][:, None]) ** 2, axis=-1))) * PIXEL_SIGMA
    if side == Side.LEFT:
        rotations, translation, keypoints = (
            mirror_rotations(rotations),
            mirror_points(translation),
            mirror_points(keypoints),
        )
    return LiftedHand(
        side=side,
        rotations=rotations,
        betas=pose.betas[i].copy(),
        translation=translation,
        keypoints=keypoints,
        angles=pose.angles[i].reshape(15, 3).copy(),
        position_stddev=float(np.sqrt(max(ray @ covariance[TRANSLATION, TRANSLATION] @ ray, 0.0))),
        betas_covariance=covariance[BETAS, BETAS],
        residual=float(residual),
    )
