"""FreiHAND (Zimmermann et al., ICCV 2019): 224 x 224 images of one right hand each, with mesh and MANO parameters."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..camera import Camera, CameraError
from ..hand_model import HandModel
from ..hand_model.arrays import MANO_VERTICES
from ..image_files import is_file, read_image
from ..skeleton import NUM_KEYPOINTS
from ..types import Side
from .annotated import AnnotatedImages, annotated_sample, annotation_file, read_json, read_picture
from .annotations import AnnotationError
from .freihand_parameters import COUNT, parameters_from_numbers
from .json_arrays import JsonArrays
from .miniatures import MANO, stored_hand_model
from .sample import RIGHT_HAND, Sample

SIZE = (224, 224)
SPLITS = ("training", "evaluation")
VERSIONS = ("gs", "hom", "sample", "auto")
"""Versions of the training images, in the order of their numbers: in front of the green screen; with a background,
and the colours of both harmonised; and two with colours by a network."""
PUBLISHED = {"training": 32560, "evaluation": 3960}
"""Annotations of the published set."""
_ABOUT = "the folder of FreiHAND_pub_v2"


class FreiHand(AnnotatedImages):
    """The images of a split, version after version.

    Of the right hand the samples have keypoints and vertices; rotations, betas and translation where a hand model is
    given whose parameters the files hold; and, in the training split, which pixels are the hand (``has_labels``, not
    ``has_maps``). What the evaluation split's files do not have, which were published later than its images, is NaN,
    or None.
    """

    name = "freihand"

    def __init__(
        self,
        root: Path,
        split: str = "evaluation",
        hand_model: HandModel | None = None,
        versions: Sequence[str] = VERSIONS,
    ) -> None:
        """Look at the annotations.

        Args:
            root: the folder with ``training``, ``evaluation`` and the .json files.
            split: of SPLITS.
            hand_model: MANO, or the model that a miniature was rendered with.
            versions: of VERSIONS, of the training split; the evaluation split has the first only.

        Raises:
            ValueError: there is no such split or version.
            AnnotationError: a file is missing or damaged.
        """
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}, expected one of: {', '.join(SPLITS)}")
        if not versions or not set(versions) <= set(VERSIONS):
            raise ValueError(f"unknown versions {list(versions)}, expected some of: {', '.join(VERSIONS)}")
        self.split, self._root = split, root
        self.versions = tuple(versions) if split == "training" else VERSIONS[:1]
        self._K = JsonArrays(annotation_file(root, f"{split}_K.json", _ABOUT))
        self._scale = _positive_numbers(annotation_file(root, f"{split}_scale.json", _ABOUT), self._K)
        needed = split == "training"
        self._xyz, self._verts, self._mano = (self._arrays(name, needed) for name in ("xyz", "verts", "mano"))
        arrays = (self._K, self._xyz, self._verts, self._mano)
        self.annotation_files = (root / f"{split}_scale.json", *(each.path for each in arrays if each is not None))
        self.stored_model = stored_hand_model(root)
        self.hand_model = hand_model if hand_model and hand_model.name == self.stored_model else None

    def digest(self) -> str:
        return hashlib.sha256(repr((super().digest(), self.versions)).encode()).hexdigest()

    def __len__(self) -> int:
        return self.num_annotations * len(self.versions)

    @property
    def num_annotations(self) -> int:
        """Of the split; every version has an image of each."""
        return len(self._K)

    def image_id(self, index: int) -> int:
        """The number in the file name of an image; its annotation has this number modulo :attr:`num_annotations`."""
        version, number = divmod(index, self.num_annotations)
        return number + self.num_annotations * VERSIONS.index(self.versions[version])

    def scale(self, index: int) -> float:
        """Length of the middle finger's proximal phalanx, metres, which the evaluation gives to every method."""
        return float(self._scale[index % self.num_annotations])

    def sample(self, index: int) -> Sample:
        number, image_id = index % self.num_annotations, self.image_id(index)
        image = read_picture(self._root / self.split / "rgb" / f"{image_id:08d}.jpg", SIZE)
        K = self._K.numbers(number, (3, 3))
        try:
            camera = Camera(K=K, width=SIZE[0], height=SIZE[1])
        except CameraError as error:
            raise AnnotationError(f"{self._K.path}: array {number}: {error}") from error
        joints = np.full((2, NUM_KEYPOINTS, 3), np.nan)
        if self._xyz is not None:
            joints[Side.RIGHT] = self._xyz.numbers(number, (NUM_KEYPOINTS, 3))
        vertices = None
        if self._verts is not None:
            mesh = self._verts.numbers(number, (self._num_vertices, 3))
            vertices = np.stack([np.full_like(mesh, np.nan), mesh])
        rotations, betas, translation = self._parameters(number, K)
        return annotated_sample(
            image,
            camera,
            joints,
            f"freihand/{self.split}/{image_id:08d}",
            rotations=rotations,
            betas=betas,
            translation=translation,
            vertices=vertices,
            present=np.array([False, True]),
            labels=self._labels(number),
        )

    def _arrays(self, name: str, needed: bool) -> JsonArrays | None:
        file = f"{self.split}_{name}.json"
        if not needed and not is_file(self._root / file):
            return None
        arrays = JsonArrays(annotation_file(self._root, file, _ABOUT))
        if len(arrays) != len(self._K):
            raise AnnotationError(
                f"{arrays.path}: {len(arrays)} annotations, but {len(self._K)} in {self._K.path.name}"
            )
        return arrays

    @functools.cached_property
    def _num_vertices(self) -> int:
        """Of every mesh; -1 where that is not known: of a miniature without its hand model."""
        if self.hand_model is not None:
            return self.hand_model.num_vertices
        return MANO_VERTICES if self.stored_model == MANO else -1

    def _parameters(self, number: int, K: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
        """Rotations, betas and translation as of Sample."""
        if self._mano is None or self.hand_model is None:
            return None, None, None
        numbers = self._mano.numbers(number, (1, COUNT), (COUNT,)).reshape(COUNT)
        try:
            right = parameters_from_numbers(numbers, K, self.hand_model)
        except ValueError as error:
            raise AnnotationError(f"{self._mano.path}: array {number}: {error}") from error
        rotations, betas, translation = (np.stack([np.full_like(array, np.nan), array]) for array in right)
        return rotations, betas, translation

    def _labels(self, number: int) -> np.ndarray | None:
        """Where the hand is, from the mask that the versions share; None where there is no mask."""
        path = self._root / self.split / "mask" / f"{number:08d}.jpg"
        if not is_file(path):
            return None
        try:
            mask = read_image(path, cv2.IMREAD_GRAYSCALE)
        except OSError as error:
            raise AnnotationError(f"{path}: no picture that can be read ({error})") from error
        if mask.shape != SIZE[::-1]:
            raise AnnotationError(f"{path}: {mask.shape[1]} x {mask.shape[0]} pixels, expected {SIZE[0]} x {SIZE[1]}")
        return np.where(mask > 127, RIGHT_HAND, 0).astype(np.uint8)


def _positive_numbers(path: Path, arrays: JsonArrays) -> np.ndarray:
    """A JSON list of as many positive numbers as there are ``arrays``."""
    content = read_json(path)
    try:
        numbers = np.array(content, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise AnnotationError(f"{path}: expected a list of numbers") from error
    if numbers.shape != (len(arrays),) or not np.isfinite(numbers).all() or not (numbers > 0).all():
        raise AnnotationError(
            f"{path}: expected a list of {len(arrays)} positive numbers, as many as arrays in {arrays.path.name}"
        )
    return numbers
