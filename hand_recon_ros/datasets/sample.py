"""One image of up to two hands with its ground truth."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..camera import Camera

BACKGROUND, LEFT_HAND, RIGHT_HAND, OTHER = 0, 1, 2, 3
"""Values of :attr:`Sample.labels`; a hand's is its side + 1."""


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """An image and its ground truth. Arrays with two slots are left, right; an absent hand is NaN, its flags are False.
    What a data set does not state of a present hand is NaN as well.

    Geometry is in metres in the camera's optical frame. ``camera`` and ``frame_camera`` have the same optical centre
    and axes: the image is a crop of the frame, enlarged or reduced, so that corresponding pixels have the same ray.

    Attributes:
        image: uint8 (H, W, 3) BGR; black where the crop reaches beyond the frame.
        camera: of ``image``.
        frame_camera: of the whole frame that ``image`` is a crop of.
        present: which hands are in the scene (2,) bool.
        rotations: (2, 16, 3, 3) of the joints relative to their parents, in the order of skeleton.JOINT_NAMES.
        betas: (2, 10) of the hand model.
        translation: (2, 3) metres, MANO's ``transl``.
        joints: keypoints (2, 21, 3), metres.
        keypoints_2d: (2, 21, 2) pixels of ``image``; may be outside of it.
        keypoint_visible: whether a keypoint is in the image and only the skin right above is in front of it (2, 21)
            bool.
        occluded: whether a keypoint is in the image but hidden by the other hand, the other arm or an object (2, 21)
            bool. A keypoint hidden by its own hand only is neither visible nor occluded.
        labels: uint8 (H, W): 0 background, 1 left hand, 2 right hand, 3 anything else in front of the background
            (forearms, sleeves, objects).
        depth: of the nearest surface along the optical axis (H, W) float32, metres; infinite where the label is 0.
        name: data set, split and number of the sample.
        arrangement: of the hands relative to each other; empty where the data set has none.
        seed: of a synthetic sample, -1 otherwise.
        vertices: (2, V, 3) metres, of the hand model that the data set was made with; None where it states no meshes.
        has_maps: whether ``depth`` and ``occluded`` are known, and in ``labels`` what is not a hand; without them the
            depth is infinite, nothing is occluded, and what is annotated in the image counts as visible.
        has_labels: whether the hands are known in ``labels``; without them all labels are 0.
    """

    image: np.ndarray
    camera: Camera
    frame_camera: Camera
    present: np.ndarray
    rotations: np.ndarray
    betas: np.ndarray
    translation: np.ndarray
    joints: np.ndarray
    keypoints_2d: np.ndarray
    keypoint_visible: np.ndarray
    occluded: np.ndarray
    labels: np.ndarray
    depth: np.ndarray
    name: str = ""
    arrangement: str = ""
    seed: int = -1
    vertices: np.ndarray | None = None
    has_maps: bool = True
    has_labels: bool = True
