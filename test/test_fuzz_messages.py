"""Images and camera_info with random contents: a picture or camera that is right, or InputError, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from fuzzing import damaged, fuzzed, limited_memory, numbers
from hypothesis import given
from hypothesis import strategies as st

from hand_recon_ros.conversions.cameras import CameraInfos
from hand_recon_ros.conversions.images import InputError, decode_depth
from hand_recon_ros.ros.images import decode

ENCODINGS = (
    "bgr8", "rgb8", "bgra8", "rgba8", "mono8", "8UC1", "8UC3", "8UC4", "uyvy", "yuv422", "yuyv", "yuv422_yuy2",
    "bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8", "bgr16", "rgb16", "bgra16", "rgba16", "mono16",
    "bayer_rggb16", "bayer_grbg16", "16UC3", "16UC4", "nv12", "nv21", "nv16", "nv61", "nv24", "nv42", "i420", "yuv420",
    "yuv420p", "yv12", "NV12", "16UC1", "32FC1", "64FC1", "16SC1", "32FC3", "8SC3", "h264", "",
)  # fmt: skip
PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
FILES = [
    cv2.imencode(suffix, picture)[1].tobytes()
    for suffix, picture in (
        (".jpg", PICTURE),
        (".png", PICTURE),
        (".png", PICTURE[..., 0]),
        (".png", PICTURE.astype(np.uint16) << 4),
        (".png", PICTURE[..., 0].astype(np.uint16)),
        (".png", np.dstack([PICTURE, PICTURE[..., 0]])),
        (".tiff", PICTURE),
        (".bmp", PICTURE),
    )
]
FORMATS = (
    "jpeg", "png", "", ";", "bgr8; jpeg compressed bgr8", "rgb8; png compressed rgb8", "mono16; png compressed mono16",
    "16UC1; compressedDepth png", "bayer_rggb8; png compressed bayer_rggb8", "bayer_xyz; png", "mono16",
    "; compressed ",
)  # fmt: skip
SIZES = st.one_of(st.integers(0, 70), st.sampled_from([2**31 - 1, 2**31, 2**32 - 1, 65536]))


@st.composite
def raw_images(draw: Any) -> SimpleNamespace:
    """Mostly of a length that fits size, step and encoding."""
    width, height = draw(SIZES), draw(SIZES)
    encoding = draw(st.one_of(st.sampled_from(ENCODINGS), st.text(max_size=12)))
    step = draw(st.one_of(st.sampled_from([1, 2, 3, 4, 6, 8]).map(lambda size: size * width), SIZES)) % 2**32
    factor = draw(st.sampled_from([1.0, 1.0, 1.5, 2.0, 3.0]))
    length = draw(st.sampled_from([int(step * height * factor), step * height + 1, 7, 0]))
    seed = draw(st.integers(0, 2**32))
    data = np.random.default_rng(seed).bytes(length) if length < 200_000 else b"\xff\xd8\xff" + bytes(1000)
    return SimpleNamespace(
        width=width, height=height, encoding=encoding, step=step, data=data, is_bigendian=draw(st.integers(0, 255))
    )


def check_picture(message: Any, size: tuple[int, int] | None) -> None:
    with limited_memory():
        try:
            image = decode(message, "/image")
        except InputError as error:
            assert "/image" in str(error) and error.kind
            return
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert size is None or image.shape[:2] == size


@fuzzed(80)
@given(raw_images())
def test_raw_images(message: Any) -> None:
    check_picture(message, (message.height, message.width))


@fuzzed(60)
@given(
    st.one_of(st.sampled_from(FILES).flatmap(damaged), st.binary(max_size=200)),
    st.one_of(st.sampled_from(FORMATS), st.text(max_size=20)),
)
def test_compressed_images(data: bytes, text: str) -> None:
    check_picture(SimpleNamespace(data=data, format=text), None)


@fuzzed(70)
@given(raw_images(), st.sampled_from(["16UC1", "32FC1", "mono16", "xyz"]))
def test_depth_images(message: Any, encoding: str) -> None:
    message.encoding = encoding
    with limited_memory():
        try:
            depth = decode_depth(message, "/depth")
        except InputError as error:
            assert "/depth" in str(error)
            return
    assert depth.dtype == np.float32 and depth.shape == (message.height, message.width)
    assert (np.isnan(depth) | ((depth > 0.0) & (depth < np.inf))).all()


@st.composite
def infos(draw: Any) -> SimpleNamespace:
    """Mostly with the form of a calibration."""
    k = np.array([500.0, 0.0, 320.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0])
    p = np.array([500.0, 0.0, 320.0, 0.0, 0.0, 500.0, 240.0, 0.0, 0.0, 0.0, 1.0, 0.0])
    for values in (k, p):
        for place in draw(st.lists(st.integers(0, len(values) - 1), max_size=3)):
            values[place] = draw(numbers())
    models = ["plumb_bob", "rational_polynomial", "equidistant", "fisheye", "", "none", "thin_prism", "fov"]
    size = st.sampled_from([(640, 480), (640, 480), (0, 0), (1280, 960), (2**32 - 1, 1)])
    width, height = draw(size)
    roi = draw(st.sampled_from([(0, 0, 0, 0), (0, 0, 640, 480), (10, 2**32 - 1, 640, 480), (5, 5, 0, 480)]))
    binning = st.sampled_from([0, 1, 2, 2**32 - 1])
    return SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=1, nanosec=2), frame_id="camera"),
        width=width,
        height=height,
        k=k,
        p=p,
        r=np.zeros(9),
        d=draw(st.lists(st.one_of(numbers(), st.floats(-0.5, 0.5)), max_size=20)),
        distortion_model=draw(st.one_of(st.sampled_from(models), st.text(max_size=5))),
        binning_x=draw(binning),
        binning_y=draw(binning),
        roi=SimpleNamespace(**dict(zip(("x_offset", "y_offset", "width", "height"), roi, strict=True))),
    )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@fuzzed(80)
@given(infos(), st.booleans(), st.sampled_from([0.0, 60.0]))
def test_camera_info(info: Any, rectified: bool, fov: float) -> None:
    cameras = CameraInfos("/image", "/camera_info")
    cameras.add(info)
    try:
        camera = cameras.camera(info.header.stamp, 640, 480, rectified, fov)
    except InputError as error:
        assert "/camera_info" in str(error) and error.kind
        return
    assert (camera.width, camera.height) == (640, 480)
    # A camera that was accepted can be computed with, however strange its lens is.
    pixels = np.array([[0.0, 0.0], [320.0, 240.0], [639.0, 479.0], [-1000.0, 5000.0]])
    for result in (camera.unproject(pixels), camera.directions(pixels)):
        assert result.shape == (4, 3)
    points = np.array([[0.0, 0.0, 0.5], [0.3, -0.2, 0.4], [5.0, 5.0, 0.1], [0.0, 0.0, -1.0]])
    assert camera.project(points).shape == (4, 2)
    assert np.isnan(camera.project(points)[3]).all()
