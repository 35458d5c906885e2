"""Endless scenes for training: who, how the hands lie, from where, in which light, behind what."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from ..camera import Camera
from ..hand_model import HandModel
from ..skeleton import WRIST, wrist_rotation
from ..types import Side
from .accessories import Accessory, accessories_of
from .arrangements import ARRANGEMENTS, Placed, arranged
from .augmentation import CropAugmentation
from .backgrounds import KINDS, background
from .identities import PEOPLE, SPLITS, Identity, identity
from .lighting import Lighting
from .occluders import SceneObject, held, in_front, upper_arm
from .scene import HandPose
from .skin import skin_colour, to_srgb
from .surface import FOREARM_LENGTH, Arm, elbow_direction, wrist_bend
from .viewpoints import sample_camera, sample_crop_camera, sample_view

_PEOPLE_AT_ONCE, _PERSON_LASTS = 16, 2048
_PLACES_AT_ONCE, _PLACE_LASTS, _PLACES_OF_A_SPLIT = 32, 1024, 10**6
_ROOM = (288, 384)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingScene:
    """A scene of the stream.

    Attributes:
        split, seed, number: where it is from.
        arrangement: of arrangements.ARRANGEMENTS.
        person: whose hands they are.
        hands: at most one of each side.
        joints: (2, 21, 3) metres, camera frame; NaN for an absent hand.
        things: objects in front of the hands or in them.
        worn: rings and watches on the hands.
        camera: of the whole frame; crop_camera: of the training image, the same optical centre.
        lighting: lamps and sky.
        augmentation: from light to picture.
        place: seed of the background.
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
    """The chance of scene ``number``; no two splits share any. Raises ValueError for another split."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, expected one of: {', '.join(SPLITS)}")
    return np.random.default_rng([1 + SPLITS.index(split), seed, number])


def arrangement_of(split: str, seed: int, number: int) -> str:
    """The arrangement of scene ``number``, without the scene."""
    return _arrangement(scene_rng(split, seed, number))


def _arrangement(rng: np.random.Generator) -> str:
    names, shares = list(ARRANGEMENTS), np.array(list(ARRANGEMENTS.values()))
    return names[int(rng.choice(len(names), p=shares / shares.sum()))]


def sample_scene(seed: int, split: str, number: int, hand_model: HandModel) -> TrainingScene:
    """Scene ``number`` of the stream with ``seed``; the same arguments give the same scene.

    Neighbouring numbers share a few people and places, which come and go one by one: what is dear to make is used
    often, and a stream that is read from the middle on needs nothing from before.
    """
    rng = scene_rng(split, seed, number)
    name = _arrangement(rng)
    person = identity(_turn(split, seed, number, rng, _PEOPLE_AT_ONCE, _PERSON_LASTS, *PEOPLE[split]))
    first = _PLACES_OF_A_SPLIT * (1 + SPLITS.index(split))
    place = _turn(split, seed, number, rng, _PLACES_AT_ONCE, _PLACE_LASTS, first, first + _PLACES_OF_A_SPLIT)
    placed = arranged(name, rng, hand_model, person.betas)
    for attempt in range(12):
        camera, worn = sample_camera(rng)
        hands, joints, view = _seen(placed, person, hand_model, camera, worn, rng)
        if _plausible(hands, joints, camera) or attempt == 11:
            break
    present = [hand.side for hand in hands]
    crop_camera = sample_crop_camera(camera, camera.project(joints[present]), rng)
    things = _things(joints, present, rng) + _upper_arms(hands, joints, view, person, camera)
    accessories = tuple(accessory for accessory in accessories_of(person) if accessory.side in present)
    lighting = Lighting.sample(rng)
    # Every lamp costs a shadow map: one is enough mostly.
    lighting = dataclasses.replace(lighting, lamps=lighting.lamps[: 2 if rng.random() < 0.4 else 1])
    augmentation = CropAugmentation.sample(rng, crop_camera.K[0, 0] / camera.K[0, 0])
    return TrainingScene(
        split,
        seed,
        number,
        name,
        person,
        hands,
        joints,
        things,
        accessories,
        camera,
        crop_camera,
        lighting,
        augmentation,
        place,
    )


def _turn(
    split: str, seed: int, number: int, rng: np.random.Generator, slots: int, lasts: int, first: int, end: int
) -> int:
    """Which of ``first`` .. ``end`` - 1 scene ``number`` uses: of a few slots, each renewed after a while in turn."""
    slot = int(rng.integers(slots))
    generation = (number + slot * lasts // slots) // lasts
    choice = np.random.default_rng([97, SPLITS.index(split), seed, slot, generation, slots])
    return int(choice.integers(first, end))


def _seen(
    placed: Placed, person: Identity, hand_model: HandModel, camera: Camera, worn: bool, rng: np.random.Generator
) -> tuple[tuple[HandPose, ...], np.ndarray, np.ndarray]:
    """The hands and their keypoints in the camera's frame, and the person's rotation to it."""
    view = sample_view(rng, worn)
    distance = float(np.exp(rng.uniform(np.log(0.22), np.log(0.6 if worn else 1.5))))
    turned = placed.keypoints @ view.T
    centre = camera.unproject(_target(turned, camera, distance, rng)) * distance
    joints = turned + centre
    depth = np.nanmin(joints[..., 2])
    if depth < 0.13:
        centre = centre * (1 + (0.13 - depth) / centre[2])
        joints = turned + centre
    hands = []
    for side in Side:
        if not np.isfinite(placed.translation[side]).all():
            continue
        kinematics = hand_model.kinematics(side)
        rotations = placed.rotations[side].copy()
        rotations[0] = view @ rotations[0]
        translation = joints[side, WRIST] - kinematics.rest_keypoints(person.betas[side])[WRIST]
        frame = wrist_rotation(joints[side], side == Side.RIGHT)
        bend = wrist_bend(frame[None], (view @ placed.elbows[side])[None], side)[0]
        arm = Arm((float(bend[0]), float(bend[1])), person.girth, person.sleeve, person.appearance.seed)
        hands.append(HandPose(side, rotations, person.betas[side], translation, arm))
    return tuple(hands), joints, view


def _target(turned: np.ndarray, camera: Camera, distance: float, rng: np.random.Generator) -> np.ndarray:
    """Where in the frame the hands' middle goes (2,): all of them are inside mostly, sometimes the edge cuts them."""
    focal, size = camera.K[[0, 1], [0, 1]], np.array([camera.width, camera.height])
    reach = 1.15 * np.nanmax(np.abs(turned[..., :2] / (distance + turned[..., 2:])), axis=(0, 1)) * focal
    free = size / 2 - (0.25 * reach if rng.random() < 0.12 else reach)
    return size / 2 + rng.uniform(-1, 1, 2) * np.maximum(free, 0.02 * size)


def _elbow(hand: HandPose, joints: np.ndarray) -> np.ndarray:
    frame = wrist_rotation(joints[hand.side], hand.side == Side.RIGHT)
    return joints[hand.side, WRIST] + FOREARM_LENGTH * elbow_direction(frame, hand.arm.bend, hand.side)


def _plausible(hands: tuple[HandPose, ...], joints: np.ndarray, camera: Camera) -> bool:
    """Whether most of every hand is in the frame, no forearm comes out of the lens, and the lens folds nothing back."""
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
            # The arm comes from the camera's side: it must have left the frame before it ends, or be far away.
            along = wrist + np.linspace(0.3, 1.0, 8)[:, None] * (elbow - wrist)
            along = along[along[:, 2] > 0.04]
            pixels = camera.project(along)
            inside = np.all((pixels > low) & (pixels < high), axis=1)
            if inside[-1] or (len(along) < 8 and inside[along[:, 2] < 0.12].any()):
                return False
    return True


def _things(joints: np.ndarray, present: list[Side], rng: np.random.Generator) -> tuple[SceneObject, ...]:
    objects: list[SceneObject] = []
    for side in present:
        if rng.random() < 0.22 and (item := held(rng, joints[side])) is not None:
            objects.append(item)
    while rng.random() < 0.16 and len(objects) < 3:
        objects.append(in_front(rng, joints[present[int(rng.integers(len(present)))]]))
    return tuple(objects)


def _upper_arms(
    hands: tuple[HandPose, ...], joints: np.ndarray, view: np.ndarray, person: Identity, camera: Camera
) -> tuple[SceneObject, ...]:
    """Where a forearm's end is in the frame it goes on, towards the shoulder."""
    arms = []
    for hand in hands:
        elbow = _elbow(hand, joints)
        pixel = camera.project(elbow)
        if elbow[2] > 0.15 and np.all((pixel > -60) & (pixel < (camera.width + 60, camera.height + 60))):
            shoulder = view @ (0.35 if hand.side == Side.LEFT else -0.35, -0.7, 0.6)
            look = person.appearance
            bare = np.isinf(person.sleeve) and look.seed % 2 == 0
            colour = to_srgb(skin_colour(look.tone)) if bare else look.cloth
            arms.append(upper_arm(elbow, shoulder, colour, int(hand.side) + 2))
    return tuple(arms)


_PLACES: dict[int, np.ndarray] = {}


def background_kind(place: int) -> str:
    """Of which of backgrounds.KINDS the background with a number is."""
    return KINDS[int(np.random.default_rng(place).choice(len(KINDS), p=(0.3, 0.25, 0.23, 0.07, 0.15)))]


def background_image(place: int) -> np.ndarray:
    """The background with a number: linear RGB (288, 384, 3) float32; the last few are kept."""
    if place not in _PLACES:
        while len(_PLACES) >= 2 * _PLACES_AT_ONCE:
            _PLACES.pop(next(iter(_PLACES)))
        split = SPLITS[place // _PLACES_OF_A_SPLIT - 1]
        _PLACES[place] = background(background_kind(place), *_ROOM, place, split=split)
    return _PLACES[place]


def backdrop(scene: TrainingScene, camera: Camera, whole: bool) -> np.ndarray:
    """What is behind the hands in a picture by ``camera``: linear RGB (H, W, 3) float32.

    The ``whole`` frame shows the whole place; a window some part of it, at any scale and turned any way round.
    """
    picture = background_image(scene.background_seed)
    rng = scene_rng(scene.split, scene.seed + 7919, scene.number)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    gain = np.exp(rng.normal(0, 0.35) + rng.normal(0, 0.08, 3)).astype(np.float32)
    size = np.array([picture.shape[1], picture.shape[0]], dtype=float)
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
    return cv2.warpAffine(picture, affine, shape, flags=flags, borderMode=cv2.BORDER_REFLECT_101) * gain
