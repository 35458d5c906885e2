"""Finding both hands in images: followed through a stream, or searched thoroughly in one still image."""

from __future__ import annotations

import math

import numpy as np

from ..config import ReconstructorConfig
from ..detect.duplicates import distinct, is_palm_of
from ..detect.hand_detector import SAME
from ..detect.handedness import Candidate, assign, log_odds, probability
from ..detect.image_search import search
from ..detect.networks import HandNetworks
from ..detect.views import of_attempt
from ..landmarks.crops import alike
from ..landmarks.landmarks import HandLandmarks, joint_scores
from ..landmarks.observation import Observation
from ..types import Frame, Side
from .tracker import Track, converged

Pair = tuple[Observation | None, Observation | None]

_FIRST_PASS_PRESENCE = 0.2
"""A palm's own square is often off: a hand seen this faintly in it gets a second look in that of its landmarks."""
_SPARE_CANDIDATES = 1
_FOUND_CANDIDATES = 1
"""Hands that only the detector sees and that are looked at where there are palms enough for all free slots."""
_SAME_LOOK = 0.06
_STRAYED = 0.08
"""A followed hand whose own square lies further than this (part of its size) from the one it was seen in moved faster
than foreseen: its landmarks are drawn towards where it was, and it is looked at again where it is."""


class LandmarkLocator:
    """Left and right hand in images, from the landmark networks.

    ``locate`` is for consecutive frames: known hands are followed by their last landmarks, and palms are detected only
    while a hand is missing (at once on the first frame and after a loss, then every ``detection_interval`` frames).
    ``locate_image`` is for single images and neither uses nor changes what ``locate`` remembers.

    Settings are read from ``config`` at each call; it may be replaced by one whose ``live`` settings differ. One
    locator is for one thread.
    """

    def __init__(self, config: ReconstructorConfig | None = None, networks: HandNetworks | None = None) -> None:
        """Load the networks, unless given; raises ModelFileError or SessionError where that is not possible."""
        self.config = config if config is not None else ReconstructorConfig()
        self.networks = networks if networks is not None else HandNetworks.load(self.config)
        self._encodes = self.config.encoder != "none"
        self._identities = 0
        self.reset()

    def reset(self) -> None:
        """Forget all hands; the next frame is treated as the first. Track ids go on counting."""
        self._tracks: list[Track] = []
        self._since_detection: int | None = None
        self._attempt = 0
        self._shape: tuple[int, ...] = ()

    def locate(self, frame: Frame) -> Pair:
        """Left and right hand (None where not found) in the next frame of a stream.

        The image is uint8 (H, W, 3) BGR. A frame of another size than the last one starts anew.
        """
        image = frame.image
        if image.shape != self._shape:
            self.reset()
            self._shape = image.shape
        before = len(self._tracks)
        self._follow(image)
        if self._detection_due(lost=len(self._tracks) < before):
            found = self._detect(image)
            self._tracks += found
            self._since_detection = 0
            self._attempt = 0 if found else self._attempt + 1
        self._give_slots()
        by_slot = {track.slot: track for track in self._tracks}
        left, right = (self._observe(by_slot.get(side), image) for side in Side)
        return left, right

    def locate_image(self, frame: Frame) -> Pair:
        """Left and right hand (None where not found) in a single image, searched at several scales and rotations."""
        image = frame.image
        shown = search(self.networks, image, self.config)
        pair: list[Observation | None] = []
        for side in Side:
            found = shown[side.other if self.config.mirrored_input else side]
            if found is None:
                pair.append(None)
                continue
            evidence = -found.evidence if self.config.mirrored_input else found.evidence
            unsteadiness = found.spread / found.hand.size
            pair.append(self._observation(found.hand, side, probability(evidence, side), image, unsteadiness))
        return pair[0], pair[1]

    def _shown(self, side: Side | None) -> Side | None:
        """What a hand of a side looks like in the image."""
        return side.other if side is not None and self.config.mirrored_input else side

    def _right(self, hand: HandLandmarks) -> float:
        """Probability of an anatomical right hand."""
        return 1 - hand.right if self.config.mirrored_input else hand.right

    def _detection_due(self, lost: bool) -> bool:
        if self._since_detection is not None:
            self._since_detection += 1
        if len(self._tracks) == len(Side):
            return False
        if lost or self._since_detection is None:
            self._attempt = 0
            return True
        return self._since_detection >= self.config.detection_interval

    def _follow(self, image: np.ndarray) -> None:
        # The encoder knows right hands only: where one is used, hands are looked at as it wants to see them.
        turned = [self._encodes and self._shown(track.slot) == Side.LEFT for track in self._tracks]
        hands = self.networks.read(image, [track.predicted_roi() for track in self._tracks], turned)
        strayed = [index for index, hand in enumerate(hands) if _off_centre(hand) > _STRAYED]
        again = self.networks.read(
            image, [hands[index].next_roi() for index in strayed], [turned[index] for index in strayed]
        )
        for index, hand in zip(strayed, again, strict=True):
            if hand.presence > hands[index].presence - 0.1:
                hands[index] = hand
        seen = [(track, hand) for track, hand in zip(self._tracks, hands, strict=True) if self._is_there(hand)]
        doubled = converged([(track, hand, self._right(hand)) for track, hand in seen])
        self._tracks = []
        for index, (track, hand) in enumerate(seen):
            if index != doubled:
                track.follow(hand, self._right(hand))
                self._tracks.append(track)

    def _is_there(self, hand: HandLandmarks) -> bool:
        return hand.presence >= self.config.min_presence

    def _detect(self, image: np.ndarray) -> list[Track]:
        """New hands in an image, none of which is already followed; at most as many as there are free slots."""
        view = of_attempt(self._attempt, image.shape[1], image.shape[0])
        palms, hands = self.networks.detect(image, self.config.min_detection_score, view)
        new = [palm for palm in palms if not any(is_palm_of(palm, track.hand) for track in self._tracks)]
        free = len(Side) - len(self._tracks)
        rois = [palm.roi for palm in new[: free + _SPARE_CANDIDATES]]
        seen = [*(palm.roi for palm in palms), *(track.hand.next_roi() for track in self._tracks)]
        others = [hand.roi for hand in hands if not any(alike(hand.roi, roi, SAME) for roi in seen)]
        rois += others[: max(_FOUND_CANDIDATES, free - len(rois))]
        first = self.networks.read(image, rois)
        first = [hand for hand in first if hand.presence >= _FIRST_PASS_PRESENCE]
        # Only those that would get a slot are worth a second look.
        first = self._worth_a_slot([*(track.hand for track in self._tracks), *first])
        again = self._second_look(image, first)
        found = []
        for before, hand in zip(first, again, strict=True):
            if self._is_there(hand):
                evidence = (log_odds(self._right(before)) + log_odds(self._right(hand))) / 2
                found.append((hand, evidence))
        kept = self._without_duplicates([hand for hand, _ in found])
        tracks = []
        for index in kept:
            self._identities += 1
            tracks.append(Track(self._identities, *found[index]))
        return tracks

    def _second_look(self, image: np.ndarray, hands: list[HandLandmarks]) -> list[HandLandmarks]:
        """Hands looked at again in their own squares, where those are not what they were seen in anyway."""
        result = list(hands)
        stale = [index for index, hand in enumerate(hands) if not alike(hand.roi, hand.next_roi(), _SAME_LOOK)]
        again = self.networks.read(image, [hands[index].next_roi() for index in stale])
        for index, hand in zip(stale, again, strict=True):
            result[index] = hand
        return result

    def _worth_a_slot(self, hands: list[HandLandmarks]) -> list[HandLandmarks]:
        """Of hands, the followed ones first, those new ones that an assignment would use."""
        known = len(self._tracks)
        scores = [float("inf")] * known + [hand.presence for hand in hands[known:]]
        hands = [hands[index] for index in distinct(hands, scores)]
        candidates = [self._candidate(track) for track in self._tracks]
        candidates += [Candidate(log_odds(self._right(hand)), hand.size, hand.presence) for hand in hands[known:]]
        return [hands[index] for index in assign(candidates) if index is not None and index >= known]

    def _without_duplicates(self, hands: list[HandLandmarks]) -> list[int]:
        known = len(self._tracks)
        scores = [float("inf")] * known + [hand.presence for hand in hands]
        kept = distinct([*(track.hand for track in self._tracks), *hands], scores)
        return [index - known for index in kept if index >= known]

    def _give_slots(self) -> None:
        chosen = assign([self._candidate(track) for track in self._tracks])
        slots = {index: side for index, side in zip(chosen, Side, strict=True) if index is not None}
        kept = []
        for index, track in enumerate(self._tracks):
            track.slot = slots.get(index)
            if track.slot is not None:
                kept.append(track)
        self._tracks = kept

    @staticmethod
    def _candidate(track: Track) -> Candidate:
        return Candidate(track.evidence, track.hand.size, track.hand.presence, track.slot)

    def _observe(self, track: Track | None, image: np.ndarray) -> Observation | None:
        if track is None or track.slot is None:
            return None
        return self._observation(
            track.hand,
            track.slot,
            track.side_probability(track.slot),
            image,
            track.unsteadiness,
            detected=track.detected,
            track_id=track.identity,
        )

    def _observation(
        self,
        hand: HandLandmarks,
        side: Side,
        side_score: float,
        image: np.ndarray,
        unsteadiness: np.ndarray | None,
        *,
        detected: bool = True,
        track_id: int = 0,
    ) -> Observation:
        as_right = hand.mirrored == (self._shown(side) == Side.LEFT)
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
            track_id=track_id,
            mirrored=self.config.mirrored_input,
            stem=hand.stem if as_right else None,
        )


def _off_centre(hand: HandLandmarks) -> float:
    """Distance between the square a hand was seen in and its own, as a part of the square's size."""
    return math.dist(hand.next_roi().center, hand.roi.center) / hand.roi.size
