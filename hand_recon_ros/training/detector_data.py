"""Training data of the hand detector: the palm detector's features of rendered frames, computed once and cached."""

from __future__ import annotations

import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch.utils.data import DataLoader, Dataset

from ..config import ConfigError
from ..datasets.detector_views import BOX, frame_view, frame_views
from ..detect.hand_detector import FEATURE_SHAPES, FEATURES
from ..hand_model import HandModel, load_hand_model
from ..runtime.model_files import PALM_DETECTION, find_model
from ..runtime.sessions import Session, open_session
from ..synthetic.sample_stream import SampleStream

_ARRAYS = {
    **{name: (shape, np.float16) for name, shape in FEATURE_SHAPES.items()},
    "boxes": ((2, BOX), np.float32), "valid": ((2,), np.bool_),
}  # fmt: skip


class FeatureDataset(Dataset[dict[str, np.ndarray]]):
    """Numbered frames of a split as arrays (V, ...) of V views: features by name, boxes and valid as in DetectorView.

    A frame has two augmented views; with ``whole`` it has one, the whole frame.
    """

    def __init__(self, split: str, seed: int, hand_model: HandModel, whole: bool) -> None:
        self.whole, self.seed = whole, seed
        self._stream = SampleStream(split, seed, hand_model)

    @property
    def views(self) -> int:
        return 1 if self.whole else 2

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        cv2.setNumThreads(0)  # the cores belong to the processes
        sample, session = self._stream.frame(number), self._session
        rng = np.random.default_rng([self.seed, number, 41])
        views = [frame_view(sample, None, session.size)] if self.whole else frame_views(sample, rng, session.size)
        rows = []
        for view in views:
            session.inputs[0] = view.image
            rows.append((*session.run(1)[0][-len(FEATURES) :], view.boxes, view.valid))
        columns = zip(*rows, strict=True)
        return {
            name: np.stack(column).astype(kind)
            for (name, (_, kind)), column in zip(_ARRAYS.items(), columns, strict=True)
        }

    @functools.cached_property
    def _session(self) -> Session:
        """Opened in the process that uses it."""
        return open_session(find_model(PALM_DETECTION), threads=1, feature_layers=FEATURES)


class FeatureCache:
    """The first frames of a split in a folder: memory-mapped arrays (frames, V, ...).

    Frames that are in the folder already are not computed again, so that an interrupted run can be resumed.

    Attributes:
        frames: number of frames; views: of each.
        arrays: by name.
    """

    def __init__(self, folder: str | os.PathLike[str], split: str, seed: int, frames: int, whole: bool) -> None:
        """Raises ConfigError where the folder holds other frames."""
        self._dataset = FeatureDataset(split, seed, load_hand_model(), whole)
        self.frames, self.views = frames, self._dataset.views
        self._folder = Path(folder) / split
        self._folder.mkdir(parents=True, exist_ok=True)
        decisive = {"split": split, "seed": seed, "frames": frames, "views": self.views, "arrays": sorted(_ARRAYS)}
        description = self._folder / "frames.json"
        if not description.exists():
            description.write_text(json.dumps(decisive))
        cached = json.loads(description.read_text())
        if cached != decisive:
            raise ConfigError(f"{self._folder} holds {cached}, not {decisive}: choose another cache, or remove it")
        self.arrays = {
            name: self._array(name, (frames, self.views, *shape), kind) for name, (shape, kind) in _ARRAYS.items()
        }
        self._done = self._array("done", (frames,), np.bool_)

    def _array(self, name: str, shape: tuple[int, ...], kind: Any) -> np.ndarray:
        path = self._folder / f"{name}.npy"
        mode: Any = "r+" if path.exists() else "w+"
        return np.lib.format.open_memmap(path, mode, kind, shape)

    def fill(self, workers: int) -> FeatureCache:
        """Compute the missing frames in ``workers`` processes."""
        from tqdm import tqdm

        missing = np.flatnonzero(~self._done).tolist()
        # A data loader gives its samples in order, whichever process is done first.
        loader: Any = DataLoader(self._dataset, sampler=missing, batch_size=None, num_workers=workers)
        bar = tqdm(loader, total=len(missing), unit="frame", file=sys.stderr, disable=not missing, smoothing=0.1)
        for number, arrays in zip(missing, bar, strict=True):
            for name, values in arrays.items():
                self.arrays[name][number] = values
            self._done[number] = True
        return self
