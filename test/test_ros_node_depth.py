"""The node with a depth image, over real DDS."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
pytest.importorskip("tf2_msgs")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from hand_recon_ros.msg import Hand, TwoHands  # noqa: E402
from ros_support import HEIGHT, WIDTH, NodeOnDds, camera_info, estimate_of, image_message  # noqa: E402

from hand_recon_ros.types import ScaleSource  # noqa: E402


@pytest.fixture
def dds() -> Iterator[NodeOnDds]:
    with NodeOnDds(use_depth=True) as made:
        made.send_info(camera_info())
        yield made


def send_depth(dds: NodeOnDds, stamp: float, millimetres: int = 500, **fields: Any) -> None:
    """Publish a depth image and see that it arrived."""
    image = np.full((HEIGHT, WIDTH), millimetres, np.uint16)
    before = dds.node.inputs.depth_image
    dds.send(image_message(image, "16UC1", **fields), stamp, "depth")
    dds.wait(lambda: dds.node.inputs.depth_image is not before, "the depth image")


def test_each_image_gets_the_depth_of_its_time_and_waits_for_none(dds: NodeOnDds) -> None:
    now = time.time()
    send_depth(dds, now, 500)
    send_depth(dds, now + 0.1, 600)
    dds.process(stamp=now + 0.11)
    dds.process(stamp=now + 0.2)
    send_depth(dds, now + 0.3, 700)
    dds.process(stamp=now + 0.3)
    first, none, last = dds.reconstructor.depths
    assert first is not None and first.shape == (HEIGHT, WIDTH) and first.dtype == np.float32
    np.testing.assert_allclose(first, 0.6, rtol=1e-6)
    assert none is None
    assert last is not None and float(last[0, 0]) == pytest.approx(0.7)
    assert dds.warnings() == []


def test_scale_source_and_stddev_are_published(dds: NodeOnDds) -> None:
    def with_depth(image: Any, camera: Any, stamp: float) -> Any:
        estimate = estimate_of(camera=camera, stamp=stamp)
        left = dataclasses.replace(estimate.left, scale_source=ScaleSource.DEPTH, position_stddev=0.003)
        return dataclasses.replace(estimate, left=left)

    dds.reconstructor.estimate = with_depth
    hands = dds.listen(TwoHands, "/hand_recon/hands")
    dds.process()
    message = dds.wait(lambda: hands and hands[-1], "the hands")
    assert (message.left.scale_source, message.right.scale_source) == (Hand.DEPTH, Hand.PRIOR)
    assert message.left.position_stddev == pytest.approx(0.003)


def test_depth_of_another_size_is_refused_with_both_topics(dds: NodeOnDds) -> None:
    diagnostics = dds.listen(DiagnosticArray, "/diagnostics")
    now = time.time() - 3.0
    for number in range(3):
        image = np.full((HEIGHT // 2, WIDTH // 2), 500, np.uint16)
        before = dds.node.inputs.depth_image
        dds.send(image_message(image, "16UC1"), now + number, "depth")
        dds.wait(lambda before=before: dds.node.inputs.depth_image is not before, "the depth image")
        dds.process(stamp=now + number)
    assert dds.node.counters.processed == 3 and dds.reconstructor.depths == [None] * 3
    (line,) = dds.warnings()
    for word in ("/depth", "/image", f"{WIDTH // 2}x{HEIGHT // 2}", f"{WIDTH}x{HEIGHT}", "aligned_depth_to_color"):
        assert word in line
    begin = len(diagnostics)
    status = dds.wait(lambda: len(diagnostics) > begin and diagnostics[-1].status[0], "diagnostics")
    assert status.level == DiagnosticStatus.WARN and line in status.message


def test_without_use_depth_nothing_is_subscribed() -> None:
    with NodeOnDds() as dds:
        dds.send_info(camera_info())
        assert dds.node.count_subscribers("/depth") == 0
        dds.process()
        assert dds.reconstructor.depths == [None]
        assert not dds.set_parameters(use_depth=True).successful
        assert dds.set_parameters(depth_slop=0.1).successful
