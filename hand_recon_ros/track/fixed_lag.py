"""Fixed-lag smoothing: the poses of a stream some time later, from the images before and after each of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Generic, TypeVar

import numpy as np

from ..geometry.rotations import rotation_matrices, rotation_vectors
from ..hand_model import HandModel
from ..interact.estimates import with_pose
from ..skeleton import WRIST
from ..types import Camera, HandEstimate, HandState, Side, TwoHandEstimate

Item = TypeVar("Item")
_DEGREE = 2
"""Of the polynomial in time: the pose at its middle does not lag behind a constant acceleration."""
_LEAST_IMAGES = _DEGREE + 2
"""With fewer measured poses a polynomial would go through all of them."""
_KERNEL = 1.2
"""Half width of the kernel, in units of the delay."""
_ROUNDING = 1e-6
"""Seconds by which stamps that are equal may differ."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Image(Generic[Item]):
    item: Item
    estimate: TwoHandEstimate
    camera: Camera


class FixedLagSmoother(Generic[Item]):
    """Delays the estimates of a stream, and smooths each by those of the images around it.

    The wrist's position and the rotation of each joint, as a vector relative to the nearest measured one, are
    polynomials of degree 2 in time, fitted to the measured poses of that hand within the delay before and after the
    image, with tricube weights (Cleveland, "Robust locally weighted regression", 1979). A hand that was PREDICTED
    between measured poses is interpolated. Image keypoints of measured hands, shapes and scores stay.
    """

    def __init__(self, hand_model: HandModel) -> None:
        self._hand_model = hand_model
        self._images: list[_Image[Item]] = []
        self._done = 0
        """Images that were given back, and are stored for the ones after them."""

    def add(
        self, item: Item, estimate: TwoHandEstimate, camera: Camera, delay: float
    ) -> Iterator[tuple[Item, TwoHandEstimate]]:
        """The images that are at least ``delay`` seconds older than this one, oldest first, each once.

        Args:
            item: whatever belongs to the image, given back with it.
            estimate: of the image. Where its stamp is not after the last one's, another stream begins, and the images
                of the one before come first.
            camera: of the image.
            delay: seconds; 0 gives the image back at once, as it is.
        """
        if self._images and estimate.stamp <= self._images[-1].estimate.stamp:
            yield from self.rest(delay)
        self._images.append(_Image(item, estimate, camera))
        newest = estimate.stamp + _ROUNDING
        while self._done < len(self._images) and self._images[self._done].estimate.stamp + delay <= newest:
            yield self._next(delay)
        while self._done and self._images[0].estimate.stamp < self._oldest_needed(delay):
            del self._images[0]
            self._done -= 1

    def rest(self, delay: float) -> Iterator[tuple[Item, TwoHandEstimate]]:
        """The images that were not given back yet, at the end of a stream, which it ends."""
        while self._done < len(self._images):
            yield self._next(delay)
        self.clear()

    def clear(self) -> None:
        """Forget all images."""
        self._images.clear()
        self._done = 0

    def _oldest_needed(self, delay: float) -> float:
        pending = self._images[min(self._done, len(self._images) - 1)]
        return pending.estimate.stamp - delay - _ROUNDING

    def _next(self, delay: float) -> tuple[Item, TwoHandEstimate]:
        image = self._images[self._done]
        self._done += 1
        if delay == 0.0:
            return image.item, image.estimate
        final = [each.estimate for each in self._images]
        left, right = self._hands(image, image.estimate, final, delay)
        unrefined = None
        if image.estimate.unrefined is not None:
            before = [estimate.before_refinement() for estimate in final]
            unrefined = self._hands(image, image.estimate.before_refinement(), before, delay)
        return image.item, dataclasses.replace(image.estimate, left=left, right=right, unrefined=unrefined)

    def _hands(
        self, image: _Image[Item], own: TwoHandEstimate, around: list[TwoHandEstimate], delay: float
    ) -> tuple[HandEstimate, HandEstimate]:
        """Both hands of ``own``, the estimate of ``image``, smoothed by the estimates around it."""
        hands = []
        for side in Side:
            hand = own.hand(side)
            measured = [
                (each.stamp - own.stamp, other)
                for each in around
                if abs(each.stamp - own.stamp) <= delay + _ROUNDING
                and (other := each.hand(side)).state == HandState.TRACKED
                and other.track_id == hand.track_id
            ]
            times = np.array([time for time, _ in measured])
            # An extrapolated hand stays as it is.
            if hand.found and len(times) >= _LEAST_IMAGES and times.min() <= 0.0 <= times.max():
                hand = self._posed(hand, image, [other for _, other in measured], times, delay)
            hands.append(hand)
        return hands[Side.LEFT], hands[Side.RIGHT]

    def _posed(
        self, hand: HandEstimate, image: _Image[Item], measured: list[HandEstimate], times: np.ndarray, delay: float
    ) -> HandEstimate:
        """The hand with the fit to the poses that were measured at ``times`` (N,), seconds after the image."""
        weights = _weights(times, delay)
        wrists = np.stack([other.joints[WRIST] for other in measured])
        nearest = measured[int(np.abs(times).argmin())].rotations
        vectors = rotation_vectors(nearest.swapaxes(-1, -2) @ np.stack([other.rotations for other in measured]))
        rotations = nearest @ rotation_matrices(np.tensordot(weights, vectors, axes=1))
        model, mirrored = self._hand_model, image.estimate.mirrored
        return with_pose(hand, rotations, hand.betas, weights @ wrists, model, image.camera, mirrored)


def _weights(times: np.ndarray, delay: float) -> np.ndarray:
    """The weights (N,) of values at ``times`` (N,), seconds, in the fitted polynomial's value at time 0."""
    # The kernel is 0 beyond the images at the ends.
    nearness = np.clip(1.0 - (np.abs(times) / (_KERNEL * delay)) ** 3, 0.0, None) ** 3
    powers = (times[:, None] / delay) ** np.arange(_DEGREE + 1)
    weighted = powers * nearness[:, None]
    weights: np.ndarray = np.linalg.solve(weighted.T @ powers, weighted.T)[0]
    return weights
