"""Camera response: exposure, white balance, tone curve, lens blur, vignetting and noise of a cheap camera, 8 bits."""

from __future__ import annotations

import dataclasses
import functools

import cv2
import numba as nb
import numpy as np

_TILE = 1024


@dataclasses.dataclass(frozen=True)
class CameraResponse:
    """How a camera turns linear light into an 8-bit image.

    Attributes:
        exposure: gain before the tone curve; larger values give brighter images.
        white_balance: gains of red, green and blue.
        blur: standard deviation of the lens and sensor blur, pixels.
        noise: standard deviation of the noise at mid-grey, 8-bit levels.
        vignette: how much darker the corners are, 0..1.
    """

    exposure: float = 1.0
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    blur: float = 0.55
    noise: float = 2.0
    vignette: float = 0.15

    @classmethod
    def sample(cls, rng: np.random.Generator) -> CameraResponse:
        """A random camera whose automatic exposure and white balance are slightly off."""
        return cls(
            exposure=float(np.exp(rng.normal(0.0, 0.25))),
            white_balance=tuple(float(np.exp(x)) for x in rng.normal(0, 0.06, 3)),  # type: ignore[arg-type]
            blur=float(rng.uniform(0.3, 1.1)),
            noise=float(rng.uniform(0.5, 6.0)),
            vignette=float(rng.uniform(0.0, 0.35)),
        )


def simulate_camera(linear: np.ndarray, response: CameraResponse, seed: int) -> np.ndarray:
    """The image uint8 (H, W, 3) BGR that a camera takes of linear light.

    Args:
        linear: linear RGB intensities (H, W, 3) float32.
        response: of the camera.
        seed: of the noise.

    Raises ValueError where ``linear`` has another shape.
    """
    if linear.ndim != 3 or linear.shape[2] != 3:
        raise ValueError(f"expected a linear image (H, W, 3), got shape {linear.shape}")
    if response.blur > 0.05:
        linear = cv2.GaussianBlur(linear, (0, 0), response.blur, borderType=cv2.BORDER_REPLICATE)
    row, column = np.random.default_rng(seed).integers(0, _TILE, 2)
    gains = np.array(response.white_balance) * response.exposure
    out = np.empty(linear.shape, dtype=np.uint8)
    _apply_response(
        np.ascontiguousarray(linear), gains, response.vignette, response.noise, _noise_tile(), row, column,
        _tone_curve(), out,
    )  # fmt: skip
    return out


@functools.cache
def _tone_curve() -> np.ndarray:
    """8-bit levels (4096,) over the square root of the linear intensity 0..4: sRGB with a soft shoulder."""
    x = np.linspace(0.0, 2.0, 4096) ** 2
    shoulder = x * (1 + x / 9.0) / (1 + x)
    bright = np.clip(1.45 * shoulder, 0, 1)
    srgb = np.where(bright <= 0.0031308, 12.92 * bright, 1.055 * bright ** (1 / 2.4) - 0.055)
    return (255.0 * np.clip(srgb, 0, 1)).astype(np.float32)


@functools.cache
def _noise_tile() -> np.ndarray:
    """Noise (_TILE, _TILE, 3) of unit variance: mostly grey and slightly soft, as after a camera's demosaicing."""
    rng = np.random.default_rng(20)
    grey = rng.standard_normal((_TILE, _TILE, 1)).astype(np.float32)
    noise = grey + cv2.GaussianBlur(rng.standard_normal((_TILE, _TILE, 3)).astype(np.float32), (0, 0), 0.8) * 1.6
    return np.ascontiguousarray(noise / noise.std())


@nb.njit(cache=True, nogil=True, fastmath=True)
def _apply_response(linear, gains, vignette, noise, noise_tile, row, column, curve, out):  # type: ignore[no-untyped-def]
    """Write ``out`` (H, W, 3) uint8 BGR from ``linear`` (H, W, 3) float32 RGB; noise from (row, column) of the tile.

    ``gains`` is (3,) float64, ``noise_tile`` (T, T, 3) float32, ``curve`` (N,) float32.
    """
    height, width = out.shape[:2]
    tile = noise_tile.shape[0]
    top = curve.shape[0] - 1
    radius2 = 0.25 * (height * height + width * width)
    for y in range(height):
        dy = y - 0.5 * (height - 1)
        for x in range(width):
            dx = x - 0.5 * (width - 1)
            falloff = 1.0 - vignette * (dx * dx + dy * dy) / radius2
            ty, tx = (y + row) % tile, (x + column) % tile
            for k in range(3):
                value = max(linear[y, x, k] * gains[k] * falloff, 0.0)
                position = min(np.sqrt(value) * 0.5, 1.0) * top
                i = int(position)
                j = min(i + 1, top)
                level = curve[i] + (position - i) * (curve[j] - curve[i])
                # Shot noise shows most in the middle of the curve.
                level += noise * (0.55 + level * (0.00706 - 0.0000235 * level)) * noise_tile[ty, tx, k]
                out[y, x, 2 - k] = np.uint8(min(max(level + 0.5, 0.0), 255.0))
