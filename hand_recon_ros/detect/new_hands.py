"""Detecting hands in an image of a stream, beside those that are followed already."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from ..config import ReconstructorConfig
from ..landmarks.crops import alike
from ..landmarks.landmarks import HandLandmarks
from ..landmarks.observation import RotatedBox
from ..types import Side
from .body import BodyHand
from .body_networks import person_in, persons_in
from .duplicates import distinct, is_palm_of, is_part_of
from .handedness import Candidate, assign, log_odds
from .networks import HandNetworks
from .pair_detector import CERTAIN, CLEAR_SIDE, LIKELY, RegionHand, around, in_region, matched, same_box
from .views import of_attempt, whole

_FIRST_PASS_PRESENCE = 0.2
"""A box of a detector is often off: a hand with this presence in it is evaluated again in the box of its landmarks."""
_SMALLER = 0.7
_SPARE_CANDIDATES = 1
_SAME_CROP = 0.06
VISIBLE = 0.8
"""Visibility of both wrists from which on hands elsewhere are hardly the operator's."""
_PERSONS = 3
"""Persons among which the nearest one is chosen."""
BODY_EVIDENCE = 0.9
"""Log odds of a side by the body's pose, for a wrist that is visible: less than the landmark network's where it is
certain, so that another person's hand in front of a body does not change its side."""


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A box in which a hand may be.

    Attributes:
        roi: the box of the landmark network's crop.
        evidence: log odds of a hand that looks like a right one; 0 where the detector knows no sides.
    """

    roi: RotatedBox
    evidence: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Proposals:
    """What a detector proposes, before the landmark network evaluates it.

    Attributes:
        detector: one of :func:`detectors`.
        turn: of the detector.
        hands: boxes in which a hand may be.
        sure: boxes by side, of hands that the pair detector is sure of.
        operator, wrists: as of :class:`NewHands`.
    """

    detector: str
    turn: int
    hands: list[Proposal]
    sure: dict[Side, RotatedBox] = dataclasses.field(default_factory=dict)
    operator: RotatedBox | None = None
    wrists: tuple[RotatedBox, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class NewHands:
    """The result of one search step.

    Attributes:
        hands: landmarks and log odds of a right hand.
        boxes: by side, of hands that the pair detector is sure of and the landmark network did not find.
        operator: the box of the operator's body in the next image; None where no body was detected in this one.
        wrists: boxes of the operator's hands whose wrists are clearly visible.
    """

    hands: list[tuple[HandLandmarks, float]]
    boxes: dict[Side, RotatedBox]
    operator: RotatedBox | None = None
    wrists: tuple[RotatedBox, ...] = ()


def detectors(networks: HandNetworks) -> list[str]:
    """Names of the detectors that take turns."""
    return ["palms", *(["body"] if networks.body else []), *(["pair"] if networks.pair else [])]


def propose(
    networks: HandNetworks,
    image: np.ndarray,
    followed: Sequence[tuple[HandLandmarks, Candidate]],
    detector: str,
    turn: int,
    config: ReconstructorConfig,
    operator: RotatedBox | None = None,
    place: RotatedBox | None = None,
) -> Proposals:
    """Boxes in which one detector sees hands that are not followed yet.

    Args:
        networks: detectors and landmark network.
        image: uint8 (H, W, 3) BGR.
        followed: the hands that are followed, at most two.
        detector: one of :func:`detectors`: palms, the body, pairs of hands around a followed one or in the whole image.
        turn: number of this detector's turns since a hand was last lost; palms and pairs change views with it.
        config: thresholds.
        operator: the box of the operator's body by the last image with a body; None to detect bodies anew.
        place: where the operator's body was before that: of new bodies the nearest one is taken, not the largest.
    """
    known = [hand for hand, _ in followed]
    if detector == "body":
        hands, operator, wrists = _of_operator(networks, image, known, operator, place, config)
        return Proposals(detector, turn, hands, operator=operator, wrists=wrists)
    if detector == "pair":
        return Proposals(detector, turn, *_of_pair(networks, image, followed, turn, config))
    return Proposals(detector, turn, _of_palms(networks, image, known, turn, config))


def evaluate(
    networks: HandNetworks,
    image: np.ndarray,
    followed: Sequence[tuple[HandLandmarks, Candidate]],
    proposals: Proposals,
    config: ReconstructorConfig,
) -> NewHands:
    """The hands that the landmark network finds in proposed boxes, at most as many as there are free slots.

    Args:
        networks: the landmark network.
        image: uint8 (H, W, 3) BGR: that of the proposals, or the next one.
        followed: the hands that are followed in it, at most two.
        proposals: of one detector.
        config: thresholds.
    """
    known, free = [hand for hand, _ in followed], len(Side) - len(followed)
    seen = networks.read(image, [proposal.roi for proposal in proposals.hands], stems=True)
    if proposals.detector == "pair":
        seen = _evaluated_otherwise(networks, image, seen, proposals.turn)
    first = [
        (hand, proposal)
        for hand, proposal in zip(seen, proposals.hands, strict=True)
        if hand.presence >= _FIRST_PASS_PRESENCE
    ]
    # Only hands that would get a slot are worth a second evaluation.
    first = _worth_a_slot(first, followed, config)
    again = _second_pass(networks, image, [hand for hand, _ in first], config)
    found = []
    for (before, proposal), hand in zip(first, again, strict=True):
        if is_present(hand, config):
            evidence = (log_odds(right_of(before, config)) + log_odds(right_of(hand, config))) / 2
            found.append((hand, evidence + _signed(proposal.evidence, config)))
    kept = _without_duplicates([hand for hand, _ in found], known)
    hands = [found[index] for index in kept][:free]
    read = matched(list(proposals.sure.values()), [hand.next_roi for hand, _ in hands])
    boxes = {side: box for index, (side, box) in enumerate(proposals.sure.items()) if index not in read}
    return NewHands(hands, boxes, proposals.operator, proposals.wrists)


def _of_palms(
    networks: HandNetworks, image: np.ndarray, known: list[HandLandmarks], turn: int, config: ReconstructorConfig
) -> list[Proposal]:
    """Palms in the whole image, or in another view every other turn."""
    view = of_attempt(turn, image.shape[1], image.shape[0])
    palms = networks.detect_palms(image, config.min_detection_score, view)
    new = [palm for palm in palms if not any(is_palm_of(palm, hand) for hand in known)]
    return [Proposal(palm.roi) for palm in new[: len(Side) - len(known) + _SPARE_CANDIDATES]]


def _of_operator(
    networks: HandNetworks,
    image: np.ndarray,
    known: list[HandLandmarks],
    operator: RotatedBox | None,
    place: RotatedBox | None,
    config: ReconstructorConfig,
) -> tuple[list[Proposal], RotatedBox | None, tuple[RotatedBox, ...]]:
    """Hands of the operator that are not followed; the operator's body and hands as in :class:`NewHands`.

    In one turn bodies are detected, in the next ones the pose of one of them is read.
    """
    assert networks.body is not None
    if operator is not None:
        person = person_in(networks.body, image, operator)
    elif config.operator == "nearest":  # the hands of all persons are compared
        person = next(iter(persons_in(networks.body, image, _PERSONS, config.operator)), None)
    else:
        rois = [body.roi for body in networks.body.detect(image)]
        if place is not None:
            return [], min(rois, key=lambda roi: math.dist(roi.center, place.center), default=None), ()
        return [], max(rois, key=lambda roi: roi.size, default=None), ()
    if person is None:
        return [], None, ()
    new = [hand for hand in person.hands if not any(same_box(hand.roi, other.next_roi) for other in known)]
    wrists = tuple(hand.roi for hand in person.hands if hand.visibility >= VISIBLE)
    return [Proposal(hand.roi, body_evidence(hand)) for hand in new], person.pose.next_roi, wrists


def body_evidence(hand: BodyHand) -> float:
    """Log odds of a right hand by the body's pose."""
    return BODY_EVIDENCE * hand.visibility * (1 if hand.side == Side.RIGHT else -1)


def _of_pair(
    networks: HandNetworks,
    image: np.ndarray,
    followed: Sequence[tuple[HandLandmarks, Candidate]],
    turn: int,
    config: ReconstructorConfig,
) -> tuple[list[Proposal], dict[Side, RotatedBox]]:
    """Hands near a followed one, or in the whole image every other turn; and by side, where no hand is followed, those
    that are certain."""
    known = [hand.next_roi for hand, _ in followed]
    near = known and turn % 2 == 0
    start = around(known[0]) if near else whole(image.shape[1], image.shape[0])
    hands = in_region(networks.detect_pair, image, start)
    found = matched([hand.roi for hand in hands], known)
    new = [hand for index, hand in enumerate(hands) if index not in found]
    proposals = [Proposal(hand.roi, hand.evidence) for hand in new if hand.score >= LIKELY]
    if followed:
        return proposals, {}
    sure = [hand for hand in new if hand.score >= CERTAIN and abs(hand.evidence) >= CLEAR_SIDE]
    return proposals, {_side(hand, config): hand.roi for hand in sure}


def _side(hand: RegionHand, config: ReconstructorConfig) -> Side:
    return hand.side.other if config.mirrored_input else hand.side


def _signed(evidence: float, config: ReconstructorConfig) -> float:
    """Log odds of an anatomical right hand, from those of a hand that looks like one."""
    return -evidence if config.mirrored_input else evidence


def right_of(hand: HandLandmarks, config: ReconstructorConfig) -> float:
    """Probability of an anatomical right hand."""
    return 1 - hand.right if config.mirrored_input else hand.right


def is_present(hand: HandLandmarks, config: ReconstructorConfig) -> bool:
    """Whether the landmark network sees a hand, with finite landmarks."""
    return hand.presence >= config.min_presence and bool(np.isfinite(hand.keypoints).all())


def _evaluated_otherwise(
    networks: HandNetworks, image: np.ndarray, hands: list[HandLandmarks], turn: int
) -> list[HandLandmarks]:
    """Hands evaluated again where none was found: without colours, as many gloves need, or every other time in a
    smaller box, as the pair detector's box can include a forearm."""
    result = list(hands)
    missing = [index for index, hand in enumerate(hands) if hand.presence < _FIRST_PASS_PRESENCE]
    grey = turn // 2 % 2 == 1  # the views of the pair detector alternate with each turn: both ways in both
    scale = 1.0 if grey else _SMALLER
    boxes = [dataclasses.replace(hands[i].roi, size=scale * hands[i].roi.size) for i in missing]
    for index, hand in zip(missing, networks.read(image, boxes, grey=grey, stems=True), strict=True):
        result[index] = hand
    return result


def _second_pass(
    networks: HandNetworks, image: np.ndarray, hands: list[HandLandmarks], config: ReconstructorConfig
) -> list[HandLandmarks]:
    """Hands evaluated again in their own boxes, where those differ from the boxes of the first evaluation. Those that
    look like left ones are evaluated mirrored, and in any case, where there is an encoder: it takes right hands."""
    result = list(hands)
    mirrored = [config.encoder != "none" and hand.right < 0.5 for hand in hands]
    stale = [
        index for index, hand in enumerate(hands) if mirrored[index] or not alike(hand.roi, hand.next_roi, _SAME_CROP)
    ]
    rois, grey = [hands[index].next_roi for index in stale], [hands[index].grey for index in stale]
    again = networks.read(image, rois, [mirrored[index] for index in stale], grey, stems=True)
    for index, hand in zip(stale, again, strict=True):
        result[index] = hand
    return result


def _worth_a_slot(
    hands: list[tuple[HandLandmarks, Proposal]],
    followed: Sequence[tuple[HandLandmarks, Candidate]],
    config: ReconstructorConfig,
) -> list[tuple[HandLandmarks, Proposal]]:
    """The new hands that the assignment to slots would use beside the followed ones."""
    kept = [hands[i] for i in _without_duplicates([hand for hand, _ in hands], [hand for hand, _ in followed])]
    candidates = [candidate for _, candidate in followed]
    candidates += [
        Candidate(log_odds(right_of(hand, config)) + _signed(proposal.evidence, config), hand.size, hand.presence)
        for hand, proposal in kept
    ]
    first = len(followed)
    return [kept[index - first] for index in assign(candidates) if index is not None and index >= first]


def _without_duplicates(hands: list[HandLandmarks], known: list[HandLandmarks]) -> list[int]:
    """Indices of hands that are neither each other's duplicates nor those of a followed hand, nor taken from a part of
    one that is more certain, as when a finger is detected as a hand."""
    everything = [*known, *hands]
    scores = [float("inf")] * len(known) + [hand.presence for hand in hands]
    kept = distinct(everything, scores)

    def is_part(index: int) -> bool:
        surer = [everything[other] for other in kept if scores[other] > scores[index]]
        return any(is_part_of(everything[index], other) for other in surer)

    return [index - len(known) for index in kept if index >= len(known) and not is_part(index)]
