"""Smooth random motion of two hands: apart, touching side by side, crossing, one laid on the other, and apart again."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from ..hand_model import HandModel
from ..skeleton import PALM, WRIST, wrist_rotation
from ..types import Side
from .contact_search import separate_motion, touching_distance
from .poses import perturb_angles, posture, sample_angles, sample_betas
from .surface import wrist_bend

VIEWS = ("webcam", "egocentric")
PHASES = ("apart", "approaching", "touching", "crossing")
CYCLE = 10.0
"""Duration of one sequence of PHASES, seconds; longer clips have several."""

_SMOOTHING = 0.09
"""Standard deviation of the filter that smooths the path through the key poses, seconds."""
_GRID_RATE = 60.0


@dataclasses.dataclass(frozen=True, eq=False)
class Motion:
    """Parameters of both hands (left, right) over time.

    Attributes:
        stamps: (N,) seconds.
        rotations: (N, 2, 16, 3, 3); translation: (N, 2, 3) metres; betas: (2, 10).
        bends: flexion and deviation of each wrist (N, 2, 2), radians.
        phases: (N,) indices into PHASES.
    """

    stamps: np.ndarray
    rotations: np.ndarray
    translation: np.ndarray
    betas: np.ndarray
    bends: np.ndarray
    phases: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class _Key:
    """A key pose of both hands: time, positions of the palms, yaw, pitch and roll (degrees), finger angles.

    The rotation is zero for a hand held up with its fingers upwards, palm (webcam) or back (egocentric) to the camera;
    yaw turns the thumb's side towards the camera, pitch tips the fingers towards the camera, roll leans the hand
    outwards.
    """

    time: float
    phase: int
    palms: np.ndarray
    turns: np.ndarray
    angles: np.ndarray


def sample_motion(
    hand_model: HandModel, frames: int, seed: int, rate: float = 30.0, view: str = "webcam", width: float = 0.57
) -> Motion:
    """A random motion.

    Args:
        hand_model: of both hands.
        frames: number of frames.
        seed: the same seed gives the same motion, and a longer clip begins like a shorter one.
        rate: frames per second.
        view: of VIEWS: the hands of a person in front of the camera, or of the person who wears it.
        width: width of the camera's view at 0.45 m, metres; the hands stay inside.

    Raises ValueError for another view, or no frames.
    """
    if view not in VIEWS:
        raise ValueError(f"unknown view {view!r}, expected one of: {', '.join(VIEWS)}")
    if frames < 1 or rate <= 0:
        raise ValueError(f"a motion needs frames >= 1 and rate > 0, got {frames} and {rate:g}")
    rng = np.random.default_rng(seed)
    betas = np.repeat(sample_betas(rng)[None], 2, axis=0)
    cycles = max(1, int(np.ceil(frames / rate / CYCLE)))
    keys = [key for i in range(cycles) for key in _key_poses(rng, hand_model, betas[0], i * CYCLE, view, width)]
    # A whole number of time steps from frame to frame.
    per_frame = max(1, round(_GRID_RATE / rate))
    time_step = 1.0 / (rate * per_frame)
    grid = np.arange(0.0, cycles * CYCLE, time_step)
    palms, turns, angles = (_smooth_path(keys, grid, time_step, name) for name in ("palms", "turns", "angles"))
    # A generator of its own: the number of cycles must not change the sway.
    sway_rng = np.random.default_rng([seed, 2])
    palms, turns = _sway(palms, grid, sway_rng, 0.0022), _sway(turns, grid, sway_rng, 1.2)
    rotations = np.stack([_rotations(hand_model, side, turns[:, side], angles[:, side], view) for side in Side], axis=1)
    translation = np.stack(
        [_translations(hand_model, side, rotations[:, side], betas[side], palms[:, side]) for side in Side], axis=1
    )
    phases = np.array([key.phase for key in keys])[np.searchsorted([key.time for key in keys], grid, side="right") - 1]
    # The part that is needed, and a second more for the filters.
    needed = slice(0, min(len(grid), int(np.ceil((frames / rate + 1.0) / time_step))))
    translation[needed] = separate_motion(hand_model, rotations[needed], betas, translation[needed], time_step)
    bends = np.stack(
        [_bends(hand_model, side, rotations[:, side], betas[side], translation[:, side], view) for side in Side], axis=1
    )
    stamps = np.arange(frames) / rate
    picked = np.minimum(np.arange(frames) * per_frame, len(grid) - 1)
    return Motion(stamps, rotations[picked], translation[picked], betas, bends[picked], phases[picked])


def _key_poses(
    rng: np.random.Generator, hand_model: HandModel, betas: np.ndarray, start: float, view: str, width: float
) -> list[_Key]:
    """Key poses of one cycle that begins at ``start``, seconds."""
    side_sign = np.array([1.0, -1.0]) if view == "webcam" else np.array([-1.0, 1.0])
    far = 0.21 * width
    keys = []

    def key(time: float, phase: str, palms: np.ndarray, turns: np.ndarray, angles: np.ndarray) -> None:
        keys.append(_Key(start + time, PHASES.index(phase), palms, turns, angles))

    def apart(time: float, phase: str = "apart") -> None:
        x = side_sign * (far + rng.normal(0, 0.012, 2))
        y, z = rng.normal(0.01, 0.018, 2), np.clip(rng.normal(0.46, 0.035, 2), 0.40, 0.54)
        turns = rng.normal(0, 1, (2, 3)) * (24, 11, 11) + (6, 0, 4)
        key(time, phase, np.column_stack([x, y, z]), turns, _fingers(rng, hand_model))

    for time in (0.0, 1.1, 2.2, 3.1):
        apart(time)
    middle = np.array([rng.normal(0, 0.01), rng.normal(0.0, 0.01), rng.uniform(0.44, 0.48)])
    turns, names = _TOUCHES[rng.integers(len(_TOUCHES))]
    angles = np.stack([posture(name, hand_model.kinematics(side)) for name, side in zip(names, Side, strict=True)])
    half = side_sign[:, None] * (0.5, 0.0, 0.0)

    def move_apart(
        palms: np.ndarray, turns: np.ndarray, angles: np.ndarray, axis: np.ndarray, extra: float
    ) -> np.ndarray:
        """Palms moved apart along ``axis``, from left to right, until the hands are ``extra`` metres from contact."""
        rotations = [_rotations(hand_model, side, turns[side][None], angles[side][None], view) for side in Side]
        translation = [_translations(hand_model, side, rotations[side], betas, palms[side][None])[0] for side in Side]
        distance = touching_distance(hand_model, np.concatenate(rotations), betas, np.stack(translation), axis)
        return palms + np.array([[-0.5], [0.5]]) * axis * (distance + extra)

    for time, phase, extra in (
        (3.8, "approaching", 0.11),
        (4.5, "touching", 0.002),
        (4.8, "touching", -0.001),
        (5.1, "approaching", 0.002),
    ):
        kinematics = [hand_model.kinematics(side) for side in Side]
        fingers = np.stack([perturb_angles(a, rng, k, 0.25) for a, k in zip(angles, kinematics, strict=True)])
        perturbed = turns + rng.normal(0, 1.5, (2, 3))
        palms = move_apart(np.stack([middle, middle]), perturbed, fingers, half[1] - half[0], extra)
        key(time, phase, palms, perturbed, fingers)
    front = rng.permutation([-1.0, 1.0])
    depth = np.column_stack([np.zeros((2, 2)), 0.062 * front])
    turns = rng.normal(0, 1, (2, 3)) * (12, 6, 6)
    base = np.array([0.0, 0.0, 0.47])
    key(6.0, "approaching", base + 2.1 * half * far + depth, turns, _fingers(rng, hand_model))
    crossed = base - 2 * half * far * rng.uniform(0.2, 0.5)
    key(6.7, "crossing", crossed + depth, turns + rng.normal(0, 3, (2, 3)), _fingers(rng, hand_model))
    # The hand in front is laid onto the other.
    perturbed, fingers = turns + rng.normal(0, 3, (2, 3)), _fingers(rng, hand_model)
    palms = move_apart(crossed, perturbed, fingers, np.array([0.0, 0.0, front[1]]), -0.002)
    for time, phase in ((7.2, "touching"), (7.8, "crossing")):
        key(time, phase, palms, perturbed, fingers)
    key(8.6, "crossing", base + 2.1 * half * far + depth, turns, _fingers(rng, hand_model))
    apart(9.3)
    return keys


# Rotations and postures (left, right) of four contacts: fingertips, palms, tips of the index fingers, fist in palm.
_TOUCHES = (
    (np.array([[-48.0, 0.0, -30.0], [-48.0, 0.0, -30.0]]), ("relaxed", "relaxed")),
    (np.array([[-72.0, 0.0, -8.0], [-72.0, 0.0, -8.0]]), ("flat", "flat")),
    (np.array([[-35.0, 0.0, -48.0], [-35.0, 0.0, -48.0]]), ("point", "point")),
    (np.array([[-62.0, 5.0, -12.0], [-30.0, 0.0, -40.0]]), ("cupped", "fist")),
)


def _fingers(rng: np.random.Generator, hand_model: HandModel) -> np.ndarray:
    return np.stack([sample_angles(rng, hand_model.kinematics(side), 0.7) for side in Side])


def _smooth_path(keys: list[_Key], grid: np.ndarray, time_step: float, name: str) -> np.ndarray:
    """Attribute ``name`` of the key poses, interpolated monotonically at the times ``grid`` and smoothed."""
    times = np.array([key.time for key in keys])
    values = np.stack([getattr(key, name) for key in keys])
    path = PchipInterpolator(times, values, axis=0)(np.clip(grid, times[0], times[-1]))
    return gaussian_filter1d(path, _SMOOTHING / time_step, axis=0, mode="nearest")


def _sway(path: np.ndarray, grid: np.ndarray, rng: np.random.Generator, size: float) -> np.ndarray:
    """A path (N, 2, 3) with slow irregular sway of standard deviation ``size`` added, as of hands held in the air."""
    frequency = rng.uniform(0.25, 1.1, (3, *path.shape[1:]))
    phase = rng.uniform(0, 2 * np.pi, frequency.shape)
    waves = np.sin(2 * np.pi * frequency * grid[:, None, None, None] + phase)
    return path + size * waves.sum(axis=1) * np.sqrt(2 / 3)


def _rotations(hand_model: HandModel, side: Side, turns: np.ndarray, angles: np.ndarray, view: str) -> np.ndarray:
    """Joint rotations (N, 16, 3, 3) of yaw, pitch and roll (N, 3), degrees (see _Key), and finger angles (N, 16, 3)."""
    kinematics = hand_model.kinematics(side)
    rotations = kinematics.rotations_of(kinematics.clamp_angles(angles))
    rest = wrist_rotation(kinematics.keypoint_template, side == Side.RIGHT)
    # Held up: x of the wrist frame towards the top of the image, z away from the camera in the view of the palm.
    away = 1.0 if view == "webcam" else -1.0
    held = np.array([[0.0, -away, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, away]])
    held[:, 1] = np.cross(held[:, 2], held[:, 0])
    # In an image of a right hand's palm the thumb is on the right.
    sign = (1.0 if side == Side.RIGHT else -1.0) * away
    yaw, pitch, roll = (turns * np.array([sign, 1.0, -sign])).T
    if view == "egocentric":
        pitch = pitch - 38.0
    turned = Rotation.from_euler("ZXY", np.column_stack([roll, pitch, yaw]), degrees=True).as_matrix()
    rotations[:, 0] = turned @ held @ rest.T
    return rotations


def _translations(
    hand_model: HandModel, side: Side, rotations: np.ndarray, betas: np.ndarray, palms: np.ndarray
) -> np.ndarray:
    """Translations (N, 3) that put the middle of the palm at ``palms``."""
    keypoints, _ = hand_model.kinematics(side).forward(rotations, np.broadcast_to(betas, (len(palms), 10)), np.zeros(3))
    return palms - keypoints[:, PALM].mean(axis=1)


def _bends(
    hand_model: HandModel, side: Side, rotations: np.ndarray, betas: np.ndarray, translation: np.ndarray, view: str
) -> np.ndarray:
    """Wrist flexion and deviation (N, 2), radians, for the usual positions of the elbows in a view."""
    kinematics = hand_model.kinematics(side)
    keypoints, _ = kinematics.forward(rotations, np.broadcast_to(betas, (len(rotations), 10)), translation)
    wrists = keypoints[:, WRIST]
    outwards = (-1.0 if side == Side.RIGHT else 1.0) * (1.0 if view == "webcam" else -1.0)
    elbows = np.array([0.17 * outwards, 0.32, 0.60 if view == "webcam" else 0.16]) + wrists * (0.55, 0.25, 0.25)
    frames = wrist_rotation(keypoints, side == Side.RIGHT)
    return wrist_bend(frames, elbows - wrists, side)
