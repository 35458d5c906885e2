"""The service ~/reconstruct over real DDS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.srv", reason="the package's services are not built")
pytest.importorskip("tf2_msgs")

from hand_recon_ros.msg import Hand, TwoHands  # noqa: E402
from hand_recon_ros.srv import Reconstruct  # noqa: E402
from ros_support import HEIGHT, WIDTH, NodeOnDds, camera_info, estimate_of, image_message  # noqa: E402
from sensor_msgs.msg import CameraInfo  # noqa: E402

NAME = "/hand_recon/reconstruct"


@pytest.fixture(scope="module")
def shared() -> Iterator[NodeOnDds]:
    with NodeOnDds() as made:
        yield made


@pytest.fixture
def dds(shared: NodeOnDds) -> NodeOnDds:
    shared.reconstructor.estimate = lambda image, camera, stamp: estimate_of(camera=camera, stamp=stamp)
    return shared


def test_the_hands_of_an_image_without_a_stream(dds: NodeOnDds) -> None:
    """The node has had no image and no camera_info of its own."""
    hands = dds.listen(TwoHands, "/hand_recon/hands")
    seen: list[Any] = []

    def estimate(image: Any, camera: Any, stamp: float) -> Any:
        seen.append((image, camera))
        return estimate_of(left=False, camera=camera)

    dds.reconstructor.estimate = estimate
    picture = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    image = image_message(picture, frame_id="tool_camera")
    image.header.stamp.sec = 7
    response = dds.call(Reconstruct, NAME, Reconstruct.Request(image=image, camera_info=camera_info()))
    assert response.success and response.message == ""
    assert response.hands.header == image.header
    assert (response.hands.left.state, response.hands.right.state) == (Hand.LOST, Hand.TRACKED)
    expected = estimate_of().right
    found = [(p.position.x, p.position.y, p.position.z) for p in response.hands.right.joints]
    np.testing.assert_allclose(found, expected.joints, atol=1e-6)
    np.testing.assert_array_equal(seen[0][0], picture)
    assert seen[0][1].calibrated and hands == []


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"image": image_message(encoding="nonsense"), "camera_info": camera_info()}, "encoding"),
        ({"camera_info": camera_info()}, "the request's image"),
        ({"image": image_message()}, "the request's camera_info"),
        ({"image": image_message(), "camera_info": CameraInfo(k=[float("nan")] * 9, width=WIDTH, height=HEIGHT)}, "K"),
    ],
)
def test_requests_that_cannot_be_used(dds: NodeOnDds, fields: dict[str, Any], text: str) -> None:
    calls = len(dds.reconstructor.calls)
    response = dds.call(Reconstruct, NAME, Reconstruct.Request(**fields))
    assert not response.success and text in response.message
    assert len(dds.reconstructor.calls) == calls


def test_without_intrinsics_a_field_of_view_is_assumed(dds: NodeOnDds) -> None:
    dds.set_parameters(fallback_fov=60.0)
    try:
        response = dds.call(Reconstruct, NAME, Reconstruct.Request(image=image_message()))
    finally:
        dds.set_parameters(fallback_fov=0.0)
    assert response.success and not response.hands.calibrated
    assert dds.reconstructor.calls[-1][1].K[0, 0] == pytest.approx(WIDTH / 2 / np.tan(np.radians(30.0)))


def test_a_failure_is_the_answer(dds: NodeOnDds) -> None:
    def fail(image: Any, camera: Any, stamp: float) -> Any:
        raise RuntimeError("out of luck")

    dds.reconstructor.estimate = fail
    response = dds.call(Reconstruct, NAME, Reconstruct.Request(image=image_message(), camera_info=camera_info()))
    assert not response.success and response.message == "RuntimeError: out of luck"
