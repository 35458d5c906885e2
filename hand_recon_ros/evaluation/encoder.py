"""Accuracy of the encoder by itself: on crops as a tracker would cut them, of rendered scenes with exact truth."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import ConfigError, ReconstructorConfig, checked
from ..datasets.crops import Crops, sample_crops
from ..datasets.sample import Sample
from ..encode.hand_encoder import encoder_file
from ..encode.network import EncoderConfig, FusionAlignmentEncoder
from ..encode.outputs import HandsOutput
from ..encode.session import EncoderSession
from ..hand_model import HandModel, load_hand_model
from ..locate.landmarks import stem_of
from ..locate.networks import LandmarkNetworks
from ..synthetic.stream import OCCLUDED_JOINTS, SampleStream
from ..types import Side
from . import metrics
from .intervals import report
from .penetration import PENETRATION, Penetrations
from .synthetic import PER_HAND

PER_PAIR = ("mrrpe_mm", "mrrpe_occluded_mm", "mrrpe_told_mm", "mrrpe_told_occluded_mm")
INPUTS = ("crops", "rays", "pairs", "shown")
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


def predictor(model: FusionAlignmentEncoder, device: str = "cpu") -> Encoder:
    """What gives the hands of a batch of :func:`datasets.crops.sample_crops`; priors only where the encoder needs
    them."""
    model = model.to(device)

    @torch.no_grad()
    def predict(batch: dict[str, torch.Tensor]) -> HandsOutput:
        stems = model.stems_of(batch["crops"].to(device))
        priors = batch["priors"].to(device).float() if model.config.fusion == "priors" else None
        rays, pairs, shown = (batch[name].to(device) for name in ("rays", "pairs", "shown"))
        output = model(stems, rays, pairs, shown.flip(1), priors)
        return HandsOutput(*(value.float().cpu() for value in output.hands))

    return predict


def session_predictor(name: str) -> Encoder:
    """As :func:`predictor`, with an exported encoder, by name or path, as the pipeline runs it."""
    path = encoder_file(name)
    session = EncoderSession(path)
    networks = LandmarkNetworks.load(ReconstructorConfig(encoder=str(path)))

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


def evaluate_encoder(encoder: Encoder, split: str = "val", count: int = 500) -> dict[str, Any]:
    """Measure an encoder on the first samples of a split of the stream.

    Root-relative errors are from the wrist, not rescaled; PA with scale and without reflection; MRRPE from the two
    hands' metric wrists, and ``told`` directly as the vector to the other hand, the mean of what both hands say; the
    ``occluded`` forms over the pairs in which at least 30 % of a hand's keypoints are hidden by something else.
    Penetration is that of the meshes at the metric wrists, beside the truth's. 2D errors are in pixels of the sample's
    picture and PCK is against the larger side of the true box, over keypoints inside the crop. Intervals are 95 %
    bootstrap percentiles.
    """
    from ..encode.priors import exact_priors

    hand_model = load_hand_model()
    stream, penetrations = SampleStream(split, _SEED, hand_model), Penetrations()
    values: dict[str, list[np.ndarray]] = {name: [] for name in (*PER_HAND, *PER_PAIR)}
    for start in range(0, count, _BATCH):
        numbers = range(start, min(start + _BATCH, count))
        samples = [stream[number] for number in numbers]
        cut = [
            sample_crops(sample, np.random.default_rng([_SEED, number]), exact_priors, wrong=False)
            for number, sample in zip(numbers, samples, strict=True)
        ]
        batch = torch.utils.data.default_collate([crops.arrays for crops in cut])
        hands = encoder(batch)
        for index, (sample, crops) in enumerate(zip(samples, cut, strict=True)):
            said = HandsOutput(*(part[index].numpy().astype(np.float64) for part in hands))
            _measure(values, penetrations, sample, crops, said, hand_model)
    pooled = {name: np.concatenate([np.atleast_1d(part) for part in parts]) for name, parts in values.items() if parts}
    estimate, truth = penetrations.pooled()
    return {
        "dataset": "synthetic", "split": split, "n": count,
        "protocol": "encoder alone, jittered crops of the true hands, wrist root, not rescaled",
        **report((*values, *PENETRATION), pooled | estimate, truth),
    }  # fmt: skip


def _measure(
    values: dict[str, list[np.ndarray]],
    penetrations: Penetrations,
    sample: Sample,
    crops: Crops,
    hands: HandsOutput,
    hand_model: HandModel,
) -> None:
    wrists: list[np.ndarray | None] = [None, None]
    meshes, true_meshes = [], []
    for frame in crops.frames:
        if frame is None or not sample.present[frame.side]:
            continue
        side = frame.side
        wrist = frame.position_out(hands.places[side, 0], float(np.exp(hands.log_width[side])))
        joints = frame.points_out(hands.joints[side])[None]
        truth = sample.joints[side][None]
        wrists[side] = wrist
        values["mpjpe_mm"].append(metrics.mpjpe(joints, truth))
        values["pa_mpjpe_mm"].append(metrics.pa_mpjpe(joints, truth))
        values["wrist_error_mm"].append(metrics.wrist_error(joints + wrist, truth))
        mesh = frame.points_out(_mesh_from_wrist(hand_model, hands.rotations[side], hands.betas[side]))
        true_mesh = hand_model.mesh(side, sample.rotations[side], sample.betas[side], sample.translation[side])
        meshes.append(mesh + wrist)
        true_meshes.append(true_mesh)
        values["mpvpe_mm"].append(metrics.mpjpe(mesh[None], (true_mesh - truth[0, 0])[None], root=None))
        values["pa_mpvpe_mm"].append(metrics.pa_mpjpe(mesh[None], true_mesh[None]))
        inside = crops.arrays["place_weights"][side] > 0
        if inside.any():
            pixels, seen = frame.pixels_out(hands.places[side])[inside], sample.keypoints_2d[side]
            errors = np.linalg.norm(pixels - seen[inside], axis=-1)
            values["error_2d_px"].append(errors.mean(keepdims=True))
            size = np.ptp(seen, axis=0).max()
            for name, share in (("pck_0_05", 0.05), ("pck_0_1", 0.1)):
                values[name].append((errors < share * size).mean(keepdims=True))
    if wrists[0] is not None and wrists[1] is not None:
        penetrations.add(meshes, true_meshes, [hand_model.faces(side) for side in Side], sample.keypoints_2d)
        true = sample.joints[:1, 0], sample.joints[1:, 0]
        left, right = (frame for frame in crops.frames if frame is not None)
        to_right = left.points_out(hands.to_other[0]), -right.points_out(hands.to_other[1])
        told = np.mean(to_right, axis=0)[None]
        occluded = bool((sample.occluded.mean(axis=1) >= OCCLUDED_JOINTS).any())
        for name, pair in (("mrrpe", (wrists[0][None], wrists[1][None])), ("mrrpe_told", (true[0], true[0] + told))):
            error = metrics.mrrpe(pair[0], pair[1], true[0], true[1])
            values[f"{name}_mm"].append(error)
            if occluded:
                values[f"{name}_occluded_mm"].append(error)


def _mesh_from_wrist(hand_model: HandModel, rotations: np.ndarray, betas: np.ndarray) -> np.ndarray:
    """Vertices (V, 3) of a right hand in the crop frame, metres from its wrist."""
    wrist = hand_model.kinematics(Side.RIGHT).rest_keypoints(betas)[0]
    return hand_model.mesh(Side.RIGHT, rotations, betas, -wrist)
