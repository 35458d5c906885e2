"""The hands that the encoder says, in the camera's frame, and the two-hand refinement of them."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..datasets.crops import Crops
from ..detect.duplicates import box_overlap
from ..encode.crop_frame import CropFrame
from ..encode.hand_encoder import decode_prediction
from ..encode.outputs import HandsOutput
from ..hand_model import HandModel
from ..interact.pair import HandPair, PairUncertainty
from ..interact.refinement import Refiner
from ..interact.relative_translation import along_rays
from ..lift.evidence import PIXEL_SIGMA, spread
from ..skeleton import WRIST
from ..types import Side


@dataclasses.dataclass(frozen=True, eq=False)
class EncoderEstimate:
    """One hand as the encoder says it: rotations (16, 3, 3), betas (10,), wrist (3,) and keypoints (21, 3) in metres in
    the camera's frame, keypoints in the picture (21, 2) and their standard deviations (21,), pixels, and the standard
    deviation of the wrist's distance, metres."""

    rotations: np.ndarray
    betas: np.ndarray
    wrist: np.ndarray
    joints: np.ndarray
    pixels: np.ndarray
    stddev_2d: np.ndarray
    position_stddev: float


def encoder_estimate(frame: CropFrame, hands: HandsOutput) -> EncoderEstimate:
    """The hand of a crop."""
    hand = HandsOutput(*(part[frame.side] for part in hands))
    said = decode_prediction(frame, hand, both=False)
    return EncoderEstimate(
        rotations=frame.rotations_out(hand.rotations),
        betas=hand.betas,
        wrist=said.wrist,
        joints=said.joints + said.wrist,
        pixels=said.keypoints_2d,
        stddev_2d=said.stddev_2d,
        position_stddev=said.wrist_stddev,
    )


def predicted_relative_translation(crops: Crops, hands: HandsOutput) -> np.ndarray:
    """The vector from the left wrist to the right one (3,), metres: the mean of what both hands say."""
    left, right = (frame for frame in crops.frames if frame is not None)
    return np.asarray((left.points_out(hands.to_other[0]) - right.points_out(hands.to_other[1])) / 2.0)


def refined_hands(
    hands: dict[Side, EncoderEstimate], told: np.ndarray, refiner: Refiner, steps: int, hand_model: HandModel
) -> dict[Side, EncoderEstimate]:
    """Both hands at the predicted relative translation (:func:`predicted_relative_translation`), refined.

    Keypoints in the image stay as they were seen.
    """
    both = [hands[side] for side in Side]
    rotations, betas, wrists = (
        np.stack([getattr(hand, name) for hand in both]) for name in ("rotations", "betas", "wrist")
    )
    wrists, stddevs = along_rays(wrists, np.array([hand.position_stddev for hand in both]), told)
    pair = HandPair(rotations, betas, wrists)
    pixels, joints = np.stack([hand.pixels for hand in both]), np.stack([hand.joints for hand in both])
    stddev = np.maximum(np.stack([hand.stddev_2d for hand in both]), 0.1)
    extent = spread(pixels)
    per_pixel = spread(joints[..., :2] / np.maximum(joints[..., 2:], 0.05)) / extent
    uncertainty = PairUncertainty(
        precision=1.0 / (stddev * per_pixel[:, None]),
        position_stddev=stddevs,
        scores=np.clip(2.0 * PIXEL_SIGMA * extent[:, None] / stddev, 0.02, 1.0),
        overlap=box_overlap(pixels),
    )
    refined = refiner(pair, uncertainty, steps)
    result = {}
    for side in Side:
        rotations, betas, wrist = refined.rotations[side], refined.betas[side], refined.wrists[side]
        kinematics = hand_model.kinematics(side)
        joints_of, _ = kinematics.forward(rotations, betas, wrist - kinematics.rest_keypoints(betas)[WRIST])
        result[side] = dataclasses.replace(hands[side], rotations=rotations, betas=betas, wrist=wrist, joints=joints_of)
    return result
