"""Synthetic samples as arrays for a data loader, with a cache on disk."""

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
    """Numbered samples of a split as arrays (see :func:`crops.sample_crops`); a number is always the same sample.

    Args:
        split: of the stream.
        seed: of the stream, the crops and the corruption.
        hand_model: of the hands.
        corrupted: strength of the priors' corruption (see :class:`CorruptedPriors`).
        stem: an encoder whose stem is computed in the loader's process; None leaves the crops as they are.
        cache: folder that caches computed samples, about 300 kB each; empty for none.
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
        self._backbones = stem.backbones if stem is not None else None
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
        """Whether a sample is in the cache already."""
        return self._cache is not None and self._path(number).exists()

    def _path(self, number: int) -> Path:
        assert self._cache is not None
        return self._cache / f"{number:08d}.npz"

    def _compute(self, number: int) -> dict[str, np.ndarray]:
        cv2.setNumThreads(0)  # the loader's processes already use every core
        rng = np.random.default_rng([self.seed, number, 77])
        sample = self._stream[number]
        arrays = sample_crops(sample, rng, CorruptedPriors(rng, self.corrupted)).arrays
        if self._stem is not None:
            arrays["stems"] = self._stem(arrays.pop("crops"))
        return arrays

    @functools.cached_property
    def _stem(self) -> Any:
        """Computes the stem's features, float16, of crops (2, S, S, 3) uint8; compiled in the process that uses it."""
        if self._backbones is None:
            return None
        import openvino

        example = torch.zeros(2, 3, CROP_SIZE, CROP_SIZE)
        module = _Stem(self._backbones).eval()
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
    """A batch on the device, half precision converted to single, with the stem's features of its crops."""
    moved = {
        name: value.to(device, non_blocking=True).float() if value.dtype == torch.float16 else value.to(device)
        for name, value in batch.items()
    }
    if "stems" not in moved:
        moved["stems"] = encoder.stems_of(moved["crops"])
    return moved
