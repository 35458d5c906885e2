"""Depth image messages: what is read, value for value, which belongs to an image, and how others are refused."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sensor_msgs")
pytest.importorskip("rclpy")

from ros_support import HEIGHT, WIDTH, image_message  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from hand_recon_ros.conversions.depths import PATIENCE, DepthImages  # noqa: E402
from hand_recon_ros.conversions.images import InputError, decode_depth  # noqa: E402
from hand_recon_ros.conversions.problems import Problems  # noqa: E402


@pytest.fixture
def metres() -> np.ndarray:
    """A slope with a hole, whole millimetres."""
    depth = np.linspace(0.3, 1.2, 40 * 30).reshape(30, 40).round(3).astype(np.float32)
    depth[3:6, 10:20] = np.nan
    return depth


def message_of(depth: np.ndarray, encoding: str, big: bool = False, padding: int = 0, **fields: Any) -> Any:
    """A depth image message of metres (H, W); NaN becomes what the encoding has for unknown depth."""
    order = ">" if big else "<"
    if encoding == "16UC1":
        values = np.rint(np.nan_to_num(depth) * 1e3).astype(f"{order}u2")
    else:
        values = depth.astype(f"{order}f4")
    rows = values.view(np.uint8).reshape(depth.shape[0], -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xAB)
    fields = {"step": rows.shape[1], "is_bigendian": big, "data": array.array("B", rows.tobytes()), **fields}
    return image_message(values, encoding, **fields)


@pytest.mark.parametrize("padding", [0, 8])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_both_encodings_in_metres(metres: np.ndarray, encoding: str, big: bool, padding: int) -> None:
    depth = decode_depth(message_of(metres, encoding, big, padding))
    assert depth.dtype == np.float32 and depth.dtype.isnative
    np.testing.assert_allclose(depth, metres, rtol=1e-6)


def test_zero_negative_and_infinite_are_unknown() -> None:
    values = np.full((20, 20), 0.5, np.float32)
    values[0, :5] = [0.0, -1.0, np.inf, -np.inf, np.nan]
    depth = decode_depth(image_message(values, "32FC1"))
    assert np.isnan(depth[0, :5]).all() and (depth[1:] == 0.5).all()
    millimetres = np.array([[0, 1, 65535]] * 20, np.uint16).repeat(10, axis=1)
    np.testing.assert_allclose(
        decode_depth(image_message(millimetres, "16UC1"))[0, ::10], [np.nan, 0.001, 65.535], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("message", "kind", "words"),
    [
        (image_message(np.zeros((20, 20, 3), np.uint8), "bgr8"), "encoding", ["'bgr8'", "16UC1", "32FC1"]),
        (image_message(np.zeros((20, 20), np.uint16), "mono16"), "encoding", ["'mono16'"]),
        (image_message(np.zeros((20, 20), np.uint16), "16UC1", step=39), "step", ["39", "40"]),
        (image_message(np.zeros((20, 20), np.uint16), "16UC1", height=21), "data", ["truncated", "840"]),
        (image_message(np.zeros((4, 4), np.uint16), "16UC1"), "size", ["4x4"]),
    ],
)
def test_messages_that_are_no_depth(message: Any, kind: str, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        decode_depth(message, "/cam/depth")
    assert error.value.kind == kind and str(error.value).startswith("/cam/depth: ")
    for word in words:
        assert word in str(error.value)


class Depths:
    """Depth images of a camera, their log, and a clock."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.problems = Problems(self.log.append, self.log.append)
        self.now = 100.0
        self.images = DepthImages("/cam/color", "/cam/depth", self.problems, lambda: self.now)

    def add(self, stamp: float, depth: float = 0.5, encoding: str = "32FC1", **fields: Any) -> None:
        size = fields.pop("size", (HEIGHT, WIDTH))
        frame_id = fields.pop("frame_id", "camera")
        message = message_of(np.full(size, depth, np.float32), encoding, frame_id=frame_id, **fields)
        message.header.stamp = time_of(stamp)
        self.images.add(message)

    def value(self, stamp: float, slop: float = 0.02) -> float | None:
        """The depth of an image with this stamp, everywhere the same."""
        header = Header(frame_id="camera", stamp=time_of(stamp))
        depth = self.images.depth(header, WIDTH, HEIGHT, slop)
        return None if depth is None else float(depth[0, 0])


def time_of(seconds: float) -> Any:
    from builtin_interfaces.msg import Time

    nanoseconds = round(seconds * 1e9)
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def test_the_nearest_stamp_within_the_slop() -> None:
    camera = Depths()
    for number in range(3):
        camera.add(10.0 + number / 30.0, depth=0.5 + 0.1 * number)
    assert camera.value(10.0) == pytest.approx(0.5)
    assert camera.value(10.03) == pytest.approx(0.6)
    assert camera.value(10.015) == pytest.approx(0.5)
    assert camera.value(10.018) == pytest.approx(0.6)
    assert camera.value(10.085) == pytest.approx(0.7)
    assert camera.value(10.09) is None and camera.value(9.97) is None
    assert camera.value(10.1, slop=0.05) == pytest.approx(0.7)
    assert camera.value(10.0, slop=0.0) == pytest.approx(0.5)
    assert camera.log == []


def test_only_the_newest_few_are_kept() -> None:
    camera = Depths()
    for number in range(10):
        camera.add(float(number + 1))
    assert camera.value(1.0) is None and camera.value(6.0) is None
    assert camera.value(7.0) == pytest.approx(0.5) and camera.value(10.0) == pytest.approx(0.5)
    camera.images.clear()
    assert camera.images.newest is None and camera.value(10.0) is None


WRONG = {
    "size": ({"size": (HEIGHT * 2, WIDTH * 2)}, [f"{WIDTH * 2}x{HEIGHT * 2}", f"{WIDTH}x{HEIGHT}"]),
    "frame_id": ({"frame_id": "depth_optical"}, ["'depth_optical'", "'camera'"]),
    "encoding": ({"encoding": "64FC1"}, ["'64FC1'", "16UC1", "32FC1"]),
}


@pytest.mark.parametrize("kind", WRONG)
def test_depth_that_is_not_registered_is_refused_in_one_line(kind: str) -> None:
    fields, words = WRONG[kind]
    camera = Depths()
    for number in range(3):
        camera.add(1.0 + number, **fields)
        assert camera.value(1.0 + number) is None
    (line,) = camera.log
    assert "\n" not in line
    for word in [*words, "/cam/depth", "/cam/color", "aligned_depth_to_color"]:
        assert word in line
    assert camera.problems.active(error=False) == [line]
    camera.add(9.0)
    assert camera.value(9.0) == pytest.approx(0.5)
    assert camera.problems.active() == []


def test_a_slash_before_the_frame_id_is_the_same_frame() -> None:
    camera = Depths()
    camera.add(1.0, frame_id="/camera")
    assert camera.value(1.0) == pytest.approx(0.5)


def test_depth_that_never_fits_in_time_is_said_after_a_while() -> None:
    camera = Depths()
    assert camera.value(1.0) is None
    camera.now += PATIENCE - 0.1
    assert camera.value(2.0) is None and camera.log == []
    camera.now += 0.2
    assert camera.value(3.0) is None
    assert "no depth image comes" in camera.log[0] and "/cam/depth" in camera.log[0] and "use_depth" in camera.log[0]
    camera.add(3.967)
    assert camera.value(4.0) is None
    assert "33 ms older" in camera.problems.active()[0] and "depth_slop = 0.02 s" in camera.problems.active()[0]
    assert camera.value(3.97) == pytest.approx(0.5) and camera.problems.active() == []
