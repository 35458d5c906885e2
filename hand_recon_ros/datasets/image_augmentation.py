"""Augmentation of images for training."""

from __future__ import annotations

import math

import cv2
import numpy as np


def dyed(image: np.ndarray, skin: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image (H, W, 3) with hands of another colour, as with gloves; ``skin`` (H, W) uint8 is 255 on them."""
    grey = image.mean(axis=-1, keepdims=True)
    colour = rng.uniform(0.05, 1.0, 3) if rng.random() < 0.7 else np.full(3, rng.uniform(0.05, 1.2))
    level = max(float(grey[skin > 127].mean()) if (skin > 127).any() else 128.0, 1.0)
    dyed = np.clip((grey / level) ** rng.uniform(0.6, 1.2) * 255 * colour, 0, 255)
    alpha = skin[..., None].astype(np.float32) / 255.0
    return np.rint(alpha * dyed + (1 - alpha) * image).astype(np.uint8)


def augmented(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy of an image (H, W, 3) uint8 BGR with occluders, low resolution, blur, exposure, colour, exchanged channels
    (gloves have any colour), noise and compression, each at random."""
    height, width = image.shape[:2]
    image = np.array(image, order="C")
    if rng.random() < 0.15:
        image = _occluded(image, rng)
    if rng.random() < 0.35:
        scale = rng.uniform(0.2, 0.8)
        small = max(int(width * scale), 8), max(int(height * scale), 8)
        image = cv2.resize(cv2.resize(image, small, interpolation=cv2.INTER_AREA), (width, height))
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.8))
    if rng.random() < 0.15:
        length, angle = int(rng.integers(3, 12)), rng.uniform(0, 180)
        line = np.zeros((length, length), np.float32)
        line[length // 2] = 1.0 / length
        rotation = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), angle, 1.0)
        kernel = np.asarray(cv2.warpAffine(line, rotation, (length, length)))
        image = cv2.filter2D(image, -1, np.asarray(kernel / max(float(kernel.sum()), 1e-3), dtype=np.float32))
    if rng.random() < 0.1:
        image = image[..., rng.permutation(3)]
    pixels: np.ndarray = image.astype(np.float32)
    if rng.random() < 0.1:
        pixels[:] = pixels.mean(axis=-1, keepdims=True)
    dark = rng.random() < 0.12
    gain = rng.uniform(0.15, 0.5) if dark else np.exp(rng.normal(0, 0.25))
    pixels *= gain * np.exp(rng.normal(0, 0.1, 3)).astype(np.float32)
    if rng.random() < 0.3:
        pixels = 255 * (np.clip(pixels, 0, 255) / 255) ** np.float32(np.exp(rng.normal(0, 0.3)))
    if rng.random() < 0.4:
        middle, contrast = pixels.mean(), np.exp(rng.normal(0, 0.25))
        pixels = middle + (pixels - middle) * np.float32(contrast)
    if rng.random() < 0.5:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        pixels += noise * np.float32(rng.uniform(1, 14) * (0.5 if dark else 1.0))
    image = np.clip(pixels, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 90))])
        image = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))
    return image


def _occluded(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One or two plain shapes, such as the edge of a table or a tool, in front of everything."""
    size = min(image.shape[:2])
    for _ in range(int(rng.integers(1, 3))):
        colour = tuple(float(value) for value in rng.uniform(0, 255, 3))
        center = tuple(int(value) for value in rng.uniform(0, 1, 2) * image.shape[1::-1])
        axes = tuple(int(value) for value in np.exp(rng.uniform(math.log(0.02), math.log(0.25), 2)) * size)
        turn = float(rng.uniform(0, 180))
        if rng.random() < 0.5:
            cv2.ellipse(image, center, axes, turn, 0, 360, colour, -1, cv2.LINE_AA)
        else:
            corners = cv2.boxPoints((center, (2.0 * axes[0], 2.0 * axes[1]), turn))
            cv2.fillConvexPoly(image, np.rint(corners).astype(np.int32), colour, cv2.LINE_AA)
    return image
