"""The Fusion Alignment Encoder at run time: crops of the located hands in, predictions in the camera frame out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from ..config import ReconstructorConfig
from ..detect.networks import HandNetworks
from ..landmarks.hand_keypoints import hand_box
from ..landmarks.landmarks import HandLandmarks
from ..landmarks.observation import EncoderPrediction, Observation, RotatedBox
from ..runtime.bundled_networks import IMPORTED, bundled_network
from ..runtime.devices import resolved_device
from ..runtime.sessions import cache_folder
from ..types import Camera, Side
from .crop_frame import PAIR_FEATURES, CropFrame
from .outputs import HandOutputs
from .session import EncoderSession

LAPLACE = math.sqrt(2.0)
"""Standard deviation of a Laplace distribution over its scale, which is what the encoder predicts."""


class Encoder(Protocol):
    """A step of the pipeline that predicts hands from their crops."""

    def __call__(self, image: np.ndarray, observations: Sequence[Observation], camera: Camera) -> list[Observation]:
        """The observations (at most one of a side) of a BGR image, each with the encoder's prediction."""
        ...

    def landmarks(self, image: np.ndarray, box: RotatedBox, mirrored: bool, grey: bool = False) -> HandLandmarks:
        """Landmarks in a box of a BGR image, or in its mirror image; ``grey``: without its colours."""
        ...


def load_encoder(config: ReconstructorConfig, networks: HandNetworks) -> Encoder:
    """The encoder named by the settings.

    Raises ConfigError where ``encoder`` is neither a name nor a file, or needs a ``hand_model`` that is not set, and
    SessionError where the file is no encoder, or PyTorch is needed and missing.
    """
    path, device = bundled_network("encoder", config.encoder), resolved_device(config.device)
    if path.suffix == IMPORTED:
        from .mano_encoder import load_mano_encoder

        return load_mano_encoder(path, config, device, networks)
    session = EncoderSession(path, HandOutputs, config.threads, device, cache_folder(config.model_cache))
    return HandEncoder(session, networks)


class HandEncoder:
    """The encoder as a step of the pipeline; holds sessions and nothing of any frame."""

    def __init__(self, session: EncoderSession[HandOutputs], networks: HandNetworks) -> None:
        self._session, self._networks = session, networks

    def __call__(self, image: np.ndarray, observations: Sequence[Observation], camera: Camera) -> list[Observation]:
        """The observations (at most one of a side) of a BGR image, each with the encoder's prediction."""
        if not observations:
            return []
        crops = [self._crop(image, observation, camera) for observation in observations]
        frames = [frame for frame, _ in crops]
        both = len(frames) == 2
        pairs = [
            frames[i].pair_features(frames[1 - i]) if both else np.zeros(PAIR_FEATURES) for i in range(len(frames))
        ]
        hands = self._session.run(
            np.stack([content for _, content in crops]), np.stack([frame.ray_features for frame in frames]),
            np.stack(pairs), np.full(len(frames), float(both)),
        )  # fmt: skip
        return [
            dataclasses.replace(observation, prediction=decode_prediction(frames[i], hands[i], both))
            for i, observation in enumerate(observations)
        ]

    def landmarks(self, image: np.ndarray, box: RotatedBox, mirrored: bool, grey: bool = False) -> HandLandmarks:
        """Landmarks in a box of a BGR image, or in its mirror image; ``grey``: without its colours."""
        return self._networks.read(image, [box], mirrored, grey, stems=True)[0]

    def _crop(self, image: np.ndarray, observation: Observation, camera: Camera) -> tuple[CropFrame, np.ndarray]:
        """The crop of an observation, and the session's input for it."""
        side, stem = observation.shown_side, observation.stem
        box = observation.roi if stem is not None else hand_box(observation.keypoints_2d)
        if not self._session.takes_stems:
            frame = CropFrame(box, side, camera)
            cut = frame.cut(image, self._session.input_shape[0])
            return frame, cv2.merge([cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY)] * 3) if observation.grey else cut
        if stem is None:
            stem = self._networks.stem(image, box, mirrored=side == Side.LEFT, grey=observation.grey)
        return CropFrame(_as_cut(box, self._networks.landmark.size), side, camera), stem


def _as_cut(box: RotatedBox, size: int) -> RotatedBox:
    """The box that the landmark network's crop covers: the centre of its first pixel is the box's corner."""
    shift = box.axes @ np.full(2, -0.5 * box.size / size)
    return RotatedBox((box.center[0] + float(shift[0]), box.center[1] + float(shift[1])), box.size, box.angle)


def decode_prediction(frame: CropFrame, hand: HandOutputs, both: bool) -> EncoderPrediction:
    """The prediction of one hand, from its crop frame to the camera frame; ``both``: there was a crop of the other."""
    hand = hand.map(lambda output: np.asarray(output, dtype=np.float64))
    wrist = frame.position_out(hand.keypoints_2d[0], math.exp(hand.log_crop_width))
    return EncoderPrediction(
        presence=1.0 / (1.0 + math.exp(-hand.presence)),
        keypoints_2d=frame.pixels_out(hand.keypoints_2d),
        stddev_2d=hand.keypoint_scales * (LAPLACE * frame.box.size),
        joints=frame.points_out(hand.joints),
        wrist=wrist,
        wrist_stddev=float(np.linalg.norm(wrist) * hand.log_crop_width_scale) * LAPLACE,
        to_other=frame.points_out(hand.to_other) if both else None,
        other_box=frame.box_out(hand.other_box),
        other_visible=1.0 / (1.0 + math.exp(-hand.other_visible)),
    )
