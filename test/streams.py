"""Images located one after another, as the pipeline does it."""

from __future__ import annotations

import dataclasses
import itertools

from hand_recon_ros import Frame, Side
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.detect.networks import HandNetworks
from hand_recon_ros.detect.new_hands import NewHands, evaluate, propose
from hand_recon_ros.landmarks.observation import Observation
from hand_recon_ros.track.locator import HandLocator
from hand_recon_ros.track.tracks import Tracks

Pair = tuple[Observation | None, Observation | None]


def pair_of_slots(observations: list[Observation]) -> Pair:
    """The observation of each slot, None where there is none."""
    by_side = {observation.side: observation for observation in observations}
    assert len(by_side) == len(observations)
    return by_side.get(Side.LEFT), by_side.get(Side.RIGHT)


def detect_new_hands(networks, image, followed, detector, turn, config, operator=None, place=None) -> NewHands:
    """What a detector proposes in an image, evaluated in the same image."""
    proposals = propose(networks, image, followed, detector, turn, config, operator, place)
    return evaluate(networks, image, followed, proposals, config)


class Stream:
    """A locator with the tracks of one stream; images come at ``rate`` (Hz)."""

    def __init__(
        self, config: ReconstructorConfig | None = None, networks: HandNetworks | None = None, rate: float = 30.0
    ) -> None:
        self.config = config or ReconstructorConfig()
        self.locator = HandLocator(networks or HandNetworks.load(self.config))
        self.tracks = Tracks()
        self._stamps = (number / rate for number in itertools.count())

    @property
    def networks(self) -> HandNetworks:
        return self.locator.networks

    def reset(self) -> None:
        self.tracks.reset()

    def locate(self, frame: Frame) -> Pair:
        """Left and right hand in the next image."""
        self.tracks.advance(dataclasses.replace(frame, stamp=next(self._stamps)))
        observations = self.locator.locate(frame, self.tracks, self.config).observations
        self.tracks.update(observations)
        for side, track in self.tracks.hands.items():
            if any(observation.side == side for observation in observations):
                track.state.measured(self.tracks.time)
            else:
                track.state.unseen(self.tracks.time, self.config.max_prediction_time)
        return pair_of_slots(observations)

    def search(self, frame: Frame) -> Pair:
        """Left and right hand in a single image."""
        return pair_of_slots(self.locator.search(frame, self.config).observations)

    def track_id(self, side: Side) -> int:
        return self.tracks.hands[side].track_id
