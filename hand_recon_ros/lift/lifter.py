"""Lifting: a posed hand model in the metric camera frame from image landmarks and rough metric landmarks.

A closed-form start from bone directions is followed by a few damped Gauss-Newton steps on the sum of squared,
normalised residuals: reprojection (by keypoint confidence, Huber), bone directions of the 3D landmarks, a Gaussian
pose prior in anatomical joint angles, a Gaussian shape prior, and a plane that keeps fingers out of the palm. Angles
stay inside their anatomical limits. All hands of an image are solved as one batch. A hand that looks left is mirrored
into a right one by its rays and points; the result is mirrored where the hand is a left one. In a mirrored image the
two differ, so the result lies in the frame of the true, unmirrored camera.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..geometry.alignment import best_rotations
from ..geometry.compiled import compiled
from ..geometry.hand_kinematics import (
    ANGLES,
    BETAS,
    NUM_BETAS,
    NUM_PARAMETERS,
    ROTATION,
    TRANSLATION,
    Pose,
    Posed,
    Template,
    angles_towards,
    forward,
)
from ..geometry.rotations import rotation_matrices
from ..hand_model import HandModel
from ..hand_model.kinematics import template_of
from ..landmarks.observation import Observation
from ..skeleton import PALM, WRIST, mirror_points, mirror_rotations
from ..types import Camera, ScaleSource, Side
from .depth_alignment import SurfaceTerm, aligned_terms
from .evidence import PIXEL_SIGMA, Evidence, gather
from .hand_surface import HandSurface
from .keypoint_offsets import right_hand_offsets, without_offsets
from .lifted_hand import LiftedHand
from .normal_equations import MAX_DEPTH, MIN_DEPTH, normal_equations
from .shape_prior import ShapePrior, hand_length

_DEG = np.pi / 180.0

_POSITION_FACTOR = 2.3
"""Error of the distance in clips of ``val`` relative to the standard deviation by the solver's information, which takes
the errors of the landmarks for independent; about the same with and without the encoder."""
_DEPTH_ITERATIONS = 3
"""Gauss-Newton steps with a depth image, each with the points assigned anew."""
_DEPTH_FACTOR, _DEPTH_STDDEV = 1.0, 0.0025
"""The factor with a depth image, and the standard deviation, metres, that is added to it: of a wrist under skin that
differs from the model's."""
_KNOWN_SIZE_FACTOR = 0.7
"""On the encoder's error of the distance where the hand's length is known: of 218 hands of ``val`` the median error
fell from 6.1 to 4.3 %, and the error's logarithm follows that of the length with a slope of 1.02."""
DAMPING = 1e-3
_MAX_ROTATION_STEP, _MAX_ANGLE_STEP = 0.6, 0.9

# Gaussian pose prior in joint angles: mean and standard deviation of (flexion, abduction, twist) in degrees, for the
# three joints of the thumb (CMC, MCP, IP) and of a finger (MCP, PIP, DIP). Wide enough to leave the evidence in charge.
_PRIOR_MEAN = np.array([[[5, 0, 0], [10, 0, 0], [15, 0, 0]]] + [[[25, 0, 0], [30, 0, 0], [20, 0, 0]]] * 4) * _DEG
_PRIOR_SIGMA = np.array([[[25, 20, 15], [25, 8, 8], [30, 4, 4]]] + [[[40, 13, 5], [40, 3, 4], [30, 3, 3]]] * 4) * _DEG


class Lifter:
    """Solves for the hand model's parameters; holds the model's chains, nothing of any image."""

    def __init__(self, model: HandModel, iterations: int = 4) -> None:
        right, left = model.kinematics(Side.RIGHT), model.kinematics(Side.LEFT)
        self._kinematics = {Side.RIGHT: right, Side.LEFT: left.mirrored()}
        mean = np.zeros(NUM_BETAS)
        self._mean_lengths = {side: hand_length(each, mean)[0] for side, each in self._kinematics.items()}
        self._templates: dict[tuple[Side, ...], Template] = {}
        self._offsets = right_hand_offsets(model)
        self._surfaces = {side: HandSurface(model, side) for side in Side}
        self.iterations = iterations

    def __call__(
        self,
        observations: Sequence[Observation],
        camera: Camera,
        shapes: Sequence[ShapePrior] | None = None,
        iterations: int = 0,
        depth: np.ndarray | None = None,
    ) -> list[LiftedHand]:
        """Hands in the order of ``observations``.

        A hand whose evidence is not finite, or has no solution, comes back with ``finite`` of False; the other hand is
        then the same as if it were alone.

        Args:
            observations: of one image, at most one of a side.
            camera: that took the image.
            shapes: prior of each hand's betas; the population's by default.
            iterations: Gauss-Newton steps; 0 takes the lifter's own number.
            depth: registered to the image (H, W), metres along the optical axis, NaN where it is not known. A hand
                that it does not show, or not where it can be by the image, is lifted without.
        """
        if not observations:
            return []
        shapes = shapes or [ShapePrior.population()] * len(observations)
        try:
            with np.errstate(invalid="ignore", over="ignore"):
                hands = self._solved(observations, camera, shapes, iterations or self.iterations, depth)
        except np.linalg.LinAlgError:
            hands = []
        if hands and all(hand.finite for hand in hands):
            return hands
        if len(observations) == 1:
            return [LiftedHand.unsolved(observations[0])]
        # One hand's NaN must not reach the other: each is solved by itself.
        return [
            hand
            for observation, shape in zip(observations, shapes, strict=True)
            for hand in self([observation], camera, [shape], iterations, depth)
        ]

    def _solved(
        self,
        observations: Sequence[Observation],
        camera: Camera,
        shapes: Sequence[ShapePrior],
        iterations: int,
        depth: np.ndarray | None,
    ) -> list[LiftedHand]:
        """All hands as one batch; raises LinAlgError where one of them is not finite or its system is singular."""
        sides = tuple(observation.side for observation in observations)
        template = self._template(sides)
        evidence = gather(observations, camera)
        self._use_known_sizes(evidence, observations, shapes)
        betas = np.stack([shape.mean for shape in shapes])
        pose = _start(template, evidence, betas)
        if self._offsets is not None:
            offsets = np.stack([self._offsets[side] for side in sides])
            evidence = without_offsets(evidence, offsets, forward(template, pose))
            pose = _start(template, evidence, betas)
        posed, information = _solve(template, evidence, pose, shapes, iterations)
        covariance = np.linalg.inv(information)
        hands = [_finish(template, evidence, pose, posed, covariance, i, side) for i, side in enumerate(sides)]
        hands = [
            hand if shape.known is None else dataclasses.replace(hand, scale_source=ScaleSource.CALIBRATED)
            for hand, shape in zip(hands, shapes, strict=True)
        ]
        if depth is None:
            return hands
        stddevs = [hand.position_stddev for hand in hands]
        surfaces = [self._surfaces[side] for side in sides]
        mirrored = [observation.shown_side == Side.LEFT for observation in observations]
        terms = aligned_terms(surfaces, pose, posed, evidence.pixels, stddevs, mirrored, depth, camera)
        for i, (side, term) in enumerate(zip(sides, terms, strict=True)):
            fitted = None if term is None else self._with_depth(side, evidence.of(i), pose.of(i), shapes[i], term)
            if fitted is not None:
                hands[i] = dataclasses.replace(fitted, image_wrist=hands[i].keypoints[0])
        return hands

    def _use_known_sizes(
        self, evidence: Evidence, observations: Sequence[Observation], shapes: Sequence[ShapePrior]
    ) -> None:
        """Scale the predicted distances of hands of known size: the encoder cannot see how large a hand is."""
        for i, (observation, shape) in enumerate(zip(observations, shapes, strict=True)):
            if shape.known is not None:
                predicted = 0.0 if observation.prediction is None else observation.prediction.hand_length
                scale = shape.length / (predicted or self._mean_lengths[observation.side])
                evidence.wrist[i] *= scale
                evidence.wrist_precision[i] /= scale * _KNOWN_SIZE_FACTOR

    def _with_depth(
        self, side: Side, evidence: Evidence, pose: Pose, shape: ShapePrior, term: SurfaceTerm
    ) -> LiftedHand | None:
        """One hand, a batch of its own, with its skin fitted to a depth image as well; None where it does not fit."""
        template = self._template((side,))
        pose.wrist = pose.wrist * term.scale
        posed, information = _solve(template, evidence, pose, [shape], _DEPTH_ITERATIONS, term)
        if not term.fits:
            return None
        hand = _finish(template, evidence, pose, posed, np.linalg.inv(information), 0, side)
        stddev = hand.position_stddev / _POSITION_FACTOR * _DEPTH_FACTOR
        return dataclasses.replace(
            hand, position_stddev=float(np.hypot(stddev, _DEPTH_STDDEV)), scale_source=ScaleSource.DEPTH
        )

    def _template(self, sides: tuple[Side, ...]) -> Template:
        if sides not in self._templates:
            self._templates[sides] = template_of([self._kinematics[side] for side in sides])
        return self._templates[sides]


def _start(template: Template, evidence: Evidence, betas: np.ndarray) -> Pose:
    """Closed form: the palm by Kabsch's method, each finger joint by its bone's direction, the position linearly."""
    batch = betas.shape[0]
    bases = template.bones[:, ::4] + (template.bone_shapedirs[:, ::4] @ betas[:, None, :, None])[..., 0]
    palm = np.concatenate([np.zeros((batch, 1, 3)), bases], axis=1)  # of the flat hand, about its wrist
    rotation = best_rotations(palm, evidence.shape[:, PALM])
    angles = angles_towards(template, rotation, evidence.directions)
    pose = Pose(rotation, np.zeros((batch, 3)), angles, betas.copy())
    pose.wrist = _position(forward(template, pose).keypoints, evidence)
    return pose


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
    # Points that nearly coincide do not determine the distance: keep it where a camera can see a hand.
    depth = np.clip(shift[:, 2], MIN_DEPTH, MAX_DEPTH)
    return np.where((shift[:, 2] == depth)[:, None], shift, depth[:, None] * _homogeneous(evidence.points[:, WRIST]))


def _homogeneous(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points, np.ones_like(points[..., :1])], axis=-1)


def _solve(
    template: Template,
    evidence: Evidence,
    pose: Pose,
    shapes: Sequence[ShapePrior],
    iterations: int,
    surface: SurfaceTerm | None = None,
) -> tuple[Posed, np.ndarray]:
    """Gauss-Newton on ``pose`` in place; returns the forward kinematics of the solution, and the information matrix
    (B, P, P) of the last step, linearised before it. ``surface`` is what a depth image adds,
    of a batch of one hand."""
    batch = pose.wrist.shape[0]
    prior = np.zeros((batch, NUM_PARAMETERS))
    prior[:, ANGLES] = (1.0 / _PRIOR_SIGMA**2).reshape(45)
    shape_mean = np.stack([shape.mean for shape in shapes])
    shape_information = np.stack([shape.information for shape in shapes])
    diagonal = np.arange(NUM_PARAMETERS)
    ray = evidence.wrist / np.maximum(np.linalg.norm(evidence.wrist, axis=-1, keepdims=True), 1e-9)
    ray *= evidence.wrist_precision[:, None]
    posed = forward(template, pose)
    for _ in range(iterations):
        normal, gradient = normal_equations(template, evidence, posed)
        if surface is not None:
            surface.add(template, pose, posed, normal[0], gradient[0])
        gradient[:, ANGLES] += prior[:, ANGLES] * (pose.angles.reshape(batch, 45) - _PRIOR_MEAN.reshape(45))
        gradient[:, BETAS] += (shape_information @ (pose.betas - shape_mean)[..., None])[..., 0]
        distance_error = np.sum(ray * (pose.wrist - evidence.wrist), axis=-1, keepdims=True)
        gradient[:, TRANSLATION] += ray * distance_error
        normal[:, TRANSLATION, TRANSLATION] += ray[:, :, None] * ray[:, None, :]
        normal[:, diagonal, diagonal] += prior
        normal[:, BETAS, BETAS] += shape_information
        damped = normal.copy()
        damped[:, diagonal, diagonal] *= 1.0 + DAMPING
        _apply(template, pose, -np.linalg.solve(damped, gradient[..., None])[..., 0])
        posed = forward(template, pose)
    return posed, normal


def _apply(template: Template, pose: Pose, step: np.ndarray) -> None:
    turn = step[:, ROTATION]
    size = np.linalg.norm(turn, axis=-1, keepdims=True)
    pose.rotation = (
        rotation_matrices(turn * np.minimum(1.0, _MAX_ROTATION_STEP / np.maximum(size, 1e-9))) @ pose.rotation
    )
    _take_step(step, template.limits, pose.wrist, pose.angles, pose.betas)


@compiled
def _take_step(step, limits, wrist, angles, betas):  # type: ignore[no-untyped-def]
    for b in range(step.shape[0]):
        depth = wrist[b, 2]
        for i in range(3):
            wrist[b, i] += step[b, 3 + i]
        # A depth that leaves the possible range is a failed step: one step may at most halve or double it.
        wrist[b, 2] = min(max(wrist[b, 2], 0.5 * depth), 2.0 * depth)
        for joint in range(15):
            for i in range(3):
                angle_step = step[b, 6 + 3 * joint + i]
                angle = angles[b, joint, i] + min(max(angle_step, -_MAX_ANGLE_STEP), _MAX_ANGLE_STEP)
                angles[b, joint, i] = min(max(angle, limits[b, joint, i, 0]), limits[b, joint, i, 1])
        for i in range(NUM_BETAS):
            betas[b, i] = min(max(betas[b, i] + step[b, 51 + i], -3.0), 3.0)


def _finish(
    template: Template, evidence: Evidence, pose: Pose, posed: Posed, covariances: np.ndarray, i: int, side: Side
) -> LiftedHand:
    rotations = posed.rotations[i]
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
        angles=pose.angles[i].copy(),
        keypoints_2d=evidence.pixels[i],
        joint_scores=evidence.scores[i],
        position_stddev=_POSITION_FACTOR * float(np.sqrt(max(ray @ covariance[TRANSLATION, TRANSLATION] @ ray, 0.0))),
        betas_covariance=covariance[BETAS, BETAS],
        residual=float(residual),
    )
