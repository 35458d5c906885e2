"""The node's life cycle, its start parameters, names and QoS, over real DDS; each test has a node of its own."""

from __future__ import annotations

import array
import time
from typing import Any

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")
pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
pytest.importorskip("tf2_msgs")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from hand_recon_ros.msg import TwoHands  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from ros_support import CAMERA, HEIGHT, WIDTH, NodeOnDds, ScriptedReconstructor, camera_info, image_message  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402
from visualization_msgs.msg import Marker, MarkerArray  # noqa: E402

from hand_recon_ros.config import ConfigError  # noqa: E402
from hand_recon_ros.ros.images import build_compressed_image_message  # noqa: E402

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE)


def test_the_life_cycle_loads_once_and_stops_on_deactivation() -> None:
    with NodeOnDds(activate=False) as dds:

        def change(transition: int) -> bool:
            request = ChangeState.Request(transition=Transition(id=transition))
            return bool(dds.call(ChangeState, "/hand_recon/change_state", request).success)

        def state() -> str:
            return str(dds.call(GetState, "/hand_recon/get_state", GetState.Request()).current_state.label)

        assert state() == "unconfigured"
        assert not dds.made
        assert not dds.call(Trigger, "/hand_recon/reset_tracking", Trigger.Request()).success
        enabled = dds.call(SetBool, "/hand_recon/set_enabled", SetBool.Request(data=True))
        assert not enabled.success and "unconfigured" in enabled.message

        assert change(Transition.TRANSITION_CONFIGURE) and state() == "inactive"
        assert (len(dds.made), dds.made[0].warm_ups) == (1, 1)
        assert dds.node.count_subscribers("/image") == 0
        assert dds.set_parameters(min_presence=0.9).successful  # while inactive: applied with the first image

        assert change(Transition.TRANSITION_ACTIVATE) and state() == "active"
        hands = dds.listen(TwoHands, "/hand_recon/hands")
        markers = dds.listen(MarkerArray, "/hand_recon/markers")
        dds.send_info(camera_info())
        dds.process()
        dds.wait(lambda: hands and markers, "a result")
        assert dds.reconstructor.settings == {"min_presence": 0.9}

        assert change(Transition.TRANSITION_DEACTIVATE) and state() == "inactive"
        dds.wait(lambda: markers[-1].markers[0].action == Marker.DELETE, "the markers to be deleted")
        dds.wait(lambda: dds.publisher(Image, "image").get_subscription_count() == 0, "the subscription to end")
        dds.send(image_message())
        time.sleep(0.1)
        assert len(hands) == 2
        assert hands[1].header == hands[0].header and [h.state for h in (hands[1].left, hands[1].right)] == [0, 0]

        assert change(Transition.TRANSITION_ACTIVATE) and state() == "active"
        assert len(dds.made) == 1, "nothing is loaded again on activate"
        dds.wait(lambda: dds.publisher(Image, "image").get_subscription_count(), "the subscription")
        time.sleep(0.2)
        dds.send_info(camera_info())
        dds.process()
        dds.wait(lambda: len(hands) == 3, "a result")

        assert change(Transition.TRANSITION_DEACTIVATE) and change(Transition.TRANSITION_CLEANUP)
        assert state() == "unconfigured"
        dds.wait(lambda: dds.client.count_publishers("/hand_recon/hands") == 0, "the publishers to go")
        assert change(Transition.TRANSITION_CONFIGURE) and len(dds.made) == 2
        assert change(Transition.TRANSITION_ACTIVATE) and change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
        assert state() == "finalized"


def test_a_failure_to_configure_is_logged_and_can_be_repeated() -> None:
    class Broken(RuntimeError):
        pass

    Broken.__module__ = "hand_recon_ros.runtime"
    failures = [Broken("hand_landmark_full.tflite is missing: run hand-recon models"), Broken("no such hand model")]

    def make(config: Any) -> ScriptedReconstructor:
        if failures:
            raise failures.pop(0)
        return ScriptedReconstructor(config)

    with NodeOnDds(activate=False, make=make) as dds:
        request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
        assert not dds.call(ChangeState, "/hand_recon/change_state", request).success
        assert dds.node.state == "unconfigured"
        assert dds.logged("ERROR") == ["cannot configure: hand_landmark_full.tflite is missing: run hand-recon models"]
        diagnostics = dds.listen(DiagnosticArray, "/diagnostics")
        (status,) = dds.wait(lambda: diagnostics and diagnostics[0].status, "diagnostics", timeout=3.0)
        assert status.level == b"\2" and "hand-recon models" in status.message
        assert not dds.call(ChangeState, "/hand_recon/change_state", request).success
        assert dds.logged("ERROR")[1:] == ["cannot configure: no such hand model"], "each attempt has its reason"
        assert dds.call(ChangeState, "/hand_recon/change_state", request).success
        assert dds.node.state == "inactive"
        assert dds.node.problems.active() == []


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"marker_rate": 1000.0}, ["marker_rate", "1000"]),
        ({"publish_tf": "some"}, ["publish_tf", "'some'"]),
        ({"threads": "many"}, ["threads", "int", "'many'"]),
    ],
)
def test_bad_start_parameters_end_the_node_with_a_reason(parameters: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        NodeOnDds(activate=False, **parameters)
    for word in words:
        assert word in str(error.value)


def test_compressed_images_names_and_namespace_are_configurable() -> None:
    arguments = (
        "-r",
        "__ns:=/robot",
        "-r",
        "image/compressed:=/cam/jpeg",
        "-p",
        "fallback_fov:=60",
        "-p",
        "publish_tf:=off",
    )
    with NodeOnDds(use_compressed=True, arguments=arguments) as dds:
        assert dds.node.get_parameter("fallback_fov").value == 60.0
        assert dds.node.get_parameter("publish_tf").value == "off"
        hands = dds.listen(TwoHands, "/robot/hand_recon/hands")
        picture = np.full((240, 320, 3), 90, np.uint8)
        message = build_compressed_image_message(picture, 90, image_message().header)
        dds.process(message, topic="/cam/jpeg")
        dds.wait(lambda: hands, "a result")
        assert not hands[0].calibrated
        assert dds.reconstructor.calls[0][0] == (240, 320, 3)


def test_an_incompatible_qos_is_logged() -> None:
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    with NodeOnDds(image_reliability="reliable") as dds:
        dds.client.create_publisher(Image, "image", best_effort)
        dds.wait(lambda: any("/image" in text and "RELIABILITY" in text for text in dds.warnings()), "the warning")
        dds.client.create_subscription(TwoHands, "/hand_recon/hands", lambda _: None, LATCHED)
        dds.wait(lambda: any("/hands" in text and "DURABILITY" in text for text in dds.warnings()), "the warning")
        logged = [text for text in dds.warnings() if "QoS" in text]
        assert len(logged) == 2
        assert all("qos_overrides" in text for text in logged)


def test_qos_overrides_count() -> None:
    arguments = ("-p", "qos_overrides./image.subscription.reliability:=reliable")
    with NodeOnDds(arguments=arguments) as dds:
        dds.wait(lambda: dds.client.get_subscriptions_info_by_topic("/image"), "the subscription")
        (image,) = dds.client.get_subscriptions_info_by_topic("/image")
        assert image.qos_profile.reliability == ReliabilityPolicy.RELIABLE


def test_unknown_parameters_are_pointed_out(capfd: pytest.CaptureFixture[str]) -> None:
    with NodeOnDds(activate=False, smoothing_cutof=2.0) as dds:
        assert not dds.node.has_parameter("smoothing_cutof")
    log = capfd.readouterr().err
    assert "unknown parameter 'smoothing_cutof' is ignored; did you mean 'smoothing_cutoff'?" in log


def test_images_without_camera_info_wait_or_take_the_fallback() -> None:
    with NodeOnDds() as dds:
        hands, tf = dds.listen(TwoHands, "/hand_recon/hands"), dds.listen(TFMessage, "/tf")
        dds.process()
        assert dds.warnings() == [], "camera_info may come a moment later"
        time.sleep(1.0)
        for _ in range(3):
            dds.process()
        (text,) = dds.warnings()
        assert all(word in text for word in ("/camera_info", "/image", "fallback_fov"))
        assert not hands

        assert dds.set_parameters(fallback_fov=60).successful
        for _ in range(3):
            dds.process()
        dds.wait(lambda: len(hands) == 3, "three results")
        assert not any(m.calibrated for m in hands)
        assert not tf, "no transforms from guessed intrinsics"
        assert len(dds.warnings()) == 2 and "guess" in dds.warnings()[1]
        used = dds.reconstructor.calls[-1][1]
        assert used.K[0, 0] == pytest.approx(WIDTH / 2 / np.tan(np.radians(30.0)))

        dds.send_info(camera_info())
        dds.process()
        dds.wait(lambda: len(hands) == 4 and tf, "a calibrated result")
        assert hands[-1].calibrated
        np.testing.assert_array_equal(dds.reconstructor.calls[-1][1].K, CAMERA.K)


def test_corrupt_compressed_images() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    jpeg = array.array("B", cv2.imencode(".jpg", noise)[1].tobytes())
    with NodeOnDds(use_compressed=True) as dds:
        dds.node.problems.rearm_after = 0.0
        dds.send_info(camera_info())
        hands = dds.listen(TwoHands, "/hand_recon/hands")
        for data, word in (
            (array.array("B", bytes(1000)), "cannot be decoded"),
            (jpeg[: len(jpeg) // 2], "cut off"),
            (array.array("B"), "no data"),
        ):
            before, count = len(dds.warnings()), len(hands)
            for _ in range(3):
                dds.process(CompressedImage(format="jpeg", data=data), topic="image/compressed")
            new = dds.warnings()[before:]
            assert len(new) == 1 and word in new[0] and "/image/compressed" in new[0]
            assert len(hands) == count
            good = CompressedImage(format="jpeg", data=jpeg)
            good.header.frame_id = "camera"
            dds.process(good, topic="image/compressed")
            dds.wait(lambda count=count: len(hands) == count + 1, "the next good image")
