"""Photometric augmentation of training images: exposure, blur, low resolution, JPEG and tone changes."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from .photometric import CameraResponse, simulate_camera
from .vectors import triple


@dataclasses.dataclass(frozen=True)
class CropAugmentation:
    """How the image of a scene is taken, compressed and changed afterwards.

    Attributes:
        response: of the camera: exposure, white balance, lens blur, noise.
        mean_level: mean linear intensity the automatic exposure aims at; 0 for a fixed exposure.
        motion_blur: length, pixels, and direction, radians, of the motion blur; length 0 for none.
        resolution: size at which the image is taken relative to its final size, at most 1.
        jpeg_quality: 1..100; 0 for no compression.
        tone: contrast, saturation and gamma, applied to the 8-bit image.
        seed: of the noise.
    """

    response: CameraResponse
    mean_level: float
    motion_blur: tuple[float, float]
    resolution: float
    jpeg_quality: int
    tone: tuple[float, float, float]
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator, magnification: float) -> CropAugmentation:
        """A random augmentation of a crop whose pixels are ``magnification`` times smaller than its frame's."""
        response = dataclasses.replace(
            CameraResponse.sample(rng),
            exposure=float(np.exp(rng.normal(0, 0.35))),
            blur=float(rng.uniform(0.0, 0.8) if rng.random() < 0.75 else rng.uniform(0.8, 2.6)),
            noise=float(rng.uniform(0.3, 4.0) if rng.random() < 0.75 else rng.uniform(4.0, 14.0)),
        )
        white_balance = np.exp(rng.normal(0, 0.07 if rng.random() < 0.8 else 0.22, 3))
        response = dataclasses.replace(response, white_balance=triple(white_balance))
        motion_blur = (float(rng.uniform(2, 12)), float(rng.uniform(0, np.pi))) if rng.random() < 0.2 else (0.0, 0.0)
        resolution = 1.0
        if rng.random() < 0.5:
            resolution = float(np.clip(1.0 / magnification, 0.3, 1.0))
        tone = (1.0, 1.0, 1.0)
        if rng.random() < 0.6:
            tone = triple(np.exp(rng.normal(0, 1, 3) * (0.15, 0.25, 0.12)))
        jpeg_quality = int(rng.integers(30, 96)) if rng.random() < 0.4 else 0
        mean_level = float(rng.uniform(0.12, 0.3)) if rng.random() < 0.8 else 0.0
        return cls(response, mean_level, motion_blur, resolution, jpeg_quality, tone, int(rng.integers(2**31)))

    def for_frame(self) -> CropAugmentation:
        """The same for the whole frame at a reduced size, which leaves neither motion blur nor coarse pixels."""
        response = dataclasses.replace(self.response, blur=0.4)
        return dataclasses.replace(self, resolution=1.0, motion_blur=(0.0, 0.0), response=response)

    def apply(self, linear: np.ndarray) -> np.ndarray:
        """The image uint8 (H, W, 3) BGR of a linear image (H, W, 3) float32 RGB."""
        height, width = linear.shape[:2]
        if self.motion_blur[0] > 1:
            linear = cv2.filter2D(linear, -1, _motion_kernel(*self.motion_blur), borderType=cv2.BORDER_REPLICATE)
        response = self.response
        if self.mean_level > 0:
            mean = float(linear[::4, ::4].mean())
            gain = np.clip(self.mean_level / max(mean, 1e-4), 0.4, 4.0)
            response = dataclasses.replace(response, exposure=float(np.clip(response.exposure, 0.6, 1.7) * gain))
        reduced = self.resolution < 0.95
        if reduced:
            small = (max(16, round(width * self.resolution)), max(16, round(height * self.resolution)))
            linear = cv2.resize(linear, small, interpolation=cv2.INTER_AREA)
        image = simulate_camera(linear, response, self.seed)
        if self.jpeg_quality:
            _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.jpeg_quality])
            image = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))
        if reduced:
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        contrast, saturation, gamma = self.tone
        if self.tone != (1.0, 1.0, 1.0):
            grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
            image = cv2.addWeighted(image, saturation, grey, 1 - saturation, 0)
            levels = np.clip((np.arange(256) / 255.0) ** gamma * contrast + 0.5 * (1 - contrast), 0, 1)
            image = cv2.LUT(image, np.rint(255 * levels).astype(np.uint8))
        return np.asarray(image)


def _motion_kernel(length: float, angle: float) -> np.ndarray:
    """A motion blur kernel, float32, that sums to 1."""
    half = int(np.ceil(length / 2)) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    kernel = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
    return (kernel / kernel.sum()).astype(np.float32)
