"""The QoS of the subscriptions follows the publishers', and the log states why no image comes, or not every one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
pytest.importorskip("tf2_msgs")

import rclpy  # noqa: E402
from hand_recon_ros.msg import Hand, TwoHands  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from ros_support import NodeOnDds, camera_info, image_message  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402

from hand_recon_ros.ros import monitor  # noqa: E402

RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture(autouse=True)
def soon_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The monitor waits for two seconds instead of five."""
    monkeypatch.setattr(monitor, "SILENCE", 2)


@contextlib.contextmanager
def other_process() -> Iterator[Any]:
    """A node with a DDS participant of its own: one participant has one type for a topic."""
    context = Context()
    rclpy.init(context=context)
    node = rclpy.create_node("driver", context=context)
    try:
        yield node
    finally:
        node.destroy_node()
        context.try_shutdown()


def subscription_qos(dds: NodeOnDds, topic: str) -> QoSProfile | None:
    infos = dds.client.get_subscriptions_info_by_topic(topic)
    return infos[0].qos_profile if len(infos) == 1 else None


@pytest.mark.parametrize("offered", [RELIABLE, BEST_EFFORT], ids=["reliable", "best effort"])
def test_the_reliability_is_that_of_the_publisher(offered: QoSProfile) -> None:
    with NodeOnDds(image_reliability="auto") as dds:
        dds.client.create_publisher(Image, "image", offered)
        time.sleep(0.5 if offered is RELIABLE else 2.5)
        dds.wait(lambda: (qos := subscription_qos(dds, "/image")) and qos.reliability == offered.reliability, "the QoS")
        assert [text for text in dds.warnings() if "QoS" in text] == []


def test_the_reliability_that_is_set_stays() -> None:
    arguments = ("-p", "qos_overrides./image.subscription.reliability:=best_effort")
    for given in ({"image_reliability": "best_effort"}, {"image_reliability": "auto", "arguments": arguments}):
        with NodeOnDds(**given) as dds:
            dds.client.create_publisher(Image, "image", RELIABLE)
            time.sleep(2.5)
            qos = subscription_qos(dds, "/image")
            assert qos is not None and qos.reliability == ReliabilityPolicy.BEST_EFFORT


def test_camera_info_that_was_published_once_before_is_received() -> None:
    with NodeOnDds(activate=False, image_reliability="auto") as dds:
        publisher = dds.client.create_publisher(CameraInfo, "camera_info", LATCHED)
        publisher.publish(camera_info())
        dds.node.trigger_configure()
        dds.node.trigger_activate()
        dds.wait(lambda: dds.node.inputs.camera_info is not None, "camera_info")


def test_a_durability_override_counts() -> None:
    arguments = ("-p", "qos_overrides./camera_info.subscription.durability:=transient_local")
    with NodeOnDds(arguments=arguments) as dds:
        qos = dds.wait(lambda: subscription_qos(dds, "/camera_info"), "the subscription")
        assert qos.durability == DurabilityPolicy.TRANSIENT_LOCAL


@pytest.mark.parametrize(
    ("use_compressed", "kind", "topic", "words"),
    [
        (False, CompressedImage, "image", ["carries sensor_msgs/msg/CompressedImage", "use_compressed to true"]),
        (True, Image, "image/compressed", ["carries sensor_msgs/msg/Image", "use_compressed to false"]),
        (False, CompressedImage, "image/compressed", ["nobody publishes on /image, but on /image/compressed", "true"]),
        (True, Image, "image", ["nobody publishes on /image/compressed, but on /image", "false"]),
        (False, Image, "image", ["/image has a publisher but no image came for 2 s"]),
    ],
)
def test_why_no_image_comes_is_said(use_compressed: bool, kind: type, topic: str, words: list[str]) -> None:
    with NodeOnDds(use_compressed=use_compressed) as dds, other_process() as driver:
        driver.create_publisher(kind, topic, RELIABLE)
        dds.wait(lambda: dds.node.problems.active(), "the report", timeout=15.0)
        (text,) = dds.node.problems.active()
        assert all(word in text for word in words), text


def test_hands_are_lost_when_the_camera_stops() -> None:
    with NodeOnDds() as dds:
        hands = dds.listen(TwoHands, "/hand_recon/hands")
        dds.send_info(camera_info())
        dds.process()
        dds.wait(lambda: len(hands) == 2, "the last word", timeout=15.0)
        assert [(m.left.state, m.right.state) for m in hands] == [(Hand.TRACKED,) * 2, (Hand.LOST,) * 2]
        assert hands[1].header == hands[0].header
        assert ["no image came for 2 s" in text for text in dds.node.problems.active()] == [True]
        time.sleep(2.5)
        assert len(hands) == 2, "it is reported once"
        dds.process()
        dds.wait(lambda: len(hands) == 3, "a result")
        dds.wait(lambda: not dds.node.problems.active(), "the end of the problem")


@pytest.mark.parametrize("infos", [1, 3])
def test_images_that_are_lost_on_the_way_are_reported(infos: int) -> None:
    with NodeOnDds() as dds:
        dds.send_info(camera_info())
        end = time.monotonic() + 8.0
        while time.monotonic() < end and not dds.node.problems.active():
            for _ in range(infos):
                dds.send_info(camera_info())
            dds.process(image_message())
            time.sleep(0.02)
        reported = [text for text in dds.node.problems.active() if "images are lost on the way" in text]
        assert len(reported) == (infos > 1)
