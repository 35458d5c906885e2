"""Accuracy of the encoder by itself: on crops as a tracker would cut them, of rendered scenes with exact truth."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..config import ConfigError, ReconstructorConfig, checked
from ..datasets.crops import CROP_SIZE, Crops, sample_crops
from ..datasets.priors import CorruptedPriors, PriorProvider
from ..datasets.sample import Sample
from ..detect.networks import HandNetworks
from ..encode.crop_frame import crop_pixels
from ..encode.outputs import HandsOutput
from ..encode.session import EncoderSession
from ..hand_model import HandModel, load_hand_model
from ..interact.refinement import Refiner
from ..landmarks.landmarks import stem_of
from ..models.encoder import EncoderConfig, FusionAlignmentEncoder
from ..runtime.bundled_networks import bundled_network
from ..skeleton import WRIST
from ..synthetic.sample_stream import OCCLUDED_JOINTS, SampleStream
from ..types import Side
from . import metrics
from .cases import Case
from .encoder_estimates import EncoderEstimate, encoder_estimate, predicted_relative_translation, refined_hands
from .figures import PER_HAND, PER_JOINT, HandErrors, Values, add_hand, pooled, summary
from .penetration import Penetrations

PER_PAIR = ("mrrpe_mm", "mrrpe_occluded_mm", "mrrpe_told_mm", "mrrpe_told_occluded_mm")
INPUTS = ("crops", "rays", "pairs", "has_crop")
_BATCH = 16
_SEED = 90210


def load_encoder(path: str | Path) -> FusionAlignmentEncoder:
    """An encoder from its ``encoder.safetensors``; raises ConfigError where the file is not one, or does not fit."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path}: not an encoder: {error}") from error
    if "encoder" not in metadata:
        raise ConfigError(f"{path}: not an encoder: its metadata has no entry 'encoder'")
    config = checked(EncoderConfig, json.loads(metadata["encoder"]))
    model = FusionAlignmentEncoder(config, load_hand_model(), weights_follow=True)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if missing or unexpected:
        raise ConfigError(f"{path}: weights do not fit: missing {missing[:3]}, unexpected {unexpected[:3]}")
    return model.eval()


Encoder = Callable[[dict[str, torch.Tensor]], HandsOutput]


def predictor(model: FusionAlignmentEncoder, device: str = "cpu", teacher: bool = False) -> Encoder:
    """What gives the hands of a batch of :func:`datasets.crops.sample_crops`; priors only where the encoder needs them.

    With ``teacher`` an aligned encoder reads the priors' own tokens instead of those it imagines.
    """
    model = model.to(device)

    @torch.no_grad()
    def predict(batch: dict[str, torch.Tensor]) -> HandsOutput:
        stems = model.stems_of(batch["crops"].to(device))
        needed = teacher or model.config.fusion == "priors"
        priors = batch["priors"].to(device).float() if needed else None
        rays, pairs, shown = (batch[name].to(device) for name in ("rays", "pairs", "has_crop"))
        output = model(stems, rays, pairs, shown.flip(1), priors)
        hands = output.teacher if teacher else output.hands
        if hands is None:
            raise ValueError(f"an encoder with fusion {model.config.fusion!r} does not read the priors' tokens")
        return HandsOutput(*(value.float().cpu() for value in hands))

    return predict


def session_predictor(name: str, reduced_precision: bool = True) -> Encoder:
    """As :func:`predictor`, with an exported encoder, by name or path, as the pipeline runs it.

    ``reduced_precision`` allows bfloat16 where the CPU computes in it, as the pipeline does.
    """
    path = bundled_network("encoder", name)
    session = EncoderSession(path, reduced_precision=reduced_precision)
    networks = HandNetworks.load(ReconstructorConfig(encoder=str(path)))

    def content(crops: np.ndarray) -> np.ndarray:
        if not session.takes_stems:
            return crops
        networks.landmark.inputs[: len(crops)] = crops[..., ::-1]
        return np.stack([stem_of(outputs) for outputs in networks.landmark.run(len(crops))])

    def predict(batch: dict[str, torch.Tensor]) -> HandsOutput:
        parts: list[list[np.ndarray]] = [[] for _ in HandsOutput._fields]
        for crops, rays, pairs, shown in zip(*(batch[name].numpy() for name in INPUTS), strict=True):
            seen = np.flatnonzero(shown)
            others = np.full(len(seen), float(len(seen) == len(Side)))
            said = session.run(content(crops[seen]), rays[seen], pairs[seen], others)
            for part, value in zip(parts, said, strict=True):
                part.append(np.zeros((2, *value.shape[1:]), dtype=np.float32))
                part[-1][seen] = value
        return HandsOutput(*(torch.from_numpy(np.stack(part)) for part in parts))

    return predict


def evaluate_encoder(
    encoder: Encoder,
    split: str = "val",
    count: int = 500,
    cases: list[Case] | None = None,
    refiner: Refiner | None = None,
    refine_steps: int = ReconstructorConfig.refine_steps,
) -> dict[str, Any]:
    """Measure an encoder on the first samples of a split of the stream.

    Root-relative errors are from the wrist, not rescaled; PA with scale and without reflection; MRRPE from the two
    hands' metric wrists, and ``told`` directly as the vector to the other hand, the mean of what both hands say; the
    ``occluded`` forms over the pairs in which at least 30 % of a hand's keypoints are hidden by something else.
    Penetration is that of the meshes at the metric wrists, beside the truth's. Figures are of what the encoder says,
    and where there is a ``refiner`` of the same hands refined in ``refine_steps`` steps. 2D errors are in pixels of the
    sample's picture and PCK is against the larger side of the true box, over keypoints inside the crop. Intervals are
    95 % bootstrap percentiles. ``cases``, where given, gets one entry for each sample, whose picture is the pair of
    crops.
    """
    (measured,) = measure_encoders([encoder], split, count, 0.0, cases, refiner, refine_steps)
    return {
        "dataset": "synthetic", "split": split, "n": count,
        "protocol": "encoder alone, jittered crops of the true hands, wrist root, not rescaled",
        **summary(measured.estimate, measured.ground_truth, measured.refined),
    }  # fmt: skip


class Measured(NamedTuple):
    """Values by figure of an encoder, of the truth's penetration, and of the encoder's hands as they were refined."""

    estimate: dict[str, np.ndarray]
    ground_truth: dict[str, np.ndarray]
    refined: dict[str, np.ndarray] | None


def measure_encoders(
    encoders: Sequence[Encoder],
    split: str,
    count: int,
    spoilt: float = 0.0,
    cases: list[Case] | None = None,
    refiner: Refiner | None = None,
    refine_steps: int = ReconstructorConfig.refine_steps,
) -> list[Measured]:
    """Measure several encoders on the same samples.

    ``spoilt`` is how much the priors are that an encoder may need, as in :class:`encode.priors.CorruptedPriors`;
    ``cases`` are of the first encoder; without a ``refiner`` nothing is refined.
    """
    hand_model = load_hand_model()
    stream = SampleStream(split, _SEED, hand_model)
    results = [(_nothing(), _nothing()) for _ in encoders]
    for start in range(0, count, _BATCH):
        numbers = range(start, min(start + _BATCH, count))
        samples = [stream[number] for number in numbers]
        cut = [
            _cut(sample, number, CorruptedPriors(np.random.default_rng([_SEED, number, 1]), spoilt))
            for number, sample in zip(numbers, samples, strict=True)
        ]
        batch = torch.utils.data.default_collate([crops.arrays for crops in cut])
        for encoder, (before, after) in zip(encoders, results, strict=True):
            hands = encoder(batch)
            for index, (sample, crops) in enumerate(zip(samples, cut, strict=True)):
                output = HandsOutput(*(part[index].numpy().astype(np.float64) for part in hands))
                said = {
                    frame.side: encoder_estimate(frame, output)
                    for frame in crops.frames
                    if frame is not None and sample.present[frame.side]
                }
                told = predicted_relative_translation(crops, output) if len(said) == len(Side) else None
                errors = _measure(*before, sample, crops, said, told, hand_model)
                if refiner is not None:
                    if told is not None:
                        said = refined_hands(said, told, refiner, refine_steps, hand_model)
                    errors = _measure(*after, sample, crops, said, told, hand_model)
                if cases is not None and encoder is encoders[0]:
                    cases.append(_case(stream, start + index, sample, crops, output.keypoints_2d, errors))
    return [
        Measured(_pooled(*before), before[1].pooled()[1], None if refiner is None else _pooled(*after))
        for before, after in results
    ]


def _nothing() -> tuple[Values, Penetrations]:
    return {name: [] for name in (*PER_HAND, *PER_PAIR, PER_JOINT)}, Penetrations()


def _pooled(values: Values, penetrations: Penetrations) -> dict[str, np.ndarray]:
    return pooled(values) | penetrations.pooled()[0]


def _cut(sample: Sample, number: int, provider: PriorProvider | None = None) -> Crops:
    return sample_crops(sample, np.random.default_rng([_SEED, number]), provider, distractors=False)


def _case(
    stream: SampleStream, number: int, sample: Sample, crops: Crops, places: np.ndarray, errors: dict[Side, HandErrors]
) -> Case:
    """``places`` are the keypoints (2, 21, 2) as estimated, in units of the crops."""
    shown = crops.arrays["has_crop"][:, None, None] > 0
    beside = np.array([[0, 0], [CROP_SIZE, 0]])[:, None]
    estimated, true = (
        np.where(shown, crop_pixels(of.astype(np.float64), CROP_SIZE) + beside, np.nan)
        for of in (places, crops.arrays["keypoints_2d"])
    )
    picture = functools.partial(_pair_of_crops, stream, number)
    return Case(number, sample.name, sample.arrangement, errors, estimated, true, picture)


def _pair_of_crops(stream: SampleStream, number: int) -> np.ndarray:
    """Both crops of a sample as the encoder sees them, the left hand's on the left, uint8 (S, 2 S, 3) BGR."""
    return np.concatenate(list(_cut(stream[number], number).arrays["crops"]), axis=1)[..., ::-1].copy()


def _measure(
    values: Values,
    penetrations: Penetrations,
    sample: Sample,
    crops: Crops,
    hands: dict[Side, EncoderEstimate],
    told: np.ndarray | None,
    hand_model: HandModel,
) -> dict[Side, HandErrors]:
    """Add one sample's values to the lists; returns the errors of its hands.

    ``told`` is the vector from the left wrist to the right one, metres, as it was told directly.
    """
    errors, meshes, true_meshes = {}, [], []
    for side, hand in hands.items():
        translation = hand.wrist - hand_model.kinematics(side).rest_keypoints(hand.betas)[WRIST]
        meshes.append(hand_model.mesh(side, hand.rotations, hand.betas, translation))
        true_meshes.append(hand_model.mesh(side, sample.rotations[side], sample.betas[side], sample.translation[side]))
        errors[side] = add_hand(
            values, hand.joints, sample.joints[side], meshes[-1], true_meshes[-1], hand.pixels,
            sample.keypoints_2d[side], crops.arrays["keypoint_weights"][side] > 0,
        )  # fmt: skip
    if told is not None:
        penetrations.add(meshes, true_meshes, [hand_model.faces(side) for side in Side], sample.keypoints_2d)
        true = sample.joints[:1, 0], sample.joints[1:, 0]
        wrists = hands[Side.LEFT].wrist[None], hands[Side.RIGHT].wrist[None]
        occluded = bool((sample.occluded.mean(axis=1) >= OCCLUDED_JOINTS).any())
        for name, pair in (("mrrpe", wrists), ("mrrpe_told", (true[0], true[0] + told))):
            error = metrics.mrrpe(pair[0], pair[1], true[0], true[1])
            values[f"{name}_mm"].append(error)
            if occluded:
                values[f"{name}_occluded_mm"].append(error)
    return errors
