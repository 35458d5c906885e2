"""Hands at the edge of what a lens shows: crops, lifting and overlays where projection or viewing rays end."""

import dataclasses

import numpy as np
import pytest
from evidence import MODEL, hand, observe
from scripted_pipeline import Script, reconstructor

from hand_recon_ros import Camera, HandEstimate, HandState, Side, TwoHandEstimate
from hand_recon_ros.encode.crop_frame import CropFrame
from hand_recon_ros.landmarks.crops import tracking_box
from hand_recon_ros.landmarks.observation import RotatedBox
from hand_recon_ros.lift.evidence import in_view
from hand_recon_ros.lift.lifter import Lifter
from hand_recon_ros.overlay import draw_overlay

K = np.array([[150.0, 0.0, 319.5], [0.0, 150.0, 239.5], [0.0, 0.0, 1.0]])
FISHEYE = Camera(K=K, width=640, height=480, distortion_model="equidistant", D=[0.01, 0.0, 0.0, 0.0])


def fisheye_pixels(points):
    """Pixels (N, 2) of points (N, 3) at any angle to the axis, by the model's own equation."""
    across = np.linalg.norm(points[:, :2], axis=1)
    angle = np.arctan2(across, points[:, 2])
    return 150.0 * ((angle + 0.01 * angle**3) / across)[:, None] * points[:, :2] + K[:2, 2]


def turned(points, degrees):
    """Points (N, 3) moved about the camera, to its right."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return points @ np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]]).T


def seen_at(seed, degrees):
    """A hand that many degrees to the right, and ideal evidence of it in the fisheye's image."""
    keypoints = hand(seed)[3]
    observation = observe(keypoints, Side.RIGHT)
    moved = turned(keypoints, degrees)
    pixels = fisheye_pixels(moved)
    spread = [np.linalg.norm(p - p.mean(axis=0)) for p in (pixels, observation.keypoints_2d)]
    screen = observation.screen_depth * spread[0] / spread[1]
    return moved, dataclasses.replace(observation, keypoints_2d=pixels, screen_depth=screen, roi=tracking_box(pixels))


@pytest.mark.parametrize("seed", range(12))
def test_a_hand_is_lifted_up_to_the_edge_of_the_view_and_left_out_beyond(seed):
    lifter, outside = Lifter(MODEL), 0
    for degrees in range(0, 120, 5):
        truth, observation = seen_at(seed, degrees)
        if not in_view([observation], FISHEYE):
            outside += 1
            continue
        assert not outside, "it was left out nearer to the axis"
        (result,) = lifter([observation], FISHEYE)
        relative = (result.keypoints - result.keypoints[0]) - (truth - truth[0])
        assert np.linalg.norm(relative, axis=1).mean() < 0.05
        assert np.linalg.norm(result.keypoints[0] - truth[0]) < 0.12
    assert outside > 0


def test_keypoints_without_a_ray_leave_the_others_and_the_other_hand_alone():
    truth, beside = seen_at(9, 99.0)
    assert np.isnan(FISHEYE.unproject(beside.keypoints_2d)).any() and in_view([beside], FISHEYE)
    _, ahead = seen_at(3, 10.0)
    ahead = dataclasses.replace(ahead, side=Side.LEFT)
    lifter = Lifter(MODEL)
    left, right = lifter([ahead, beside], FISHEYE)
    assert np.linalg.norm(right.keypoints - truth, axis=1).mean() < 0.05
    has_ray = np.isfinite(FISHEYE.unproject(beside.keypoints_2d)[:, 0])
    assert (right.joint_scores[~has_ray] == 0.0).all() and (right.joint_scores[has_ray] > 0.0).any()
    (alone,) = lifter([ahead], FISHEYE)
    np.testing.assert_allclose(left.keypoints, alone.keypoints, atol=1e-9)


@pytest.mark.parametrize("side", Side)
def test_a_crop_across_90_degrees_has_a_frame(side):
    """Its outer edge shows what has no ray with z = 1."""
    centre = fisheye_pixels(turned(np.array([[0.0, 0.0, 1.0]]), 85.0))[0]
    frame = CropFrame(RotatedBox((float(centre[0]), float(centre[1])), 60.0), side, FISHEYE)
    assert np.isnan(FISHEYE.unproject(frame.box.to_image(np.array([1.0, 0.5])))).all()
    assert np.isfinite(frame.ray_features).all()
    left, right = FISHEYE.directions(frame.box.to_image(np.array([[0.0, 0.5], [1.0, 0.5]])))
    assert frame.spread == pytest.approx(2.0 * np.tan(np.arccos(left @ right) / 2.0))
    beyond = turned(np.array([[0.0, 0.0, 0.4]]), 97.0)[0]
    place = frame.pixels_in(fisheye_pixels(beyond[None])[0])
    np.testing.assert_allclose(frame.position_out(place, frame.width_at(beyond)), beyond, atol=1e-6)


def test_what_the_lens_would_fold_into_the_picture_has_no_overlay():
    folding = Camera(K=2.0 * K - np.diag([0, 0, 1.0]), width=640, height=480, distortion_model="plumb_bob", D=[-0.3])
    rotations, betas, _, _ = hand(0)
    translation = np.array([1.0, 0.3, 0.5])
    joints, _ = MODEL.kinematics(Side.RIGHT).forward(rotations, betas, translation)
    found = dataclasses.replace(
        HandEstimate.lost(Side.RIGHT), state=HandState.PREDICTED, score=0.9, joints=joints,
        keypoints_2d=folding.project(joints), mesh=lambda: MODEL.mesh(Side.RIGHT, rotations, betas, translation),
        faces=MODEL.faces(Side.RIGHT),
    )  # fmt: skip
    picture = np.full((480, 640, 3), 128, dtype=np.uint8)
    overlay = draw_overlay(picture, TwoHandEstimate(HandEstimate.lost(Side.LEFT), found), folding)
    np.testing.assert_array_equal(overlay, picture)


def test_a_hand_beside_the_camera_is_lost_and_the_other_one_found():
    _, ahead = seen_at(3, 10.0)
    _, beside = seen_at(9, 115.0)
    script = Script()
    script(dataclasses.replace(ahead, side=Side.LEFT), beside)
    result, picture = reconstructor(script), np.zeros((480, 640, 3), dtype=np.uint8)
    for estimate in (result.reconstruct_image(picture, FISHEYE), result(picture, FISHEYE)):
        assert (estimate.left.state, estimate.right.state) == (HandState.TRACKED, HandState.LOST)
        assert np.isfinite(estimate.left.joints).all()
