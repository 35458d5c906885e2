"""Reading photos, folders and videos, and the errors where they cannot be read."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from hand_recon_ros import Camera
from hand_recon_ros.calibration import calibration_path, read_calibration, scaled_camera, write_calibration
from hand_recon_ros.camera import CameraError
from hand_recon_ros.sources import Live, SourceError, open_source, resized


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
    assert source.unreadable == {tmp_path / "aa.jpg"}
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
        ("bad.png", b"not a picture", "can be read as an image"),
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
