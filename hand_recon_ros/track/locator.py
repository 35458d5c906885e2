"""Where both hands are in an image: followed through a stream, or searched in a single image."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..config import ReconstructorConfig
from ..detect.handedness import Candidate, assign, probability
from ..detect.image_search import search
from ..detect.networks import HandNetworks
from ..detect.new_hands import detect_new_hands, detectors, is_present, right_of
from ..landmarks.landmarks import HandLandmarks, joint_scores
from ..landmarks.observation import Observation, RotatedBox
from ..types import Frame, Side
from .image_track import ImageTrack, worse_duplicate
from .tracks import Tracks

_STRAYED = 0.08
"""A followed hand whose own box lies farther than this (part of its size) from the box of its crop moved faster than
predicted. Its landmarks are biased towards the crop, so they are computed again in its own box."""


class Located(NamedTuple):
    """What was located in an image.

    Attributes:
        observations: hands with landmarks, at most one of a side, left before right.
        boxes: of other sides, hands that a detector predicts without landmarks.
    """

    observations: list[Observation]
    boxes: dict[Side, RotatedBox]


class HandLocator:
    """Locates both hands with the landmark networks; keeps nothing of any frame. For one thread at a time."""

    def __init__(self, networks: HandNetworks) -> None:
        self.networks = networks
        self._detectors = len(detectors(networks))

    def locate(self, frame: Frame, tracks: Tracks, config: ReconstructorConfig) -> Located:
        """The hands in the next image of a stream, at most one of a side, left before right.

        Known hands are followed by their last landmarks. Hands are detected only while one is missing: in the first
        images and in those after a loss, by one detector in each, then every ``detection_interval`` seconds. The
        landmarks are kept in ``tracks``.
        """
        before = len(tracks.followed)
        boxes: dict[Side, RotatedBox] = {}
        images = self._follow(frame.image, tracks, config)
        if self._detection_due(tracks, before, len(images), config):
            followed = [(image.hand, _candidate(image, slot)) for image, slot in images]
            new = detect_new_hands(self.networks, frame.image, followed, tracks.attempt, config)
            images += [(ImageTrack(hand, evidence, tracks.time), None) for hand, evidence in new.hands]
            boxes = new.boxes
            tracks.last_detection = tracks.time
            tracks.attempt += 1
        chosen = assign([_candidate(image, slot) for image, slot in images])
        placed = {side: images[i][0] for i, side in zip(chosen, Side, strict=True) if i is not None}
        tracks.place(placed)
        observations = [
            _observation(
                image.hand, side, image.side_probability(side), frame.image, image.unsteadiness, config, image.detected
            )
            for side, image in placed.items()
        ]
        return Located(observations, {side: box for side, box in boxes.items() if side not in placed})

    def search(self, frame: Frame, config: ReconstructorConfig) -> Located:
        """The hands in a single image, searched at several scales and rotations; left before right."""
        shown = search(self.networks, frame.image, config)
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
        return Located(observations, boxes)

    def _follow(
        self, image: np.ndarray, tracks: Tracks, config: ReconstructorConfig
    ) -> list[tuple[ImageTrack, Side | None]]:
        """The tracks whose hands are still there, with the slots they hold."""
        followed = [(track.image, track.side) for track in tracks.followed if track.image is not None]
        # The encoder takes right hands: where one is used, left hands are mirrored, and it shares these features.
        mirrored = [config.encoder != "none" and _shown(side, config) == Side.LEFT for _, side in followed]
        hands = self.networks.read(image, [track.predicted_roi(tracks.time) for track, _ in followed], mirrored)
        strayed = [index for index, hand in enumerate(hands) if _off_centre(hand) > _STRAYED]
        again = self.networks.read(
            image, [hands[index].next_roi() for index in strayed], [mirrored[index] for index in strayed]
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

    def _detection_due(self, tracks: Tracks, before: int, now: int, config: ReconstructorConfig) -> bool:
        if now == len(Side):
            return False
        if now < before or tracks.last_detection is None:
            tracks.attempt = 0
            return True
        return tracks.attempt < self._detectors or tracks.due(tracks.last_detection, config.detection_interval)


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
    return Observation(
        side=side,
        score=hand.presence,
        side_score=side_score,
        keypoints_2d=hand.keypoints,
        screen_depth=hand.screen_depth,
        world=hand.world,
        joint_scores=joint_scores(hand, image.shape[1], image.shape[0], unsteadiness),
        roi=hand.roi,
        detected=detected,
        mirrored=config.mirrored_input,
        stem=hand.stem if as_right else None,
    )


def _off_centre(hand: HandLandmarks) -> float:
    """Distance between the box of the crop and the hand's own box, as a part of the box's size."""
    return math.dist(hand.next_roi().center, hand.roi.center) / hand.roi.size
