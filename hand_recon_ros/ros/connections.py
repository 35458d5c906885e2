"""The publishers and subscriptions of a node, created from the topic tables; an incompatible QoS is reported."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions

from ..conversions.problems import Problems
from .topics import Topic

_OVERRIDABLE = (
    QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY,
)  # fmt: skip


@dataclasses.dataclass(eq=False)
class _Subscription:
    topic: Topic
    name: str
    callback: Callable[[Any], None]
    reliability: str
    qos: tuple[bool, bool] = (False, False)
    handle: Any = None


class Connections:
    """Creates and destroys the publishers and subscriptions of a node."""

    def __init__(self, node: Node, problems: Problems) -> None:
        self._node = node
        self._problems = problems
        self._publishers: list[Any] = []
        self._subscriptions: list[_Subscription] = []

    @property
    def alive(self) -> bool:
        """Whether the node's context is valid: False once the process is interrupted."""
        return bool(self._node.context.ok())

    def now(self) -> float:
        """The node's clock, seconds."""
        return float(self._node.get_clock().now().nanoseconds * 1e-9)

    def publisher(self, topic: Topic, matched: Callable[[Any], None] | None = None) -> Any | None:
        """A publisher of ``topic``, of the lifecycle kind where the node is; None, which is logged, where its message
        is not installed. ``matched`` is called when subscribers come and go.
        """
        try:
            kind = topic.message_type()
        except ImportError as error:
            package = topic.type.split("/")[0]
            self._node.get_logger().warning(
                f"{topic.name} is off: {topic.type} cannot be imported ({error}); install {package}"
            )
            return None
        node = self._node
        create = node.create_lifecycle_publisher if isinstance(node, LifecycleNode) else node.create_publisher
        publisher = create(
            kind,
            topic.name,
            topic.qos(),
            # The default callbacks are left out: the executor checks every registered event for every image.
            event_callbacks=PublisherEventCallbacks(
                incompatible_qos=functools.partial(self._refused_subscriber, topic.name),
                matched=matched,
                use_default_callbacks=False,
            ),
            qos_overriding_options=QoSOverridingOptions.with_default_policies() if topic.overridable else None,
        )
        self._publishers.append(publisher)
        return publisher

    def subscribe(self, topic: Topic, callback: Callable[[Any], None], reliability: str) -> None:
        """Subscribe to ``topic``, with the QoS that its publishers offer where that is known: see :meth:`match`.

        ``reliability`` is ``auto`` (that of the publishers), ``best_effort`` or ``reliable``.
        """
        name = self._node.resolve_topic_name(topic.name)
        subscription = _Subscription(topic, name, callback, reliability)
        self._subscriptions.append(subscription)
        self._create(subscription)

    def match(self) -> None:
        """Subscribe again where the publishers offer another QoS than when they were last looked at.

        A reliable publisher's large images arrive reliably only by a reliable subscription, and a message from before
        only by a latched one. To be called once in a while: publishers come and go.
        """
        for subscription in self._subscriptions:
            if self._offered(subscription) != subscription.qos:
                self._node.destroy_subscription(subscription.handle)
                self._create(subscription)

    def publishers(self, topic: str) -> list[str]:
        """The message type of each publisher on a topic, as ``sensor_msgs/msg/Image``."""
        return [info.topic_type for info in self._node.get_publishers_info_by_topic(topic)]

    def _offered(self, subscription: _Subscription) -> tuple[bool, bool]:
        """Whether to subscribe reliable, and latched: a QoS that every publisher is compatible with."""
        infos = self._node.get_publishers_info_by_topic(subscription.name)
        offered = [] if self._is_overridden(subscription.name) else [info.qos_profile for info in infos]
        latched = bool(offered) and all(qos.durability == DurabilityPolicy.TRANSIENT_LOCAL for qos in offered)
        reliable = bool(offered) and all(qos.reliability == ReliabilityPolicy.RELIABLE for qos in offered)
        wanted = subscription.reliability
        return wanted == "reliable" or (reliable and (latched or wanted == "auto")), latched

    def _is_overridden(self, topic: str) -> bool:
        """Whether the user has set the QoS of the subscription; rclpy has no public access to what was set."""
        return any(name.startswith(f"qos_overrides.{topic}.subscription.") for name in self._node._parameter_overrides)

    def _create(self, subscription: _Subscription) -> None:
        subscription.qos = self._offered(subscription)
        # As parameters they would keep the QoS of the first time.
        overridden = self._is_overridden(subscription.name)
        subscription.handle = self._node.create_subscription(
            subscription.topic.message_type(),
            subscription.topic.name,
            subscription.callback,
            subscription.topic.qos(*subscription.qos),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=functools.partial(self._refused_publisher, subscription)
            ),
            qos_overriding_options=QoSOverridingOptions(_OVERRIDABLE) if overridden else None,
        )

    def unsubscribe(self) -> None:
        """End all subscriptions."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop().handle)

    def unpublish(self) -> None:
        """End all publishers."""
        node = self._node
        destroy = node.destroy_lifecycle_publisher if isinstance(node, LifecycleNode) else node.destroy_publisher
        while self._publishers:
            destroy(self._publishers.pop())

    def _refused_publisher(self, subscription: _Subscription, event: Any) -> None:
        policy, name = qos_policy_name_from_kind(event.last_policy_kind), subscription.name
        remedy = "" if subscription.topic.reliable else "set image_reliability to auto, or "
        self._problems.report(
            f"qos.{name}",
            f"a publisher on {name} offers an incompatible QoS ({policy}): no message will come from it;"
            f" {remedy}match the QoS with qos_overrides",
        )

    def _refused_subscriber(self, topic: str, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        # Logged once and not listed as a problem: there is no event for the end of that subscriber.
        self._node.get_logger().warning(
            f"a subscriber of {topic} requests an incompatible QoS ({policy}): it gets no message; subscribe reliable"
            " or best effort and volatile, or match the QoS with qos_overrides",
        )
