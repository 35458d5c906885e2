"""An image, its camera and its depth image as the pipeline takes them."""

from __future__ import annotations

import numpy as np

from ..types import Camera, Frame
from .exposure import normalised


def checked_frame(image: np.ndarray, camera: Camera, stamp: float = 0.0, depth: np.ndarray | None = None) -> Frame:
    """The image with normalised brightness, in the frame of a camera whose centre is the origin.

    Arguments as of ``TwoHandReconstructor``. Raises ValueError where image or depth do not fit the camera or are of
    another type.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"image must be a uint8 array (height, width, 3) in BGR order, got {what}")
    if not camera.matches(image):
        raise ValueError(
            f"the camera is {camera.width}x{camera.height} but the image is {image.shape[1]}x{image.shape[0]}: "
            "pass the intrinsics of this image size"
        )
    return Frame(image=normalised(image), camera=camera.centred, stamp=stamp, depth=_checked_depth(depth, image))


def _checked_depth(depth: np.ndarray | None, image: np.ndarray) -> np.ndarray | None:
    if depth is None:
        return None
    if not isinstance(depth, np.ndarray) or depth.dtype.kind != "f" or depth.shape != image.shape[:2]:
        what = f"{depth.dtype} {depth.shape}" if isinstance(depth, np.ndarray) else type(depth).__name__
        raise ValueError(
            f"depth must be floats of the image's size {image.shape[:2]}, in metres and registered to it, got {what}"
        )
    return np.where((depth > 0.0) & np.isfinite(depth), depth, np.nan).astype(np.float32, copy=False)
