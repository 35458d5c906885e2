"""Camera: projection, viewing rays, lens models, CameraInfo."""

import types

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hand_recon_ros import Camera
from hand_recon_ros.types import CameraError

K = np.array([[600.0, 0.0, 319.5], [0.0, 610.0, 239.5], [0.0, 0.0, 1.0]])
LENSES = {
    "none": [],
    "plumb_bob": [-0.28, 0.09, 1e-3, -5e-4, -0.01],
    "rational_polynomial": [0.4, -0.2, 1e-3, -5e-4, 0.02, 0.7, -0.1, 0.03],
    "equidistant": [-0.02, 0.004, -0.002, 0.0003],
}


def camera(model, D=None):
    return Camera(K=K, width=640, height=480, distortion_model=model, D=LENSES[model] if D is None else D)


def camera_info(**changes):
    fields = dict(
        width=640, height=480, k=K.ravel(), d=[], distortion_model="plumb_bob", binning_x=0, binning_y=0,
        p=np.hstack([K, np.zeros((3, 1))]).ravel(),
        roi=types.SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0),
    )  # fmt: skip
    return types.SimpleNamespace(**{**fields, **changes})


def points(n=200):
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.2, 2.0, n)
    return np.stack([rng.uniform(-0.5, 0.5, n) * depth, rng.uniform(-0.38, 0.38, n) * depth, depth], axis=-1)


@pytest.mark.parametrize("model", LENSES)
def test_project_agrees_with_opencv(model):
    D = np.array(LENSES[model])
    if model == "equidistant":
        expected = cv2.fisheye.projectPoints(points()[:, None], np.zeros(3), np.zeros(3), K, D)[0][:, 0]
    else:
        expected = cv2.projectPoints(points(), np.zeros(3), np.zeros(3), K, D)[0][:, 0]
    np.testing.assert_allclose(camera(model).project(points()), expected, atol=1e-8)


@pytest.mark.parametrize("model", LENSES)
def test_rays_go_back_through_their_pixels(model):
    pixels = np.stack(np.meshgrid(np.linspace(0, 639, 20), np.linspace(0, 479, 15)), axis=-1)
    rays = camera(model).unproject(pixels)
    assert rays.shape == (15, 20, 3) and np.all(rays[..., 2] == 1.0)
    np.testing.assert_allclose(camera(model).project(rays * 0.7), pixels, atol=1e-5)


def test_undistorted_pixels_are_the_pinhole_projection():
    np.testing.assert_allclose(
        camera("plumb_bob").undistort_pixels(camera("plumb_bob").project(points())),
        camera("none").project(points()),
        atol=1e-5,
    )


def test_points_behind_the_camera_have_no_pixel():
    pixels = camera("plumb_bob").project(np.array([[0.1, 0.1, -1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    assert np.isnan(pixels[:2]).all() and np.allclose(pixels[2], [319.5, 239.5])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4000), st.integers(1, 4000), st.floats(10, 150))
def test_from_fov_spans_the_longer_side(width, height, fov):
    guess = Camera.from_fov(width, height, fov)
    assert not guess.calibrated
    edge = (
        [[-0.5, guess.K[1, 2]], [width - 0.5, guess.K[1, 2]]]
        if width >= height
        else [[guess.K[0, 2], -0.5], [guess.K[0, 2], height - 0.5]]
    )
    a, b = guess.unproject(np.array(edge))
    angle = np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
    assert angle == pytest.approx(fov, abs=1e-6)


def test_camera_info_whole_sensor():
    result = Camera.from_camera_info(camera_info(d=LENSES["plumb_bob"]))
    assert result.calibrated and (result.width, result.height) == (640, 480)
    np.testing.assert_array_equal(result.K, K)
    np.testing.assert_array_equal(result.D, LENSES["plumb_bob"])


def test_camera_info_roi_then_binning():
    roi = types.SimpleNamespace(x_offset=100, y_offset=50, width=400, height=200)
    result = Camera.from_camera_info(camera_info(roi=roi, binning_x=2, binning_y=4))
    assert (result.width, result.height) == (200, 50)
    np.testing.assert_allclose(result.K, [[300.0, 0.0, 219.5 / 2], [0.0, 152.5, 189.5 / 4], [0.0, 0.0, 1.0]])


def test_camera_info_rectified_takes_the_projection_matrix():
    P = np.array([[500.0, 0, 300, 0], [0, 500, 200, 0], [0, 0, 1, 0]])
    result = Camera.from_camera_info(camera_info(d=LENSES["plumb_bob"], p=P.ravel()), rectified=True)
    np.testing.assert_array_equal(result.K, P[:, :3])
    assert result.distortion_model == "none"


def test_camera_info_with_eight_plumb_bob_coefficients():
    result = Camera.from_camera_info(camera_info(d=LENSES["rational_polynomial"]))
    np.testing.assert_allclose(result.project(points()), camera("rational_polynomial").project(points()))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (dict(K=np.zeros((3, 3))), "focal lengths must be positive"),
        (dict(K=np.full((3, 3), np.nan)), "not finite"),
        (dict(K=np.eye(4)), r"shape \(4, 4\)"),
        (dict(K=np.diag([1.0, 1.0, 2.0])), "K must be"),
        (dict(width=0), "0x480"),
        (dict(distortion_model="fov"), "unknown distortion model 'fov'"),
        (dict(distortion_model="plumb_bob", D=[np.nan] * 5), "D holds"),
        (dict(distortion_model="equidistant", D=[0.1] * 5), "equidistant takes 4"),
    ],
)
def test_impossible_cameras_are_refused(changes, text):
    with pytest.raises(CameraError, match=text):
        Camera(**{**dict(K=K, width=640, height=480), **changes})


def test_from_fov_refuses_an_impossible_angle():
    with pytest.raises(CameraError, match="got 180"):
        Camera.from_fov(640, 480, 180.0)


def test_pixels_beyond_the_lens_keep_their_direction():
    """Where the polynomial folds back, a ray must not come out on the other side of the image."""
    K = np.array([[380.0, 0.0, 319.5], [0.0, 380.0, 239.5], [0.0, 0.0, 1.0]])
    folding = Camera(K=K, width=640, height=480, distortion_model="plumb_bob", D=[-0.35, 0.12, 0.0, 0.0, -0.02])
    for pixel in ([-150.0, 40.0], [-100.0, 40.0], [0.0, 40.0], [0.0, 0.0], [800.0, 600.0]):
        ray = folding.unproject(np.array(pixel))
        outwards = np.array(pixel) - K[:2, 2]
        assert ray[:2] @ outwards / np.linalg.norm(ray[:2]) / np.linalg.norm(outwards) > 0.99
        assert np.linalg.norm(ray[:2]) < 5.0
    np.testing.assert_allclose(folding.project(folding.unproject(np.array([60.0, 80.0]))), [60.0, 80.0], atol=1e-6)


def test_a_distortion_without_a_model_is_refused():
    with pytest.raises(CameraError, match="distortion_model is empty"):
        Camera.from_camera_info(camera_info(distortion_model="", d=LENSES["plumb_bob"]))
    assert Camera.from_camera_info(camera_info(distortion_model="", d=[0.0] * 5)).distortion_model == "none"
