"""The stream of samples as batches of a data loader."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from ..datasets.cached import cached
from ..datasets.crops import CROP_SIZE, sample_crops
from ..datasets.priors import CorruptedPriors
from ..hand_model import HandModel
from ..models.encoder import FusionAlignmentEncoder
from .sample_stream import SampleStream


class CropDataset(Dataset[dict[str, np.ndarray]]):
    """Numbered samples of a split as arrays, see :func:`crops.sample_crops`; the same number is the same sample.

    Args:
        split: of the stream.
        seed: of the stream and of what is done to its samples.
        hand_model: of the hands.
        corrupted: how much the priors are spoilt.
        stem: an encoder whose stem is computed here, in the loader's process; None leaves the crops as they are.
        cache: a folder where samples are kept once they are computed, about 300 kB each, and looked for; empty: none.
    """

    def __init__(
        self,
        split: str,
        seed: int,
        hand_model: HandModel,
        corrupted: float,
        stem: FusionAlignmentEncoder | None,
        cache: str | os.PathLike[str] = "",
    ) -> None:
        self.split, self.seed, self.corrupted = split, seed, corrupted
        self._stream = SampleStream(split, seed, hand_model)
        self._early = stem.backbones if stem is not None else None
        self._cache: Path | None = None
        if cache:
            content = "crops" if stem is None else "stems"
            self._cache = Path(cache) / f"{split}-{seed}-{corrupted:g}-{content}"
            self._cache.mkdir(parents=True, exist_ok=True)

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        if self._cache is None:
            return self._compute(number)
        return cached(self._path(number), lambda: self._compute(number))

    def is_cached(self, number: int) -> bool:
        """Whether a sample is in the cache."""
        return self._cache is not None and self._path(number).exists()

    def _path(self, number: int) -> Path:
        assert self._cache is not None
        return self._cache / f"{number:08d}.npz"

    def _compute(self, number: int) -> dict[str, np.ndarray]:
        cv2.setNumThreads(0)  # the cores belong to the processes
        rng = np.random.default_rng([self.seed, number, 77])
        sample = self._stream[number]
        arrays = sample_crops(sample, rng, CorruptedPriors(rng, self.corrupted)).arrays
        if self._stem is not None:
            arrays["stems"] = self._stem(arrays.pop("crops"))
        return arrays

    @functools.cached_property
    def _stem(self) -> Any:
        """Computes stems of (2, S, S, 3) uint8 as float16; made in the process that uses it."""
        if self._early is None:
            return None
        import openvino

        example = torch.zeros(2, 3, CROP_SIZE, CROP_SIZE)
        module = _Stem(self._early).eval()
        model = openvino.convert_model(module, example_input=example)
        config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
        request = openvino.Core().compile_model(model, "CPU", config).create_infer_request()

        def compute(crops: np.ndarray) -> np.ndarray:
            images = crops.transpose(0, 3, 1, 2).astype(np.float32) / 255.0
            result = request.infer([np.ascontiguousarray(images)])
            return np.asarray(result[0]).astype(np.float16)

        return compute


class _Stem(torch.nn.Module):
    def __init__(self, backbones: Any) -> None:
        super().__init__()
        self.backbones = backbones

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.backbones.stem(crops)
        return result


def to_device(
    batch: dict[str, torch.Tensor], device: torch.device, encoder: FusionAlignmentEncoder
) -> dict[str, torch.Tensor]:
    """A batch on the device, half precision made single, with the stems of its crops."""
    moved = {
        name: value.to(device, non_blocking=True).float() if value.dtype == torch.float16 else value.to(device)
        for name, value in batch.items()
    }
    if "stems" not in moved:
        moved["stems"] = encoder.stems_of(moved["crops"])
    return moved
