"""From a sample to what the encoder is trained on: two crops as a tracker would cut them, and what is true in them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..encode.crop_frame import CropFrame
from ..landmarks.crops import tracking_box
from ..landmarks.observation import RotatedBox
from ..types import Side
from .priors import CHANNELS, GRID, PriorProvider, SceneTruth, segmentation_classes
from .sample import Sample

SEGMENTATION_SIZE = 28
"""Side of the segmentation that the encoder is trained to predict, cells."""
CROP_SIZE = 224
_ANY_TURN = 0.1
"""Share of crops turned at random: what a detector that does not know a hand's direction gives."""
_SWAPPED = 0.04
"""Share of crops that are cut for the wrong side: the encoder has to say that this is not the hand it is taken for."""
_UNTRACKED = 0.05
"""Share of samples in which one of two hands has no crop."""
_NEAR, _FAR = 0.7, 0.9
"""A hand is told from the other one's crop when the middle of its square lies up to the first from that crop's, in
units of the crop; up to the second it may be."""
_SEEN = 4
"""Keypoints of a hand that must be visible for that."""


def jittered_box(keypoints: np.ndarray, rng: np.random.Generator) -> RotatedBox:
    """The square a tracker might look in for a hand with keypoints (21, 2), pixels."""
    box = tracking_box(keypoints)
    shift = rng.normal(0.0, 0.05, 2) * box.size
    size = box.size * math.exp(rng.normal(0.0, 0.1))
    turn = rng.uniform(-math.pi, math.pi) if rng.random() < _ANY_TURN else rng.normal(0.0, 0.2)
    return RotatedBox((box.center[0] + float(shift[0]), box.center[1] + float(shift[1])), size, box.angle + float(turn))


def elsewhere(sample: Sample, rng: np.random.Generator) -> RotatedBox:
    """Some square of the image."""
    height, width = sample.image.shape[:2]
    size = float(rng.uniform(0.3, 0.8)) * max(height, width)
    center = float(rng.uniform(0, width)), float(rng.uniform(0, height))
    return RotatedBox(center, size, float(rng.uniform(-math.pi, math.pi)))


@dataclasses.dataclass(frozen=True, eq=False)
class Crops:
    """The crops of a sample: where they were cut, left then right (None where there is none), and their arrays."""

    frames: tuple[CropFrame | None, CropFrame | None]
    arrays: dict[str, np.ndarray]


def sample_crops(
    sample: Sample, rng: np.random.Generator, provider: PriorProvider | None = None, wrong: bool = True
) -> Crops:
    """The crops of a sample, as a tracker that is a little off would cut them.

    With ``wrong`` some are of nothing, or of the other side's hand, for the encoder to learn to say so.

    Arrays are (2, ...), left then right: crops uint8 (2, S, S, 3) RGB; rays, pairs, shown; priors float16; and the
    truth: present, rotations, betas, joints (from the wrist), places, place_weights, log_width, to_other, segmentation;
    other_square, other_shown and other_asked, whether that counts.
    """
    frames: list[CropFrame | None] = [None, None]
    own = sample.present.copy()
    for side in Side:
        if sample.present[side]:
            frames[side] = CropFrame(jittered_box(sample.keypoints_2d[side], rng), side, sample.camera)
        elif wrong and rng.random() < 0.3:
            frames[side] = CropFrame(elsewhere(sample, rng), side, sample.camera)
    chance = rng.random() if wrong else 1.0
    one = Side(int(rng.integers(2)))
    if chance < _SWAPPED and sample.present[one.other]:
        # The other hand's crop is taken for this side's, as where a locator got the sides wrong.
        frames[one] = CropFrame(jittered_box(sample.keypoints_2d[one.other], rng), one, sample.camera)
        own[one] = False
        if rng.random() < 0.5:
            frames[one.other], own[one.other] = None, False
    elif chance < _SWAPPED + _UNTRACKED and sample.present.all():
        frames[one], own[one] = None, False  # there to be seen, but nobody follows it
    truth = SceneTruth(sample.keypoints_2d, sample.labels, sample.depth, sample.image)
    image, origin = inside_frame(sample)
    result = _empty()
    for side in Side:
        frame, other = frames[side], frames[side.other]
        if frame is None:
            continue
        result["shown"][side] = 1.0
        result["crops"][side] = cut(image, frame, origin)
        result["rays"][side] = frame.ray_features
        if other is not None:
            result["pairs"][side] = frame.pair_features(other)
        if provider is not None:
            result["priors"][side] = provider(frame, other, truth)
        result["segmentation"][side] = _most(segmentation_classes(frame, sample.labels), SEGMENTATION_SIZE)
        if own[side]:
            _truth(result, sample, frame, bool(own[side.other]))
            _other_square(result, sample, frame)
    return Crops((frames[0], frames[1]), result)


def inside_frame(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """The part of a sample's picture that its camera saw, and where that begins (2,): beyond the frame the picture is
    black, but a crop of a whole frame repeats the frame's border there."""
    camera, frame = sample.camera, sample.frame_camera
    corners = frame.unproject(np.array([[0.0, 0.0], [frame.width - 1, frame.height - 1]]))
    size = np.array([camera.width, camera.height])
    # One pixel less: a border that is half black would be repeated as black.
    first, last = camera.project(corners)
    low = np.clip(np.ceil(first).astype(int) + (first > 0), 0, size - 1)
    high = np.clip(np.floor(last).astype(int) - (last < size - 1), low, size - 1)
    return sample.image[low[1] : high[1] + 1, low[0] : high[0] + 1], low


def cut(image: np.ndarray, frame: CropFrame, origin: np.ndarray, size: int = CROP_SIZE) -> np.ndarray:
    """A crop (size, size, 3) uint8 RGB, a left hand's mirrored, of a BGR image that begins at ``origin``."""
    center = frame.box.center[0] - float(origin[0]), frame.box.center[1] - float(origin[1])
    moved = dataclasses.replace(frame, box=RotatedBox(center, frame.box.size, frame.box.angle))
    return moved.cut(np.ascontiguousarray(image), size)


def _most(classes: np.ndarray, size: int) -> np.ndarray:
    """The most frequent class of each cell (size, size)."""
    cells = classes.shape[0] // size
    counts = [(classes == index).reshape(size, cells, size, cells).sum(axis=(1, 3)) for index in range(3)]
    return np.argmax(counts, axis=0).astype(np.uint8)


def _empty() -> dict[str, np.ndarray]:
    def zeros(*shape: int) -> np.ndarray:
        return np.zeros((2, *shape), dtype=np.float32)

    return {
        "crops": np.zeros((2, CROP_SIZE, CROP_SIZE, 3), dtype=np.uint8),
        "rays": zeros(5), "pairs": zeros(5), "shown": zeros(),
        "priors": np.zeros((2, CHANNELS, GRID, GRID), dtype=np.float16),
        "present": zeros(), "both": zeros(),
        "rotations": np.tile(np.eye(3, dtype=np.float32), (2, 16, 1, 1)), "betas": zeros(10),
        "joints": zeros(21, 3), "places": zeros(21, 2), "place_weights": zeros(21), "log_width": zeros(),
        "to_other": zeros(3), "other_square": zeros(5), "other_shown": zeros(), "other_asked": zeros(),
        "segmentation": np.zeros((2, SEGMENTATION_SIZE, SEGMENTATION_SIZE), dtype=np.uint8),
    }  # fmt: skip


def _truth(result: dict[str, np.ndarray], sample: Sample, frame: CropFrame, both: bool) -> None:
    side = frame.side
    wrist = sample.joints[side, 0]
    places = frame.pixels_in(sample.keypoints_2d[side])
    result["present"][side] = 1.0
    result["rotations"][side] = frame.rotations_in(sample.rotations[side])
    result["betas"][side] = sample.betas[side]
    result["joints"][side] = frame.points_in(sample.joints[side]) - frame.points_in(wrist)
    result["places"][side] = places
    # Far outside the crop there is nothing to go by.
    result["place_weights"][side] = (np.abs(places) < 0.6).all(axis=-1)
    result["log_width"][side] = math.log(max(frame.width_at(wrist), 1e-3))
    if both:
        result["both"][side] = 1.0
        result["to_other"][side] = frame.points_in(sample.joints[side.other, 0]) - frame.points_in(wrist)


def _other_square(result: dict[str, np.ndarray], sample: Sample, frame: CropFrame) -> None:
    """Where the other hand is, whether somebody follows it or not."""
    side, other = frame.side, frame.side.other
    result["other_asked"][side] = 1.0
    if not sample.present[other]:
        return
    square = frame.pair_features(CropFrame(tracking_box(sample.keypoints_2d[other]), other, sample.camera))
    away = np.abs(square[:2]).max()
    if away < _NEAR and sample.keypoint_visible[other].sum() >= _SEEN:
        result["other_square"][side], result["other_shown"][side] = square, 1.0
    elif away < _FAR:
        result["other_asked"][side] = 0.0
