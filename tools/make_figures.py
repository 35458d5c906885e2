#!/usr/bin/env python3
"""Make the pictures of README.md and docs/: ``.venv/bin/python tools/make_figures.py [out/demo]``.

docs/images/frames.png is drawn from the embedded hand. docs/images/demo.jpg shows frames of the rendered clip beside
what the node made of them; it needs the results of ``make demo``. docs/images/encoder_curve.png is the validation along
the training of the encoder, ``--training out/train/encoder_small``.
"""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from hand_recon_ros import Camera, HandEstimate, HandState, ScaleSource, Side, TwoHandEstimate
from hand_recon_ros.evaluation.recording import Recording, estimate
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.overlay import draw_overlay
from hand_recon_ros.skeleton import wrist_pose

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
AXES = {"x": (40, 40, 220), "y": (30, 150, 30), "z": (220, 100, 30)}
FONT = cv2.FONT_HERSHEY_SIMPLEX


def posed(model, side: Side, where: list[float], tilt: float, camera: Camera) -> HandEstimate:
    """The flat hand at ``where`` (metres), fingers up, its back towards the camera but turned by ``tilt`` degrees."""
    rotations = np.tile(np.eye(3), (16, 1, 1))
    kinematics = model.kinematics(side)
    rest = wrist_pose(kinematics.forward(rotations, np.zeros(10), np.zeros(3))[0], right=side == Side.RIGHT)
    upright = np.array(
        [[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]
    )  # columns: where x, y, z of the wrist point
    lean = Rotation.from_euler("yx", [tilt, -25.0], degrees=True).as_matrix()
    rotations[0] = lean @ upright @ rest[:3, :3].T
    translation = np.array(where) - rest[:3, 3]  # the hand turns about its wrist
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
    """Both hands seen from their backs, keypoints numbered, with the axes of their wrist frames."""
    camera = Camera.from_fov(1000, 500, 42.0)
    model = load_hand_model("")
    left = posed(model, Side.LEFT, [-0.105, 0.072, 0.62], 30.0, camera)
    right = posed(model, Side.RIGHT, [0.105, 0.072, 0.62], -30.0, camera)
    picture = np.full((500, 1000, 3), 250, dtype=np.uint8)
    picture = draw_overlay(picture, TwoHandEstimate(left, right), camera, labels=False)
    for hand in (left, right):
        for index, (x, y) in enumerate(hand.keypoints_2d):
            place = (int(x) + 5, int(y) - 5)
            cv2.putText(picture, str(index), place, FONT, 0.42, (255, 255, 255), 3, cv2.LINE_AA)
            cv2.putText(picture, str(index), place, FONT, 0.42, (20, 20, 20), 1, cv2.LINE_AA)
        origin = hand.wrist_pose[:3, 3]
        for column, (name, colour) in enumerate(AXES.items()):
            ends = camera.project(np.stack([origin, origin + 0.075 * hand.wrist_pose[:3, column]]))
            start, end = (tuple(int(round(v)) for v in point) for point in ends)
            cv2.arrowedLine(picture, start, end, (255, 255, 255), 7, cv2.LINE_AA, tipLength=0.12)
            cv2.arrowedLine(picture, start, end, colour, 3, cv2.LINE_AA, tipLength=0.12)
            beyond = ends[1] + 18.0 * (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
            place = (int(beyond[0]) - 7, int(beyond[1]) + 6)
            cv2.putText(picture, name, place, FONT, 0.7, (255, 255, 255), 6, cv2.LINE_AA)
            cv2.putText(picture, name, place, FONT, 0.7, colour, 2, cv2.LINE_AA)
        label = f"{hand.side.label}_wrist"
        x, y = hand.keypoints_2d[0]
        cv2.putText(picture, label, (int(x) - 50, int(y) + 70), FONT, 0.6, (60, 60, 60), 1, cv2.LINE_AA)
    return picture


def demo_figure(out: Path, columns: int = 4, width: int = 320) -> np.ndarray:
    """Frames of the demonstration, evenly spaced: above as they were sent, below with the hands of the node."""
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
            drawn = draw_overlay(image, two, recording.camera(image), labels=False)
            for row, picture in zip(rows, (image, drawn), strict=True):
                size = (width, round(width * image.shape[0] / image.shape[1]))
                row.append(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    return np.vstack([np.hstack(row) for row in rows])


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
    """Write the pictures whose sources are there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("demo", nargs="?", type=Path, default=Path("out/demo"), help="folder of the demonstration")
    parser.add_argument("--training", type=Path, default=Path("out/train/encoder_small"), help="folder of a training")
    options = parser.parse_args()
    demo = options.demo
    IMAGES.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(IMAGES / "frames.png"), frames_figure(), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if (demo / "run" / "run.json").exists():
        # Lossless, the noise of the rendered sensor would take most of the file.
        cv2.imwrite(str(IMAGES / "demo.jpg"), demo_figure(demo), [cv2.IMWRITE_JPEG_QUALITY, 85])
    else:
        print(f"{demo}: no demonstration there, docs/images/demo.jpg is left as it is", file=sys.stderr)
    if (options.training / "checkpoint.pt").exists():
        curve_figure(options.training, IMAGES / "encoder_curve.png")
    else:
        print(f"{options.training}: no training there, docs/images/encoder_curve.png is left as it is", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
