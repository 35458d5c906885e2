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
LONG = {  # rational_polynomial with thin prism, and with a tilted sensor too
    "thin prism": [*LENSES["rational_polynomial"], 0.01, -0.02, 0.015, 0.005],
    "tilted": [*LENSES["rational_polynomial"], 0.01, -0.02, 0.015, 0.005, 0.05, -0.03],
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


@pytest.mark.parametrize("lens", LONG)
@pytest.mark.parametrize("model", ["rational_polynomial", "plumb_bob"])
def test_thin_prism_and_tilt_are_those_of_opencv(lens, model):
    D = np.array(LONG[lens])
    long = camera(model, D)
    assert long.distortion_model == "rational_polynomial"
    expected = cv2.projectPoints(points(), np.zeros(3), np.zeros(3), K, D)[0][:, 0]
    np.testing.assert_allclose(long.project(points()), expected, atol=1e-8)
    pixels = np.stack(np.meshgrid(np.linspace(0, 639, 20), np.linspace(0, 479, 15)), axis=-1)
    np.testing.assert_allclose(long.project(long.unproject(pixels) * 0.7), pixels, atol=1e-5)


def test_a_fisheye_has_the_name_of_opencv_too():
    info = camera_info(distortion_model="fisheye", d=LENSES["equidistant"])
    for lens in (camera("fisheye", LENSES["equidistant"]), Camera.from_camera_info(info)):
        assert lens.distortion_model == "equidistant"
        np.testing.assert_array_equal(lens.project(points()), camera("equidistant").project(points()))


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


def test_the_second_camera_of_a_stereo_pair_projects_by_its_whole_matrix():
    """Points are in the frame of the first camera, as those of image_geometry; pixels need not be square."""
    P = np.array([[500.0, 0, 300, -60.0], [0, 400, 200, 8.0], [0, 0, 1, 0]])
    result = Camera.from_camera_info(camera_info(p=P.ravel(), binning_x=2, binning_y=2), rectified=True)
    np.testing.assert_allclose(result.center, [0.12, -0.02, 0.0])
    seen = points()
    homogeneous = np.concatenate([seen, np.ones((len(seen), 1))], axis=1) @ P.T
    np.testing.assert_allclose(result.project(seen), homogeneous[:, :2] / homogeneous[:, 2:] / 2.0, atol=1e-9)
    rays = result.unproject(result.project(seen))
    np.testing.assert_allclose(rays * seen[:, 2:] + result.center, seen, atol=1e-9)
    centred = result.centred
    assert not centred.center.any() and centred.centred is centred
    raw = Camera.from_camera_info(camera_info(p=P.ravel()))
    assert not raw.center.any()


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
        (dict(center=np.zeros(2)), "center must be"),
        (dict(center=[np.nan, 0.0, 0.0]), "center must be"),
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


WIDE_K = np.array([[300.0, 0.0, 319.5], [0.0, 300.0, 239.5], [0.0, 0.0, 1.0]])
FOLDING = {
    "plumb_bob": [-0.35, 0.12, 1e-3, -5e-4, -0.02],
    "rational_polynomial": [-0.1, -0.05, 1e-3, -5e-4, 0.0, 0.25, 0.02, 0.0],
    "equidistant": [-0.05, -0.06, 0.0, 0.0],
}


def wide_camera(model, D):
    return Camera(K=WIDE_K, width=640, height=480, distortion_model=model, D=D)


def opencv_pixels(model, D, points):
    """OpenCV's projection, which has no range."""
    D, zero = np.asarray(D, dtype=np.float64), np.zeros(3)
    if model == "equidistant":
        return cv2.fisheye.projectPoints(points[:, None], zero, zero, WIDE_K, D)[0][:, 0]
    return cv2.projectPoints(points, zero, zero, WIDE_K, D)[0][:, 0]


@pytest.mark.parametrize("model", FOLDING)
def test_points_that_the_lens_model_would_fold_back_have_no_pixel(model):
    radius = np.linspace(0.0, 6.0, 6001)
    points = np.stack([radius, np.zeros_like(radius), np.ones_like(radius)], axis=-1) * 0.7
    D = np.array(FOLDING[model])
    if model != "equidistant":
        D[2:4] = 0.0  # so that the distance from the middle is the radial part alone
    expected = opencv_pixels(model, D, points)
    turn = int(np.argmax(np.diff(expected[:, 0]) < 0.0))
    assert 0 < turn and (np.abs(expected[turn + 5 :] - WIDE_K[:2, 2]) < (320, 240)).all(axis=1).any()
    pixels = wide_camera(model, D).project(points)
    np.testing.assert_allclose(pixels[:turn], expected[:turn], atol=1e-8)
    assert np.isnan(pixels[turn + 2 :]).all()


@pytest.mark.parametrize("model", FOLDING)
def test_points_within_the_range_of_a_folding_lens_agree_with_opencv(model):
    directions = np.random.default_rng(1).uniform((-0.6, -0.6, 1.0), (0.6, 0.6, 1.0), (500, 3))
    pixels = wide_camera(model, FOLDING[model]).project(directions)
    np.testing.assert_allclose(pixels, opencv_pixels(model, FOLDING[model], directions), atol=1e-8)


def test_a_pole_of_the_rational_model_ends_its_range():
    D = [0.0, 0.0, 0.0, 0.0, 0.0, -0.25, 0.0, 0.0]  # r / (1 - r^2 / 4)
    pixels = wide_camera("rational_polynomial", D).project(np.array([[1.9, 0.0, 1.0], [2.1, 0.0, 1.0]]))
    assert pixels[0, 0] == pytest.approx(319.5 + 300.0 * 1.9 / (1.0 - 1.9**2 / 4.0)) and np.isnan(pixels[1]).all()


FISHEYE = [-0.02, 0.004, -0.002, 0.0003]


def at_angle(degrees):
    """Directions (..., 3) at angles to the optical axis, to the lower right."""
    angle = np.radians(np.asarray(degrees))
    return np.stack([0.8 * np.sin(angle), 0.6 * np.sin(angle), np.cos(angle)], axis=-1)


def fisheye_pixel(degrees, D=FISHEYE):
    """The equidistant model's own equation, for any angle."""
    angle = np.radians(np.asarray(degrees))
    k1, k2, k3, k4 = D
    distorted = angle * (1 + k1 * angle**2 + k2 * angle**4 + k3 * angle**6 + k4 * angle**8)
    return 300.0 * distorted[..., None] * (0.8, 0.6) + WIDE_K[:2, 2]


def test_a_fisheye_has_rays_up_to_90_degrees_and_directions_beyond():
    lens = wide_camera("equidistant", FISHEYE)
    seen = np.array([0.0, 30.0, 60.0, 80.0, 89.0])
    rays = lens.unproject(fisheye_pixel(seen))
    np.testing.assert_allclose(rays, at_angle(seen) / at_angle(seen)[:, 2:], rtol=1e-7, atol=1e-12)
    ours = cv2.fisheye.undistortPoints(fisheye_pixel(seen[:4])[:, None], WIDE_K, np.array(FISHEYE))[:, 0]
    np.testing.assert_allclose(rays[:4, :2], ours, rtol=1e-4, atol=1e-6)
    beyond = np.array([90.0, 91.0, 100.0, 110.0])
    assert np.isnan(lens.unproject(fisheye_pixel(beyond))).all()
    assert np.isnan(lens.undistort_pixels(fisheye_pixel(beyond))).all()
    np.testing.assert_allclose(lens.directions(fisheye_pixel(beyond)), at_angle(beyond), atol=1e-9)
    assert np.isnan(lens.project(at_angle(beyond))).all()


@pytest.mark.parametrize(
    "D",
    [
        [0.0] * 4,
        FISHEYE,
        FOLDING["equidistant"],
        [0.1, 0.05, -0.03, 0.004],
        [-0.1, 0.0, 0.0, 0.0],
        [0.3, -0.2, 0.0, 0.0],
    ],
)
def test_fisheye_directions_go_back_through_their_pixels(D):
    lens = wide_camera("equidistant", D)
    angles = np.linspace(0.0, 179.0, 180)
    pixels = fisheye_pixel(angles, D)
    growing = np.cumprod(np.diff(np.linalg.norm(pixels - WIDE_K[:2, 2], axis=1), append=np.inf) > 0.02).astype(bool)
    assert growing.sum() > 30
    np.testing.assert_allclose(lens.directions(pixels[growing]), at_angle(angles[growing]), atol=1e-6)
    beyond = WIDE_K[:2, 2] + 2.0 * (pixels[growing][-1] - WIDE_K[:2, 2])
    assert np.isnan(lens.unproject(beyond)).all()
    # As seen from the axis the direction stays, at the last angle.
    x, y, z = lens.directions(beyond)
    assert y / x == pytest.approx(0.6 / 0.8) and np.degrees(np.arccos(z)) == pytest.approx(growing.sum(), abs=3.0)


@pytest.mark.parametrize("model", LENSES)
def test_directions_are_the_rays_at_unit_length(model):
    pixels = np.random.default_rng(2).uniform(0, (639, 479), (50, 2))
    rays = camera(model).unproject(pixels)
    expected = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    np.testing.assert_allclose(camera(model).directions(pixels), expected, atol=1e-12)


@pytest.mark.parametrize("model", LENSES)
def test_nan_stays_with_its_point(model):
    lens, pixels = camera(model), np.array([[100.0, 80.0], [np.nan, 50.0], [400.0, 300.0]])
    for convert in (lens.unproject, lens.directions, lens.undistort_pixels):
        converted = convert(pixels)
        assert np.isnan(converted[1]).any()
        np.testing.assert_array_equal(converted[[0, 2]], convert(pixels[[0, 2]]))
    assert np.isnan(lens.project(np.array([[0.1, np.nan, 1.0], [0.1, 0.1, 1.0]]))).any(axis=1).tolist() == [True, False]


def test_any_lens_inverts_its_own_distortion():
    """Also lenses that fold early, have a pole, or whose distortion grows and shrinks in turn."""
    rng = np.random.default_rng(5)
    for scale in rng.uniform(0.0, 1.0, 100):
        D = scale * rng.normal(0.0, [0.3, 0.1, 1e-3, 1e-3, 0.03, 0.3, 0.1, 0.03])
        lens = wide_camera("rational_polynomial", D)
        rays = np.append(rng.uniform(-0.9, 0.9, (50, 2)), np.ones((50, 1)), axis=1)
        inverted = lens.unproject(lens.project(rays))
        steeper = np.linalg.norm(rays[:, :2], axis=1) < lens.fold_radius - 0.3
        np.testing.assert_allclose(inverted[steeper], rays[steeper], atol=1e-6)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("model", "D"),
    [
        ("plumb_bob", [0.0, 0.0, 1e300, 0.0, 0.0]),
        ("rational_polynomial", [0.3, 1e-300, 7e-114, 0.0, 2.2e-311, 2e-36, 0.0, 0.0]),
        ("rational_polynomial", [1e300, 0.0, 0.0, 0.0, 1e-50, 1e-40, 1e300, 0.0]),
        ("equidistant", [1e300, 0.0, 1e-300, 1e-50]),
    ],
)
def test_coefficients_that_no_lens_has_raise_nothing(model, D):
    K = np.array([[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]])
    camera = Camera(K=K, width=640, height=480, distortion_model=model, D=D)
    pixels = np.array([[0.0, 0.0], [320.0, 240.0], [639.0, 479.0], [-1000.0, 5000.0]])
    assert camera.unproject(pixels).shape == camera.directions(pixels).shape == (4, 3)
