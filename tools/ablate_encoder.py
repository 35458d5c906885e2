#!/usr/bin/env python3
"""Ablation of the Fusion Alignment Encoder: one training per variant, on the same samples, for as many steps.

    python tools/ablate_encoder.py --out out/ablation            # prints JSON, writes out/ablation/table.md

The rows are those of the paper (arXiv:2503.17788): no second backbone, one that is not aligned, priors added one by
one, and the priors themselves at test time. Samples are computed once; an interrupted run is resumed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader
from tqdm import tqdm

from hand_recon_ros.evaluation.encoder import measure_encoders
from hand_recon_ros.evaluation.encoder_predictors import Predictor, load_encoder, network_predictor
from hand_recon_ros.evaluation.intervals import interval, reduction_interval
from hand_recon_ros.hand_model import load_hand_model
from hand_recon_ros.models.encoder import FusionAlignmentEncoder
from hand_recon_ros.training.crop_dataset import CropDataset
from hand_recon_ros.training.encoder import Recipe

RECIPE = Path(__file__).resolve().parent.parent / "config" / "train" / "encoder_small.yaml"
UNALIGNED, ALIGNED = "unaligned", "aligned to keypoints, segmentation, depth"
VARIANTS: dict[str, dict[str, Any]] = {
    "image backbone alone": {"encoder.fusion": "none"},
    UNALIGNED: {"encoder.fusion": "unaligned"},
    "aligned to keypoints": {"encoder.prior_groups": "keypoints"},
    "aligned to keypoints, segmentation": {"encoder.prior_groups": "keypoints,segmentation"},
    ALIGNED: {},
}
EXTRA: dict[str, dict[str, Any]] = {
    "as the last, alignment and teacher weighted higher": {"losses.alignment": 2.0, "losses.teacher": 1.0},
}
"""Variants that weight the alignment higher."""
COLUMNS = {
    "mrrpe_predicted_mm": "MRRPE", "mrrpe_mm": "MRRPE of wrists", "mpjpe_mm": "MPJPE", "mpvpe_mm": "MPVPE",
    "pa_mpjpe_mm": "PA-MPJPE",
}  # fmt: skip
SPLITS = ("test", "test-occluded")


def train(name: str, changes: dict[str, Any], options: argparse.Namespace) -> Path:
    """Train one variant; returns its ``encoder.safetensors``."""
    out = options.out / name.replace(" ", "_").replace(",", "")
    settings = {
        "out": out, "steps": options.steps, "cache": options.out / "samples", "validate_every": 250, **changes,
    }  # fmt: skip
    command = [sys.executable, "-m", "hand_recon_ros.cli", "train", "encoder", "--config", str(RECIPE), "--resume"]
    for key, value in settings.items():
        command += ["--set", f"{key}={json.dumps(value) if isinstance(value, bool) else value}"]
    out.mkdir(parents=True, exist_ok=True)
    with (out / "log.txt").open("a") as log:
        subprocess.run([*command, "--json"], check=True, stdout=log, stderr=log)
    print(f"trained: {name}", file=sys.stderr)
    return out / "encoder.safetensors"


def fill(options: argparse.Namespace) -> None:
    """Compute the samples that all variants are trained on."""
    recipe = Recipe.from_yaml(RECIPE)
    model, training = load_hand_model(), recipe.training
    stem = FusionAlignmentEncoder(recipe.encoder, model)
    samples = CropDataset("train", training.seed, model, training.corrupted, stem, options.out / "samples")
    missing = [n for n in range(options.steps * training.batch) if not samples.is_cached(n)]
    loader: Any = DataLoader(samples, sampler=missing, batch_size=None, num_workers=options.jobs)
    for _ in tqdm(loader, total=len(missing), unit="sample", file=sys.stderr, disable=not missing):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/ablation"))
    parser.add_argument("--steps", type=int, default=500, help="of each training (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=500, help="of each test split (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, one core each (default: %(default)s)")
    parser.add_argument("--extra", action="store_true", help="also variants that weight the alignment higher")
    options = parser.parse_args()
    fill(options)
    variants = {**VARIANTS, **(EXTRA if options.extra else {})}
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        files = list(pool.map(lambda item: train(*item, options), variants.items()))
    predictors: dict[str, Predictor] = {}
    for name, path in zip(variants, files, strict=True):
        predictors[name] = network_predictor(load_encoder(path))
        if name == ALIGNED:
            predictors["the priors themselves at test time"] = network_predictor(load_encoder(path), teacher=True)
    result: dict[str, Any] = {"steps": options.steps, "n": options.samples}
    lines: list[str] = []
    for split in SPLITS:
        measured = measure_encoders(list(predictors.values()), split, options.samples, corruption=1.0)
        values = {name: of_encoder.estimate for name, of_encoder in zip(predictors, measured, strict=True)}
        result[split] = {
            name: {key: {"mean": float(figures[key].mean()), "ci95": interval(figures[key])} for key in COLUMNS}
            for name, figures in values.items()
        }
        lines += ["", f"`{split}`, {options.samples} samples, {options.steps} steps, mm:", ""]
        lines += ["| | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
        for name, figures in result[split].items():
            cells = ("{mean:.1f} [{ci95[0]:.1f}, {ci95[1]:.1f}]".format(**figures[key]) for key in COLUMNS)
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
        for key in ("mrrpe_predicted_occluded_mm", "mrrpe_occluded_mm"):
            before, after = (values[name][key] for name in (UNALIGNED, ALIGNED))
            reduction = 1.0 - float(after.mean() / before.mean())
            low, high = reduction_interval(before, after)
            result[split][f"reduction of {key}"] = {"mean": reduction, "ci95": [low, high], "pairs": len(before)}
            lines.append(
                f"{key}, aligned against unaligned, {len(before)} pairs: {before.mean():.1f} -> {after.mean():.1f} mm, "
                f"{reduction:.1%} less [{low:.1%}, {high:.1%}]"
            )
    (options.out / "table.md").write_text("\n".join(lines).strip() + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
