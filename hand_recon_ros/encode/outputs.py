"""What the encoder says, whatever computed it."""

from __future__ import annotations

from typing import Any, NamedTuple


class HandsOutput(NamedTuple):
    """What the encoder says of B pairs of crops; every array is (B, 2, ...), left then right, as right hands.

    Torch tensors from the network, NumPy arrays from a session.

    Attributes:
        rotations: (16, 3, 3), the first the orientation in the crop frame.
        betas: (10,).
        joints: keypoints (21, 3), metres from the wrist, crop frame, from rotations and betas.
        keypoints_2d: keypoints in the crop (21, 2), see CropFrame.pixels_in.
        keypoint_scales: expected absolute error of each place (21,), same unit.
        depths: of the keypoints behind the wrist (21,), metres, seen directly.
        log_crop_width: log of the crop's width in metres at the wrist.
        log_crop_width_scale: expected absolute error of it.
        to_other: from this wrist to the other hand's (3,), metres, crop frame.
        other_box: where in the image the square around the other hand is, told from this crop alone, (5,) as
            CropFrame.pair_features.
        other_visible: logit of that hand being there to be seen, with the middle of its square in this crop or near it.
        presence: logit of the crop showing the hand it is taken to show.
        segmentation: logits (3, 28, 28): the rest, this hand, the other one.
    """

    rotations: Any
    betas: Any
    joints: Any
    keypoints_2d: Any
    keypoint_scales: Any
    depths: Any
    log_crop_width: Any
    log_crop_width_scale: Any
    to_other: Any
    other_box: Any
    other_visible: Any
    presence: Any
    segmentation: Any


FILE_NAMES = {name: name for name in HandsOutput._fields} | {
    "keypoints_2d": "places", "keypoint_scales": "place_scales", "log_crop_width": "log_width",
    "log_crop_width_scale": "log_width_scale", "other_box": "other_square", "other_visible": "other_shown",
}  # fmt: skip
"""Name of each output in an exported file: those of the first export, so that later ones replace it."""
