"""Services whose answers take long, on a thread of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter


class WaitingServices:
    """Offers services of a node, one request after another, on a thread, with a hidden node beside the given one.

    In rclpy a service that waits keeps every other callback of its node waiting, or a core busy.

    Args:
        node: whose services they are.

    Attributes:
        closing: set when the thread is to end; callbacks that wait then return.
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self.closing = threading.Event()
        self._own = rclpy.create_node(
            f"_{node.get_name()}_services", namespace=node.get_namespace(), context=node.context,
            use_global_arguments=False, start_parameter_services=False, enable_rosout=False,
            parameter_overrides=[Parameter("start_type_description_service", value=False)],
        )  # fmt: skip
        self._services: list[Any] = []
        self._executor = SingleThreadedExecutor(context=node.context)
        self._thread = threading.Thread(target=self._spin, name="hand_recon_services", daemon=True)

    def add(self, kind: Any, name: str, callback: Callable[[Any, Any], str]) -> None:
        """Offer a service, before :meth:`start`.

        ``callback`` gets request and response, whose ``success`` is False, and returns the response's ``message``. An
        exception becomes that message.
        """

        def answer(request: Any, response: Any) -> Any:
            response.success = False
            try:
                response.message = callback(request, response)
            except Exception as error:
                response.success, response.message = False, f"{type(error).__name__}: {error}"
            self._node.get_logger().info(f"{name.rsplit('/', 1)[-1]}: {response.message or 'done'}")
            return response

        self._services.append(self._own.create_service(kind, self._node.resolve_service_name(name), answer))

    def start(self) -> None:
        """Start the thread."""
        self._executor.add_node(self._own)
        self._thread.start()

    def close(self) -> None:
        """End the thread; a request that waits is answered."""
        self.closing.set()
        self._thread.join(2.0)
        self._executor.shutdown(timeout_sec=0.0)
        self._own.destroy_node()

    def _spin(self) -> None:
        try:
            while not self.closing.is_set():
                self._executor.spin_once(timeout_sec=0.2)
        except (ExternalShutdownException, ShutdownException):
            pass
