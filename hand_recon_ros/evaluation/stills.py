"""Accuracy of the pipeline on single rendered images with exact truth: hands that hide, hold and touch each other."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ..datasets.sample import Sample
from ..hand_model import load_hand_model
from ..reconstructor import TwoHandReconstructor
from ..synthetic.stream import OCCLUDED_JOINTS, SampleStream
from ..types import HandState, Side, TwoHandEstimate
from . import metrics
from .intervals import report
from .penetration import PENETRATION, Penetrations
from .synthetic import PER_HAND

PER_PAIR = ("mrrpe_mm", "mrrpe_occluded_mm")
COUNTS = ("found", "both_found", "false_hands")
_SEED = 90211
_SIZE = (640, 480)
_ELSEWHERE = 0.5
"""A reported hand whose keypoints lie further than this from the true ones (part of the true box) is not that hand."""


def evaluate_stills(reconstructor: TwoHandReconstructor, split: str = "val", count: int = 300) -> dict[str, Any]:
    """Measure a reconstructor on whole images of the first samples of a split of the stream, each by itself.

    A hand is found where one of its side is reported on it; errors are over found hands: root-relative ones from the
    wrist, not rescaled; PA with scale and without reflection; MRRPE over pairs both of which are found, its
    ``occluded`` form over those in which at least 30 % of a hand's keypoints are hidden by something else; penetration
    over the same pairs, beside the truth's. 2D errors are over keypoints inside the image, PCK against the larger side
    of the true box. ``found`` is over hands, ``both_found`` over images with two, ``false_hands`` how many of an image
    are reported where there are none. Intervals are 95 % bootstrap percentiles.
    """
    stream = SampleStream(split, _SEED, load_hand_model())
    values: dict[str, list[np.ndarray]] = {name: [] for name in (*COUNTS, *PER_HAND, *PER_PAIR)}
    penetrations = Penetrations()
    for number in range(count):
        sample = stream.frame(number, *_SIZE)
        estimate = reconstructor.reconstruct_image(sample.image, sample.camera)
        measure(values, penetrations, sample, estimate, reconstructor)
    pooled = {name: np.concatenate([np.atleast_1d(part) for part in parts]) for name, parts in values.items() if parts}
    estimated, truth = penetrations.pooled()
    return {
        "dataset": "synthetic", "split": split, "n": count,
        "protocol": "single images, wrist root, not rescaled, hands that were found",
        "config": dataclasses.asdict(reconstructor.config),
        **report((*values, *PENETRATION), pooled | estimated, truth),
    }  # fmt: skip


def measure(
    values: dict[str, list[np.ndarray]],
    penetrations: Penetrations,
    sample: Sample,
    estimate: TwoHandEstimate,
    reconstructor: TwoHandReconstructor,
) -> None:
    """Add one image's values to the lists."""
    model = reconstructor.hand_model
    found, meshes = [False, False], []
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
        truth, joints = sample.joints[side][None], hand.joints[None]
        meshes.append(model.mesh(side, sample.rotations[side], sample.betas[side], sample.translation[side]))
        mesh = meshes[-1][None]
        wrist, true_wrist = joints[:, :1], truth[:, :1]
        values["mpjpe_mm"].append(metrics.mpjpe(joints, truth))
        values["pa_mpjpe_mm"].append(metrics.pa_mpjpe(joints, truth))
        values["wrist_error_mm"].append(metrics.wrist_error(joints, truth))
        values["mpvpe_mm"].append(metrics.mpjpe(hand.vertices[None] - wrist, mesh - true_wrist, root=None))
        values["pa_mpvpe_mm"].append(metrics.pa_mpjpe(hand.vertices[None], mesh))
        last = np.array([sample.camera.width, sample.camera.height]) - 1
        inside = ((seen >= 0) & (seen <= last)).all(axis=1)
        if inside.any():
            values["error_2d_px"].append(error_2d[inside].mean(keepdims=True))
            for name, share in (("pck_0_05", 0.05), ("pck_0_1", 0.1)):
                values[name].append((error_2d[inside] < share * size).mean(keepdims=True))
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
