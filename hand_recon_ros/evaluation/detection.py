"""Accuracy of hand detection in single frames, of each detector and of all together: ``hand-recon evaluate
--detection``."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from ..config import ReconstructorConfig
from ..datasets.sample import Sample
from ..detect.body_networks import persons_in
from ..detect.duplicates import box_overlap, same_hand
from ..detect.networks import HandNetworks
from ..detect.pair_detector import LIKELY, in_region, same_box
from ..detect.views import tiles, whole
from ..landmarks.hand_keypoints import hand_box
from ..landmarks.observation import Observation, RotatedBox
from ..synthetic.sample_stream import BOX_OVERLAP, SampleStream
from ..track.locator import HandLocator
from ..types import Frame, Side

_CENTRE, _FACTOR, _ANGLE = 0.2, 1.4, math.radians(45)
"""A candidate matches a hand when their boxes' centres differ by less than this share of the hand's size, and their
sizes and directions by less than the others."""
_MIN_INSIDE = 0.5
"""Smallest share of a hand's keypoints inside a frame in which it has to be detected."""


def matches(candidate: RotatedBox, truth: RotatedBox) -> bool:
    """Whether a candidate is near enough to a hand's box for the landmark network to find the hand in it."""
    turn = abs((candidate.angle - truth.angle + math.pi) % (2 * math.pi) - math.pi)
    distance = math.dist(candidate.center, truth.center)
    factor = abs(math.log(candidate.size / truth.size))
    return distance < _CENTRE * truth.size and factor < math.log(_FACTOR) and turn < _ANGLE


@dataclasses.dataclass
class CandidateCounts:
    """Counts of candidates over frames."""

    frames: int = 0
    hands: int = 0
    found: int = 0
    complete: int = 0
    candidates: int = 0
    false: int = 0

    def add(self, candidates: Sequence[RotatedBox], truth: Sequence[RotatedBox | None], valid: np.ndarray) -> None:
        """Add a frame: its candidates, the boxes of its hands (None where there is none), and which sides count."""
        boxes = [box for box in truth if box is not None]
        hits = [any(matches(candidate, box) for candidate in candidates) for box in boxes]
        self.frames += 1
        self.hands += len(hits)
        self.found += sum(hits)
        self.complete += all(hits)
        self.candidates += len(candidates)
        if valid.all():  # otherwise a candidate may be of the hand that is hardly in the frame
            self.false += sum(not any(matches(candidate, box) for box in boxes) for candidate in candidates)

    def figures(self) -> dict[str, float]:
        """Share of hands with a candidate, share of frames whose hands all have one, and candidates per frame."""
        return {
            "hands": self.found / max(self.hands, 1), "complete": self.complete / max(self.frames, 1),
            "candidates": self.candidates / max(self.frames, 1), "false": self.false / max(self.frames, 1),
        }  # fmt: skip


@dataclasses.dataclass
class LocatorCounts:
    """Counts of the locator's hands over frames: with the right side, with the other side, and false ones."""

    frames: int = 0
    hands: int = 0
    found: int = 0
    other_side: int = 0
    false: int = 0

    def add(self, located: Sequence[Observation], sample: Sample, valid: np.ndarray) -> None:
        """Add a frame: the located hands. Frames with a hand that is hardly in them do not count."""
        if not valid.all():
            return
        self.frames += 1
        self.hands += int(sample.present.sum())
        for observation in located:
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
    """Measure detection on the first frames of a split, 640 x 480.

    Returns "metrics" for "all" frames and for "interacting" hands (boxes that overlap by a quarter): the candidates of
    "palms", of the "detector" of pairs in the whole frame and its tiles, of the "body" and of "all" three; and the
    hands of the single-image locator with palms alone ("locator_palms") and with all detectors ("locator").
    """
    config = ReconstructorConfig()
    networks = HandNetworks.load(config)
    locators = {
        "locator_palms": HandLocator(dataclasses.replace(networks, pair=None, body=None)),
        "locator": HandLocator(networks),
    }
    counts: dict[str, dict[str, Any]] = {
        part: {
            **{name: CandidateCounts() for name in ("palms", "detector", "body", "all")},
            **{name: LocatorCounts() for name in locators},
        }
        for part in ("all", "interacting")
    }
    stream = SampleStream(split)
    for number in tqdm(range(frames), unit="frame", file=sys.stderr):
        sample = stream.frame(number, 640, 480)
        overlap = sample.present.all() and box_overlap(sample.keypoints_2d) >= BOX_OVERLAP
        parts = [counts[part] for part in ("all", *(("interacting",) if overlap else ()))]
        candidates = _candidates(networks, sample.image, config)
        boxes, valid = true_boxes(sample)
        for name, rois in candidates.items():
            for part in parts:
                part[name].add(rois, boxes, valid)
        for name, locator in locators.items():
            located = locator.search(Frame(sample.image, sample.camera), config).observations
            for part in parts:
                part[name].add(located, sample, valid)
    figures = {part: {name: count.figures() for name, count in of_part.items()} for part, of_part in counts.items()}
    numbers = {part: of_part["palms"].frames for part, of_part in counts.items()}
    return {"dataset": "synthetic", "split": split, "n": numbers, "metrics": figures}


def _candidates(networks: HandNetworks, image: np.ndarray, config: ReconstructorConfig) -> dict[str, list[RotatedBox]]:
    """Boxes of hands by detector, each hand once."""
    height, width = image.shape[:2]
    found = {"palms": [palm.roi for palm in networks.detect_palms(image, config.min_detection_score)]}
    hands = [
        hand
        for view in (whole(width, height), *tiles(width, height))
        for hand in in_region(networks.detect_pair, image, view)
        if hand.score >= LIKELY
    ]
    found["detector"] = _distinct([hand.roi for hand in sorted(hands, key=lambda hand: -hand.score)])
    assert networks.body is not None
    found["body"] = [hand.roi for person in persons_in(networks.body, image) for hand in person.hands]
    return {**found, "all": _distinct([roi for rois in found.values() for roi in rois])}


def _distinct(boxes: list[RotatedBox]) -> list[RotatedBox]:
    kept: list[RotatedBox] = []
    for box in boxes:
        if not any(same_box(box, other, _CENTRE) for other in kept):
            kept.append(box)
    return kept


def true_boxes(sample: Sample) -> tuple[list[RotatedBox | None], np.ndarray]:
    """The boxes of a frame's hands, left and right, where at least half of the keypoints are in the frame; and the
    sides (2,) that count: not those of which less than half is in it."""
    frame = np.array([sample.camera.width, sample.camera.height])
    inside = ((sample.keypoints_2d > 0) & (sample.keypoints_2d < frame - 1)).all(axis=2).mean(axis=1)
    visible, valid = sample.present & (inside >= _MIN_INSIDE), ~sample.present | (inside >= _MIN_INSIDE) | (inside == 0)
    return [hand_box(sample.keypoints_2d[side]) if visible[side] else None for side in Side], valid
