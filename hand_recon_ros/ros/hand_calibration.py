"""The service ``~/calibrate_hand``: learns the shape of a hand while the node goes on."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..lift.hand_calibration import HandCalibration, HandShape, check_length
from ..lift.shape_prior import hand_length
from ..types import Side
from .worker import Worker

_IMAGES = 90
_MOST_IMAGES = 3000
PATIENCE = 10.0
"""How long the hand may be out of sight, seconds."""
_PERIOD = 0.05


class Calibrations:
    """See ``srv/CalibrateHand.srv``. A request is answered when its images are there.

    Args:
        node: with a label of its lifecycle ``state``.
        worker: returns the node's worker, None while it is not active.
        closing: set when the node ends.
    """

    def __init__(self, node: Any, worker: Callable[[], Worker | None], closing: threading.Event) -> None:
        self._node, self._worker, self._closing = node, worker, closing

    def calibrate(self, request: Any, response: Any) -> str:
        """Learn a hand's shape; returns the message, and fills the response where that succeeds."""
        return self._refusal(request) or self._learn(request, response)

    def _refusal(self, request: Any) -> str:
        """Why a request cannot be served; empty where it can."""
        if self._worker() is None:
            return f"the node is {self._node.state}, activate it first"
        if request.side not in (Side.LEFT, Side.RIGHT):
            return f"side must be LEFT (0) or RIGHT (1), got {request.side}"
        if request.frames > _MOST_IMAGES:
            return f"frames must be at most {_MOST_IMAGES}, got {request.frames}"
        try:
            check_length(request.length if math.isfinite(request.length) else -1.0)
        except ValueError as error:
            return str(error)
        return ""

    def _learn(self, request: Any, response: Any) -> str:
        """Wait for the images and use them; returns the message, and fills the response where that succeeds."""
        side, worker = Side(request.side), self._worker()
        assert worker is not None
        calibration = worker.start_calibration(side, request.frames or _IMAGES)
        if calibration is None:
            return "the image in work takes long: try again"
        self._node.get_logger().info(
            f"calibrate_hand: show the {side.label} hand, fingers straight, and turn it slowly; it takes "
            f"{calibration.wanted} images"
        )
        problem = self._images(worker, calibration)
        if problem:
            return problem
        try:
            shape = worker.use_calibration(request.length)
        except OSError as error:
            return f"the calibration cannot be written: {error}"
        if shape is None:
            return "the image in work takes long: try again"
        return self._fill(response, side, shape, worker)

    def _images(self, worker: Worker, calibration: HandCalibration) -> str:
        """Wait for the images; returns why they do not come, or an empty text."""
        seen, since = 0, time.monotonic()
        while not calibration.done:
            if self._closing.wait(_PERIOD) or self._worker() is not worker:
                return "the node was deactivated"
            if calibration.images > seen:
                seen, since = calibration.images, time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                return (
                    f"the {calibration.side.label} hand was not seen for {PATIENCE:g} s; {seen} of "
                    f"{calibration.wanted} images were taken"
                )
        return ""

    def _fill(self, response: Any, side: Side, shape: HandShape, worker: Worker) -> str:
        mean = hand_length(worker.hand_model.kinematics(side), np.zeros(len(shape.betas)))[0]
        response.success = True
        response.betas = shape.betas.astype(np.float32)
        response.scale, response.stddev = shape.length / mean, shape.length_stddev / mean
        kept = worker.calibration_file
        where = f"kept in {kept}" if kept else "used until the node ends, and not kept: hand_calibration is empty"
        text = (
            f"the {side.label} hand is {1e3 * shape.length:.0f} mm long, +-{1e3 * shape.length_stddev:.0f} mm; {where}"
        )
        if shape.length_stddev > 0.005:
            text += "; its size is a guess: measure it and give `length`, or use depth images"
        return text
