"""The node ``hand_recon_view``: markers and debug images of hands that another process has found."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node

from ..config import ConfigError
from ..conversions.problems import Problems
from ..hand_model import HandModelError, load_hand_model
from ..types import Side
from . import topics
from .diagnostics import build_diagnostics
from .drawings import DEBUG_IMAGE, DEBUG_IMAGE_COMPRESSED, MARKERS, Drawings
from .live_parameters import LiveParameters
from .parameters import node_options
from .running import run
from .view_parameters import ViewConfig
from .watching import HandsAndImages, ReceivedHands


class HandReconViewNode(Node):
    """See docs/nodes/hand_recon_view.md for topics and parameters. All callbacks run on one thread.

    It subscribes to nothing that nobody watches: to the hands while the markers or the debug image have a subscriber,
    to images and camera_info while the debug image has one.

    Args:
        arguments: of rclpy.node.Node, such as ``namespace`` or ``parameter_overrides``.

    Attributes:
        problems: what is wrong at present.
        inputs: the hands and images that come.
        connections: its publishers, and its subscriptions to images and camera_info.

    Raises ConfigError for start parameters that cannot be used.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__("hand_recon_view", **node_options(), **arguments)
        logger = self.get_logger()
        self.problems = Problems(logger.warning, logger.error)
        try:
            self._live = LiveParameters(self, ViewConfig)
            self._hand_model = load_hand_model(self._settings.hand_model)
        except (ConfigError, HandModelError) as error:
            self.destroy_node()
            raise ConfigError(str(error)) from error
        # Compiled now and not at the first hands.
        self._hand_model.mesh(Side.LEFT, np.tile(np.eye(3), (16, 1, 1)), np.zeros(10), np.zeros(3))

        self.inputs = HandsAndImages(
            self,
            self.problems,
            lambda: self._settings,
            self._hand_model,
            topics.VIEW_COMPRESSED if self._settings.use_compressed else topics.VIEW_IMAGE,
            self._draw_markers,
            self._draw_image,
        )
        self._header: Any | None = None
        self._watched = (False, False)
        self.connections = self.inputs.connections
        publishers: dict[str, Any] = {
            topic.name: self.connections.publisher(topic, self._match if topic.lazy else None)
            for topic in topics.VIEW_OUTPUTS
        }
        self._diagnostics = publishers["/diagnostics"]
        self._drawings = Drawings({name: publishers[name] for name in (MARKERS, DEBUG_IMAGE, DEBUG_IMAGE_COMPRESSED)})
        # A steady clock: diagnostics are published also while simulated time is paused.
        self._timer = self.create_timer(1.0, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME))
        names = self.inputs.hands_name, self.inputs.image_name
        logger.info(f"hands from {names[0]}, images from {names[1]}, while somebody watches")

    @property
    def _settings(self) -> ViewConfig:
        return self._live.config

    @property
    def niceness(self) -> int:
        """By how much the priority of its process is to be lowered."""
        return self._settings.niceness

    # Who watches

    def _match(self, _: Any) -> None:
        """Subscribe to what is needed for those who watch: called when they come and go."""
        self._watched = self._drawings.markers_watched, self._drawings.image_watched
        self.inputs.watch(*self._watched)

    # What is drawn

    def _draw_markers(self, hands: ReceivedHands) -> None:
        self._header = hands.header
        self._drawings.publish_markers(hands.header, hands.estimate, self._settings.marker_rate)

    def _draw_image(self, image: Any, hands: ReceivedHands) -> None:
        """Publish an image with its hands, where it is time for one."""
        if not self._drawings.image_due(self._settings.debug_image_rate):
            return
        taken = self.inputs.picture(image, hands)
        if taken is not None:
            picture, camera = taken
            quality = self._settings.debug_image_quality
            self._drawings.publish_image(hands.header, picture, hands.estimate, camera, quality)

    # Once a second

    def _check(self) -> None:
        self.inputs.check()
        if not self._settings.diagnostics:
            return
        watched = [name for name, given in zip(("markers", "debug image"), self._watched, strict=True) if given]
        values = {
            "watched": ", ".join(watched) or "nothing",
            "hands received": self.inputs.hands.count,
            "images received": self.inputs.images.count,
            "images with hands": self.inputs.pairs.count,
        }
        summary = f"{' and '.join(watched) or 'nothing'} watched"
        topic, problems = self.inputs.hands_name, self.problems.active()
        self._diagnostics.publish(build_diagnostics(self, topic, summary, values, problems))

    def close(self) -> None:
        """Delete the markers and destroy the node."""
        if self.context.ok() and self._header is not None:
            self._drawings.delete_markers(self._header)
        self.destroy_node()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until it is interrupted; 1 where its arguments cannot be used."""

    def make() -> HandReconViewNode:
        node = HandReconViewNode()
        os.nice(node.niceness)
        return node

    return run("hand_recon_view", make, arguments)


if __name__ == "__main__":
    sys.exit(main())
