"""Hand landmarks in a crop: the network's outputs as keypoints in the image."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import cv2
import numpy as np

from ..runtime.sessions import Session
from .crops import crop, tracking_box
from .observation import RotatedBox

DEPTH_UNIT = 0.4
"""The network's z is to be divided by this to have the scale of its x and y."""

_DOUBTFUL = 0.015
"""Standard deviation of a keypoint, as a part of the hand's extent, that adds as much error as steady ones have."""

UNSTEADY = 0.06
"""Standard deviation of keypoints over several crops, as a part of the hand's extent, above which it is no hand:
on real hands in photographs the mean over keypoints was 0.016 and at most 0.048, on other things 0.04 to 0.26."""


@dataclasses.dataclass(frozen=True, eq=False)
class HandLandmarks:
    """Output of the landmark network for one crop, in the image.

    Attributes:
        keypoints: (21, 2), pixels of the image.
        screen_depth: (21,), relative to the wrist, pixels, negative towards the camera.
        world: (21, 3), metres, the rotation of the crop undone.
        presence: probability that the crop shows a hand.
        right: probability that it looks like a right hand.
        roi: the box of the crop.
        stem: the network's inner features of the crop, flattened; None where they were not asked for.
        mirrored: whether the network evaluated the mirror image of the crop; the stem is of that.
        grey: whether it evaluated the crop without its colours. It then finds many hands in gloves that it rejects
            otherwise.
    """

    keypoints: np.ndarray
    screen_depth: np.ndarray
    world: np.ndarray
    presence: float
    right: float
    roi: RotatedBox
    stem: np.ndarray | None = None
    mirrored: bool = False
    grey: bool = False

    @functools.cached_property
    def size(self) -> float:
        """Extent of the hand in the image: the larger side of the box around its keypoints, pixels."""
        return float(max(np.ptp(self.keypoints, axis=0).max(), 1e-6))

    @functools.cached_property
    def next_roi(self) -> RotatedBox:
        """The box of the next crop of this hand."""
        return tracking_box(self.keypoints)


def decode(
    outputs: tuple[np.ndarray, ...], roi: RotatedBox, size: int, mirrored: bool = False, grey: bool = False
) -> HandLandmarks:
    """Landmarks from the network's outputs for one crop: 63 screen, presence, handedness, 63 world, and inner features
    if there are any; ``mirrored``: they are of the crop's mirror image, ``grey``: of the crop without its colours."""
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
        grey=grey,
    )


def stem_of(outputs: tuple[np.ndarray, ...]) -> np.ndarray:
    """Inner features of one crop, flattened (N,), from the outputs of a network loaded with them."""
    return np.concatenate([features.ravel() for features in outputs[4:]])


def read_landmarks(
    session: Session,
    image: np.ndarray,
    rois: Sequence[RotatedBox],
    mirrored: bool | Sequence[bool] = False,
    grey: bool | Sequence[bool] = False,
    stems: bool = False,
) -> list[HandLandmarks]:
    """Landmarks in each box of a BGR image, in the order given.

    ``mirrored`` and ``grey``, for all boxes or for each, evaluate mirror images of the crops, and crops without their
    colours; the results are in the image. ``stems``: with the inner features, which take some time.
    """
    capacity = len(session.inputs)
    flags = [[each] * len(rois) if isinstance(each, bool) else list(each) for each in (mirrored, grey)]
    crops = list(zip(rois, *flags, strict=True))
    result: list[HandLandmarks] = []
    for start in range(0, len(crops), capacity):
        part = crops[start : start + capacity]
        for outputs, (roi, flipped, colourless) in zip(_run(session, image, part, stems), part, strict=True):
            result.append(decode(outputs, roi, session.size, flipped, colourless))
    return result


def _run(
    session: Session, image: np.ndarray, crops: Sequence[tuple[RotatedBox, bool, bool]], stems: bool
) -> list[tuple[np.ndarray, ...]]:
    """The network's outputs for crops: box, whether it is mirrored, whether it has no colours."""

    def fill(index: int) -> None:
        buffer = session.inputs[index]
        roi, mirrored, grey = crops[index]
        if mirrored and index > 0 and crops[index - 1] == (roi, False, grey):
            cv2.flip(session.inputs[index - 1], 1, buffer)
            return
        crop(image, roi, buffer)
        if mirrored:
            cv2.flip(buffer, 1, buffer)
        if grey:
            buffer[:] = cv2.cvtColor(buffer, cv2.COLOR_BGR2GRAY)[..., None]

    return session.run(len(crops), fill, stems)


def _mirrored(outputs: tuple[np.ndarray, ...], size: int) -> tuple[np.ndarray, ...]:
    """Outputs for a crop from those for its mirror image."""
    screen, presence, right, world = (output.copy() for output in outputs)
    screen.reshape(21, 3)[:, 0] = size - 1 - screen.reshape(21, 3)[:, 0]
    world.reshape(21, 3)[:, 0] *= -1
    return screen, presence, 1 - right, world


def joint_scores(hand: HandLandmarks, width: int, height: int, unsteadiness: np.ndarray | None = None) -> np.ndarray:
    """Confidence of each keypoint (21,), 0..1. The network has no such output, so it is derived:

    - the presence of the hand as a whole;
    - less for keypoints outside the image, falling to 1/e at a tenth of the hand's extent beyond the border;
    - less for keypoints whose place varies. ``unsteadiness`` (21,) is their standard
      deviation u, as a part of the hand's extent: over several crops of a single image, or over the images of a track.
      The factor is 1 / sqrt(1 + (u / 0.015)^2): the error of a steady keypoint over the error to be expected, as
      measured on rendered hands (rms error 0.035 of the extent at u = 0, 0.05 at 0.015, 0.075 at 0.04, 0.12 at 0.06).
    """
    beyond = np.maximum(np.maximum(-hand.keypoints, hand.keypoints - np.array([width - 1, height - 1])), 0).max(axis=1)
    scores = hand.presence * np.exp(-beyond / (0.1 * hand.size))
    if unsteadiness is not None:
        scores = scores / np.sqrt(1 + (unsteadiness / _DOUBTFUL) ** 2)
    return scores
