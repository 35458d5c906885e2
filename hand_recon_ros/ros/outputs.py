"""Everything the node publishes for an image, and the publishers of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..conversions.frames import ContinuousPoses, HandPoses, build_transforms
from ..conversions.stamps import seconds
from ..conversions.stream import InputFrame
from ..conversions.wrist_motion import WristVelocities, wrist_covariance
from ..types import Frame, HandEstimate, Side, TwoHandEstimate
from . import messages, topics
from .connections import Connections
from .drawings import Drawings
from .parameters import NodeConfig
from .target_frame import TargetFrame


class Outputs:
    """The publishers of the node, and their state from image to image.

    Args:
        connections: creates the publishers.
        hand_model: of the reconstructor.
        target: takes the hands to the frame in which they are published; None: that of the images.
    """

    def __init__(self, connections: Connections, hand_model: Any, target: TargetFrame | None = None) -> None:
        self._connections = connections
        self._hand_model = hand_model
        self._target = target
        self._publishers: dict[str, Any] = {
            topic.name: connections.publisher(topic) for topic in topics.OUTPUTS if topic.name != "/diagnostics"
        }
        self._drawings = Drawings(self._publishers)
        # In the frame of the messages, and in that of the images, which differ with a target frame.
        self._poses, self._seen_poses = ContinuousPoses(), ContinuousPoses()
        self._velocities = WristVelocities()
        self._shown = False

    @property
    def alive(self) -> bool:
        """Whether messages can be published; False once the process is interrupted."""
        return self._connections.alive

    def close(self) -> None:
        """Receive no more transforms; the publishers are the connections'."""
        if self._target is not None:
            self._target.close()

    def publish_topology(self) -> None:
        """Publish the latched triangles of both meshes."""
        rest = np.tile(np.eye(3), (16, 1, 1)), np.zeros(10), np.zeros(3)
        for side in Side:
            mesh = messages.build_topology_message(self._hand_model.faces(side), self._hand_model.mesh(side, *rest))
            self._publishers[f"~/{side.label}/mesh_topology"].publish(mesh)

    def publish(
        self, frame: InputFrame, estimate: TwoHandEstimate, dropped: int, config: NodeConfig
    ) -> tuple[TwoHandEstimate, float]:
        """Publish the estimate of an image; returns what was published, and its latency, seconds, NaN where that is not
        known."""
        header, seen, height, width = frame.header, estimate, *frame.frame.image.shape[:2]
        if self._target is not None:
            header, estimate = self._target(header, seen, config.tf_wait)
        poses = self._poses(estimate)
        self._shown = bool(poses)
        message = messages.build_hands_message(estimate, poses, header, self._hand_model, (width, height), dropped)
        latency = self._connections.now() - seconds(header.stamp) if frame.latency_known else math.nan
        message.latency = latency
        self._publishers["~/hands"].publish(message)

        for side, hand in ((Side.LEFT, message.left), (Side.RIGHT, message.right)):
            if side in poses:
                self._publishers[f"~/{side.label}/wrist"].publish(messages.build_wrist_message(header, hand))
            self._publish_motion(header, seen.hand(side), estimate.hand(side), hand, frame.frame)
        self._publish_tf(frame.header, seen, poses if seen is estimate else self._seen_poses(seen), config)
        self._publish_subscribed(header, estimate, message)
        self._drawings.publish_markers(header, estimate, config.marker_rate)
        if self._drawings.image_due(config.debug_image_rate):
            taken = frame.frame
            self._drawings.publish_image(frame.header, taken.image, seen, taken.camera, config.debug_image_quality)
        return estimate, latency

    def publish_lost(self, header: Any, dropped: int) -> None:
        """Publish once that both hands are LOST, where they were not; ``header`` is that of the last image."""
        lost = TwoHandEstimate(
            HandEstimate.lost(Side.LEFT), HandEstimate.lost(Side.RIGHT), hand_model=self._hand_model.name
        )
        if self._target is not None:
            header, lost = self._target(header, lost, 0.0)
        if self._shown:
            self._shown = False
            message = messages.build_hands_message(lost, {}, header, self._hand_model, (0, 0), dropped)
            message.latency = math.nan
            self._publishers["~/hands"].publish(message)
            self._publish_subscribed(header, lost, message)
        self._poses.clear()
        self._seen_poses.clear()
        self._velocities.clear()
        self._drawings.delete_markers(header)

    def _publish_motion(self, header: Any, seen: HandEstimate, shown: HandEstimate, message: Any, image: Frame) -> None:
        """Publish covariance and velocity of a wrist where somebody subscribes.

        Args:
            header: of the outputs.
            seen, shown: the hand in the frame of the image and in that of the outputs.
            message: its Hand message.
            image: in which it was found.
        """
        covariance, velocity = (f"~/{shown.side.label}/wrist_{name}" for name in ("with_covariance", "velocity"))
        if shown.found and self._subscribed(covariance):
            matrix = wrist_covariance(seen, shown, image.camera.center)
            self._publishers[covariance].publish(messages.build_covariance_message(header, message, matrix))
        if self._subscribed(velocity):
            found = self._velocities(shown, image.stamp)
            if found is not None:
                self._publishers[velocity].publish(messages.build_velocity_message(header, *found))

    def _publish_subscribed(self, header: Any, estimate: TwoHandEstimate, message: Any) -> None:
        """Publish poses, angles, meshes and points where somebody subscribes; ``message`` is that of ~/hands."""
        for side, hand in ((Side.LEFT, message.left), (Side.RIGHT, message.right)):
            if self._subscribed(f"~/{side.label}/poses"):
                self._publishers[f"~/{side.label}/poses"].publish(messages.build_poses_message(header, hand))
        if self._subscribed("~/joint_states"):
            angles = messages.build_joint_state_message(header, estimate, self._hand_model)
            self._publishers["~/joint_states"].publish(angles)
        if self._subscribed("~/meshes"):
            self._publishers["~/meshes"].publish(messages.build_meshes_message(header, estimate))
        if self._subscribed("~/points"):
            self._publishers["~/points"].publish(messages.build_points_message(header, estimate))

    def _subscribed(self, name: str) -> bool:
        publisher = self._publishers[name]
        return publisher is not None and publisher.get_subscription_count() > 0

    def _publish_tf(
        self, header: Any, estimate: TwoHandEstimate, poses: dict[Side, HandPoses], config: NodeConfig
    ) -> None:
        publisher = self._publishers["/tf"]
        if publisher is None:
            return
        from geometry_msgs.msg import TransformStamped

        transforms = build_transforms(TransformStamped, header, estimate, poses, config.tf_prefix, config.publish_tf)
        if transforms:
            publisher.publish(publisher.msg_type(transforms=transforms))
