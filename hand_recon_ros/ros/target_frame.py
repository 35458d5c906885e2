"""Hands in another frame than the camera's, by tf2 at the image's stamp."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..conversions.placing import transformed
from ..conversions.problems import Problems
from ..conversions.stamps import seconds
from ..types import HandEstimate, TwoHandEstimate
from .transforms import TransformError, Transforms, transforms_to

_POLL = 0.002


class TargetFrame:
    """Takes estimates from the frame of their images to one frame.

    Args:
        frame: to which they are taken.
        transforms: between frames.
        problems: a transform that is missing is reported here, as ``tf``.
    """

    def __init__(self, frame: str, transforms: Transforms, problems: Problems) -> None:
        self.frame = frame
        self._transforms = transforms
        self._problems = problems
        self._stamp = 0.0

    @classmethod
    def of(
        cls, node: Any, frame: str, problems: Problems, make_transforms: Callable[[Any], Transforms]
    ) -> TargetFrame | None:
        """That of a node; None where ``frame`` is empty. Raises ConfigError where tf2_ros is not installed."""
        transforms = transforms_to(frame, node, make_transforms)
        return None if transforms is None else cls(frame, transforms, problems)

    def __call__(self, header: Any, estimate: TwoHandEstimate, wait: float) -> tuple[Any, TwoHandEstimate]:
        """Header and estimate of an image in this frame.

        Without a transform both hands are LOST there: what is published in this frame is never in another. ``wait``:
        how long to wait for a transform that is newer than those that have come, seconds.
        """
        header = type(header)(stamp=header.stamp, frame_id=header.frame_id)
        source, header.frame_id = header.frame_id, self.frame
        before, self._stamp = self._stamp, seconds(header.stamp)
        if self._stamp < before:
            self._transforms.clear()  # of a clock that has jumped back
        hands = estimate.left, estimate.right
        if not any(hand.found for hand in hands):
            return header, estimate
        try:
            matrix = self._lookup(source, header.stamp, wait)
        except TransformError as error:
            self._problems.report("tf", f"the hands are not published: {error}")
            left, right = (HandEstimate.lost(hand.side, hand.since_measurement) for hand in hands)
        else:
            self._problems.solved("tf")
            left, right = (transformed(hand, matrix) for hand in hands)
        return header, dataclasses.replace(estimate, left=left, right=right, unrefined=None)

    def close(self) -> None:
        """Receive no more transforms."""
        self._transforms.close()

    def _lookup(self, source: str, stamp: Any, wait: float) -> np.ndarray:
        end = time.monotonic() + wait
        while True:
            try:
                return self._transforms.lookup(self.frame, source, stamp)
            except TransformError:
                if time.monotonic() + _POLL > end:
                    raise
            time.sleep(_POLL)
