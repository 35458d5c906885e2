"""What miniatures of published data sets have in common: whose meshes they hold, and images in another camera.

A miniature is rendered, in a data set's exact format. Its meshes and parameters are those of the hand model that it was
rendered with, and a marker file names it; the published sets have MANO's and no marker.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from ..camera import Camera
from ..hand_model import HandModel
from ..image_files import is_file
from .annotated import read_json
from .annotations import Entry

MARKER = "hand_model.json"
MANO = "mano"


def write_marker(root: Path, hand_model: HandModel) -> None:
    """Name the hand model of a miniature's meshes and parameters."""
    content = {"hand_model": hand_model.name, "vertices": hand_model.num_vertices}
    (root / MARKER).write_text(json.dumps(content) + "\n", encoding="utf-8")


def stored_hand_model(root: Path) -> str:
    """The name of the hand model whose meshes and parameters a data set holds; raises AnnotationError."""
    path = root / MARKER
    if not is_file(path):
        return MANO
    return str(Entry(read_json(path), str(path)).value("hand_model", str))


def in_camera(image: np.ndarray, camera: Camera, other: Camera, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    """An image (H, W, ...) by ``camera`` as ``other`` sees it, which has the same optical centre and axes; zero where
    ``camera`` does not see."""
    if camera.matches(image) and (camera.width, camera.height) == (other.width, other.height):
        if np.array_equal(camera.K, other.K) and not np.any(camera.D) and not np.any(other.D):
            return image
    columns, rows = np.meshgrid(np.arange(other.width), np.arange(other.height))
    pixels = camera.project(other.unproject(np.stack([columns, rows], axis=-1).astype(np.float64)))
    x, y = np.moveaxis(np.nan_to_num(pixels, nan=-2.0).astype(np.float32), -1, 0)
    return np.asarray(cv2.remap(image, x, y, interpolation, borderMode=cv2.BORDER_CONSTANT))
