"""The worker thread: takes the newest image, reconstructs the hands and publishes them."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np

from ..camera import Camera
from ..config import ReconstructorConfig
from ..conversions.hands import publishable
from ..conversions.problems import Problems
from ..conversions.stream import InputFrame
from ..lift.hand_calibration import HandCalibration, HandShape
from ..track.fixed_lag import FixedLagSmoother
from ..types import HandState, Side, TwoHandEstimate
from .diagnostics import STALL_AFTER, Counters
from .inputs import Inputs, ReceivedImage
from .outputs import Outputs
from .parameters import Parameters, live_changes

_Result = TypeVar("_Result")

STOP_TIMEOUT = 5.0
"""How long :meth:`Worker.stop` waits for the image in work, seconds."""
RESET_TIMEOUT = 1.0
"""How long :meth:`Worker.reset_tracking` waits for the image in work, seconds."""


class Reconstructor(Protocol):
    """The part of :class:`hand_recon_ros.TwoHandReconstructor` that the node uses."""

    config: ReconstructorConfig
    device: str
    hand_model: Any

    def __call__(
        self, image_bgr: np.ndarray, camera: Camera, stamp: float = 0.0, depth: np.ndarray | None = None
    ) -> TwoHandEstimate: ...

    def finish_image(self, hurried: bool = False) -> None: ...

    def reset(self) -> None: ...

    def warm_up(self) -> None: ...

    def update_settings(self, **values: Any) -> None: ...

    def reconstruct_image(self, image_bgr: np.ndarray, camera: Camera) -> TwoHandEstimate: ...

    def start_calibration(self, side: Side, images: int) -> HandCalibration: ...

    def use_calibration(self, length: float = 0.0) -> HandShape: ...


def describe(error: BaseException) -> str:
    """One line about an unexpected exception: its type, text, and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


class Worker:
    """A thread that processes the newest image, again and again; an exception does not end it.

    Args:
        reconstructor: called by one thread at a time.
        inputs: where the images come from.
        outputs: where the estimates go.
        parameters: returns the node's parameters; called once for each image.
        problems: what is wrong with the work is reported here, in the groups ``failure``, ``hand`` and ``worker``.
        counters: of the images.
    """

    def __init__(
        self,
        reconstructor: Reconstructor,
        inputs: Inputs,
        outputs: Outputs,
        parameters: Callable[[], Parameters],
        problems: Problems,
        counters: Counters,
    ) -> None:
        self._reconstructor = reconstructor
        self._inputs = inputs
        self._outputs = outputs
        self._parameters = parameters
        self._problems = problems
        self._counters = counters
        self._smoother: FixedLagSmoother[InputFrame] = FixedLagSmoother(reconstructor.hand_model)
        self._header: Any | None = None
        self._cause = ""
        self._busy = threading.Lock()
        self._busy_since: float | None = None
        self._paused = False
        self._reset_requested = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hand_recon_worker", daemon=True)

    @property
    def hand_model(self) -> Any:
        """Of the reconstructor."""
        return self._reconstructor.hand_model

    @property
    def calibration_file(self) -> str:
        """Where the shapes of hands are kept; empty: nowhere."""
        return self._reconstructor.config.hand_calibration

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread; a worker runs once."""
        self._thread.start()

    def stop(self, timeout: float = STOP_TIMEOUT) -> bool:
        """End the thread after the image in work, and forget the hands; False where that takes too long.

        A thread that does not end in time finishes the image in work, and publishes nothing more.
        """
        self._stopping.set()
        self._inputs.close()
        if self.alive:
            self._thread.join(timeout)
        if self.alive:
            self._problems.report(
                "worker.stop",
                f"the worker has not ended within {timeout:g} s, its image takes long: clean up and configure the node"
                " before it is activated again, or restart it",
                error=True,
            )
            return False
        self.reset_tracking()
        return True

    def pause(self) -> bool:
        """Process no more images, and forget the hands; returns as :meth:`reset_tracking`."""
        self._paused = True
        return self.reset_tracking()

    def resume(self) -> None:
        """Process images again."""
        self._paused = False

    def reset_tracking(self, timeout: float = RESET_TIMEOUT) -> bool:
        """Forget both hands, say so in a last message, and delete their markers.

        Returns whether that is done; False where the image in work takes longer than ``timeout``, seconds: it is done
        after that image.
        """
        self._reset_requested = True
        if not self._busy.acquire(timeout=timeout):
            return False
        try:
            self._reset_if_requested()
        finally:
            self._busy.release()
        return True

    def start_calibration(self, side: Side, images: int) -> HandCalibration | None:
        """See :class:`hand_recon_ros.TwoHandReconstructor`; None where the image in work takes long."""
        return self._between_images(lambda: self._reconstructor.start_calibration(side, images))

    def reconstruct_image(self, image_bgr: np.ndarray, camera: Camera) -> TwoHandEstimate | None:
        """See :class:`hand_recon_ros.TwoHandReconstructor`; None where the image in work takes long."""
        return self._between_images(lambda: self._reconstructor.reconstruct_image(image_bgr, camera))

    def use_calibration(self, length: float) -> HandShape | None:
        """See :class:`hand_recon_ros.TwoHandReconstructor`, also for the errors; None where the image in work takes
        long."""
        return self._between_images(lambda: self._reconstructor.use_calibration(length))

    def _between_images(self, step: Callable[[], _Result]) -> _Result | None:
        if not self._busy.acquire(timeout=RESET_TIMEOUT):
            return None
        try:
            return step()
        finally:
            self._busy.release()

    def check(self) -> None:
        """Report a thread that has ended or hangs; to be called about once a second between start and stop."""
        since = self._busy_since
        busy = 0.0 if since is None else time.monotonic() - since
        if not self.alive:
            self._report_end()
        self._problems.check(
            "worker.busy",
            self.alive and busy >= STALL_AFTER,
            f"the image in work has taken {busy:.0f} s so far, no other is processed: restart the node if this goes on",
            error=True,
        )

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                image = self._inputs.take()
                if image is None:
                    continue
                with self._busy:
                    self._reset_if_requested()
                    # The node may have been paused after this image was taken.
                    if not self._paused:
                        self._process(image)
                    self._reset_if_requested()
        except BaseException as error:  # a thread that ends must not end unnoticed
            self._cause = f" ({describe(error)})"
            if not self._done:
                self._report_end()

    def _report_end(self) -> None:
        self._problems.report(
            "worker.ended",
            f"the worker thread has ended{self._cause}, no more images are processed: deactivate and activate the node,"
            " or restart it",
            error=True,
        )

    @property
    def _done(self) -> bool:
        """Whether nothing is to be published any more."""
        return self._stopping.is_set() or not self._outputs.alive

    def _process(self, image: ReceivedImage) -> None:
        self._busy_since = time.monotonic()
        try:
            processed = self._attempt(lambda: self._reconstruct_and_publish(image))
            if not processed:
                self._counters.refused += 1
            # The estimate is published: what only the next image needs adds nothing to its latency.
            if self._attempt(self._finish) and processed:
                self._problems.solved("failure")
        finally:
            self._busy_since = None

    def _attempt(self, step: Callable[[], bool]) -> bool:
        """The result of a step; an exception is reported, and counts as False."""
        try:
            return step()
        except Exception as error:
            if not self._done:
                place = traceback.extract_tb(error.__traceback__)[-1]
                self._problems.report(
                    f"failure.{type(error).__name__}:{place.filename}:{place.lineno}",
                    f"an image could not be processed: {describe(error)}; please report this",
                    error=True,
                )
            return self._done

    def _reconstruct_and_publish(self, image: ReceivedImage) -> bool:
        """Process an image; False where it cannot be used."""
        parameters = self._parameters()
        changes = live_changes(self._reconstructor.config, parameters.reconstructor)
        if changes:
            self._reconstructor.update_settings(**changes)
        frame = self._inputs.frame(image, parameters.node)
        if frame is None:
            return False
        self._header = frame.header
        estimate = publishable(self._reconstruct(frame), self._problems)
        self._counters.restart()  # with a delay, this image is published after a later one
        for due, smoothed in self._smoother.add(frame, estimate, frame.frame.camera, parameters.node.smoothing_delay):
            if self._done:
                return True
            published, latency = self._outputs.publish(due, smoothed, self._inputs.dropped, parameters.node)
            self._counters.add(published, latency)
        return True

    def _reconstruct(self, frame: InputFrame) -> TwoHandEstimate:
        if not frame.continues:
            self._forget()
        taken = frame.frame
        return self._or_forget(lambda: self._reconstructor(taken.image, taken.camera, taken.stamp, taken.depth))

    def _finish(self) -> bool:
        self._or_forget(lambda: self._reconstructor.finish_image(hurried=self._inputs.waiting))
        return True

    def _or_forget(self, step: Callable[[], _Result]) -> _Result:
        """The result of a step of the reconstructor; where it fails its tracks may be half updated."""
        try:
            return step()
        except Exception:
            self._forget()
            raise

    def _forget(self) -> None:
        """Forget both hands, and the images that are not published yet."""
        self._reconstructor.reset()
        self._smoother.clear()

    def _reset_if_requested(self) -> None:
        """Forget both hands; the caller holds the lock."""
        if not self._reset_requested:
            return
        self._reset_requested = False
        self._forget()
        self._inputs.restart()
        self._counters.states = HandState.LOST, HandState.LOST
        self._counters.calibrated = None
        if self._header is not None and self._outputs.alive:
            self._outputs.publish_lost(self._header, self._inputs.dropped)
