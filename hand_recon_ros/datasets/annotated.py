"""Published data sets on disk as sequences of samples, and what their loaders have in common."""

from __future__ import annotations

import abc
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from ..camera import Camera
from ..hand_model import HandModel
from ..image_files import is_file, read_image
from ..skeleton import NUM_JOINTS, NUM_KEYPOINTS
from .annotations import AnnotationError
from .sample import Sample

_log = logging.getLogger(__name__)


class AnnotatedImages(Sequence[Sample], abc.ABC):
    """The images of one split of a data set; each is read when it is asked for, in any process.

    Attributes:
        name: of the data set, as ``hand-recon evaluate --dataset`` has it.
        split: one of the splits that it was published with.
        stored_model: name of the hand model whose meshes and parameters the files hold: ``miniatures.MANO``, or of a
            miniature the one that it was rendered with.
        hand_model: the loaded model of that name; None where no such model was given.
        annotation_files: that were opened.
    """

    name: str
    split: str
    stored_model: str
    hand_model: HandModel | None
    annotation_files: tuple[Path, ...]

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def sample(self, index: int) -> Sample:
        """The sample of an image; raises AnnotationError, which names the file that is missing or damaged."""

    def digest(self) -> str:
        """A name (hexadecimal) for what is annotated, another one with other annotations, images or labels chosen.
        Pictures and meshes in files of their own are not part of it."""
        digest = hashlib.sha256(repr((self.name, self.split, len(self), self.stored_model)).encode())
        for path in self.annotation_files:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...

    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            raise TypeError("samples are read one by one: an index is a number, not a slice")
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.name} {self.split} has {len(self)} images, not one of number {index}")
        return self.sample(index % len(self))

    def readable(self, skip_damaged: bool = True) -> Iterator[tuple[int, Sample]]:
        """Number and sample of every image. Those that cannot be read are left out with a warning, or, without
        ``skip_damaged``, raise AnnotationError."""
        for index in range(len(self)):
            try:
                sample = self.sample(index)
            except AnnotationError as error:
                if not skip_damaged:
                    raise
                _log.warning("%s; this image is left out", error)
                continue
            yield index, sample


def annotation_file(root: Path, name: str, about: str) -> Path:
    """The file ``name`` below the folder of a data set; raises AnnotationError where it is missing, with what the
    folder should be: ``about``, such as "the folder of FreiHAND_pub_v2"."""
    path = root / name
    if not is_file(path):
        raise AnnotationError(f"{root} is not {about}: expected {path}")
    return path


def read_json(path: Path, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """What is in a JSON file, with ``object_hook`` as of ``json.loads``; raises AnnotationError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_hook=object_hook)
    except OSError as error:
        raise AnnotationError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: not JSON, or cut off ({error})") from error


def read_picture(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """The picture in a file, uint8 (H, W, 3), BGR; raises AnnotationError, also where its size, (width, height), is
    another than annotated."""
    try:
        image = read_image(path)
    except OSError as error:
        raise AnnotationError(f"{path}: no picture that can be read ({error})") from error
    height, width = image.shape[:2]
    if size not in (None, (width, height)):
        raise AnnotationError(f"{path}: {width} x {height} pixels, but annotated as {size[0]} x {size[1]}")
    return image


def annotated_sample(
    image: np.ndarray,
    camera: Camera,
    joints: np.ndarray,
    name: str,
    arrangement: str = "",
    rotations: np.ndarray | None = None,
    betas: np.ndarray | None = None,
    translation: np.ndarray | None = None,
    vertices: np.ndarray | None = None,
    present: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> Sample:
    """The sample of a whole image without maps of depth and occlusion.

    Args:
        image: uint8 (H, W, 3) BGR.
        camera: of it.
        joints: keypoints (2, 21, 3), left then right, metres in the camera frame; NaN where not annotated, and all of
            them for a hand that is not there.
        name: of data set, split and image.
        arrangement, rotations, betas, translation, vertices: as of Sample; None where the data set does not have them.
        present: which hands are in the scene (2,) bool; None: those of which a keypoint is annotated.
        labels: as of Sample, where the data set has a segmentation of the hands.
    """
    present = np.isfinite(joints).any(axis=(1, 2)) if present is None else present
    keypoints_2d = np.full((2, NUM_KEYPOINTS, 2), np.nan)
    known = np.isfinite(joints).all(axis=-1)
    keypoints_2d[known] = camera.project(joints[known])
    height, width = image.shape[:2]
    inside = known & (keypoints_2d >= -0.5).all(axis=-1) & (keypoints_2d < [width - 0.5, height - 0.5]).all(axis=-1)

    def stated(array: np.ndarray | None, *shape: int) -> np.ndarray:
        return np.full((2, *shape), np.nan) if array is None else array

    return Sample(
        image=image,
        camera=camera,
        frame_camera=camera,
        present=present,
        rotations=stated(rotations, NUM_JOINTS, 3, 3),
        betas=stated(betas, 10),
        translation=stated(translation, 3),
        joints=joints,
        keypoints_2d=keypoints_2d,
        keypoint_visible=inside,
        occluded=np.zeros((2, NUM_KEYPOINTS), dtype=bool),
        labels=np.zeros((height, width), dtype=np.uint8) if labels is None else labels,
        depth=np.full((height, width), np.inf, dtype=np.float32),
        name=name,
        arrangement=arrangement,
        vertices=vertices,
        has_maps=False,
        has_labels=labels is not None,
    )
