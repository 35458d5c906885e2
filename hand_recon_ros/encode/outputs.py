"""Outputs of the encoder: torch tensors from the network, NumPy arrays from a session."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Self


@dataclasses.dataclass(frozen=True, eq=False)
class HandOutputs:
    """What the pipeline reads. Arrays are (..., as below), one entry per hand; every hand is a right hand in its crop.

    Attributes:
        joints: keypoints (21, 3) relative to the wrist, metres, crop frame.
        keypoints_2d: keypoints (21, 2) in units of the crop, see CropFrame.pixels_in.
        keypoint_scales: scale of the Laplace distribution (expected absolute error) of each 2D keypoint (21,), in units
            of the crop.
        log_crop_width: log of the crop's metric width (metres) at the distance of the wrist.
        log_crop_width_scale: scale of its Laplace distribution.
        to_other: vector from this wrist to the other hand's wrist (3,), metres, crop frame.
        other_box: box around the other hand (5,), as CropFrame.pair_features; predicted from this crop alone.
        other_visible: logit that the other hand is visible in the image, centred in this crop or near it.
        presence: logit that the crop shows the hand of the assumed side.
    """

    joints: Any
    keypoints_2d: Any
    keypoint_scales: Any
    log_crop_width: Any
    log_crop_width_scale: Any
    to_other: Any
    other_box: Any
    other_visible: Any
    presence: Any

    @classmethod
    def names(cls) -> list[str]:
        """Names of the outputs, in order."""
        return [field.name for field in dataclasses.fields(cls)]

    @classmethod
    def file_names(cls) -> list[str]:
        """Names of the outputs in an exported file, in order."""
        return [_FILE_NAMES.get(name, name) for name in cls.names()]

    def map(self, function: Callable[[Any], Any]) -> Self:
        """The results of a function on each output."""
        return type(self)(*(function(getattr(self, name)) for name in self.names()))

    def __getitem__(self, index: Any) -> Self:
        """Some of the hands, by index along the first axes."""
        return self.map(lambda output: output[index])


@dataclasses.dataclass(frozen=True, eq=False)
class PosedHandOutputs(HandOutputs):
    """The outputs with the hand model's parameters, which evaluation and training read.

    Attributes:
        rotations: joint rotations (16, 3, 3) relative to their parents, the first the orientation in the crop frame.
        betas: (10,).
    """

    rotations: Any
    betas: Any


_FILE_NAMES = {
    "keypoints_2d": "places", "keypoint_scales": "place_scales", "log_crop_width": "log_width",
    "log_crop_width_scale": "log_width_scale", "other_box": "other_square", "other_visible": "other_shown",
}  # fmt: skip
"""Names that differ in an exported file: the shipped one was exported with these."""
