"""Trained and exported encoders behind one call, for the evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ..config import ConfigError, ReconstructorConfig, checked
from ..detect.networks import HandNetworks
from ..encode.outputs import PosedHandOutputs
from ..encode.session import EncoderSession
from ..hand_model import load_hand_model
from ..landmarks.landmarks import stem_of
from ..models.encoder import EncoderConfig, FusionAlignmentEncoder
from ..runtime.bundled_networks import bundled_network
from ..types import Side

Predictor = Callable[[dict[str, torch.Tensor]], PosedHandOutputs]
"""From a batch of :func:`datasets.crops.sample_crops` to outputs (B, 2, ...), torch tensors on the CPU."""


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
    model = FusionAlignmentEncoder(config, load_hand_model(), load_weights=False)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if missing or unexpected:
        raise ConfigError(f"{path}: weights do not fit: missing {missing[:3]}, unexpected {unexpected[:3]}")
    return model.eval()


def network_predictor(model: FusionAlignmentEncoder, device: str = "cpu", teacher: bool = False) -> Predictor:
    """Predictions of a network in torch; with ``teacher`` an aligned encoder's from the priors' own tokens."""
    model = model.to(device)

    @torch.no_grad()
    def predict(batch: dict[str, torch.Tensor]) -> PosedHandOutputs:
        stems = model.stems_of(batch["crops"].to(device))
        needs_priors = teacher or model.config.fusion == "priors"
        priors = batch["priors"].to(device).float() if needs_priors else None
        rays, pairs, has_crop = (batch[name].to(device) for name in ("rays", "pairs", "has_crop"))
        output = model(stems, rays, pairs, has_crop.flip(1), priors)
        hands: PosedHandOutputs | None = output.teacher if teacher else output.hands
        if hands is None:
            raise ValueError(f"an encoder with fusion {model.config.fusion!r} has no teacher")
        return hands.map(lambda part: part.float().cpu())

    return predict


def session_predictor(name: str) -> Predictor:
    """Predictions of an exported encoder, by name or path, in the session that the pipeline runs."""
    path = bundled_network("encoder", name)
    session = EncoderSession(path, PosedHandOutputs)
    networks = HandNetworks.load(ReconstructorConfig(encoder=str(path)))

    def inputs(crops: np.ndarray) -> np.ndarray:
        if not session.takes_stems:
            return crops
        networks.landmark.inputs[: len(crops)] = crops[..., ::-1]
        return np.stack([stem_of(outputs) for outputs in networks.landmark.run(len(crops))])

    def predict(batch: dict[str, torch.Tensor]) -> PosedHandOutputs:
        results: list[list[np.ndarray]] = []
        columns = (batch[name].numpy() for name in ("crops", "rays", "pairs", "has_crop"))
        for crops, rays, pairs, has_crop in zip(*columns, strict=True):
            sides = np.flatnonzero(has_crop)
            others = np.full(len(sides), float(len(sides) == len(Side)))
            outputs = session.run(inputs(crops[sides]), rays[sides], pairs[sides], others)
            results.append([])
            for part in (getattr(outputs, name) for name in PosedHandOutputs.names()):
                results[-1].append(np.zeros((len(Side), *part.shape[1:]), dtype=np.float32))
                results[-1][-1][sides] = part
        return PosedHandOutputs(*(torch.from_numpy(np.stack(part)) for part in zip(*results, strict=True)))

    return predict
