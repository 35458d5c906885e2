"""Priors predicted from images: keypoints by the landmark network, segmentation and depth by models or a fitted hand.

Models of segmentation (the SAM family) and depth (the Depth Anything family) are read from local folders in the format
of ``transformers``; nothing is downloaded. Crops of left hands are mirrored, so that a left hand has the maps of its
mirror image.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any, ClassVar

import cv2
import numpy as np
import torch

from ..config import ConfigError, ReconstructorConfig
from ..datasets.priors import DEPTH, GRID, SEGMENTATION, SceneTruth, exact_priors, heatmaps, normalised_depth
from ..detect.networks import HandNetworks
from ..encode.crop_frame import CropFrame
from ..hand_model import HandModel
from ..landmarks.landmarks import HandLandmarks
from ..types import Side
from .fitted_hands import FittedHands

_CUT = 448
"""Side of the large models' crops, pixels: a multiple of GRID."""


@dataclasses.dataclass
class FoundationPriors:
    """A prior provider, see :class:`priors.PriorProvider`.

    Attributes:
        landmarks: predicts the keypoints of this hand and, where its crop is known, of the other one.
        fitted: the hand model fitted to these, of which segmentation and depth are where there is no model for them.
        segmentation: prompted with the keypoints.
        depth: predicts the relative inverse depth of the crop.
    """

    from_image: ClassVar[bool] = True
    landmarks: HandNetworks
    fitted: FittedHands
    segmentation: Segmentation | None = None
    depth: Depth | None = None

    @classmethod
    def load(cls, hand_model: HandModel, segmentation: str = "", depth: str = "") -> FoundationPriors:
        """With the landmark network of the pipeline, on one thread, and models from local folders; empty for none.

        Raises ConfigError where a folder holds no such model.
        """
        return cls(
            HandNetworks.load(ReconstructorConfig(threads=1, detector="none", body="none", encoder="none")),
            FittedHands(hand_model),
            Segmentation(segmentation) if segmentation else None,
            Depth(depth) if depth else None,
        )

    def __call__(self, frame: CropFrame, other: CropFrame | None, scene: SceneTruth) -> np.ndarray:
        """See :class:`priors.PriorProvider`; only the image of ``scene`` is read. Raises ValueError without one."""
        if scene.image is None:
            raise ValueError("foundation models need the image of the scene")
        hands = [(each.side, self._landmarks(each, scene.image)) for each in (frame, other) if each is not None]
        maps = exact_priors(frame, other, self.fitted(scene.image, hands, frame.camera))
        keypoints_2d = [frame.pixels_in(hand.keypoints) for _, hand in hands]
        for start, points, (_, hand) in zip((0, 21), keypoints_2d, hands, strict=False):
            maps[start : start + 21] = hand.presence * heatmaps(points)
        if self.segmentation is None and self.depth is None:
            return maps
        crop = frame.cut(scene.image, _CUT)
        if self.segmentation is not None:
            own, *others = [
                self.segmentation(crop, points, keypoints_2d[1 - i] if len(keypoints_2d) > 1 else None)
                for i, points in enumerate(keypoints_2d)
            ]
            second = np.minimum(others[0], 1.0 - own) if others else np.zeros_like(own)
            maps[SEGMENTATION] = _to_grid(np.stack([own, second, 1 - own - second]))
        if self.depth is not None:
            # As in rendered maps, depth is that of hands; where none is segmented it is that of the whole crop.
            hands_there = cv2.resize(1.0 - maps[SEGMENTATION][2], (_CUT, _CUT), interpolation=cv2.INTER_LINEAR) > 0.5
            area = hands_there if hands_there.any() else np.ones_like(hands_there)
            maps[DEPTH] = _to_grid(normalised_depth(self.depth(crop), area))
        return maps

    def _landmarks(self, frame: CropFrame, image: np.ndarray) -> HandLandmarks:
        (hand,) = self.landmarks.read(image, [frame.box], mirrored=frame.side == Side.LEFT)
        return hand


class Segmentation:
    """A model of the SAM family (Kirillov et al. 2023): segmentation prompted by points."""

    def __init__(self, path: str | os.PathLike[str], device: str = "cpu") -> None:
        """Raises ConfigError where the folder holds no such model."""
        from transformers import SamModel, SamProcessor

        self._model, self._processor = _loaded(SamModel, SamProcessor, path, device)
        self._device = device

    @torch.no_grad()
    def __call__(self, crop: np.ndarray, positive: np.ndarray, negative: np.ndarray | None) -> np.ndarray:
        """Mask (S, S) in 0..1 of the object that the prompts select.

        Args:
            crop: uint8 (S, S, 3) RGB.
            positive, negative: points (N, 2) on the object and not on it, in units of the crop, see
                CropFrame.pixels_in; those outside the crop are left out.
        """
        size = crop.shape[0]
        points, labels = [], []
        for label, group in ((1, positive), (0, negative)):
            if group is not None:
                inside = group[(np.abs(group) < 0.5).all(axis=1)]
                points += ((inside + 0.5) * size).tolist()
                labels += [label] * len(inside)
        if 1 not in labels:
            return np.zeros((size, size), dtype=np.float32)
        inputs = self._processor(
            crop, input_points=[[points]], input_labels=[[labels]], return_tensors="pt"
        ).to(self._device)  # fmt: skip
        output = self._model(**inputs)
        masks = self._processor.image_processor.post_process_masks(
            output.pred_masks.cpu(), inputs["original_sizes"].cpu(), inputs["reshaped_input_sizes"].cpu(),
            binarize=False,
        )[0][0]  # fmt: skip
        best = int(output.iou_scores[0, 0].argmax())
        return np.asarray(masks[best].float().sigmoid().numpy(), dtype=np.float32)


class Depth:
    """A model of the Depth Anything family (Yang et al. 2024): inverse depth, up to scale and shift."""

    def __init__(self, path: str | os.PathLike[str], device: str = "cpu") -> None:
        """Raises ConfigError where the folder holds no such model."""
        from transformers import AutoImageProcessor, AutoModelForDepthEstimation

        self._model, self._processor = _loaded(AutoModelForDepthEstimation, AutoImageProcessor, path, device)
        self._device = device

    @torch.no_grad()
    def __call__(self, crop: np.ndarray) -> np.ndarray:
        """Inverse depth (S, S) float32 of a crop uint8 (S, S, 3) RGB; larger is nearer."""
        inputs = self._processor(images=crop, return_tensors="pt").to(self._device)
        output = self._model(**inputs)
        depths = self._processor.post_process_depth_estimation(output, target_sizes=[crop.shape[:2]])
        return np.asarray(depths[0]["predicted_depth"].float().cpu().numpy())


def _loaded(model: Any, processor: Any, path: str | os.PathLike[str], device: str) -> tuple[Any, Any]:
    if not os.path.isdir(path):
        raise ConfigError(f"{path}: no such folder; expected one with a model in the format of transformers")
    try:
        return (
            model.from_pretrained(path, local_files_only=True).to(device).eval(),
            processor.from_pretrained(path, local_files_only=True),
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a model for {model.__name__}: {error}") from error


def _to_grid(maps: np.ndarray) -> np.ndarray:
    """Maps (..., S, S) averaged to (..., GRID, GRID)."""
    cells = maps.shape[-1] // GRID
    result: np.ndarray = maps.reshape(*maps.shape[:-2], GRID, cells, GRID, cells).mean(axis=(-3, -1))
    return result
