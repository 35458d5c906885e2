"""Accuracy of the pipeline on single rendered images with exact truth: hands that hide, hold and touch each other."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np

from ..datasets.sample import Sample
from ..hand_model import load_hand_model
from ..reconstructor import TwoHandReconstructor
from ..synthetic.sample_stream import OCCLUDED_JOINTS, SampleStream
from ..types import HandState, Side, TwoHandEstimate
from . import metrics
from .cases import Case
from .figures import PER_HAND, PER_JOINT, HandErrors, Values, add_hand, pooled, summary
from .penetration import Penetrations

PER_PAIR = ("mrrpe_mm", "mrrpe_occluded_mm")
COUNTS = ("found", "both_found", "false_hands")
SEED = 90211
SIZE = (640, 480)
_ELSEWHERE = 0.5
"""A reported hand whose keypoints lie further than this from the true ones (part of the true box) is not that hand."""


class Measured(NamedTuple):
    """What has been measured of the images so far."""

    values: Values
    penetrations: Penetrations

    @classmethod
    def nothing(cls) -> Measured:
        return cls({name: [] for name in (*COUNTS, *PER_HAND, *PER_PAIR, PER_JOINT)}, Penetrations())

    def pooled(self) -> dict[str, np.ndarray]:
        return pooled(self.values) | self.penetrations.pooled()[0]


def evaluate_images(
    reconstructor: TwoHandReconstructor, split: str = "val", count: int = 300, cases: list[Case] | None = None
) -> dict[str, Any]:
    """Measure a reconstructor on whole images of the first samples of a split of the stream, each by itself.

    A hand is found where one of its side is reported on it; errors are over found hands: root-relative ones from the
    wrist, not rescaled; PA with scale and without reflection; MRRPE over pairs both of which are found, its
    ``occluded`` form over those in which at least 30 % of a hand's keypoints are hidden by something else; penetration
    over the same pairs, beside the truth's. 2D errors are over keypoints inside the image, PCK against the larger side
    of the true box. ``found`` is over hands, ``both_found`` over images with two, ``false_hands`` how many of an image
    are reported where there are none. Figures are of the hands before the two-hand refinement, and after it unless it
    is switched off. Intervals are 95 % bootstrap percentiles. ``cases``, where given, gets one entry for each image.
    """
    stream = SampleStream(split, SEED, load_hand_model())
    refines = reconstructor.config.refine_steps > 0
    before, after = Measured.nothing(), Measured.nothing()
    for number in range(count):
        sample = stream.frame(number, *SIZE)
        estimate = reconstructor.reconstruct_image(sample.image, sample.camera)
        errors = measure(*before, sample, estimate.before_refinement(), reconstructor)
        if refines:
            errors = measure(*after, sample, estimate, reconstructor)
        if cases is not None:
            pixels = np.stack([estimate.hand(side).keypoints_2d for side in Side])
            picture = functools.partial(_image, stream, number)
            cases.append(Case(number, sample.name, sample.arrangement, errors, pixels, sample.keypoints_2d, picture))
    truth = before.penetrations.pooled()[1]
    return {
        "dataset": "synthetic", "split": split, "n": count,
        "protocol": "single images, wrist root, not rescaled, hands that were found",
        "config": dataclasses.asdict(reconstructor.config),
        **summary(before.pooled(), truth, after.pooled() if refines else None),
    }  # fmt: skip


def _image(stream: SampleStream, number: int) -> np.ndarray:
    return stream.frame(number, *SIZE).image


def measure(
    values: Values,
    penetrations: Penetrations,
    sample: Sample,
    estimate: TwoHandEstimate,
    reconstructor: TwoHandReconstructor,
) -> dict[Side, HandErrors]:
    """Add one image's values to the lists; returns the errors of the hands that were found."""
    model = reconstructor.hand_model
    found, meshes, errors = [False, False], [], {}
    for side in Side:
        hand, there = estimate.hand(side), bool(sample.present[side])
        seen = sample.keypoints_2d[side]
        size = float(np.ptp(seen, axis=0).max()) if there else 0.0
        if hand.state == HandState.TRACKED:
            error_2d = np.linalg.norm(hand.keypoints_2d - seen, axis=-1)
            found[side] = there and bool(np.mean(error_2d) < _ELSEWHERE * size)
            values["false_hands"].append(np.array([not found[side]], dtype=float))
        else:
            values["false_hands"].append(np.zeros(1))
        if not there:
            continue
        values["found"].append(np.array([found[side]], dtype=float))
        if not found[side]:
            continue
        last = np.array([sample.camera.width, sample.camera.height]) - 1
        inside = ((seen >= 0) & (seen <= last)).all(axis=1)
        mesh = model.mesh(side, sample.rotations[side], sample.betas[side], sample.translation[side])
        meshes.append(mesh)
        errors[side] = add_hand(
            values, hand.joints, sample.joints[side], hand.vertices, mesh, hand.keypoints_2d, seen, inside
        )
    if sample.present.all():
        values["both_found"].append(np.array([all(found)], dtype=float))
    if all(found):
        estimated, faces = [estimate.hand(side).vertices for side in Side], [model.faces(side) for side in Side]
        penetrations.add(estimated, meshes, faces, sample.keypoints_2d)
        wrists = estimate.left.joints[:1], estimate.right.joints[:1]
        error = metrics.mrrpe(wrists[0], wrists[1], sample.joints[:1, 0], sample.joints[1:, 0])
        values["mrrpe_mm"].append(error)
        if (sample.occluded.mean(axis=1) >= OCCLUDED_JOINTS).any():
            values["mrrpe_occluded_mm"].append(error)
    return errors
