"""The node over real DDS: what it publishes, value by value, its life cycle, parameters and services."""

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

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from geometry_msgs.msg import PoseArray, PoseStamped, PoseWithCovarianceStamped, TwistStamped  # noqa: E402
from hand_recon_ros.msg import Hand, TwoHandMeshes, TwoHands  # noqa: E402
from rcl_interfaces.srv import DescribeParameters  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from ros_support import NodeOnDds, camera_info, estimate_of, hand_model, image_message  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image, JointState, PointCloud2  # noqa: E402
from shape_msgs.msg import Mesh  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402
from visualization_msgs.msg import Marker, MarkerArray  # noqa: E402

from hand_recon_ros.conversions.wrist_motion import wrist_covariance  # noqa: E402
from hand_recon_ros.ros import topics  # noqa: E402
from hand_recon_ros.ros.images import decode  # noqa: E402
from hand_recon_ros.ros.parameters import table  # noqa: E402
from hand_recon_ros.types import Side, TwoHandEstimate  # noqa: E402

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE)


@pytest.fixture(scope="module")
def shared() -> Iterator[NodeOnDds]:
    with NodeOnDds(marker_rate=240.0, debug_image_rate=240.0) as dds:
        dds.send_info(camera_info())
        yield dds


@pytest.fixture
def dds(shared: NodeOnDds) -> NodeOnDds:
    """The shared node, seeing both hands, at its start parameters."""
    script = shared.reconstructor
    script.estimate = lambda image, camera, stamp: estimate_of(camera=camera, stamp=stamp)
    script.delay = 0.0
    return shared


def test_hands_have_the_stamp_and_frame_of_their_image(dds: NodeOnDds) -> None:
    hands = dds.listen(TwoHands, "/hand_recon/hands")
    wrists = {side: dds.listen(PoseStamped, f"/hand_recon/{side}/wrist") for side in ("left", "right")}
    stamps = [dds.process() for _ in range(3)]
    dds.wait(lambda: len(hands) == 3 and all(len(each) == 3 for each in wrists.values()), "three results")
    assert [m.header.stamp for m in hands] == stamps
    assert {m.header.frame_id for m in hands} == {"camera"}
    expected = estimate_of()
    for message in hands:
        assert (message.left.side, message.right.side) == (Hand.LEFT, Hand.RIGHT)
        assert (message.left.state, message.right.state) == (Hand.TRACKED, Hand.TRACKED)
        assert message.calibrated and not message.refined
        assert message.hand_model == hand_model().name
        assert message.latency > 0.0
        assert message.inference_time == pytest.approx(0.002)
        for slot, hand in ((message.left, expected.left), (message.right, expected.right)):
            joints = np.array([[p.position.x, p.position.y, p.position.z] for p in slot.joints])
            np.testing.assert_allclose(joints, hand.joints, atol=1e-9)  # metres, keypoint order
            np.testing.assert_allclose(slot.keypoints_2d.reshape(21, 2), hand.keypoints_2d, atol=1e-3)  # pixels
            assert np.isfinite(slot.pose).all()
    for side, slot in (("left", "left"), ("right", "right")):
        assert [w.header for w in wrists[side]] == [m.header for m in hands]
        assert wrists[side][0].pose == getattr(hands[0], slot).wrist


def test_covariance_and_velocity_of_the_wrists(dds: NodeOnDds) -> None:
    kinds = {"wrist_with_covariance": PoseWithCovarianceStamped, "wrist_velocity": TwistStamped}
    heard = {name: dds.listen(kind, f"/hand_recon/right/{name}") for name, kind in kinds.items()}
    wrists = dds.listen(PoseStamped, "/hand_recon/right/wrist")
    velocity = np.array([0.2, -0.1, 0.05])

    def moving(image: Any, camera: Any, stamp: float) -> TwoHandEstimate:
        estimate = estimate_of(camera=camera, stamp=stamp)
        pose = estimate.right.wrist_pose.copy()
        pose[:3, 3] += velocity * (stamp % 1000.0)
        right = dataclasses.replace(estimate.right, wrist_pose=pose)
        return dataclasses.replace(estimate, right=right)

    dds.reconstructor.estimate = moving
    stamps = [dds.process() for _ in range(4)]
    dds.wait(lambda: len(heard["wrist_velocity"]) == 3 and len(wrists) == 4, "velocities from the second image on")
    assert [m.header.stamp for m in heard["wrist_velocity"]] == stamps[1:]
    for message in heard["wrist_velocity"]:
        linear, angular = message.twist.linear, message.twist.angular
        assert message.header.frame_id == "camera"
        np.testing.assert_allclose([linear.x, linear.y, linear.z], velocity, atol=1e-3)
        np.testing.assert_allclose([angular.x, angular.y, angular.z], 0.0, atol=1e-6)
    hand = estimate_of().right
    for message, wrist in zip(heard["wrist_with_covariance"], wrists, strict=True):
        assert message.header == wrist.header and message.pose.pose == wrist.pose
        covariance = message.pose.covariance.reshape(6, 6)
        ray = hand.joints[0] / np.linalg.norm(hand.joints[0])
        assert ray @ covariance[:3, :3] @ ray == pytest.approx(hand.position_stddev**2)
        np.testing.assert_allclose(covariance, wrist_covariance(hand, hand, np.zeros(3)), atol=1e-12)
    dds.reconstructor.estimate = lambda image, camera, stamp: estimate_of(right=False, stamp=stamp)
    left = dds.listen(TwistStamped, "/hand_recon/left/wrist_velocity")
    dds.process()
    dds.process()
    dds.wait(lambda: left, "the velocity of the left wrist")
    assert (len(heard["wrist_velocity"]), len(heard["wrist_with_covariance"])) == (3, 4)


def test_a_lost_hand_keeps_its_slot_and_ends_everything_else(dds: NodeOnDds) -> None:
    hands = dds.listen(TwoHands, "/hand_recon/hands")
    wrist = dds.listen(PoseStamped, "/hand_recon/right/wrist")
    poses = dds.listen(PoseArray, "/hand_recon/right/poses")
    markers = dds.listen(MarkerArray, "/hand_recon/markers")
    meshes = dds.listen(TwoHandMeshes, "/hand_recon/meshes")
    points = dds.listen(PointCloud2, "/hand_recon/points")
    angles = dds.listen(JointState, "/hand_recon/joint_states")
    tf = dds.listen(TFMessage, "/tf")
    dds.process()
    dds.reconstructor.estimate = lambda image, camera, stamp: estimate_of(right=False, stamp=stamp)
    dds.process()
    dds.process()
    dds.reconstructor.estimate = lambda image, camera, stamp: estimate_of(False, False, stamp=stamp)
    dds.process()
    received = {
        "hands": hands,
        "meshes": meshes,
        "poses": poses,
        "markers": markers,
        "angles": angles,
        "points": points,
    }
    dds.wait(lambda: all(len(of) == 4 for of in received.values()) and len(tf) == 3, "four results")
    assert [(m.left.state, m.right.state) for m in hands] == [(1, 1), (1, 0), (1, 0), (0, 0)]
    assert hands[1].right == Hand(side=Hand.RIGHT)
    assert len(wrist) == 1
    assert [len(m.poses) for m in poses] == [21, 0, 0, 0]
    assert [m.header for m in angles] == [m.header for m in hands]
    assert [{name.split("_")[0] for name in m.name} for m in angles] == [{"left", "right"}, {"left"}, {"left"}, set()]
    assert [len(m.position) for m in angles] == [40, 20, 20, 0]
    assert [m.header for m in points] == [m.header for m in hands]
    assert [m.width // hand_model().num_vertices for m in points] == [2, 1, 1, 0]
    assert [(m.left_valid, m.right_valid) for m in meshes] == [
        (True, True),
        (True, False),
        (True, False),
        (False, False),
    ]
    vertices = np.array(meshes[0].left_vertices).reshape(-1, 3)
    np.testing.assert_allclose(vertices, estimate_of().left.vertices, atol=1e-6)
    # One message per image with all hands in it, none without a hand.
    assert [[t.child_frame_id for t in m.transforms] for m in tf] == [
        ["human_left_wrist", "human_right_wrist"],
        ["human_left_wrist"],
        ["human_left_wrist"],
    ]
    assert all(t.header == m.header for m, message in zip(hands, tf, strict=False) for t in message.transforms)
    actions = [[(m.ns, m.action) for m in message.markers if m.id == 0] for message in markers]
    assert actions == [
        [("left", Marker.ADD), ("right", Marker.ADD)],
        [("right", Marker.DELETE), ("left", Marker.ADD)],
        [("left", Marker.ADD)],
        [("left", Marker.DELETE)],
    ]
    assert all(m.header.frame_id == "camera" for message in markers for m in message.markers)


def test_a_loss_is_shown_at_once_whatever_the_marker_rate(dds: NodeOnDds) -> None:
    markers = dds.listen(MarkerArray, "/hand_recon/markers")
    dds.process()
    assert dds.set_parameters(marker_rate=1.0).successful
    dds.process()
    dds.reconstructor.estimate = lambda image, camera, stamp: estimate_of(right=False, stamp=stamp)
    dds.process()
    dds.wait(lambda: markers and markers[-1].markers[0].action == Marker.DELETE, "DELETE")
    assert len(markers) <= 3
    assert {m.ns for m in markers[-1].markers} == {"right"}
    assert dds.set_parameters(marker_rate=240.0).successful


def test_lazy_topics_cost_nothing_without_subscribers(dds: NodeOnDds, monkeypatch: pytest.MonkeyPatch) -> None:
    from hand_recon_ros.ros import drawings, outputs

    for subscription in list(dds.client.subscriptions):
        if subscription.topic_name.startswith("/hand_recon"):
            dds.client.destroy_subscription(subscription)
    lazy = {topic.name.replace("~", "/hand_recon") for topic in topics.OUTPUTS if topic.lazy}
    publishers = [publisher for publisher in dds.node.publishers if publisher.topic_name in lazy]
    assert len(publishers) == len(lazy)
    dds.wait(lambda: not any(publisher.get_subscription_count() for publisher in publishers), "the subscribers to go")
    for module, name in (
        (outputs.messages, "build_poses_message"),
        (outputs.messages, "build_joint_state_message"),
        (outputs.messages, "build_meshes_message"),
        (outputs.messages, "build_points_message"),
        (drawings, "build_image_message"),
        (drawings, "build_compressed_image_message"),
        (drawings.HandMarkers, "add"),
    ):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("built without a subscriber"))
    processed = dds.node.counters.processed
    dds.process()
    assert dds.node.counters.processed == processed + 1


def test_topology_is_latched(dds: NodeOnDds) -> None:
    for side in Side:
        (mesh,) = (lambda got: dds.wait(lambda: got, "the topology") and got)(
            dds.listen(Mesh, f"/hand_recon/{side.label}/mesh_topology", LATCHED)
        )
        faces = np.array([t.vertex_indices for t in mesh.triangles])
        np.testing.assert_array_equal(faces, hand_model().faces(side))
        assert len(mesh.vertices) == hand_model().num_vertices
        width = np.ptp([v.x for v in mesh.vertices])
        assert 0.05 < width < 0.3  # metres


def test_debug_images_show_the_hands(dds: NodeOnDds) -> None:
    pytest.importorskip("hand_recon_ros.overlay")
    raw = dds.listen(Image, "/hand_recon/debug_image")
    jpeg = dds.listen(CompressedImage, "/hand_recon/debug_image/compressed")
    stamp = dds.process()
    dds.wait(lambda: raw and jpeg, "both debug images")
    picture = decode(raw[0])
    assert raw[0].header.stamp == stamp
    x, y = estimate_of().right.keypoints_2d[9].astype(int)
    assert picture[y, x].max() > 50, "the overlay covers the middle MCP of the right hand on black"
    assert np.abs(decode(jpeg[0]).astype(int) - picture).mean() < 5
    dds.unlisten(raw)
    dds.unlisten(jpeg)


def test_tf_of_whole_hands_and_none(dds: NodeOnDds) -> None:
    tf = dds.listen(TFMessage, "/tf")
    assert dds.set_parameters(publish_tf="full", tf_prefix="me_").successful
    dds.process()
    dds.wait(lambda: tf, "/tf")
    names = [t.child_frame_id for t in tf[0].transforms]
    assert len(names) == len(set(names)) == 42
    assert {"me_left_wrist", "me_right_thumb_cmc", "me_left_index_mcp", "me_right_pinky_tip"} <= set(names)
    parents = {t.child_frame_id: t.header.frame_id for t in tf[0].transforms}
    assert parents["me_left_wrist"] == "camera"
    assert parents["me_left_index_pip"] == "me_left_index_mcp"
    assert parents["me_left_index_mcp"] == "me_left_wrist"
    assert dds.set_parameters(publish_tf=False).successful  # what `ros2 param set ... publish_tf off` sends
    assert dds.node.get_parameter("publish_tf").value == "off"
    dds.process()
    time.sleep(0.1)
    assert len(tf) == 1
    assert dds.set_parameters(publish_tf="wrist", tf_prefix="human_").successful


def test_values_that_are_not_finite_are_not_published(dds: NodeOnDds) -> None:
    hands = dds.listen(TwoHands, "/hand_recon/hands")

    def broken(image: np.ndarray, camera: object, stamp: float) -> object:
        estimate = estimate_of(stamp=stamp)
        return dataclasses.replace(estimate, left=dataclasses.replace(estimate.left, joints=np.full((21, 3), np.nan)))

    dds.reconstructor.estimate = broken
    dds.process()
    dds.process()
    dds.wait(lambda: len(hands) == 2, "two results")
    assert [(m.left.state, m.right.state) for m in hands] == [(Hand.LOST, Hand.TRACKED)] * 2
    assert hands[0].left == Hand(side=Hand.LEFT)
    assert len([text for text in dds.warnings() if "left hand holds values that are not finite" in text]) == 1


def test_an_exception_of_the_reconstruction_is_logged_once_and_survived(dds: NodeOnDds) -> None:
    hands = dds.listen(TwoHands, "/hand_recon/hands")

    def failing(image: np.ndarray, camera: object, stamp: float) -> object:
        raise RuntimeError("no such luck")

    dds.reconstructor.estimate = failing
    resets = dds.reconstructor.resets
    for _ in range(3):
        dds.process()
    (text,) = [text for text in dds.warnings() if "no such luck" in text]
    assert "RuntimeError" in text and "test_ros_node.py:" in text and "\n" not in text
    assert dds.reconstructor.resets == resets + 3
    dds.reconstructor.estimate = lambda image, camera, stamp: estimate_of(stamp=stamp)
    stamp = dds.process()
    dds.wait(lambda: hands, "a result")
    assert [m.header.stamp for m in hands] == [stamp]


def test_bad_parameters_are_refused_with_a_reason(dds: NodeOnDds) -> None:
    before = {name: dds.node.get_parameter(name).value for name in table()}
    for values, words in (
        ({"marker_rate": 500.0}, ["marker_rate", "500", "240"]),
        ({"publish_tf": "everything"}, ["publish_tf", "'everything'", "'full'"]),
        ({"min_presence": -0.1}, ["min_presence", "-0.1"]),
        ({"fallback_fov": 0.5}, ["fallback_fov", "0.5", "[1, 175]"]),
        ({"tf_prefix": "a b"}, ["tf_prefix", "'a b'"]),
        ({"detection_interval": -1.0}, ["detection_interval", "-1"]),
        ({"threads": 3}, ["threads", "read-only"]),
        ({"debug_image_quality": "good"}, ["type"]),
        # All or nothing: the good one is not set either.
        ({"min_detection_score": 0.6, "solver_iterations": 99}, ["solver_iterations", "99"]),
    ):
        result = dds.set_parameters(**values)
        assert not result.successful, values
        for word in words:
            assert word in result.reason, result.reason
    assert {name: dds.node.get_parameter(name).value for name in table()} == before
    assert dds.reconstructor.settings == {}


def test_live_parameters_reach_the_reconstruction_with_the_next_image(dds: NodeOnDds) -> None:
    assert dds.set_parameters(min_presence=0.7, smoothing_cutoff=3).successful  # the integer becomes a float
    assert dds.node.get_parameter("smoothing_cutoff").value == 3.0
    dds.process()
    assert dds.reconstructor.settings == {"min_presence": 0.7, "smoothing_cutoff": 3.0}
    assert dds.set_parameters(min_presence=0.5, smoothing_cutoff=2.0).successful
    dds.process()


def test_parameters_describe_themselves(dds: NodeOnDds) -> None:
    request = DescribeParameters.Request(names=list(table()))
    descriptors = dds.call(DescribeParameters, "/hand_recon/describe_parameters", request).descriptors
    for descriptor, (entry, default) in zip(descriptors, table().values(), strict=True):
        assert descriptor.description.startswith(entry.description)
        assert descriptor.read_only == (not entry.live)
        assert descriptor.type == {bool: 1, int: 2, float: 3, str: 4}[type(default)]


def test_reset_tracking(dds: NodeOnDds) -> None:
    markers = dds.listen(MarkerArray, "/hand_recon/markers")
    dds.process()
    resets = dds.reconstructor.resets
    response = dds.call(Trigger, "/hand_recon/reset_tracking", Trigger.Request())
    assert response.success and "forgotten" in response.message
    assert dds.reconstructor.resets == resets + 1
    dds.wait(lambda: markers and markers[-1].markers[0].action == Marker.DELETE, "the markers to be deleted")


def test_set_enabled_pauses_and_goes_on(dds: NodeOnDds) -> None:
    hands = dds.listen(TwoHands, "/hand_recon/hands")
    dds.process()
    response = dds.call(SetBool, "/hand_recon/set_enabled", SetBool.Request(data=False))
    assert response.success
    images = dds.publisher(Image, "image")
    dds.wait(lambda: images.get_subscription_count() == 0, "the node to leave")
    dds.send(image_message())
    time.sleep(0.2)
    assert [(m.left.state, m.right.state) for m in hands] == [(1, 1), (0, 0)], "the last word is LOST"
    assert hands[1].header == hands[0].header and np.isnan(hands[1].latency)
    for _ in range(2):  # a second time changes nothing
        assert dds.call(SetBool, "/hand_recon/set_enabled", SetBool.Request(data=True)).success
    dds.wait(lambda: images.get_subscription_count() == 1, "the node to come back")
    dds.publisher(type(camera_info()), "camera_info")
    time.sleep(0.2)
    dds.process()
    dds.wait(lambda: len(hands) == 3, "a result")


def test_a_flood_is_dropped_counted_and_not_queued(dds: NodeOnDds) -> None:
    hands = dds.listen(TwoHands, "/hand_recon/hands", 1000)
    dropped = dds.node.inputs.dropped
    counters = dds.node.counters
    received, processed = counters.received, counters.processed
    dds.reconstructor.delay = 0.03
    message = image_message()
    for _ in range(1000):  # 200 Hz, until enough got through to the node: of best-effort images DDS loses some as well
        dds.send(message)
        time.sleep(0.005)
        if counters.received - received > 150 and dds.node.inputs.dropped - dropped > 100:
            break
    dds.wait(
        lambda: counters.processed + dds.node.inputs.dropped - processed - dropped == counters.received - received,
        "rest",
    )
    dds.wait(lambda: hands and hands[-1].dropped == dds.node.inputs.dropped, "the last result")
    assert counters.received - received > 150
    assert len(hands) >= 5
    assert hands[-1].dropped - dropped > 100
    assert [m.dropped for m in hands] == sorted(m.dropped for m in hands)


def test_diagnostics_hold_state_rates_and_problems(dds: NodeOnDds) -> None:
    diagnostics = dds.listen(DiagnosticArray, "/diagnostics")
    for _ in range(20):
        dds.process()
        time.sleep(0.02)
    dds.wait(lambda: diagnostics, "diagnostics", timeout=3.0)
    (status,) = diagnostics[-1].status
    values = {pair.key: pair.value for pair in status.values}
    assert status.hardware_id == "/image"
    assert values["state"] == "active"
    assert float(values["images processed per second"]) > 0.0
    assert (values["left hand"], values["right hand"], values["calibrated"]) == ("tracked", "tracked", "true")
    assert 0.0 < float(values["latency p50 (ms)"]) <= float(values["latency p95 (ms)"])
    assert int(values["images dropped"]) == dds.node.inputs.dropped
    dds.process(image_message(step=1))
    bad = dds.wait(lambda: [m for m in diagnostics if "step is 1 bytes" in m.status[0].message], "the problem")
    assert bad[0].status[0].level != b"\0"


def test_diagnostics_can_be_switched_off_and_on(dds: NodeOnDds) -> None:
    diagnostics = dds.listen(DiagnosticArray, "/diagnostics")
    dds.wait(lambda: diagnostics, "diagnostics", timeout=3.0)
    assert dds.set_parameters(diagnostics=False).successful
    came = len(diagnostics)
    time.sleep(2.5)
    assert len(diagnostics) <= came + 1  # one may have been on its way
    assert dds.set_parameters(diagnostics=True).successful
    came = len(diagnostics)
    dds.wait(lambda: len(diagnostics) > came, "diagnostics again", timeout=3.0)


def test_topics_are_those_of_the_table(dds: NodeOnDds) -> None:
    found = dict(dds.node.get_publisher_names_and_types_by_node("hand_recon", "/"))
    for topic in topics.OUTPUTS:
        name = topic.name.replace("~", "/hand_recon")
        assert found[name] == [topic.type.replace("/", "/msg/")]
    ours = {name for name in found if name.startswith("/hand_recon/") and "transition_event" not in name}
    assert ours == {t.name.replace("~", "/hand_recon") for t in topics.OUTPUTS if t.name.startswith("~")}
    # Services that wait have a node of their own.
    nodes = ("hand_recon", "_hand_recon_services")
    services = {k: v for node in nodes for k, v in dds.node.get_service_names_and_types_by_node(node, "/")}
    for name, (kind, _) in topics.SERVICES.items():
        assert services[name.replace("~", "/hand_recon")] == [kind.replace("/", "/srv/")]
    subscribed = dict(dds.node.get_subscriber_names_and_types_by_node("hand_recon", "/"))
    assert {"/image", "/camera_info"} <= set(subscribed)
    (image,) = dds.client.get_subscriptions_info_by_topic("/image")
    assert image.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
