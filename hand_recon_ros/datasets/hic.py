"""HIC, Hands in Action (Tzionas et al., IJCV 2016): sequences of one camera with one or two hands and their meshes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from ..camera import Camera
from ..hand_model import HandModel
from ..skeleton import NUM_KEYPOINTS
from ..types import Side
from .annotated import AnnotatedImages, annotated_sample, annotation_file, read_json, read_picture
from .annotations import AnnotationError, Entry, path_below
from .miniatures import stored_hand_model
from .ply import read_vertices
from .sample import Sample

FILE = "HIC.json"
HIC_CAMERA = Camera(K=np.array([[525.0, 0.0, 319.5], [0.0, 525.0, 239.5], [0.0, 0.0, 1.0]]), width=640, height=480)
"""Of all sequences."""
HAND_TYPES = {"left": (Side.LEFT,), "right": (Side.RIGHT,), "interacting": (Side.LEFT, Side.RIGHT)}
"""Hands of an image, by ``hand_type``."""
_ABOUT = "the folder of HIC with the annotations of InterWild"


@dataclasses.dataclass(frozen=True)
class _Image:
    """Its file, by name and path, its hand_type, and the files of its meshes, left and right."""

    name: str
    path: Path
    hand_type: str
    meshes: tuple[Path | None, Path | None]


class Hic(AnnotatedImages):
    """The annotated images, in the order of the annotations; there is one split, ``test``.

    A sample has the vertices of the hands that have a mesh, and ``hand_type`` as its ``arrangement``. Keypoints are
    those of the meshes by ``hand_model``; NaN without one. A hand without a mesh is
    present where ``hand_type`` says so. Parameters are published as pickles, which are not read.
    """

    name = "hic"
    split = "test"

    def __init__(self, root: Path, hand_model: HandModel | None = None) -> None:
        """``root`` is the folder with HIC.json; raises AnnotationError where that is missing or damaged."""
        self.stored_model = stored_hand_model(root)
        self.hand_model = hand_model if hand_model and hand_model.name == self.stored_model else None
        path = annotation_file(root, FILE, _ABOUT)
        self.annotation_files = (path,)
        content = Entry(read_json(path), str(path))
        files: dict[int, str] = {}
        for number, item in enumerate(content.value("images", list)):
            entry = Entry(item, f"{path}: image {number}")
            files[entry.value("id", int)] = entry.value("file_name", str)
        self._images = [
            _image(root, Entry(item, f"{path}: annotation {number}"), files)
            for number, item in enumerate(content.value("annotations", list))
        ]
        if not self._images:
            raise AnnotationError(f"{path}: no annotations")

    def __len__(self) -> int:
        return len(self._images)

    def sample(self, index: int) -> Sample:
        image = self._images[index]
        picture = read_picture(image.path, (HIC_CAMERA.width, HIC_CAMERA.height))
        meshes = {side: read_vertices(path) for side in Side if (path := image.meshes[side]) is not None}
        joints = np.full((2, NUM_KEYPOINTS, 3), np.nan)
        vertices = None
        if meshes:
            counts = {len(mesh) for mesh in meshes.values()}
            if len(counts) > 1:
                raise AnnotationError(f"{image.meshes[0]}: another number of vertices than {image.meshes[1]}")
            vertices = np.full((2, counts.pop(), 3), np.nan)
        for side, mesh in meshes.items():
            assert vertices is not None
            vertices[side] = mesh
            if self.hand_model is not None:
                if len(mesh) != self.hand_model.num_vertices:
                    expected = f"{self.hand_model.num_vertices}, as {self.hand_model.name} has"
                    raise AnnotationError(f"{image.meshes[side]}: {len(mesh)} vertices, expected {expected}")
                joints[side] = self.hand_model.mesh_keypoints(side, mesh)
        shown = HAND_TYPES[image.hand_type]
        return annotated_sample(
            picture,
            HIC_CAMERA,
            joints,
            f"hic/{self.split}/{image.name}",
            arrangement=image.hand_type,
            vertices=vertices,
            present=np.array([side in shown or side in meshes for side in Side]),
        )


def _image(root: Path, entry: Entry, files: dict[int, str]) -> _Image:
    image_id = entry.value("image_id", int)
    if image_id not in files:
        raise entry.error("image_id", "the id of an image")
    name, hand_type = files[image_id], entry.value("hand_type", str)
    if hand_type not in HAND_TYPES:
        raise entry.error("hand_type", " or ".join(HAND_TYPES))
    meshes = (_mesh(root, entry, "left_mano_path"), _mesh(root, entry, "right_mano_path"))
    return _Image(name, path_below(root, name, entry.name), hand_type, meshes)


def _mesh(root: Path, entry: Entry, field: str) -> Path | None:
    if field not in entry.content:
        raise entry.error(field, "a file or null")
    if entry.content[field] is None:
        return None
    return path_below(root, entry.value(field, str), entry.name)
