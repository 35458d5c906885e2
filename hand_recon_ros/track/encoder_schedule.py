"""The encoder in a stream: in which images it runs, and how its last prediction serves in between."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..config import ReconstructorConfig
from ..detect.duplicates import box_overlap
from ..encode.hand_encoder import HandEncoder
from ..encode.other_hand import with_other_hand
from ..landmarks.crops import tracking_box
from ..landmarks.observation import Observation
from ..types import Frame, HandState
from .tracks import Tracks


def encode(
    encoder: HandEncoder, frame: Frame, tracks: Tracks, observations: list[Observation], config: ReconstructorConfig
) -> list[Observation]:
    """The observations of the next image with the encoder's predictions, and a hand that only the encoder sees.

    Hands that do not overlap are encoded every ``encoder_interval`` seconds; in between, the last prediction moves with
    the landmarks. A missing hand is encoded where it was in the last image, or else searched as often as hands are
    detected.
    """
    if not tracks.due(tracks.last_encoding, config.encoder_interval) and _last_predictions_serve(tracks, observations):
        return [_propagated(tracks.hands[now.side].observation, now) for now in observations]
    tracks.last_encoding = tracks.time
    if len(observations) != 1:
        return encoder(frame.image, observations, frame.camera)
    (seen,) = observations
    missing = tracks.hands[seen.side.other]
    before = missing.observation if missing.state.state == HandState.TRACKED else None
    if tracks.last_search is None:  # the hands of the first image are detected
        tracks.last_search = tracks.time
    if before is None and not tracks.due(tracks.last_search, config.detection_interval):
        return encoder(frame.image, observations, frame.camera)
    tracks.last_search = tracks.time
    box = None if before is None or before.prediction is None else tracking_box(before.prediction.keypoints_2d)
    return with_other_hand(encoder, frame.image, seen, frame.camera, box)


def _last_predictions_serve(tracks: Tracks, observations: list[Observation]) -> bool:
    """Whether these are the hands of the last image, and they do not overlap."""
    tracked = {side for side, track in tracks.hands.items() if track.state.state == HandState.TRACKED}
    if tracked != {observation.side for observation in observations}:
        return False
    if any(now.detected or not tracks.hands[now.side].continues(now) for now in observations):
        return False
    return len(observations) < 2 or box_overlap(np.stack([now.keypoints_2d for now in observations])) == 0.0


def _propagated(before: Observation | None, now: Observation) -> Observation:
    """``now`` with the prediction of the image before, its keypoints moved with the landmarks.

    Distance and bones stay: from one image to the next they change by less than their error.
    """
    if before is None or before.prediction is None:
        return now
    keypoints = before.prediction.keypoints_2d + (now.keypoints_2d - before.keypoints_2d)
    return dataclasses.replace(now, prediction=dataclasses.replace(before.prediction, keypoints_2d=keypoints))
