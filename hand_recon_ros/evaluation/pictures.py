"""Hands found in real pictures, against annotated boxes and sides: ``hand-recon evaluate --dataset pictures``."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from ..datasets.pictures import AnnotatedHand, AnnotatedPicture
from ..detect.ssd import box_iou
from ..reconstructor import TwoHandReconstructor
from ..types import Side, TwoHandEstimate
from .intervals import ratio_interval

PROTOCOL = (
    "single images; a hand is found where the box around the keypoints of its side's slot and the annotated box have "
    "an IoU of 0.3, or 0.2 where it is mostly hidden"
)
_VISIBLE, _OCCLUDED = 0.3, 0.2


@dataclasses.dataclass(frozen=True)
class PictureScore:
    """What an estimate found in a picture.

    A slot hits at most one annotated hand of anybody, and a hand is hit by at most one slot. Only hands of person 0
    with a known side count.

    Attributes:
        hands: that count.
        missed: sides of those that no slot hits.
        exchanged: sides of those that only the slot of the other side hits.
        slots: estimated hands. ``false``: sides of those that hit no hand.
        errors: mean distance of the annotated keypoints, as a share of the box's larger side, of each found hand that
            has some.
    """

    hands: int
    missed: tuple[Side, ...]
    exchanged: tuple[Side, ...]
    slots: int
    false: tuple[Side, ...]
    errors: tuple[float, ...]

    @property
    def found(self) -> int:
        """Hands that the slot of their side hits."""
        return self.hands - len(self.missed) - len(self.exchanged)

    @property
    def faults(self) -> list[str]:
        """What is not right, in words."""
        return [
            *(f"{side.label} missed" for side in self.missed),
            *(f"{side.label} found as {side.other.label}" for side in self.exchanged),
            *(f"{side.label} is false" for side in self.false),
        ]


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredPicture:
    """A picture, the keypoints (21, 2) of the slots in which a hand was estimated, and their score.

    ``seconds`` is the time that the reconstruction took.
    """

    picture: AnnotatedPicture
    keypoints: dict[Side, np.ndarray]
    score: PictureScore
    seconds: float


def estimated_keypoints(estimate: TwoHandEstimate) -> dict[Side, np.ndarray]:
    """Keypoints (21, 2) of the slots that hold a hand with a finite pose."""
    hands = {side: estimate.hand(side) for side in Side}
    return {side: hand.keypoints_2d for side, hand in hands.items() if hand.found and np.isfinite(hand.joints).all()}


def score_picture(hands: Sequence[AnnotatedHand], keypoints: Mapping[Side, np.ndarray]) -> PictureScore:
    """Compare the slots' keypoints (21, 2) with the annotated hands of a picture."""
    hit = {index: side for side, index in _assigned(hands, keypoints).items()}
    own = {index: hand.side for index, hand in enumerate(hands) if hand.person == 0 and hand.side is not None}
    return PictureScore(
        hands=len(own),
        missed=tuple(side for index, side in own.items() if index not in hit),
        exchanged=tuple(side for index, side in own.items() if hit.get(index, side) != side),
        slots=len(keypoints),
        false=tuple(side for side in keypoints if side not in hit.values()),
        errors=tuple(
            _keypoint_error(hands[index], keypoints[side])
            for index, side in own.items()
            if hit.get(index) == side and hands[index].keypoints_2d is not None
        ),
    )


def _assigned(hands: Sequence[AnnotatedHand], keypoints: Mapping[Side, np.ndarray]) -> dict[Side, int]:
    """The hand that each slot hits. Slots of a hand's own side go first, then larger overlaps."""
    candidates = []
    for side, points in keypoints.items():
        known = points[np.isfinite(points).all(axis=1)]
        if not len(known):
            continue
        box = np.concatenate([known.min(axis=0), known.max(axis=0)])
        for index, hand in enumerate(hands):
            overlap = float(box_iou(box, hand.box[None])[0])
            if overlap >= (_OCCLUDED if hand.occluded else _VISIBLE):
                candidates.append((side == hand.side, overlap, side, index))
    hits: dict[Side, int] = {}
    for _, _, side, index in sorted(candidates, reverse=True):
        if side not in hits and index not in hits.values():
            hits[side] = index
    return hits


def _keypoint_error(hand: AnnotatedHand, keypoints: np.ndarray) -> float:
    assert hand.keypoints_2d is not None
    distances = np.linalg.norm(keypoints - hand.keypoints_2d, axis=1)
    return float(np.nanmean(distances) / (hand.box[2:] - hand.box[:2]).max())


def measure_pictures(
    reconstructors: Sequence[TwoHandReconstructor], pictures: Sequence[AnnotatedPicture]
) -> list[list[MeasuredPicture]]:
    """Run several reconstructors on the same pictures, by turns on each, so that their times are comparable."""
    measured: list[list[MeasuredPicture]] = [[] for _ in reconstructors]
    for picture in tqdm(pictures, unit="picture", file=sys.stderr):
        frame = picture.frame()
        for reconstructor, results in zip(reconstructors, measured, strict=True):
            begin = time.perf_counter()
            estimate = reconstructor.reconstruct_image(frame.image, frame.camera)
            seconds = time.perf_counter() - begin
            keypoints = estimated_keypoints(estimate)
            results.append(MeasuredPicture(picture, keypoints, score_picture(picture.hands, keypoints), seconds))
    return measured


def summary(measured: Sequence[MeasuredPicture]) -> dict[str, Any]:
    """Figures of the pictures.

    Returns "results": :func:`figures` by kind of picture, and of "all"; "tags": the same by tag; "not_right": files of
    the pictures with a hand that was not found with its side, or with a false one; "median_ms": time per picture.
    """

    def parts(names: Iterable[str], of: Any) -> dict[str, Any]:
        return {
            name: figures([one.score for one in measured if name in of(one.picture)]) for name in sorted(set(names))
        }

    kinds = parts((one.picture.kind for one in measured), lambda picture: (picture.kind,))
    return {
        "results": {**kinds, "all": figures([one.score for one in measured])},
        "tags": parts((tag for one in measured for tag in one.picture.tags), lambda picture: picture.tags),
        "not_right": [one.picture.file for one in measured if one.score.faults],
        "median_ms": 1e3 * float(np.median([one.seconds for one in measured])),
    }


def figures(scores: Sequence[PictureScore]) -> dict[str, Any]:
    """Counts and shares over pictures.

    Returns the numbers of "pictures", "pairs" (pictures in which two hands count), "slots", "wrong_side" (hands found
    in the other side's slot) and "false" slots; the shares of "hands" that were found and of pairs of which "both"
    were; "px": mean error of annotated keypoints as a share of the hand's size; "ci95": 95 % bootstrap intervals of
    "hands" and "both", over pictures. Shares of nothing are None.
    """
    hands, found = (np.array([getattr(score, name) for score in scores]) for name in ("hands", "found"))
    pairs = hands == 2
    both = pairs & (found == 2)
    errors = [error for score in scores for error in score.errors]
    return {
        "pictures": len(scores),
        "hands": float(found.sum() / hands.sum()) if hands.any() else None,
        "both": float(both.sum() / pairs.sum()) if pairs.any() else None,
        "pairs": int(pairs.sum()),
        "wrong_side": sum(len(score.exchanged) for score in scores),
        "false": sum(len(score.false) for score in scores),
        "slots": sum(score.slots for score in scores),
        "px": float(np.mean(errors)) if errors else None,
        "ci95": {"hands": ratio_interval(found, hands), "both": ratio_interval(both, pairs)},
    }


def evaluate_pictures(
    reconstructors: Mapping[str, TwoHandReconstructor], pictures: Sequence[AnnotatedPicture]
) -> tuple[dict[str, Any], list[MeasuredPicture]]:
    """Measure reconstructors on the same pictures.

    Args:
        reconstructors: by a name for their settings. The first is the one that the report is of.

    Returns the report: :func:`summary` and settings of the first, and under "comparison", where there are others, those
    of each by name; and the first one's pictures.
    """
    measured = measure_pictures(list(reconstructors.values()), pictures)
    reports = {
        name: {"config": dataclasses.asdict(reconstructor.config), **summary(results)}
        for (name, reconstructor), results in zip(reconstructors.items(), measured, strict=True)
    }
    report = {"dataset": "pictures", "n": len(pictures), "protocol": PROTOCOL, **next(iter(reports.values()))}
    if len(reports) > 1:
        report["comparison"] = reports
    return report, measured[0]
