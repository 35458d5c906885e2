"""Rendered pictures for the training of the pair detector, computed once and cached."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch.utils.data import DataLoader, Dataset

from ..config import ConfigError
from ..datasets.pair_crops import HandPicture
from ..datasets.sample import BACKGROUND, LEFT_HAND, RIGHT_HAND
from ..hand_model import load_hand_model
from ..synthetic.sample_rendering import render_crop
from ..synthetic.sample_stream import SampleStream
from ..synthetic.viewpoints import sample_pair_camera

SIZE = 288
"""Side of a rendered picture, pixels."""
_ARRAYS: dict[str, tuple[tuple[int, ...], Any]] = {
    "images": ((SIZE, SIZE, 3), np.uint8), "labels": ((SIZE, SIZE), np.uint8), "keypoints": ((2, 21, 2), np.float32),
}  # fmt: skip


class RenderedPictures(Dataset[dict[str, np.ndarray]]):
    """Numbered rendered pictures of a split: a square around the hands, with their surroundings."""

    def __init__(self, split: str, seed: int) -> None:
        self.seed = seed
        self._stream = SampleStream(split, seed, load_hand_model())

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        cv2.setNumThreads(0)  # the cores belong to the processes
        scene = self._stream.scene(number)
        rng = np.random.default_rng([self.seed, number, 43])
        present = [hand.side for hand in scene.hands]
        camera = sample_pair_camera(scene.camera, scene.camera.project(scene.joints[present]), SIZE, rng)
        sample = render_crop(dataclasses.replace(scene, crop_camera=camera), self._stream.hand_model)
        return {
            "images": sample.image,
            "labels": sample.labels,
            "keypoints": sample.keypoints_2d.astype(np.float32),
        }


class PictureCache:
    """The first rendered pictures of a split in a folder, as memory-mapped arrays.

    Pictures that are in the folder already are not rendered again, so that an interrupted run can be resumed.
    """

    def __init__(self, folder: str | os.PathLike[str], split: str, seed: int, count: int) -> None:
        """Raises ConfigError where the folder holds other pictures."""
        self._dataset = RenderedPictures(split, seed)
        self._folder = Path(folder) / split
        self._folder.mkdir(parents=True, exist_ok=True)
        decisive = {"split": split, "seed": seed, "count": count, "size": SIZE}
        description = self._folder / "pictures.json"
        if not description.exists():
            description.write_text(json.dumps(decisive))
        cached = json.loads(description.read_text())
        if cached != decisive:
            raise ConfigError(f"{self._folder} holds {cached}, not {decisive}: choose another cache, or remove it")
        self.arrays = {name: self._array(name, (count, *shape), kind) for name, (shape, kind) in _ARRAYS.items()}
        self.done = self._array("done", (count,), np.bool_)

    def __len__(self) -> int:
        return len(self.done)

    def __getitem__(self, number: int) -> HandPicture:
        labels = self.arrays["labels"][number]
        return HandPicture(
            image=self.arrays["images"][number],
            keypoints=self.arrays["keypoints"][number].astype(np.float64),
            known=np.ones(2, dtype=bool),
            foreground=labels != BACKGROUND,
            skin=np.isin(labels, (LEFT_HAND, RIGHT_HAND)),
        )

    def fill(self, workers: int) -> PictureCache:
        """Render the missing pictures in ``workers`` processes."""
        from tqdm import tqdm

        missing = np.flatnonzero(~self.done).tolist()
        # A data loader gives its samples in order, whichever process is done first.
        loader: Any = DataLoader(self._dataset, sampler=missing, batch_size=None, num_workers=workers)
        bar = tqdm(loader, total=len(missing), unit="picture", file=sys.stderr, disable=not missing, smoothing=0.1)
        for number, arrays in zip(missing, bar, strict=True):
            for name, values in arrays.items():
                self.arrays[name][number] = values
            self.done[number] = True
        return self

    def _array(self, name: str, shape: tuple[int, ...], kind: Any) -> np.ndarray:
        path = self._folder / f"{name}.npy"
        mode: Any = "r+" if path.exists() else "w+"
        return np.lib.format.open_memmap(path, mode, kind, shape)
