"""Estimates that are made of messages again: what was published is what is drawn."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from hand_recon_ros.conversions.estimates import pose_matrix, two_hand_estimate
from hand_recon_ros.types import HandState, Side, TwoHandEstimate

ARRAYS = ("joints", "vertices", "rotations", "betas", "translation", "wrist_pose", "keypoints_2d", "joint_scores")


def message_of(estimate: TwoHandEstimate):
    pytest.importorskip("rclpy")
    pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")
    from ros_support import hand_model
    from std_msgs.msg import Header

    from hand_recon_ros.conversions.frames import hand_poses
    from hand_recon_ros.ros.messages import build_hands_message

    header = Header(frame_id="camera")
    header.stamp.sec, header.stamp.nanosec = 12, 250_000_000
    return build_hands_message(estimate, hand_poses(estimate), header, hand_model(), (320, 240), dropped=3)


def test_a_message_gives_the_estimate_back() -> None:
    from ros_support import estimate_of, hand_model

    estimate = estimate_of()
    back = two_hand_estimate(message_of(estimate), hand_model())
    assert back.stamp == 12.25 and back.hand_model == hand_model().name and back.calibrated
    assert not back.refined and not back.mirrored
    assert back.timings["total"] == pytest.approx(estimate.timings["total"])
    for side in Side:
        hand, expected = back.hand(side), estimate.hand(side)
        for name in ARRAYS:
            # A message has single precision; pixels are in the hundreds.
            tolerance = 2e-5 if name == "keypoints_2d" else 1e-6
            np.testing.assert_allclose(getattr(hand, name), getattr(expected, name), atol=tolerance, err_msg=name)
        np.testing.assert_array_equal(hand.faces, expected.faces)
        for name in ("side", "state", "track_id", "scale_source"):
            assert getattr(hand, name) == getattr(expected, name), name
        for name in ("score", "side_score", "position_stddev"):
            assert getattr(hand, name) == pytest.approx(getattr(expected, name)), name
        x, y, width, height = expected.roi
        left, top, right, bottom = hand.roi[0], hand.roi[1], hand.roi[0] + hand.roi[2], hand.roi[1] + hand.roi[3]
        assert left <= x < left + 1 and top <= y < top + 1
        assert right - 1 < x + width <= right and bottom - 1 < y + height <= bottom


def test_lost_and_predicted_hands_and_a_recording() -> None:
    from ros_support import estimate_of, hand_estimate, hand_model

    from hand_recon_ros.evaluation import recording
    from hand_recon_ros.ros.demo.recorder import to_plain

    two = estimate_of(right=False)
    two = TwoHandEstimate(hand_estimate(Side.LEFT, HandState.PREDICTED), two.right, hand_model=two.hand_model)
    message = message_of(two)
    recorded = recording.estimate(json.loads(json.dumps(to_plain(message))), hand_model())
    for back in (two_hand_estimate(message, hand_model()), recorded):
        assert back.left.state == HandState.PREDICTED and back.left.since_measurement == 1.25
        assert back.right.state == HandState.LOST and back.right.side == Side.RIGHT
        assert np.isnan(back.right.joints).all() and back.right.vertices.shape == (0, 3)
        np.testing.assert_allclose(back.left.vertices, two.left.vertices, atol=1e-6)


def test_without_the_hand_model_there_is_no_mesh() -> None:
    from ros_support import estimate_of

    estimate = estimate_of()
    back = two_hand_estimate(message_of(estimate), None, mirrored=True)
    assert back.mirrored
    for hand in (back.left, back.right):
        assert hand.vertices.shape == (0, 3) and hand.faces.shape == (0, 3)
        np.testing.assert_allclose(hand.joints, estimate.hand(hand.side).joints, atol=1e-6)


def test_a_state_that_does_not_exist_is_an_error() -> None:
    from ros_support import estimate_of, hand_model

    message = message_of(estimate_of())
    message.right.state = 7
    with pytest.raises(ValueError, match="7"):
        two_hand_estimate(message, hand_model())


@pytest.mark.parametrize(
    ("position", "orientation", "usable"),
    [
        ((1.0, 2.0, 3.0), (0.0, 0.0, 0.0, 1.0), True),
        ((1.0, 2.0, 3.0), (0.0, 0.0, 0.0, 0.0), False),
        ((np.nan, 2.0, 3.0), (0.0, 0.0, 0.0, 1.0), False),
        ((1.0, 2.0, 3.0), (0.0, np.inf, 0.0, 1.0), False),
    ],
)
def test_poses_that_are_none_are_not_finite(position, orientation, usable) -> None:
    pose = SimpleNamespace(
        position=SimpleNamespace(**dict(zip("xyz", position, strict=True))),
        orientation=SimpleNamespace(**dict(zip("xyzw", orientation, strict=True))),
    )
    matrix = pose_matrix(pose)
    assert np.isfinite(matrix).all() == usable
    if usable:
        np.testing.assert_array_equal(matrix, [[1, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]])
