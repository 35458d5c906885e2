"""The publishers and subscriptions of the node, created from the topic table; an incompatible QoS is reported."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions

from .problems import Problems
from .topics import Topic


class Connections:
    """Creates and destroys the publishers and subscriptions of a node."""

    def __init__(self, node: LifecycleNode, problems: Problems) -> None:
        self._node = node
        self._problems = problems
        self._publishers: list[Any] = []
        self._subscriptions: list[Any] = []

    @property
    def alive(self) -> bool:
        """Whether the node's context is valid: False once the process is interrupted."""
        return bool(self._node.context.ok())

    def now(self) -> float:
        """The node's clock, seconds."""
        return float(self._node.get_clock().now().nanoseconds * 1e-9)

    def publisher(self, topic: Topic) -> Any | None:
        """A lifecycle publisher of ``topic``; None, which is logged, where its message is not installed."""
        try:
            kind = topic.message_type()
        except ImportError as error:
            package = topic.type.split("/")[0]
            self._node.get_logger().warning(
                f"{topic.name} is off: {topic.type} cannot be imported ({error}); install {package}"
            )
            return None
        publisher = self._node.create_lifecycle_publisher(
            kind,
            topic.name,
            topic.qos(),
            # The default callbacks are left out: the executor checks every registered event for every image.
            event_callbacks=PublisherEventCallbacks(
                incompatible_qos=functools.partial(self._refused_subscriber, topic.name), use_default_callbacks=False
            ),
            qos_overriding_options=QoSOverridingOptions.with_default_policies() if topic.overridable else None,
        )
        self._publishers.append(publisher)
        return publisher

    def subscribe(self, topic: Topic, callback: Callable[[Any], None], reliability: str) -> None:
        """Subscribe to ``topic``."""
        self._subscriptions.append(
            self._node.create_subscription(
                topic.message_type(),
                topic.name,
                callback,
                topic.qos(reliability),
                event_callbacks=SubscriptionEventCallbacks(
                    incompatible_qos=functools.partial(
                        self._refused_publisher, self._node.resolve_topic_name(topic.name)
                    )
                ),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
        )

    def unsubscribe(self) -> None:
        """End all subscriptions."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def unpublish(self) -> None:
        """End all publishers."""
        while self._publishers:
            self._node.destroy_lifecycle_publisher(self._publishers.pop())

    def _refused_publisher(self, topic: str, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        self._problems.report(
            f"qos.{topic}",
            f"a publisher on {topic} offers an incompatible QoS ({policy}): no message will come from it; set"
            " image_reliability to best_effort, or match the QoS with qos_overrides",
        )

    def _refused_subscriber(self, topic: str, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        # Logged once and not listed as a problem: there is no event for the end of that subscriber.
        self._node.get_logger().warning(
            f"a subscriber of {topic} requests an incompatible QoS ({policy}): it gets no message; subscribe reliable"
            " or best effort and volatile, or match the QoS with qos_overrides",
        )
