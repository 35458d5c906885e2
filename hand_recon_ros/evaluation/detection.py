"""How well hands are found in single frames: candidates of palm detector and detector, and what becomes of them.

``hand-recon evaluate --finding``."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from ..config import ReconstructorConfig
from ..datasets.detector_views import frame_view
from ..datasets.sample import Sample
from ..detect.duplicates import box_overlap, same_hand
from ..detect.networks import HandNetworks
from ..landmarks.crops import tracking_box
from ..landmarks.observation import Observation, RotatedBox
from ..synthetic.sample_stream import BOX_OVERLAP, SampleStream
from ..track.locator import HandLocator
from ..types import Frame, Side

_CENTER, _FACTOR, _ANGLE = 0.2, 1.4, math.radians(45)
"""A candidate is a hand's when its centre is nearer to that of the hand's own square than this part of the square's
side, and its side and direction differ by less."""


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


@dataclasses.dataclass
class LocatorTally:
    """What the locator makes of frames: hands found with their side, with the other side, and what is no hand."""

    frames: int = 0
    hands: int = 0
    found: int = 0
    other_side: int = 0
    false: int = 0

    def add(self, seen: Sequence[Observation], sample: Sample, asked: np.ndarray) -> None:
        """One frame: the located hands. Frames with a hand that is hardly in them do not count."""
        if not asked.all():
            return
        self.frames += 1
        self.hands += int(sample.present.sum())
        for observation in seen:
            side = observation.side
            of = [s for s in Side if sample.present[s] and same_hand(observation.keypoints_2d, sample.keypoints_2d[s])]
            self.found += side in of
            self.other_side += bool(of) and side not in of
            self.false += not of

    def figures(self) -> dict[str, float]:
        """Shares of hands found with the right and with the other side, and false hands per frame."""
        return {
            "found": self.found / max(self.hands, 1), "other_side": self.other_side / max(self.hands, 1),
            "false": self.false / max(self.frames, 1),
        }  # fmt: skip


def evaluate_detection(split: str = "val", frames: int = 200) -> dict[str, Any]:
    """Measure on the first frames of a split, 640 x 480.

    Returns "metrics" with "all" frames and those of "interacting" hands (boxes that overlap by a quarter), each with
    the candidates of "palms", "detector" and "both", and with the still image locator without ("locator_palms") and
    with the detector ("locator").
    """
    config = ReconstructorConfig()
    networks = HandNetworks.load(config)
    locators = {
        "locator_palms": HandLocator(HandNetworks.load(config, detector=False)),
        "locator": HandLocator(networks),
    }
    tallies: dict[str, dict[str, Any]] = {
        part: {
            **{name: Tally() for name in ("palms", "detector", "both")},
            **{name: LocatorTally() for name in locators},
        }
        for part in ("all", "interacting")
    }
    stream = SampleStream(split)
    for number in tqdm(range(frames), unit="frame", file=sys.stderr):
        sample = stream.frame(number, 640, 480)
        overlap = sample.present.all() and box_overlap(sample.keypoints_2d) >= BOX_OVERLAP
        shown = [tallies[part] for part in ("all", *(("interacting",) if overlap else ()))]
        found = networks.detect(sample.image, config.min_detection_score)
        palms, hands = [palm.roi for palm in found.palms], [hand.roi for hand in found.hands]
        squares, asked = truth(sample)
        for name, rois in (("palms", palms), ("detector", hands), ("both", palms + hands)):
            for tally in shown:
                tally[name].add(rois, squares, asked)
        for name, locator in locators.items():
            seen = locator.search(Frame(sample.image, sample.camera), config)
            for tally in shown:
                tally[name].add(seen, sample, asked)
    figures = {part: {name: tally.figures() for name, tally in of_part.items()} for part, of_part in tallies.items()}
    counts = {part: of_part["palms"].frames for part, of_part in tallies.items()}
    return {"dataset": "synthetic", "split": split, "n": counts, "metrics": figures}


def truth(sample: Sample) -> tuple[list[RotatedBox | None], np.ndarray]:
    """The squares of a frame's hands, left and right, where there is enough of them in the frame, and the sides (2,)
    that count, as in :class:`datasets.detector_views.DetectorView`."""
    view = frame_view(sample, None, size=64)
    there = np.isfinite(view.boxes[:, 0])
    return [tracking_box(sample.keypoints_2d[side]) if there[side] else None for side in Side], view.valid
