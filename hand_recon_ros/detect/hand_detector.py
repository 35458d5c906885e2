"""The hand detector: left and right hands in a whole image, from the features of the palm detector.

The palm detector misses palms that are occluded or edge-on, but its features respond to such hands. A small
convolutional head on these features, trained on rendered pairs of hands (``hand-recon train detector``), predicts for
each side a heatmap of box centres, and in each cell the box's offset, size and rotation ("Objects as Points", arXiv
1904.07850). It is part of the palm detector's graph and runs in the same inference.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np

from ..landmarks.crops import alike
from ..landmarks.observation import RotatedBox
from ..runtime.model_files import ModelFileError
from ..types import Side

FEATURE_SHAPES = {"classifier_palm_8": (128, 24, 24), "classifier_palm_16": (256, 12, 12)}
"""Shapes (C, H, W) of the features, by the name of the palm detector's layer that they are the input of."""
FEATURES = tuple(FEATURE_SHAPES)
GRID = 24
"""Cells per side of the maps."""
CHANNELS = 6
"""Of a side's map: logit of the heatmap; offset x, y of the box's centre from the cell's, cells; logarithm of the box's
size in units of the view; cosine and sine of its angle."""

LIKELY = 0.3
"""Score from which on the landmark network evaluates a detection."""
SAME = 0.2
"""Boxes more alike than this are of one hand: see :func:`crops.alike`."""


@dataclasses.dataclass(frozen=True)
class DetectedHand:
    """A detected hand.

    Attributes:
        score: probability, 0..1.
        roi: the box of the landmark network's crop.
    """

    score: float
    roi: RotatedBox


def detector_file() -> Path:
    """The detector's weights, which come with the package; raises ModelFileError where they are missing."""
    path = Path(__file__).resolve().parent.parent / "assets" / "hand_detector.onnx"
    if not path.is_file():
        raise ModelFileError(f"{path} is missing: it is part of the package, so install hand_recon_ros again")
    return path


def decode(maps: np.ndarray, threshold: float, view: RotatedBox) -> list[DetectedHand]:
    """Hands above a score, best first, from the maps (2 x CHANNELS, GRID, GRID) of a view of the image.

    Peaks of both sides with the same box are one hand. The higher peak is a weak cue of handedness; that of the
    landmark network is used.
    """
    maps = maps.reshape(len(Side), CHANNELS, GRID, GRID)
    heat = maps[:, 0]
    padded = np.pad(heat, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    shifts = [(row, column) for row in range(3) for column in range(3)]
    around = np.max([padded[:, row : row + GRID, column : column + GRID] for row, column in shifts], axis=0)
    threshold = min(max(threshold, 1e-9), 1 - 1e-9)
    peaks = np.argwhere((heat == around) & (heat >= math.log(threshold / (1 - threshold))))
    found = []
    for side, row, column in peaks:
        score = 1 / (1 + math.exp(-min(max(float(heat[side, row, column]), -60.0), 60.0)))
        found.append(DetectedHand(score, _square(maps[side, 1:, row, column], int(row), int(column), view)))
    kept: list[DetectedHand] = []
    for hand in sorted(found, key=lambda hand: -hand.score):
        if not any(alike(hand.roi, other.roi, SAME) for other in kept):
            kept.append(hand)
    return kept


def _square(values: np.ndarray, row: int, column: int, view: RotatedBox) -> RotatedBox:
    x, y, log_size, cos, sin = (float(value) for value in values)
    center = view.to_image(np.array([column + 0.5 + x, row + 0.5 + y]) / GRID)
    size = math.exp(min(max(log_size, -5.0), 2.0)) * view.size
    return RotatedBox((float(center[0]), float(center[1])), size, math.atan2(sin, cos) + view.angle)
