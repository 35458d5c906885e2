"""Calibration and settings files with random contents: a camera or settings, or the error of their reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from fuzzing import contents, damaged, fuzzed, limited_memory
from hypothesis import given
from hypothesis import strategies as st

from hand_recon_ros.calibration import read_calibration
from hand_recon_ros.camera import Camera, CameraError
from hand_recon_ros.config import ConfigError, ReconstructorConfig, checked, read_yaml, settings_of

CAMERA = Camera(
    K=np.array([[500.0, 0.0, 320.0], [0.0, 510.0, 240.0], [0.0, 0.0, 1.0]]),
    width=640,
    height=480,
    distortion_model="plumb_bob",
    D=np.array([0.1, -0.05, 0.001, 0.0, 0.01]),
)
FIELDS = (
    "image_width", "image_height", "camera_matrix", "distortion_model", "distortion_coefficients", "K", "D", "mtx",
    "dist", "image_size", "resolution", "fisheye_model", "cam0", "camera_model", "intrinsics", "distortion_coeffs",
    "data", "rows",
)  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "calibration.yaml"


def file_storage(format_: str) -> bytes:
    """What OpenCV's FileStorage writes, as the suffix of ``format_`` says."""
    storage = cv2.FileStorage(format_, cv2.FILE_STORAGE_WRITE | cv2.FILE_STORAGE_MEMORY)
    storage.write("image_width", 640)
    storage.write("image_height", 480)
    storage.write("camera_matrix", np.array(CAMERA.K))
    storage.write("distortion_coefficients", np.array(CAMERA.D))
    return storage.releaseAndGetString().encode()


def written() -> bytes:
    return yaml.safe_dump(
        {
            "image_width": 640,
            "image_height": 480,
            "camera_matrix": {"rows": 3, "cols": 3, "data": CAMERA.K.ravel().tolist()},
            "distortion_model": "plumb_bob",
            "distortion_coefficients": {"rows": 1, "cols": 5, "data": CAMERA.D.tolist()},
        }
    ).encode()


def check_calibration(file: Path) -> None:
    with limited_memory():
        try:
            camera = read_calibration(file)
        except CameraError as error:
            assert file.name in str(error) and "\n" not in str(error)
            return
    assert camera.width > 0 and camera.height > 0 and np.isfinite(camera.K).all() and np.isfinite(camera.D).all()


@pytest.mark.parametrize("kind", ["camera_calibration", ".yml", ".xml", ".json"])
@fuzzed(80)
@given(data=st.data())
def test_damaged_calibrations(file: Path, kind: str, data: Any) -> None:
    whole = written() if kind == "camera_calibration" else file_storage(kind)
    file.write_bytes(whole)
    if not data.draw(st.integers(0, 30)):
        assert read_calibration(file).width == 640
    file.write_bytes(data.draw(damaged(whole)))
    check_calibration(file)


@fuzzed(80)
@given(content=st.dictionaries(st.sampled_from(FIELDS), contents() | st.just(CAMERA.K.tolist()), max_size=6))
def test_calibrations_with_other_contents(file: Path, content: Any) -> None:
    given_ = {"image_width": 640, "image_height": 480, "camera_matrix": CAMERA.K.tolist(), **content}
    file.write_text(yaml.safe_dump(given_, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
    check_calibration(file)


@fuzzed(100)
@given(text=st.one_of(st.text(max_size=60), st.binary(max_size=60), st.sampled_from(["[" * 5000, "{a: " * 3000])))
def test_texts_that_are_no_calibration(file: Path, text: str | bytes) -> None:
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    check_calibration(file)


@fuzzed(80)
@given(
    content=st.one_of(
        contents(),
        st.dictionaries(st.sampled_from([*settings_of(ReconstructorConfig), "/**", "ros__parameters"]), contents()),
    ),
    sections=st.lists(st.sampled_from(["/**", "hand_recon", "ros__parameters", "/left/hand_recon"]), max_size=3),
)
def test_settings(file: Path, content: Any, sections: list[str]) -> None:
    for section in sections:
        content = {section: content}
    file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
    try:
        config = checked(ReconstructorConfig, read_yaml(file))
    except ConfigError as error:
        assert str(error)
        return
    assert isinstance(config, ReconstructorConfig)


@fuzzed(60)
@given(data=st.data())
def test_damaged_settings(file: Path, data: Any) -> None:
    whole = Path(__file__).resolve().parents[1] / "config" / "hand_recon.yaml"
    file.write_bytes(data.draw(damaged(whole.read_bytes())))
    try:
        assert isinstance(read_yaml(file), dict)
    except ConfigError as error:
        assert file.name in str(error)


HUGE = "9" * 400


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 5000, "not YAML"),
        ("image_width: 2001-02-30", "not YAML"),
        (f"image_width: 4\nimage_height: 4\ncamera_matrix: [{HUGE}]", "must hold numbers"),
        ("image_width: .inf\nimage_height: 4\ncamera_matrix: [1, 0, 0, 0, 1, 0, 0, 0, 1]", "whole numbers"),
    ],
    ids=["nested", "date", "huge number", "infinite width"],
)
def test_calibrations_that_raised_something_else(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    with pytest.raises(CameraError, match=words):
        read_calibration(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 5000, "not YAML"),
        ("scale: 2001-02-30", "not YAML"),
        ("/**: {ros__parameters: [1]}", "expected a mapping, got list"),
        ("/**: &a {b: *a}", "contains itself"),
        ("1: 2", "unknown setting 1"),
    ],
    ids=["nested", "date", "list", "recursive", "number as name"],
)
def test_settings_that_raised_something_else(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        checked(ReconstructorConfig, read_yaml(file))
