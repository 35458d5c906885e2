"""Samples of the encoder's training as arrays for a data loader: rendered ones, cached on disk, photographs, and
images of data sets."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from ..datasets.cached import cached
from ..datasets.crops import CROP_SIZE, picture_crops, sample_crops
from ..datasets.priors import CorruptedPriors, PriorProvider
from ..datasets.sample import Sample
from ..datasets.sample_files import pack, unpack
from ..datasets.variations import varied
from ..hand_model import HandModel
from ..models.encoder import FusionAlignmentEncoder
from ..synthetic.sample_rendering import render_crop
from ..synthetic.sample_stream import SampleStream
from ..synthetic.viewpoints import sample_crop_camera
from .photographs import Photographs
from .streams import DataStream

_MARGINS = 0.1, 0.45
"""Around the hands in samples that are used several times, see :func:`sample_crop_camera`: jittered crops rarely reach
beyond them, where they would repeat the border."""
_TRIES = 20


class CropDataset(Dataset[dict[str, np.ndarray]]):
    """Numbered samples of a split as arrays (see :func:`crops.sample_crops`); a number is always the same sample.

    Args:
        split: of the stream.
        seed: of the stream, the crops, the variations and the corruption.
        hand_model: of the hands.
        corrupted: strength of the priors' corruption (see :class:`CorruptedPriors`).
        stem: an encoder whose stem is computed in the loader's process; None leaves the crops as they are.
        cache: folder that caches rendered samples, about 40 kB each; empty for none.
        distinct: number of rendered samples, each of which is used any number of times with variations
            (:func:`varied`); 0: each number is a rendered sample of its own, as it is.
        photographs: labelled photographs, which are some of the samples and backgrounds of others; or None.
        share: of photographs among the samples.
        foundation: predicts the prior maps from the images, those of photographs too; called once in each process that
            uses the samples. None: the maps are rendered, with errors, and photographs have none; those of data sets
            have what is known, with errors.
        streams: images of data sets, each with its share of the samples.
    """

    def __init__(
        self,
        split: str,
        seed: int,
        hand_model: HandModel,
        corrupted: float,
        stem: FusionAlignmentEncoder | None,
        cache: str | os.PathLike[str] = "",
        distinct: int = 0,
        photographs: Photographs | None = None,
        share: float = 0.0,
        foundation: Callable[[], PriorProvider] | None = None,
        streams: Sequence[DataStream] = (),
    ) -> None:
        self.split, self.seed, self.corrupted, self.distinct = split, seed, corrupted, distinct
        self._photographs, self._foundation = photographs, foundation
        self._sources: list[tuple[Photographs | DataStream, float]] = [(stream, stream.share) for stream in streams]
        if photographs is not None:
            self._sources.insert(0, (photographs, share))
        self._stream = SampleStream(split, seed, hand_model)
        self._backbones = stem.backbones if stem is not None else None
        self._cache: Path | None = None
        if cache:
            self._cache = Path(cache) / f"{split}-{seed}{'-wide' if distinct else ''}"
            self._cache.mkdir(parents=True, exist_ok=True)

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        cv2.setNumThreads(0)  # the loader's processes already use every core
        rng = np.random.default_rng([self.seed, number, 77])
        source = self._source(rng)
        if isinstance(source, Photographs):
            arrays = _with_crop(source, rng, self._predicted_priors)
        else:
            provider = self._predicted_priors or CorruptedPriors(rng, self.corrupted)
            if source is not None:
                arrays = source.arrays(rng, provider)
            else:
                arrays = sample_crops(self._rendered_or_varied(number, rng), rng, provider).arrays
        if self._stem is not None:
            arrays["stems"] = self._stem(arrays.pop("crops"))
        return arrays

    def _source(self, rng: np.random.Generator) -> Photographs | DataStream | None:
        """What a sample is of, chosen at random by the shares; None: rendered."""
        place = rng.random() if self._sources else 0.0
        for source, share in self._sources:
            place -= share
            if place < 0.0:
                return source
        return None

    def _rendered_or_varied(self, number: int, rng: np.random.Generator) -> Sample:
        if not self.distinct:
            return self._rendered(number)
        background = self._photographs.background if self._photographs is not None else None
        return varied(self._rendered(int(rng.integers(self.distinct))), rng, background)

    def is_cached(self, number: int) -> bool:
        """Whether a rendered sample is in the cache already."""
        return self._cache is not None and self._path(number).exists()

    def _rendered(self, number: int) -> Sample:
        if self._cache is None:
            return self._render(number)
        return unpack(cached(self._path(number), lambda: pack(self._render(number))))

    def _render(self, number: int) -> Sample:
        if not self.distinct:
            return self._stream[number]
        scene = self._stream.scene(number)
        keypoints = scene.camera.project(scene.joints[[hand.side for hand in scene.hands]])
        camera = sample_crop_camera(scene.camera, keypoints, np.random.default_rng([self.seed, number, 79]), _MARGINS)
        return render_crop(dataclasses.replace(scene, crop_camera=camera), self._stream.hand_model)

    def _path(self, number: int) -> Path:
        assert self._cache is not None
        return self._cache / f"{number:08d}.npz"

    @functools.cached_property
    def _predicted_priors(self) -> PriorProvider | None:
        return None if self._foundation is None else self._foundation()

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


def _with_crop(
    photographs: Photographs, rng: np.random.Generator, provider: PriorProvider | None
) -> dict[str, np.ndarray]:
    """Arrays of a random photograph that has a crop: not all have hands, or hands of known side."""
    for _ in range(_TRIES):
        arrays = picture_crops(photographs.sample(rng), rng, provider).arrays
        if arrays["has_crop"].any():
            break
    return arrays


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
