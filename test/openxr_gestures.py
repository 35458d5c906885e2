"""Renderings of the gestures that NVIDIA's conformance suite for hands asks for, both hands in front of a camera.

The steps are those of the hand suite of Isaac Capture (https://github.com/NVIDIA/IsaacCapture, folder
acceptance/hand, as of November 2026): open hands, fists, each hand around the fist of the other, a pinch with each
finger, open hands that turn, open hands again.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.optimize import least_squares

from hand_recon_ros import Camera, Side
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.hand_model.kinematics import Kinematics
from hand_recon_ros.skeleton import TIPS
from hand_recon_ros.synthetic.hand_placement import HandPlacer, wrist_frame
from hand_recon_ros.synthetic.lighting import Lighting
from hand_recon_ros.synthetic.poses import POSTURES, posture
from hand_recon_ros.synthetic.scene import HandPose, Rendering, Scene, render_scene

MODEL = load_hand_model()
CAMERA = Camera.from_fov(640, 480, 60.0)
FINGERS = ("index", "middle", "ring", "little")
TURNS = (0.0, 45.0, 90.0, 135.0, 180.0)
"""Of the open hands that turn, degrees about their fingers."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One picture of the script.

    Attributes:
        label: of the step, as the suite has it.
        angles: of the left and of the right hand (16, 3), radians.
        turn: of both hands about the direction of their fingers, radians; 0: the palms face the camera.
        grasper: the hand that holds the other's fist; None: they are apart.
    """

    label: str
    angles: tuple[np.ndarray, np.ndarray]
    turn: float = 0.0
    grasper: Side | None = None


def pinch(kinematics: Kinematics, finger: int) -> np.ndarray:
    """Angles (16, 3) with the tip of the thumb at that of a finger (0 index .. 3 little), the others relaxed."""
    start = POSTURES["pinch" if finger == 0 else "relaxed"].angles()
    joints = np.array([[joint, kind] for joint in (1, 2, 3, 4 + 3 * finger, 5 + 3 * finger) for kind in (0, 1)])
    joints = joints[(joints[:, 1] == 0) | np.isin(joints[:, 0], (1, 4 + 3 * finger))]
    low, high = (kinematics.limits[joints[:, 0], joints[:, 1], side] for side in (0, 1))

    def angles(values: np.ndarray) -> np.ndarray:
        result = start.copy()
        result[joints[:, 0], joints[:, 1]] = values
        result[6 + 3 * finger, 0] = 0.6 * max(result[5 + 3 * finger, 0], 0.0)
        return kinematics.clamp_angles(result)

    def residuals(values: np.ndarray) -> np.ndarray:
        keypoints, _ = kinematics.forward(kinematics.rotations_of(angles(values)), np.zeros(10), np.zeros(3))
        # The tips of the model lie on the nails' ends: the skin of two fingertips meets about 12 mm before they would.
        gap = keypoints[TIPS[0]] - keypoints[TIPS[1 + finger]]
        away = max(0.012 - float(np.linalg.norm(gap)), 0.0)
        return np.concatenate([gap * 100.0, [away * 300.0], 0.1 * (values - start[joints[:, 0], joints[:, 1]])])

    begin = np.clip(start[joints[:, 0], joints[:, 1]], low + 1e-6, high - 1e-6)
    return angles(least_squares(residuals, begin, bounds=(low, high)).x)


def script() -> list[Step]:
    """The steps in their order; that in which the hands turn has a picture for each of TURNS."""
    hands = [MODEL.kinematics(side) for side in Side]

    def both(name: str) -> tuple[np.ndarray, np.ndarray]:
        return posture(name, hands[0]), posture(name, hands[1])

    steps = [Step("open_hand_open", both("open")), Step("fist", both("fist"))]
    for grasper in (Side.RIGHT, Side.LEFT):
        names = ["cupped" if side == grasper else "fist" for side in Side]
        angles = posture(names[0], hands[0]), posture(names[1], hands[1])
        label = f"{grasper.label}_grasps_{grasper.other.label}_fist"
        steps.append(Step(label, angles, grasper=grasper))
    steps += [
        Step(f"pinch_{name}", (pinch(hands[0], finger), pinch(hands[1], finger))) for finger, name in enumerate(FINGERS)
    ]
    steps += [Step("wrist_rotate", both("open"), np.radians(turn)) for turn in TURNS]
    return [*steps, Step("open_hand_close", both("open"))]


def render(step: Step, seed: int = 0, camera: Camera = CAMERA) -> Rendering:
    """The picture of a step, of hands half a metre in front of CAMERA with their fingers up; the truth is in the own
    frame of ``camera``, whose center is where it is in that of CAMERA."""
    placer = HandPlacer(MODEL, np.zeros((2, 10)))
    for side in Side:
        sign = 1.0 if side == Side.RIGHT else -1.0
        # With the palm to the camera the thumb of a right hand, which is right in the picture, is at its left.
        back = np.array([-sign * np.sin(step.turn), 0.0, np.cos(step.turn)])
        frame = wrist_frame(np.array([sign * 0.15, -1.0, 0.1]), back)
        placer.place(side, frame, np.array([sign * 0.13, 0.02, 0.5]), step.angles[side])
    if step.grasper is not None:
        _grasp(placer, step)
    rng = np.random.default_rng(seed)
    scene = Scene(
        hands=tuple(
            HandPose(side, placer.rotations[side], np.zeros(10), placer.translation[side] - camera.center)
            for side in Side
        ),
        camera=camera.centred,
        lighting=Lighting.sample(rng),
        background=("room", seed),
        noise_seed=seed,
    )
    return render_scene(scene, MODEL)


def _grasp(placer: HandPlacer, step: Step) -> None:
    """One hand around the fist of the other, from its side."""
    assert step.grasper is not None
    fist = step.grasper.other
    sign = 1.0 if fist == Side.RIGHT else -1.0
    placer.place(fist, wrist_frame(np.array([0.0, -1.0, 0.1]), np.array([0.0, 0.0, 1.0])), np.array([0.0, 0.0, 0.5]),
                 step.angles[fist])  # fmt: skip
    # The other hand comes from its own side, its palm to the fist.
    frame = wrist_frame(np.array([sign * 0.2, -1.0, -0.5]), np.array([-sign, 0.0, 0.3]))
    placer.place(step.grasper, frame, np.array([-sign * 0.09, 0.0, 0.5]), step.angles[step.grasper])
    placer.close_gap(step.grasper, np.array([sign, 0.0, 0.0]), 0.001)
    placer.close_fingers(step.grasper, np.random.default_rng(0))
