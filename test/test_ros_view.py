"""The node hand_recon_view over DDS, with scripted hands and images: what it draws, when, and for whom."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")

from rclpy.qos import ReliabilityPolicy  # noqa: E402
from ros_support import CAMERA, HEIGHT, WIDTH, estimate_of, hand_model, image_message  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from view_support import COMPRESSED, DEBUG_IMAGE, MARKERS, PICTURE, View  # noqa: E402
from visualization_msgs.msg import Marker  # noqa: E402

from hand_recon_ros.camera import Camera  # noqa: E402
from hand_recon_ros.conversions.estimates import two_hand_estimate  # noqa: E402
from hand_recon_ros.overlay import draw_overlay  # noqa: E402
from hand_recon_ros.ros import topics  # noqa: E402
from hand_recon_ros.ros.images import build_compressed_image_message, decode  # noqa: E402
from hand_recon_ros.types import HandEstimate, Side, TwoHandEstimate  # noqa: E402


@pytest.fixture
def view() -> Iterator[View]:
    with View() as running:
        yield running


def stamp_of(message: Any) -> float:
    return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9


def test_markers_appear_and_are_deleted(view: View) -> None:
    markers = view.listen(*MARKERS)
    estimate = estimate_of()
    message = view.hands(estimate, 5.0)
    view.hands(estimate_of(right=False), 5.1)
    view.hands(estimate_of(False, False), 5.2)
    view.hands(estimate_of(False, False), 5.3)
    view.wait(lambda: len(markers) == 3, "three messages")
    view.settle()
    assert [[(m.ns, m.action) for m in array.markers if m.id == 0] for array in markers] == [
        [("left", Marker.ADD), ("right", Marker.ADD)],
        [("right", Marker.DELETE), ("left", Marker.ADD)],
        [("left", Marker.DELETE)],
    ]
    assert {m.header.frame_id for array in markers for m in array.markers} == {"camera"}
    assert all(m.header == message.header for m in markers[0].markers)
    for mesh, bones, points in (markers[0].markers[:3], markers[0].markers[3:]):
        hand = estimate.hand(Side[mesh.ns.upper()])
        triangles = np.array([(p.x, p.y, p.z) for p in mesh.points]).reshape(-1, 3, 3)
        np.testing.assert_allclose(triangles, hand.vertices[hand.faces], atol=1e-6)
        np.testing.assert_allclose([(p.x, p.y, p.z) for p in points.points], hand.joints, atol=1e-6)
        assert len(bones.points) == 40


def test_the_debug_image_is_the_image_with_its_hands(view: View) -> None:
    raw, jpeg = view.listen(*DEBUG_IMAGE), view.listen(*COMPRESSED)
    view.info()
    estimate = estimate_of()
    view.image(7.25)
    message = view.hands(estimate, 7.25)
    view.wait(lambda: raw and jpeg, "both debug images")
    assert raw[0].header == jpeg[0].header == message.header
    picture = decode(raw[0])
    np.testing.assert_array_equal(picture, draw_overlay(PICTURE, two_hand_estimate(message, hand_model()), CAMERA))
    # The message has single precision: some pixels at edges may differ.
    expected = draw_overlay(PICTURE, estimate, CAMERA)
    assert (picture != expected).any(axis=-1).mean() < 0.002
    assert (expected != PICTURE).any(axis=-1).mean() > 0.05, "that shows something"
    for keypoint in (0, 4, 8, 12, 16, 20):
        x, y = np.rint(estimate.right.keypoints_2d[keypoint]).astype(int)
        np.testing.assert_array_equal(picture[y, x], expected[y, x])
    assert np.abs(decode(jpeg[0]).astype(int) - picture).mean() < 5


def test_images_and_hands_are_paired_by_their_stamps(view: View) -> None:
    raw = view.listen(*DEBUG_IMAGE)
    view.info()
    view.image(1.0)  # without hands
    view.hands(estimate_of(), 1.1)  # without an image
    view.settle()
    assert not raw
    for number, events in enumerate(("ih", "hi"), start=2):  # whichever comes first
        for event in events:
            if event == "i":
                view.image(number)
            else:
                view.hands(estimate_of(), number)
        view.wait(lambda number=number: len(raw) == number - 1, "the debug image")
    shades = {stamp: np.full((HEIGHT, WIDTH, 3), int(stamp), np.uint8) for stamp in (31.0, 32.0, 33.0, 34.0)}
    for stamp in (32.0, 31.0, 34.0, 33.0):  # images out of order, and hands of one later
        view.image(stamp, image_message(shades[stamp]))
    for stamp in (31.0, 32.0, 34.0, 33.0):
        view.hands(estimate_of(), stamp)
    view.wait(lambda: len(raw) == 5, "the debug images")
    view.image(4.0)  # the recording starts again
    view.hands(estimate_of(), 4.0)
    view.wait(lambda: len(raw) == 6, "the debug image")
    assert [stamp_of(m) for m in raw] == [2.0, 3.0, 31.0, 32.0, 34.0, 4.0]
    assert [int(decode(m)[0, 0, 0]) for m in raw[2:5]] == [31, 32, 34]
    assert view.node.inputs.pairs.count == 6


def test_nothing_is_received_that_nobody_watches(view: View) -> None:
    def subscribers() -> list[int]:
        return [view.client.count_subscribers(name) for name in ("/hands", "/image", "/camera_info")]

    assert subscribers() == [0, 0, 0]
    markers = view.listen(*MARKERS)
    view.wait(lambda: subscribers() == [1, 0, 0], "the hands alone for the markers")
    raw = view.listen(*DEBUG_IMAGE)
    view.wait(lambda: subscribers() == [1, 1, 1], "all for the debug image")
    jpeg = view.listen(*COMPRESSED)
    view.unlisten(raw)
    view.unlisten(markers)
    view.settle()
    assert subscribers() == [1, 1, 1], "somebody watches the compressed one"
    view.unlisten(jpeg)
    view.wait(lambda: subscribers() == [0, 0, 0], "nothing")
    assert view.node.inputs.watched == (False, False)
    raw = view.listen(*DEBUG_IMAGE)
    view.info()
    view.image(1.0)
    view.hands(estimate_of(), 1.0)
    view.wait(lambda: raw, "it draws again")


def test_rates_are_limited_and_a_loss_is_shown_at_once() -> None:
    with View(marker_rate=1.0, debug_image_rate=0.1) as view:
        markers, raw = view.listen(*MARKERS), view.listen(*DEBUG_IMAGE)
        view.info()
        for number in range(1, 9):
            view.image(number)
            view.hands(estimate_of(), number)
        view.hands(estimate_of(right=False), 9)
        view.wait(lambda: markers and markers[-1].markers[0].action == Marker.DELETE, "DELETE")
        assert {m.ns for m in markers[-1].markers} == {"right"}
        assert len(raw) == 1 and len(markers) < 8
        assert view.node.inputs.pairs.count == 8
        assert view.set_parameters(marker_rate=240.0, debug_image_rate=240).successful
        shown = len(markers)
        for number in (10, 11, 12):
            view.hands(estimate_of(), number)
            time.sleep(0.02)
        view.wait(lambda: len(markers) >= shown + 2, "more markers")


def test_a_guessed_camera_draws_as_hand_recon_does() -> None:
    with View(fallback_fov=60) as view:
        raw = view.listen(*DEBUG_IMAGE)
        camera = Camera.from_fov(WIDTH, HEIGHT, 60.0)
        view.image(1.0)
        message = view.hands(estimate_of(camera=camera), 1.0)
        view.wait(lambda: raw, "the debug image")
        expected = draw_overlay(PICTURE, two_hand_estimate(message, hand_model()), camera)
        np.testing.assert_array_equal(decode(raw[0]), expected)


def test_compressed_and_mirrored_images() -> None:
    with View(use_compressed=True, mirrored_input=True) as view:
        raw = view.listen(*DEBUG_IMAGE)
        view.info()
        assert view.client.count_subscribers("/image") == 0
        jpeg = build_compressed_image_message(np.full((HEIGHT, WIDTH, 3), 90, np.uint8), 95, Header(frame_id="camera"))
        view.image(1.0, jpeg, "image/compressed")
        message = view.hands(mirrored(estimate_of()), 1.0)
        view.wait(lambda: raw, "the debug image")
        estimate = dataclasses.replace(two_hand_estimate(message, hand_model()), mirrored=True)
        np.testing.assert_array_equal(decode(raw[0]), draw_overlay(decode(jpeg), estimate, CAMERA))


def mirrored(estimate: TwoHandEstimate) -> TwoHandEstimate:
    """The pixels of an image that was mirrored; the geometry is that of the scene."""

    def of(hand: HandEstimate) -> HandEstimate:
        return dataclasses.replace(hand, keypoints_2d=[WIDTH - 1.0, 0.0] + [-1.0, 1.0] * hand.keypoints_2d)

    return dataclasses.replace(estimate, left=of(estimate.left), right=of(estimate.right))


def test_topics_are_those_of_the_table(view: View) -> None:
    def full(name: str) -> str:
        return "/" + name.replace("~", "hand_recon_view").lstrip("/")

    watching = view.listen(*DEBUG_IMAGE)
    published = dict(view.node.get_publisher_names_and_types_by_node("hand_recon_view", "/"))
    for topic in topics.VIEW_OUTPUTS:
        assert published[full(topic.name)] == [topic.type.replace("/", "/msg/")]
    ours = {name for name in published if name.startswith("/hand_recon_view/")}
    assert ours == {full(t.name) for t in topics.VIEW_OUTPUTS if t.name.startswith("~")}
    view.wait(lambda: view.node.inputs.watched == (True, True), "the subscriptions")
    subscribed = dict(view.node.get_subscriber_names_and_types_by_node("hand_recon_view", "/"))
    for topic in topics.VIEW_INPUTS:
        if topic is not topics.VIEW_COMPRESSED:  # in place of the images
            assert subscribed[full(topic.name)] == [topic.type.replace("/", "/msg/")]
    assert watching == []


def test_qos_overrides_count() -> None:
    arguments = ("-p", "qos_overrides./image.subscription.depth:=7", "-p",
                 "qos_overrides./hand_recon_view/debug_image.publisher.reliability:=best_effort")  # fmt: skip
    with View(arguments) as view:
        offered = view.client.get_publishers_info_by_topic("/hand_recon_view/debug_image")
        assert [info.qos_profile.reliability for info in offered] == [ReliabilityPolicy.BEST_EFFORT]
        for _ in range(2):  # the second subscription as well
            raw: list[Any] = []
            subscription = view.client.create_subscription(Image, DEBUG_IMAGE[1], raw.append, best_effort())
            view.wait(lambda: view.client.count_subscribers("/image"), "the images")
            view.wait(lambda: depths(view) == [7], "the depth that is set")
            view.client.destroy_subscription(subscription)
            view.wait(lambda: not view.client.count_subscribers("/image"), "the end")


def depths(view: View) -> list[int]:
    return [each.qos_profile.depth for each in view.node.subscriptions if each.topic_name == "/image"]


def best_effort() -> Any:
    from rclpy.qos import QoSProfile

    return QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
