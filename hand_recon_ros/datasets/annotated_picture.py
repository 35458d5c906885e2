"""A real picture and its annotated hands."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from ..types import Camera, CameraError, Frame, Side
from .annotated import read_picture
from .annotations import AnnotationError

FIELD_OF_VIEW = 60.0
"""Horizontal, of pictures without intrinsics, degrees."""


@dataclasses.dataclass(frozen=True, eq=False)
class AnnotatedHand:
    """A hand in a picture.

    Attributes:
        side: anatomical; None where it cannot be seen.
        box: x0, y0, x1, y1 (4,), pixels.
        occluded: whether the hand is mostly hidden.
        person: whose hand it is, 0 for the person in question.
        keypoints_2d: (21, 2), pixels, NaN where not annotated; None where none is.
    """

    side: Side | None
    box: np.ndarray
    occluded: bool = False
    person: int = 0
    keypoints_2d: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class AnnotatedPicture:
    """A picture and its hands.

    Attributes:
        path: of the picture's file; ``file`` is the same as the annotations have it.
        kind: how the hands lie to each other. ``tags``: words about the picture.
        hands: in the order of the annotations.
        K: intrinsics (3, 3); None where they are unknown.
        size: width and height by the annotations, pixels; None where they do not state them.
    """

    path: Path
    file: str
    kind: str
    tags: tuple[str, ...]
    hands: tuple[AnnotatedHand, ...]
    K: np.ndarray | None = None
    size: tuple[int, int] | None = None

    def frame(self) -> Frame:
        """Read the picture; raises AnnotationError where it cannot be read or is not of the annotated size."""
        image = read_picture(self.path, self.size)
        height, width = image.shape[:2]
        if self.K is None:
            return Frame(image, Camera.from_fov(width, height, FIELD_OF_VIEW))
        try:
            return Frame(image, Camera(K=self.K, width=width, height=height))
        except CameraError as error:
            raise AnnotationError(f"{self.path}: {error}") from error
