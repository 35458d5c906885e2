"""The frame a hand is encoded in: there and back, and the same for a hand and its mirror image."""

import numpy as np
import pytest
from evidence import CAMERA, MODEL, hand

from hand_recon_ros import Camera, Side
from hand_recon_ros.encode.crop_frame import CropFrame
from hand_recon_ros.landmarks.crops import tracking_box
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.skeleton import mirror_pixels, mirror_points, mirror_rotations

LENS = Camera(K=CAMERA.K, width=640, height=480, distortion_model="plumb_bob", D=[-0.2, 0.05, 1e-3, -1e-3, 0.0])


def framed(seed, side, camera=CAMERA):
    rotations, betas, _, keypoints = hand(seed, side)
    pixels = camera.project(keypoints)
    return CropFrame(tracking_box(pixels), side, camera), rotations, betas, keypoints, pixels


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("camera", [CAMERA, LENS], ids=["pinhole", "lens"])
def test_there_and_back(side, camera):
    frame, rotations, _, keypoints, pixels = framed(3, side, camera)
    np.testing.assert_allclose(frame.points_out(frame.points_in(keypoints)), keypoints, atol=1e-12)
    np.testing.assert_allclose(frame.rotations_out(frame.rotations_in(rotations)), rotations, atol=1e-12)
    np.testing.assert_allclose(frame.pixels_out(frame.pixels_in(pixels)), pixels, atol=1e-9)
    wrist = frame.position_out(frame.pixels_in(pixels)[0], frame.width_at(keypoints[0]))
    np.testing.assert_allclose(wrist, keypoints[0], atol=1e-6)


@pytest.mark.parametrize("side", Side)
def test_posing_in_the_crop_frame_is_posing_in_the_cameras(side):
    """The right hand's chain with the turned rotations gives the keypoints as the crop frame has them."""
    frame, rotations, betas, keypoints, _ = framed(5, side)
    posed, _ = MODEL.kinematics(Side.RIGHT).forward(frame.rotations_in(rotations), betas, np.zeros(3))
    seen = frame.points_in(keypoints)
    np.testing.assert_allclose(posed - posed[0], seen - seen[0], atol=1e-9)


def test_the_middle_of_the_crop_is_straight_ahead():
    frame, *_ = framed(6, Side.RIGHT)
    ray = frame.points_in(CAMERA.unproject(np.array(frame.box.center)))
    np.testing.assert_allclose(ray[:2], 0.0, atol=1e-12)
    # Up in the crop is up in the frame: y points down.
    above = frame.points_in(CAMERA.unproject(frame.pixels_out(np.array([0.0, -0.4]))))
    assert above[1] < 0 and abs(above[0]) < 0.05 * abs(above[1])
    wide = frame.points_in(CAMERA.unproject(frame.pixels_out(np.array([[-0.5, 0.0], [0.5, 0.0]]))))
    wide = wide / wide[:, 2:]
    assert wide[1, 0] - wide[0, 0] == pytest.approx(frame.spread, rel=0.02)


def test_a_mirrored_hand_looks_the_same():
    """A left hand in the mirrored image gives what the right hand gave: features, rotations, places and widths."""
    frame, rotations, _, keypoints, pixels = framed(9, Side.RIGHT)
    box = frame.box
    mirrored_box = RotatedBox((CAMERA.width - 1 - box.center[0], box.center[1]), box.size, -box.angle)
    left = CropFrame(mirrored_box, Side.LEFT, CAMERA)
    other = CropFrame(RotatedBox((200.0, 300.0), 150.0, 0.7), Side.LEFT, CAMERA)
    mirrored_other = CropFrame(RotatedBox((CAMERA.width - 1 - 200.0, 300.0), 150.0, -0.7), Side.RIGHT, CAMERA)
    np.testing.assert_allclose(left.ray_features, frame.ray_features, atol=1e-12)
    np.testing.assert_allclose(left.pair_features(mirrored_other), frame.pair_features(other), atol=1e-12)
    mirrored = left.rotations_in(mirror_rotations(rotations))
    np.testing.assert_allclose(mirrored, frame.rotations_in(rotations), atol=1e-12)
    np.testing.assert_allclose(left.pixels_in(mirror_pixels(pixels, CAMERA.width)), frame.pixels_in(pixels), atol=1e-9)
    assert left.width_at(mirror_points(keypoints[0])) == pytest.approx(frame.width_at(keypoints[0]))
