"""From linear light to the picture a cheap camera gives: exposure, tone curve, blur, noise, 8 bits."""

from __future__ import annotations

import dataclasses
import functools

import cv2
import numba as nb
import numpy as np

_TILE = 1024


@dataclasses.dataclass(frozen=True)
class Photo:
    """How the picture is taken.

    Attributes:
        exposure: linear intensity that becomes middle bright; larger numbers give brighter pictures.
        white: gains of red, green and blue.
        blur: standard deviation of the lens and sensor blur, pixels.
        noise: standard deviation of the noise at mid-grey, 8-bit levels.
        vignette: how much darker the corners are, 0..1.
    """

    exposure: float = 1.0
    white: tuple[float, float, float] = (1.0, 1.0, 1.0)
    blur: float = 0.55
    noise: float = 2.0
    vignette: float = 0.15

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Photo:
        """A random camera with its automatics more or less right."""
        return cls(
            exposure=float(np.exp(rng.normal(0.0, 0.25))),
            white=tuple(float(np.exp(x)) for x in rng.normal(0, 0.06, 3)),  # type: ignore[arg-type]
            blur=float(rng.uniform(0.3, 1.1)),
            noise=float(rng.uniform(0.5, 6.0)),
            vignette=float(rng.uniform(0.0, 0.35)),
        )


def develop(linear: np.ndarray, photo: Photo, seed: int) -> np.ndarray:
    """The picture uint8 (H, W, 3) BGR of a linear image (H, W, 3) RGB; ``seed`` picks the noise."""
    if photo.blur > 0.05:
        linear = cv2.GaussianBlur(linear, (0, 0), photo.blur, borderType=cv2.BORDER_REPLICATE)
    height, width = linear.shape[:2]
    grain = _grain()
    row, column = np.random.default_rng(seed).integers(0, _TILE, 2)
    gains = np.array(photo.white) * photo.exposure
    out = np.empty((height, width, 3), dtype=np.uint8)
    _develop(np.ascontiguousarray(linear), gains, photo.vignette, photo.noise, grain, row, column, _curve(), out)
    return out


@functools.cache
def _curve() -> np.ndarray:
    """8-bit level over square root of linear intensity: sRGB with a soft shoulder."""
    x = np.linspace(0.0, 2.0, 4096) ** 2
    shoulder = x * (1 + x / 9.0) / (1 + x)
    bright = np.clip(1.45 * shoulder, 0, 1)
    srgb = np.where(bright <= 0.0031308, 12.92 * bright, 1.055 * bright ** (1 / 2.4) - 0.055)
    return (255.0 * np.clip(srgb, 0, 1)).astype(np.float32)


@functools.cache
def _grain() -> np.ndarray:
    """A tile of unit noise: most of it grey and slightly soft, as after a camera's own demosaicing."""
    rng = np.random.default_rng(20)
    grey = rng.standard_normal((_TILE, _TILE, 1)).astype(np.float32)
    grain = grey + cv2.GaussianBlur(rng.standard_normal((_TILE, _TILE, 3)).astype(np.float32), (0, 0), 0.8) * 1.6
    return np.ascontiguousarray(grain / grain.std())


@nb.njit(cache=True, nogil=True, fastmath=True)
def _develop(linear, gains, vignette, noise, grain, row, column, curve, out):  # type: ignore[no-untyped-def]
    height, width = out.shape[:2]
    tile = grain.shape[0]
    top = curve.shape[0] - 1
    radius2 = 0.25 * (height * height + width * width)
    for y in range(height):
        dy = y - 0.5 * (height - 1)
        for x in range(width):
            dx = x - 0.5 * (width - 1)
            fall = 1.0 - vignette * (dx * dx + dy * dy) / radius2
            gy, gx = (y + row) % tile, (x + column) % tile
            for k in range(3):
                value = max(linear[y, x, k] * gains[k] * fall, 0.0)
                place = min(np.sqrt(value) * 0.5, 1.0) * top
                i = int(place)
                j = min(i + 1, top)
                level = curve[i] + (place - i) * (curve[j] - curve[i])
                # Shot noise shows most in the middle of the curve.
                level += noise * (0.55 + level * (0.00706 - 0.0000235 * level)) * grain[gy, gx, k]
                out[y, x, 2 - k] = np.uint8(min(max(level + 0.5, 0.0), 255.0))
