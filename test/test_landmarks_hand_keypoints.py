"""Keypoints of the landmark network as those of the hand model."""

from __future__ import annotations

import numpy as np
import pytest
from streams import Stream

from hand_recon_ros import Camera, Frame, Side
from hand_recon_ros.landmarks.crops import TRACK_POINTS, tracking_box
from hand_recon_ros.landmarks.hand_keypoints import hand_box, in_hand_model, moved_to_hand_model
from hand_recon_ros.landmarks.landmarks import HandLandmarks
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.skeleton import KEYPOINT_PARENTS, MIDDLE_MCP, TIPS, WRIST, mirror_points

KEYPOINTS = np.random.default_rng(3).normal(0.0, 0.05, (4, 21, 3))


def rotated(points: np.ndarray) -> np.ndarray:
    turn, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    return 1.7 * points @ turn.T + np.array([0.1, -0.2, 0.6])


@pytest.mark.parametrize("transform", [rotated, mirror_points, lambda points: points[..., :2]])
def test_it_does_not_depend_on_view_size_or_side(transform):
    moved = moved_to_hand_model(transform(KEYPOINTS))
    np.testing.assert_allclose(moved, transform(moved_to_hand_model(KEYPOINTS)), atol=1e-12)


def test_fingertips_move_along_the_last_bones_and_the_wrist_into_the_forearm():
    move = moved_to_hand_model(KEYPOINTS) - KEYPOINTS
    bones = KEYPOINTS - KEYPOINTS[:, KEYPOINT_PARENTS]
    np.testing.assert_allclose(move[:, TIPS], 0.36 * bones[:, TIPS], atol=1e-12)
    np.testing.assert_allclose(move[:, WRIST], 0.12 * (KEYPOINTS[:, WRIST] - KEYPOINTS[:, MIDDLE_MCP]), atol=1e-12)


def test_pixels_depth_and_metres_move_alike():
    world = KEYPOINTS[0]
    pixels = 1000.0 * (world - world[WRIST])
    box = RotatedBox((0.0, 0.0), 1.0)
    moved, depth, metric = in_hand_model(HandLandmarks(pixels[:, :2] + 320.0, pixels[:, 2], world, 1.0, 1.0, box))
    assert depth[WRIST] == 0.0
    expected = 1000.0 * (metric - metric[WRIST])
    np.testing.assert_allclose(depth, expected[:, 2], atol=1e-9)
    np.testing.assert_allclose(moved - moved[WRIST], expected[:, :2], atol=1e-9)


def test_the_box_of_a_hand_is_that_of_its_next_crop():
    pixels = 1000.0 * KEYPOINTS[0, :, :2] + 320.0
    expected, moved = tracking_box(pixels), moved_to_hand_model(pixels)
    moved[np.setdiff1d(np.arange(21), TRACK_POINTS)] = np.nan  # these do not bound it
    box = hand_box(moved)
    np.testing.assert_allclose(box.center, expected.center)
    np.testing.assert_allclose([box.size, box.angle], [expected.size, expected.angle])


def test_rendered_hands_are_nearer_to_their_true_keypoints():
    synthetic = pytest.importorskip("hand_recon_ros.synthetic")
    from hand_recon_ros.hand_model import load_hand_model

    model, camera, stream = load_hand_model(), Camera.from_fov(640, 480, 65.0), Stream()
    _, scenes = synthetic.clip_scenes(model, 30, 14, camera)
    by_landmarks, moved = [], []
    for scene in scenes[::10]:
        rendering = synthetic.render_scene(scene, model)
        pair = stream.search(Frame(rendering.image, camera))
        for side in Side:
            observation, truth = pair[side], rendering.keypoints_2d[side]
            assert observation is not None
            (landmarks,) = stream.networks.read(rendering.image, [observation.roi])
            by_landmarks.append(np.linalg.norm(landmarks.keypoints - truth, axis=1).mean())
            moved.append(np.linalg.norm(moved_to_hand_model(landmarks.keypoints) - truth, axis=1).mean())
    assert np.mean(moved) < 0.8 * np.mean(by_landmarks)
