"""Miniatures of the published data sets, and the true hands in place of a reconstructor, for tests of evaluations."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hand_recon_ros import Side
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.evaluation import predictions
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.types import HandState

MODEL = load_hand_model()
FRAMES = 8
FAST = {"encoder": "none", "body": "none", "detector": "none", "refiner": "none"}
CONFIG = ReconstructorConfig(**FAST)  # type: ignore[arg-type]


class Oracle:
    """In place of the reconstructor: the true hands, ``changed`` by a function of the number of the image, the side and
    the hand's joints and vertices; None is a hand that is not found."""

    def __init__(self, images: Any, changed: Callable[..., Any] = lambda number, side, *points: points) -> None:
        self._samples = [images[index] for index in range(len(images))]
        self._changed, self.hand_model, self.calls = changed, MODEL, 0

    def __call__(self, config: ReconstructorConfig) -> Oracle:
        return self

    def reconstruct_image(self, image: np.ndarray, camera: Any) -> Any:
        self.calls += 1
        number = next(n for n, sample in enumerate(self._samples) if np.array_equal(sample.image, image))
        sample = self._samples[number]
        hands = []
        for side in Side:
            hand = SimpleNamespace(state=HandState.LOST)
            if sample.present[side]:
                changed = self._changed(number, side, sample.joints[side], sample.vertices[side])
                if changed is not None:
                    hand = SimpleNamespace(state=HandState.TRACKED, joints=changed[0], vertices=changed[1])
            hands.append(hand)
        estimate = SimpleNamespace(hand=lambda side: hands[side])
        estimate.before_refinement = lambda: estimate
        return estimate


def install(monkeypatch: pytest.MonkeyPatch, images: Any, *changed: Callable[..., Any]) -> Oracle:
    oracle = Oracle(images, *changed)
    monkeypatch.setattr(predictions, "TwoHandReconstructor", oracle)
    return oracle


class OracleOfStreams(Oracle):
    """The same for streams; remembers the stamps of each."""

    def __init__(self, images: Any, changed: Callable[..., Any]) -> None:
        super().__init__(images, changed)
        self.stamps: list[list[float]] = []

    def reset(self) -> None:
        self.stamps.append([])

    def __call__(self, *arguments: Any) -> Any:
        if len(arguments) == 1:
            return self
        image, camera, stamp = arguments
        self.stamps[-1].append(stamp)
        return self.reconstruct_image(image, camera)
