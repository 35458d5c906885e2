"""Hands predicted by the encoder alone, as the pipeline's types, and their refinement by the pipeline's functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..encode.crop_frame import CropFrame
from ..encode.hand_encoder import decode_prediction
from ..encode.outputs import PosedHandOutputs
from ..hand_model import HandModel
from ..interact.estimates import pair_of, uncertainty_of, with_pair
from ..interact.refinement import Refiner
from ..interact.relative_translation import with_relative_translation
from ..landmarks.observation import Observation
from ..lift.evidence import gather
from ..lift.lifted_hand import LiftedHand
from ..skeleton import WRIST
from ..track.estimates import hand_estimate
from ..types import Camera, HandEstimate, Side


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedHands:
    """The hands of a sample, at most one of a side, left before right.

    Attributes:
        observations: with the encoder's prediction, as of a hand that the landmark network does not find.
        lifted: with the encoder's rotations, betas and wrist, the keypoints' scores of the pipeline's evidence and the
            encoder's standard deviation of the wrist. What only the lifting computes is NaN.
    """

    observations: list[Observation]
    lifted: list[LiftedHand]


def encoded_hands(frames: Sequence[CropFrame], outputs: PosedHandOutputs, hand_model: HandModel) -> EncodedHands:
    """The hands of crops in one image, from the outputs for both sides (2, ...)."""
    if not frames:
        return EncodedHands([], [])
    observations = [_observation(frame, outputs[frame.side], both=len(frames) == len(Side)) for frame in frames]
    scores = gather(observations, frames[0].camera).scores
    lifted = [
        _lifted(frame, outputs[frame.side], observation, score, hand_model)
        for frame, observation, score in zip(frames, observations, scores, strict=True)
    ]
    return EncodedHands(observations, lifted)


def _observation(frame: CropFrame, outputs: PosedHandOutputs, both: bool) -> Observation:
    prediction = decode_prediction(frame, outputs, both)
    return Observation(
        side=frame.side, score=prediction.presence, side_score=1.0, keypoints_2d=prediction.keypoints_2d,
        screen_depth=np.zeros(21), world=prediction.joints, joint_scores=np.zeros(21), roi=frame.box, detected=False,
        prediction=prediction,
    )  # fmt: skip


def _lifted(
    frame: CropFrame, outputs: PosedHandOutputs, observation: Observation, scores: np.ndarray, hand_model: HandModel
) -> LiftedHand:
    prediction, betas = observation.prediction, np.asarray(outputs.betas)
    assert prediction is not None
    return LiftedHand(
        side=frame.side,
        rotations=frame.rotations_out(np.asarray(outputs.rotations)),
        betas=betas,
        translation=prediction.wrist - hand_model.kinematics(frame.side).rest_keypoints(betas)[WRIST],
        keypoints=prediction.joints + prediction.wrist,
        angles=np.full((15, 3), np.nan),
        keypoints_2d=prediction.keypoints_2d,
        joint_scores=scores,
        position_stddev=prediction.wrist_stddev,
        betas_covariance=np.full((10, 10), np.nan),
        residual=float("nan"),
    )


def estimates(
    hands: EncodedHands, lifted: Sequence[LiftedHand], camera: Camera, hand_model: HandModel
) -> dict[Side, HandEstimate]:
    """Estimates by side of ``lifted``, which are the ``hands``, perhaps moved; the joints are the encoder's."""
    result = {}
    for observation, hand in zip(hands.observations, lifted, strict=True):
        estimate = hand_estimate(
            observation, hand, hand.keypoints[WRIST], hand.rotations, hand_model, camera, track_id=0
        )
        result[hand.side] = dataclasses.replace(estimate, joints=hand.keypoints)
    return result


def refined_hands(
    hands: EncodedHands, camera: Camera, refiner: Refiner, steps: int, hand_model: HandModel
) -> dict[Side, HandEstimate]:
    """A left and a right hand at their predicted relative translation, refined in ``steps`` steps."""
    moved = with_relative_translation(hands.lifted, hands.observations)
    both = list(estimates(hands, moved, camera, hand_model).values())
    pair = pair_of(both)
    result = refiner(pair, uncertainty_of(both), steps)
    refined = with_pair(both, result.pair, hand_model, camera, False, result.position_stddev)
    return dict(zip(Side, refined, strict=True))
