"""Accuracy of the encoder by itself: on crops as a tracker cuts them, of rendered scenes with exact ground truth."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ..config import ReconstructorConfig
from ..datasets.crops import CROP_SIZE, Crops, sample_crops
from ..datasets.priors import CorruptedPriors, PriorProvider
from ..datasets.sample import Sample
from ..encode.crop_frame import crop_pixels
from ..hand_model import HandModel, load_hand_model
from ..interact.refinement import Refiner
from ..synthetic.sample_stream import OCCLUDED_JOINTS, SampleStream
from ..types import HandEstimate, Side
from . import metrics
from .cases import Case
from .encoder_estimates import EncodedHands, encoded_hands, estimates, refined_hands
from .encoder_predictors import Predictor
from .figures import PER_HAND, PER_JOINT, HandErrors, Values, add_hand, pooled, summary
from .penetration import Penetrations
from .predicted_errors import relative_errors

PER_PREDICTION = {"keypoint_scales": "keypoints_within_stddev", "log_crop_width_scale": "distance_within_stddev"}
"""Figure of each output that predicts errors: share of the errors within one predicted standard deviation."""
PER_PAIR = ("mrrpe_mm", "mrrpe_occluded_mm", "mrrpe_predicted_mm", "mrrpe_predicted_occluded_mm")
_BATCH = 16
SEED = 90210
"""Of the stream whose samples are measured."""


def evaluate_encoder(
    predict: Predictor,
    split: str = "val",
    count: int = 500,
    cases: list[Case] | None = None,
    refiner: Refiner | None = None,
    refine_steps: int = ReconstructorConfig.refine_steps,
) -> dict[str, Any]:
    """Measure an encoder on the first samples of a split of the stream.

    Root-relative errors are from the wrist, not rescaled; PA with scale and without reflection; ``mrrpe`` from the
    metric wrists of the two hands, ``mrrpe_predicted`` from the relative translation (the mean of both hands'
    predictions); their ``occluded`` forms over the pairs in which at least 30 % of a hand's keypoints are hidden by
    something else. Penetration is that of the meshes at the metric wrists, beside the ground truth's. Figures are of
    the encoder's predictions and, with a ``refiner``, of the same hands refined in ``refine_steps`` steps. 2D errors
    are in pixels of the sample's image; PCK is relative to the larger side of the true box, over keypoints inside the
    crop. ``keypoints_within_stddev`` and ``distance_within_stddev`` are the shares of the coordinates of keypoints, and
    of the distances, whose error is within the standard deviation that the encoder predicts. Intervals are 95 %
    bootstrap percentiles. ``cases``, where given, gets one entry for each sample, whose picture is the pair of crops.
    """
    (measured,) = measure_encoders([predict], split, count, 0.0, cases, refiner, refine_steps)
    return {
        "dataset": "synthetic", "split": split, "n": count,
        "protocol": "encoder alone, jittered crops of the true hands, wrist root, not rescaled",
        **summary(measured.estimate, measured.ground_truth, measured.refined),
    }  # fmt: skip


class Measured(NamedTuple):
    """Values by figure: of an encoder's hands, of the ground truth's penetration, and of the refined hands."""

    estimate: dict[str, np.ndarray]
    ground_truth: dict[str, np.ndarray]
    refined: dict[str, np.ndarray] | None


def measure_encoders(
    predictors: Sequence[Predictor],
    split: str,
    count: int,
    corruption: float = 0.0,
    cases: list[Case] | None = None,
    refiner: Refiner | None = None,
    refine_steps: int = ReconstructorConfig.refine_steps,
) -> list[Measured]:
    """Measure several encoders on the same samples.

    ``corruption`` is the strength of :class:`datasets.priors.CorruptedPriors` for encoders that need priors;
    ``cases`` are of the first encoder; without a ``refiner`` nothing is refined.
    """
    hand_model = load_hand_model()
    stream = SampleStream(split, SEED, hand_model)
    results = [(_empty(*PER_PREDICTION.values()), _empty()) for _ in predictors]
    for start in range(0, count, _BATCH):
        numbers = range(start, min(start + _BATCH, count))
        samples = [stream[number] for number in numbers]
        crops_of = [
            _crops(sample, number, CorruptedPriors(np.random.default_rng([SEED, number, 1]), corruption))
            for number, sample in zip(numbers, samples, strict=True)
        ]
        batch = torch.utils.data.default_collate([crops.arrays for crops in crops_of])
        for predict, (before, after) in zip(predictors, results, strict=True):
            outputs = predict(batch).map(lambda output: output.numpy().astype(np.float64))
            for index, (sample, crops) in enumerate(zip(samples, crops_of, strict=True)):
                frames = [frame for frame in crops.frames if frame is not None and sample.present[frame.side]]
                hands = encoded_hands(frames, outputs[index], hand_model)
                result = estimates(hands, hands.lifted, sample.camera, hand_model)
                errors = _measure(*before, sample, crops, hands, result, hand_model)
                for name, relative in relative_errors(outputs[index], crops.arrays).items():
                    if relative.size:
                        before[0][PER_PREDICTION[name]].append((relative <= 1.0).mean())
                if refiner is not None:
                    if len(frames) == len(Side):
                        result = refined_hands(hands, sample.camera, refiner, refine_steps, hand_model)
                    errors = _measure(*after, sample, crops, hands, result, hand_model)
                if cases is not None and predict is predictors[0]:
                    cases.append(_case(stream, start + index, sample, crops, outputs[index].keypoints_2d, errors))
    return [
        Measured(_pooled(*before), before[1].pooled()[1], None if refiner is None else _pooled(*after))
        for before, after in results
    ]


def _empty(*names: str) -> tuple[Values, Penetrations]:
    return {name: [] for name in (*PER_HAND, *PER_PAIR, PER_JOINT, *names)}, Penetrations()


def _pooled(values: Values, penetrations: Penetrations) -> dict[str, np.ndarray]:
    return pooled(values) | penetrations.pooled()[0]


def _crops(sample: Sample, number: int, provider: PriorProvider | None = None) -> Crops:
    return sample_crops(sample, np.random.default_rng([SEED, number]), provider, distractors=False)


def _case(
    stream: SampleStream,
    number: int,
    sample: Sample,
    crops: Crops,
    keypoints_2d: np.ndarray,
    errors: dict[Side, HandErrors],
) -> Case:
    """``keypoints_2d`` are predicted (2, 21, 2), in units of the crops."""
    has_crop = crops.arrays["has_crop"][:, None, None] > 0
    side_by_side = np.array([[0, 0], [CROP_SIZE, 0]])[:, None]
    estimated, true = (
        np.where(has_crop, crop_pixels(points.astype(np.float64), CROP_SIZE) + side_by_side, np.nan)
        for points in (keypoints_2d, crops.arrays["keypoints_2d"])
    )
    picture = functools.partial(_pair_of_crops, stream, number)
    return Case(number, sample.name, sample.arrangement, errors, estimated, true, picture)


def _pair_of_crops(stream: SampleStream, number: int) -> np.ndarray:
    """Both crops of a sample, the encoder's inputs, the left hand's on the left, uint8 (S, 2 S, 3) BGR."""
    return np.concatenate(list(_crops(stream[number], number).arrays["crops"]), axis=1)[..., ::-1].copy()


def _measure(
    values: Values,
    penetrations: Penetrations,
    sample: Sample,
    crops: Crops,
    encoded: EncodedHands,
    hands: dict[Side, HandEstimate],
    hand_model: HandModel,
) -> dict[Side, HandErrors]:
    """Add one sample's values to the lists; returns the errors of its hands.

    ``hands`` are the ``encoded`` ones, refined or not; the predicted relative translation is that of ``encoded``.
    """
    errors, true_meshes = {}, []
    for side, hand in hands.items():
        true_meshes.append(hand_model.mesh(side, sample.rotations[side], sample.betas[side], sample.translation[side]))
        errors[side] = add_hand(
            values, hand.joints, sample.joints[side], hand.vertices, true_meshes[-1], hand.keypoints_2d,
            sample.keypoints_2d[side], crops.arrays["keypoint_weights"][side] > 0,
        )  # fmt: skip
    if len(hands) == len(Side):
        meshes, faces = [hands[side].vertices for side in Side], [hand_model.faces(side) for side in Side]
        penetrations.add(meshes, true_meshes, faces, sample.keypoints_2d)
        true = sample.joints[:1, 0], sample.joints[1:, 0]
        wrists = hands[Side.LEFT].joints[:1], hands[Side.RIGHT].joints[:1]
        occluded = bool((sample.occluded.mean(axis=1) >= OCCLUDED_JOINTS).any())
        predicted = true[0] + _relative_translation(encoded)
        for name, pair in (("mrrpe", wrists), ("mrrpe_predicted", (true[0], predicted))):
            error = metrics.mrrpe(pair[0], pair[1], true[0], true[1])
            values[f"{name}_mm"].append(error)
            if occluded:
                values[f"{name}_occluded_mm"].append(error)
    return errors


def _relative_translation(encoded: EncodedHands) -> np.ndarray:
    """Vector from the left wrist to the right one (3,), metres: the mean of both hands' predictions."""
    left, right = (observation.prediction for observation in encoded.observations)
    assert left is not None and right is not None and left.to_other is not None and right.to_other is not None
    return 0.5 * (left.to_other - right.to_other)
