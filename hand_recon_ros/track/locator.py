"""Where both hands are in an image: followed through a stream, or searched in a single image."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from ..config import ReconstructorConfig
from ..detect.handedness import Candidate, assign, probability
from ..detect.image_hands import ImageHands
from ..detect.image_search import search, search_people
from ..detect.networks import HandNetworks
from ..detect.new_hands import NewHands, detectors, evaluate, is_present, propose, right_of
from ..detect.pair_detector import overlap, still_second
from ..landmarks.hand_keypoints import in_hand_model
from ..landmarks.landmarks import HandLandmarks, joint_scores
from ..landmarks.observation import Observation, RotatedBox
from ..types import Frame, Side
from .image_track import ImageTrack, worse_duplicate
from .search import PROPOSALS_KEPT
from .tracks import Tracks

_ENCODER = "encoder"
"""The search step of the encoder, beside those of the detectors."""
_PROPOSALS = "proposals"
"""The search step in which boxes that a detector proposed are evaluated."""
_STRAYED = 0.08
"""A followed hand whose own box lies farther than this (part of its size) from the box of its crop moved faster than
predicted. Its landmarks are biased towards the crop, so they are computed again in its own box."""


class Located(NamedTuple):
    """What was located in an image.

    Attributes:
        observations: hands with landmarks, at most one of a side, left before right.
        boxes: of other sides, hands that a detector predicts without landmarks.
        pair: the pair detector is certain of two hands: the one in a box is another than that with landmarks.
        encoder_searches: it is the encoder's turn to search a missing hand.
        detected: it was a detector's turn.
    """

    observations: list[Observation]
    boxes: dict[Side, RotatedBox]
    pair: bool = False
    encoder_searches: bool = False
    detected: bool = False


class HandLocator:
    """Locates both hands with the landmark networks; keeps nothing of any frame. For one thread at a time."""

    def __init__(self, networks: HandNetworks) -> None:
        self.networks = networks

    def locate(self, frame: Frame, tracks: Tracks, config: ReconstructorConfig) -> Located:
        """The hands in the next image of a stream, at most one of a side, left before right.

        Known hands are followed by their last landmarks. While one is missing, it is searched: for a second after the
        first image and after a loss in every image, then every ``detection_interval`` seconds. The detectors and the
        encoder take turns, so that no image has more than one search step, and none where the known hand is due
        to be encoded. Boxes that the body or the pair detector proposes beside a known hand are evaluated in the next
        image; at once are palms, those in the image in which a hand is lost, and where images are rare. The landmarks
        are kept in ``tracks``.
        """
        before = len(tracks.followed)
        boxes: dict[Side, RotatedBox] = {}
        images = self._follow(frame.image, tracks, config)
        if len(images) < before:
            tracks.search.restart(tracks.time)
        covered = self._confirm_covered(frame, tracks, images)
        searches = None if covered else self._next_search(tracks, len(images), config)
        if searches is not None and searches[0] != _ENCODER:
            new = self._detect(frame, tracks, images, *searches, config)
            images += [(ImageTrack(hand, evidence, tracks.time), None) for hand, evidence in new.hands]
            boxes = new.boxes
        chosen = assign([_candidate(image, slot) for image, slot in images])
        placed = {side: images[i][0] for i, side in zip(chosen, Side, strict=True) if i is not None}
        tracks.place(placed)
        observations = [
            _observation(
                image.hand, side, image.side_probability(side), frame.image, image.unsteadiness, config, image.detected
            )
            for side, image in placed.items()
        ]
        boxes = {side: box for side, box in boxes.items() if side not in placed}
        encoder_searches = searches is not None and searches[0] == _ENCODER
        pair = len(placed) == 1 and tracks.search.is_certain_of_both(tracks.time)
        return Located(observations, boxes, pair, encoder_searches, searches is not None and not encoder_searches)

    def search(self, frame: Frame, config: ReconstructorConfig) -> Located:
        """The hands in a single image, searched at several scales and rotations; left before right."""
        return _located(search(self.networks, frame.image, config), frame, config)

    def search_people(self, frame: Frame, config: ReconstructorConfig) -> list[Located]:
        """The hands of every person in a single image, the operator's first."""
        return [_located(shown, frame, config) for shown in search_people(self.networks, frame.image, config)]

    def _follow(
        self, image: np.ndarray, tracks: Tracks, config: ReconstructorConfig
    ) -> list[tuple[ImageTrack, Side | None]]:
        """The tracks whose hands are still there, with the slots they hold."""
        followed = [(track.image, track.side) for track in tracks.followed if track.image is not None]
        # The encoder takes right hands: where one is used, left hands are mirrored, and it shares these features.
        mirrored = [config.encoder != "none" and _shown(side, config) == Side.LEFT for _, side in followed]
        grey = [track.hand.grey for track, _ in followed]
        rois = [track.predicted_roi(tracks.time) for track, _ in followed]
        hands = self.networks.read(image, rois, mirrored, grey, stems=True)
        strayed = [index for index, hand in enumerate(hands) if _off_centre(hand) > _STRAYED]
        again = self.networks.read(
            image,
            [hands[index].next_roi for index in strayed],
            [mirrored[index] for index in strayed],
            [grey[index] for index in strayed],
            stems=True,
        )
        for index, hand in zip(strayed, again, strict=True):
            if hand.presence > hands[index].presence - 0.1:
                hands[index] = hand
        seen = [
            (track, side, hand) for (track, side), hand in zip(followed, hands, strict=True) if is_present(hand, config)
        ]
        worse = worse_duplicate([(track, hand, right_of(hand, config)) for track, _, hand in seen], tracks.time)
        result: list[tuple[ImageTrack, Side | None]] = []
        for index, (track, side, hand) in enumerate(seen):
            if index != worse:
                track.follow(hand, right_of(hand, config), tracks.time)
                result.append((track, side))
        return result

    def _confirm_covered(self, frame: Frame, tracks: Tracks, images: list[tuple[ImageTrack, Side | None]]) -> bool:
        """Let the pair detector evaluate whether a hand that only the encoder followed is still there, where the other
        hand covers it; returns whether it was due."""
        if self.networks.pair is None or len(images) != 1 or not tracks.search.covered_is_due(tracks.time):
            return False
        (image, slot) = images[0]
        other = None if slot is None else tracks.hands[slot.other].last_box
        own = image.hand.next_roi
        if other is None or not overlap(own, other):
            return False
        certain = still_second(self.networks.detect_pair, frame.image, own, other) is not None
        tracks.search.confirmed(certain, tracks.time)
        return True

    def _next_search(self, tracks: Tracks, followed: int, config: ReconstructorConfig) -> tuple[str, int] | None:
        """The search step of this image and the number of its turn; None without one."""
        if followed == len(Side):
            tracks.search.proposals = None
            return None
        proposed = tracks.search.due_proposals(tracks.time) is not None
        if not proposed and not tracks.search.is_due(tracks.time, config.detection_interval):
            return None
        with_encoder = followed == 1 and config.encoder != "none"  # it predicts one hand from the other
        if with_encoder and tracks.encoding_is_first(config):
            return None
        if proposed:
            return _PROPOSALS, 0
        kinds = [*detectors(self.networks), *([_ENCODER] if with_encoder else [])]
        return tracks.search.next_turn(kinds, tracks.time)

    def _detect(
        self,
        frame: Frame,
        tracks: Tracks,
        images: list[tuple[ImageTrack, Side | None]],
        detector: str,
        turn: int,
        config: ReconstructorConfig,
    ) -> NewHands:
        followed = [(image.hand, _candidate(image, slot)) for image, slot in images]
        proposals = tracks.search.due_proposals(tracks.time)
        tracks.search.proposals = None
        if detector != _PROPOSALS or proposals is None:
            first = config.operator == "first"
            known = tracks.search.known_operator(tracks.time, first)
            place = tracks.search.first_place(tracks.time, bool(followed)) if first else None
            proposals = propose(self.networks, frame.image, followed, detector, turn, config, known, place)
            if detector == "body":
                tracks.search.saw_operator(proposals.operator, known is not None, tracks.time, proposals.wrists)
            waits = detector != "palms" and tracks.search.begun != tracks.time and tracks.step <= PROPOSALS_KEPT
            if followed and proposals.hands and waits:
                tracks.search.propose(proposals, tracks.time)
                return NewHands([], {})
        new = evaluate(self.networks, frame.image, followed, proposals, config)
        own = [one for one in new.hands if not tracks.search.is_of_another(one[0].next_roi, tracks.time)]
        return dataclasses.replace(new, hands=own)


def _located(shown: ImageHands, frame: Frame, config: ReconstructorConfig) -> Located:
    observations = []
    for side in Side:
        found = shown.hands[_shown(side, config)]
        if found is not None:
            evidence = -found.evidence if config.mirrored_input else found.evidence
            unsteadiness = found.spread / found.hand.size
            observations.append(
                _observation(found.hand, side, probability(evidence, side), frame.image, unsteadiness, config, True)
            )
    boxes = {side: shown.boxes[_shown(side, config)] for side in Side if _shown(side, config) in shown.boxes}
    return Located(observations, boxes, shown.pair)


def _candidate(image: ImageTrack, slot: Side | None) -> Candidate:
    return Candidate(image.evidence, image.hand.size, image.hand.presence, slot)


def _shown(side: Side, config: ReconstructorConfig) -> Side:
    """What a hand of a side looks like in the image."""
    return side.other if config.mirrored_input else side


def _observation(
    hand: HandLandmarks,
    side: Side,
    side_score: float,
    image: np.ndarray,
    unsteadiness: np.ndarray | None,
    config: ReconstructorConfig,
    detected: bool,
) -> Observation:
    as_right = hand.mirrored == (_shown(side, config) == Side.LEFT)
    keypoints, depth, world = in_hand_model(hand)
    return Observation(
        side=side,
        score=hand.presence,
        side_score=side_score,
        keypoints_2d=keypoints,
        screen_depth=depth,
        world=world,
        joint_scores=joint_scores(hand, image.shape[1], image.shape[0], unsteadiness),
        roi=hand.roi,
        detected=detected,
        mirrored=config.mirrored_input,
        stem=hand.stem if as_right else None,
        grey=hand.grey,
    )


def _off_centre(hand: HandLandmarks) -> float:
    """Distance between the box of the crop and the hand's own box, as a part of the box's size."""
    return math.dist(hand.next_roi.center, hand.roi.center) / hand.roi.size
