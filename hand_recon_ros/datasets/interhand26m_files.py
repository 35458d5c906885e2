"""Miniatures in the format of InterHand2.6M v1.0, of samples from anywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..camera import Camera
from ..geometry.rotations import rotation_matrices
from ..hand_model import HandModel
from ..image_files import write_image
from ..types import Side
from .annotated import annotated_sample
from .interhand26m import FRAME_RATE, hand_in_world, human_annotated_file
from .interhand26m_annotations import HAND_TYPES, JOINTS, KINDS, NUM_JOINTS, SPLITS, annotation_path
from .miniatures import write_marker
from .sample import Sample

_JPEG_QUALITY = 95
_FIRST_CAMERA = 400002
_FIRST_FRAME, _FRAME_STEP = 1000, 6
"""Of 30 frames per second every sixth, as in the 5 fps images."""
IMAGE_RATE = FRAME_RATE / _FRAME_STEP
"""Of a sequence, Hz."""
_BOX = 1.2
"""Extent of the annotated boxes, relative to that of the joints."""
_INTERACTING_JOINTS = 30
"""Valid joints above which the hand type of an interacting frame is valid."""
_NOT_ANNOTATED = 1.0
"""World coordinate of joints that are not annotated, as in the published files."""


def write_interhand26m(
    samples: Iterable[Sample],
    root: str | Path,
    hand_model: HandModel,
    split: str = "test",
    seed: int = 0,
    captures: int = 2,
    sequence: Iterable[Sample] = (),
) -> int:
    """Write samples as a split of InterHand2.6M, for :class:`InterHand26M`; returns the number of images.

    Each sample becomes a frame, of the captures in turn; those without a hand are left out. Cameras are in random
    places in the world of their capture; a capture's samples with equal intrinsics have one camera. Lens distortion is
    taken out of the images. The images of the first capture are those in the list of ``human_annot``.

    Args:
        samples: with joints in metres; NaN is a joint that is not annotated. Hands without a pose get no parameters.
        root: a folder, which is made; files of the same names are replaced.
        hand_model: to which the samples' poses belong; hand_model.json names it.
        split: train, val or test.
        seed: of the cameras' places.
        captures: how many.
        sequence: more samples, at IMAGE_RATE by one camera, of one arrangement and each with a hand: the last frames,
            of the first capture.

    Raises ValueError for another split, and for pixels that are not rectangular; OSError.
    """
    if split not in SPLITS or captures < 1:
        raise ValueError(f"expected a split of {', '.join(SPLITS)} and captures >= 1, got {split!r} and {captures}")
    writer = _Writer(Path(root), hand_model, split, seed)
    for sample in samples:
        if sample.present.any():
            writer.add(sample, writer.count % captures)
    for sample in sequence:
        writer.add(sample, 0)
    writer.close()
    return writer.count


class _Writer:
    """The contents of the annotation files, while samples are added."""

    def __init__(self, root: Path, hand_model: HandModel, split: str, seed: int) -> None:
        self.count = 0
        self._root, self._hand_model, self._split, self._seed = root, hand_model, split, seed
        self._data: dict[str, Any] = {"images": [], "annotations": []}
        self._cameras: dict[str, dict[str, dict[str, Any]]] = {}
        self._joints: dict[str, dict[str, Any]] = {}
        self._parameters: dict[str, dict[str, Any]] = {}
        self._human: list[int] = []
        self._names: dict[tuple[int, bytes], str] = {}

    def add(self, sample: Sample, capture: int) -> None:
        image, camera = _undistorted(sample)
        seen = annotated_sample(image, camera, sample.joints, sample.name)
        name, rotation, position = self._camera(camera, sample, capture)
        hand_type = "interacting" if sample.present.all() else HAND_TYPES[int(sample.present.argmax())]
        frame = _FIRST_FRAME + _FRAME_STEP * self.count
        words = re.sub(r"\W+", "_", sample.arrangement or hand_type)
        sequence = f"{HAND_TYPES.index(hand_type):04d}_{'dh' if hand_type == 'interacting' else 'sh'}_{words}"
        file = f"Capture{capture}/{sequence}/cam{name}/image{frame}.jpg"
        path = self._root / "images" / self._split / file
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        self._data["images"].append(
            {
                "id": self.count, "file_name": file, "width": camera.width, "height": camera.height,
                "capture": capture, "subject": capture, "seq_name": sequence, "camera": name, "frame_idx": frame,
            }
        )  # fmt: skip
        valid = _in_their_order(seen.keypoint_visible)
        self._data["annotations"].append(
            {
                "id": self.count, "image_id": self.count, "bbox": _box(seen), "joint_valid": _flags(valid, int),
                "hand_type": hand_type, "hand_type_valid": int(_type_valid(hand_type, valid)),
            }
        )  # fmt: skip
        annotated = np.isfinite(sample.joints).all(axis=-1)
        world = np.where(annotated[..., None], 1000.0 * sample.joints @ rotation + position, _NOT_ANNOTATED)
        self._joints.setdefault(str(capture), {})[str(frame)] = {
            "world_coord": _in_their_order(world).tolist(),
            "joint_valid": _flags(_in_their_order(annotated), bool),
            "hand_type": hand_type,
            "hand_type_valid": _type_valid(hand_type, _in_their_order(annotated)),
        }
        self._parameters.setdefault(str(capture), {})[str(frame)] = {
            side.name.lower(): self._hand(sample, side, rotation, position) for side in (Side.RIGHT, Side.LEFT)
        }
        if capture == 0:
            self._human.append(self.count)
        self.count += 1

    def close(self) -> None:
        for kind, content in zip(KINDS, (self._data, self._cameras, self._joints, self._parameters), strict=True):
            path = annotation_path(self._root, self._split, kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content), encoding="utf-8")
        write_marker(self._root, self._hand_model)
        human_annotated_file(self._root, self._split).write_text("".join(f"{number}\n" for number in self._human))

    def _camera(self, camera: Camera, sample: Sample, capture: int) -> tuple[str, np.ndarray, np.ndarray]:
        """Name, rotation and position in the world, millimetres, of a sample's camera."""
        content = self._cameras.setdefault(
            str(capture), {field: {} for field in ("campos", "camrot", "focal", "princpt")}
        )
        key = capture, camera.K.tobytes() + bytes(f"{camera.width}x{camera.height}", "ascii")
        if key not in self._names:
            name = self._names[key] = str(_FIRST_CAMERA + len(self._names))
            rng = np.random.default_rng([self._seed, len(self._names)])
            direction = rng.normal(size=3)
            rotation = rotation_matrices(rng.uniform(0.0, np.pi) * direction / np.linalg.norm(direction))
            # The hands are near the world's origin.
            position = rng.normal(0.0, 100.0, 3) - 1000.0 * np.nanmean(sample.joints, axis=(0, 1)) @ rotation
            content["camrot"][name], content["campos"][name] = rotation.tolist(), position.tolist()
            content["focal"][name] = camera.K[[0, 1], [0, 1]].tolist()
            content["princpt"][name] = camera.K[:2, 2].tolist()
        name = self._names[key]
        return name, np.array(content["camrot"][name]), np.array(content["campos"][name])

    def _hand(self, sample: Sample, side: Side, rotation: np.ndarray, position: np.ndarray) -> dict[str, Any] | None:
        hand = sample.rotations[side], sample.betas[side], sample.translation[side]
        if not all(np.isfinite(part).all() for part in hand):
            return None
        values = hand_in_world(self._hand_model, side, hand, rotation, position)
        pose, shape, translation = np.split(values, [48, 58])
        return {"pose": pose.tolist(), "shape": shape.tolist(), "trans": translation.tolist()}


def _undistorted(sample: Sample) -> tuple[np.ndarray, Camera]:
    """The image as a camera of the same intrinsics without distortion would take it, and that camera."""
    camera = sample.camera
    if camera.K[0, 1] != 0.0:
        raise ValueError(f"{sample.name}: the format has no skew, which the camera's intrinsics have")
    pinhole = Camera(camera.K, camera.width, camera.height)
    if not np.any(camera.D) and camera.distortion_model != "equidistant":
        return sample.image, pinhole
    grid = np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), axis=-1)
    pixels = np.nan_to_num(camera.project(pinhole.unproject(grid)), nan=-1e3).astype(np.float32)
    return cv2.remap(sample.image, pixels[..., 0], pixels[..., 1], cv2.INTER_LINEAR), pinhole


def _in_their_order(values: np.ndarray) -> np.ndarray:
    """Values (2, 21, ...) of our keypoints as (42, ...) of their joints."""
    result = np.empty((NUM_JOINTS, *values.shape[2:]), dtype=values.dtype)
    result[JOINTS] = values
    return result


def _flags(valid: np.ndarray, kind: type) -> list[list[Any]]:
    return [[kind(flag)] for flag in valid]


def _type_valid(hand_type: str, valid: np.ndarray) -> bool:
    return hand_type != "interacting" or int(valid.sum()) > _INTERACTING_JOINTS


def _box(sample: Sample) -> list[float]:
    """x, y, width and height around the keypoints in the image; empty where there is none."""
    pixels = sample.keypoints_2d[sample.keypoint_visible]
    if not len(pixels):
        return [0.0, 0.0, 0.0, 0.0]
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    size = _BOX * (high - low)
    return [*((low + high - size) / 2.0).tolist(), *size.tolist()]
