"""Pseudo-labels of photographs with annotated hand boxes: squares, keypoints and sides as the networks predict them.

Annotated boxes lack what the training of a detector needs: the square of the landmark network's crop with its
direction, and the side. The product's networks, run with many views and crops, predict these for most hands. A label is
given only where predictions of different crops agree; the rest is marked as unknown, so that it is neither a positive
nor a negative example. Hands in gloves, in which the landmark network finds none, have the side of the wrist that the
pose of the body has there.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.hand_boxes import BoxedPicture
from ..detect.body_networks import persons_in
from ..detect.duplicates import part_of, same_hand
from ..detect.networks import HandNetworks
from ..detect.new_hands import VISIBLE
from ..detect.ssd import box_iou
from ..detect.test_time_augmentation import augmented
from ..detect.views import tiles, turned
from ..landmarks.crops import alike, tracking_box
from ..landmarks.hand_keypoints import moved_to_hand_model
from ..landmarks.landmarks import UNSTEADY, HandLandmarks
from ..landmarks.observation import RotatedBox
from ..runtime.model_files import write_whole
from ..types import Side

_PALM_SCORE = 0.08
_SAME_CANDIDATE = 0.1
_MOST_CANDIDATES = 12
_FIRST_PASS_PRESENCE = 0.1
_HAND_LIKE = 0.4
"""Presence from which on a region may not be taken for background."""
_PRESENT = 0.5
"""Lowest presence of a hand in an annotated box."""
_SURE = 0.9
"""Lowest presence of a hand that no box was annotated for, and lowest probability of a side."""
_PRESENT_WITH_SIDE = 0.8
_CERTAIN_PALM = 0.5
_SAME_HAND = 0.25
"""A hand that no box was annotated for needs a palm of this score with a box this much alike: the landmark network
alone outputs a presence of 0.95 for some logos on shirts."""
_SMALLEST = 20.0
_MATCH_IOU = 0.35
"""Lowest overlap of an annotated box with the box around the keypoints of its hand."""
_OVERLAPPING = 0.3
_BOX_SCALE = 1.3
"""Size of a crop relative to the annotated box, for the search within the box."""
_BOX_ANGLES = 8
_FINGERTIP_ERROR = 0.2
"""Largest mean distance of annotated from predicted fingertips, as a part of the hand's extent."""
_TIPS = (4, 8)
_AT_WRIST, _CLEARLY = 0.6, 0.6
"""Largest distance of an annotated box from the hand of a body, and least by which the hand of the other side must be
farther away, in units of the box: of wrists near each other the pose often exchanges the sides."""
_MOST_PERSONS = 2
_LONGEST = 1.8
"""Annotated boxes without landmarks that are longer than this have sleeves or cuffs with them, and are not used."""


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledHand:
    """A hand and what the networks predict of it.

    Attributes:
        side: the side it looks like; None where the crops disagree or are not certain.
        roi: the box of the landmark network's crop.
        box: (4,) x0, y0, x1, y1, pixels: as annotated, or around the keypoints where no box was annotated.
        presence: mean over the crops.
        right: mean probability over the crops that it looks like a right hand.
        keypoints: (21, 2), pixels, mean over the crops, as the hand model defines them.
    """

    side: Side | None
    roi: RotatedBox
    box: np.ndarray
    presence: float
    right: float
    keypoints: np.ndarray

    def as_json(self) -> dict[str, Any]:
        """For ``labels.json``: see :class:`PictureLabels`."""
        return {
            "side": None if self.side is None else self.side.name.lower(),
            "roi": [round(float(v), 4) for v in (*self.roi.center, self.roi.size, self.roi.angle)],
            "box": self.box.round(2).tolist(),
            "presence": round(self.presence, 4),
            "right": round(self.right, 4),
            "keypoints": self.keypoints.round(2).tolist(),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class PictureLabels:
    """The labels of a picture.

    Attributes:
        picture: the picture and its annotation.
        hands: the labelled hands.
        missed: (K, 4) annotated boxes in which the networks find no hand, such as those of gloves.
        missed_sides: K sides, by the pose of the body; None where it is not certain.
        unlabelled: (M, 4) boxes of regions that show or may show a hand, but have no label: ``missed``, hands without
            an annotated box, and the whole picture where the set does not box every hand and fewer than two are found.
    """

    picture: BoxedPicture
    hands: list[LabelledHand]
    missed: np.ndarray
    missed_sides: list[Side | None]
    unlabelled: np.ndarray

    @property
    def complete(self) -> bool:
        """Whether everything but the labelled hands is background."""
        return not len(self.unlabelled)

    def as_json(self) -> dict[str, Any]:
        """One entry of ``labels.json``; ``roi`` is centre x, y, size (pixels) and angle (radians)."""
        return {
            "file": str(self.picture.path.resolve()),
            "source": self.picture.source,
            "licence": self.picture.licence,
            "split": self.picture.split,
            "width": self.picture.width,
            "height": self.picture.height,
            "complete": self.complete,
            "hands": [hand.as_json() for hand in self.hands],
            "missed": self.missed.round(2).tolist(),
            "missed_sides": [None if side is None else side.name.lower() for side in self.missed_sides],
            "unlabelled": self.unlabelled.round(2).tolist(),
        }


def label_picture(networks: HandNetworks, image: np.ndarray, picture: BoxedPicture) -> PictureLabels:
    """Labels of a BGR image, which is ``picture``'s, from networks that were loaded with the hand detector.

    Each annotated box gets the hand whose keypoints fill it best, if the crops agree on it. Hands outside of these
    boxes are added where presence is at least 0.9, a palm is detected there and the side is certain (feet pass the
    others), unless the set has exactly one hand in each picture. A side needs a presence of at least 0.8 and a
    probability of at least 0.9, in crops and in mirror images of crops.
    """
    hands, candidates = _search(networks, image, picture.boxes)
    labelled: list[LabelledHand] = []
    missed: list[np.ndarray] = []
    rest = list(hands)
    for index, box in sorted(enumerate(picture.boxes), key=lambda item: -_best_overlap(item[1], hands)):
        filling = [hand for hand in rest if _fills(hand, box)]
        best = max(filling, key=lambda hand: hand.presence * _overlap(hand, box), default=None)
        if best is None or not _agrees(best, picture, index):
            missed.append(box)
            continue
        rest.remove(best)
        labelled.append(dataclasses.replace(best, box=box))
    unlabelled = list(missed)
    for hand in sorted(rest, key=lambda hand: -hand.presence):
        if any(part_of(hand.keypoints, known.keypoints) for known in labelled):
            continue
        supported = any(score >= _CERTAIN_PALM and alike(roi, hand.roi, _SAME_HAND) for score, roi in candidates)
        sure = hand.presence >= _SURE and (hand.side is not None or _is_within(hand, unlabelled))
        if supported and sure and picture.fingertips is None and _is_another(hand, labelled, unlabelled):
            labelled.append(hand)
        else:
            unlabelled.append(hand.box)
    if not picture.all_boxed and len(labelled) < len(Side):
        unlabelled.append(np.array([0.0, 0.0, picture.width, picture.height]))
    missed = [box for box in missed if _is_compact(box) and not any(_holds(box, hand) for hand in labelled)]
    sides: list[Side | None] = [None] * len(labelled)
    if missed or any(hand.side is None for hand in labelled):
        sides = sides_of_bodies(networks, image, [*(hand.box for hand in labelled), *missed])
    labelled = [
        hand if hand.side is not None else dataclasses.replace(hand, side=side)
        for hand, side in zip(labelled, sides, strict=False)
    ]
    return PictureLabels(
        picture,
        _without_equal_sides(labelled),
        np.array(missed).reshape(-1, 4),
        sides[len(labelled) :],
        np.array(unlabelled).reshape(-1, 4),
    )


def sides_of_bodies(networks: HandNetworks, image: np.ndarray, boxes: Sequence[np.ndarray]) -> list[Side | None]:
    """The side of each box (4,) of a hand in a BGR image, by the poses of visible bodies; None where it is not certain.

    Two boxes get both sides of a person together, by the assignment to the wrists that is clearly nearer.
    """
    if networks.body is None or not boxes:
        return [None] * len(boxes)
    persons = persons_in(networks.body, image, _MOST_PERSONS)
    distances = np.full((len(boxes), len(Side)), np.inf)
    for hand in (hand for person in persons for hand in person.hands if hand.visibility >= VISIBLE):
        for row, box in enumerate(boxes):
            low, high = box[:2], box[2:]
            distance = np.linalg.norm((low + high) / 2 - hand.roi.center) / (high - low).max()
            distances[row, hand.side] = min(distances[row, hand.side], distance)
    if len(boxes) == 2 and len(persons) == 1 and np.isfinite(distances).all():
        straight, crossed = np.trace(distances), np.trace(distances[:, ::-1])
        if abs(straight - crossed) < _CLEARLY or min(straight, crossed) > 2 * _AT_WRIST:
            return [None, None]
        return [*Side] if straight < crossed else [*Side][::-1]
    sides: list[Side | None] = []
    for left, right in distances:
        near, far = min(left, right), max(left, right)
        sides.append(Side(int(right < left)) if near <= _AT_WRIST and far >= near + _CLEARLY else None)
    return sides


def _is_compact(box: np.ndarray) -> bool:
    width, height = box[2:] - box[:2]
    return bool(max(width, height) <= _LONGEST * min(width, height))


def _search(
    networks: HandNetworks, image: np.ndarray, boxes: np.ndarray
) -> tuple[list[LabelledHand], list[tuple[float, RotatedBox]]]:
    """The hands in an image, and scores and boxes of the candidates. Annotated boxes (N, 4) that no hand fills are
    searched in more views and in crops of each box."""
    height, width = image.shape[:2]
    padded, *rotated = turned(width, height)
    candidates = _candidates(networks, image, [None, padded, *tiles(width, height)])
    hands = _found(networks, image, candidates)
    missed = [box for box in boxes if not any(_fills(hand, box) for hand in hands)]
    if missed or not len(boxes):
        more = _candidates(networks, image, rotated)
        within = [(0.0, roi) for box in missed for roi in _rois_in(box)]
        hands = _distinct(hands + _found(networks, image, [*more, *within]))
        candidates += more
    return hands, candidates


def _candidates(
    networks: HandNetworks, image: np.ndarray, views: Sequence[RotatedBox | None]
) -> list[tuple[float, RotatedBox]]:
    """Scores and boxes of palms in views of the image, down to low scores."""
    scored = []
    for view in views:
        scored += [(palm.score, palm.roi) for palm in networks.detect_palms(image, _PALM_SCORE, view)]
    distinct: list[tuple[float, RotatedBox]] = []
    for score, roi in sorted(scored, key=lambda item: -item[0]):
        if not any(alike(roi, other, _SAME_CANDIDATE) for _, other in distinct):
            distinct.append((score, roi))
    return distinct[:_MOST_CANDIDATES]


def _rois_in(box: np.ndarray) -> list[RotatedBox]:
    """Crops of an annotated box in several rotations."""
    x, y = (box[:2] + box[2:]) / 2
    size = _BOX_SCALE * float((box[2:] - box[:2]).max())
    return [RotatedBox((float(x), float(y)), size, 2 * math.pi * turn / _BOX_ANGLES) for turn in range(_BOX_ANGLES)]


def _found(
    networks: HandNetworks, image: np.ndarray, candidates: Sequence[tuple[float, RotatedBox]]
) -> list[LabelledHand]:
    """The distinct hands that the landmark network converges on from boxes, each evaluated in several crops."""
    hands = networks.read(image, [roi for _, roi in candidates])
    for _ in range(2):
        going_on = [hand for hand in hands if hand.presence >= _FIRST_PASS_PRESENCE]
        kept: list[HandLandmarks] = []
        for hand in sorted(going_on, key=lambda hand: -hand.presence):
            if not any(same_hand(hand.keypoints, other.keypoints) for other in kept):
                kept.append(hand)
        hands = networks.read(image, [hand.next_roi for hand in kept])
    found = [_averaged(networks, image, hand) for hand in hands if hand.presence >= _HAND_LIKE]
    return _distinct([hand for hand in found if hand is not None])


def _averaged(networks: HandNetworks, image: np.ndarray, hand: HandLandmarks) -> LabelledHand | None:
    """A hand from several crops and mirror images of crops; None where they do not show a hand alike."""
    (crops,) = augmented(networks, image, [hand])
    points = np.stack([crop.keypoints for crop in crops])
    keypoints = points.mean(axis=0)
    extent = float(np.ptp(keypoints, axis=0).max())
    spread = np.sqrt(((points - keypoints) ** 2).sum(axis=-1).mean(axis=0)).mean()
    presence = float(np.mean([crop.presence for crop in crops]))
    if presence < _HAND_LIKE or spread > UNSTEADY * extent or extent < _SMALLEST:
        return None
    right = np.array([crop.right for crop in crops])
    side = _side(right, np.array([crop.mirrored for crop in crops])) if presence >= _PRESENT_WITH_SIDE else None
    box, keypoints = tracking_box(keypoints), moved_to_hand_model(keypoints)
    return LabelledHand(side, box, keypoint_box(keypoints), presence, float(right.mean()), keypoints)


def _side(right: np.ndarray, mirrored: np.ndarray) -> Side | None:
    """The side on which all crops agree, and of which crops and mirror images of crops are both certain on average."""
    means = right[~mirrored].mean(), right[mirrored].mean()
    if right.min() > 0.5 and min(means) >= _SURE:
        return Side.RIGHT
    return Side.LEFT if right.max() < 0.5 and max(means) <= 1 - _SURE else None


def _distinct(hands: list[LabelledHand]) -> list[LabelledHand]:
    kept: list[LabelledHand] = []
    for hand in sorted(hands, key=lambda hand: -hand.presence):
        if not any(same_hand(hand.keypoints, other.keypoints) for other in kept):
            kept.append(hand)
    return kept


def _overlap(hand: LabelledHand, box: np.ndarray) -> float:
    return float(box_iou(box, keypoint_box(hand.keypoints)[None])[0])


def _best_overlap(box: np.ndarray, hands: list[LabelledHand]) -> float:
    return max((_overlap(hand, box) for hand in hands), default=0.0)


def _fills(hand: LabelledHand, box: np.ndarray) -> bool:
    return hand.presence >= _PRESENT and _overlap(hand, box) >= _MATCH_IOU


def _agrees(hand: LabelledHand, picture: BoxedPicture, index: int) -> bool:
    """Whether the predicted fingertips lie at the annotated ones, where the set has any."""
    if picture.fingertips is None:
        return True
    errors = np.linalg.norm(hand.keypoints[list(_TIPS)] - picture.fingertips[index], axis=1)
    return bool(errors.mean() <= _FINGERTIP_ERROR * np.ptp(hand.keypoints, axis=0).max())


def _is_another(hand: LabelledHand, labelled: list[LabelledHand], unlabelled: list[np.ndarray]) -> bool:
    """Whether a hand without an annotated box is apart from all others, or overlaps one of the other side only."""
    if any(box_iou(hand.box, box[None])[0] > _OVERLAPPING for box in unlabelled):
        return False
    for known in labelled:
        overlapping = max(_overlap(hand, known.box), _overlap(hand, keypoint_box(known.keypoints)))
        if overlapping > _OVERLAPPING and (hand.side is None or known.side is None or hand.side == known.side):
            return False
    return True


def _holds(box: np.ndarray, hand: LabelledHand) -> bool:
    """Whether most keypoints of a hand lie in an annotated box: that of a pair, or of the same hand annotated twice."""
    return bool(((hand.keypoints > box[:2]) & (hand.keypoints < box[2:])).all(axis=1).mean() > 0.5)


def _is_within(hand: LabelledHand, boxes: list[np.ndarray]) -> bool:
    """Whether the keypoints lie in an annotated box without a hand: some boxes hold both hands of a pair."""
    low, high = keypoint_box(hand.keypoints).reshape(2, 2)
    return any((low >= box[:2]).all() and (high <= box[2:]).all() for box in boxes)


def write_labels(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the labels of photographs, a line each; a file that is there stays whole until it is replaced.

    Args:
        path: the JSON file.
        rows: as of :meth:`PictureLabels.as_json`.
    """
    write_whole(path, ("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n").encode())


def keypoint_box(keypoints: np.ndarray) -> np.ndarray:
    """The box x0, y0, x1, y1 (4,) around keypoints (K, 2)."""
    return np.concatenate([keypoints.min(axis=0), keypoints.max(axis=0)])


def _without_equal_sides(hands: list[LabelledHand]) -> list[LabelledHand]:
    """The hands; two hands of one side, which are rarely of two people, both lose it."""
    if len(hands) == 2 and hands[0].side == hands[1].side:
        return [dataclasses.replace(hand, side=None) for hand in hands]
    return hands
