"""Endless scenes for training: who, how the hands lie, from where, in which light, behind what."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from ..camera import Camera
from ..hand_model import HandModel
from ..skeleton import WRIST, wrist_rotation
from ..types import Side
from .arrangements import ARRANGEMENTS, Placed, arranged
from .backgrounds import KINDS, background
from .finish import Finish
from .identities import PEOPLE, SPLITS, Identity, identity
from .lighting import Lighting
from .occluders import Thing, held, in_front
from .scene import HandPose
from .surface import Arm, wrist_bend
from .viewpoints import sample_camera, sample_view, window_camera

_PEOPLE_AT_ONCE, _PERSON_LASTS = 16, 2048
_PLACES_AT_ONCE, _PLACE_LASTS = 32, 1024
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
        camera: of the whole frame; window: of the training picture, the same optical centre.
        lighting: lamps and sky.
        finish: from light to picture.
        place: seed of the background.
    """

    split: str
    seed: int
    number: int
    arrangement: str
    person: Identity
    hands: tuple[HandPose, ...]
    joints: np.ndarray
    things: tuple[Thing, ...]
    camera: Camera
    window: Camera
    lighting: Lighting
    finish: Finish
    place: int


def chance(split: str, seed: int, number: int) -> np.random.Generator:
    """The chance of scene ``number``; no two splits share any. Raises ValueError for another split."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, expected one of: {', '.join(SPLITS)}")
    return np.random.default_rng([1 + SPLITS.index(split), seed, number])


def arrangement_of(split: str, seed: int, number: int) -> str:
    """The arrangement of scene ``number``, without the scene."""
    return _arrangement(chance(split, seed, number))


def _arrangement(rng: np.random.Generator) -> str:
    names, shares = list(ARRANGEMENTS), np.array(list(ARRANGEMENTS.values()))
    return names[int(rng.choice(len(names), p=shares / shares.sum()))]


def sample_scene(seed: int, split: str, number: int, hand_model: HandModel) -> TrainingScene:
    """Scene ``number`` of the stream with ``seed``; the same arguments give the same scene.

    Neighbouring numbers share a few people and places, which come and go one by one: what is dear to make is used
    often, and a stream that is read from the middle on needs nothing from before.
    """
    rng = chance(split, seed, number)
    name = _arrangement(rng)
    person = identity(_turn(split, seed, number, rng, _PEOPLE_AT_ONCE, _PERSON_LASTS, *PEOPLE[split]))
    first = 10**6 * (1 + SPLITS.index(split))
    place = _turn(split, seed, number, rng, _PLACES_AT_ONCE, _PLACE_LASTS, first, first + 10**6)
    placed = arranged(name, rng, hand_model, person.betas)
    for attempt in range(12):
        camera, worn = sample_camera(rng)
        hands, joints = _seen(placed, person, hand_model, camera, worn, rng)
        if _plausible(hands, joints, hand_model, camera) or attempt == 11:
            break
    present = [hand.side for hand in hands]
    window = window_camera(camera, camera.project(joints[present]), rng)
    things = _things(joints, present, rng)
    lighting = Lighting.sample(rng)
    if len(lighting.lamps) > 2:
        lighting = dataclasses.replace(lighting, lamps=lighting.lamps[:2])
    distance = float(np.nanmean(joints[..., 2]))
    finish = Finish.sample(rng, window.K[0, 0] / camera.K[0, 0], distance)
    return TrainingScene(
        split, seed, number, name, person, hands, joints, things, camera, window, lighting, finish, place
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
) -> tuple[tuple[HandPose, ...], np.ndarray]:
    """The hands in the camera's frame."""
    view = sample_view(rng, worn)
    distance = float(np.exp(rng.uniform(np.log(0.22), np.log(0.6 if worn else 1.5))))
    # Mostly inside the picture, sometimes cut by its edge.
    reach = 0.5 if rng.random() < 0.12 else 0.30
    pixel = (rng.uniform(-reach, reach, 2) + 0.5) * (camera.width, camera.height)
    centre = camera.unproject(pixel) * distance
    joints = placed.keypoints @ view.T + centre
    depth = np.nanmin(joints[..., 2])
    if depth < 0.13:
        centre = centre * (1 + (0.13 - depth) / centre[2])
        joints = placed.keypoints @ view.T + centre
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
    return tuple(hands), joints


def _plausible(hands: tuple[HandPose, ...], joints: np.ndarray, hand_model: HandModel, camera: Camera) -> bool:
    """Whether most of every hand is in the frame and no forearm comes out of the lens."""
    for hand in hands:
        pixels = camera.project(joints[hand.side])
        inside = ((pixels > 0) & (pixels < (camera.width, camera.height))).all(axis=1)
        if inside.mean() < 0.5:
            return False
        frame = wrist_rotation(joints[hand.side], hand.side == Side.RIGHT)
        elbow = joints[hand.side, WRIST] - 0.28 * frame[:, 0]
        if elbow[2] < joints[hand.side, :, 2].min() - 0.05:
            if elbow[2] < 0.12:
                # Next to the lens: fine where the arm passes below or beside it.
                along = np.linspace(joints[hand.side, WRIST], elbow, 6)[1:4]
                if (along[:, 2] < 0.05).any():
                    return False
                pixel = camera.project(along[-1])
            else:
                pixel = camera.project(elbow)
            if ((pixel > 0) & (pixel < (camera.width, camera.height))).all():
                return False
    return True


def _things(joints: np.ndarray, present: list[Side], rng: np.random.Generator) -> tuple[Thing, ...]:
    things: list[Thing] = []
    for side in present:
        if rng.random() < 0.22 and (thing := held(rng, joints[side])) is not None:
            things.append(thing)
    while rng.random() < 0.16 and len(things) < 3:
        things.append(in_front(rng, joints[present[int(rng.integers(len(present)))]]))
    return tuple(things)


_PLACES: dict[int, np.ndarray] = {}


def place_picture(place: int) -> np.ndarray:
    """The background with a number: linear RGB (288, 384, 3) float32; the last few are kept."""
    if place not in _PLACES:
        while len(_PLACES) >= 2 * _PLACES_AT_ONCE:
            _PLACES.pop(next(iter(_PLACES)))
        kind = KINDS[int(np.random.default_rng(place).choice(len(KINDS), p=(0.35, 0.3, 0.27, 0.08)))]
        _PLACES[place] = background(kind, *_ROOM, place)
    return _PLACES[place]


def backdrop(scene: TrainingScene, camera: Camera, whole: bool) -> np.ndarray:
    """What is behind the hands in a picture by ``camera``: linear RGB (H, W, 3) float32.

    The ``whole`` frame shows the whole place; a window some part of it, at any scale and turned any way round.
    """
    picture = place_picture(scene.place)
    rng = chance(scene.split, scene.seed + 7919, scene.number)
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
