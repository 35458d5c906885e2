"""InterHand2.6M v1.0 (Moon et al., ECCV 2020) with the MANO parameters of NeuralAnnot, as samples.

The folder of the data set has ``images/SPLIT/CaptureC/SEQUENCE/camNAME/imageFRAME.jpg`` and
``annotations/SPLIT/InterHand2.6M_SPLIT_{data,camera,joint_3d,MANO_NeuralAnnot}.json``. Images are undistorted; joints,
cameras' positions (millimetres) and MANO (metres) are in a world frame of each capture.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from pathlib import Path

import numpy as np

from ..camera import Camera, CameraError
from ..geometry.rotations import nearest_rotations
from ..hand_model import HandModel, from_mano_pose, to_mano_pose
from ..image_files import is_file
from ..skeleton import NUM_JOINTS, WRIST
from ..types import Side
from .annotated import AnnotatedImages, annotated_sample, read_picture
from .interhand26m_annotations import (
    HAND_TYPES,
    JOINTS,
    SPLITS,
    ImageAnnotations,
    annotation_path,
    existing_annotation,
    read_ids,
    read_image_annotations,
)
from .interhand26m_geometry import read_cameras, read_joints, read_parameters
from .miniatures import stored_hand_model
from .pictures import AnnotationError
from .sample import Sample

FRAME_RATE = 30.0
"""Of the numbers of frames, Hz: the images of the 5 fps set are every sixth."""
_log = logging.getLogger(__name__)

HUMAN = "human_annot"
"""Subset of the images whose joints people annotated, "H" in published tables: see :func:`human_annotated_file`."""


@dataclasses.dataclass(frozen=True, eq=False)
class ImageEntry:
    """What is annotated of an image besides the hands' geometry.

    Attributes:
        annotation_id: as in lists of ids.
        path: of the image.
        capture, subject, frame: their numbers; ``sequence`` and ``camera``: their names.
        size: width and height, pixels.
        box: x0, y0, x1, y1 (4,), pixels, around all hands, with a margin of a tenth on each side.
        hand_type: of HAND_TYPES; ``hand_type_valid``: whether the image shows enough to tell.
        joint_valid: whether a keypoint is annotated and in the image (2, 21) bool, left then right.
    """

    annotation_id: int
    path: Path
    capture: int
    subject: int
    sequence: str
    camera: str
    frame: int
    size: tuple[int, int]
    box: np.ndarray
    hand_type: str
    hand_type_valid: bool
    joint_valid: np.ndarray


class InterHand26M(AnnotatedImages):
    """A split of InterHand2.6M; :attr:`Sample.arrangement` is the hand type, left, right or interacting.

    A sample's joints are the annotated ones, NaN where they are not annotated or outside of the image. A hand without
    any is absent. Rotations, betas, translation and vertices are those of NeuralAnnot, in the camera's frame; NaN where
    it has none of a hand.

    Attributes:
        hand_model: whose parameters and vertices the samples have; None where they have none.
    """

    name = "interhand26m"

    def __init__(
        self,
        root: str | Path,
        split: str = "test",
        hand_model: HandModel | None = None,
        subset: str = "",
        truncated: bool = False,
    ) -> None:
        """Reads the annotations.

        Args:
            root: the folder with ``images`` and ``annotations``.
            split: train, val or test.
            hand_model: for parameters and vertices: MANO, to which the published parameters belong, or, of a
                miniature, the model that it was rendered with. Another one is not used, with a warning.
            subset: words separated by commas, all of which have to hold: ``single`` or ``interacting`` (the hand
                type), ``human_annot``, or the path of a text file of annotation ids, one in a line.
            truncated: whether annotated joints outside of the image are stated too, of a hand with a joint inside.

        Raises AnnotationError, which names the file, and ValueError for another split.
        """
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}, expected one of: {', '.join(SPLITS)}")
        self.root, self.split, self.truncated = Path(root), split, truncated
        paths = [existing_annotation(self.root, split, kind) for kind in ("data", "camera", "joint_3d")]
        annotations = read_image_annotations(paths[0])
        self._annotations = annotations.selected(_chosen(annotations, subset, self.root, split))
        self._cameras = read_cameras(paths[1])
        self._joints = read_joints(paths[2])
        self.hand_model = None
        self.stored_model = stored_hand_model(self.root)
        if hand_model is not None and hand_model.name != self.stored_model:
            _log.warning(
                "%s: its parameters belong to the hand model %s, not to %s: samples have no meshes",
                self.root, self.stored_model, hand_model.name,
            )  # fmt: skip
        elif hand_model is not None:
            self.hand_model = hand_model
            paths.append(existing_annotation(self.root, split, "MANO_NeuralAnnot"))
            self._parameters = read_parameters(paths[-1])
        self.annotation_files = tuple(paths)

    def digest(self) -> str:
        digest = hashlib.sha256(repr((super().digest(), self.truncated)).encode())
        digest.update(self._annotations.ids.tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._annotations.ids)

    def entry(self, index: int) -> ImageEntry:
        """What is annotated of image ``index``, from 0, without reading the image."""
        table = self._annotations
        x, y, width, height = table.boxes[index]
        return ImageEntry(
            annotation_id=int(table.ids[index]),
            path=self.root / "images" / self.split / table.files[index].decode(),
            capture=int(table.captures[index]),
            subject=int(table.subjects[index]),
            sequence=table.sequence_names[table.sequences[index]],
            camera=table.camera_names[table.cameras[index]],
            frame=int(table.frames[index]),
            size=(int(table.sizes[index, 0]), int(table.sizes[index, 1])),
            box=np.array([x, y, x + width, y + height]),
            hand_type=HAND_TYPES[table.hand_types[index]],
            hand_type_valid=bool(table.hand_type_valid[index]),
            joint_valid=table.joint_valid[index][JOINTS],
        )

    def sequences(self) -> list[tuple[int, ...]]:
        """The images of each sequence by each camera, in the order of their frames."""
        table = self._annotations
        keys = np.stack([table.captures, table.sequences, table.cameras])
        order = np.lexsort((table.frames, *keys[::-1]))
        ends = np.flatnonzero((np.diff(keys[:, order], axis=1) != 0).any(axis=0)) + 1
        return [tuple(part.tolist()) for part in np.split(order, ends)]

    def sample(self, index: int) -> Sample:
        entry = self.entry(index)
        rotation, position, camera = self._camera(entry)
        joints = self._keypoints(entry, rotation, position)
        rotations, betas, translation, vertices = self._hands(entry, rotation, position, ~np.isnan(joints[:, :, 0]))
        return annotated_sample(
            read_picture(entry.path, entry.size),
            camera,
            joints,
            f"{self.name}/{self.split}/{entry.path.relative_to(self.root / 'images' / self.split).as_posix()}",
            entry.hand_type,
            rotations,
            betas,
            translation,
            vertices,
        )

    def _camera(self, entry: ImageEntry) -> tuple[np.ndarray, np.ndarray, Camera]:
        """Rotation (3, 3) from the world, position (3,) in the world, millimetres, and intrinsics."""
        row = self._cameras.rows.get((str(entry.capture), entry.camera))
        if row is None:
            raise self._missing("camera", f"camera {entry.camera} of capture {entry.capture}", entry)
        (fx, fy), (cx, cy) = self._cameras.focal[row], self._cameras.principal_point[row]
        try:
            camera = Camera(np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]), *entry.size)
        except CameraError as error:
            path = annotation_path(self.root, self.split, "camera")
            raise AnnotationError(f"{path}: capture {entry.capture}: camera {entry.camera}: {error}") from error
        return self._cameras.rotations[row], self._cameras.positions[row], camera

    def _keypoints(self, entry: ImageEntry, rotation: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Keypoints (2, 21, 3), metres, in the camera's frame; NaN where they are not stated."""
        row = self._joints.rows.get((str(entry.capture), str(entry.frame)))
        if row is None:
            raise self._missing("joint_3d", f"frame {entry.frame} of capture {entry.capture}", entry)
        joints = (self._joints.values[row][JOINTS] - position) @ rotation.T / 1000.0
        stated = entry.joint_valid
        if self.truncated:
            stated = np.broadcast_to(stated.any(axis=1, keepdims=True), stated.shape)
        joints[~stated] = np.nan
        return joints

    def _hands(
        self, entry: ImageEntry, rotation: np.ndarray, position: np.ndarray, known: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | tuple[None, None, None, None]:
        """Rotations, betas, translation and vertices of hands that have ``known`` (2, 21) joints."""
        if self.hand_model is None:
            return None, None, None, None
        rotations, betas = np.full((2, NUM_JOINTS, 3, 3), np.nan), np.full((2, 10), np.nan)
        translation = np.full((2, 3), np.nan)
        vertices = np.full((2, self.hand_model.num_vertices, 3), np.nan, dtype=np.float32)
        row = self._parameters.rows.get((str(entry.capture), str(entry.frame)))
        for side in Side:
            if row is None or not known[side].any() or np.isnan(self._parameters.values[row, side, 0]):
                continue
            rotations[side], betas[side], translation[side] = hand_in_camera(
                self.hand_model, side, self._parameters.values[row, side], rotation, position
            )
            vertices[side] = self.hand_model.mesh(side, rotations[side], betas[side], translation[side])
        return rotations, betas, translation, vertices

    def _missing(self, kind: str, what: str, entry: ImageEntry) -> AnnotationError:
        path = annotation_path(self.root, self.split, kind)
        return AnnotationError(f"{path}: has no {what}, of which is {entry.path}")


def hand_in_camera(
    model: HandModel, side: Side, parameters: np.ndarray, rotation: np.ndarray, position: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotations (16, 3, 3), betas (10,) and translation (3,), metres, in a camera's frame.

    A hand turns about its wrist, which is not the origin, so that turning the world moves the translation by more than
    the world's: R t + T - J + R J with the wrist joint J of the shaped hand at rest.

    Args:
        parameters: as in the file (61,): pose relative to the mean pose, shape, translation, of the world.
        rotation: world to camera (3, 3).
        position: of the camera in the world (3,), millimetres.
    """
    pose, betas, translation = np.split(parameters, [48, 58])
    rotations = from_mano_pose(pose + _mean_pose(model, side))
    rotations[0] = nearest_rotations(rotation) @ rotations[0]
    wrist = model.kinematics(side).rest_keypoints(betas)[WRIST]
    return rotations, betas, rotation @ (translation - position / 1000.0 + wrist) - wrist


def hand_in_world(
    model: HandModel,
    side: Side,
    hand: tuple[np.ndarray, np.ndarray, np.ndarray],
    rotation: np.ndarray,
    position: np.ndarray,
) -> np.ndarray:
    """The inverse of :func:`hand_in_camera`: parameters (61,) of rotations, betas and translation."""
    rotations, betas, translation = hand
    turned = rotations.copy()
    turned[0] = rotation.T @ rotations[0]
    pose = to_mano_pose(turned) - _mean_pose(model, side)
    wrist = model.kinematics(side).rest_keypoints(betas)[WRIST]
    return np.concatenate([pose, betas, rotation.T @ (translation + wrist) - wrist + position / 1000.0])


def human_annotated_file(root: Path, split: str) -> Path:
    """The list of the ids of images whose joints people annotated, where InterWild's evaluation has it."""
    return root / f"aid_human_annot_{split}.txt"


def _mean_pose(model: HandModel, side: Side) -> np.ndarray:
    return np.concatenate([np.zeros(3), model.arrays(side).hands_mean])


def _chosen(annotations: ImageAnnotations, subset: str, root: Path, split: str) -> np.ndarray:
    """Which annotations (N,) bool belong to a subset."""
    chosen = np.ones(len(annotations.ids), dtype=bool)
    interacting = annotations.hand_types == HAND_TYPES.index("interacting")
    for word in filter(None, map(str.strip, subset.split(","))):
        if word in ("single", "interacting"):
            chosen &= interacting if word == "interacting" else ~interacting
            continue
        path = human_annotated_file(root, split) if word == HUMAN else Path(word).expanduser()
        if not is_file(path) and word == HUMAN:
            raise AnnotationError(
                f"{path}: no such file; it lists the images that people annotated, one annotation id in a line, and is "
                "in data/InterHand26M/ of InterWild's code"
            )
        if not is_file(path):
            raise AnnotationError(
                f"{path}: no such file; a subset is single, interacting, {HUMAN} (ids in "
                f"{human_annotated_file(root, split)}), or the path of a file of annotation ids"
            )
        chosen &= np.isin(annotations.ids, read_ids(path))
    if not chosen.any():
        raise AnnotationError(f"{annotation_path(root, split, 'data')}: no image in subset {subset!r}")
    return chosen
