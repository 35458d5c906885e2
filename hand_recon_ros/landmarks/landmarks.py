"""Hand landmarks in a crop: the network's outputs as keypoints in the image."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..runtime.sessions import Session
from .crops import crop, tracking_box
from .observation import RotatedBox

DEPTH_UNIT = 0.4
"""The network's z is to be divided by this to have the scale of its x and y."""

_DOUBTFUL = 0.015
"""Standard deviation of a keypoint, as a part of the hand's extent, that adds as much error as steady ones have."""

UNSTEADY = 0.06
"""Standard deviation of keypoints over several looks, as a part of the hand's extent, above which it is hardly a hand:
on real hands in photographs the mean over keypoints was 0.016 and at most 0.048, on other things 0.04 to 0.26."""


@dataclasses.dataclass(frozen=True, eq=False)
class HandLandmarks:
    """One hand as the landmark network sees it in one square.

    Attributes:
        keypoints: (21, 2), pixels of the image.
        screen_depth: (21,), relative to the wrist, pixels, negative towards the camera.
        world: (21, 3), metres, the rotation of the square undone.
        presence: probability that the square shows a hand.
        right: probability that it is (or looks like) a right hand.
        roi: the square.
        stem: the network's inner features of the square, one after another, where they were asked for.
        mirrored: whether the network was shown the square's mirror image; the stem is of that.
    """

    keypoints: np.ndarray
    screen_depth: np.ndarray
    world: np.ndarray
    presence: float
    right: float
    roi: RotatedBox
    stem: np.ndarray | None = None
    mirrored: bool = False

    @property
    def size(self) -> float:
        """Extent of the hand in the image: the larger side of the box around its keypoints, pixels."""
        return float(max(np.ptp(self.keypoints, axis=0).max(), 1e-6))

    def next_roi(self) -> RotatedBox:
        """The square to look for this hand in again."""
        return tracking_box(self.keypoints)


def decode(outputs: tuple[np.ndarray, ...], roi: RotatedBox, size: int, mirrored: bool = False) -> HandLandmarks:
    """Landmarks from the outputs of the network for one square: 63 screen, presence, handedness, 63 world, and inner
    features if there are any; ``mirrored`` if they are those of the square's mirror image."""
    screen, presence, right, world = _mirrored(outputs[:4], size) if mirrored else outputs[:4]
    screen = screen.reshape(21, 3).astype(np.float64)
    world = world.reshape(21, 3).astype(np.float64)
    world[:, :2] = world[:, :2] @ roi.axes.T
    return HandLandmarks(
        keypoints=roi.to_image(screen[:, :2] / size),
        screen_depth=(screen[:, 2] - screen[0, 2]) * (roi.size / size / DEPTH_UNIT),
        world=world,
        presence=float(presence.reshape(-1)[0]),
        right=float(right.reshape(-1)[0]),
        roi=roi,
        stem=stem_of(outputs) if len(outputs) > 4 else None,
        mirrored=mirrored,
    )


def stem_of(outputs: tuple[np.ndarray, ...]) -> np.ndarray:
    """Inner features of one square, one after another (N,), from the outputs of a network that gives them."""
    return np.concatenate([features.ravel() for features in outputs[4:]])


def read_landmarks(
    session: Session, image: np.ndarray, rois: Sequence[RotatedBox], mirrored: bool | Sequence[bool] = False
) -> list[HandLandmarks]:
    """Landmarks in each square of a BGR image, in the order given.

    ``mirrored``, said of all squares or of each, shows the network mirror images; the results are those of the image
    all the same.
    """
    capacity = len(session.inputs)
    turned = [mirrored] * len(rois) if isinstance(mirrored, bool) else list(mirrored)
    result: list[HandLandmarks] = []
    for start in range(0, len(rois), capacity):
        part = list(zip(rois[start : start + capacity], turned[start : start + capacity], strict=True))
        for buffer, (roi, flipped) in zip(session.inputs, part, strict=False):
            crop(image, roi, buffer)
            if flipped:
                buffer[:] = buffer[:, ::-1].copy()
        for outputs, (roi, flipped) in zip(session.run(len(part)), part, strict=True):
            result.append(decode(outputs, roi, session.size, flipped))
    return result


def _mirrored(outputs: tuple[np.ndarray, ...], size: int) -> tuple[np.ndarray, ...]:
    """Outputs for a square from those for its mirror image."""
    screen, presence, right, world = (output.copy() for output in outputs)
    screen.reshape(21, 3)[:, 0] = size - 1 - screen.reshape(21, 3)[:, 0]
    world.reshape(21, 3)[:, 0] *= -1
    return screen, presence, 1 - right, world


def joint_scores(hand: HandLandmarks, width: int, height: int, unsteadiness: np.ndarray | None = None) -> np.ndarray:
    """Confidence of each keypoint (21,), 0..1. The network gives none, so it is made of what can be observed:

    - the presence of the hand as a whole;
    - less for keypoints outside the image, falling to 1/e at a tenth of the hand's extent beyond the border;
    - less for keypoints that are not found in the same place again. ``unsteadiness`` (21,) is their standard
      deviation u, as a part of the hand's extent: over several looks at a still image, or over the images of a track.
      The factor is 1 / sqrt(1 + (u / 0.015)^2): the error of a steady keypoint over the error to be expected, as
      measured on rendered hands (rms error 0.035 of the extent at u = 0, 0.05 at 0.015, 0.075 at 0.04, 0.12 at 0.06).
    """
    beyond = np.maximum(np.maximum(-hand.keypoints, hand.keypoints - np.array([width - 1, height - 1])), 0).max(axis=1)
    scores = hand.presence * np.exp(-beyond / (0.1 * hand.size))
    if unsteadiness is not None:
        scores = scores / np.sqrt(1 + (unsteadiness / _DOUBTFUL) ** 2)
    return scores
