"""Rectified images of a stereo pair, and pixels that are not square: hands are in the frame of the images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from evidence import CAMERA, hand, observe
from openxr_gestures import render, script
from scripted_pipeline import IMAGE, Script, reconstructor

from hand_recon_ros import Camera, Side, TwoHandReconstructor
from hand_recon_ros.overlay import draw_overlay

BASELINE = np.array([0.12, -0.01, 0.0])


@pytest.mark.parametrize("single", [False, True])
def test_hands_are_moved_to_the_frame_of_the_images_and_stay_where_they_are_in_the_image(single: bool) -> None:
    scripted = Script()
    scripted(*(observe(hand(seed, side)[3], side) for seed, side in ((3, Side.LEFT), (4, Side.RIGHT))))
    second = dataclasses.replace(CAMERA, center=BASELINE)
    results = []
    for camera in (CAMERA, second):
        pipeline = reconstructor(scripted)
        results.append(pipeline.reconstruct_image(IMAGE, camera) if single else pipeline(IMAGE, camera, stamp=1.0))
    for side in Side:
        own, moved = (estimate.hand(side) for estimate in results)
        assert own.found and moved.found
        np.testing.assert_allclose(moved.joints, own.joints + BASELINE, atol=1e-9)
        np.testing.assert_allclose(moved.vertices, own.vertices + BASELINE, atol=1e-6)
        np.testing.assert_allclose(moved.translation, own.translation + BASELINE, atol=1e-9)
        np.testing.assert_allclose(moved.wrist_pose[:3, 3], own.wrist_pose[:3, 3] + BASELINE, atol=1e-9)
        np.testing.assert_array_equal(moved.keypoints_2d, own.keypoints_2d)
        np.testing.assert_allclose(second.project(moved.joints), CAMERA.project(own.joints), atol=1e-6)
    blank = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    drawn = [draw_overlay(blank, estimate, camera) for estimate, camera in zip(results, (CAMERA, second), strict=True)]
    # The label has the distance to the frame's origin.
    assert (drawn[0] != drawn[1]).any(axis=-1).mean() < 0.003 < 0.02 < (drawn[0] != blank).any(axis=-1).mean()


@pytest.fixture(scope="module")
def networks() -> TwoHandReconstructor:
    return TwoHandReconstructor.from_config(device="cpu")


def wrists(networks: TwoHandReconstructor, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """The wrists (2, 3) that are found in a rendered picture of open hands, and the true ones, in the images' frame."""
    rendering = render(script()[0], camera=camera)
    estimate = networks.reconstruct_image(rendering.image, camera)
    found = np.stack([estimate.hand(side).joints[0] for side in Side])
    return found, rendering.joints[:, 0] + camera.center


def check(camera: Camera, found: np.ndarray, truth: np.ndarray) -> None:
    """Wrists (2, 3) are near the rays of the true ones; one camera measures their distance much worse."""
    assert np.linalg.norm(camera.project(found) - camera.project(truth), axis=1).max() < 12.0
    far, true_far = (np.linalg.norm(points - camera.center, axis=1) for points in (found, truth))
    assert np.abs(far / true_far - 1.0).max() < 0.13


def test_both_cameras_of_a_rendered_stereo_pair_find_the_hands_at_one_place(networks: TwoHandReconstructor) -> None:
    info = np.array([[500.0, 0.0, 319.5, 0.0], [0.0, 500.0, 239.5, 0.0], [0.0, 0.0, 1.0, 0.0]])
    pair = []
    for shift in (0.0, -500.0 * BASELINE[0]):
        P = info.copy()
        P[0, 3] = shift
        pair.append(Camera(K=P[:, :3], width=640, height=480, center=np.array([-shift / 500.0, 0.0, 0.0])))
    (left, truth), (right, same) = (wrists(networks, camera) for camera in pair)
    np.testing.assert_allclose(truth, same, atol=1e-9)
    assert np.abs((right - left)[:, :2]).max() < BASELINE[0] / 4
    for camera, found in zip(pair, (left, right), strict=True):
        check(camera, found, truth)


@pytest.mark.parametrize("share", [0.75, 1.3])
def test_pixels_that_are_not_square(networks: TwoHandReconstructor, share: float) -> None:
    K = np.array([[480.0, 0.0, 319.5], [0.0, 480.0 * share, 239.5], [0.0, 0.0, 1.0]])
    camera = Camera(K=K, width=640, height=480)
    check(camera, *wrists(networks, camera))


def test_the_node_takes_the_baseline_of_camera_info() -> None:
    pytest.importorskip("rclpy")
    pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
    from ros_support import NodeOnDds, camera_info

    with NodeOnDds(rectified=True) as dds:
        info = camera_info()
        info.p = [300.0, 0.0, 160.0, -36.0, 0.0, 300.0, 120.0, 0.0, 0.0, 0.0, 1.0, 0.0]
        dds.send_info(info)
        dds.process()
        camera = dds.reconstructor.calls[-1][1]
        np.testing.assert_allclose(camera.center, [0.12, 0.0, 0.0])
        np.testing.assert_allclose(camera.project(np.array([0.12, 0.0, 0.5])), [160.0, 120.0])
