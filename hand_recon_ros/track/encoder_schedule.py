"""The encoder in a stream of images: when it looks, and what of its last word is carried on in between."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..config import ReconstructorConfig
from ..detect.duplicates import box_overlap
from ..encode.hand_encoder import HandEncoder
from ..encode.other_hand import with_other_hand
from ..landmarks.crops import tracking_box
from ..landmarks.observation import Observation
from ..types import Frame, Side


class EncoderSchedule:
    """Follows the hands of one stream; remembers the observations of the last image."""

    def __init__(self, encoder: HandEncoder) -> None:
        self._encoder = encoder
        self.reset()

    def reset(self) -> None:
        """Forget all hands."""
        self._last: dict[Side, Observation] = {}
        self._since_look = self._since_search = 0

    def __call__(self, frame: Frame, observations: list[Observation], config: ReconstructorConfig) -> list[Observation]:
        """The observations of the next image with what the encoder says of them, and the hand that only it sees.

        Hands that are apart are looked at in every ``encoder_interval``-th image. A missing hand is looked for where it
        was in the last image, or else as often as hands are detected.
        """
        self._since_look += 1
        self._since_search += 1
        if self._since_look < config.encoder_interval and self._carry_on(observations):
            result = [carried(self._last[now.side], now) for now in observations]
        else:
            result = self._look(frame, observations, config)
            self._since_look = 0
        self._last = {observation.side: observation for observation in result}
        return result

    def _carry_on(self, observations: list[Observation]) -> bool:
        """Whether these are the hands of the last image, apart from each other."""
        if set(self._last) != {observation.side for observation in observations}:
            return False
        if any(self._last[now.side].track_id != now.track_id for now in observations):
            return False
        return len(observations) < 2 or box_overlap(np.stack([now.keypoints_2d for now in observations])) == 0.0

    def _look(self, frame: Frame, observations: list[Observation], config: ReconstructorConfig) -> list[Observation]:
        if len(observations) != 1:
            return self._encoder(frame.image, observations, frame.camera)
        (seen,) = observations
        missing = self._last.get(seen.side.other)
        if missing is None and self._since_search < config.detection_interval:
            return self._encoder(frame.image, observations, frame.camera)
        self._since_search = 0
        square = (
            None if missing is None or missing.prediction is None else tracking_box(missing.prediction.keypoints_2d)
        )
        return with_other_hand(self._encoder, frame.image, seen, frame.camera, square)


def carried(before: Observation, now: Observation) -> Observation:
    """``now`` with what the encoder said of the same hand in the image before, moved along with the landmarks.

    Its distance and its bones are left as they were: from one image to the next they change by less than they err.
    """
    told = before.prediction
    if told is None:
        return now
    keypoints = told.keypoints_2d + (now.keypoints_2d - before.keypoints_2d)
    return dataclasses.replace(now, prediction=dataclasses.replace(told, keypoints_2d=keypoints))
