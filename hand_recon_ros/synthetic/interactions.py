"""Two hands in contact without penetration: endless plausible pairs, each a function of its split, seed and number.

Hands are arranged as in the stream of images (:mod:`arrangements`), where they may overlap a little, and moved until
they touch without penetration (:mod:`penetration_solver`). Pairs that are too deep or not in contact by the exact test
on the closed meshes are left out.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from ..hand_model import HandModel, load_hand_model
from ..hand_model.hand_pair import HandPair
from ..skeleton import WRIST
from .arrangements import arrange_hands
from .identities import PEOPLE, SPLITS, identity
from .penetration_solver import PenetrationSolver
from .viewpoints import sample_camera, sample_view

INTERACTIONS = {
    "clasped": 0.18,
    "interlaced": 0.18,
    "palm to palm": 0.14,
    "fingertips": 0.14,
    "finger on palm": 0.13,
    "fist in hand": 0.13,
    "crossing": 0.04,
    "behind": 0.03,
    "side by side": 0.03,
}
"""Initial arrangements of the pairs, and their shares before any is left out."""
MAX_PENETRATION = 0.001
"""Largest PenDepth of a pair that is not left out, metres."""
_RNG_KEY = 53
_BATCH = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Interactions:
    """N pairs of hands, in the optical frame of a camera in front of them.

    Attributes:
        pairs: a batch of N.
        arrangements: N of INTERACTIONS.
        numbers: of the pairs in the split (N,).
        depths: PenDepth (N,), metres, at most MAX_PENETRATION.
    """

    pairs: HandPair
    arrangements: tuple[str, ...]
    numbers: np.ndarray
    depths: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)


def initial_pairs(
    split: str, seed: int, numbers: Iterable[int], hand_model: HandModel
) -> tuple[HandPair, tuple[str, ...]]:
    """Pairs as arranged in front of a camera, before penetration is removed, and their arrangements.

    Raises ValueError for another split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, expected one of: {', '.join(SPLITS)}")
    names, shares = list(INTERACTIONS), np.array(list(INTERACTIONS.values()))
    parts, chosen = [], []
    for number in numbers:
        rng = np.random.default_rng([_RNG_KEY, SPLITS.index(split), seed, number])
        name = names[int(rng.choice(len(names), p=shares / shares.sum()))]
        betas = identity(int(rng.integers(*PEOPLE[split]))).betas
        arranged = arrange_hands(name, rng, hand_model, betas)
        camera, head_mounted = sample_camera(rng)
        view = sample_view(rng, head_mounted)
        distance = np.exp(rng.uniform(np.log(0.25), np.log(0.6 if head_mounted else 1.4)))
        middle = distance * camera.unproject(rng.uniform(0.2, 0.8, 2) * (camera.width, camera.height))
        rotations = arranged.rotations.copy()
        rotations[:, 0] = view @ rotations[:, 0]
        parts.append((rotations, betas, arranged.keypoints[:, WRIST] @ view.T + middle))
        chosen.append(name)
    return HandPair(*(np.stack(part) for part in zip(*parts, strict=True))), tuple(chosen)


def sample_interactions(
    split: str, seed: int, numbers: Iterable[int], hand_model: HandModel | None = None
) -> Interactions:
    """The accepted ones of a split's pairs ``numbers``, in that order; no two splits share random numbers or people.

    Raises ValueError for another split.
    """
    hand_model = hand_model or load_hand_model()
    return _sample(split, seed, numbers, hand_model, PenetrationSolver(hand_model))


def interaction_stream(
    split: str = "train", seed: int = 0, start: int = 0, batch: int = _BATCH, hand_model: HandModel | None = None
) -> Iterator[Interactions]:
    """All accepted pairs of a split from number ``start`` on, without end, ``batch`` numbers at a time."""
    hand_model = hand_model or load_hand_model()
    solver = PenetrationSolver(hand_model)
    for first in itertools.count(start, batch):
        yield _sample(split, seed, range(first, first + batch), hand_model, solver)


def _sample(
    split: str, seed: int, numbers: Iterable[int], hand_model: HandModel, solver: PenetrationSolver
) -> Interactions:
    numbers = np.array(list(numbers))
    initial, names = initial_pairs(split, seed, numbers.tolist(), hand_model)
    pairs, depths, touching = solver(initial)
    accepted = np.flatnonzero((depths <= MAX_PENETRATION) & touching)
    return Interactions(
        pairs=pairs[accepted],
        arrangements=tuple(names[i] for i in accepted),
        numbers=numbers[accepted],
        depths=depths[accepted],
    )
