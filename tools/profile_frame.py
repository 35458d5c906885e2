#!/usr/bin/env python3
"""Time of each step of a tracked frame, as a table.

    .venv/bin/python tools/profile_frame.py [--frames N] [--threads N]

A rendered clip is tracked. Frames in which the boxes of both hands overlap are counted apart from the others; those in
which a hand is missing are left out. The times of a step are without those of the steps that it calls; all are means
over the frames, so that they add up. Run it while nothing else runs.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from hand_recon_ros import Camera, TwoHandReconstructor, reconstructor
from hand_recon_ros.detect.duplicates import box_overlap
from hand_recon_ros.encode import hand_encoder
from hand_recon_ros.encode.session import EncoderSession
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.interact import refinement
from hand_recon_ros.landmarks import landmarks
from hand_recon_ros.lift import lifter
from hand_recon_ros.runtime.openvino_session import OpenVinoSession
from hand_recon_ros.synthetic import clip_scenes, render_scene
from hand_recon_ros.track.hand_track import HandTrack
from hand_recon_ros.track.locator import HandLocator

_STEPS: tuple[tuple[str, Any, str], ...] = (
    ("crops of the landmark network", landmarks, "crop"),
    ("landmark network", OpenVinoSession, "run"),
    ("its outputs as landmarks in the image", landmarks, "decode"),
    ("following: boxes, sides, doubles", HandLocator, "locate"),
    ("encoder, network", EncoderSession, "run"),
    ("encoder, its inputs and which hands are due", reconstructor, "encode"),
    ("encoder, its inputs and which hands are due", reconstructor, "encode_left"),
    ("encoder, its outputs in the camera frame", hand_encoder, "decode_prediction"),
    ("lifting: evidence from landmarks and encoder", lifter, "gather"),
    ("lifting: solver", lifter.Lifter, "__call__"),
    ("relative translation", reconstructor, "with_relative_translation"),
    ("filters, shape of the hand", HandTrack, "measure"),
    ("mesh, keypoints and frames of the estimate", reconstructor, "measured_estimate"),
    ("two-hand prior and separation", refinement.Refiner, "__call__"),
    ("two-hand prior and separation", refinement.Refiner, "finished"),
    ("estimates of the separated hands", reconstructor, "with_pair"),
)


class Profile:
    """Seconds of each step in the current frame, without those of the steps that it calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner: list[float] = []

    def timed(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function with the same result, whose time is counted."""

        def call(*args: Any, **keywords: Any) -> Any:
            self._inner.append(0.0)
            begin = time.perf_counter()
            try:
                return function(*args, **keywords)
            finally:
                spent = time.perf_counter() - begin
                self.seconds[step] += spent - self._inner.pop()
                if self._inner:
                    self._inner[-1] += spent

        return call


def main() -> None:
    parser = argparse.ArgumentParser(description="time of each step of a tracked frame")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    model, camera = load_hand_model(), Camera.from_fov(640, 480, 65.0)
    _, scenes = clip_scenes(model, args.frames, 7, camera)
    images = [render_scene(scene, model).image for scene in scenes]
    pipeline = TwoHandReconstructor.from_config(threads=args.threads)
    pipeline.warm_up()
    profile = Profile()
    for step, owner, name in _STEPS:
        setattr(owner, name, profile.timed(step, getattr(owner, name)))
    whole = profile.timed("everything else", pipeline.__call__)
    frames: dict[str, list[dict[str, float]]] = {"apart": [], "overlapping": []}
    for number, image in enumerate(images * 2):  # the first time to warm up
        profile.seconds.clear()
        estimate = whole(image, camera, number / 30.0)
        if number >= len(images) and estimate.left.found and estimate.right.found:
            overlap = box_overlap(np.stack([estimate.left.keypoints_2d, estimate.right.keypoints_2d]))
            frames["overlapping" if overlap > 0 else "apart"].append(dict(profile.seconds))
    print(
        "| step, ms of a frame | " + " | ".join(f"{kind} ({len(rows)} frames)" for kind, rows in frames.items()) + " |"
    )
    print("|---|" + "---|" * len(frames))
    names = [*dict.fromkeys(step for step, _, _ in _STEPS), "everything else"]
    for step in names:
        print(f"| {step} | " + " | ".join(_mean(rows, [step]) for rows in frames.values()) + " |")
    print("| **all** | " + " | ".join(_mean(rows, names) for rows in frames.values()) + " |")


def _mean(rows: list[dict[str, float]], steps: list[str]) -> str:
    if not rows:
        return "-"
    return f"{1e3 * np.mean([sum(row.get(step, 0.0) for step in steps) for row in rows]):.2f}"


if __name__ == "__main__":
    main()
