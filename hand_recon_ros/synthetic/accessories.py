"""Rings on fingers, watches and bracelets on wrists: which of them a person wears."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from ..skeleton import FINGERS
from ..types import Side
from .identities import Identity
from .surface import ARM_OWNER

_METALS = ((212, 175, 85), (205, 152, 128), (192, 194, 198), (176, 176, 178), (78, 78, 84))
_LEATHERS = ((96, 60, 38), (34, 30, 28), (150, 104, 66), (58, 40, 34))
_DIALS = ((238, 238, 234), (18, 18, 22), (26, 38, 74), (12, 12, 12), (206, 196, 170))


@dataclasses.dataclass(frozen=True)
class Accessory:
    """A band around a finger or a forearm, with or without a stone or a watch's case on its back.

    Attributes:
        side: of the hand that wears it.
        finger: 0 thumb to 4 little finger, around the bone after its MCP; None for the forearm.
        at: middle of the band: share of that bone, or metres from the end of the hand mesh along the forearm; shifted
            away from the base where fingers share their skin.
        width, thickness: metres.
        colour, gloss, pattern: of the band, as a SceneObject's.
        case: half sizes along the limb, across it and off it, metres, of the stone or the watch's case; None for none.
        corners: of the case, as a SceneObject's roundness: 1 is round.
        case_colour, dial: sRGB of the case and of the watch's dial; None for a dial if it is no watch.
        seed: of the texture.
    """

    side: Side
    finger: int | None
    at: float
    width: float
    thickness: float
    colour: tuple[float, float, float]
    gloss: float
    pattern: tuple[float, float] = (0.2, 300.0)
    case: tuple[float, float, float] | None = None
    corners: float = 1.0
    case_colour: tuple[float, float, float] = (192.0, 194.0, 198.0)
    dial: tuple[float, float, float] | None = None
    seed: int = 0

    @property
    def owner(self) -> int:
        """Owner of its faces (see :mod:`surface`): a ring belongs to the hand, like a glove, a watch to the arm."""
        return int(self.side) + (ARM_OWNER if self.finger is None else 0)


@functools.lru_cache(maxsize=512)
def accessories_of(person: Identity) -> tuple[Accessory, ...]:
    """What a person wears, the same at every call: something on about every eighth hand, nothing on gloved hands."""
    # A generator of its own: the person's other attributes do not depend on it.
    rng = np.random.default_rng([743, person.number])
    if person.appearance.glove is not None:
        return ()
    worn: dict[tuple[Side, int | None], Accessory] = {}
    if rng.random() < 0.13:
        for _ in range(rng.choice([1, 2, 3], p=(0.55, 0.3, 0.15))):
            side, finger = Side(int(rng.integers(2))), int(rng.choice(len(FINGERS), p=(0.1, 0.17, 0.18, 0.45, 0.1)))
            worn.setdefault((side, finger), _ring(rng, side, finger))
    # Longer sleeves hide the wrist.
    if rng.random() < 0.15 and person.sleeve >= 0.05:
        side = Side.LEFT if rng.random() < 0.65 else Side.RIGHT
        worn[side, None] = (_watch if rng.random() < 0.7 else _bracelet)(rng, side)
    return tuple(worn.values())


def _colour(rng: np.random.Generator, colours: tuple[tuple[int, int, int], ...]) -> tuple[float, float, float]:
    """One of several sRGB colours with a little noise."""
    red, green, blue = np.clip(np.array(colours[rng.integers(len(colours))]) + rng.normal(0, 9, 3), 5, 250).tolist()
    return red, green, blue


def _any_colour(rng: np.random.Generator) -> tuple[float, float, float]:
    red, green, blue = np.clip(rng.uniform(15, 235) + rng.normal(0, 45, 3), 5, 250).tolist()
    return red, green, blue


def _ring(rng: np.random.Generator, side: Side, finger: int) -> Accessory:
    metal = rng.random() < 0.9
    size = float(rng.uniform(0.0018, 0.0045))
    stone = (size, size * float(rng.uniform(0.8, 1.3)), float(rng.uniform(0.0012, 0.0026)))
    return Accessory(
        side,
        finger,
        at=float(rng.uniform(0.42, 0.6)),
        width=float(rng.uniform(0.002, 0.006)),
        thickness=float(rng.uniform(0.0011, 0.002)),
        colour=_colour(rng, _METALS) if metal else _any_colour(rng),
        gloss=float(rng.uniform(0.7, 1.0) if metal else rng.uniform(0.2, 0.9)),
        pattern=(0.35, 280.0),
        case=stone if rng.random() < 0.35 else None,
        corners=float(rng.choice([0.3, 1.0])),
        case_colour=_any_colour(rng),
        seed=int(rng.integers(2**31)),
    )


def _watch(rng: np.random.Generator, side: Side) -> Accessory:
    radius = float(rng.uniform(0.013, 0.021))
    square = rng.random() < 0.4
    length = radius * float(rng.uniform(1.0, 1.2)) if square else radius
    strap = rng.random()
    return Accessory(
        side,
        None,
        at=float(rng.uniform(0.018, 0.024)),
        width=radius * float(rng.uniform(0.8, 1.15)),
        thickness=float(rng.uniform(0.002, 0.0035)),
        colour=_colour(rng, _LEATHERS if strap < 0.4 else _METALS) if strap < 0.7 else _any_colour(rng),
        gloss=float(rng.uniform(0.6, 0.95) if 0.4 <= strap < 0.7 else rng.uniform(0.16, 0.4)),
        pattern=(float(rng.uniform(0.1, 0.5)), float(rng.uniform(150, 500))),
        case=(length, radius * (0.88 if square else 1.0), float(rng.uniform(0.003, 0.006))),
        corners=0.35 if square else 1.0,
        case_colour=_colour(rng, _METALS) if rng.random() < 0.75 else _any_colour(rng),
        dial=_colour(rng, _DIALS),
        seed=int(rng.integers(2**31)),
    )


def _bracelet(rng: np.random.Generator, side: Side) -> Accessory:
    width = float(rng.uniform(0.003, 0.016))
    metal = rng.random() < 0.4
    return Accessory(
        side,
        None,
        at=float(rng.uniform(0.012, 0.024)),
        width=width,
        thickness=float(rng.uniform(0.0015, 0.0035)),
        colour=_colour(rng, _METALS) if metal else _any_colour(rng),
        gloss=float(rng.uniform(0.6, 1.0) if metal else rng.uniform(0.16, 0.5)),
        pattern=(float(rng.uniform(0.1, 0.8)), float(rng.uniform(100, 400))),
        seed=int(rng.integers(2**31)),
    )
