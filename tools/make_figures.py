#!/usr/bin/env python3
"""Write the figures of README.md and docs/: ``.venv/bin/python tools/make_figures.py [out/demo]``.

docs/images/frames.png: the embedded hands with keypoints and wrist frames. docs/images/joint_angles.png: what the joint
angles of ~/joint_states do. docs/images/demo.jpg: frames of the rendered
clip and overlays of the node's estimates; it needs the results of ``make demo``. docs/images/encoder_curve.png: the
validation over the training of the encoder, ``--training out/train/encoder_small``. docs/images/refinement.jpg:
rendered images of hands that penetrate each other before the two-hand refinement; docs/images/touching.jpg: the same
of the demonstration's clip.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from hand_recon_ros import (
    Camera,
    HandEstimate,
    HandState,
    ScaleSource,
    Side,
    TwoHandEstimate,
    TwoHandReconstructor,
)
from hand_recon_ros.datasets.sample import Sample
from hand_recon_ros.evaluation.recording import Recording, estimate
from hand_recon_ros.evaluation.synthetic import SPLITS
from hand_recon_ros.geometry.mesh_queries import penetration_depth
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.hand_model.named_angles import ANGLE_NAMES, angles_from_named
from hand_recon_ros.overlay import draw_overlay
from hand_recon_ros.runtime.model_files import cache_dir
from hand_recon_ros.skeleton import FINGERS, wrist_pose
from hand_recon_ros.synthetic import SampleStream, load_clip, rendered_clip

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
AXES = {"x": (40, 40, 220), "y": (30, 150, 30), "z": (220, 100, 30)}
FONT = cv2.FONT_HERSHEY_SIMPLEX


def upright_hand(
    model, side: Side, position: list[float], tilt: float, camera: Camera, degrees: dict[str, float] | None = None
) -> HandEstimate:
    """A hand at ``position`` (metres), fingers up, its back ``tilt`` degrees away from the camera.

    ``degrees``: named angles that are not zero.
    """
    kinematics = model.kinematics(side)
    values = np.radians([(degrees or {}).get(name, 0.0) for name in ANGLE_NAMES])
    rotations = kinematics.rotations_of(angles_from_named(values))
    rest = wrist_pose(kinematics.forward(rotations, np.zeros(10), np.zeros(3))[0], right=side == Side.RIGHT)
    upright = np.array(
        [[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]
    )  # columns: directions of the wrist frame's x, y, z
    tilted = Rotation.from_euler("yx", [tilt, -25.0], degrees=True).as_matrix()
    rotations[0] = tilted @ upright @ rest[:3, :3].T
    translation = np.array(position) - rest[:3, 3]  # the hand is rotated about its wrist
    joints = kinematics.forward(rotations, np.zeros(10), translation)[0]
    return HandEstimate(
        side=side, state=HandState.TRACKED, score=1.0, side_score=1.0, track_id=1, since_measurement=0.0, joints=joints,
        joint_scores=np.ones(21), keypoints_2d=camera.project(joints),
        mesh=functools.partial(model.mesh, side, rotations, np.zeros(10), translation), faces=model.faces(side),
        rotations=rotations, betas=np.zeros(10), translation=translation,
        wrist_pose=wrist_pose(joints, right=side == Side.RIGHT), roi=(0.0, 0.0, 0.0, 0.0),
        scale_source=ScaleSource.PRIOR, position_stddev=0.0,
    )  # fmt: skip


def frames_figure() -> np.ndarray:
    """The backs of both hands, with numbered keypoints and the axes of their wrist frames."""
    camera = Camera.from_fov(1000, 500, 42.0)
    model = load_hand_model("")
    left = upright_hand(model, Side.LEFT, [-0.105, 0.072, 0.62], 30.0, camera)
    right = upright_hand(model, Side.RIGHT, [0.105, 0.072, 0.62], -30.0, camera)
    picture = np.full((500, 1000, 3), 250, dtype=np.uint8)
    picture = draw_overlay(picture, TwoHandEstimate(left, right), camera, labels=False)
    for hand in (left, right):
        for index, (x, y) in enumerate(hand.keypoints_2d):
            corner = (int(x) + 5, int(y) - 5)
            cv2.putText(picture, str(index), corner, FONT, 0.42, (255, 255, 255), 3, cv2.LINE_AA)
            cv2.putText(picture, str(index), corner, FONT, 0.42, (20, 20, 20), 1, cv2.LINE_AA)
        origin = hand.wrist_pose[:3, 3]
        for column, (name, colour) in enumerate(AXES.items()):
            ends = camera.project(np.stack([origin, origin + 0.075 * hand.wrist_pose[:3, column]]))
            start, end = (tuple(int(round(v)) for v in point) for point in ends)
            cv2.arrowedLine(picture, start, end, (255, 255, 255), 7, cv2.LINE_AA, tipLength=0.12)
            cv2.arrowedLine(picture, start, end, colour, 3, cv2.LINE_AA, tipLength=0.12)
            beyond = ends[1] + 18.0 * (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
            corner = (int(beyond[0]) - 7, int(beyond[1]) + 6)
            cv2.putText(picture, name, corner, FONT, 0.7, (255, 255, 255), 6, cv2.LINE_AA)
            cv2.putText(picture, name, corner, FONT, 0.7, colour, 2, cv2.LINE_AA)
        label = f"{hand.side.label}_wrist"
        x, y = hand.keypoints_2d[0]
        cv2.putText(picture, label, (int(x) - 50, int(y) + 70), FONT, 0.6, (60, 60, 60), 1, cv2.LINE_AA)
    return picture


ANGLE_PANELS = {
    "zero": {},
    "mcp_flexion +60": {f"{finger}_mcp_flexion": 60.0 for finger in FINGERS[1:]},
    "pip_flexion +60": {f"{finger}_pip_flexion": 60.0 for finger in FINGERS[1:]},
    "index_, pinky_mcp_abduction +20": {"index_mcp_abduction": 20.0, "pinky_mcp_abduction": 20.0},
    "thumb_cmc_flexion +40": {"thumb_cmc_flexion": 40.0},
    "thumb_cmc_abduction +40": {"thumb_cmc_abduction": 40.0},
    "thumb_mcp_flexion +50": {"thumb_mcp_flexion": 50.0},
    "thumb_ip_flexion +60": {"thumb_ip_flexion": 60.0},
}


def angles_figure(columns: int = 4, size: tuple[int, int] = (300, 250)) -> np.ndarray:
    """Both hands from the back, tilted, at zero and with one kind of angle positive (degrees)."""
    camera = Camera.from_fov(*size, 36.0)
    model = load_hand_model("")
    panels = []
    for name, degrees in ANGLE_PANELS.items():
        left = upright_hand(model, Side.LEFT, [-0.105, 0.075, 0.6], 35.0, camera, degrees)
        right = upright_hand(model, Side.RIGHT, [0.105, 0.075, 0.6], -35.0, camera, degrees)
        picture = np.full((size[1], size[0], 3), 250, dtype=np.uint8)
        picture = draw_overlay(picture, TwoHandEstimate(left, right), camera, labels=False)
        cv2.putText(picture, name, (8, 18), FONT, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
        panels.append(picture)
    return np.vstack([np.hstack(panels[i : i + columns]) for i in range(0, len(panels), columns)])


def demo_figure(out: Path, columns: int = 4, width: int = 320) -> np.ndarray:
    """Frames of the demonstration, evenly spaced: above as they were sent, below with the node's estimates."""
    recording = Recording(out / "run")
    model = load_hand_model("")
    tracked = [
        line
        for line in recording.sent
        if all(
            recording.hands.get(tuple(line["stamp"]), {}).get(side.label, {}).get("state") == HandState.TRACKED
            for side in Side
        )
    ]
    picked = {tracked[i]["number"] for i in np.linspace(0, len(tracked) - 1, columns + 2).round().astype(int)[1:-1]}
    rows: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for line, image in recording.images():
        if line["number"] in picked:
            two = estimate(recording.hands[tuple(line["stamp"])], model)
            overlay = draw_overlay(image, two, recording.camera(image), labels=False)
            for row, picture in zip(rows, (image, overlay), strict=True):
                size = (width, round(width * image.shape[0] / image.shape[1]))
                row.append(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    return np.vstack([np.hstack(row) for row in rows])


def refinement_figure(columns: int = 5, count: int = 150, size: int = 260) -> np.ndarray:
    """The pairs with the deepest penetration among images of ``val``, as :func:`before_and_after`."""
    reconstructor = TwoHandReconstructor()
    stream = SampleStream("val", 90210, reconstructor.hand_model)
    refined: list[tuple[float, Sample, TwoHandEstimate]] = []
    for number in range(count):
        sample = stream[number]
        two = reconstructor.reconstruct_image(sample.image, sample.camera)
        if two.refined:
            refined.append((depth_mm(two.before_refinement()), sample, two))
    deepest = sorted(refined, key=lambda entry: -entry[0])[:columns]
    return np.hstack([before_and_after(sample.image, sample.camera, two, size) for _, sample, two in deepest])


def touching_figure(columns: int = 5, size: int = 260) -> np.ndarray:
    """The demonstration's clip while one hand is on the other: evenly spaced frames in which the hands penetrate each
    other before the two-hand refinement, as in :func:`refinement_figure`."""
    reconstructor = TwoHandReconstructor.from_config(refine_budget=0.0)
    ((view, seed),) = SPLITS["demo"]
    clip = load_clip(rendered_clip(cache_dir() / "clips", 300, seed, view))
    refined = []
    for frame, image in enumerate(clip.images()):
        two = reconstructor(image, clip.camera, stamp=float(clip.truth["stamps"][frame]))
        if two.refined and depth_mm(two.before_refinement()) > 1.0:
            refined.append((image, two))
    picked = np.linspace(0, len(refined) - 1, min(columns, len(refined))).round().astype(int)
    return np.hstack([before_and_after(refined[i][0], clip.camera, refined[i][1], size) for i in picked])


def before_and_after(image: np.ndarray, camera: Camera, two: TwoHandEstimate, size: int) -> np.ndarray:
    """An overlay of the estimates, and below it both hands from the side before and after the two-hand refinement, with
    their penetration depths."""
    rows = [around_hands(draw_overlay(image, two, camera, labels=False), two, size)]
    for name, hands in (("before", two.before_refinement()), ("after", two)):
        rows.append(from_the_side(hands, size))
        text = f"{name}: {depth_mm(hands):.1f} mm"
        cv2.putText(rows[-1], text, (8, 20), FONT, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
    return np.vstack(rows)


def depth_mm(two: TwoHandEstimate) -> float:
    """Penetration depth of the hands, mm."""
    left, right = two.left, two.right
    return 1e3 * penetration_depth(left.vertices, left.faces, right.vertices, right.faces)


def around_hands(picture: np.ndarray, two: TwoHandEstimate, size: int) -> np.ndarray:
    """A square crop of a picture around both hands."""
    pixels = np.concatenate([two.left.keypoints_2d, two.right.keypoints_2d])
    reach = 0.65 * float(np.ptp(pixels, axis=0).max())
    corner = (pixels.min(axis=0) + pixels.max(axis=0)) / 2 - reach
    matrix = np.array([[1.0, 0.0, -corner[0]], [0.0, 1.0, -corner[1]]]) * (size / (2 * reach))
    return cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


def from_the_side(two: TwoHandEstimate, size: int, turn: float = 75.0) -> np.ndarray:
    """Both hands rendered for a camera that is moved ``turn`` degrees to the side."""
    camera = Camera.from_fov(size, size, 30.0)
    middle = np.concatenate([two.left.vertices, two.right.vertices]).mean(axis=0)
    rotation = Rotation.from_euler("y", turn, degrees=True).as_matrix()

    def moved(points: np.ndarray) -> np.ndarray:
        return (points - middle) @ rotation.T + (0.0, 0.0, 0.55)

    hands = [
        dataclasses.replace(hand, joints=moved(hand.joints), mesh=functools.partial(moved, hand.vertices))
        for hand in (two.left, two.right)
    ]
    picture = np.full((size, size, 3), 250, dtype=np.uint8)
    return draw_overlay(picture, TwoHandEstimate(*hands), camera, skeleton=False, labels=False)


def curve_figure(training: Path, to: Path) -> None:
    """Errors on the validation samples over the steps of a training."""
    import torch
    from matplotlib.figure import Figure

    history = torch.load(training / "checkpoint.pt", map_location="cpu", weights_only=True)["history"]
    figure = Figure(figsize=(7.2, 2.8), dpi=100, layout="constrained")
    steps = [entry["step"] for entry in history]
    for axes, (name, label) in zip(
        figure.subplots(1, 3),
        {"mpjpe_mm": "MPJPE, mm", "pa_mpjpe_mm": "PA-MPJPE, mm", "to_other_mm": "to the other wrist, mm"}.items(),
        strict=True,
    ):
        axes.plot(steps, [entry[name] for entry in history], marker=".")
        axes.set(xlabel="steps of 16 samples", title=label)
        axes.grid(alpha=0.3)
    figure.savefig(to)


def main() -> int:
    """Write the figures whose sources exist."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("demo", nargs="?", type=Path, default=Path("out/demo"), help="folder of the demonstration")
    parser.add_argument("--training", type=Path, default=Path("out/train/encoder_small"), help="folder of a training")
    options = parser.parse_args()
    demo = options.demo
    IMAGES.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(IMAGES / "frames.png"), frames_figure(), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    cv2.imwrite(str(IMAGES / "joint_angles.png"), angles_figure(), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    cv2.imwrite(str(IMAGES / "refinement.jpg"), refinement_figure(), [cv2.IMWRITE_JPEG_QUALITY, 88])
    cv2.imwrite(str(IMAGES / "touching.jpg"), touching_figure(), [cv2.IMWRITE_JPEG_QUALITY, 88])
    if (demo / "run" / "run.json").exists():
        # Not lossless: the rendered sensor noise would take most of the file.
        cv2.imwrite(str(IMAGES / "demo.jpg"), demo_figure(demo), [cv2.IMWRITE_JPEG_QUALITY, 85])
    else:
        print(f"{demo}: no demonstration, docs/images/demo.jpg is not written", file=sys.stderr)
    if (options.training / "checkpoint.pt").exists():
        curve_figure(options.training, IMAGES / "encoder_curve.png")
    else:
        print(f"{options.training}: no training, docs/images/encoder_curve.png is not written", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
