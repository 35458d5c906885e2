"""The people of the training stream: hand shape, appearance and split of each."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from ..hand_model import HandModel
from ..types import Side
from .poses import sample_betas
from .skin import Appearance, bake_texture

SPLITS = ("train", "val", "test")
PEOPLE = {"train": (0, 8192), "val": (10000, 10128), "test": (20000, 20256)}
"""Range of identities of each split, first and end: nobody is in two splits."""

GRID = 2
"""Texture cells along each edge of a face: about a millimetre per texel, one pixel of a training crop."""
SLEEVES = (float("inf"), 0.02, 0.05, 0.09, 0.13)
"""Where sleeves begin, metres from the wrist; infinite for bare arms. Few values: each needs skin masks of its own."""


@dataclasses.dataclass(frozen=True, eq=False)
class Identity:
    """A person.

    Attributes:
        number: of the identity.
        betas: of both hands (2, 10).
        appearance: skin, sleeves, gloves.
        sleeve: where the sleeve begins, one of SLEEVES, metres.
        girth: thickness of the forearm relative to the average.
    """

    number: int
    betas: np.ndarray
    appearance: Appearance
    sleeve: float
    girth: float


@functools.lru_cache(maxsize=512)
def identity(number: int) -> Identity:
    """The person with a number; the same at every call."""
    rng = np.random.default_rng([741, number])
    spread = float(rng.uniform(0.3, 1.0))
    betas = sample_betas(rng, spread=spread)
    # A person's two hands differ by about a tenth of a millimetre.
    betas = np.clip(betas + rng.normal(0, 0.05, (2, 10)), -2.5, 2.5)
    # A uniform distribution of skin tones.
    appearance = dataclasses.replace(Appearance.sample(rng), tone=float(rng.uniform()))
    if rng.random() < 0.12:
        colours = ((42, 42, 45), (235, 235, 232), (60, 110, 190), (150, 160, 170), tuple(rng.integers(15, 240, 3)))
        red, green, blue = map(int, colours[rng.integers(len(colours))])
        appearance = dataclasses.replace(appearance, glove=(red, green, blue))
    sleeve = float(rng.choice(SLEEVES, p=(0.34, 0.2, 0.18, 0.16, 0.12)))
    return Identity(number, betas, appearance, sleeve, float(rng.uniform(0.88, 1.15)))


def split_of(number: int) -> str:
    """The split of an identity. Raises ValueError where no split has it."""
    for split, (first, end) in PEOPLE.items():
        if first <= number < end:
            return split
    raise ValueError(f"identity {number} belongs to no split, expected one of {PEOPLE}")


@functools.lru_cache(maxsize=40)
def limb_texture(hand_model: HandModel, side: Side, number: int) -> np.ndarray:
    """The texture (F, T, 5) float32 of a person's hand, forearm and sleeve; cached for the last few people."""
    person = identity(number)
    return bake_texture(hand_model, side, person.sleeve, person.appearance, GRID)


@functools.lru_cache(maxsize=40)
def mean_colour(hand_model: HandModel, side: Side, number: int) -> np.ndarray:
    """Mean linear RGB (3,) of :func:`limb_texture`."""
    return limb_texture(hand_model, side, number)[:, :, :3].mean(axis=(0, 1)).astype(np.float64)
