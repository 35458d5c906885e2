"""The service ``~/calibrate_hand``: learns the shape of a hand while the node goes on."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter

from hand_recon_ros.srv import CalibrateHand

from ..lift.hand_calibration import HandCalibration, HandShape, check_length
from ..lift.shape_prior import hand_length
from ..types import Side
from .worker import Worker

_IMAGES = 90
_MOST_IMAGES = 3000
PATIENCE = 10.0
"""How long the hand may be out of sight, seconds."""
_PERIOD = 0.05


class CalibrationService:
    """See ``srv/CalibrateHand.srv``. A request is answered when its images are there.

    It waits on a thread of its own, with a hidden node beside the given one: in rclpy a service that waits would keep
    every other callback of its node waiting, or a core busy.

    Args:
        node: whose service it is.
        worker: returns the node's worker, None while it is not active.
    """

    def __init__(self, node: Any, worker: Callable[[], Worker | None]) -> None:
        self._node, self._worker = node, worker
        self._closing = threading.Event()
        self._own = rclpy.create_node(
            f"_{node.get_name()}_calibration", namespace=node.get_namespace(), context=node.context,
            use_global_arguments=False, start_parameter_services=False, enable_rosout=False,
            parameter_overrides=[Parameter("start_type_description_service", value=False)],
        )  # fmt: skip
        name = node.resolve_service_name("~/calibrate_hand")
        self._service = self._own.create_service(CalibrateHand, name, self._calibrate)
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(self._own)
        self._thread = threading.Thread(target=self._spin, name="hand_recon_calibration", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; a request that waits is answered."""
        self._closing.set()
        self._thread.join(2.0)
        self._executor.shutdown(timeout_sec=0.0)
        self._own.destroy_node()

    def _spin(self) -> None:
        try:
            while not self._closing.is_set():
                self._executor.spin_once(timeout_sec=0.2)
        except (ExternalShutdownException, ShutdownException):
            pass

    def _calibrate(self, request: Any, response: Any) -> Any:
        response.success = False
        try:
            response.message = self._refusal(request) or self._learn(request, response)
        except Exception as error:
            response.success, response.message = False, f"{type(error).__name__}: {error}"
        self._node.get_logger().info(f"calibrate_hand: {response.message}")
        return response

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
