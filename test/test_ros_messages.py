"""Messages, transforms and markers from hands of known geometry."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")

from builtin_interfaces.msg import Time  # noqa: E402
from geometry_msgs.msg import Pose, TransformStamped  # noqa: E402
from hand_recon_ros.msg import Hand  # noqa: E402
from rclpy.serialization import deserialize_message  # noqa: E402
from ros_support import HEIGHT, WIDTH, estimate_of, hand_estimate, hand_model  # noqa: E402
from scipy.spatial.transform import Rotation  # noqa: E402
from sensor_msgs.msg import PointField  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from visualization_msgs.msg import Marker, MarkerArray  # noqa: E402

from hand_recon_ros.conversions.frames import build_transforms, continuous, hand_poses, relative_poses  # noqa: E402
from hand_recon_ros.conversions.hands import clipped_box, is_finite  # noqa: E402
from hand_recon_ros.geometry.rotations import quaternions  # noqa: E402
from hand_recon_ros.hand_model import from_mano_pose  # noqa: E402
from hand_recon_ros.hand_model.named_angles import ANGLE_NAMES, angles_from_named  # noqa: E402
from hand_recon_ros.ros import messages  # noqa: E402
from hand_recon_ros.ros.images import build_compressed_image_message, build_image_message, decode  # noqa: E402
from hand_recon_ros.ros.markers import HandMarkers  # noqa: E402
from hand_recon_ros.skeleton import BONES, JOINT_NAMES, KEYPOINT_NAMES, KEYPOINT_PARENTS  # noqa: E402
from hand_recon_ros.types import HandEstimate, HandState, Side, TwoHandEstimate  # noqa: E402

HEADER = Header(stamp=Time(sec=12, nanosec=340_000_000), frame_id="camera")


def matrix(pose: Pose) -> np.ndarray:
    result = np.eye(4)
    q = pose.orientation
    result[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    result[:3, 3] = pose.position.x, pose.position.y, pose.position.z
    return result


def two_hands(estimate: TwoHandEstimate, dropped: int = 7) -> object:
    return messages.build_hands_message(estimate, hand_poses(estimate), HEADER, hand_model(), (WIDTH, HEIGHT), dropped)


def test_quaternions_agree_with_scipy_at_all_angles() -> None:
    generator = np.random.default_rng(1)
    axes = generator.normal(size=(200, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    angles = np.concatenate([generator.uniform(0, np.pi, 150), np.full(25, np.pi - 1e-9), np.full(25, 1e-9)])
    rotations = Rotation.from_rotvec(axes * angles[:, None])
    ours, theirs = quaternions(rotations.as_matrix()), rotations.as_quat(canonical=True)
    # At half a turn the sign is free.
    np.testing.assert_allclose(np.abs(np.sum(ours * theirs, axis=1)), 1.0, atol=1e-12)
    np.testing.assert_allclose(ours[:150], theirs[:150], atol=1e-9)
    assert (ours[:, 3] >= 0).all()
    for half_turn in (np.diag([1.0, -1, -1]), np.diag([-1.0, 1, -1]), np.diag([-1.0, -1, 1])):
        np.testing.assert_allclose(np.abs(quaternions(half_turn)), [*np.diag(half_turn > 0).astype(float), 0.0])


def test_hands_message_carries_the_estimate() -> None:
    estimate = estimate_of()
    message = two_hands(estimate)
    assert (message.header, message.hand_model, message.dropped) == (HEADER, hand_model().name, 7)
    assert (message.calibrated, message.refined) == (True, False)
    assert message.inference_time == pytest.approx(0.002)
    for slot, hand in ((message.left, estimate.left), (message.right, estimate.right)):
        assert (slot.side, slot.state, slot.track_id) == (hand.side, Hand.TRACKED, hand.track_id)
        assert (slot.score, slot.side_score) == (pytest.approx(0.9), pytest.approx(0.8))
        joints = np.array([matrix(pose) for pose in slot.joints])
        np.testing.assert_allclose(joints[:, :3, 3], hand.joints, atol=1e-12)
        np.testing.assert_allclose(matrix(slot.wrist), hand.wrist_pose, atol=1e-9)
        np.testing.assert_allclose(matrix(slot.joints[0]), hand.wrist_pose, atol=1e-9)
        for child, parent in enumerate(KEYPOINT_PARENTS):
            if parent > 0:  # x of each joint is the bone to the next
                bone = hand.joints[child] - hand.joints[parent]
                np.testing.assert_allclose(joints[parent, :3, 0], bone / np.linalg.norm(bone), atol=1e-9)
        np.testing.assert_allclose(slot.joint_scores, hand.joint_scores, atol=1e-6)
        np.testing.assert_allclose(slot.keypoints_2d.reshape(21, 2), hand.keypoints_2d, atol=1e-4)
        np.testing.assert_allclose(slot.betas, hand.betas, atol=1e-6)
        translation = slot.translation
        np.testing.assert_allclose([translation.x, translation.y, translation.z], hand.translation)
        np.testing.assert_allclose(from_mano_pose(slot.pose), hand.rotations, atol=1e-6)
        assert slot.position_stddev == pytest.approx(0.012)
        assert slot.pinch_distance == pytest.approx(np.linalg.norm(hand.joints[4] - hand.joints[8]))
        assert 0.0 <= slot.grasp_closure <= 1.0


def test_the_message_feeds_the_hand_model() -> None:
    """pose, betas and translation of the message give the mesh back, as a user would compute it."""
    hand = hand_estimate(Side.RIGHT)
    slot = two_hands(estimate_of()).right
    translation = np.array([slot.translation.x, slot.translation.y, slot.translation.z])
    mesh = hand_model().mesh(Side.RIGHT, from_mano_pose(slot.pose), slot.betas.astype(np.float64), translation)
    np.testing.assert_allclose(mesh, hand.vertices, atol=1e-5)


def test_a_lost_hand_is_all_zeros() -> None:
    estimate = dataclasses.replace(estimate_of(), left=HandEstimate.lost(Side.LEFT, since_measurement=2.5))
    slot = two_hands(estimate).left
    expected = Hand(side=Hand.LEFT, state=Hand.LOST)
    expected.since_measurement.sec, expected.since_measurement.nanosec = 2, 500_000_000
    assert slot == expected
    assert not np.any(slot.pose)
    assert not np.any(slot.keypoints_2d)


def test_a_predicted_hand_has_its_age() -> None:
    estimate = dataclasses.replace(estimate_of(), right=hand_estimate(Side.RIGHT, HandState.PREDICTED))
    slot = two_hands(estimate).right
    assert slot.state == Hand.PREDICTED
    assert (slot.since_measurement.sec, slot.since_measurement.nanosec) == (1, 250_000_000)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10.2, 20.7, 30.0, 40.0), (10, 20, 31, 30)),
        ((-5.0, -5.0, 15.0, 10.0), (0, 0, 10, 5)),
        ((90.0, 40.0, 50.0, 50.0), (90, 40, 10, 10)),
        ((200.0, 200.0, 10.0, 10.0), (100, 50, 0, 0)),
        ((-50.0, 10.0, 20.0, 10.0), (0, 10, 0, 10)),
    ],
)
def test_roi_lies_inside_the_image(box: tuple[float, ...], expected: tuple[int, ...]) -> None:
    assert clipped_box(box, 100, 50) == expected


def test_wrist_and_poses() -> None:
    message = two_hands(estimate_of(left=False))
    assert messages.build_wrist_message(HEADER, message.right).pose == message.right.wrist
    assert messages.build_poses_message(HEADER, message.right).poses == message.right.joints
    assert messages.build_poses_message(HEADER, message.left).poses == []


def test_joint_states_name_the_angles_of_the_hands_that_are_there() -> None:
    both = messages.build_joint_state_message(HEADER, estimate_of(), hand_model())
    assert both.header == HEADER
    assert list(both.name) == [f"{side}_{name}" for side in ("left", "right") for name in ANGLE_NAMES]
    assert len(both.position) == 40 and not both.velocity and not both.effort
    right = messages.build_joint_state_message(HEADER, estimate_of(left=False), hand_model())
    assert list(right.name) == [f"right_{name}" for name in ANGLE_NAMES]
    assert right.position == both.position[20:]
    none = messages.build_joint_state_message(HEADER, estimate_of(False, False), hand_model())
    assert none.header == HEADER and not none.name and not none.position


@pytest.mark.parametrize("side", Side)
def test_joint_states_pose_the_hand(side: Side) -> None:
    kinematics = hand_model().kinematics(side)
    values = np.linspace(-0.2, 0.9, 20)
    hand = dataclasses.replace(hand_estimate(side), rotations=kinematics.rotations_of(angles_from_named(values)))
    estimate = TwoHandEstimate(**{side.label: hand, side.other.label: HandEstimate.lost(side.other)})
    message = messages.build_joint_state_message(HEADER, estimate, hand_model())
    sent = dict(zip(message.name, message.position, strict=True))
    assert sent[f"{side.label}_thumb_cmc_flexion"] == pytest.approx(-0.2)
    assert sent[f"{side.label}_pinky_dip_flexion"] == pytest.approx(0.9)
    again = kinematics.rotations_of(angles_from_named(np.array(message.position)))
    np.testing.assert_allclose(again[1:], hand.rotations[1:], atol=1e-9)


def test_meshes_and_topology() -> None:
    estimate = estimate_of(left=False)
    message = messages.build_meshes_message(HEADER, estimate)
    assert (message.left_valid, message.right_valid, len(message.left_vertices)) == (False, True, 0)
    vertices = np.array(message.right_vertices).reshape(-1, 3)
    np.testing.assert_array_equal(vertices, estimate.right.vertices.astype(np.float32))
    topology = messages.build_topology_message(estimate.right.faces, estimate.right.vertices)
    np.testing.assert_array_equal([t.vertex_indices for t in topology.triangles], estimate.right.faces)
    assert len(topology.vertices) == len(vertices)


@pytest.mark.parametrize(("left", "right"), [(True, True), (False, True), (False, False)])
def test_points_are_the_vertices_of_the_hands_that_are_there(left: bool, right: bool) -> None:
    estimate = estimate_of(left, right)
    message = messages.build_points_message(HEADER, estimate)
    assert message.header == HEADER and message.height == 1 and not message.is_bigendian
    # Read as any subscriber does: by the fields alone.
    formats = {PointField.FLOAT32: "<f4", PointField.UINT8: "u1"}
    layout = np.dtype(
        {
            "names": [field.name for field in message.fields],
            "formats": [formats[field.datatype] for field in message.fields],
            "offsets": [field.offset for field in message.fields],
            "itemsize": message.point_step,
        }
    )
    points = np.frombuffer(bytes(message.data), layout)
    assert len(points) == message.width and message.row_step == len(message.data)
    count = hand_model().num_vertices
    for side, found in ((Side.LEFT, left), (Side.RIGHT, right)):
        own = points[points["side"] == side]
        assert len(own) == (count if found else 0)
        if found:
            places = np.stack([own["x"], own["y"], own["z"]], axis=1)
            np.testing.assert_array_equal(places, estimate.hand(side).vertices.astype(np.float32))


def test_images_come_back_as_they_went() -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode(build_image_message(image, HEADER)), image)
    smooth = np.full((40, 60, 3), (10, 100, 200), np.uint8)
    back = decode(build_compressed_image_message(smooth, 90, HEADER))
    assert np.abs(back.astype(int) - smooth).max() <= 4


@pytest.mark.parametrize("field", ["joints", "wrist_pose", "rotations", "betas", "keypoints_2d", "translation"])
def test_values_that_are_not_finite_are_noticed(field: str) -> None:
    hand = hand_estimate(Side.LEFT)
    assert is_finite(hand)
    values = np.array(getattr(hand, field))
    values.flat[3 % values.size] = np.nan
    assert not is_finite(dataclasses.replace(hand, **{field: values}))
    assert is_finite(HandEstimate.lost(Side.LEFT))


def test_transforms_of_the_wrist() -> None:
    estimate = estimate_of()
    poses = {Side.LEFT: hand_poses(estimate)[Side.LEFT]}
    (sent,) = build_transforms(TransformStamped, HEADER, estimate, poses, "human_", "wrist")
    assert (sent.header, sent.child_frame_id) == (HEADER, "human_left_wrist")
    position = sent.transform.translation
    np.testing.assert_allclose([position.x, position.y, position.z], estimate.left.joints[0])


@pytest.mark.parametrize("side", Side)
def test_the_transforms_of_a_whole_hand_chain_to_its_keypoints(side: Side) -> None:
    estimate = estimate_of()
    poses = hand_poses(estimate)[side]
    sent = build_transforms(TransformStamped, HEADER, estimate, {side: poses}, "x_", "full")
    names = [f"x_{side.label}_{name}" for name in KEYPOINT_NAMES]
    assert [t.child_frame_id for t in sent] == names
    assert all(t.header.stamp == HEADER.stamp for t in sent)
    world = {"camera": np.eye(4)}
    for t in sent:
        move = t.transform.translation
        local = matrix(Pose(orientation=t.transform.rotation))
        local[:3, 3] = move.x, move.y, move.z
        world[t.child_frame_id] = world[t.header.frame_id] @ local
    for name, joint, rotation in zip(names, estimate.hand(side).joints, poses.rotations, strict=True):
        np.testing.assert_allclose(world[name][:3, 3], joint, atol=1e-9)
        np.testing.assert_allclose(world[name][:3, :3], rotation, atol=1e-9)
    assert set(JOINT_NAMES) <= set(KEYPOINT_NAMES)


def test_there_are_no_transforms_of_a_guess_and_none_without_a_parent() -> None:
    estimate = estimate_of()
    poses = hand_poses(estimate)
    guess = dataclasses.replace(estimate, calibrated=False)
    assert len(build_transforms(TransformStamped, HEADER, estimate, poses, "x_", "wrist")) == 2
    assert build_transforms(TransformStamped, HEADER, estimate, poses, "x_", "off") == []
    assert build_transforms(TransformStamped, HEADER, guess, poses, "x_", "wrist") == []
    assert build_transforms(TransformStamped, Header(frame_id="/"), estimate, poses, "x_", "wrist") == []


def test_relative_hand_poses_a_straight_finger_do_not_turn() -> None:
    estimate = estimate_of()
    positions, turned = relative_poses(hand_poses(estimate)[Side.RIGHT])
    # Tips share the orientation of their last bone, and lie along it.
    for tip in (4, 8, 12, 16, 20):
        np.testing.assert_allclose(turned[tip], [0, 0, 0, 1], atol=1e-9)
        np.testing.assert_allclose(positions[tip, 1:], 0.0, atol=1e-9)
        assert positions[tip, 0] > 0.015


def received(message: bytes | None) -> list[Marker]:
    """The markers of a serialized message as a subscriber gets them."""
    assert message is not None
    markers: list[Marker] = deserialize_message(message, MarkerArray).markers
    return markers


def test_markers_hold_the_mesh_and_follow_it() -> None:
    markers = HandMarkers()
    estimate = estimate_of(left=False)
    added = received(markers.add(HEADER, estimate))
    assert [(m.ns, m.id, m.action, m.type) for m in added] == [
        ("right", 0, Marker.ADD, Marker.TRIANGLE_LIST),
        ("right", 1, Marker.ADD, Marker.LINE_LIST),
        ("right", 2, Marker.ADD, Marker.SPHERE_LIST),
    ]
    hand = estimate.right
    for count, shift in enumerate((0.0, 0.25)):
        header = Header(stamp=Time(sec=count, nanosec=400_000_000), frame_id=HEADER.frame_id)
        moved = dataclasses.replace(hand, mesh=partial(np.add, hand.vertices, shift), joints=hand.joints + shift)
        mesh, bones, points = received(markers.add(header, dataclasses.replace(estimate, right=moved)))
        triangles = np.array([(p.x, p.y, p.z) for p in mesh.points]).reshape(-1, 3, 3)
        np.testing.assert_allclose(triangles, moved.vertices[hand.faces], atol=1e-7)
        np.testing.assert_allclose([(p.x, p.y, p.z) for p in points.points], moved.joints)
        ends = np.array([(p.x, p.y, p.z) for p in bones.points]).reshape(-1, 2, 3)
        np.testing.assert_allclose(ends, moved.joints[np.array(BONES)])
        assert all(m.header == header and m.color.a > 0 and m.lifetime.sec == 3 for m in (mesh, bones, points))


def test_markers_of_both_hands_are_those_of_each_hand_in_any_frame() -> None:
    markers, both = HandMarkers(), estimate_of()
    for name in ("camera", "another_camera", "camera", *(f"camera{index}" for index in range(20))):
        header = Header(stamp=HEADER.stamp, frame_id=name)
        added = received(markers.add(header, both))
        alone = [estimate_of(right=False), estimate_of(left=False)]
        assert added == [marker for each in alone for marker in received(HandMarkers().add(header, each))]
        assert {marker.header.frame_id for marker in added} == {name}


def test_a_hand_without_a_mesh_has_the_other_markers() -> None:
    estimate = estimate_of(left=False)
    bare = dataclasses.replace(estimate.right, mesh=lambda: np.zeros((0, 3)), faces=np.zeros((0, 3), dtype=np.int32))
    markers = HandMarkers()
    assert [m.id for m in received(markers.add(HEADER, dataclasses.replace(estimate, right=bare)))] == [1, 2]
    assert [m.id for m in received(markers.add(HEADER, estimate))] == [0, 1, 2]
    deletion = markers.delete(HEADER, markers.shown)
    assert deletion is not None and [m.id for m in deletion.markers] == [0, 1, 2]


def test_markers_are_deleted_once_when_their_hand_is_lost() -> None:
    markers = HandMarkers()
    markers.add(HEADER, estimate_of())
    later = Header(stamp=Time(sec=13), frame_id=HEADER.frame_id)
    message = received(markers.add(later, estimate_of(right=False)))
    deleted = [(m.ns, m.id) for m in message if m.action == Marker.DELETE]
    assert deleted == [("right", 0), ("right", 1), ("right", 2)]
    assert {m.ns for m in message if m.action == Marker.ADD} == {"left"}
    assert all(m.header == later for m in message)
    assert markers.shown == {Side.LEFT}
    assert not [m for m in received(markers.add(HEADER, estimate_of(right=False))) if m.action == Marker.DELETE]
    assert [m.action for m in received(markers.add(HEADER, estimate_of(False, False)))] == [Marker.DELETE] * 3
    assert not markers.shown
    assert markers.add(HEADER, estimate_of(False, False)) is None and markers.delete(HEADER, set(Side)) is None
    markers.add(HEADER, estimate_of())
    deletion = markers.delete(later, {Side.LEFT})
    assert deletion is not None and [(m.ns, m.action) for m in deletion.markers] == [("left", Marker.DELETE)] * 3
    assert markers.shown == {Side.RIGHT}


def test_quaternions_stay_on_one_hemisphere() -> None:
    last: dict[Side, np.ndarray] = {}
    flips = 0
    for angle in np.linspace(0.0, 4 * np.pi, 200):
        turn = Rotation.from_rotvec([0.0, angle, 0.0]).as_matrix()
        poses = hand_poses(estimate_of())
        turned = {
            side: dataclasses.replace(each, quaternions=quaternions(turn @ each.rotations))
            for side, each in poses.items()
        }
        result = continuous(turned, last)
        for side, each in result.items():
            same = np.abs(np.sum(each.quaternions * turned[side].quaternions, axis=-1))
            np.testing.assert_allclose(same, 1.0, atol=1e-12)
            if side in last:
                assert (np.sum(each.quaternions * last[side], axis=-1) > 0.9).all()
                flips += int((np.sum(each.quaternions * turned[side].quaternions, axis=-1) < 0).any())
        last = {side: each.quaternions for side, each in result.items()}
    assert flips, "without that they would have changed their signs"
