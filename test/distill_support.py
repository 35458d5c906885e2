"""Hands as the labeller measures them, and a labelled recording, for the tests of distilling."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from hand_recon_ros import Camera
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.image_files import KeptFiles
from hand_recon_ros.synthetic import write_clip
from hand_recon_ros.training.label_recordings import label_recordings
from hand_recon_ros.training.recording_labels import Labeller, LabelOptions, MeasuredHand
from hand_recon_ros.training.recordings import open_recordings
from hand_recon_ros.types import HandEstimate, HandState, Side

MODEL = load_hand_model()
OPTIONS = LabelOptions()
CAMERA = Camera.from_fov(1600, 1200, 60.0)
BONES = np.full(20, 0.05)


def hand(side: Side = Side.RIGHT, **changes: object) -> HandEstimate:
    """A flat hand in front of the camera."""
    rotations, translation = np.tile(np.eye(3), (16, 1, 1)), np.array([0.1, 0.05, 0.5])
    joints, _ = MODEL.kinematics(side).forward(rotations, np.zeros(10), translation)
    return dataclasses.replace(
        HandEstimate.lost(side), state=HandState.TRACKED, score=0.99, side_score=0.99, joints=joints,
        rotations=rotations, betas=np.zeros(10), translation=translation, **changes,
    )  # fmt: skip


def measured(estimate: HandEstimate | None = None, **changes: object) -> MeasuredHand:
    """A hand that is a label."""
    estimate = estimate or hand()
    values = {
        "hand": estimate, "keypoints": CAMERA.project(estimate.joints), "presence": 0.95,
        "right": 0.97 if estimate.side == Side.RIGHT else 0.03, "spread": 0.02, "disagreement": 0.05,
        "disagreement_3d": 0.1, "beyond_limits": 0.0, "bones": BONES, "outside": 0,
    }  # fmt: skip
    return MeasuredHand(**{**values, **changes})  # type: ignore[arg-type]


def write_labelled(folder: Path) -> None:
    """A rendered clip, its labels, and a folder of pictures of which one is damaged."""
    write_clip(folder / "clip", frames=30, seed=3, rate=10.0, progress=False)
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in (0, 29):
        (pictures / f"{number}.png").write_bytes((folder / "clip" / "images" / f"{number:06d}.png").read_bytes())
    (pictures / "broken.png").write_bytes((pictures / "0.png").read_bytes()[:2000])
    options = LabelOptions(every=0.2, gap=0.2)
    recordings = open_recordings([str(folder / "clip"), str(pictures)], None, None, folder / "out")
    (folder / "out").mkdir()
    reports = label_recordings(Labeller("small", options), recordings, options, folder / "out", KeptFiles([]))
    (folder / "out" / "reports.json").write_text(json.dumps(reports))
