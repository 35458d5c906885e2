"""Training data of the encoder from a sample: two crops as a tracker would cut them, with their ground truth."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ..encode.crop_frame import CropFrame
from ..landmarks.hand_keypoints import hand_box
from ..landmarks.observation import RotatedBox
from ..skeleton import WRIST
from ..types import Camera, Side
from .image_augmentation import augmented
from .pair_crops import HandPicture, upright
from .partial_hands import box_points_known, known_box
from .priors import CHANNELS, GRID, PriorProvider, SceneTruth, segmentation_classes
from .sample import Sample

SEGMENTATION_SIZE = 28
"""Size of the segmentation that the encoder is trained to predict, cells."""
UNKNOWN_CLASS = 255
"""Of a segmentation's cells where there is no ground truth."""
CROP_SIZE = 224
_RANDOM_ROTATIONS = 0.1
"""Share of crops at a random rotation, as from a detector without the hand's direction."""
_WRONG_SIDE = 0.04
"""Share of crops that show the other side's hand, for which the encoder has to predict a low presence."""
_UNTRACKED = 0.05
"""Share of samples in which one of two hands has no crop."""
_NEAR, _FAR = 0.7, 0.9
"""The encoder has to predict the other hand's box from this crop where their centres are at most the first apart, in
units of the crop; up to the second either prediction is right."""
_MIN_VISIBLE = 4
"""Keypoints of the other hand that must be visible for that."""
PICTURE_FOV = 45.0, 90.0
"""Field of view of photographs, degrees, which is not known; no ground truth depends on it."""


def jittered_box(box: RotatedBox, rng: np.random.Generator) -> RotatedBox:
    """A box shifted, scaled and rotated a little."""
    shift = rng.normal(0.0, 0.05, 2) * box.size
    size = box.size * math.exp(rng.normal(0.0, 0.1))
    turn = rng.uniform(-math.pi, math.pi) if rng.random() < _RANDOM_ROTATIONS else rng.normal(0.0, 0.2)
    return RotatedBox((box.center[0] + float(shift[0]), box.center[1] + float(shift[1])), size, box.angle + float(turn))


def random_box(image: np.ndarray, rng: np.random.Generator) -> RotatedBox:
    """A random box of an image."""
    height, width = image.shape[:2]
    size = float(rng.uniform(0.3, 0.8)) * max(height, width)
    center = float(rng.uniform(0, width)), float(rng.uniform(0, height))
    return RotatedBox(center, size, float(rng.uniform(-math.pi, math.pi)))


@dataclasses.dataclass(frozen=True, eq=False)
class Crops:
    """The crops of a sample: their frames, left then right (None for no crop), and their arrays."""

    frames: tuple[CropFrame | None, CropFrame | None]
    arrays: dict[str, np.ndarray]


def sample_crops(
    sample: Sample,
    rng: np.random.Generator,
    provider: PriorProvider | None = None,
    distractors: bool = True,
    absent: np.ndarray | None = None,
    augment: bool = False,
) -> Crops:
    """The crops of a sample, as a slightly inaccurate tracker would cut them.

    With ``distractors`` some show no hand or the other side's hand, so that the encoder learns to predict presence.

    Arrays are (2, ...), left then right, and finite: crops uint8 (2, S, S, 3) RGB; rays, pairs, has_crop; priors
    float16, has_priors, and has_maps, whether these were computed from all maps; and the ground truth: present,
    rotations and betas, and posed, whether they are known; joints (from the wrist) and joint_weights; keypoints_2d (see
    CropFrame.pixels_in) and keypoint_weights; log_crop_width, and located, whether it is known; to_other and both;
    segmentation, UNKNOWN_CLASS where it is not known; other_box, other_visible, and other_valid, the weight of
    other_visible. What a sample does not state has weight 0: joints and vector without the wrist's position, maps
    that it does not have. A present hand with fewer than five known keypoints has no crop.

    Args:
        sample: rendered, or of a data set.
        rng: of the crops.
        provider: of prior maps; None for none.
        distractors: see above.
        absent: which hands (2,) bool are certainly not in the image; None: those that are not present.
        augment: whether the crops are changed by :func:`augmented`.
    """
    absent = ~sample.present if absent is None else absent
    frames: list[CropFrame | None] = [None, None]
    boxes = [known_box(sample.keypoints_2d[side]) if sample.present[side] else None for side in Side]
    own = [box is not None for box in boxes]
    for side in Side:
        box = boxes[side]
        if box is not None:
            frames[side] = CropFrame(jittered_box(box, rng), side, sample.camera)
        elif distractors and absent[side] and rng.random() < 0.3:
            frames[side] = CropFrame(random_box(sample.image, rng), side, sample.camera)
    kind = rng.random() if distractors else 1.0
    one = Side(int(rng.integers(2)))
    shown = boxes[one.other]
    if kind < _WRONG_SIDE and shown is not None:
        # This side's crop shows the other hand, as where a detector confuses the sides.
        frames[one] = CropFrame(jittered_box(shown, rng), one, sample.camera)
        own[one] = False
        if rng.random() < 0.5:
            frames[one.other], own[one.other] = None, False
    elif kind < _WRONG_SIDE + _UNTRACKED and all(own):
        frames[one], own[one] = None, False  # in the image, but not tracked
    truth = SceneTruth(
        sample.keypoints_2d, sample.labels, sample.depth, sample.image, sample.has_labels, sample.has_maps
    )
    image, origin = visible_part(sample)
    result = _empty()
    seed = int(rng.integers(2**31)) if augment else None  # both crops are of one image
    for side in Side:
        frame, other = frames[side], frames[side.other]
        if frame is None:
            continue
        crop = cut_crop(image, frame, origin)
        if seed is not None:
            crop = augmented(crop[..., ::-1], np.random.default_rng(seed))[..., ::-1]
        _inputs(result, frame, other, crop, truth, provider)
        if sample.has_labels:
            result["segmentation"][side] = _majority(segmentation_classes(frame, sample.labels), SEGMENTATION_SIZE)
        else:
            result["segmentation"][side] = UNKNOWN_CLASS
        if own[side]:
            _ground_truth(result, sample, frame, own[side.other])
            if sample.present[side.other]:
                _other_hand(result, sample.keypoints_2d[side.other], sample.keypoint_visible[side.other], frame)
            elif absent[side.other]:
                _other_hand(result, None, sample.keypoint_visible[side.other], frame)
    return Crops((frames[0], frames[1]), result)


def picture_crops(picture: HandPicture, rng: np.random.Generator, provider: PriorProvider | None = None) -> Crops:
    """The crops of a photograph with augmentation; arrays as of :func:`sample_crops`, of the pose only 2D keypoints.

    The ``provider`` has to predict prior maps from the image alone.
    A hand of which only the box is known has ``present`` and neither keypoints nor pose. What was mistaken for a hand
    has a crop as one of either side, which is not present. Hands of unknown side have no crop.
    """
    height, width = picture.image.shape[:2]
    camera = Camera.from_fov(width, height, float(rng.uniform(*PICTURE_FOV)))
    frames: list[CropFrame | None] = [None, None]
    boxes = [picture.roi(side) for side in Side]
    hands = [boxes[side] is not None and bool(picture.sided[side]) for side in Side]
    mistaken = None if picture.mistaken is None else upright(picture.mistaken)
    first = Side(int(rng.integers(2)))
    for side in (first, first.other):
        box = boxes[side]
        if hands[side] and box is not None:
            frames[side] = CropFrame(jittered_box(box, rng), side, camera)
        elif box is None and picture.known[side]:
            if mistaken is not None:
                frames[side], mistaken = CropFrame(jittered_box(mistaken, rng), side, camera), None
            elif rng.random() < 0.3:
                frames[side] = CropFrame(random_box(picture.image, rng), side, camera)
    result = _empty()
    result["segmentation"][:] = UNKNOWN_CLASS
    seed = int(rng.integers(2**31))  # both crops are of one photograph
    unknown = np.full((2, 21, 2), np.nan), np.zeros((height, width), np.uint8), np.full((height, width), np.inf)
    scene = SceneTruth(*unknown, picture.image, has_labels=False, has_depth=False)
    for side in Side:
        frame, other = frames[side], frames[side.other]
        if frame is None:
            continue
        shown = augmented(frame.cut(picture.image, CROP_SIZE)[..., ::-1], np.random.default_rng(seed))
        _inputs(result, frame, other, shown[..., ::-1], scene, provider)
        if not hands[side]:
            continue
        result["present"][side] = 1.0
        if picture.has_keypoints(side):
            _keypoints(result, picture.keypoints[side], frame)
        if boxes[side.other] is None and picture.known[side.other]:
            _other_hand(result, None, np.zeros(21, dtype=bool), frame)
        elif picture.has_keypoints(side.other) and picture.sided[side.other]:
            _other_hand(result, picture.keypoints[side.other], np.ones(21, dtype=bool), frame)
    return Crops((frames[0], frames[1]), result)


def visible_part(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """The part of a sample's image that is inside the frame, and its first pixel (2,).

    Beyond the frame the image is black, but a crop of a whole frame repeats the frame's border there.
    """
    camera, frame = sample.camera, sample.frame_camera
    if camera is frame:  # its corners may be beyond the model of a fisheye lens
        return sample.image, np.zeros(2, dtype=int)
    corners = frame.unproject(np.array([[0.0, 0.0], [frame.width - 1, frame.height - 1]]))
    size = np.array([camera.width, camera.height])
    # One pixel less: otherwise a half black border would be repeated.
    first, last = camera.project(corners)
    low = np.clip(np.ceil(first).astype(int) + (first > 0), 0, size - 1)
    high = np.clip(np.floor(last).astype(int) - (last < size - 1), low, size - 1)
    return sample.image[low[1] : high[1] + 1, low[0] : high[0] + 1], low


def cut_crop(image: np.ndarray, frame: CropFrame, origin: np.ndarray, size: int = CROP_SIZE) -> np.ndarray:
    """A crop (size, size, 3) uint8 RGB, mirrored for a left hand, of a BGR image that begins at pixel ``origin``."""
    center = frame.box.center[0] - float(origin[0]), frame.box.center[1] - float(origin[1])
    moved = dataclasses.replace(frame, box=RotatedBox(center, frame.box.size, frame.box.angle))
    return moved.cut(np.ascontiguousarray(image), size)


def _majority(classes: np.ndarray, size: int) -> np.ndarray:
    """The most frequent class of each cell (size, size)."""
    cells = classes.shape[0] // size
    counts = [(classes == index).reshape(size, cells, size, cells).sum(axis=(1, 3)) for index in range(3)]
    return np.argmax(counts, axis=0).astype(np.uint8)


def _empty() -> dict[str, np.ndarray]:
    def zeros(*shape: int) -> np.ndarray:
        return np.zeros((2, *shape), dtype=np.float32)

    return {
        "crops": np.zeros((2, CROP_SIZE, CROP_SIZE, 3), dtype=np.uint8),
        "rays": zeros(5), "pairs": zeros(5), "has_crop": zeros(), "has_priors": zeros(),
        "has_maps": zeros(),
        "priors": np.zeros((2, CHANNELS, GRID, GRID), dtype=np.float16),
        "present": zeros(), "posed": zeros(), "located": zeros(), "both": zeros(),
        "rotations": np.tile(np.eye(3, dtype=np.float32), (2, 16, 1, 1)), "betas": zeros(10),
        "joints": zeros(21, 3), "joint_weights": zeros(21), "keypoints_2d": zeros(21, 2), "keypoint_weights": zeros(21),
        "log_crop_width": zeros(),
        "to_other": zeros(3), "other_box": zeros(5), "other_visible": zeros(), "other_valid": zeros(),
        "segmentation": np.zeros((2, SEGMENTATION_SIZE, SEGMENTATION_SIZE), dtype=np.uint8),
    }  # fmt: skip


def _inputs(
    result: dict[str, np.ndarray],
    frame: CropFrame,
    other: CropFrame | None,
    crop: np.ndarray,
    scene: SceneTruth,
    provider: PriorProvider | None,
) -> None:
    """What the encoder gets of one crop, and its prior maps."""
    side = frame.side
    result["has_crop"][side], result["crops"][side], result["rays"][side] = 1.0, crop, frame.ray_features
    if other is not None:
        result["pairs"][side] = frame.pair_features(other)
    if provider is not None:
        result["priors"][side], result["has_priors"][side] = provider(frame, other, scene), 1.0
        result["has_maps"][side] = getattr(provider, "from_image", False) or (scene.has_labels and scene.has_depth)


def _ground_truth(result: dict[str, np.ndarray], sample: Sample, frame: CropFrame, both: bool) -> None:
    side = frame.side
    joints, rotations, betas = sample.joints[side], sample.rotations[side], sample.betas[side]
    wrist, others = joints[WRIST], sample.joints[side.other, WRIST]
    result["present"][side] = 1.0
    _keypoints(result, sample.keypoints_2d[side], frame)
    if np.isfinite(rotations).all() and np.isfinite(betas).all():
        result["posed"][side] = 1.0
        result["rotations"][side], result["betas"][side] = frame.rotations_in(rotations), betas
    if not np.isfinite(wrist).all():
        return
    known = np.isfinite(joints).all(axis=-1)
    result["joint_weights"][side] = known
    result["joints"][side, known] = frame.points_in(joints[known]) - frame.points_in(wrist)
    result["located"][side] = 1.0
    result["log_crop_width"][side] = math.log(max(frame.width_at(wrist), 1e-3))
    if both and np.isfinite(others).all():
        result["both"][side] = 1.0
        result["to_other"][side] = frame.points_in(others) - frame.points_in(wrist)


def _keypoints(result: dict[str, np.ndarray], keypoints_2d: np.ndarray, frame: CropFrame) -> None:
    keypoints = frame.pixels_in(keypoints_2d)
    result["keypoints_2d"][frame.side] = np.nan_to_num(keypoints)
    # Keypoints far outside the crop cannot be predicted from it. Those that are not known are NaN.
    result["keypoint_weights"][frame.side] = (np.abs(keypoints) < 0.6).all(axis=-1)


def _other_hand(
    result: dict[str, np.ndarray], others: np.ndarray | None, visible: np.ndarray, frame: CropFrame
) -> None:
    """Ground truth of the other hand's box, whether it is tracked or not: from its keypoints (21, 2), None where there
    is no other hand, of which some are ``visible`` (21,) bool."""
    side, other = frame.side, frame.side.other
    if others is not None and not box_points_known(others):
        return  # where it ends is not known exactly
    result["other_valid"][side] = 1.0
    if others is None:
        return
    box = frame.pair_features(CropFrame(hand_box(others), other, frame.camera))
    distance = np.abs(box[:2]).max()
    if distance < _NEAR and visible.sum() >= _MIN_VISIBLE:
        result["other_box"][side], result["other_visible"][side] = box, 1.0
    elif distance < _FAR:
        result["other_valid"][side] = 0.0
