"""The shape of one person's hand: measured from images, kept in a file, used as the prior of the lifting."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..config import LONGEST_HAND, SHORTEST_HAND, ConfigError, ReconstructorConfig, load_yaml
from ..geometry.hand_kinematics import NUM_BETAS
from ..hand_model import HandModel
from ..runtime.model_files import write_whole
from ..types import ScaleSource, Side
from .lifted_hand import LiftedHand
from .shape_prior import LEARNING_RATE, ShapePrior, hand_length

_RULER = 0.002
"""Standard deviation of a length that a user has measured, metres."""


@dataclasses.dataclass(frozen=True, eq=False)
class HandShape:
    """The shape of a hand.

    Attributes:
        betas: (10,) shape coefficients of the hand model.
        covariance: of them (10, 10).
        length: from the wrist to the tip of the middle finger, all straight, metres. Where it was measured, that of
            ``betas`` differs: they describe the hand as the landmark network reads it, up to 12 % smaller.
        length_stddev: its standard deviation, metres.
    """

    betas: np.ndarray
    covariance: np.ndarray
    length: float
    length_stddev: float

    @property
    def prior(self) -> ShapePrior:
        """The prior for the lifting."""
        return ShapePrior.of_known(self.betas, self.covariance, self.length)


class HandCalibration:
    """Learns the shape of a hand from the images of a few seconds; nothing that it learns is forgotten.

    Images alone give proportions. The size follows from a measured length, or from depth images.

    Attributes:
        side: of the hand.
        images: number of images so far.
        wanted: number of images that are enough.
    """

    def __init__(self, side: Side, wanted: int) -> None:
        self.side, self.wanted, self.images = side, wanted, 0
        self._with_depth = 0
        self._matrix, self._vector = np.zeros((NUM_BETAS, NUM_BETAS)), np.zeros(NUM_BETAS)

    @property
    def done(self) -> bool:
        """Whether there are enough images."""
        return self.images >= self.wanted

    def add(self, prior: ShapePrior, hand: LiftedHand, seconds: float, score: float) -> None:
        """Take over what an image adds.

        Args:
            prior: that the hand was solved with.
            hand: the solution.
            seconds: since the image before.
            score: weight of the evidence, 0..1.
        """
        if self.done or not hand.finite:
            return
        matrix, vector = prior.evidence(hand)
        gain = score * LEARNING_RATE * seconds
        self._matrix += gain * matrix
        self._vector += gain * vector
        self._with_depth += hand.scale_source == ScaleSource.DEPTH
        self.images += 1

    def result(self, model: HandModel, length: float = 0.0) -> HandShape:
        """The shape after the images so far.

        Args:
            model: of the hands.
            length: of the hand, measured by the user, metres; 0: not measured.

        Raises ValueError for a length that the hand model cannot have.
        """
        check_length(length)
        kinematics = model.kinematics(self.side)
        start = ShapePrior.population()
        if length > 0.0:
            start = start.with_length(kinematics, length)
        information = start.information + self._matrix
        betas = np.linalg.solve(information, start.information @ start.mean + self._vector)
        covariance = np.linalg.inv(information)
        if length > 0.0:
            return HandShape(betas, covariance, length, _RULER)
        # Images alone do not show how large a hand is.
        size_seen = 2 * self._with_depth > self.images
        return HandShape(
            betas, covariance, *hand_length(kinematics, betas, covariance if size_seen else np.eye(NUM_BETAS))
        )


def check_length(length: float) -> None:
    """Raises ValueError for a length that the hand model cannot have; 0 is none."""
    if length != 0.0 and not SHORTEST_HAND <= length <= LONGEST_HAND:
        raise ValueError(
            f"a hand length of {length:g} m cannot be used: expected {SHORTEST_HAND:g} to {LONGEST_HAND:g} m, from the "
            "wrist's crease to the tip of the middle finger, or 0 where it is not known"
        )


def known_shapes(
    config: ReconstructorConfig, measured: Mapping[Side, HandShape], model: HandModel
) -> dict[Side, ShapePrior]:
    """The priors of both hands: of their calibration, or by the setting ``hand_length`` where there is none.

    A hand that was not calibrated has the shape of the other one.
    """
    priors = {}
    for side in Side:
        shape = measured.get(side, measured.get(side.other))
        if shape is not None:
            priors[side] = shape.prior
        elif config.hand_length > 0.0:
            priors[side] = ShapePrior.population().with_length(model.kinematics(side), config.hand_length)
        else:
            priors[side] = ShapePrior.population()
    return priors


def read_shapes(path: str | os.PathLike[str], model: HandModel) -> dict[Side, HandShape]:
    """The hands of a calibration file, by side; none where there is no file yet.

    Raises ConfigError where the file cannot be read, or is of another hand model.
    """
    path = Path(path).expanduser()
    if not path.exists():
        return {}
    try:
        content = load_yaml(path)
    except ConfigError as error:
        raise ConfigError(f"hand_calibration: {error}") from error
    if not isinstance(content, dict) or "hand_model" not in content:
        raise ConfigError(f"hand_calibration: {path}: not a calibration of hands: it has no hand_model")
    if content["hand_model"] != model.name:
        raise ConfigError(
            f"hand_calibration: {path}: of the hand model {content['hand_model']}, not {model.name}: calibrate again"
        )
    try:
        return {side: _shape(content[side.name.lower()]) for side in Side if side.name.lower() in content}
    except (TypeError, ValueError, KeyError) as error:
        raise ConfigError(f"hand_calibration: {path}: not a calibration of hands: {error}") from error


def _shape(entry: Mapping[str, Any]) -> HandShape:
    betas = np.array(entry["betas"], dtype=np.float64)
    covariance = np.array(entry["covariance"], dtype=np.float64)
    length, stddev = float(entry["length"]), float(entry["length_stddev"])
    if betas.shape != (NUM_BETAS,) or covariance.shape != (NUM_BETAS, NUM_BETAS):
        raise ValueError(f"betas {betas.shape} and covariance {covariance.shape}, expected (10,) and (10, 10)")
    finite = np.isfinite(betas).all() and np.isfinite(covariance).all() and math.isfinite(length + stddev)
    if not finite or not np.allclose(covariance, covariance.T) or np.linalg.eigvalsh(covariance).min() <= 0.0:
        raise ValueError("the covariance is not positive definite, or a number is not finite")
    return HandShape(betas, covariance, length, stddev)


def write_shapes(path: str | os.PathLike[str], model: HandModel, shapes: Mapping[Side, HandShape]) -> None:
    """Write a calibration file, the whole of it or nothing; raises OSError where that cannot be done."""
    import yaml

    path = Path(path).expanduser()
    content: dict[str, Any] = {"hand_model": model.name}
    for side, shape in shapes.items():
        content[side.name.lower()] = {
            "length": round(shape.length, 5),
            "length_stddev": round(shape.length_stddev, 5),
            "betas": [round(float(value), 4) for value in shape.betas],
            "covariance": [[float(f"{value:.6g}") for value in row] for row in shape.covariance],
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)
    about = "# The shapes of one person's hands, by hand_recon's service calibrate_hand; metres.\n"
    write_whole(path, (about + text).encode())
