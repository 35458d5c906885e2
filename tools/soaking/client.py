"""What talks to the node: its messages and diagnostics received, its services called."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np


class NoAnswer(RuntimeError):
    """The node has not answered in time; the message says what it was asked."""


@dataclasses.dataclass(frozen=True)
class Hands:
    """A message of ~/hands.

    Attributes:
        stamp: nanoseconds.
        wall: the system's clock at its arrival, nanoseconds.
        frame_id: of its header.
        tracked: (2,), left and right.
        found: (2,), neither hand is LOST.
        wrists: (2, 3), metres, where they are found.
        latency: the message's, seconds; NaN where it is not known.
    """

    stamp: int
    wall: int
    frame_id: str
    tracked: tuple[bool, bool]
    found: tuple[bool, bool]
    wrists: np.ndarray
    latency: float

    @property
    def is_last_word(self) -> bool:
        """Whether it may be the message that both hands are LOST, which has the stamp of the last image again."""
        return not any(self.found) and math.isnan(self.latency)


def _hands(message: Any) -> Hands:
    pair, stamp = (message.left, message.right), message.header.stamp
    positions = [hand.joints[0].position for hand in pair]
    return Hands(
        stamp=stamp.sec * 10**9 + stamp.nanosec,
        wall=time.time_ns(),
        frame_id=message.header.frame_id,
        tracked=(pair[0].state == 1, pair[1].state == 1),
        found=(pair[0].state != 0, pair[1].state != 0),
        wrists=np.array([[p.x, p.y, p.z] for p in positions]),
        latency=float(message.latency),
    )


class Client:
    """A node that subscribes to ``~/hands`` and ``/diagnostics`` of hand_recon, and spins in a thread of its own.

    Attributes:
        hands: all messages since :meth:`clear`.
        values: the newest diagnostics, name -> value; empty before the first.
        diagnosed: time.monotonic() at their arrival.
    """

    def __init__(self, namespace: str) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from hand_recon_ros.msg import TwoHands
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile

        rclpy.init()
        self._target = f"{namespace}/hand_recon"
        self.hands: list[Hands] = []
        self.values: dict[str, str] = {}
        self.diagnosed = time.monotonic()
        self._node = rclpy.create_node("soak", namespace=namespace)
        self._node.create_subscription(
            TwoHands,
            f"{self._target}/hands",
            lambda message: self.hands.append(_hands(message)),
            QoSProfile(depth=1000),
        )
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnose, 10)
        self._clients: dict[str, Any] = {}
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._ending.is_set():
            self._executor.spin_once(timeout_sec=0.2)

    def _diagnose(self, message: Any) -> None:
        for status in message.status:
            if status.name.startswith(self._target.lstrip("/") + ":"):
                self.values = {pair.key: pair.value for pair in status.values}
                self.diagnosed = time.monotonic()

    def close(self) -> None:
        """End the thread and the node."""
        import rclpy

        self._ending.set()
        self._thread.join()
        self._node.destroy_node()
        rclpy.try_shutdown()

    def clear(self) -> None:
        """Forget the hands so far."""
        self.hands = []

    def counts(self) -> dict[str, int]:
        """The node's counts of images: received, processed, dropped, refused. From the next diagnostics but one, so
        that what has been sent by now is in them. Raises NoAnswer."""
        for _ in range(2):
            before = self.diagnosed
            self.wait(lambda before=before: self.diagnosed > before, "diagnostics", 20.0)  # type: ignore[misc]
        return {name: int(self.values[f"images {name}"]) for name in ("received", "processed", "dropped", "refused")}

    def wait(self, condition: Callable[[], Any], what: str, timeout: float) -> Any:
        """The condition's value once it is true. Raises NoAnswer."""
        end = time.monotonic() + timeout
        while not (value := condition()):
            if time.monotonic() > end:
                raise NoAnswer(f"no {what} within {timeout:.0f} s")
            time.sleep(0.02)
        return value

    def call(self, kind: Any, service: str, request: Any, timeout: float = 60.0) -> Any:
        """The response of a service of the node. Raises NoAnswer."""
        name = f"{self._target}/{service}"
        client = self._clients.get(name) or self._node.create_client(kind, name)
        self._clients[name] = client
        self.wait(client.service_is_ready, f"service {name}", timeout)
        future = client.call_async(request)
        self.wait(future.done, f"answer of {name}", timeout)
        return future.result()

    def change_state(self, transition: int) -> bool:
        """Whether a transition by its id of lifecycle_msgs/Transition is made."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call(ChangeState, "change_state", request).success)

    def state(self) -> str:
        """The label of the lifecycle state."""
        from lifecycle_msgs.srv import GetState

        return str(self.call(GetState, "get_state", GetState.Request()).current_state.label)

    def set_parameters(self, values: dict[str, Any], atomically: bool = False) -> list[Any]:
        """The SetParametersResult of each, or one of all."""
        from rcl_interfaces.srv import SetParameters, SetParametersAtomically
        from rclpy.parameter import Parameter

        messages = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        if atomically:
            request = SetParametersAtomically.Request(parameters=messages)
            return [self.call(SetParametersAtomically, "set_parameters_atomically", request).result]
        return list(self.call(SetParameters, "set_parameters", SetParameters.Request(parameters=messages)).results)

    def parameter(self, name: str) -> Any:
        """The value of a parameter."""
        from rcl_interfaces.srv import GetParameters
        from rclpy.parameter import parameter_value_to_python

        response = self.call(GetParameters, "get_parameters", GetParameters.Request(names=[name]))
        return parameter_value_to_python(response.values[0])
