"""Training data of the two-hand prior: pairs of hands in contact, computed once and cached in a folder."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from ..datasets.cached import cached
from ..hand_model import load_hand_model
from ..hand_model.hand_pair import HandPair
from ..synthetic.interactions import sample_interactions

BLOCK = 64
"""Numbers of the stream of pairs in one file; pairs that were rejected are left out."""
_ARRAYS = ("rotations", "betas", "wrists")


class _Blocks(Dataset[dict[str, np.ndarray]]):
    """Blocks of a split's pairs, each cached in a file."""

    def __init__(self, folder: Path, split: str, seed: int) -> None:
        self._folder, self._split, self._seed = folder, split, seed

    def __getitem__(self, number: int) -> dict[str, np.ndarray]:
        return cached(self._folder / f"{number:05d}.npz", lambda: self._compute(number))

    def _compute(self, number: int) -> dict[str, np.ndarray]:
        numbers = range(number * BLOCK, (number + 1) * BLOCK)
        pairs = sample_interactions(self._split, self._seed, numbers, load_hand_model()).pairs
        return {name: getattr(pairs, name).astype(np.float32) for name in _ARRAYS}


def cached_pairs(folder: str | os.PathLike[str], split: str, seed: int, count: int, workers: int = 0) -> HandPair:
    """The first ``count`` plausible pairs of a split, as a batch, from the cache where it has them; the others are
    computed (about a dozen a second and core) and cached, so that an interrupted run can be resumed.

    Args:
        folder: of the cache; files of other splits and seeds may be in it too.
        split, seed: of the pairs, see :func:`synthetic.interactions.sample_interactions`.
        count: number of pairs.
        workers: processes that compute; 0: this one.
    """
    from tqdm import tqdm

    cache = Path(folder) / f"{split}-{seed}"
    cache.mkdir(parents=True, exist_ok=True)
    # A data loader yields its blocks in order, whichever process is done first.
    loader: Any = DataLoader(
        _Blocks(cache, split, seed), sampler=itertools.count(),
        batch_size=None, num_workers=workers, prefetch_factor=1 if workers else None, collate_fn=_same,
    )  # fmt: skip
    blocks, found = [], 0
    with tqdm(total=count, unit="pair", desc=f"{split} pairs", file=sys.stderr, smoothing=0.1) as bar:
        for block in loader:
            blocks.append(block)
            bar.update(min(len(block["wrists"]), count - found))
            found += len(block["wrists"])
            if found >= count:
                break
    return HandPair(**{name: np.concatenate([block[name] for block in blocks])[:count] for name in _ARRAYS})


def _same(block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return block
