"""Estimates as pictures: ~/markers and ~/debug_image, for who watches, at limited rates."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..camera import Camera
from ..types import TwoHandEstimate
from .images import build_compressed_image_message, build_image_message
from .markers import HandMarkers

MARKERS, DEBUG_IMAGE, DEBUG_IMAGE_COMPRESSED = "~/markers", "~/debug_image", "~/debug_image/compressed"


class RateLimit:
    """Limits the rate of messages, evenly."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = -math.inf

    def due(self, rate: float) -> bool:
        """Whether a message may be published now, at ``rate`` per second; if so it is counted."""
        now, period = self._clock(), 1.0 / rate
        late = now - self._last - period
        if late < 0.0:
            return False
        # From the planned time and not from now: so the mean is the rate, also where the source's rate is no multiple.
        self._last = now - late if late < period else now
        return True


class Drawings:
    """Draws and publishes estimates where somebody subscribes; which markers are shown is remembered.

    Args:
        publishers: name -> publisher of at least the three topics above.
    """

    def __init__(self, publishers: Mapping[str, Any]) -> None:
        self._publishers = publishers
        self._markers = HandMarkers()
        self._marker_limit, self._image_limit = RateLimit(), RateLimit()

    @property
    def markers_watched(self) -> bool:
        """Whether the markers have a subscriber."""
        return self._subscribed(MARKERS)

    @property
    def image_watched(self) -> bool:
        """Whether the debug image has a subscriber, in one form or the other."""
        return self._subscribed(DEBUG_IMAGE) or self._subscribed(DEBUG_IMAGE_COMPRESSED)

    def publish_markers(self, header: Any, estimate: TwoHandEstimate, rate: float) -> None:
        """Publish the markers where somebody subscribes, at most ``rate`` times a second.

        A lost hand is deleted at once, whatever the rate.
        """
        if not self.markers_watched:
            return
        lost = {side for side in self._markers.shown if not estimate.hand(side).found}
        if self._marker_limit.due(rate):
            message = self._markers.add(header, estimate)
        else:
            message = self._markers.delete(header, lost)
        if message is not None:
            self._publishers[MARKERS].publish(message)

    def delete_markers(self, header: Any) -> None:
        """Publish that every hand with markers is gone."""
        message = self._markers.delete(header, self._markers.shown)
        if message is not None:
            self._publishers[MARKERS].publish(message)

    def image_due(self, rate: float) -> bool:
        """Whether somebody watches the debug image and one may be published now, at ``rate`` per second.

        If so it is counted: the image has to be published by :meth:`publish_image`.
        """
        return self.image_watched and self._image_limit.due(rate)

    def publish_image(
        self, header: Any, image: np.ndarray, estimate: TwoHandEstimate, camera: Camera, quality: int
    ) -> None:
        """Publish the hands over an image, uint8 (H, W, 3), BGR; ``quality`` is the JPEG's, 1..100."""
        from ..overlay import draw_overlay

        overlay = draw_overlay(image, estimate, camera)
        if self._subscribed(DEBUG_IMAGE):
            self._publishers[DEBUG_IMAGE].publish(build_image_message(overlay, header))
        if self._subscribed(DEBUG_IMAGE_COMPRESSED):
            self._publishers[DEBUG_IMAGE_COMPRESSED].publish(build_compressed_image_message(overlay, quality, header))

    def _subscribed(self, name: str) -> bool:
        publisher = self._publishers[name]  # None where its message is not installed
        return publisher is not None and publisher.get_subscription_count() > 0
