"""The first use of every step, before the first image."""

from __future__ import annotations

import numpy as np

from ..encode.hand_encoder import Encoder
from ..hand_model import HandModel
from ..interact.estimates import pair_of, uncertainty_of
from ..interact.refinement import Refiner
from ..landmarks.hand_keypoints import hand_box
from ..landmarks.observation import Observation
from ..lift.depth_patch import rendered_depth
from ..lift.lifter import Lifter
from ..types import Camera, Side
from .estimates import hand_estimate

_FLAT = np.tile(np.eye(3), (16, 1, 1))
_PLACE = np.array([0.0, 0.0, 0.5])
"""Rotations and translation, metres, of a flat hand."""


def warm_up(hand_model: HandModel, encoder: Encoder | None, lifter: Lifter, refiner: Refiner, iterations: int) -> None:
    """Evaluate every step once, with two flat hands in front of a camera; ``iterations``: steps of the lifting."""
    camera = Camera.from_fov(640, 480, 60.0)
    observations = []
    for side in Side:
        joints, _ = hand_model.kinematics(side).forward(_FLAT, np.zeros(10), _PLACE)
        pixels = camera.project(joints)
        observations.append(
            Observation(
                side=side,
                score=1.0,
                side_score=1.0,
                keypoints_2d=pixels,
                screen_depth=np.zeros(21),
                world=joints,
                joint_scores=np.ones(21),
                roi=hand_box(pixels),
                detected=True,
            )  # fmt: skip
        )
    if encoder is not None:
        for seen in (observations[:1], observations):
            encoder(np.zeros((480, 640, 3), dtype=np.uint8), seen, camera)
    meshes = [rendered_depth(*flat_mesh(hand_model, side), camera) for side in Side]
    lifted = lifter(observations, camera, iterations=iterations, depth=np.minimum(*meshes))
    hands = [
        hand_estimate(seen, hand, hand.keypoints[0], hand.rotations, hand_model, camera, track_id=0)
        for seen, hand in zip(observations, lifted, strict=True)
    ]
    refiner.warm_up(pair_of(hands), uncertainty_of(hands))


def flat_mesh(hand_model: HandModel, side: Side) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of a flat hand in front of the camera."""
    vertices = hand_model.mesh(side, _FLAT, np.zeros(10), _PLACE)
    return vertices.astype(np.float64), hand_model.faces(side).astype(np.int64)
