"""From linear light to a training picture: every way in which cheap cameras and networks of senders spoil one."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from .lighting import triple
from .photo import Photo, develop


@dataclasses.dataclass(frozen=True)
class Finish:
    """How the picture of a scene is taken and passed on.

    Attributes:
        photo: exposure, white balance, lens blur, noise.
        level: mean intensity the camera's automatic exposure aims at, 0 where it has none.
        motion: length of the motion blur, pixels, and its direction, radians; length 0 for none.
        detail: size at which the picture was taken relative to its size, at most 1.
        quality: of JPEG, 1..100; 0 for none.
        tone: contrast, saturation and gamma after development.
        seed: of the noise.
    """

    photo: Photo
    level: float
    motion: tuple[float, float]
    detail: float
    quality: int
    tone: tuple[float, float, float]
    seed: int

    @classmethod
    def sample(cls, rng: np.random.Generator, enlarged: float, distance: float) -> Finish:
        """A random finish of a window that is ``enlarged`` times against its frame, of hands at a distance (metres)."""
        photo = dataclasses.replace(
            Photo.sample(rng),
            exposure=float(np.exp(rng.normal(0, 0.35))),
            blur=float(rng.uniform(0.0, 0.8) if rng.random() < 0.75 else rng.uniform(0.8, 2.6)),
            noise=float(rng.uniform(0.3, 4.0) if rng.random() < 0.75 else rng.uniform(4.0, 14.0)),
        )
        white = np.exp(rng.normal(0, 0.07 if rng.random() < 0.8 else 0.22, 3))
        photo = dataclasses.replace(photo, white=triple(white))
        motion = (float(rng.uniform(2, 12)), float(rng.uniform(0, np.pi))) if rng.random() < 0.2 else (0.0, 0.0)
        detail = 1.0
        if rng.random() < 0.5:
            detail = float(np.clip(1.0 / enlarged, 0.3, 1.0))
        tone = (1.0, 1.0, 1.0)
        if rng.random() < 0.6:
            tone = triple(np.exp(rng.normal(0, 1, 3) * (0.15, 0.25, 0.12)))
        quality = int(rng.integers(30, 96)) if rng.random() < 0.4 else 0
        level = float(rng.uniform(0.12, 0.3)) if rng.random() < 0.8 else 0.0
        return cls(photo, level, motion, detail, quality, tone, int(rng.integers(2**31)))

    def whole(self) -> Finish:
        """The same for the whole frame in a small size, in which neither blur nor coarse pixels are left."""
        return dataclasses.replace(self, detail=1.0, motion=(0.0, 0.0), photo=dataclasses.replace(self.photo, blur=0.4))

    def apply(self, linear: np.ndarray) -> np.ndarray:
        """The picture uint8 (H, W, 3) BGR of a linear image (H, W, 3) float32 RGB."""
        height, width = linear.shape[:2]
        if self.motion[0] > 1:
            linear = cv2.filter2D(linear, -1, _streak(*self.motion), borderType=cv2.BORDER_REPLICATE)
        photo = self.photo
        if self.level > 0:
            mean = float(linear[::4, ::4].mean())
            gain = np.clip(self.level / max(mean, 1e-4), 0.4, 4.0)
            photo = dataclasses.replace(photo, exposure=float(np.clip(photo.exposure, 0.6, 1.7) * gain))
        if self.detail < 0.95:
            small = (max(16, round(width * self.detail)), max(16, round(height * self.detail)))
            linear = cv2.resize(linear, small, interpolation=cv2.INTER_AREA)
        image = develop(linear, photo, self.seed)
        if self.quality:
            _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
            image = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))
        if self.detail < 0.95:
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        contrast, saturation, gamma = self.tone
        if self.tone != (1.0, 1.0, 1.0):
            grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
            image = cv2.addWeighted(image, saturation, grey, 1 - saturation, 0)
            levels = np.clip((np.arange(256) / 255.0) ** gamma * contrast + 0.5 * (1 - contrast), 0, 1)
            image = cv2.LUT(image, np.rint(255 * levels).astype(np.uint8))
        return np.asarray(image)


def _streak(length: float, angle: float) -> np.ndarray:
    """A motion blur kernel."""
    half = int(np.ceil(length / 2)) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    kernel = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
    return (kernel / kernel.sum()).astype(np.float32)
