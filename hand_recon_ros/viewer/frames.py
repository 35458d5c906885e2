"""What a viewer shows at a time: the hands of an image, and the image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from ..camera import Camera
from ..types import TwoHandEstimate


class ViewError(RuntimeError):
    """Something cannot be shown; the message is one line for the user."""


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """An image and its camera.

    Attributes:
        image: uint8 (H, W, 3), BGR.
        camera: of the image.
    """

    image: np.ndarray
    camera: Camera


def no_picture() -> Picture | None:
    """That of hands without an image."""
    return None


@dataclasses.dataclass(frozen=True, eq=False)
class ViewedFrame:
    """The hands of an image.

    Attributes:
        estimate: the hands; its ``stamp`` is the image's.
        picture: the image that the hands were found in; called once, only for what is drawn, and always on the same
            thread. None where there is none.
        latency: from the image's stamp to the hands, seconds; NaN where it is not known.
        frame_id: the frame of the hands; empty where it has no name.
    """

    estimate: TwoHandEstimate
    picture: Callable[[], Picture | None] = no_picture
    latency: float = float("nan")
    frame_id: str = ""
