"""What the tests of the ROS side share: hands of known geometry, a scripted reconstructor, and a node on real DDS."""

from __future__ import annotations

import array
import contextlib
import dataclasses
import functools
import gc
import threading
import time
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from hand_recon_ros.camera import Camera
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.hand_model import HandModel, load_hand_model
from hand_recon_ros.lift.hand_calibration import HandCalibration, HandShape
from hand_recon_ros.skeleton import wrist_pose
from hand_recon_ros.types import HandEstimate, HandState, ScaleSource, Side, TwoHandEstimate

WIDTH, HEIGHT = 320, 240
K = np.array([[300.0, 0.0, 160.0], [0.0, 300.0, 120.0], [0.0, 0.0, 1.0]])
CAMERA = Camera(K=K, width=WIDTH, height=HEIGHT)


@functools.cache
def hand_model() -> HandModel:
    """The embedded hand."""
    return load_hand_model()


def turn(axis: int, angle: float) -> np.ndarray:
    """Rotation matrix about one of the axes."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    R = np.eye(3)
    R[i, i], R[i, j], R[j, i], R[j, j] = c, -s, s, c
    return R


def hand_estimate(side: Side, state: HandState = HandState.TRACKED, camera: Camera = CAMERA) -> HandEstimate:
    """A half closed hand half a metre in front of the camera, left hand left, right hand right."""
    model = hand_model()
    rotations = np.tile(np.eye(3), (16, 1, 1))
    rotations[0] = turn(2, 0.4 * (1 if side else -1)) @ turn(0, 1.2)
    rotations[4:] = turn(2, 0.3 if side else -0.3)
    betas = np.linspace(-0.5, 0.5, 10)
    translation = np.array([0.12 if side else -0.12, 0.02, 0.5])
    joints, _ = model.kinematics(side).forward(rotations, betas, translation)
    pixels = camera.project(joints)
    low, size = pixels.min(axis=0), np.ptp(pixels, axis=0)
    return HandEstimate(
        side=side,
        state=state,
        score=0.9,
        side_score=0.8,
        track_id=3 + int(side),
        since_measurement=0.0 if state == HandState.TRACKED else 1.25,
        joints=joints,
        joint_scores=np.linspace(0.5, 1.0, 21),
        keypoints_2d=pixels,
        mesh=lambda: model.mesh(side, rotations, betas, translation),
        faces=model.faces(side),
        rotations=rotations,
        betas=betas,
        translation=translation,
        wrist_pose=wrist_pose(joints, side == Side.RIGHT),
        roi=(float(low[0]), float(low[1]), float(size[0]), float(size[1])),
        scale_source=ScaleSource.PRIOR,
        position_stddev=0.012,
    )


def estimate_of(left: bool = True, right: bool = True, camera: Camera = CAMERA, stamp: float = 0.0) -> TwoHandEstimate:
    """Both hands; one that is not wanted is LOST."""
    hands = [
        hand_estimate(side) if wanted else HandEstimate.lost(side)
        for side, wanted in zip(Side, (left, right), strict=True)
    ]
    timings = {"locate": 0.001, "encode": 0.0, "refine": 0.001, "total": 0.002}
    return TwoHandEstimate(
        hands[0], hands[1], stamp, hand_model().name, calibrated=camera.calibrated, refined=False, timings=timings
    )


class ScriptedReconstructor:
    """Finds whatever the test wants, and remembers how it was called.

    Attributes:
        estimate: makes the answer from (image, camera, stamp); may raise.
        delay: seconds a call takes.
    """

    def __init__(self, config: ReconstructorConfig | None = None) -> None:
        self.config = config or ReconstructorConfig()
        self.device = "cpu"
        self.hand_model = hand_model()
        self.estimate: Callable[..., TwoHandEstimate] = lambda image, camera, stamp: estimate_of(
            camera=camera, stamp=stamp
        )
        self.delay = 0.0
        self.calls: list[tuple[tuple[int, ...], Camera, float]] = []
        self.depths: list[np.ndarray | None] = []
        self.finished: list[bool] = []
        self.resets = 0
        self.warm_ups = 0
        self.settings: dict[str, Any] = {}
        self.calibration: HandCalibration
        self.used: HandShape

    def __call__(
        self, image_bgr: np.ndarray, camera: Camera, stamp: float = 0.0, depth: np.ndarray | None = None
    ) -> TwoHandEstimate:
        self.depths.append(depth)
        self.calls.append((image_bgr.shape, camera, stamp))
        time.sleep(self.delay)
        return self.estimate(image_bgr, camera, stamp)

    def finish_image(self, hurried: bool = False) -> None:
        self.finished.append(hurried)

    def reset(self) -> None:
        self.resets += 1

    def warm_up(self) -> None:
        self.warm_ups += 1

    def update_settings(self, **values: Any) -> None:
        self.settings.update(values)
        self.config = dataclasses.replace(self.config, **values)

    def reconstruct_image(self, image_bgr: np.ndarray, camera: Camera) -> TwoHandEstimate:
        return self(image_bgr, camera)

    def start_calibration(self, side: Side, images: int) -> HandCalibration:
        self.calibration = HandCalibration(side, images)
        return self.calibration

    def use_calibration(self, length: float = 0.0) -> HandShape:
        self.used = self.calibration.result(self.hand_model, length)
        return self.used


def image_message(
    image: np.ndarray | None = None, encoding: str = "bgr8", frame_id: str = "camera", **fields: Any
) -> Any:
    """A sensor_msgs/Image; ``fields`` replace what would be right."""
    from sensor_msgs.msg import Image

    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8) if image is None else image
    message = Image(height=image.shape[0], width=image.shape[1], encoding=encoding)
    message.header.frame_id = frame_id
    message.step = image[0].nbytes
    message.data = array.array("B", image.tobytes())
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def camera_info(camera: Camera = CAMERA, **fields: Any) -> Any:
    """A sensor_msgs/CameraInfo; ``fields`` replace what would be right."""
    from sensor_msgs.msg import CameraInfo

    message = CameraInfo(width=camera.width, height=camera.height, distortion_model="plumb_bob", d=[0.0] * 5)
    message.header.frame_id = "camera"
    message.k = camera.K.reshape(-1)
    message.p = np.hstack([camera.K, np.zeros((3, 1))]).reshape(-1)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


class OnDds:
    """A node in a thread of its own and a client beside it, connected over DDS; a context manager.

    ``make`` makes the node in the context that it is given.
    """

    def __init__(self, make: Callable[[Any], Any]) -> None:
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor

        gc.collect()  # see __exit__
        self._context = Context()
        rclpy.init(context=self._context)
        with contextlib.ExitStack() as undoing:
            undoing.callback(self._context.try_shutdown)
            self.node = make(self._context)
            undoing.pop_all()
        self.client = rclpy.create_node("client", context=self._context)
        self._ending = threading.Event()
        self._executors: list[Any] = []
        self._threads: list[threading.Thread] = []
        for node in (self.node, self.client):
            executor = SingleThreadedExecutor(context=self._context)
            executor.add_node(node)
            thread = threading.Thread(target=self._spin, args=(executor,), daemon=True)
            thread.start()
            self._executors.append(executor)
            self._threads.append(thread)
        from rcl_interfaces.msg import Log

        self._logs = self.listen(Log, "/rosout", 1000)
        self._publishers: dict[str, Any] = {}
        self._marks = 0
        self.wait(lambda: self.client.count_publishers("/rosout") > 1, "the log's topic")

    def _spin(self, executor: Any) -> None:
        from rclpy.executors import ExternalShutdownException

        try:
            # Not spin(): where another thread shuts an executor down as a callback ends, rclpy raises InvalidHandle.
            while not self._ending.is_set():
                executor.spin_once(timeout_sec=0.2)
        except ExternalShutdownException:
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._ending.set()
        for executor, thread in zip(self._executors, self._threads, strict=True):
            thread.join(5.0)
            executor.shutdown()
        self._executors.clear()
        self.node.close()
        self.client.destroy_node()
        self._context.try_shutdown()
        del self.node, self.client
        # The log's publisher is known by the node's name: an old node that goes late takes the new one's with it.
        gc.collect()

    def wait(self, condition: Callable[[], Any], what: str, timeout: float = 10.0) -> Any:
        """The condition's value once it is true; fails after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while not (value := condition()):
            assert time.monotonic() < end, f"waited {timeout} s for {what}"
            time.sleep(0.005)
        return value

    def listen(self, kind: Any, topic: str, qos: Any = 10) -> list[Any]:
        """A list that grows by each message on a topic; returns once the publisher is connected."""
        messages: list[Any] = []
        subscription = self.client.create_subscription(kind, topic, messages.append, qos)
        name = subscription.topic_name
        self.wait(lambda: self.node.count_subscribers(name) and self.client.count_publishers(name), f"a link on {name}")
        time.sleep(0.1)
        return messages

    def unlisten(self, messages: list[Any]) -> None:
        """End what :meth:`listen` began."""
        subscription = next(s for s in self.client.subscriptions if s.callback == messages.append)
        self.client.destroy_subscription(subscription)

    def publisher(self, kind: Any, topic: str, qos: Any = 10) -> Any:
        """A publisher of the client, connected to the node; made once."""
        if topic not in self._publishers:
            publisher = self._publishers[topic] = self.client.create_publisher(kind, topic, qos)
            self.wait(lambda: publisher.get_subscription_count(), f"a subscriber of {topic}")
            time.sleep(0.1)
        return self._publishers[topic]

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """The response of a service."""
        client = self.client.create_client(kind, name)
        assert client.wait_for_service(5.0), f"no service {name}"
        future = client.call_async(request)
        self.wait(future.done, f"an answer of {name}")
        self.client.destroy_client(client)
        return future.result()

    def warnings(self) -> list[str]:
        """The warnings and errors that the node has logged so far."""
        return self.logged("WARN", "ERROR")

    def logged(self, *levels: str) -> list[str]:
        """The texts that the node has logged so far with one of ``levels``."""
        # The log is in order: once this has come, everything before it has.
        self._marks += 1
        mark = f"mark {self._marks}"
        self.node.get_logger().warning(mark)
        self.wait(lambda: any(log.msg == mark for log in self._logs), "the log")
        numbers = [{"INFO": 20, "WARN": 30, "ERROR": 40}[level] for level in levels]
        logs = [log.msg for log in self._logs if log.name == self.node.get_name() and log.level in numbers]
        return [text for text in logs if not text.startswith("mark ")]

    def set_parameters(self, **values: Any) -> Any:
        """Set parameters through the node's service, all or none; its SetParametersResult."""
        from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
        from rcl_interfaces.srv import SetParametersAtomically

        kinds = {bool: "bool", int: "integer", float: "double", str: "string"}
        request = SetParametersAtomically.Request()
        for name, value in values.items():
            kind = kinds[type(value)]
            message = ParameterValue(type=getattr(ParameterType, f"PARAMETER_{kind.upper()}"))
            setattr(message, f"{kind}_value", value)
            request.parameters.append(Parameter(name=name, value=message))
        return self.call(SetParametersAtomically, f"/{self.node.get_name()}/set_parameters_atomically", request).result


class NodeOnDds(OnDds):
    """The node hand_recon on DDS.

    ``make`` makes the node's reconstructors, and may raise; ``made`` are those it has made so far. ``make_transforms``
    makes what replaces tf2.
    """

    def __init__(
        self,
        activate: bool = True,
        arguments: tuple[str, ...] = (),
        make: Callable[[Any], ScriptedReconstructor] = ScriptedReconstructor,
        make_transforms: Callable[[Any], Any] | None = None,
        **parameters: Any,
    ) -> None:
        from rclpy.parameter import Parameter

        from hand_recon_ros.ros.node import HandReconNode
        from hand_recon_ros.ros.transforms import Transforms

        self.made: list[ScriptedReconstructor] = []
        self._make_reconstructor = make
        # A subscription that follows the publishers' QoS may miss an image when they appear.
        given = {"autostart": activate, "image_reliability": "best_effort", **parameters}
        overrides = [Parameter(name, value=value) for name, value in given.items()]
        cli = ["--ros-args", *arguments] if arguments else None
        super().__init__(
            lambda context: HandReconNode(
                self._make, make_transforms or Transforms, context=context, parameter_overrides=overrides, cli_args=cli
            )
        )
        if activate:
            self.wait(lambda: self.node.state == "active", "the node to be active")

    def _make(self, config: Any) -> ScriptedReconstructor:
        self.made.append(self._make_reconstructor(config))
        return self.made[-1]

    @property
    def reconstructor(self) -> ScriptedReconstructor:
        """The newest reconstructor."""
        return self.made[-1]

    def send_info(self, info: Any) -> None:
        """Publish a camera_info and see that it arrived."""
        publisher, inputs = self.publisher(type(info), "camera_info"), self.node.inputs
        before = inputs.camera_info
        publisher.publish(info)
        self.wait(lambda: inputs.camera_info is not before, "camera_info")

    def send(self, message: Any, stamp: float | None = None, topic: str = "image") -> Any:
        """Publish an image, stamped now unless ``stamp`` says otherwise; returns the stamp sent."""
        from rclpy.time import Time

        now = self.client.get_clock().now() if stamp is None else Time(nanoseconds=round(stamp * 1e9))
        message.header.stamp = now.to_msg()
        self.publisher(type(message), topic).publish(message)
        return message.header.stamp

    def process(self, message: Any | None = None, stamp: float | None = None, topic: str = "image") -> Any:
        """Send an image and wait until the node is done with it, for better or worse; returns the stamp sent."""
        counters = self.node.counters
        done = counters.processed + counters.refused
        sent = self.send(image_message() if message is None else message, stamp, topic)
        self.wait(lambda: counters.processed + counters.refused > done, "the image to be processed")
        return sent
