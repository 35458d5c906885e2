#!/usr/bin/env python3
"""Ablation of the two-hand refinement: the same pairs of hands, found in whole images, refined by each variant.

    .venv/bin/python tools/ablate_refiner.py --split val --frames 300        # prints a table in Markdown

False contact: pairs whose true hands are more than 1 cm apart and that touch. Times are per pair, without a budget.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from hand_recon_ros import TwoHandEstimate, TwoHandReconstructor
from hand_recon_ros.config import ReconstructorConfig
from hand_recon_ros.datasets.sample import Sample
from hand_recon_ros.evaluation.images import SEED, SIZE, Measured, measure
from hand_recon_ros.evaluation.intervals import interval
from hand_recon_ros.geometry.mesh_queries import gap_between, touching
from hand_recon_ros.hand_model import HandModel
from hand_recon_ros.hand_model.hand_pair import HandPair
from hand_recon_ros.interact.denoiser import Denoiser
from hand_recon_ros.interact.estimates import pair_of, uncertainty_of, with_pair
from hand_recon_ros.interact.refinement import Refiner
from hand_recon_ros.interact.uncertainty import PairUncertainty
from hand_recon_ros.runtime.bundled_networks import bundled_network
from hand_recon_ros.synthetic import SampleStream
from hand_recon_ros.types import Side

APART = 0.010
COLUMNS = {
    "pen_rate_2mm": ("PenRate 2 mm, %", 100.0), "pen_depth_mm": ("PenDepth, mm", 1.0),
    "contact_ratio": ("ContactRatio", 1.0), "mrrpe_mm": ("MRRPE, mm", 1.0), "mpjpe_mm": ("MPJPE, mm", 1.0),
    "pa_mpjpe_mm": ("PA-MPJPE, mm", 1.0),
}  # fmt: skip

Variant = Callable[[HandPair, PairUncertainty], HandPair]


def variants(model: HandModel, steps: int) -> dict[str, Variant]:
    """Variants of the refinement by name, with ``steps`` of separation unless the name states another number."""
    prior = Denoiser(bundled_network("refiner", "small"))
    complete, alone = Refiner(model, prior), Refiner(model)

    def without_keypoints(pair: HandPair, uncertainty: PairUncertainty) -> HandPair:
        zero = np.zeros_like(uncertainty.precision)
        return complete(pair, dataclasses.replace(uncertainty, precision=zero), steps).pair

    def by(refiner: Refiner, steps: int = steps) -> Variant:
        return lambda pair, uncertainty: refiner(pair, uncertainty, steps).pair

    return {
        "as estimated": lambda pair, uncertainty: pair,
        "separation alone, no prior": by(alone),
        "prior alone": by(Refiner(model, prior, guided=False, reach=0.0), 0),
        "all: 2 steps of denoising, 8 of separation": by(complete),
        "prior without guidance": by(Refiner(model, prior, guided=False)),
        "without the keypoints in the image": without_keypoints,
        "gap not closed": by(Refiner(model, prior, reach=0.0)),
        "1 denoising step": by(Refiner(model, prior, 1)),
        "5 denoising steps": by(Refiner(model, prior, 5)),
        "2 steps of separation": by(complete, 2),
        "4 steps of separation": by(complete, 4),
        "16 steps of separation": by(complete, 16),
    }


@dataclasses.dataclass
class VariantFigures:
    """Figures of one variant."""

    measured: Measured
    seconds: list[float]
    false: int = 0

    def add(
        self, sample: Sample, two: TwoHandEstimate, seconds: float, gap: float, reconstructor: TwoHandReconstructor
    ) -> None:
        """Add one pair, whose true hands are ``gap`` metres apart."""
        measure(*self.measured, sample, two, reconstructor)
        self.seconds.append(seconds)
        left, right = two.left, two.right
        self.false += gap >= APART and touching(left.vertices, left.faces, right.vertices, right.faces)

    def row(self, name: str) -> str:
        """Its row of the table."""
        values = self.measured.pooled()
        cells = []
        for key, (_, factor) in COLUMNS.items():
            numbers = values[key][np.isfinite(values[key])] * factor
            low, high = interval(numbers)
            cells.append(f"{numbers.mean():.2f} [{low:.2f}, {high:.2f}]")
        median, most = 1e3 * np.percentile(self.seconds, (50, 90))
        return f"| {name} | " + " | ".join(cells) + f" | {self.false} | {median:.1f}, {most:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", default="val", choices=("val", "test", "test-occluded", "test-interacting"))
    parser.add_argument("--frames", type=int, default=300)
    options = parser.parse_args()
    reconstructor = TwoHandReconstructor.from_config(refine_steps=0)
    model, stream = reconstructor.hand_model, SampleStream(options.split, SEED, reconstructor.hand_model)
    refinements = variants(model, ReconstructorConfig.refine_steps)
    results = {name: VariantFigures(Measured.empty(), []) for name in refinements}
    apart = 0
    for number in tqdm(range(options.frames), unit="image", file=sys.stderr):
        sample = stream.frame(number, *SIZE)
        two = reconstructor.reconstruct_image(sample.image, sample.camera)
        if not (sample.present.all() and two.left.found and two.right.found):
            continue
        true = [model.mesh(s, sample.rotations[s], sample.betas[s], sample.translation[s]) for s in Side]
        gap = gap_between(true[0], model.faces(Side.LEFT), true[1], model.faces(Side.RIGHT), 2 * APART)
        apart += gap >= APART
        hands = [two.left, two.right]
        pair, uncertainty = pair_of(hands), uncertainty_of(hands)
        for name, refine in refinements.items():
            if not results[name].seconds:
                refine(pair, uncertainty)  # the first call compiles
            began = time.perf_counter()
            refined = refine(pair, uncertainty)
            seconds = time.perf_counter() - began
            left, right = with_pair(hands, refined, model, sample.camera, False)
            results[name].add(sample, dataclasses.replace(two, left=left, right=right), seconds, gap, reconstructor)
    pairs = len(results["as estimated"].seconds)
    print(f"`{options.split}`, {options.frames} images, {pairs} pairs, of which {apart} more than 1 cm apart:\n")
    titles = [title for title, _ in COLUMNS.values()]
    print("| | " + " | ".join(titles) + " | false contact | time, median and 90 %, ms |")
    print("|---" * (len(titles) + 3) + "|")
    for name, result in results.items():
        print(result.row(name))
    truth = results["as estimated"].measured.penetrations.pooled()[1]
    means = {name: float(np.nanmean(truth[name])) for name in ("pen_rate_2mm", "pen_depth_mm", "contact_ratio")}
    print(
        "| ground truth | "
        + " | ".join(f"{COLUMNS[name][1] * mean:.2f}" for name, mean in means.items())
        + " | | | | | |"
    )


if __name__ == "__main__":
    main()
