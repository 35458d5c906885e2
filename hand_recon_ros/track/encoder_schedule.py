"""What the encoder evaluates: in a stream, where its last prediction serves between its runs, and in a single image."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..config import ReconstructorConfig
from ..detect.duplicates import box_overlap
from ..encode.hand_encoder import Encoder
from ..encode.other_hand import with_boxes, with_other_hand
from ..interact.refinement import POSTPONED
from ..landmarks.observation import Observation
from ..types import Frame, HandState, Side
from .locator import Located
from .tracks import Tracks, UnencodedHands

_OVERLAPPING_INTERVAL = 0.05
"""Seconds between two runs of the encoder while the hands overlap: every second image at 30 Hz."""
_UNCONFIRMED = 0.6
"""Seconds without a detector's box after which hands without landmarks are given up."""

_SINGLE_IMAGE_CROPS = 3
"""Crops in which a hand that only the encoder sees is evaluated in a single image."""


def encode_image(encoder: Encoder, frame: Frame, located: Located, config: ReconstructorConfig) -> list[Observation]:
    """The observations of a single image with the encoder's predictions, and hands that only the encoder sees: in boxes
    of detectors, and where the encoder predicts the other hand of the only one."""
    found, boxes, crops = located.observations, located.boxes, _SINGLE_IMAGE_CROPS
    image, camera = frame.image, frame.camera
    if len(found) != 1 or (boxes and not located.pair):
        mirrored = config.mirrored_input
        found = with_boxes(encoder, image, found, boxes, camera, crops, detected=True, mirrored=mirrored)
    if len(found) == 1:
        box = boxes.get(found[0].side.other) if located.pair else None
        found = with_other_hand(encoder, image, found[0], camera, crops, box)
    return found


def encode(
    encoder: Encoder,
    frame: Frame,
    tracks: Tracks,
    located: Located,
    config: ReconstructorConfig,
) -> list[Observation]:
    """The observations of the next image with the encoder's predictions, and hands that only the encoder sees.

    Hands are encoded every ``encoder_interval`` seconds, half as often while a detector searches a missing one, and
    every 0.05 s at least while they overlap; in between, the last prediction moves with the landmarks. Where it can
    serve in this image, too, and the next one comes soon, hands that are due are left for :func:`encode_left`. A
    missing hand is encoded where it was in the last image, or in its box of ``located``, which detectors predict in
    this image; else it is searched where it is the encoder's turn. Without any landmarks, hands are encoded only for a
    short time after a detector has predicted them.
    """
    observations, boxes = located.observations, located.boxes
    searches = located.encoder_searches and len(observations) == 1
    interval = min(config.encoder_interval, _OVERLAPPING_INTERVAL if _overlap(observations) else math.inf)
    if not boxes and not searches and _last_predictions_serve(tracks, observations):
        due = tracks.encoding_due(interval, located.detected)
        if due and observations and tracks.step < _OVERLAPPING_INTERVAL:
            tracks.unencoded, due = _kept(frame, observations), False
        if not due:
            return [_propagated(tracks.hands[now.side].observation, now) for now in observations]
    tracks.last_encoding = tracks.time
    if boxes:
        tracks.last_box = tracks.time
    image, camera = frame.image, frame.camera
    missing = [side for side in Side if all(side != observation.side for observation in observations)]
    unread = {side: box for side in missing if (box := tracks.hands[side].last_box or boxes.get(side)) is not None}
    if not observations and tracks.due(tracks.last_box, _UNCONFIRMED):
        return []
    if unread:
        return with_boxes(encoder, image, observations, unread, camera, 1, True, config.mirrored_input, located.pair)
    if not searches:
        return encoder(image, observations, camera)
    return with_other_hand(encoder, image, observations[0], camera)


def encode_left(encoder: Encoder, tracks: Tracks, hurried: bool = False) -> None:
    """Encode the hands that :func:`encode` left in the last image; the predictions serve from the next one on.

    ``hurried``: an image waits, so hands that were encoded less than 0.15 s ago are left to a later image.
    """
    left, tracks.unencoded = tracks.unencoded, None
    if left is None or (hurried and not tracks.due(tracks.last_encoding, POSTPONED)):
        return
    tracks.last_encoding = tracks.time
    for encoded in encoder(left.image, left.observations, left.camera):
        track, prediction = tracks.hands[encoded.side], encoded.prediction
        if track.observation is not None and prediction is not None:
            usable = prediction if prediction.is_finite else None
            track.observation = dataclasses.replace(track.observation, prediction=usable)


def _kept(frame: Frame, observations: list[Observation]) -> UnencodedHands:
    """Hands of an image, to be encoded when the caller may have overwritten it."""
    needed = any(observation.stem is None for observation in observations)
    return UnencodedHands(frame.image.copy() if needed else frame.image, frame.camera, observations)


def _overlap(observations: list[Observation]) -> bool:
    """Whether these are two hands whose boxes overlap."""
    return len(observations) == len(Side) and box_overlap(np.stack([now.keypoints_2d for now in observations])) > 0.0


def _last_predictions_serve(tracks: Tracks, observations: list[Observation]) -> bool:
    """Whether these are the hands of the last image."""
    tracked = {side for side, track in tracks.hands.items() if track.state.state == HandState.TRACKED}
    if tracked != {observation.side for observation in observations}:
        return False
    return not any(now.detected or not tracks.hands[now.side].continues(now) for now in observations)


def _propagated(before: Observation | None, now: Observation) -> Observation:
    """``now`` with the prediction of the image before, its keypoints moved with the landmarks.

    Distance and bones stay: between two runs of the encoder they change by less than their error. Turned and scaled
    with the landmarks they are no more accurate on clips of ``val``, and jitter more.
    """
    if before is None or before.prediction is None:
        return now
    keypoints = before.prediction.keypoints_2d + (now.keypoints_2d - before.keypoints_2d)
    return dataclasses.replace(now, prediction=dataclasses.replace(before.prediction, keypoints_2d=keypoints))
