"""Fixed-lag smoothing of the node over DDS: whose hands are published, when, and what becomes of those that wait."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("hand_recon_ros.msg", reason="the package's messages are not built")

import dataclasses  # noqa: E402

import numpy as np  # noqa: E402
from hand_recon_ros.msg import TwoHands  # noqa: E402
from ros_support import CAMERA, NodeOnDds, camera_info, estimate_of, hand_model, image_message  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from hand_recon_ros.interact.estimates import with_pose  # noqa: E402
from hand_recon_ros.types import Side  # noqa: E402

START = 100.0


def moving(image, camera, stamp):
    """Both hands, on a parabola."""
    still = estimate_of(camera=camera, stamp=stamp)
    step = np.array([stamp - START, 0.0, (stamp - START) ** 2])
    left, right = (
        with_pose(hand, hand.rotations, hand.betas, hand.joints[0] + step, hand_model(), CAMERA, False)
        for hand in (still.left, still.right)
    )
    return dataclasses.replace(still, left=left, right=right)


def seconds(message) -> float:
    return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9


def test_hands_are_published_some_time_later_each_with_the_stamp_of_its_image():
    with NodeOnDds(smoothing_delay=0.1) as dds:
        dds.send_info(camera_info())
        dds.reconstructor.estimate = moving
        hands = dds.listen(TwoHands, "/hand_recon/hands")

        def send(numbers: range) -> None:
            for number in numbers:
                done = len(dds.reconstructor.calls)
                dds.send(image_message(), START + number / 30.0)
                dds.wait(lambda done=done: len(dds.reconstructor.calls) > done, "the image to be processed")

        send(range(12))
        dds.wait(lambda: len(hands) == 9, "those of 0.1 s ago")
        stamps = START + np.arange(9) / 30.0
        np.testing.assert_allclose([seconds(message) for message in hands], stamps, atol=1e-6)
        for message, stamp in zip(hands, stamps, strict=True):
            truth = moving(None, CAMERA, stamp)
            for slot, side in ((message.left, Side.LEFT), (message.right, Side.RIGHT)):
                joints = np.array([[p.position.x, p.position.y, p.position.z] for p in slot.joints])
                np.testing.assert_allclose(joints, truth.hand(side).joints, atol=1e-6)
        # Without a delay, what waits comes with the next image, and that image's hands at once.
        assert dds.set_parameters(smoothing_delay=0.0).successful
        send(range(12, 13))
        dds.wait(lambda: len(hands) == 13, "all of them")
        # What waits when the hands are forgotten is not published any more.
        assert dds.set_parameters(smoothing_delay=0.2).successful
        send(range(13, 15))
        dds.call(Trigger, "/hand_recon/reset_tracking", Trigger.Request())
        dds.wait(lambda: len(hands) == 14, "that they are LOST")
        assert hands[-1].left.state == hands[-1].right.state == 0
        send(range(20, 28))
        dds.wait(lambda: len(hands) == 16, "those of 0.2 s ago")
        np.testing.assert_allclose([seconds(message) for message in hands[14:]], START + np.array([20, 21]) / 30.0)
        assert not dds.set_parameters(smoothing_delay=0.6).successful
