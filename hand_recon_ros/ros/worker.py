"""The one thread that turns images into results: everything between the mailbox and the publishers."""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..camera import Camera
from ..types import HandEstimate, HandState, Side, TwoHandEstimate
from .diagnostics import Counters, Problems
from .inputs import CameraSource, InputError, decode
from .mailbox import Mailbox
from .messages import is_finite
from .outputs import Result
from .parameters import Parameters, live_changes

FUTURE_TOLERANCE = 0.1
"""How far ahead of this machine's clock a stamp may lie before it is called wrong, seconds."""

_INFOS = 8
"""How many camera_info messages are kept, to find the one that belongs to an image."""

CAMERA_INFO_PATIENCE = 1.0
"""How long images may come without camera_info before that is called a problem, seconds."""


class Reconstructor(Protocol):
    """What the node needs of :class:`hand_recon_ros.TwoHandReconstructor`."""

    hand_model: Any

    def __call__(self, image_bgr: np.ndarray, camera: Camera, stamp: float = 0.0) -> TwoHandEstimate: ...

    def reset(self) -> None: ...

    def warm_up(self) -> None: ...

    def update_settings(self, **values: Any) -> None: ...


def where(error: BaseException) -> str:
    """One line about an unexpected exception: its type, text, and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


def seconds(stamp: Any) -> float:
    """A builtin_interfaces/Time in seconds."""
    return float(stamp.sec + stamp.nanosec * 1e-9)


class Worker:
    """Takes the newest image from its mailbox, computes, publishes, and lives on whatever comes.

    Args:
        reconstructor: computes; only ever called by one thread at a time.
        mailbox: where the newest image lies.
        applied: the parameters the reconstructor works with; kept up to date.
        parameters: gives the node's parameters of this moment.
        publish: sends a result, returns its latency in seconds.
        withdraw: takes the hands off the display; gets a header to do so with.
        now: the node's clock, seconds.
        alive: whether there is still anybody to publish to; false once the process is told to end.
        topics: full names of image and camera_info, for messages to people.
    """

    def __init__(
        self,
        reconstructor: Reconstructor,
        mailbox: Mailbox[Any],
        applied: Parameters,
        parameters: Callable[[], Parameters],
        publish: Callable[[Result, Parameters], float],
        withdraw: Callable[[Any], None],
        now: Callable[[], float],
        alive: Callable[[], bool],
        problems: Problems,
        counters: Counters,
        topics: tuple[str, str],
    ) -> None:
        self.applied = applied
        self.paused = False
        self._infos: collections.OrderedDict[tuple[int, int], Any] = collections.OrderedDict()
        self._mailbox = mailbox
        self._reconstructor = reconstructor
        self._parameters = parameters
        self._publish = publish
        self._withdraw = withdraw
        self._now = now
        self._alive = alive
        self._problems = problems
        self._counters = counters
        self._image_topic = topics[0]
        self._cameras = CameraSource(*topics)
        self._camera: Camera | None = None
        self._stamp: float | None = None
        self._header: Any | None = None
        self._waiting_since: float | None = None
        self._busy = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="hand_recon_worker", daemon=True)

    def take_camera_info(self, message: Any) -> None:
        """Keep a camera_info; called by the executor's thread."""
        stamp = message.header.stamp
        infos = collections.OrderedDict(self._infos)
        infos.pop((stamp.sec, stamp.nanosec), None)
        infos[stamp.sec, stamp.nanosec] = message
        while len(infos) > _INFOS:
            infos.popitem(last=False)
        self._infos = infos  # replaced whole: the worker's thread reads it without a lock

    @property
    def camera_info(self) -> Any | None:
        """The newest camera_info; None before the first."""
        infos = self._infos
        return next(reversed(infos.values())) if infos else None

    def _camera_info_of(self, message: Any) -> Any | None:
        """The camera_info with the image's stamp, else the newest."""
        stamp = message.header.stamp
        return self._infos.get((stamp.sec, stamp.nanosec)) or self.camera_info

    def start(self) -> None:
        """Begin to take images; a worker runs once."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the image in work, take nothing more, and take the hands off the display."""
        self._mailbox.close()
        if self._thread.is_alive():
            self._thread.join()
        self.forget()

    def forget(self) -> None:
        """Forget both hands, and take them off the display; waits for the image in work."""
        with self._busy:
            self._reconstructor.reset()
            self._stamp = self._camera = None
            self._counters.states = HandState.LOST, HandState.LOST
            self._counters.calibrated = None
            if self._header is not None and self._alive():
                self._withdraw(self._header)

    def _run(self) -> None:
        while not self._mailbox.closed:
            message = self._mailbox.take()
            if message is None:
                continue
            with self._busy:
                # Between taking an image and getting here the node may have been paused.
                if not self.paused:
                    self._handle(message)

    def _handle(self, message: Any) -> None:
        try:
            self._process(message)
        except InputError as error:
            # At the start the first image may well overtake the first camera_info.
            if error.kind != "no_camera_info" or self._waited_for_camera_info():
                self._problems.report(f"input.{error.kind}", str(error))
            self._counters.refused += 1
        except Exception as error:  # the node has to outlive a bug in what it calls
            if not self._alive():
                return
            self._problems.report(f"failure.{type(error).__name__}", f"an image could not be processed: {where(error)}")
            self._reconstructor.reset()
            self._counters.refused += 1

    def _process(self, message: Any) -> None:
        parameters = self._parameters()
        self._apply(parameters)
        config = parameters.node
        stamp = seconds(message.header.stamp)
        self._check_age(stamp, config.max_image_age)
        image = decode(message, self._image_topic)
        height, width = image.shape[:2]
        camera = self._cameras.camera(
            self._camera_info_of(message), width, height, config.rectified, config.fallback_fov
        )
        self._waiting_since = None
        self._problems.solved("input")
        self._check_continuity(camera, stamp, message.header)
        estimate = self._only_numbers(self._reconstructor(image, camera, stamp))
        latency = self._publish(Result(message.header, image, camera, estimate, self._mailbox.dropped), parameters)
        self._problems.solved("failure")
        self._counters.states = estimate.left.state, estimate.right.state
        self._counters.calibrated = estimate.calibrated
        self._counters.add(latency, estimate.timings.get("total", float("nan")))

    def _apply(self, parameters: Parameters) -> None:
        changes = live_changes(self.applied, parameters)
        if changes:
            self._reconstructor.update_settings(**changes)
        self.applied = parameters

    def _check_age(self, stamp: float, max_age: float) -> None:
        age = self._now() - stamp
        if 0 < max_age < age:
            raise InputError(
                "age",
                f"{self._image_topic}: image is {age:.2f} s old, expected at most max_image_age = {max_age:g} s:"
                " synchronise the"
                " clocks, use_sim_time for recordings, or set max_image_age to 0",
            )
        if age < -FUTURE_TOLERANCE:
            self._problems.report(
                "stamp.future",
                f"{self._image_topic}: the stamp lies {-age:.2f} s in the future: the camera's clock and this"
                " machine's differ, so"
                " latency is wrong; synchronise them (chrony, PTP) or use_sim_time for recordings",
            )
        else:
            self._problems.solved("stamp.future")

    def _check_continuity(self, camera: Camera, stamp: float, header: Any) -> None:
        """Start tracking afresh where this image does not follow the last one."""
        if self._stamp is not None and stamp < self._stamp:
            self._problems.report(
                "stamp.back",
                f"{self._image_topic}: the stamp jumps back by {self._stamp - stamp:.3f} s (a recording that starts"
                " again, or two"
                " publishers on one topic?): tracking starts afresh",
            )
            self._reconstructor.reset()
        else:
            self._problems.solved("stamp.back")
            if self._camera is not None and camera is not self._camera:
                self._reconstructor.reset()
        self._camera, self._stamp, self._header = camera, stamp, header
        if header.frame_id:
            self._problems.solved("frame_id")
        else:
            self._problems.report(
                "frame_id",
                f"{self._image_topic}: frame_id is empty, expected the camera's optical frame: no transforms are"
                " published; set"
                " frame_id in the driver",
            )
        if camera.calibrated:
            self._problems.solved("guess")
        else:
            self._problems.report(
                "guess",
                f"{self._image_topic}: intrinsics are a guess from fallback_fov: metres are only as good as it is,"
                " and no transforms"
                " are published; publish a camera_info with a calibration",
            )

    def _only_numbers(self, estimate: TwoHandEstimate) -> TwoHandEstimate:
        """``estimate``, a hand that holds NaN or infinity made LOST."""
        bad = [side for side in Side if not is_finite(estimate.hand(side))]
        if not bad:
            self._problems.solved("numbers")
            return estimate
        self._problems.report(
            "numbers",
            f"the estimate of the {' and '.join(side.label for side in bad)} hand holds values that are not finite:"
            " it is left out",
        )
        left, right = (HandEstimate.lost(side) if side in bad else estimate.hand(side) for side in Side)
        return dataclasses.replace(estimate, left=left, right=right)

    def _waited_for_camera_info(self) -> bool:
        now = time.monotonic()
        if self._waiting_since is None:
            self._waiting_since = now
        return now - self._waiting_since >= CAMERA_INFO_PATIENCE
