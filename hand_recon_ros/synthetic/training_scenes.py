"""Random scenes for training: person, arrangement, viewpoint, light, occluders and background."""

from __future__ import annotations

import dataclasses
import functools

import cv2
import numpy as np

from ..camera import Camera
from ..hand_model import HandModel
from ..skeleton import WRIST, wrist_rotation
from ..types import Side
from .accessories import Accessory, accessories_of
from .arrangements import ARRANGEMENTS, ArrangedHands, arrange_hands
from .augmentation import CropAugmentation
from .backgrounds import KINDS, background
from .identities import PEOPLE, SPLITS, Identity, identity
from .lighting import Lighting
from .occluders import SceneObject, held_object, object_in_front, upper_arm
from .scene import HandPose
from .skin import skin_colour, to_srgb
from .surface import FOREARM_LENGTH, Arm, elbow_direction, wrist_bend
from .viewpoints import sample_camera, sample_crop_camera, sample_view

_PEOPLE_AT_ONCE, _SCENES_PER_PERSON = 16, 2048
_BACKGROUNDS_AT_ONCE, _SCENES_PER_BACKGROUND, _BACKGROUNDS_PER_SPLIT = 32, 1024, 10**6
_BACKGROUND_SIZE = (288, 384)
_VIEW_TRIES = 12
"""Viewpoints that are tried for a plausible one; the last is taken as it is."""


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingScene:
    """A scene of the stream.

    Attributes:
        split, seed, number: its arguments, see :func:`sample_scene`.
        arrangement: of arrangements.ARRANGEMENTS.
        person: whose hands they are.
        hands: at most one of each side.
        joints: (2, 21, 3) metres, camera frame; NaN for an absent hand.
        objects: in front of the hands, in them, or upper arms.
        accessories: rings and watches on the hands.
        camera: of the whole frame; crop_camera: of the crop, with the same optical centre.
        lighting: lamps and soft light.
        augmentation: of the image.
        background_seed: of :func:`background_image`.
    """

    split: str
    seed: int
    number: int
    arrangement: str
    person: Identity
    hands: tuple[HandPose, ...]
    joints: np.ndarray
    objects: tuple[SceneObject, ...]
    accessories: tuple[Accessory, ...]
    camera: Camera
    crop_camera: Camera
    lighting: Lighting
    augmentation: CropAugmentation
    background_seed: int


def scene_rng(split: str, seed: int, number: int) -> np.random.Generator:
    """The random numbers of scene ``number``; no two splits share any. Raises ValueError for another split."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, expected one of: {', '.join(SPLITS)}")
    return np.random.default_rng([1 + SPLITS.index(split), seed, number])


def arrangement_of(split: str, seed: int, number: int) -> str:
    """The arrangement of scene ``number``, without sampling the scene."""
    return _arrangement(scene_rng(split, seed, number))


def _arrangement(rng: np.random.Generator) -> str:
    names, shares = list(ARRANGEMENTS), np.array(list(ARRANGEMENTS.values()))
    return names[int(rng.choice(len(names), p=shares / shares.sum()))]


def sample_scene(seed: int, split: str, number: int, hand_model: HandModel) -> TrainingScene:
    """Scene ``number`` of the stream with ``seed``; the same arguments give the same scene.

    Neighbouring numbers share a few people and backgrounds, which are replaced one at a time: their textures, expensive
    to compute, are used often, and a stream can start at any number.

    Raises ValueError for another split.
    """
    rng = scene_rng(split, seed, number)
    name = _arrangement(rng)
    person = identity(_rotating_choice(split, seed, number, rng, _PEOPLE_AT_ONCE, _SCENES_PER_PERSON, *PEOPLE[split]))
    first = _BACKGROUNDS_PER_SPLIT * (1 + SPLITS.index(split))
    backgrounds = (_BACKGROUNDS_AT_ONCE, _SCENES_PER_BACKGROUND, first, first + _BACKGROUNDS_PER_SPLIT)
    background_seed = _rotating_choice(split, seed, number, rng, *backgrounds)
    arranged = arrange_hands(name, rng, hand_model, person.betas)
    for _ in range(_VIEW_TRIES):
        camera, head_mounted = sample_camera(rng)
        hands, joints, view = _place_before_camera(arranged, person, hand_model, camera, head_mounted, rng)
        if _plausible(hands, joints, camera):
            break
    present = [hand.side for hand in hands]
    crop_camera = sample_crop_camera(camera, camera.project(joints[present]), rng)
    objects = _objects(joints, present, rng) + _upper_arms(hands, joints, view, person, camera)
    accessories = tuple(accessory for accessory in accessories_of(person) if accessory.side in present)
    lighting = Lighting.sample(rng)
    # Every lamp costs a shadow map: mostly one is enough.
    lighting = dataclasses.replace(lighting, lamps=lighting.lamps[: 2 if rng.random() < 0.4 else 1])
    augmentation = CropAugmentation.sample(rng, crop_camera.K[0, 0] / camera.K[0, 0])
    return TrainingScene(
        split, seed, number, name, person, hands, joints, objects, accessories, camera, crop_camera, lighting,
        augmentation, background_seed,
    )  # fmt: skip


def _rotating_choice(
    split: str, seed: int, number: int, rng: np.random.Generator, slots: int, period: int, first: int, end: int
) -> int:
    """One of ``first`` .. ``end`` - 1 for scene ``number``: the value of a random one of ``slots`` slots. Each
    slot gets a new random value every ``period`` scenes, one slot after the other."""
    slot = int(rng.integers(slots))
    generation = (number + slot * period // slots) // period
    choice = np.random.default_rng([97, SPLITS.index(split), seed, slot, generation, slots])
    return int(choice.integers(first, end))


def _place_before_camera(
    arranged: ArrangedHands,
    person: Identity,
    hand_model: HandModel,
    camera: Camera,
    head_mounted: bool,
    rng: np.random.Generator,
) -> tuple[tuple[HandPose, ...], np.ndarray, np.ndarray]:
    """The hands and their keypoints (2, 21, 3) in a camera's frame, and the rotation from the person's frame to it."""
    view = sample_view(rng, head_mounted)
    distance = float(np.exp(rng.uniform(np.log(0.22), np.log(0.6 if head_mounted else 1.5))))
    rotated = arranged.keypoints @ view.T
    centre = camera.unproject(_target_pixel(rotated, camera, distance, rng)) * distance
    joints = rotated + centre
    depth = np.nanmin(joints[..., 2])
    if depth < 0.13:
        centre = centre * (1 + (0.13 - depth) / centre[2])
        joints = rotated + centre
    hands = []
    for side in Side:
        if not np.isfinite(arranged.translation[side]).all():
            continue
        kinematics = hand_model.kinematics(side)
        rotations = arranged.rotations[side].copy()
        rotations[0] = view @ rotations[0]
        translation = joints[side, WRIST] - kinematics.rest_keypoints(person.betas[side])[WRIST]
        frame = wrist_rotation(joints[side], side == Side.RIGHT)
        bend = wrist_bend(frame[None], (view @ arranged.elbows[side])[None], side)[0]
        arm = Arm((float(bend[0]), float(bend[1])), person.girth, person.sleeve, person.appearance.seed)
        hands.append(HandPose(side, rotations, person.betas[side], translation, arm))
    return tuple(hands), joints, view


def _target_pixel(points: np.ndarray, camera: Camera, distance: float, rng: np.random.Generator) -> np.ndarray:
    """A random pixel (2,) for the middle of hands with ``points`` (2, 21, 3) around it at a distance, metres: they are
    mostly inside the frame, sometimes cut by its edge."""
    focal, size = camera.K[[0, 1], [0, 1]], np.array([camera.width, camera.height])
    reach = 1.15 * np.nanmax(np.abs(points[..., :2] / (distance + points[..., 2:])), axis=(0, 1)) * focal
    free = size / 2 - (0.25 * reach if rng.random() < 0.12 else reach)
    return size / 2 + rng.uniform(-1, 1, 2) * np.maximum(free, 0.02 * size)


def _elbow(hand: HandPose, joints: np.ndarray) -> np.ndarray:
    frame = wrist_rotation(joints[hand.side], hand.side == Side.RIGHT)
    return joints[hand.side, WRIST] + FOREARM_LENGTH * elbow_direction(frame, hand.arm.bend, hand.side)


def _plausible(hands: tuple[HandPose, ...], joints: np.ndarray, camera: Camera) -> bool:
    """Whether most of every hand is in the frame, no forearm starts at the lens, and the lens model is invertible."""
    low, high = np.zeros(2), np.array([camera.width, camera.height])
    points = joints[[hand.side for hand in hands]]
    if np.any(camera.D) and not np.allclose(camera.unproject(camera.project(points)), points / points[..., 2:]):
        return False
    for hand in hands:
        pixels = camera.project(joints[hand.side])
        if np.all((pixels > low) & (pixels < high), axis=1).mean() < 0.5:
            return False
        wrist, elbow = joints[hand.side, WRIST], _elbow(hand, joints)
        if elbow[2] < wrist[2]:
            # An arm that comes from the camera's side must leave the frame before its end, or be far away.
            along = wrist + np.linspace(0.3, 1.0, 8)[:, None] * (elbow - wrist)
            along = along[along[:, 2] > 0.04]
            pixels = camera.project(along)
            inside = np.all((pixels > low) & (pixels < high), axis=1)
            if inside[-1] or (len(along) < 8 and inside[along[:, 2] < 0.12].any()):
                return False
    return True


def _objects(joints: np.ndarray, present: list[Side], rng: np.random.Generator) -> tuple[SceneObject, ...]:
    objects: list[SceneObject] = []
    for side in present:
        if rng.random() < 0.22 and (item := held_object(rng, joints[side])) is not None:
            objects.append(item)
    while rng.random() < 0.16 and len(objects) < 3:
        objects.append(object_in_front(rng, joints[present[int(rng.integers(len(present)))]]))
    return tuple(objects)


def _upper_arms(
    hands: tuple[HandPose, ...], joints: np.ndarray, view: np.ndarray, person: Identity, camera: Camera
) -> tuple[SceneObject, ...]:
    """Upper arms of the forearms whose ends are in the frame, towards the shoulders."""
    arms = []
    for hand in hands:
        elbow = _elbow(hand, joints)
        pixel = camera.project(elbow)
        if elbow[2] > 0.15 and np.all((pixel > -60) & (pixel < (camera.width + 60, camera.height + 60))):
            shoulder = view @ (0.35 if hand.side == Side.LEFT else -0.35, -0.7, 0.6)
            appearance = person.appearance
            bare = np.isinf(person.sleeve) and appearance.seed % 2 == 0
            colour = to_srgb(skin_colour(appearance.tone)) if bare else appearance.cloth
            arms.append(upper_arm(elbow, shoulder, colour, hand.side))
    return tuple(arms)


def background_kind(seed: int) -> str:
    """The kind, of backgrounds.KINDS, of the background with a seed."""
    return KINDS[int(np.random.default_rng(seed).choice(len(KINDS), p=(0.3, 0.25, 0.23, 0.07, 0.15)))]


@functools.lru_cache(maxsize=2 * _BACKGROUNDS_AT_ONCE)
def background_image(seed: int) -> np.ndarray:
    """The background with a seed: linear RGB (288, 384, 3) float32; cached for the last few seeds."""
    split = SPLITS[seed // _BACKGROUNDS_PER_SPLIT - 1]
    return background(background_kind(seed), *_BACKGROUND_SIZE, seed, split=split)


def place_background(scene: TrainingScene, camera: Camera, whole: bool) -> np.ndarray:
    """The background in an image by ``camera``: linear RGB (H, W, 3) float32.

    The ``whole`` frame shows all of it, a crop a part of it at a random scale and rotation.
    """
    image = background_image(scene.background_seed)
    rng = scene_rng(scene.split, scene.seed + 7919, scene.number)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    gain = np.exp(rng.normal(0, 0.35) + rng.normal(0, 0.08, 3)).astype(np.float32)
    size = np.array([image.shape[1], image.shape[0]], dtype=float)
    target = np.array([camera.width, camera.height], dtype=float)
    if whole:
        scale, turn, middle = float((size / target).min()), 0.0, size / 2
    else:
        scale = float((size / target).min() * rng.uniform(0.45, 1.1))
        turn = rng.uniform(0, 2 * np.pi) if rng.random() < 0.35 else rng.normal(0, 0.1)
        middle = size * rng.uniform(0.3, 0.7, 2)
    matrix = scale * np.array([[np.cos(turn) * flip, -np.sin(turn)], [np.sin(turn) * flip, np.cos(turn)]])
    affine = np.column_stack([matrix, middle - matrix @ (target / 2)])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    shape = (camera.width, camera.height)
    return cv2.warpAffine(image, affine, shape, flags=flags, borderMode=cv2.BORDER_REFLECT_101) * gain
