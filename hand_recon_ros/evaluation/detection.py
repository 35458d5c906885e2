"""Accuracy of hand detection in single frames: candidates of the palm detector and of the hand detector, and the
locator's hands: ``hand-recon evaluate --detection``."""

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

_CENTRE, _FACTOR, _ANGLE = 0.2, 1.4, math.radians(45)
"""A candidate matches a hand when their boxes' centres differ by less than this share of the hand's size, and their
sizes and directions by less than the others."""


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

    Returns "metrics" for "all" frames and for "interacting" hands (boxes that overlap by a quarter), each with the
    candidates of "palms", "detector" and "both", and with the single-image locator without ("locator_palms") and with
    the detector ("locator").
    """
    config = ReconstructorConfig()
    networks = HandNetworks.load(config)
    locators = {
        "locator_palms": HandLocator(HandNetworks.load(config, detector=False)),
        "locator": HandLocator(networks),
    }
    counts: dict[str, dict[str, Any]] = {
        part: {
            **{name: CandidateCounts() for name in ("palms", "detector", "both")},
            **{name: LocatorCounts() for name in locators},
        }
        for part in ("all", "interacting")
    }
    stream = SampleStream(split)
    for number in tqdm(range(frames), unit="frame", file=sys.stderr):
        sample = stream.frame(number, 640, 480)
        overlap = sample.present.all() and box_overlap(sample.keypoints_2d) >= BOX_OVERLAP
        parts = [counts[part] for part in ("all", *(("interacting",) if overlap else ()))]
        detections = networks.detect(sample.image, config.min_detection_score)
        palms, hands = [palm.roi for palm in detections.palms], [hand.roi for hand in detections.hands]
        boxes, valid = true_boxes(sample)
        for name, rois in (("palms", palms), ("detector", hands), ("both", palms + hands)):
            for part in parts:
                part[name].add(rois, boxes, valid)
        for name, locator in locators.items():
            located = locator.search(Frame(sample.image, sample.camera), config)
            for part in parts:
                part[name].add(located, sample, valid)
    figures = {part: {name: count.figures() for name, count in of_part.items()} for part, of_part in counts.items()}
    numbers = {part: of_part["palms"].frames for part, of_part in counts.items()}
    return {"dataset": "synthetic", "split": split, "n": numbers, "metrics": figures}


def true_boxes(sample: Sample) -> tuple[list[RotatedBox | None], np.ndarray]:
    """The boxes of a frame's hands, left and right, where enough of them is in the frame, and the sides (2,) that
    count, as in :class:`datasets.detector_views.DetectorView`."""
    view = frame_view(sample, None, size=64)
    visible = np.isfinite(view.boxes[:, 0])
    return [tracking_box(sample.keypoints_2d[side]) if visible[side] else None for side in Side], view.valid
