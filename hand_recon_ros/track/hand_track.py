"""Everything that is remembered of one hand over time."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..config import ReconstructorConfig
from ..landmarks.hand_keypoints import hand_box
from ..landmarks.observation import Observation, RotatedBox
from ..lift.lifted_hand import LiftedHand
from ..lift.shape_prior import ShapePrior
from ..types import HandState, Side
from .depth_memory import DepthMemory
from .filter import HandFilter
from .image_track import ImageTrack


@dataclasses.dataclass
class TrackState:
    """State machine of a hand: TRACKED when measured, PREDICTED for a short time after that, then LOST."""

    state: HandState = HandState.LOST
    last_measured: float = -math.inf

    def measured(self, time: float) -> None:
        """The hand was measured at ``time`` (s)."""
        self.state, self.last_measured = HandState.TRACKED, time

    def unseen(self, time: float, max_prediction_time: float) -> HandState:
        """The hand was not measured in the image at ``time`` (s); returns the state from there on."""
        if self.state != HandState.LOST:
            within = time - self.last_measured <= max_prediction_time
            self.state = HandState.PREDICTED if within else HandState.LOST
        return self.state


@dataclasses.dataclass
class HandTrack:
    """The hand in one slot.

    Attributes:
        side: the slot.
        track_id: identity of the hand; 0 before the first.
        image: its landmarks from image to image, with motion and evidence of handedness; None where the landmark
            network does not see it.
        observation: what was last observed, with the encoder's prediction.
        lifted: the metric pose of that observation, before the filter.
        state: TRACKED, PREDICTED or LOST.
        filter: of the wrist and the joints.
        prior: of the betas of any hand in this slot.
        shape: posterior of the betas.
        depth: what the last depth image corrected of its position; None before the first.
    """

    side: Side
    track_id: int = 0
    image: ImageTrack | None = None
    observation: Observation | None = None
    lifted: LiftedHand | None = None
    state: TrackState = dataclasses.field(default_factory=TrackState)
    filter: HandFilter = dataclasses.field(default_factory=HandFilter)
    prior: ShapePrior = dataclasses.field(default_factory=ShapePrior.population)
    shape: ShapePrior = dataclasses.field(default_factory=ShapePrior.population)
    depth: DepthMemory | None = None

    @property
    def last_box(self) -> RotatedBox | None:
        """The box of a hand that was measured in the last image, by the encoder's prediction."""
        if self.state.state != HandState.TRACKED or self.observation is None or self.observation.prediction is None:
            return None
        return hand_box(self.observation.prediction.keypoints_2d)

    def begin(self, track_id: int) -> None:
        """A new hand: nothing of the one before is kept but the landmarks that led to it."""
        self.track_id = track_id
        self.observation, self.lifted = None, None
        self.state, self.filter, self.shape = TrackState(), HandFilter(), self.prior
        self.depth = None

    def end(self) -> None:
        """The hand is no longer in this slot."""
        self.state.state, self.observation, self.lifted = HandState.LOST, None, None

    def continues(self, observation: Observation) -> bool:
        """Whether an observation in this slot is of the same hand: within the size of the box it was last seen in."""
        if self.state.state == HandState.LOST or self.observation is None:
            return False
        before = self.observation.roi
        return math.dist(observation.roi.center, before.center) < before.size

    def measure(
        self, hand: LiftedHand, time: float, seconds: float, config: ReconstructorConfig
    ) -> tuple[np.ndarray, np.ndarray]:
        """Take over a lifted hand; returns its filtered wrist (3,) and joint rotations (16, 3, 3).

        Args:
            hand: the pose, metres, camera frame.
            time: of the image, seconds.
            seconds: since the image before.
            config: cutoff and speed coefficient of the filter.
        """
        assert self.observation is not None
        self.state.measured(time)
        self.lifted = hand
        self.shape = self.shape.updated(hand, seconds, self.observation.score)
        correction = DepthMemory.of(hand, time)
        if correction is not None:
            self.filter.shift((self.depth or DepthMemory.none()).sudden(hand, time))
            self.depth = correction
        filtered = self.filter.update(
            hand.keypoints[0], hand.rotations, time, *config.filter, hand.image_wrist is not None
        )
        if self.filter.jump > 0.0:
            self.lifted = dataclasses.replace(hand, position_stddev=math.hypot(hand.position_stddev, self.filter.jump))
        return filtered
