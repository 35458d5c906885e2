"""The service ~/calibrate_hand over real DDS."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.srv", reason="the package's services are not built")
pytest.importorskip("tf2_msgs")

from evidence import CAMERA as CAMERA_OF_EVIDENCE  # noqa: E402
from evidence import MODEL, hand, observe  # noqa: E402
from hand_recon_ros.msg import TwoHands  # noqa: E402
from hand_recon_ros.srv import CalibrateHand  # noqa: E402
from ros_support import NodeOnDds, camera_info, estimate_of  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402

from hand_recon_ros.lift.lifter import Lifter  # noqa: E402
from hand_recon_ros.lift.shape_prior import ShapePrior  # noqa: E402
from hand_recon_ros.ros import hand_calibration  # noqa: E402
from hand_recon_ros.types import Side  # noqa: E402

NAME = "/hand_recon/calibrate_hand"


@pytest.fixture
def dds() -> Iterator[NodeOnDds]:
    with NodeOnDds() as made:
        made.send_info(camera_info())
        keypoints = hand(1, Side.RIGHT)[3]
        prior = ShapePrior.population()
        (solved,) = Lifter(MODEL)([observe(keypoints, Side.RIGHT)], CAMERA_OF_EVIDENCE)

        def estimate(image: Any, camera: Any, stamp: float) -> Any:
            calibration = getattr(made.reconstructor, "calibration", None)
            if calibration is not None and calibration.side == Side.RIGHT:
                calibration.add(prior, solved, 1.0 / 30.0, 0.9)
            return estimate_of(camera=camera, stamp=stamp)

        made.reconstructor.estimate = estimate
        yield made


def start(dds: NodeOnDds, request: Any) -> list[Any]:
    """Call the service; the list gets the response. Returns once the node has begun with it."""
    responses: list[Any] = []
    client = dds.client.create_client(CalibrateHand, NAME)
    assert client.wait_for_service(5.0)
    client.call_async(request).add_done_callback(lambda future: responses.append(future.result()))
    dds.wait(lambda: hasattr(dds.reconstructor, "calibration"), "the calibration to begin")
    return responses


def test_the_answer_comes_after_the_images_and_the_node_goes_on(dds: NodeOnDds) -> None:
    hands = dds.listen(TwoHands, "/hand_recon/hands", 100)
    responses = start(dds, CalibrateHand.Request(side=CalibrateHand.Request.RIGHT, frames=5, length=0.2))
    for number in range(5):
        assert responses == []
        dds.process()
        dds.wait(lambda number=number: len(hands) == number + 1, "a result")
    dds.wait(lambda: responses, "the answer")
    (response,) = responses
    assert response.success, response.message
    assert response.message.startswith("the right hand is 200 mm long, +-2 mm; used until the node ends, and not kept")
    assert response.scale == pytest.approx(0.2 / 0.19005, rel=1e-3) and response.stddev == pytest.approx(
        0.0105, rel=0.02
    )
    np.testing.assert_allclose(response.betas, dds.reconstructor.used.betas, atol=1e-6)


def test_a_hand_that_is_not_seen_is_an_error_after_a_while(dds: NodeOnDds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hand_calibration, "PATIENCE", 0.5)
    response = dds.call(CalibrateHand, NAME, CalibrateHand.Request(side=CalibrateHand.Request.LEFT))
    assert not response.success
    assert response.message == "the left hand was not seen for 0.5 s; 0 of 90 images were taken"


def test_a_node_that_is_deactivated_answers(dds: NodeOnDds) -> None:
    responses = start(dds, CalibrateHand.Request(side=1))
    assert dds.call(SetBool, "/hand_recon/set_enabled", SetBool.Request(data=True)).success
    thread = threading.Thread(target=dds.node.trigger_deactivate)
    thread.start()
    dds.wait(lambda: responses, "the answer")
    thread.join()
    assert not responses[0].success and responses[0].message == "the node was deactivated"
    refused = dds.call(CalibrateHand, NAME, CalibrateHand.Request(side=1))
    assert not refused.success and refused.message == "the node is inactive, activate it first"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"side": 2}, "side must be LEFT"),
        ({"frames": 100000}, "frames must be at most 3000"),
        ({"length": 19.0}, "a hand length of 19 m cannot be used"),
        ({"length": float("nan")}, "a hand length of"),
    ],
)
def test_requests_that_make_no_sense_are_refused(dds: NodeOnDds, fields: dict[str, Any], text: str) -> None:
    response = dds.call(CalibrateHand, NAME, CalibrateHand.Request(**fields))
    assert not response.success and text in response.message


def test_a_file_that_cannot_be_written_is_named(dds: NodeOnDds) -> None:
    def use_calibration(length: float = 0.0) -> Any:
        raise PermissionError(13, "Permission denied", "/calibrations/ann.yaml")

    dds.reconstructor.use_calibration = use_calibration  # type: ignore[method-assign]
    responses = start(dds, CalibrateHand.Request(side=1, frames=1))
    dds.process()
    dds.wait(lambda: responses, "the answer")
    assert not responses[0].success
    assert "the calibration cannot be written" in responses[0].message and "ann.yaml" in responses[0].message
