"""The networks that detect hands and their landmarks, loaded once and used for every image."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..config import ReconstructorConfig
from ..landmarks.landmarks import HandLandmarks, read_landmarks
from ..landmarks.observation import RotatedBox
from ..runtime.model_files import HAND_LANDMARKS, PALM_DETECTION, find_model
from ..runtime.sessions import Session, open_session
from .hand_detector import LIKELY, DetectedHand, detector_file
from .hand_detector import decode as hands_in
from .palm import PalmDetection, palms_in
from .ssd import fill_input

_PARALLEL_CROPS = 2
_STEM_READERS = ("conv2d_22/Conv2D", "conv2d_30/Conv2D")
"""Layers of the landmark network whose inputs are its feature maps at strides 16 and 32."""


class Detections(NamedTuple):
    """Candidates of an image, best first: of the palm detector, and of the hand detector."""

    palms: list[PalmDetection]
    hands: list[DetectedHand]


@dataclasses.dataclass(frozen=True, eq=False)
class HandNetworks:
    """Palm detector, with or without the hand detector's head, and landmark network.

    Not for use by two threads at once: the input buffers are shared.
    """

    palm: Session
    landmark: Session

    @classmethod
    def load(cls, config: ReconstructorConfig, detector: bool = True) -> HandNetworks:
        """Load and check the networks, and run each once, so that the first image takes no longer than the others.

        Without ``detector`` the hand detector is left out.
        Raises ModelFileError where a file is missing or altered and SessionError where it cannot be run.
        """
        paths = [find_model(model, config.model_dir) for model in (PALM_DETECTION, HAND_LANDMARKS)]
        head = detector_file() if detector else None
        # In float32: bfloat16 changes which hands are detected, and moves landmarks by 0.6 px.
        networks = cls(
            palm=open_session(paths[0], threads=config.threads, head=head),
            landmark=open_session(
                paths[1],
                threads=config.threads,
                capacity=_PARALLEL_CROPS,
                feature_layers=() if config.encoder == "none" else _STEM_READERS,
            ),  # fmt: skip
        )
        networks.palm.run(1)
        for count in range(1, _PARALLEL_CROPS + 1):
            networks.landmark.run(count)
        return networks

    def detect(
        self, image: np.ndarray, threshold: float, view: RotatedBox | None = None, likely: float = LIKELY
    ) -> Detections:
        """Palms above ``threshold`` and hands above ``likely`` in a BGR image, or in one view of it."""
        view = fill_input(self.palm, image, view)
        raw, logits, *maps = self.palm.run(1)[0]
        palms = palms_in(raw, logits, threshold, view, self.palm.size)
        return Detections(palms, hands_in(maps[0], likely, view) if maps else [])

    def read(
        self, image: np.ndarray, rois: Sequence[RotatedBox], mirrored: bool | Sequence[bool] = False
    ) -> list[HandLandmarks]:
        """Landmarks in each box of a BGR image; ``mirrored`` evaluates the mirror image of the crop."""
        return read_landmarks(self.landmark, image, rois, mirrored)

    def stem(self, image: np.ndarray, roi: RotatedBox, mirrored: bool = False) -> np.ndarray:
        """Inner features (N,) of one crop, the encoder's input."""
        (hand,) = self.read(image, [roi], mirrored)
        if hand.stem is None:
            raise ValueError("these networks were loaded with encoder=none: they have no outputs for the encoder")
        return hand.stem
