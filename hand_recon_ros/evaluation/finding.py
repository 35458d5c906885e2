"""How well hands are found in single frames: the candidates of the palm detector and of the finder, and what the locator
makes of them. ``hand-recon evaluate --finding``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..camera import Camera
from ..config import ReconstructorConfig
from ..datasets.finder_views import frame_view
from ..datasets.sample import Sample
from ..locate import LandmarkLocator
from ..locate.duplicates import same_hand
from ..locate.networks import LandmarkNetworks
from ..locate.observation import RotatedBox
from ..synthetic.stream import BOX_OVERLAP, SampleStream, box_overlap
from ..types import Frame, Side

_CENTER, _FACTOR, _ANGLE = 0.2, 1.4, math.radians(45)
"""A candidate is a hand's when its centre is nearer to that of the hand's own square than this part of the square's side,
and its side and direction differ by less."""


def close(candidate: RotatedBox, truth: RotatedBox) -> bool:
    """Whether a candidate is near enough to a hand's square for the landmark network to see this hand in it."""
    turn = abs((candidate.angle - truth.angle + math.pi) % (2 * math.pi) - math.pi)
    apart = math.dist(candidate.center, truth.center)
    factor = abs(math.log(candidate.size / truth.size))
    return apart < _CENTER * truth.size and factor < math.log(_FACTOR) and turn < _ANGLE


@dataclasses.dataclass
class Tally:
    """Counts over frames."""

    frames: int = 0
    hands: int = 0
    found: int = 0
    complete: int = 0
    candidates: int = 0
    false: int = 0

    def add(self, candidates: Sequence[RotatedBox], truth: Sequence[RotatedBox | None], asked: np.ndarray) -> None:
        """One frame: its candidates, the squares of its hands (None where there is none) and which sides count."""
        squares = [square for square in truth if square is not None]
        hits = [any(close(candidate, square) for candidate in candidates) for square in squares]
        self.frames += 1
        self.hands += len(hits)
        self.found += sum(hits)
        self.complete += all(hits)
        self.candidates += len(candidates)
        if asked.all():  # else a candidate may be of the hand that is hardly in the frame
            self.false += sum(not any(close(candidate, square) for square in squares) for candidate in candidates)

    def figures(self) -> dict[str, float]:
        """Share of hands with a candidate, share of frames whose hands all have one, and candidates per frame."""
        return {
            "hands": self.found / max(self.hands, 1), "complete": self.complete / max(self.frames, 1),
            "candidates": self.candidates / max(self.frames, 1), "false": self.false / max(self.frames, 1),
        }  # fmt: skip
