"""The node hand_recon_view on DDS, and the hands and images that it gets, for tests."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from hand_recon_ros.msg import TwoHands
from rclpy.parameter import Parameter
from rclpy.time import Time
from ros_support import CAMERA, HEIGHT, WIDTH, OnDds, camera_info, hand_model, image_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from hand_recon_ros.camera import Camera
from hand_recon_ros.conversions.frames import hand_poses
from hand_recon_ros.ros.messages import build_hands_message
from hand_recon_ros.ros.view import HandReconViewNode
from hand_recon_ros.types import TwoHandEstimate

MARKERS = MarkerArray, "/hand_recon_view/markers"
DEBUG_IMAGE = Image, "/hand_recon_view/debug_image"
COMPRESSED = CompressedImage, "/hand_recon_view/debug_image/compressed"
PICTURE = np.kron(np.random.default_rng(0).integers(0, 255, (6, 8, 3)), np.ones((40, 40, 1))).astype(np.uint8)


class View(OnDds):
    """The node on DDS, and the messages that it gets."""

    def __init__(self, arguments: tuple[str, ...] = (), **parameters: Any) -> None:
        # A subscription that follows the publishers' QoS may miss an image when they appear.
        given = {"marker_rate": 240.0, "debug_image_rate": 240.0, "image_reliability": "best_effort", **parameters}
        overrides = [Parameter(name, value=value) for name, value in given.items()]
        cli = ["--ros-args", *arguments] if arguments else None
        super().__init__(
            lambda context: HandReconViewNode(context=context, parameter_overrides=overrides, cli_args=cli)
        )

    def hands(self, estimate: TwoHandEstimate, stamp: float, frame_id: str = "camera", **fields: Any) -> TwoHands:
        """Publish hands and see that they arrived; returns the message."""
        header = Header(stamp=Time(nanoseconds=round(stamp * 1e9)).to_msg(), frame_id=frame_id)
        message = build_hands_message(estimate, hand_poses(estimate), header, hand_model(), (WIDTH, HEIGHT), dropped=0)
        for name, value in fields.items():
            setattr(message, name, value)
        self.send(message, "hands", self.node.inputs.hands)
        return message

    def image(self, stamp: float, message: Any = None, topic: str = "image") -> None:
        """Publish an image and see that it arrived."""
        message = image_message(PICTURE) if message is None else message
        message.header.stamp = Time(nanoseconds=round(stamp * 1e9)).to_msg()
        self.send(message, topic, self.node.inputs.images)

    def send(self, message: Any, topic: str, arrivals: Any) -> None:
        publisher, count = self.publisher(type(message), topic), arrivals.count
        publisher.publish(message)
        self.wait(lambda: arrivals.count > count, f"the message on {topic}")

    def info(self, camera: Camera = CAMERA) -> None:
        """Publish the calibration and see that it arrived."""
        publisher, before = self.publisher(CameraInfo, "camera_info"), self.node.inputs.camera_info
        publisher.publish(camera_info(camera))
        self.wait(lambda: self.node.inputs.camera_info is not before, "camera_info")

    def settle(self) -> None:
        """Wait until what was sent has been drawn, where it is."""
        time.sleep(0.3)
