"""Reading photos, folders and videos, and the errors where they cannot be read."""

from __future__ import annotations

import functools
import http.server
import os
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from hand_recon_ros import Camera
from hand_recon_ros.calibration import (
    calibration_path,
    camera_for_image,
    read_calibration,
    scaled_camera,
    write_calibration,
)
from hand_recon_ros.camera import CameraError
from hand_recon_ros.sources import Live, SourceError, open_source, resized, source_path


def picture(value: int, width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


def write_video(path: Path, values: list[int], rate: float = 12.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (64, 48))
    for value in values:
        writer.write(picture(value))
    writer.release()
    return path


def test_a_folder_comes_sorted_and_its_bad_photos_are_left_out(tmp_path):
    for name, value in (("b.png", 20), ("a.png", 10), ("C.PNG", 30)):
        cv2.imwrite(str(tmp_path / name.lower()), picture(value))
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "aa.jpg").write_bytes(b"no photo either")
    source = open_source(str(tmp_path))
    assert source.size == (64, 48) and source.rate == 0.0 and not source.live
    images = list(source)
    assert [int(item.image[0, 0, 0]) for item in images] == [10, 20, 30]
    assert [item.number for item in images] == [0, 2, 3]
    assert list(source.left_out) == [str(tmp_path / "aa.jpg")]
    assert len(list(source)) == 3  # from the beginning again


def test_a_photo_is_bgr_whatever_the_file_holds(tmp_path):
    cv2.imwrite(str(tmp_path / "grey16.png"), np.full((4, 6), 0x8040, dtype=np.uint16))
    cv2.imwrite(str(tmp_path / "alpha.png"), np.full((4, 6, 4), (1, 2, 3, 4), dtype=np.uint8))
    for name, pixel in (("grey16.png", [128, 128, 128]), ("alpha.png", [1, 2, 3])):
        (item,) = open_source(str(tmp_path / name))
        assert item.image.dtype == np.uint8 and item.image.shape == (4, 6, 3)
        assert item.image[0, 0].tolist() == pixel


def test_a_video_has_its_rate_and_all_its_frames(tmp_path):
    source = open_source(str(write_video(tmp_path / "clip.mp4", [0, 50, 100, 150, 200])))
    assert source.rate == pytest.approx(12.0) and source.size == (64, 48)
    for _ in range(2):
        np.testing.assert_allclose([item.image.mean() for item in source], [0, 50, 100, 150, 200], atol=4)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("missing.png", None, "no such file"),
        ("bad.png", b"not a picture", "bad.png cannot be decoded"),
        ("bad.mp4", b"not a video", "cannot be read as a video"),
        ("text.txt", b"not at all", "not a photo"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, text):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=text) as error:
        open_source(str(tmp_path / name))
    assert name in str(error.value) and "\n" not in str(error.value)


def test_empty_sources_are_named(tmp_path):
    with pytest.raises(SourceError, match="no photos in this folder"):
        open_source(str(tmp_path))
    with pytest.raises(SourceError, match="no source given"):
        open_source(" ")
    with pytest.raises(SourceError, match="camera 63: cannot be opened"):
        open_source("63")


class FakeCapture:
    """Stands for cv2.VideoCapture of a webcam: ``images`` images, then nothing more."""

    def __init__(self, images: int) -> None:
        self.images, self.taken, self.released = images, 0, False

    def isOpened(self) -> bool:
        return True

    def get(self, _: int) -> float:
        return 25.0

    def set(self, *_: float) -> bool:
        return True

    def grab(self) -> bool:
        self.taken += 1
        return self.taken <= self.images

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, picture(self.taken)

    def release(self) -> None:
        self.released = True


def test_a_webcam_without_images_is_an_error(monkeypatch):
    capture = FakeCapture(0)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: capture)
    with pytest.raises(SourceError, match="camera 0: opened, but no image came"):
        open_source("0", timeout=1.0)
    assert capture.released


def test_a_webcam_that_ends_is_an_error_and_its_images_have_times(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: FakeCapture(3))
    source = open_source("0", timeout=0.5)
    assert isinstance(source, Live) and source.live and source.rate == 25.0
    taken = []
    with pytest.raises(SourceError, match="unplugged"):
        for item in source:
            taken.append(item)
    assert taken and all(item.captured is not None for item in taken)
    source.close()


def test_resizing_keeps_the_aspect_where_one_side_is_free():
    assert resized(picture(0), 0, 0).shape == (48, 64, 3)
    assert resized(picture(0), 32, 0).shape == (24, 32, 3)
    assert resized(picture(0), 0, 96).shape == (96, 128, 3)
    assert resized(picture(0), 10, 20).shape == (20, 10, 3)


CAMERA = Camera(
    K=np.array([[601.25, 0.0, 318.5], [0.0, 603.125, 241.75], [0.0, 0.0, 1.0]]),
    width=640,
    height=480,
    distortion_model="plumb_bob",
    D=np.array([0.1, -0.05, 0.001, -0.002, 0.01]),
)


def test_calibrations_come_back_bit_for_bit(tmp_path):
    write_calibration(tmp_path / "camera.yaml", CAMERA)
    camera = read_calibration(tmp_path / "camera.yaml")
    np.testing.assert_array_equal(camera.K, CAMERA.K)
    np.testing.assert_array_equal(camera.D, CAMERA.D)
    assert (camera.width, camera.height, camera.distortion_model) == (640, 480, "plumb_bob")
    assert camera.calibrated


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("a: [", "not YAML"),
        ("- 1", "expected a mapping"),
        ("image_width: 640\nimage_height: 480\n", "camera_matrix is missing"),
        ("image_width: 640\nimage_height: 480\ncamera_matrix: {data: [1, 2]}", "needs 9 numbers, got 2"),
        ("image_width: a\nimage_height: 480\ncamera_matrix: {data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}", "whole numbers"),
        ("image_width: 640\nimage_height: 480\ncamera_matrix: {data: [0, 0, 0, 0, 0, 0, 0, 0, 1]}", "focal lengths"),
    ],
)
def test_bad_calibrations_are_named(tmp_path, content, text):
    (tmp_path / "camera.yaml").write_text(content)
    with pytest.raises(CameraError, match=text) as error:
        read_calibration(tmp_path / "camera.yaml")
    assert "camera.yaml" in str(error.value)
    with pytest.raises(CameraError, match="No such file"):
        read_calibration(tmp_path / "other.yaml")


D14 = [0.4, -0.2, 1e-3, -5e-4, 0.02, 0.7, -0.1, 0.03, 0.01, -0.02, 0.015, 0.005, 0.05, -0.03]


@pytest.mark.parametrize("suffix", [".yaml", ".xml", ".json"])
@pytest.mark.parametrize("count", [0, 4, 5, 8, 12, 14])
@pytest.mark.parametrize(
    "names",
    [
        ("image_width", "image_height", "camera_matrix", "distortion_coefficients"),
        ("image_Width", "image_Height", "Camera_Matrix", "Distortion_Coefficients"),
        ("imageSize", "", "cameraMatrix", "distCoeffs"),
        ("image_size", "", "K", "D"),
    ],
)
def test_calibrations_of_opencv_are_read(tmp_path, suffix, count, names):
    path, D = tmp_path / f"camera{suffix}", np.array(D14[:count])
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    if names[1]:
        storage.write(names[0], 640)
        storage.write(names[1], 480)
    else:
        storage.write(names[0], np.array([640, 480]))
    storage.write("calibration_time", "today")
    storage.write(names[2], CAMERA.K)
    if count:
        storage.write(names[3], D[None])
    storage.release()
    camera = read_calibration(path)
    assert (camera.width, camera.height) == (640, 480)
    np.testing.assert_array_equal(camera.K, CAMERA.K)
    expected = {0: "none", 4: "plumb_bob", 5: "plumb_bob"}.get(count, "rational_polynomial")
    assert camera.distortion_model == expected
    np.testing.assert_array_equal(camera.D[:count], D)
    assert not np.any(camera.D[count:])


def test_a_sequence_as_size_and_a_fisheye_of_opencv_are_read(tmp_path):
    path = tmp_path / "camera.yml"
    path.write_text(
        "%YAML:1.0\n---\nimage_size: [ 640, 480 ]\nfisheye_model: 1\ncamera_matrix: !!opencv-matrix\n   rows: 3\n"
        "   cols: 3\n   dt: d\n   data: [ 300., 0., 320., 0., 300., 240., 0., 0., 1. ]\n"
        "distortion_coefficients: !!opencv-matrix\n   rows: 4\n   cols: 1\n   dt: d\n"
        "   data: [ 0.1, 0.01, 0.001, 0.0001 ]\n"
    )
    camera = read_calibration(path)
    assert (camera.width, camera.height, camera.distortion_model) == (640, 480, "equidistant")
    np.testing.assert_array_equal(camera.D, [0.1, 0.01, 0.001, 0.0001])
    path.write_text("%YAML:1.0\n---\nimage_size: [ 640, \ncamera_matrix: !!opencv-matrix\n  rows: ")
    with pytest.raises(CameraError, match=r"camera\.yml: ") as error:
        read_calibration(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("model", "own"), [("radtan", "plumb_bob"), ("equidistant", "equidistant")])
def test_calibrations_of_kalibr_are_read(tmp_path, model, own):
    path = tmp_path / "camchain.yaml"
    path.write_text(
        f"cam0:\n  camera_model: pinhole\n  intrinsics: [461.6, 460.3, 363.0, 248.1]\n  distortion_model: {model}\n"
        "  distortion_coeffs: [-0.27, 0.06, 0.001, -0.002]\n  resolution: [752, 480]\n"
    )
    camera = read_calibration(path)
    assert (camera.width, camera.height, camera.distortion_model) == (752, 480, own)
    np.testing.assert_array_equal(camera.K, [[461.6, 0, 363.0], [0, 460.3, 248.1], [0, 0, 1]])
    np.testing.assert_array_equal(camera.D[:4], [-0.27, 0.06, 0.001, -0.002])
    path.write_text("cam0: {camera_model: omni}\n")
    with pytest.raises(CameraError, match="camera_model: pinhole"):
        read_calibration(path)


def test_calibration_urls():
    assert calibration_path("/a/b.yaml") == "/a/b.yaml"
    assert calibration_path("file:///a/b%20c.yaml") == "/a/b c.yaml"
    with pytest.raises(CameraError, match="package://"):
        calibration_path("package://x/b.yaml")


def test_a_resized_camera_sees_the_same_rays():
    small = scaled_camera(CAMERA, 320, 160)
    # The corners of the image, half a pixel outside of the outermost pixels' centres.
    corners = np.array([[-0.5, -0.5], [639.5, 479.5]])
    small_corners = np.array([[-0.5, -0.5], [319.5, 159.5]])
    np.testing.assert_allclose(small.unproject(small_corners), CAMERA.unproject(corners), atol=1e-9)


def test_what_exists_is_a_path_and_the_rest_may_be_a_camera(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2024").mkdir()
    cv2.imwrite(str(tmp_path / "2024" / "a b.png"), picture(10))
    spaced = tmp_path / " c.png "
    cv2.imwrite(str(tmp_path / "c.png"), picture(20))
    (tmp_path / "c.png").rename(spaced)
    assert source_path("2024") == Path("2024") and source_path("1") is None and source_path("rtsp://host/a") is None
    assert [int(item.image[0, 0, 0]) for item in open_source("2024")] == [10]
    assert [int(item.image[0, 0, 0]) for item in open_source((tmp_path / "2024" / "a b.png").as_uri())] == [10]
    video = write_video(tmp_path / "clip.mp4", [0, 50, 100])
    assert len(list(open_source(video.as_uri()))) == 3
    for name in ("²", "１２", "3.5"):  # digits to Python, and no index
        with pytest.raises(SourceError, match=f"{name}: no such file"):
            open_source(name)


def test_names_that_are_not_utf8_are_read(tmp_path):
    for name, value in ((b"a\xe9.png", 10), (b"b.png", 20)):
        (tmp_path / os.fsdecode(name)).write_bytes(cv2.imencode(".png", picture(value))[1].tobytes())
    assert [int(item.image[0, 0, 0]) for item in open_source(str(tmp_path))] == [10, 20]
    write_video(tmp_path / "clip.mp4", [0, 50]).rename(tmp_path / os.fsdecode(b"\xe9.mp4"))
    assert len(list(open_source(str(tmp_path / os.fsdecode(b"\xe9.mp4"))))) == 2


def test_what_is_left_out_of_a_folder_is_named(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture(10))
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    data = cv2.imencode(".jpg", noise)[1].tobytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2])
    for name in ("phone.HEIC", "clip.MOV", "notes.txt", "empty.jpg"):
        (tmp_path / name).write_bytes(b"")
    source = open_source(str(tmp_path))
    assert len(list(source)) == 1 and source.expected == 5
    reasons = {Path(name).name: reason for name, reason in source.left_out.items()}
    assert reasons == {
        "half.jpg": "is cut off",
        "empty.jpg": "is empty",
        "phone.HEIC": "pictures of this kind are not read, convert it to JPEG or PNG",
        "clip.MOV": "a video among photos is not read, give it by itself",
    }
    with pytest.raises(SourceError, match=r"phone\.HEIC: .*convert it to JPEG"):
        open_source(str(tmp_path / "phone.HEIC"))
    (tmp_path / "a.png").unlink()
    with pytest.raises(SourceError, match=r"empty\.jpg is empty, and none of the other 1 can be read"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
def test_a_video_that_is_cut_off_says_how_much_was_read(tmp_path, suffix):
    path = tmp_path / f"clip{suffix}"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
    rng = np.random.default_rng(0)
    for _ in range(60):
        writer.write(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    writer.release()
    whole = open_source(str(path))
    assert len(list(whole)) == 60 == whole.expected and whole.left_out == {}
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.4)])
    source = open_source(str(path))
    count = len(list(source))
    assert 10 < count < 30 and source.expected == 60
    assert source.left_out == {str(path): f"{count} of 60 images could be read (cut off?)"}


def test_the_times_of_a_video_are_its_own(tmp_path):
    animation = cv2.Animation()
    animation.frames = [picture(20 * i) for i in range(10)]
    animation.durations = [30] * 5 + [300] * 5
    cv2.imwriteanimation(str(tmp_path / "phone.gif"), animation)
    source = open_source(str(tmp_path / "phone.gif"))
    times = [0.0, 0.03, 0.06, 0.09, 0.12, 0.15, 0.45, 0.75, 1.05, 1.35]
    for _ in range(2):
        np.testing.assert_allclose([item.time for item in source], times, atol=1e-6)
    assert source.expected == 10 and source.left_out == {}


def test_the_end_of_a_stream_is_its_end(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: FakeCapture(3))
    source = open_source("rtsp://camera/live", timeout=0.5)
    assert source.live and 1 <= len(list(source)) <= 3
    source.close()


def test_every_image_of_a_stream_is_read_in_order(tmp_path):
    video = write_video(tmp_path / "clip.mp4", [0, 50, 100, 150])

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        source = open_source(f"http://127.0.0.1:{server.server_port}/{video.name}", in_order=True)
        images = list(source)
        server.shutdown()
    assert not source.live and [item.time for item in images] == pytest.approx([0, 1 / 12, 2 / 12, 3 / 12], abs=1e-3)
    np.testing.assert_allclose([item.image.mean() for item in images], [0, 50, 100, 150], atol=4)


@pytest.mark.parametrize("size", [(640, 480), (320, 240), (1280, 960), (427, 320), (214, 160)])
def test_a_calibration_is_scaled_to_a_picture_of_its_aspect(size):
    camera = camera_for_image(CAMERA, *size, "camera.yaml")
    assert (camera.width, camera.height) == size
    np.testing.assert_allclose(camera.K[0, 0], CAMERA.K[0, 0] * size[0] / 640)


@pytest.mark.parametrize(
    ("size", "text"),
    [((1280, 720), "expected the same aspect"), ((480, 640), "which is turned"), ((640, 470), "expected the same")],
)
def test_a_calibration_of_another_aspect_is_refused(size, text):
    with pytest.raises(
        CameraError, match=rf"camera\.yaml is for 640x480, but the image is {size[0]}x{size[1]}"
    ) as error:
        camera_for_image(CAMERA, *size, "camera.yaml")
    assert text in str(error.value)
