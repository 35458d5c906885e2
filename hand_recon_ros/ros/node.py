"""The lifecycle node ``hand_recon``: camera topics in, both hands out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool, Trigger

from hand_recon_ros.srv import CalibrateHand, Reconstruct

from ..config import ConfigError, ReconstructorConfig
from ..conversions.problems import Problems
from ..runtime.devices import describe_device
from . import running, topics
from .connections import Connections
from .diagnostics import Counters
from .hand_calibration import Calibrations
from .inputs import Inputs
from .live_parameters import LiveParameters
from .monitor import Monitor
from .outputs import Outputs
from .parameters import Parameters, node_options
from .single_images import SingleImages
from .target_frame import TargetFrame
from .transforms import Transforms
from .transitions import NotReady, transition
from .waiting_services import WaitingServices
from .worker import STOP_TIMEOUT, Reconstructor, Worker


def load_reconstructor(config: ReconstructorConfig) -> Reconstructor:
    """A TwoHandReconstructor; its networks are loaded here."""
    from ..reconstructor import TwoHandReconstructor

    return TwoHandReconstructor(config)


class HandReconNode(LifecycleNode):
    """See the package's README for topics, parameters and services.

    Args:
        make_reconstructor: called in configure with the settings of the reconstruction.
        make_transforms: called in configure with the node where there is a target_frame.
        arguments: of rclpy.lifecycle.LifecycleNode, such as ``namespace`` or ``parameter_overrides``.

    Attributes:
        problems: what is wrong at present.
        counters: of the images.
        image_topic, image_name: the topic of the images, and its full name.
        inputs: the images and camera_info received.
        worker: what processes them; None unless the node is active.
        connections: its publishers and subscriptions.

    Raises ConfigError for start parameters that cannot be used.
    """

    def __init__(
        self,
        make_reconstructor: Callable[[ReconstructorConfig], Reconstructor] = load_reconstructor,
        make_transforms: Callable[[Any], Transforms] = Transforms,
        **arguments: Any,
    ) -> None:
        super().__init__("hand_recon", **node_options(), **arguments)
        logger = self.get_logger()
        self.problems = Problems(logger.warning, logger.error)
        self.counters = Counters()
        try:
            # One parameter file may be for several nodes.
            self._live = LiveParameters(self, Parameters)
        except ConfigError:
            self.destroy_node()
            raise

        self.image_topic = topics.COMPRESSED if self._settings.node.use_compressed else topics.IMAGE
        self.image_name = self.resolve_topic_name(self.image_topic.name)
        self._info_name = self.resolve_topic_name(topics.CAMERA_INFO.name)
        self.connections = Connections(self, self.problems)
        depth_name = self.resolve_topic_name(topics.DEPTH.name)
        self.inputs = Inputs(self.image_name, self._info_name, depth_name, self.connections.now, self.problems)
        self._make_reconstructor = make_reconstructor
        self._reconstructor: Reconstructor | None = None
        self._make_transforms = make_transforms
        self._outputs: Outputs | None = None
        self.worker: Worker | None = None
        self._stuck: Worker | None = None
        self._enabled = True

        self._monitor = Monitor(self, lambda: self._settings.node.diagnostics)
        self._node_services = [
            self.create_service(SetBool, "~/set_enabled", self._set_enabled),
            self.create_service(Trigger, "~/reset_tracking", self._reset_tracking),
        ]
        self._waiting_services = WaitingServices(self)
        calibrations = Calibrations(self, lambda: self.worker, self._waiting_services.closing)
        self._waiting_services.add(CalibrateHand, "~/calibrate_hand", calibrations.calibrate)
        images = SingleImages(lambda: self.state, lambda: self.worker, lambda: self._settings.node, self.problems)
        self._waiting_services.add(Reconstruct, "~/reconstruct", images.reconstruct)
        self._waiting_services.start()
        # By the executor, not here: after a failed start the node runs, publishes diagnostics and can be configured.
        # By a steady clock: simulated time may not have started.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._autostart_timer = self.create_timer(0.0, self._autostart, clock=self._steady)

    @property
    def _settings(self) -> Parameters:
        return self._live.config

    @property
    def state(self) -> str:
        """The label of the lifecycle state, such as ``active``."""
        return str(self._state_machine.current_state[1])  # rclpy has no public access to it

    @property
    def activity(self) -> str:
        """The same, or ``paused`` where an active node is not enabled."""
        return "paused" if self.worker is not None and not self._enabled else self.state

    # Lifecycle

    def _autostart(self) -> None:
        self.destroy_timer(self._autostart_timer)
        if self._settings.node.autostart and self.state == "unconfigured":
            if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
                # By a callback of its own: a signal that has come by now ends the node before.
                self._autostart_timer = self.create_timer(0.0, self._activate, clock=self._steady)

    def _activate(self) -> None:
        self.destroy_timer(self._autostart_timer)
        if self.state == "inactive":
            self.trigger_activate()

    @transition
    def on_configure(self, state: LifecycleState) -> None:
        """Load and warm up the networks, create the publishers."""
        begin = time.monotonic()
        self.get_logger().info("loading networks and solver; the first time this takes some seconds")
        with running.interruptible():
            self._reconstructor = self._make_reconstructor(self._settings.reconstructor)
            self._reconstructor.warm_up()
        target = TargetFrame.of(self, self._settings.node.target_frame, self.problems, self._make_transforms)
        self._outputs = Outputs(self.connections, self._reconstructor.hand_model, target)
        device = describe_device(self._settings.reconstructor.device, self._reconstructor.device)
        self.get_logger().info(f"configured in {time.monotonic() - begin:.1f} s; {device}")

    @transition
    def on_activate(self, state: LifecycleState) -> None:
        """Start the worker and the subscriptions; nothing is loaded here."""
        if self._stuck is not None and self._stuck.alive:
            raise NotReady("the last worker has not ended, its image takes long: clean up and configure the node first")
        outputs, reconstructor = self._outputs, self._reconstructor
        assert outputs is not None and reconstructor is not None
        self.problems.forget("worker")
        super().on_activate(state)
        outputs.publish_topology()
        self.inputs.open()
        self.worker = Worker(reconstructor, self.inputs, outputs, lambda: self._settings, self.problems, self.counters)
        self.worker.start()
        self._enabled = True
        self._subscribe()
        self.get_logger().info(f"active: images from {self.image_name}, calibration from {self._info_name}")

    @transition
    def on_deactivate(self, state: LifecycleState) -> None:
        """Stop the worker and the subscriptions; everything stays loaded."""
        self._stop()
        super().on_deactivate(state)
        self.get_logger().info("inactive: images are not received")

    @transition
    def on_cleanup(self, state: LifecycleState) -> None:
        """Release what configure made."""
        self._clean_up()
        self.get_logger().info("unconfigured: networks are released")

    @transition
    def on_shutdown(self, state: LifecycleState) -> None:
        """Stop, from whatever state."""
        self._stop()
        self._clean_up()
        self.get_logger().info("finalized: this node cannot be used any more")

    @transition
    def on_error(self, state: LifecycleState) -> None:
        """Back to unconfigured."""
        self._stop()
        self._clean_up()
        self.get_logger().info("unconfigured after an error")

    def undo(self, transition: str, state: LifecycleState) -> None:
        """Take back what a failed transition has done before it failed."""
        self._stop()
        if transition == "configure":
            self._clean_up()
        elif transition == "activate":
            super().on_deactivate(state)

    def _stop(self) -> None:
        self.connections.unsubscribe()
        worker, self.worker = self.worker, None
        self.problems.forget("worker")
        if worker is not None and not worker.stop(STOP_TIMEOUT):
            self._stuck = worker
        self._forget_input_problems()

    def _forget_input_problems(self) -> None:
        """Without images it is not known what is wrong with them."""
        self.problems.forget(
            "input", "depth", "stamp", "frame_id", "guess", "hand", "failure", "silence", "lost_images", "qos", "tf"
        )
        self.counters.restart()

    def _clean_up(self) -> None:
        if self._outputs is not None:
            self._outputs.close()
        self._outputs = self._reconstructor = self._stuck = None
        self.problems.forget("worker")
        self.connections.unpublish()

    def close(self) -> None:
        """Stop the worker and destroy the node; for the end of the process."""
        self._waiting_services.close()
        self._stop()
        self.destroy_node()

    # Input

    def _subscribe(self) -> None:
        reliability = self._settings.node.image_reliability
        self.connections.subscribe(topics.CAMERA_INFO, self._take_camera_info, reliability)
        if self._settings.node.use_depth:
            self.connections.subscribe(topics.DEPTH, self.inputs.add_depth, reliability)
        self.connections.subscribe(self.image_topic, self._take_image, reliability)

    def _take_image(self, message: Any) -> None:
        self.counters.receive()
        self.inputs.add_image(message)

    def _take_camera_info(self, message: Any) -> None:
        self.counters.infos += 1
        self.problems.solved(f"qos.{self._info_name}")
        self.inputs.add_camera_info(message)

    # Services

    def _set_enabled(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        worker = self.worker
        if worker is None:
            response.success, response.message = False, f"the node is {self.state}, activate it first"
            return response
        response.success = True
        response.message = "enabled" if request.data else "paused: images are not received"
        if request.data and not self._enabled:
            worker.resume()
            self._subscribe()
            self.get_logger().info(f"enabled: images from {self.image_name}")
        elif not request.data and self._enabled:
            self.connections.unsubscribe()
            self.inputs.clear()
            if not worker.pause():
                response.message += "; the image in work takes long, the hands are forgotten after it"
            self._forget_input_problems()
            self.get_logger().info(response.message)
        self._enabled = request.data
        return response

    def _reset_tracking(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        worker = self.worker
        if worker is None:
            response.success, response.message = False, f"the node is {self.state}, there is nothing to forget"
            return response
        response.success = worker.reset_tracking()
        response.message = (
            "both hands and all filters are forgotten"
            if response.success
            else "the image in work takes long: both hands and all filters are forgotten after it"
        )
        self.get_logger().info(f"reset_tracking: {response.message}")
        return response


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until it is interrupted; 1 where its arguments cannot be used."""
    return running.run("hand_recon", HandReconNode, arguments)


if __name__ == "__main__":
    sys.exit(main())
