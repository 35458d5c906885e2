"""The lifecycle node ``hand_recon``: camera topics in, both hands out."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool, Trigger

from ..config import ConfigError, ReconstructorConfig
from . import topics
from .connections import Connections
from .diagnostics import Counters, Problems, status
from .mailbox import Mailbox
from .outputs import Outputs
from .parameters import changed, coerced_parameters, declare
from .worker import Reconstructor, Worker, where

SILENCE = 5
"""After this many seconds without anybody publishing images the node says so."""


def load_reconstructor(config: ReconstructorConfig) -> Reconstructor:
    """The real thing; its networks are loaded here."""
    from ..reconstructor import TwoHandReconstructor

    return TwoHandReconstructor(config)


def _transition(
    callback: Callable[[Any, LifecycleState], None],
) -> Callable[[Any, LifecycleState], TransitionCallbackReturn]:
    """A transition callback that says why it failed: rclpy turns an exception into ERROR without a word."""

    @functools.wraps(callback)
    def guarded(self: HandReconNode, state: LifecycleState) -> TransitionCallbackReturn:
        name = callback.__name__.removeprefix("on_")
        try:
            callback(self, state)
        except Exception as error:
            self.problems.report(f"transition.{name}", f"cannot {name}: {_reason(error)}")
            self._stop()
            if name == "configure":
                self._clean_up()
            return TransitionCallbackReturn.FAILURE
        self.problems.solved(f"transition.{name}")
        return TransitionCallbackReturn.SUCCESS

    return guarded


def _reason(error: Exception) -> str:
    """What to say of an error: its own words where it was raised for people, else where it came from as well."""
    said = type(error).__module__.startswith("hand_recon_ros") or isinstance(error, OSError | ImportError)
    return str(error) if said else where(error)


class HandReconNode(LifecycleNode):
    """See the package's README for topics, parameters and services.

    Args:
        make_reconstructor: called in configure with the settings of the reconstruction.
        arguments: of rclpy.lifecycle.LifecycleNode, such as ``namespace`` or ``parameter_overrides``.

    Raises ConfigError for start parameters that cannot be used.
    """

    def __init__(
        self, make_reconstructor: Callable[[ReconstructorConfig], Reconstructor] = load_reconstructor, **arguments: Any
    ) -> None:
        super().__init__("hand_recon", **arguments)
        self.problems = Problems(self.get_logger().warning)
        self._make_reconstructor = make_reconstructor
        self._counters = Counters()
        try:
            self._settings = declare(self)
        except ConfigError:
            self.destroy_node()
            raise
        self.add_pre_set_parameters_callback(coerced_parameters)
        self.add_on_set_parameters_callback(self._check_parameters)
        self.add_post_set_parameters_callback(self._take_parameters)
        self._reconstructor: Reconstructor | None = None
        self._applied = self._settings
        self._mailbox: Mailbox[Any] = Mailbox()
        self._outputs: Outputs | None = None
        self._worker: Worker | None = None
        self._connections = Connections(self, self.problems)
        self._enabled = True
        self._silent_seconds = 0
        image = topics.COMPRESSED if self._settings.node.use_compressed else topics.IMAGE
        self._image_topic = image
        self._image_name = self.resolve_topic_name(image.name)
        self._info_name = self.resolve_topic_name(topics.CAMERA_INFO.name)

        diagnostics = topics.output("/diagnostics")
        self._diagnostics = self.create_publisher(DiagnosticArray, diagnostics.name, diagnostics.qos())
        # On simulated time that stands still the node must still say so.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics_timer = self.create_timer(1.0, self._publish_diagnostics, clock=steady)
        self._services_out = [
            self.create_service(SetBool, "~/set_enabled", self._set_enabled),
            self.create_service(Trigger, "~/reset_tracking", self._reset_tracking),
        ]
        # In the executor's first round, so that a failure to start leaves a node that answers and says why.
        self._autostart_timer = self.create_timer(0.0, self._autostart, clock=steady)

    @property
    def state(self) -> str:
        """The label of the lifecycle state, such as ``active``."""
        return str(self._state_machine.current_state[1])

    def _now(self) -> float:
        return float(self.get_clock().now().nanoseconds * 1e-9)

    # Lifecycle

    def _autostart(self) -> None:
        self.destroy_timer(self._autostart_timer)
        if self._settings.node.autostart and self.state == "unconfigured":
            if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
                self.trigger_activate()

    @_transition
    def on_configure(self, state: LifecycleState) -> None:
        """Load and warm up the networks, make the publishers."""
        self._applied = self._settings
        # The first start after an installation also compiles the solver.
        self.get_logger().info("loading networks and solver; the first time this takes some seconds")
        self._reconstructor = self._make_reconstructor(self._applied.reconstructor)
        self._reconstructor.warm_up()
        self._outputs = Outputs(self._connections.publisher, self._reconstructor.hand_model, self._now)

    @_transition
    def on_activate(self, state: LifecycleState) -> None:
        """Start to work; nothing is loaded here."""
        super().on_activate(state)
        outputs, reconstructor = self._outputs, self._reconstructor
        assert outputs is not None and reconstructor is not None
        outputs.publish_topology()
        self._mailbox.open()
        self._worker = Worker(
            reconstructor,
            mailbox=self._mailbox,
            applied=self._applied,
            parameters=lambda: self._settings,
            publish=lambda result, parameters: outputs.publish(result, parameters.node),
            withdraw=outputs.withdraw,
            now=self._now,
            alive=self.context.ok,
            problems=self.problems,
            counters=self._counters,
            topics=(self._image_name, self._info_name),
        )
        self._worker.start()
        self._enabled = True
        self._subscribe()
        self.get_logger().info(f"active: images from {self._image_name}, calibration from {self._info_name}")

    @_transition
    def on_deactivate(self, state: LifecycleState) -> None:
        """Stop to work, keep everything loaded."""
        self._stop()
        super().on_deactivate(state)

    @_transition
    def on_cleanup(self, state: LifecycleState) -> None:
        """Give back what configure made."""
        self._clean_up()

    @_transition
    def on_shutdown(self, state: LifecycleState) -> None:
        """Stop, from whatever state."""
        self._stop()
        self._clean_up()

    @_transition
    def on_error(self, state: LifecycleState) -> None:
        """Back to unconfigured."""
        self._stop()
        self._clean_up()

    def _stop(self) -> None:
        self._connections.unsubscribe()
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()
            self._applied = worker.applied
        # What was wrong with the input is no longer known once none comes.
        self.problems.solved("input", "guess", "frame_id", "stamp", "numbers", "failure", "silence")

    def _clean_up(self) -> None:
        self._outputs = self._reconstructor = None
        self._connections.unpublish()

    def close(self) -> None:
        """Stop the worker and leave the graph; for the end of the process."""
        self._stop()
        self.destroy_node()

    # Input

    def _subscribe(self) -> None:
        reliability = self._settings.node.image_reliability
        self._connections.subscribe(topics.CAMERA_INFO, self._take_camera_info, reliability)
        self._connections.subscribe(self._image_topic, self._take_image, reliability)

    def _take_image(self, message: Any) -> None:
        self._counters.received += 1
        self._mailbox.put(message)

    def _take_camera_info(self, message: Any) -> None:
        self.problems.solved(f"qos.{self._info_name}")
        if self._worker is not None:
            self._worker.take_camera_info(message)

    # Parameters and services

    def _check_parameters(self, parameters: Sequence[Any]) -> SetParametersResult:
        try:
            changed(self._settings, parameters)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _take_parameters(self, parameters: Sequence[Any]) -> None:
        self._settings = changed(self._settings, parameters)

    def _set_enabled(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        worker = self._worker
        if worker is None:
            response.success, response.message = False, f"the node is {self.state}, activate it first"
            return response
        worker.paused = not request.data
        if request.data and not self._enabled:
            self._subscribe()
        elif not request.data and self._enabled:
            self._connections.unsubscribe()
            self._mailbox.clear()
            worker.forget()
        self._enabled = request.data
        response.success, response.message = True, "enabled" if request.data else "paused: images are not received"
        return response

    def _reset_tracking(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        worker = self._worker
        if worker is None:
            response.success, response.message = False, f"the node is {self.state}, there is nothing to forget"
            return response
        worker.forget()
        response.success, response.message = True, "both hands and all filters are forgotten"
        return response

    # Diagnostics

    def _publish_diagnostics(self) -> None:
        report = self._counters.report()
        self._check_silence(report.received_rate)
        message = DiagnosticArray(
            status=[
                status(
                    name=f"{self.get_fully_qualified_name().lstrip('/')}: hands",
                    hardware_id=self._image_name,
                    lifecycle="paused" if self._worker is not None and not self._enabled else self.state,
                    report=report,
                    dropped=self._mailbox.dropped,
                    problems=self.problems.active(),
                )
            ]
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _check_silence(self, rate: float) -> None:
        if rate > 0:
            self.problems.solved("silence", f"qos.{self._image_name}")
        waiting = self._worker is not None and self._enabled and rate == 0
        self._silent_seconds = self._silent_seconds + 1 if waiting else 0
        if self._silent_seconds == SILENCE and not self.count_publishers(self._image_name):
            self.problems.report(
                "silence",
                f"nobody publishes on {self._image_name}: start the camera driver, or remap {self._image_topic.name}"
                " to its topic",
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until it is interrupted; 1 where its parameters cannot be used."""
    rclpy.init(args=None if arguments is None else list(arguments))
    node: HandReconNode | None = None
    try:
        node = HandReconNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except ConfigError as error:
        rclpy.logging.get_logger("hand_recon").fatal(str(error))
        return 1
    finally:
        # A launch file's processes are interrupted twice: the second time must not tear this down half way.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if node is not None:
            node.close()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
