#!/usr/bin/env python3
"""Render the recording of a user whom the encoder's training never saw, and distill an encoder for it.

    .venv/bin/python tools/show_distill.py --out out/show_distill [--frames 450] [--steps 150]

The user has a hand shape of their own, gloves of two colours with bands (training has plain gloves only) and a fisheye
lens (``equidistant``; training has ``plumb_bob`` only). ``OUT/user`` is the clip with its ground truth, ``OUT/run``
what ``hand-recon distill`` writes: the encoder is measured on the last part of the clip, which it is not trained on. A
clip that is there is used again, and an interrupted run goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from hand_recon_ros import cli
from hand_recon_ros.camera import Camera
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.image_files import write_image
from hand_recon_ros.synthetic import load_clip, write_clip
from hand_recon_ros.synthetic.rasterizer import rasterize
from hand_recon_ros.types import Side

_FABRIC = (205, 205, 200)
"""sRGB of the gloves' fabric."""
_COATING = np.array([1.10, 0.42, 0.12])
"""Of the coated parts, as factors on red, green and blue of the fabric."""
_BAND = np.array([0.55, 0.60, 0.75])
_BANDS = 0.030, 0.3
"""Period of the bands across the back of the hand, metres, and their share of it."""


def fisheye() -> Camera:
    """A camera of 120 degrees across, 640 x 480 pixels."""
    f = 640 / np.radians(120.0)
    K = np.array([[f, 0.0, 319.5], [0.0, f, 239.5], [0.0, 0.0, 1.0]])
    return Camera(K, 640, 480, "equidistant", np.array([-0.02, 0.004, -0.001, 0.0]))


def face_factors(side: Side) -> np.ndarray:
    """Factors on the colour of each face (F, 3): coated fingers, and bands across the rest."""
    model = load_hand_model()
    flat, betas = np.tile(np.eye(3), (16, 1, 1)), np.zeros(10)
    vertices = model.mesh(side, flat, betas, np.zeros(3))
    keypoints, _ = model.kinematics(side).forward(flat, betas, np.zeros(3))
    centres = vertices[model.faces(side)].mean(axis=1)
    along = keypoints[9] - keypoints[0]  # to the middle finger's first joint
    place = (centres - keypoints[0]) @ (along / np.linalg.norm(along))
    nearest = np.linalg.norm(centres[:, None] - keypoints[None], axis=-1).argmin(axis=1)
    coated = np.isin(nearest, [3, 4, 7, 8, 11, 12, 15, 16, 19, 20])
    factors = np.where((place % _BANDS[0] < _BANDS[0] * _BANDS[1])[:, None], _BAND, 1.0)
    return np.asarray(np.where(coated[:, None], _COATING, factors))


def paint(folder: Path) -> None:
    """Paint the pattern of the gloves onto the images of a clip with plain ones."""
    clip = load_clip(folder)
    factors = [face_factors(side) for side in Side]
    for number, image in enumerate(clip.images()):
        painted, visible = image.astype(np.float64), clip.visible(number)
        for side in Side:
            vertices = clip.truth["vertices"][number, side].astype(np.float64)
            raster = rasterize(vertices, clip.truth["faces"][side], clip.camera)
            shown = visible[side] & (raster.triangle >= 0)
            painted[shown] *= factors[side][raster.triangle[shown]][:, ::-1]  # images are BGR
        write_image(folder / "images" / f"{number:06d}.png", np.clip(painted, 0, 255).astype(np.uint8))


def main() -> int:
    parser = argparse.ArgumentParser(description="distill an encoder for a rendered user, and measure it")
    parser.add_argument("--out", type=Path, default=Path("out/show_distill"))
    parser.add_argument("--frames", type=int, default=450)
    parser.add_argument("--rate", type=float, default=15.0, help="of the clip, Hz")
    parser.add_argument("--seed", type=int, default=71)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--set", action="append", default=[], metavar="[SECTION.]NAME=VALUE")
    args = parser.parse_args()

    user, run, painted = args.out / "user", args.out / "run", args.out / "painted"
    if not painted.exists():
        write_clip(user, args.frames, args.seed, rate=args.rate, camera=fisheye(), glove=_FABRIC)
        paint(user)
        painted.touch()
    options = [option for value in args.set for option in ("--set", value)]
    resume = ["--resume"] if (run / "run.json").exists() else []
    every = ["--every", "0.2"]
    return cli.main(["distill", str(user), "--out", str(run), *every, "--steps", str(args.steps), *options, *resume])


if __name__ == "__main__":
    raise SystemExit(main())
