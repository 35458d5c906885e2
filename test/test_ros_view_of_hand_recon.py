"""hand_recon_view beside hand_recon: both draw the same, and hand_recon draws nothing for those who watch the view."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
pytest.importorskip("tf2_msgs")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from ros_support import HEIGHT, WIDTH, NodeOnDds, camera_info, estimate_of, image_message  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from visualization_msgs.msg import MarkerArray  # noqa: E402

from hand_recon_ros.ros import topics  # noqa: E402
from hand_recon_ros.ros.images import decode  # noqa: E402
from hand_recon_ros.ros.view import HandReconViewNode  # noqa: E402

FAST: dict[str, Any] = {"marker_rate": 240.0, "debug_image_rate": 240.0}


@contextlib.contextmanager
def viewing(dds: NodeOnDds) -> Iterator[HandReconViewNode]:
    """The view beside the node."""
    view = HandReconViewNode(
        context=dds.client.context,
        parameter_overrides=[Parameter(n, value=v) for n, v in {**FAST, "image_reliability": "best_effort"}.items()],
        cli_args=["--ros-args", "-r", "hands:=/hand_recon/hands"],
    )
    executor = SingleThreadedExecutor(context=dds.client.context)
    executor.add_node(view)
    ending = threading.Event()

    def spin() -> None:
        while not ending.is_set():
            executor.spin_once(timeout_sec=0.2)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield view
    finally:
        ending.set()
        thread.join(5.0)
        view.close()
        executor.shutdown()


def test_both_draw_the_same() -> None:
    with NodeOnDds(**FAST) as dds, viewing(dds) as view:
        markers = [dds.listen(MarkerArray, f"/{name}/markers") for name in ("hand_recon", "hand_recon_view")]
        images = [dds.listen(Image, f"/{name}/debug_image") for name in ("hand_recon", "hand_recon_view")]
        dds.wait(lambda: view.inputs.watched == (True, True), "the view's subscriptions")
        dds.wait(lambda: dds.client.count_subscribers("/image") == 2, "both to see the images")
        dds.send_info(camera_info())
        picture = np.full((HEIGHT, WIDTH, 3), (40, 80, 120), np.uint8)
        for left, right in ((True, True), (True, False), (False, False)):
            dds.reconstructor.estimate = lambda image, camera, stamp, found=(left, right): estimate_of(
                *found, camera=camera, stamp=stamp
            )
            count = len(images[1])
            dds.process(image_message(picture))
            dds.wait(lambda count=count: len(images[0]) == len(images[1]) == count + 1, "both debug images")
        dds.wait(lambda: len(markers[0]) == len(markers[1]) == 3, "all markers")
        assert [m.header for m in images[0]] == [m.header for m in images[1]]
        for ours, theirs in zip(*images, strict=True):
            # Messages have single precision: pixels at edges may differ.
            assert (decode(ours) != decode(theirs)).any(axis=-1).mean() < 0.002
        assert [(decode(m) != picture).any(axis=-1).mean() > 0.02 for m in images[1]] == [True, True, False]
        for ours, theirs in zip(*markers, strict=True):
            assert [(m.ns, m.id, m.action, m.header) for m in ours.markers] == [
                (m.ns, m.id, m.action, m.header) for m in theirs.markers
            ]
            for one, other in zip(ours.markers, theirs.markers, strict=True):
                assert (one.type, one.color, one.scale, one.lifetime) == (
                    other.type, other.color, other.scale, other.lifetime
                )  # fmt: skip
                points = [np.array([(p.x, p.y, p.z) for p in marker.points]) for marker in (one, other)]
                np.testing.assert_allclose(points[0], points[1], atol=1e-6)


def test_who_watches_the_view_gives_hand_recon_nothing_to_draw() -> None:
    with NodeOnDds(**FAST) as dds, viewing(dds) as view:
        markers = dds.listen(MarkerArray, "/hand_recon_view/markers")
        images = dds.listen(Image, "/hand_recon_view/debug_image")
        dds.wait(lambda: dds.client.count_subscribers("/image") == 2, "both to see the images")
        dds.send_info(camera_info())
        dds.process()
        dds.wait(lambda: markers and images, "what the view draws")
        assert view.inputs.pairs.count == 1
        lazy = {topic.name.replace("~", "/hand_recon") for topic in topics.OUTPUTS if topic.lazy}
        counts = {each.topic_name: each.get_subscription_count() for each in dds.node.publishers}
        assert {name: counts[name] for name in lazy} == dict.fromkeys(lazy, 0)
        assert counts["/hand_recon/hands"] == 1, "the view"
