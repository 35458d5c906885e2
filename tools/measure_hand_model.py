#!/usr/bin/env python3
"""What accuracy carries over to another hand model than the embedded one, with and without the re-fit.

    .venv/bin/python tools/measure_hand_model.py [--frames N] [--clips DIR] [--seeds N] [--refiner NAME]

A stand-in (``synthetic/mano_stand_in.py``) is the embedded hand with other joint centres, rest pose, shape basis,
fingertip vertices and skin. Rendered clips of the embedded hand are reconstructed with each model. Vertices have the
same numbers in all of them, so that meshes are compared with the true one vertex by vertex.

Columns, means over the tracked hands: ``mesh``, vertices with the centres of both meshes in one place; ``aligned``,
after Procrustes; ``position`` of the mesh's centre; ``two hands``, the vector between both centres; mm. ``angles``, the
20 named angles; ``bias``, mean of the signed errors of the 15 flexions; degrees.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hand_recon_ros import Side, TwoHandReconstructor
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.evaluation.metrics import pa_mpjpe
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.hand_model.frames import transfer_frames
from hand_recon_ros.hand_model.named_angles import ANGLE_NAMES, named_angles
from hand_recon_ros.runtime.model_files import cache_dir
from hand_recon_ros.synthetic import load_clip, rendered_clip
from hand_recon_ros.synthetic.mano_stand_in import mano_stand_in
from hand_recon_ros.types import HandState

CLIPS = (("webcam", 1001), ("egocentric", 1002))
COLUMNS = ("mesh", "aligned", "position", "two hands", "angles", "bias")
FLEXIONS = [i for i, name in enumerate(ANGLE_NAMES) if name.endswith("flexion")]


def errors(path: str, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Errors (N, 2) of the hands of the clips with a hand model, by column; NaN where a hand was not tracked."""
    rows: dict[str, list[np.ndarray]] = {name: [] for name in COLUMNS}
    config = ReconstructorConfig(hand_model=path, threads=options.threads, refiner=options.refiner)
    reconstructor, embedded = TwoHandReconstructor(config), load_hand_model()
    for view, seed in CLIPS:
        clip = load_clip(rendered_clip(options.clips, options.frames, seed, view))
        reconstructor.reset()
        for frame, image in enumerate(tqdm(clip.images(), total=len(clip), file=sys.stderr, desc=view)):
            estimate = reconstructor(image, clip.camera, float(clip.truth["stamps"][frame]))
            values, centres = {name: np.full(2, np.nan) for name in COLUMNS}, np.full((2, 3), np.nan)
            for side in Side:
                hand = estimate.hand(side)
                if hand.state != HandState.TRACKED:
                    continue
                vertices, true = (
                    hand.vertices.astype(np.float64),
                    clip.truth["vertices"][frame, side].astype(np.float64),
                )
                centres[side] = vertices.mean(axis=0) - true.mean(axis=0)
                values["mesh"][side] = 1e3 * np.linalg.norm(vertices - centres[side] - true, axis=1).mean()
                values["aligned"][side] = pa_mpjpe(vertices[None], true[None])[0]
                values["position"][side] = 1e3 * np.linalg.norm(centres[side])
                angles = np.degrees(
                    named_angles(reconstructor.hand_model.kinematics(side), hand.rotations)
                    - named_angles(embedded.kinematics(side), clip.truth["rotations"][frame, side])
                )
                values["angles"][side], values["bias"][side] = np.abs(angles).mean(), angles[FLEXIONS].mean()
            values["two hands"][:] = 1e3 * np.linalg.norm(centres[0] - centres[1])
            for name, value in values.items():
                rows[name].append(value)
    return {name: np.stack(row) for name, row in rows.items()}


def stand_in(folder: Path, seed: int) -> dict[str, str]:
    """Files of a stand-in by name: without a re-fit, its frames those of the bones alone, and with it."""
    arrays, paths = mano_stand_in(seed), {}
    paths[f"stand-in {seed}, re-fit"] = folder / f"stand_in_{seed}.npz"
    np.savez(paths[f"stand-in {seed}, re-fit"], **arrays)  # type: ignore[arg-type]
    model, embedded = load_hand_model(folder / f"stand_in_{seed}.npz"), load_hand_model().kinematics(Side.RIGHT)
    refit = model.refit(Side.RIGHT)
    assert refit is not None
    distance, angle = refit.refit_errors
    print(f"stand-in {seed}: left over in the re-fit {1e3 * distance:.2f} mm, {np.degrees(angle):.2f} degrees")
    keypoints = model.kinematics(Side.RIGHT).keypoint_template
    frames = transfer_frames(keypoints, embedded.keypoint_template, embedded.joint_frames)
    paths[f"stand-in {seed}, none"] = folder / f"stand_in_{seed}_none.npz"
    np.savez(paths[f"stand-in {seed}, none"], **arrays, joint_frames=frames)  # type: ignore[arg-type]
    return {name: str(path) for name, path in sorted(paths.items())}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=120, help="length of each clip (default: %(default)s)")
    parser.add_argument("--clips", type=Path, default=cache_dir() / "clips", help="their folder (default: the cache's)")
    parser.add_argument("--seeds", type=int, default=2, help="number of stand-ins (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of the networks (default: %(default)s)")
    parser.add_argument("--refiner", default="small", help="the two-hand prior, or none (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = {"embedded hand": ""}
        for seed in range(options.seeds):
            models.update(stand_in(Path(folder), seed))
        print(f"{'':22}" + "".join(f"{name:>11}" for name in COLUMNS) + f"{'tracked':>10}")
        for name, path in models.items():
            rows = errors(path, options)
            tracked = np.isfinite(rows["mesh"]).mean()
            print(
                f"{name:22}" + "".join(f"{np.nanmean(rows[c]):11.2f}" for c in COLUMNS) + f"{tracked:10.3f}", flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
