"""Accuracy of the pipeline on single rendered images with exact ground truth: occluded and touching hands."""

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
_FARTHEST = 0.5
"""Mean 2D error, as a share of the true box, up to which a reported hand is taken for the true one."""


class Measured(NamedTuple):
    """Values of the images measured so far."""

    values: Values
    penetrations: Penetrations

    @classmethod
    def empty(cls) -> Measured:
        return cls({name: [] for name in (*COUNTS, *PER_HAND, *PER_PAIR, PER_JOINT)}, Penetrations())

    def pooled(self) -> dict[str, np.ndarray]:
        return pooled(self.values) | self.penetrations.pooled()[0]


def evaluate_images(
    reconstructor: TwoHandReconstructor, split: str = "val", count: int = 300, cases: list[Case] | None = None
) -> dict[str, Any]:
    """Measure a reconstructor on whole images of the first samples of a split of the stream, each by itself.

    A hand is found where a hand of its side is estimated near it; errors are over found hands: root-relative ones from
    the wrist, not rescaled; PA with scale and without reflection; MRRPE over pairs of found hands, its ``occluded``
    form over those in which at least 30 % of a hand's keypoints are hidden by something else; penetration over the same
    pairs, beside the ground truth's. 2D errors are over keypoints inside the image, PCK relative to the larger side of
    the true box. ``found`` is over hands, ``both_found`` over images with two, ``false_hands`` is the number of
    estimated hands per image that match no true one. Figures are of the hands before the two-hand refinement, and after
    it unless it is disabled. Intervals are 95 % bootstrap percentiles. ``cases``, where given, gets one entry for each
    image.
    """
    stream = SampleStream(split, SEED, load_hand_model())
    refines = reconstructor.config.refine_steps > 0
    before, after = Measured.empty(), Measured.empty()
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
        hand, present = estimate.hand(side), bool(sample.present[side])
        true_2d = sample.keypoints_2d[side]
        size = float(np.ptp(true_2d, axis=0).max()) if present else 0.0
        if hand.state == HandState.TRACKED:
            error_2d = np.linalg.norm(hand.keypoints_2d - true_2d, axis=-1)
            found[side] = present and bool(np.mean(error_2d) < _FARTHEST * size)
            values["false_hands"].append(np.array([not found[side]], dtype=float))
        else:
            values["false_hands"].append(np.zeros(1))
        if not present:
            continue
        values["found"].append(np.array([found[side]], dtype=float))
        if not found[side]:
            continue
        last = np.array([sample.camera.width, sample.camera.height]) - 1
        inside = ((true_2d >= 0) & (true_2d <= last)).all(axis=1)
        mesh = model.mesh(side, sample.rotations[side], sample.betas[side], sample.translation[side])
        meshes.append(mesh)
        errors[side] = add_hand(
            values, hand.joints, sample.joints[side], hand.vertices, mesh, hand.keypoints_2d, true_2d, inside
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
