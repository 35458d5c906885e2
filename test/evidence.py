"""Perfect evidence for tests: random plausible hands, and what ideal landmark networks would say of them."""

import numpy as np
from scipy.spatial.transform import Rotation

from hand_recon_ros import Camera, Side
from hand_recon_ros.geometry.rotations import rotation_matrices
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.landmarks.observation import Observation, RotatedBox
from hand_recon_ros.skeleton import PALM

MODEL = load_hand_model()
CAMERA = Camera.from_fov(640, 480, 60.0)


def hand(seed, side=Side.RIGHT, curl=0.4, depth=0.5):
    """A random plausible hand in front of the camera: rotations, betas, translation, keypoints."""
    rng = np.random.default_rng(seed)
    kinematics = MODEL.kinematics(side)
    angles = np.zeros((16, 3))
    angles[1:, 0] = np.clip(rng.normal(curl, 0.25, 15), 0.0, 1.2)
    angles[[4, 7, 10, 13], 1] = rng.normal(0, 0.08, 4)
    angles[1:4] *= 0.4
    rotations = kinematics.rotations_of(kinematics.clamp_angles(angles))
    rotations[0] = Rotation.random(random_state=seed).as_matrix()
    betas = rng.normal(0, 0.5, 10)
    at_zero, _ = kinematics.forward(rotations, betas, np.zeros(3))
    translation = np.array([rng.uniform(-0.15, 0.15), rng.uniform(-0.1, 0.1), depth]) - at_zero.mean(axis=0)
    keypoints, _ = kinematics.forward(rotations, betas, translation)
    return rotations, betas, translation, keypoints


def observe(keypoints, side, camera=CAMERA, **changes):
    """What ideal landmark networks would say of a hand with these keypoints (21, 3)."""
    pixels = camera.project(keypoints)
    ray = camera.unproject(pixels)[PALM].mean(axis=0)
    direction = ray / np.linalg.norm(ray)
    axis = np.cross([0, 0, 1], direction)
    sine = np.linalg.norm(axis)
    turn = rotation_matrices(axis / max(sine, 1e-12) * np.arctan2(sine, direction[2]))
    world = (keypoints - keypoints.mean(axis=0)) @ turn  # as if seen in the middle of the image
    centred, centred_world = pixels - pixels.mean(axis=0), world - world.mean(axis=0)
    scale = np.sqrt((centred**2).sum(1).mean() / (centred_world[:, :2] ** 2).sum(1).mean())
    # The lifting takes image depth to be too steep by this factor, as the real network's is.
    screen = (world[:, 2] - world[0, 2]) * scale / 0.7
    center, size = pixels.mean(axis=0), 2.0 * np.ptp(pixels, axis=0).max()
    fields = dict(
        side=side, score=1.0, side_score=1.0, keypoints_2d=pixels, screen_depth=screen, world=world,
        joint_scores=np.ones(21), roi=RotatedBox((float(center[0]), float(center[1])), float(size)), detected=False,
    )  # fmt: skip
    return Observation(**{**fields, **changes})
