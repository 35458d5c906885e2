"""Miniatures of FreiHAND in its exact format, and the file of predictions that its evaluation takes."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..camera import Camera
from ..hand_model import HandModel
from ..image_files import write_image
from ..skeleton import MIDDLE_MCP, MIDDLE_PIP, NUM_KEYPOINTS
from ..types import Side
from .annotations import AnnotationError
from .freihand import SIZE, VERSIONS
from .freihand_parameters import numbers_from_parameters
from .miniatures import in_camera, write_marker
from .sample import BACKGROUND, RIGHT_HAND, Sample

PREDICTIONS = "pred.json"
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95)
_MASK_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 100)
_SHARE = 0.6
"""Of the image's side that the keypoints take."""
_GREEN = (60, 160, 40)
"""BGR of the screen behind the first version of the training images."""
_HUES = {"sample": 6, "auto": -6}
"""By which the colours of two versions are turned, in OpenCV's units of 2 degrees."""
_LARGEST = 1 << 30
"""Bytes of predictions, at most: those of the published set have 0.2 GB."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Crop:
    """A hand's square image, which pixels are the hand and which background (H, W) bool, and the annotation."""

    image: np.ndarray
    hand: np.ndarray
    background: np.ndarray
    annotation: dict[str, Any]


def freihand_camera(joints: np.ndarray) -> Camera:
    """The pinhole camera of a square image, of FreiHAND's size, around keypoints (21, 3), metres."""
    rays = joints[:, :2] / joints[:, 2:]
    low, high = rays.min(axis=0), rays.max(axis=0)
    focal = _SHARE * SIZE[0] / float((high - low).max())
    cx, cy = (np.array(SIZE) - 1) / 2 - focal * (low + high) / 2
    return Camera(K=np.array([[focal, 0.0, cx], [0.0, focal, cy], [0.0, 0.0, 1.0]]), width=SIZE[0], height=SIZE[1])


def write_freihand(
    root: Path, training: Iterable[Sample], evaluation: Iterable[Sample], hand_model: HandModel
) -> dict[str, int]:
    """Write a miniature of FreiHAND: both splits, each sample as :func:`freihand_camera` shows its hand, or as it is
    where it has the size of FreiHAND's images.

    Of the four versions of a training image the first has a plain green background, the second is as rendered, and the
    others have their colours turned.

    Args:
        root: folder, which is made; files in it are replaced.
        training, evaluation: rendered samples with a right hand and no left one.
        hand_model: that they were rendered with.

    Returns the numbers of annotations by split. Raises ValueError, which names the sample, for other samples.
    """
    root.mkdir(parents=True, exist_ok=True)
    write_marker(root, hand_model)
    counts = {}
    for split, samples in (("training", training), ("evaluation", evaluation)):
        crops = [_crop(sample, hand_model) for sample in samples]
        if not crops:
            raise ValueError(f"{split}: expected at least one sample")
        counts[split] = len(crops)
        for name in ("K", "xyz", "verts", "mano", "scale"):
            content = json.dumps([crop.annotation[name] for crop in crops], allow_nan=False)
            (root / f"{split}_{name}.json").write_text(content, encoding="utf-8")
        folder = root / split / "rgb"
        folder.mkdir(parents=True, exist_ok=True)
        for version, name in enumerate(VERSIONS if split == "training" else VERSIONS[1:2]):
            for number, crop in enumerate(crops):
                file = folder / f"{number + version * len(crops):08d}.jpg"
                write_image(file, _in_version(crop, name), _JPEG)
        if split == "training":
            masks = root / split / "mask"
            masks.mkdir(exist_ok=True)
            for number, crop in enumerate(crops):
                write_image(masks / f"{number:08d}.jpg", crop.hand.astype(np.uint8) * 255, _MASK_JPEG)
    return counts


def _crop(sample: Sample, hand_model: HandModel) -> _Crop:
    right = Side.RIGHT
    if sample.present.tolist() != [False, True] or not sample.has_maps:
        raise ValueError(f"{sample.name or 'a sample'}: expected a rendered sample with a right hand and no left one")
    rotations, betas, translation = sample.rotations[right], sample.betas[right], sample.translation[right]
    vertices, joints = hand_model.mesh(right, rotations, betas, translation), sample.joints[right]
    fits = (sample.camera.width, sample.camera.height) == SIZE and not np.any(sample.camera.D)
    camera = sample.camera if fits else freihand_camera(joints)
    labels = in_camera(sample.labels, sample.camera, camera, cv2.INTER_NEAREST)
    annotation = {
        "K": camera.K.tolist(),
        "xyz": joints.tolist(),
        "verts": vertices.tolist(),
        "mano": [numbers_from_parameters(rotations, betas, translation, camera.K, hand_model).tolist()],
        "scale": float(np.linalg.norm(joints[MIDDLE_MCP] - joints[MIDDLE_PIP])),
    }
    image = in_camera(sample.image, sample.camera, camera)
    return _Crop(image, labels == RIGHT_HAND, labels == BACKGROUND, annotation)


def _in_version(crop: _Crop, version: str) -> np.ndarray:
    if version == VERSIONS[0]:
        alpha = cv2.GaussianBlur(crop.background.astype(np.float32), (3, 3), 0)[..., None]
        return np.rint(alpha * np.array(_GREEN, np.float32) + (1 - alpha) * crop.image).astype(np.uint8)
    if version not in _HUES:
        return crop.image
    hsv = cv2.cvtColor(crop.image, cv2.COLOR_BGR2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + _HUES[version]) % 180
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR))


def write_freihand_predictions(
    path: Path, xyz: Sequence[np.ndarray] | np.ndarray, verts: Sequence[np.ndarray] | np.ndarray
) -> None:
    """Write what FreiHAND's evaluation takes: a .zip with pred.json, a list of all keypoints and one of all vertices.

    Args:
        path: of the .zip file.
        xyz: keypoints (21, 3) of every image of the evaluation split in order, metres, camera frame.
        verts: vertices (V, 3) of the same images; MANO's 778 for the published set.

    Raises ValueError where the two are not of the same images, or a number is not finite.
    """
    if len(xyz) != len(verts) or not len(xyz):
        raise ValueError(f"expected keypoints and vertices of the same images, got {len(xyz)} and {len(verts)}")
    lists: list[list[Any]] = []
    for name, arrays, shape in (("xyz", xyz, (NUM_KEYPOINTS, 3)), ("verts", verts, np.shape(verts[0]))):
        for number, array in enumerate(arrays):
            if np.shape(array) != shape or np.shape(array)[1:] != (3,) or not np.isfinite(array).all():
                raise ValueError(f"{name} {number}: expected finite numbers {shape}, got shape {np.shape(array)}")
        lists.append([np.asarray(array).tolist() for array in arrays])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(PREDICTIONS, json.dumps(lists, allow_nan=False))


def read_freihand_predictions(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, 21, 3) and vertices (N, V, 3), metres, of a .zip with pred.json, or of the .json itself.

    Raises AnnotationError where it is missing, damaged, or holds anything else.
    """
    try:
        content = json.loads(_prediction_text(path))
        xyz, verts = (np.array(part, dtype=np.float64) for part in content)
    except OSError as error:
        raise AnnotationError(f"{path}: {error.strerror or error}") from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        if isinstance(error, AnnotationError):
            raise
        raise AnnotationError(f"{path}: expected a list of all keypoints and one of all vertices ({error})") from error
    if xyz.shape[1:] != (NUM_KEYPOINTS, 3) or verts.ndim != 3 or verts.shape[::2] != (len(xyz), 3):
        raise AnnotationError(f"{path}: expected N x 21 x 3 and N x V x 3 numbers, got {xyz.shape} and {verts.shape}")
    if not (np.isfinite(xyz).all() and np.isfinite(verts).all()):
        raise AnnotationError(f"{path}: holds a number that is not finite")
    return xyz, verts


def _prediction_text(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        if path.stat().st_size > _LARGEST:
            raise AnnotationError(f"{path}: larger than any predictions")
        return path.read_bytes()
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(PREDICTIONS).file_size > _LARGEST:
                raise AnnotationError(f"{path}: {PREDICTIONS} is larger than any predictions")
            return archive.read(PREDICTIONS)
    except KeyError as error:
        raise AnnotationError(f"{path}: no {PREDICTIONS} in it") from error
    except AnnotationError:
        raise
    # Of a damaged archive zipfile and zlib raise errors of many kinds.
    except Exception as error:
        raise AnnotationError(f"{path}: not a .zip file that can be read ({error})") from error
