"""The networks that detect hands and their landmarks, loaded once and used for every image."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..config import ReconstructorConfig
from ..landmarks.landmarks import HandLandmarks, read_landmarks
from ..landmarks.observation import RotatedBox
from ..runtime.bundled_networks import IMPORTED, bundled_network
from ..runtime.devices import resolved_device
from ..runtime.model_files import HAND_LANDMARKS, PALM_DETECTION, find_model
from ..runtime.openvino_session import network_notes
from ..runtime.sessions import Session, SessionError, cache_folder, open_session
from .body_networks import BodyNetworks
from .pair_detector import RegionHand, detect_pair, pair_detector_file
from .palm import PalmDetection, palms_in
from .ssd import fill_input

_PARALLEL_CROPS = 4
_READERS = {
    "stride2": "conv2d_2/Conv2D", "stride4": "conv2d_6/Conv2D", "stride8": "conv2d_10/Conv2D",
    "stride16a": "conv2d_16/Conv2D", "stride16b": "conv2d_22/Conv2D", "stride32": "conv2d_30/Conv2D",
}  # fmt: skip
"""Layers of the landmark network whose inputs are the feature maps of its stages (``models.landmark_trunk.STAGES``)."""
_STEM = ("stride16b", "stride32")
"""Of encoder files that do not name the stages whose feature maps they take."""


@dataclasses.dataclass(frozen=True, eq=False)
class HandNetworks:
    """The networks of detectors and landmarks; ``pair`` and ``body`` are None where the settings leave them out.

    Not for use by two threads at once: the input buffers are shared.
    """

    palm: Session
    landmark: Session
    pair: Session | None = None
    body: BodyNetworks | None = None

    @classmethod
    def load(cls, config: ReconstructorConfig) -> HandNetworks:
        """Load and check the networks, and run each once, so that the first image takes no longer than the others.

        Raises DeviceError for a device that cannot be used, ModelFileError where a file is missing or altered, and
        SessionError where it cannot be run.
        """
        palm, landmark = (find_model(model, config.model_dir) for model in (PALM_DETECTION, HAND_LANDMARKS))
        stem = _stem_readers(config.encoder)
        # In float32: bfloat16 changes which hands are detected, and moves landmarks by 0.6 px.
        device, cache = resolved_device(config.device), cache_folder(config.model_cache)
        open_with = functools.partial(open_session, device=device, threads=config.threads, cache=cache)
        with ThreadPoolExecutor() as pool:  # compiling uses one core for each network
            body = pool.submit(BodyNetworks.load, config) if config.body != "none" else None
            palm_session = pool.submit(open_with, palm)
            landmark_session = pool.submit(open_with, landmark, capacity=_PARALLEL_CROPS, feature_layers=stem)
            pair = pool.submit(open_with, pair_detector_file()) if config.detector != "none" else None
        networks = cls(
            palm=palm_session.result(),
            landmark=landmark_session.result(),
            pair=None if pair is None else pair.result(),
            body=None if body is None else body.result(),
        )
        networks.palm.run(1)
        if networks.pair is not None:
            networks.pair.run(1)
        for count in range(1, _PARALLEL_CROPS + 1):
            networks.landmark.run(count)
        networks.landmark.run(_PARALLEL_CROPS, features=False)
        return networks

    def detect_palms(self, image: np.ndarray, threshold: float, view: RotatedBox | None = None) -> list[PalmDetection]:
        """Palms above ``threshold`` in a BGR image, or in one view of it, best first."""
        view = fill_input(self.palm, image, view)
        raw, logits = self.palm.run(1)[0]
        return palms_in(raw, logits, threshold, view, self.palm.size)

    def detect_pair(self, image: np.ndarray, region: RotatedBox) -> tuple[RegionHand, RegionHand]:
        """Left and right hand in a region of a BGR image; raises ValueError where they were loaded without."""
        if self.pair is None:
            raise ValueError("these networks were loaded with detector=none: they have no pair detector")
        return detect_pair(self.pair, image, region)

    def read(
        self,
        image: np.ndarray,
        rois: Sequence[RotatedBox],
        mirrored: bool | Sequence[bool] = False,
        grey: bool | Sequence[bool] = False,
        stems: bool = False,
    ) -> list[HandLandmarks]:
        """Landmarks in each box of a BGR image; ``mirrored`` evaluates the mirror image of the crop, ``grey`` the crop
        without its colours. ``stems``: with the inner features that the encoder takes, if it was loaded."""
        return read_landmarks(self.landmark, image, rois, mirrored, grey, stems)

    def stem(self, image: np.ndarray, roi: RotatedBox, mirrored: bool = False, grey: bool = False) -> np.ndarray:
        """Inner features (N,) of one crop, the encoder's input; arguments as of :meth:`read`."""
        (hand,) = self.read(image, [roi], mirrored, grey, stems=True)
        if hand.stem is None:
            raise ValueError("these networks were loaded with encoder=none: they have no outputs for the encoder")
        return hand.stem


def _stem_readers(encoder: str) -> tuple[str, ...]:
    """Layers of the landmark network whose inputs an encoder takes, by the setting ``encoder``.

    Raises ConfigError and SessionError where that names no network.
    """
    if encoder == "none" or bundled_network("encoder", encoder).suffix == IMPORTED:
        return ()
    stages = network_notes(bundled_network("encoder", encoder), "encoder").get("stem", _STEM)
    unknown = sorted(set(stages) - set(_READERS))
    if unknown:
        raise SessionError(f"encoder {encoder}: the landmark network has no {', '.join(unknown)}")
    return tuple(_READERS[stage] for stage in stages)
