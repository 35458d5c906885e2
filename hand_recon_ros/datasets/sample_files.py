"""Samples as compressed arrays, to be cached in files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from ..camera import Camera
from .sample import Sample

_JPEG_QUALITY = 95
_DEPTH_UNITS = 1e4
"""Of a stored depth per metre: tenths of a millimetre, up to 6.5 m; 0 is infinite."""
_AS_THEY_ARE = (
    "present", "rotations", "betas", "translation", "joints", "keypoints_2d", "keypoint_visible", "occluded", "name",
    "arrangement", "seed", "has_maps", "has_labels",
)  # fmt: skip
_TEXTS = ("name", "arrangement")


def pack(sample: Sample) -> dict[str, np.ndarray]:
    """Arrays of a sample without its meshes, about 40 kB: the image as JPEG, labels and depth (in tenths of a
    millimetre) as PNG."""
    depth = np.where(np.isfinite(sample.depth), np.rint(sample.depth * _DEPTH_UNITS), 0)
    arrays = {name: np.asarray(getattr(sample, name)) for name in _AS_THEY_ARE}
    arrays["image"] = cv2.imencode(".jpg", sample.image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    arrays["labels"] = cv2.imencode(".png", sample.labels)[1]
    arrays["depth"] = cv2.imencode(".png", np.clip(depth, 0, 65535).astype(np.uint16))[1]
    for name in ("camera", "frame_camera"):
        camera: Camera = getattr(sample, name)
        arrays[f"{name}_K"], arrays[f"{name}_D"] = camera.K, camera.D
        arrays[f"{name}_size"] = np.array([camera.width, camera.height])
        arrays[f"{name}_model"] = np.array(camera.distortion_model)
    return arrays


def unpack(arrays: Mapping[str, np.ndarray]) -> Sample:
    """The sample of :func:`pack`'s arrays, its image and depth as exact as the files' formats are."""
    values: dict[str, Any] = {name: arrays[name] for name in _AS_THEY_ARE if name in arrays}
    values |= {name: str(arrays[name]) for name in _TEXTS}
    values |= {"seed": int(arrays["seed"]), "has_maps": bool(arrays.get("has_maps", True))}
    values["has_labels"] = bool(arrays.get("has_labels", values["has_maps"]))
    depth = np.asarray(cv2.imdecode(arrays["depth"], cv2.IMREAD_UNCHANGED))
    return Sample(
        image=np.asarray(cv2.imdecode(arrays["image"], cv2.IMREAD_COLOR)),
        labels=np.asarray(cv2.imdecode(arrays["labels"], cv2.IMREAD_UNCHANGED)),
        depth=np.where(depth > 0, depth / _DEPTH_UNITS, np.inf).astype(np.float32),
        camera=_camera(arrays, "camera"),
        frame_camera=_camera(arrays, "frame_camera"),
        **values,
    )


def _camera(arrays: Mapping[str, np.ndarray], name: str) -> Camera:
    width, height = arrays[f"{name}_size"].tolist()
    return Camera(arrays[f"{name}_K"], width, height, str(arrays[f"{name}_model"]), arrays[f"{name}_D"])
