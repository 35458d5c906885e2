"""Photographs as backgrounds: those inside the package scikit-image that are free of rights and show no hands."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import cv2
import numpy as np

from ..config import ConfigError
from ..image_files import read_image
from .skin import to_linear

PHOTOGRAPHS = {
    "train": (
        "brick.png", "chelsea.png", "coffee.png", "coins.png", "gravel.png", "hubble_deep_field.jpg", "retina.jpg",
    ),
    "val": ("grass.png", "rocket.jpg"),
    "test": ("astronaut.png", "ihc.png", "text.png"),
}  # fmt: skip
"""Files of skimage/data by split; no file is in two splits."""

_LINEAR = to_linear(np.arange(256.0)).astype(np.float32)


def photograph(split: str, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A random part of a photograph of a split (height, width, 3), linear RGB float32, flipped and tinted at random.

    Raises ValueError for another split, ConfigError where scikit-image is not installed.
    """
    if split not in PHOTOGRAPHS:
        raise ValueError(f"unknown split {split!r}, expected one of: {', '.join(PHOTOGRAPHS)}")
    names = PHOTOGRAPHS[split]
    image = read_photograph(names[rng.integers(len(names))])
    available = np.array([image.shape[1], image.shape[0]])
    size = np.array([width, height]) * (float((available / (width, height)).min()) * rng.uniform(0.4, 1.0))
    left, top = (rng.uniform(0, 1, 2) * (available - size)).astype(int)
    columns, rows = np.maximum(size.astype(int), 2)
    part = image[top : top + rows, left : left + columns, ::-1]
    part = part[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
    # Resized before the conversion to linear light: fewer pixels to convert, at about the same brightness.
    part = _LINEAR[cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=cv2.INTER_AREA)]
    tint = np.exp(rng.normal(0, 0.3) + rng.normal(0, 0.15, 3)).astype(np.float32)
    sharp = rng.random() < 0.4
    part = part if sharp else cv2.GaussianBlur(part, (0, 0), width * rng.uniform(0.001, 0.008))
    return np.asarray(part * tint)


@functools.lru_cache(maxsize=4)
def read_photograph(name: str) -> np.ndarray:
    """A file of skimage/data, uint8 (H, W, 3) BGR."""
    # OpenCV reads the file: skimage's own reader would import the whole of SciPy.
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "the stream of training samples uses photographs of the package scikit-image, which is not installed: "
            "pip install 'hand_recon_ros[train]', or scikit-image itself"
        )
    path = Path(spec.origin).parent / "data" / name
    try:
        return read_image(path)
    except OSError as error:
        raise ConfigError(f"{path}: missing, or not an image; scikit-image 0.22 to 0.26 have it") from error
