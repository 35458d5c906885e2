"""Messages of a camera with faults: what can be wrong with an image or its camera_info, and whether it is refused."""

from __future__ import annotations

import array
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

_COEFFICIENT = 0.01
"""Size of the distortion coefficients that are sent."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is done to the messages of an image.

    Attributes:
        change: changes a sensor_msgs/Image and its CameraInfo in place.
        refused: whether the node has to refuse the image; None: either is right.
    """

    change: Callable[[np.random.Generator, Any, Any], None]
    refused: bool | None


def _cut(rng: np.random.Generator, image: Any, info: Any) -> None:
    image.data = image.data[: int(rng.integers(0, len(image.data)))]


def _lengthen(rng: np.random.Generator, image: Any, info: Any) -> None:
    image.data = image.data + array.array("B", bytes(int(rng.integers(1, 5000))))


def _size(rng: np.random.Generator, image: Any, info: Any) -> None:
    high = int(rng.choice([32, 4096, 2**32 - 1]))
    image.width, image.height = (int(rng.integers(0, high)) for _ in range(2))


def _step(rng: np.random.Generator, image: Any, info: Any) -> None:
    image.step = int(rng.choice([0, 1, image.step - 1, image.step + 1, 2**32 - 1]))


def _unknown_encoding(rng: np.random.Generator, image: Any, info: Any) -> None:
    image.encoding = str(rng.choice(["", "xyz9", "bgr8\n", "\u00e9\u4e2d", "8UC", "bgr" + "8" * 500, "rgb8; jpeg"]))


def _depth_encoding(rng: np.random.Generator, image: Any, info: Any) -> None:
    image.encoding = str(rng.choice(["16UC1", "32FC1", "64FC1", "16SC1"]))


def _wider_encoding(rng: np.random.Generator, image: Any, info: Any) -> None:
    image.encoding = str(rng.choice(["rgba8", "bgra8", "bgr16", "rgb16", "8UC4"]))


def _narrower_encoding(rng: np.random.Generator, image: Any, info: Any) -> None:
    image.encoding = str(rng.choice(["rgb8", "mono8", "bayer_rggb8", "yuyv", "mono16"]))


def _picture_file(rng: np.random.Generator, image: Any, info: Any) -> None:
    pixels = np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3)
    data = cv2.imencode(str(rng.choice([".jpg", ".png"])), pixels)[1].tobytes()
    image.data = array.array("B", data.ljust(len(image.data), b"\0")[: len(image.data)])


def _frame_id(rng: np.random.Generator, image: Any, info: Any) -> None:
    image.header.frame_id = str(rng.choice(["", "/camera", "another_camera", "with space", "\u4e2d\u6587", "a" * 300]))


def _noise(rng: np.random.Generator, image: Any, info: Any) -> None:
    image.data = array.array("B", rng.bytes(len(image.data)))


def _k(change: Callable[[np.random.Generator, np.ndarray], None]) -> Callable[[np.random.Generator, Any, Any], None]:
    """A change of K, (9,), of camera_info."""

    def apply(rng: np.random.Generator, image: Any, info: Any) -> None:
        values = np.array(info.k)
        change(rng, values)
        info.k = values

    return apply


def _not_finite(rng: np.random.Generator, k: np.ndarray) -> None:
    k[rng.integers(9)] = rng.choice([math.nan, math.inf, -math.inf])


def _negative_focal_length(rng: np.random.Generator, k: np.ndarray) -> None:
    k[rng.choice([0, 4])] *= -rng.integers(0, 2)


def _wrong_row(rng: np.random.Generator, k: np.ndarray) -> None:
    k[rng.choice([3, 6, 7, 8])] = rng.uniform(2.0, 900.0)


def _extreme(rng: np.random.Generator, k: np.ndarray) -> None:
    k[rng.choice([0, 4, 2, 5])] *= 10.0 ** rng.uniform(-12.0, 12.0)


def _info_size(rng: np.random.Generator, image: Any, info: Any) -> None:
    info.width, info.height = (int(rng.integers(0, 5000)) for _ in range(2))


def _info_roi(rng: np.random.Generator, image: Any, info: Any) -> None:
    info.roi.width, info.roi.height = 1 + int(rng.integers(600)), 1 + int(rng.integers(400))


def _binning(rng: np.random.Generator, image: Any, info: Any) -> None:
    info.binning_x, info.binning_y = 2 + int(rng.integers(2**31)), int(rng.integers(2**31))


def _model(rng: np.random.Generator, image: Any, info: Any) -> None:
    info.distortion_model, info.d = str(rng.choice(["weird", "PLUMB", "\u00e9", ""])), [_COEFFICIENT] * 5


def _d_of_odd_length(rng: np.random.Generator, image: Any, info: Any) -> None:
    length = int(rng.choice([1, 2, 3, 6, 7, 9, 11, 13]))
    info.distortion_model, info.d = "plumb_bob", rng.uniform(-_COEFFICIENT, _COEFFICIENT, length).tolist()


def _d_too_long(rng: np.random.Generator, image: Any, info: Any) -> None:
    info.distortion_model = str(rng.choice(["plumb_bob", "rational_polynomial", "equidistant"]))
    info.d = [_COEFFICIENT] * int(rng.integers(15, 200))


def _d_not_finite(rng: np.random.Generator, image: Any, info: Any) -> None:
    info.d = [0.0, float(rng.choice([math.nan, math.inf])), 0.0, 0.0, 0.0]


FAULTS = {
    "data too short": Fault(_cut, True),
    "data too long": Fault(_lengthen, True),
    "size": Fault(_size, True),
    "step": Fault(_step, True),
    "unknown encoding": Fault(_unknown_encoding, True),
    "encoding of depth": Fault(_depth_encoding, True),
    "encoding of more bytes": Fault(_wider_encoding, True),
    "encoding of other colours": Fault(_narrower_encoding, False),
    "picture file as pixels": Fault(_picture_file, True),
    "frame_id": Fault(_frame_id, False),
    "noise": Fault(_noise, False),
    "K not finite": Fault(_k(_not_finite), True),
    "focal length not positive": Fault(_k(_negative_focal_length), True),
    "K of another form": Fault(_k(_wrong_row), True),
    "K extreme": Fault(_k(_extreme), None),
    "camera_info of another size": Fault(_info_size, True),
    "ROI of another size": Fault(_info_roi, True),
    "binning": Fault(_binning, True),
    "unknown distortion model": Fault(_model, True),
    "D of odd length": Fault(_d_of_odd_length, False),
    "D too long": Fault(_d_too_long, True),
    "D not finite": Fault(_d_not_finite, True),
}
"""Each by its name."""
