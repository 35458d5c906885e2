"""Backgrounds: procedural rooms, desks, walls and clutter, out of focus, and parts of photographs."""

from __future__ import annotations

import functools
from collections.abc import Callable

import cv2
import numpy as np

from .noise import noise_image
from .photographs import photograph
from .skin import to_linear

KINDS = ("room", "desk", "clutter", "plain", "photograph")


def background(
    kind: str, height: int, width: int, seed: int, skin: np.ndarray | None = None, split: str = "train"
) -> np.ndarray:
    """A linear RGB image (height, width, 3) float32 without hands.

    Args:
        kind: of KINDS: a room behind a person at a webcam, a desk seen from above, random shapes, a plain wall, part of
            a photograph.
        height, width: pixels.
        seed: of everything random in it.
        skin: linear RGB (3,) of the skin of the person in the room; random by default.
        split: whose photographs may be used.

    Raises ValueError for another kind or split, ConfigError for a photograph where scikit-image is not installed.
    """
    painters: dict[str, Callable[..., np.ndarray]] = {
        "room": functools.partial(_room, skin=skin),
        "desk": _desk,
        "clutter": _clutter,
        "plain": _plain,
        "photograph": functools.partial(photograph, split),
    }
    if kind not in painters:
        raise ValueError(f"unknown background {kind!r}, expected one of: {', '.join(KINDS)}")
    rng = np.random.default_rng(seed)
    image = painters[kind](height, width, rng)
    return np.ascontiguousarray(np.clip(image, 0.001, 3.0), dtype=np.float32)


def _colour(rng: np.random.Generator, low: float = 30, high: float = 225, vivid: float = 30) -> np.ndarray:
    """A random colour, linear RGB: grey with a tint of standard deviation ``vivid``."""
    return to_linear(tuple(np.clip(rng.uniform(low, high) + rng.normal(0, vivid, 3), 5, 250)))


def _canvas(height: int, width: int, colour: np.ndarray) -> np.ndarray:
    return np.tile(colour.astype(np.float32), (height, width, 1))


def _ramp(height: int, width: int, rng: np.random.Generator, strength: float) -> np.ndarray:
    """A slow change of brightness across the image (height, width, 1)."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)
    return np.exp(strength * ramp)[..., None].astype(np.float32)


def _draw_rectangle(image: np.ndarray, box: np.ndarray, colour: np.ndarray, angle: float = 0.0) -> None:
    centre, size = (box[:2] + box[2:]) / 2, np.maximum(box[2:] - box[:2], 1)
    corners = cv2.boxPoints((tuple(map(float, centre)), tuple(map(float, size)), angle))
    cv2.fillConvexPoly(image, np.rint(corners * 16).astype(np.int32), colour.tolist(), cv2.LINE_AA, 4)


def _add_texture(image: np.ndarray, rng: np.random.Generator, cells: float, strength: float) -> np.ndarray:
    height, width = image.shape[:2]
    return image * np.exp(strength * noise_image(height, width, cells, 3, int(rng.integers(2**31))))[..., None]


def _room(height: int, width: int, rng: np.random.Generator, skin: np.ndarray | None) -> np.ndarray:
    """A wall with furniture and framed pictures, and a person's shoulders and head in front of it."""
    size = np.array([width, height, width, height], dtype=float)
    image = _canvas(height, width, _colour(rng, 120, 215, 10))
    floor = rng.uniform(0.72, 0.95)
    _draw_rectangle(image, np.array([-0.1, floor, 1.1, 1.2]) * size, _colour(rng, 60, 150, 14))
    for _ in range(rng.integers(1, 4)):
        x, y = rng.uniform(0.0, 0.9), rng.uniform(0.05, 0.4)
        frame = np.array([x, y, x + rng.uniform(0.08, 0.2), y + rng.uniform(0.1, 0.22)]) * size
        _draw_rectangle(image, frame, _colour(rng, 20, 90, 10))
        inner = frame + np.array([1, 1, -1, -1]) * 0.012 * width
        _draw_rectangle(image, inner, _colour(rng, 80, 230, 35))
    if rng.random() < 0.5:
        left = rng.choice([rng.uniform(-0.15, 0.1), rng.uniform(0.6, 0.8)])
        _draw_window(image, np.array([left, 0.02, left + rng.uniform(0.22, 0.4), rng.uniform(0.4, 0.6)]) * size, rng)
    else:
        _draw_shelf(image, rng, size)
    image = _add_texture(image, rng, 6, 0.06) * _ramp(height, width, rng, rng.uniform(0.2, 0.9))
    image = cv2.GaussianBlur(image.astype(np.float32), (0, 0), width * rng.uniform(0.004, 0.009))
    return _add_person(image, rng, skin)


def _draw_window(image: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> None:
    _draw_rectangle(image, box, _colour(rng, 180, 240, 6))
    pane = rng.uniform(0.9, 2.0) * np.array([0.92, 1.0, 1.1])
    gap = 0.012 * image.shape[1]
    middle = (box[0] + box[2]) / 2
    for left, right in ((box[0] + gap, middle - gap / 2), (middle + gap / 2, box[2] - gap)):
        _draw_rectangle(image, np.array([left, box[1] + gap, right, box[3] - gap]), pane)


def _draw_shelf(image: np.ndarray, rng: np.random.Generator, size: np.ndarray) -> None:
    left, width = rng.uniform(-0.05, 0.7), rng.uniform(0.25, 0.45)
    wood = _colour(rng, 60, 160, 18)
    for top in np.arange(rng.uniform(0.1, 0.3), 0.8, rng.uniform(0.18, 0.26)):
        x = left + 0.01
        while x < left + width - 0.02:
            thickness, tall = rng.uniform(0.012, 0.035), rng.uniform(0.08, 0.16)
            _draw_rectangle(image, np.array([x, top - tall, x + thickness, top]) * size, _colour(rng, 30, 210, 40))
            x += thickness + (rng.uniform(0.0, 0.05) if rng.random() < 0.2 else 0.001)
        _draw_rectangle(image, np.array([left, top, left + width, top + 0.018]) * size, wood)


def _add_person(image: np.ndarray, rng: np.random.Generator, skin: np.ndarray | None) -> np.ndarray:
    height, width = image.shape[:2]
    layer, mask = image.copy(), np.zeros((height, width), dtype=np.float32)
    shirt = _colour(rng, 25, 200, 28)
    x, top = width * rng.uniform(0.42, 0.58), height * rng.uniform(0.42, 0.55)
    half = width * rng.uniform(0.22, 0.28)
    shoulders = np.array([
        [x - half * 1.25, height * 1.2], [x - half, top + 0.16 * height], [x - half * 0.78, top + 0.07 * height],
        [x - half * 0.25, top], [x + half * 0.25, top], [x + half * 0.78, top + 0.07 * height],
        [x + half, top + 0.16 * height], [x + half * 1.25, height * 1.2],
    ])  # fmt: skip
    # The shirt is filled last: it covers the end of the neck.
    skin = to_linear((205.0, 150.0, 122.0)) * rng.uniform(0.25, 1.0) if skin is None else 0.8 * skin
    hair = _colour(rng, 12, 80, 3)
    head, wide, tall = (x, top - 0.19 * height), 0.34 * half, 0.20 * height
    _draw_ellipse(layer, mask, (x, head[1] - 0.14 * tall), (1.14 * wide, 1.06 * tall), hair)
    _draw_patch(layer, mask, (x - 0.55 * wide, head[1], x + 0.55 * wide, top + 0.06 * height), 0.75 * skin)
    _draw_ellipse(layer, mask, (x, head[1] + 0.10 * tall), (wide, 0.92 * tall), skin)
    for side in (-1, 1):
        _draw_ellipse(
            layer, mask, (x + side * 0.42 * wide, head[1] - 0.02 * tall), (0.2 * wide, 0.06 * tall), 0.25 * skin
        )
        _draw_ellipse(
            layer, mask, (x + side * 0.42 * wide, head[1] - 0.17 * tall), (0.26 * wide, 0.04 * tall), 0.5 * hair
        )
    _draw_ellipse(layer, mask, (x, head[1] + 0.30 * tall), (0.16 * wide, 0.06 * tall), 0.6 * skin)
    _draw_ellipse(layer, mask, (x, head[1] + 0.55 * tall), (0.34 * wide, 0.05 * tall), skin * (0.6, 0.35, 0.35))
    _draw_ellipse(layer, mask, (x, head[1] - 0.86 * tall), (0.95 * wide, 0.36 * tall), hair)
    points = np.rint(_round_corners(shoulders) * 16).astype(np.int32)
    cv2.fillPoly(layer, [points], shirt.tolist(), cv2.LINE_AA, 4)
    cv2.fillPoly(mask, [points], 1.0, cv2.LINE_AA, 4)
    folds = noise_image(height, width, 7, 3, int(rng.integers(2**31)))[..., None]
    side = np.clip((np.mgrid[0:height, 0:width][1] - x) / half, -1.5, 1.5)[..., None]
    layer = layer * np.exp(0.22 * folds + rng.uniform(-0.35, 0.35) * side)
    blur = width * rng.uniform(0.005, 0.009)
    share = cv2.GaussianBlur(mask, (0, 0), blur)[..., None]
    layer = cv2.GaussianBlur(layer.astype(np.float32), (0, 0), blur)
    return image * (1 - share) + layer * share


def _draw_patch(layer: np.ndarray, mask: np.ndarray, box: tuple[float, ...], colour: np.ndarray) -> None:
    corners = (round(box[0]), round(box[1])), (round(box[2]), round(box[3]))
    cv2.rectangle(layer, *corners, colour.tolist(), -1)
    cv2.rectangle(mask, *corners, 1.0, -1)


def _draw_ellipse(
    layer: np.ndarray, mask: np.ndarray, centre: tuple[float, float], half: tuple[float, float], colour: np.ndarray
) -> None:
    shape = (tuple(map(float, centre)), (2 * float(half[0]), 2 * float(half[1])), 0.0)
    cv2.ellipse(layer, shape, colour.tolist(), -1, cv2.LINE_AA)
    cv2.ellipse(mask, shape, 1.0, -1, cv2.LINE_AA)


def _round_corners(corners: np.ndarray) -> np.ndarray:
    """A closed curve from a polygon (N, 2): corner cutting (Chaikin 1974), three times."""
    for _ in range(3):
        ends = np.roll(corners, -1, axis=0)
        cut = [0.75 * corners + 0.25 * ends, 0.25 * corners + 0.75 * ends]
        corners = np.stack(cut, axis=1).reshape(-1, 2)
    return corners


def _desk(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A table top with sheets of paper and other rectangles, and at times a keyboard, seen from above."""
    wood = to_linear(tuple(np.clip(np.array([150, 112, 80]) * rng.uniform(0.5, 1.35) + rng.normal(0, 12, 3), 20, 240)))
    image = _canvas(height, width, wood)
    y = np.mgrid[0:height, 0:width][0] / width
    warp = noise_image(height, width, 4, 3, int(rng.integers(2**31)))
    grain = np.sin(2 * np.pi * (y * 14 + 1.2 * warp)) * 0.10 + 0.08 * noise_image(
        height, width, 70, 2, int(rng.integers(2**31))
    )
    image *= np.exp(grain * rng.uniform(0.3, 1.4))[..., None]
    image = image.astype(np.float32)
    for _ in range(rng.integers(1, 6)):
        centre = rng.uniform(-0.05, 1.05, 2) * (width, height)
        half = rng.uniform(0.05, 0.25, 2) * width
        box = np.concatenate([centre - half, centre + half])
        angle = float(rng.uniform(-40, 40))
        _draw_rectangle(image, box + 0.012 * width, wood * 0.45, angle)
        _draw_rectangle(image, box, _colour(rng, 20, 245, 25), angle)
    if rng.random() < 0.5:
        _draw_keyboard(image, rng)
    image = _add_texture(image, rng, 40, 0.04) * _ramp(height, width, rng, rng.uniform(0.2, 1.0))
    return cv2.GaussianBlur(image.astype(np.float32), (0, 0), width * rng.uniform(0.001, 0.004))


def _draw_keyboard(image: np.ndarray, rng: np.random.Generator) -> None:
    height, width = image.shape[:2]
    left, top = rng.uniform(0.1, 0.4) * width, rng.uniform(0.02, 0.3) * height
    key = 0.032 * width
    body, cap = _colour(rng, 15, 220, 5), _colour(rng, 15, 230, 5)
    _draw_rectangle(image, np.array([left - 0.4 * key, top - 0.4 * key, left + 15 * key, top + 5.2 * key]), body)
    for row in range(5):
        for column in range(14):
            x, y = left + (column + 0.25 * (row % 2)) * key, top + row * key
            _draw_rectangle(image, np.array([x, y, x + 0.84 * key, y + 0.84 * key]), cap)


def _clutter(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    image = _canvas(height, width, _colour(rng))
    for _ in range(rng.integers(8, 40)):
        centre = rng.uniform(0, 1, 2) * (width, height)
        half = rng.uniform(0.02, 0.3, 2) * width
        colour = _colour(rng, 10, 245, 45)
        if rng.random() < 0.5:
            _draw_rectangle(image, np.concatenate([centre - half, centre + half]), colour, float(rng.uniform(0, 180)))
        else:
            shape = (tuple(map(float, centre)), tuple(map(float, 2 * half)), float(rng.uniform(0, 180)))
            cv2.ellipse(image, shape, colour.tolist(), -1, cv2.LINE_AA)
    image = _add_texture(image, rng, rng.uniform(5, 60), rng.uniform(0.05, 0.35)) * _ramp(height, width, rng, 0.6)
    return cv2.GaussianBlur(image.astype(np.float32), (0, 0), width * rng.uniform(0.001, 0.012))


def _plain(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    image = _canvas(height, width, _colour(rng, 40, 235, 12))
    return _add_texture(image, rng, rng.uniform(2, 10), 0.05) * _ramp(height, width, rng, rng.uniform(0.0, 1.2))
